// A carrier of mail: a server that takes mail from us (a smarthost), over a pool of connections that come with work and
// go when idle. Keeps a driver's five duties; whether the server lives is known from the last that connected. What a
// mail is about, and who is told of its fate, others know.

import { readFileSync } from 'node:fs'
import { type ClientSettings, MailClient, type NotConnected, type Sent } from '../../protocols/smtp/client.js'
import type { Clock } from '../base/clock.js'
import type { Log } from '../base/log.js'
import type { Outcome } from '../model/outcome.js'
import type { Driver, DriverEvents, DriverFigures, LinkFigures, LinkStand, Part } from './driver.js'
import { type BackOff, backOffMs } from './hosts.js'
import { Pace } from './pace.js'

export interface MailCarrierSettings extends Omit<ClientSettings, 'name' | 'tls'> {
  /** At one time. */
  readonly connections: number
  /** After so many mails a connection is another's turn. */
  readonly messagesPerConnection: number
  /** Mails a second over all connections, 0 = no limit. */
  readonly throughput: number
  /** A connection without work is closed after this. */
  readonly idleMs: number
  readonly reconnectMinMs: number
  readonly reconnectMaxMs: number
  /** PEM files. Without `ca`, the authorities of Node. */
  readonly tls: {
    readonly ca?: string | undefined
    readonly cert?: string | undefined
    readonly key?: string | undefined
    readonly servername?: string | undefined
    readonly verify: boolean
  } | null
}

export interface MailCarrierHost {
  readonly name: string
  /** Our name in EHLO. */
  readonly hostname: string
  readonly events: DriverEvents
  readonly clock: Clock
  readonly log: Log
}

const TICK_MS = 50
/** Before refused credentials are tried again: they seldom heal by themselves. */
const REFUSED_MS = 60_000

interface Link {
  client: MailClient
  stand: LinkStand
  /** Waits for the connection, or for its answer. */
  part: Part | null
  sinceMs: number
  /** Monotonic; since it had work. */
  idleMs: number
}

export class MailCarrier implements Driver {
  up = false
  private readonly settings: MailCarrierSettings
  private readonly host: MailCarrierHost
  private readonly events: DriverEvents
  private readonly clock: Clock
  private readonly random: () => number
  private readonly pace: Pace
  private readonly links = new Set<Link>()
  private timer: NodeJS.Timeout | undefined
  private isStopping = false
  private isStarved = false
  /** In a row, of the server and not of a mail. */
  private failures = 0
  private retryAtMs = Number.NEGATIVE_INFINITY
  private lastReason = ''
  private sinceMs: number
  private emptied: () => void = () => {}

  constructor(settings: MailCarrierSettings, host: MailCarrierHost, random: () => number) {
    this.settings = settings
    this.host = host
    this.events = host.events
    this.clock = host.clock
    this.random = random
    this.pace = new Pace(settings.throughput, host.clock.mono())
    this.sinceMs = host.clock.now()
  }

  start(): void {
    this.timer = setInterval(() => this.tick(), TICK_MS)
    this.probe()
  }

  room(): number {
    if (!this.up || this.isStopping) return 0
    const tokens = this.pace.room(this.clock.mono())
    if (tokens <= 0) this.isStarved = true
    let free = this.settings.connections - this.links.size
    for (const { part, stand } of this.links) if (part === null && stand !== 'closed') free++
    return Math.max(0, Math.min(free, tokens))
  }

  send(part: Part): void {
    part.sentMs = this.clock.mono()
    if (!part.message.isMail) {
      this.events.answered(part, { kind: 'refused', code: 'no_mail', reason: 'this carrier takes mails only' })
      return
    }
    this.pace.spend()
    for (const link of this.links) {
      if (link.part !== null || link.stand === 'closed') continue
      link.part = part
      if (link.stand === 'ready') this.submit(link)
      return
    }
    this.open(part)
  }

  // -- connections ---------------------------------------------------------------

  /** With nothing to send: finds out whether the server is there. */
  private probe(): void {
    if (this.links.size === 0) this.open(null)
  }

  private open(part: Part | null): void {
    const { clock } = this
    let settings: ClientSettings
    try {
      settings = this.clientSettings()
    } catch (error) {
      // A file of TLS that cannot be read.
      const { message } = error as Error
      this.fall('tls', message)
      if (part !== null) this.answer(part, { kind: 'deferred', code: 'tls', reason: message })
      return
    }
    const link: Link = {
      client: new MailClient(settings, () => this.gone(link)),
      stand: 'binding',
      part,
      sinceMs: clock.now(),
      idleMs: clock.mono(),
    }
    this.links.add(link)
    void link.client.connect().then(why => {
      if (why === null) this.connected(link)
      else this.notConnected(link, why)
    })
  }

  private clientSettings(): ClientSettings {
    const { settings, host } = this
    const { ca, cert, key, servername, verify } = settings.tls ?? { verify: true }
    const octets = (path: string | undefined) => (path === undefined ? undefined : readFileSync(path))
    return {
      ...settings,
      name: host.hostname,
      tls: { ca: octets(ca), cert: octets(cert), key: octets(key), servername, verify },
    }
  }

  private connected(link: Link): void {
    if (!this.links.has(link)) return
    link.stand = 'ready'
    link.sinceMs = this.clock.now()
    link.idleMs = this.clock.mono()
    if (this.isStopping) {
      // What was handed over before has the time that is left.
      if (link.part === null) this.close(link)
      else this.submit(link)
      return
    }
    // Before anybody hears of it, who would give it another.
    if (link.part !== null) this.submit(link)
    if (!this.up) this.rise()
    else this.events.room()
  }

  private notConnected(link: Link, { isRefused, code, text }: NotConnected): void {
    if (!this.links.has(link)) return
    const { part } = link
    this.forget(link)
    this.fall(code, text, isRefused)
    if (part !== null) this.answer(part, { kind: 'deferred', code, reason: text })
    this.check()
  }

  /** The server ended it, or it was lost; a mail that was under way has been answered. */
  private gone(link: Link): void {
    if (!this.links.has(link)) return
    this.forget(link)
    this.events.count('link_closed')
    this.notSent(link)
    this.check()
    this.events.room()
  }

  /** What waited for it and never went over it. */
  private notSent(link: Link): void {
    const { part } = link
    link.part = null
    if (part !== null) this.answer(part, { kind: 'deferred', code: 'connection_lost', reason: 'it was not sent' })
  }

  private forget(link: Link): void {
    link.stand = 'closed'
    this.links.delete(link)
  }

  private close(link: Link): void {
    this.forget(link)
    link.client.quit()
    this.check()
  }

  private rise(): void {
    const { host, settings } = this
    host.log.info({ carrier: host.name, host: settings.host, port: settings.port }, 'mail carrier is up')
    this.up = true
    this.sinceMs = this.clock.now()
    this.events.changed()
  }

  /** The server cannot be used now: others may, and it is tried again after a while. */
  private fall(code: string, text: string, isRefused = false): void {
    const { host, settings, clock } = this
    // What is known already counts once: connections fail together.
    if (!this.up && clock.mono() < this.retryAtMs) return
    const back: BackOff = { minMs: settings.reconnectMinMs, maxMs: settings.reconnectMaxMs, refusals: 0 }
    const waitMs = backOffMs(++this.failures, back, this.random)
    const retryMs = isRefused ? Math.max(waitMs, REFUSED_MS) : waitMs
    this.retryAtMs = Math.max(this.retryAtMs, clock.mono() + retryMs)
    this.lastReason = text === '' ? code : text
    const line = { carrier: host.name, reason: this.lastReason, retryMs }
    if (isRefused) host.log.error(line, 'mail carrier refuses our credentials')
    else if (this.up || this.failures === 1) host.log.warn(line, 'mail carrier is down')
    this.events.count(isRefused ? 'mail_carrier_refused' : 'mail_carrier_failed')
    if (!this.up) return
    this.up = false
    this.sinceMs = clock.now()
    // Before the answers of what was waiting for it: they are routed anew by it.
    this.events.changed()
  }

  private tick(): void {
    const now = this.clock.mono()
    for (const link of this.links) {
      if (link.part === null && link.stand === 'ready' && now - link.idleMs >= this.settings.idleMs) this.close(link)
    }
    if (this.isStopping) return
    if (!this.up && now >= this.retryAtMs) this.probe()
    if (this.isStarved && !this.pace.resting(now)) {
      this.isStarved = false
      this.events.room()
    }
  }

  // -- mails -----------------------------------------------------------------------

  private submit(link: Link): void {
    const { message } = link.part as Part
    link.stand = 'full'
    const envelope = { from: utf8(message.source_addr), to: utf8(message.destination_addr) }
    link.client.send(envelope, message.body, sent => this.sent(link, sent))
  }

  private sent(link: Link, sent: Sent): void {
    const part = link.part as Part
    const { client } = link
    link.part = null
    link.idleMs = this.clock.mono()
    const isGood = sent.kind === 'taken'
    const isAnswer = isGood || sent.kind === 'refused' || sent.kind === 'later'
    if (isAnswer) this.failures = 0
    else this.fall(sent.code, 'text' in sent ? sent.text : sent.code)
    if (!isAnswer) {
      this.forget(link)
      client.end()
    } else if (this.isStopping || client.mails >= this.settings.messagesPerConnection) this.close(link)
    else if (isGood) link.stand = 'ready'
    else {
      link.stand = 'resting'
      client.reset(isReset => {
        if (!isReset) {
          if (this.links.has(link)) this.close(link)
          this.notSent(link)
        } else if (link.part === null) link.stand = 'ready'
        else this.submit(link)
        this.events.room()
      })
    }
    this.answer(part, outcomeOf(sent))
    this.check()
    this.events.room()
  }

  private answer(part: Part, outcome: Outcome): void {
    this.events.answeredIn(this.clock.mono() - part.sentMs, part.message.rank)
    this.events.answered(part, outcome)
  }

  // -- the end ---------------------------------------------------------------------

  async stop(withinMs: number): Promise<void> {
    this.isStopping = true
    for (const link of this.links) if (link.part === null) this.close(link)
    if (this.links.size > 0 && withinMs > 0) {
      let deadline: NodeJS.Timeout | undefined
      await new Promise<void>(resolve => {
        this.emptied = resolve
        deadline = setTimeout(resolve, withinMs)
      })
      clearTimeout(deadline)
    }
    clearInterval(this.timer)
    for (const link of [...this.links]) {
      const { part, stand } = link
      if (stand === 'full') link.client.end()
      this.forget(link)
      if (stand === 'full') continue
      link.client.end()
      if (part !== null) this.answer(part, { kind: 'deferred', code: 'stopping', reason: 'the carrier stops' })
    }
    this.up = false
  }

  private check(): void {
    if (this.isStopping && this.links.size === 0) this.emptied()
  }

  figures(): DriverFigures {
    const { host, port } = this.settings
    const peer = `${host}:${port}`
    const links = Array.from(
      this.links,
      ({ stand, part, sinceMs }): LinkFigures => ({
        stand,
        peer,
        inFlight: Number(part !== null),
        window: 1,
        sinceMs,
        lastReason: this.lastReason,
      }),
    )
    const none: LinkFigures = {
      // Connections come with work: none at all is no fault.
      stand: this.up ? 'ready' : 'closed',
      peer,
      inFlight: 0,
      window: 1,
      sinceMs: this.sinceMs,
      lastReason: this.lastReason,
    }
    return { up: this.up, links: links.length > 0 ? links : [none], ratePerSecond: this.pace.ratePerSecond, unsure: 0 }
  }
}

/** An address that is not ASCII stands in a message as the octets of its UTF-8. */
const utf8 = (address: string): string =>
  /[\x80-\xff]/.test(address) ? Buffer.from(address, 'latin1').toString() : address

/** RFC 5321 §4.2.1: 5yz never, 4yz later; a mail whose answer was lost after its last octet may have been taken. */
function outcomeOf(sent: Sent): Outcome {
  switch (sent.kind) {
    case 'taken':
      return { kind: 'accepted', ref: '' }
    case 'refused':
      return { kind: 'refused', code: sent.code, reason: sent.text }
    case 'later':
      return { kind: 'deferred', code: sent.code, reason: sent.text }
    case 'closing':
      return { kind: 'deferred', code: sent.code, reason: sent.text }
    case 'lost':
      return { kind: 'deferred', code: sent.code, reason: sent.code }
    case 'unsure':
      return { kind: 'unsure', code: sent.code }
  }
}
