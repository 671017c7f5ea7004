// A scripted carrier: an SMSC on a real port that does with each bind and each submit_sm what the test says. Without a
// script it takes everything and reports it delivered. Knows no test; keeps everything that came.
import { once } from 'node:events'
import net from 'node:net'
import { command } from '../../protocols/smpp/commands.js'
import { EMPTY } from '../../protocols/smpp/octets.js'
import { encodePdu, type PduFields } from '../../protocols/smpp/pdu.js'
import { minuteText } from './moment.js'
import { type Cleaner, type Heard, PATIENCE_MS, Peer, Waiting, within } from './peer.js'
import { listen } from './ports.js'

type SubmitSm = PduFields[typeof command.submit_sm]
type DeliverSm = PduFields[typeof command.deliver_sm]
type BindFields = PduFields[typeof command.bind_transceiver]

export interface Script {
  /** command_status of a bind; 0 if not given. */
  bind?: (fields: BindFields) => number
  /** What is done with a submit_sm; {@link Submitted.deliver} if not given. */
  submit?: (sm: Submitted) => void
}

export interface ReceiptWords {
  stat?: string
  err?: string
  /** The id as the receipt has it; the one of the answer if not given. */
  id?: string
  /** done date: YYMMDDhhmm; this minute if not given. */
  done?: string
  tlvs?: Buffer
}

/** A submit_sm that a carrier got. */
export class Submitted {
  readonly link: Peer
  readonly pdu: Heard
  readonly fields: SubmitSm
  /** The carrier's id for it. */
  ref: string

  constructor(link: Peer, pdu: Heard, ref: string) {
    this.link = link
    this.pdu = pdu
    this.fields = pdu.fields as SubmitSm
    this.ref = ref
  }

  get text(): string {
    return this.fields.short_message.toString('latin1')
  }

  /** submit_sm_resp with an id. */
  accept(ref = this.ref): void {
    this.ref = ref
    this.link.respond(this.pdu, 0, { message_id: ref })
  }

  refuse(status: number): void {
    this.link.respond(this.pdu, status)
  }

  /** Its receipt; resolves with the command_status of the answer. */
  async receipt(words: ReceiptWords = {}, link = this.link): Promise<number> {
    const { fields } = this
    const { stat = 'DELIVRD', err = '000', id = this.ref, done = minuteText(), tlvs } = words
    const text = `id:${id} sub:001 dlvrd:001 submit date:${done} done date:${done} stat:${stat} err:${err} text:`
    const answer = await link.request(
      command.deliver_sm,
      {
        source_addr: fields.destination_addr,
        destination_addr: fields.source_addr,
        esm_class: 0x04,
        short_message: Buffer.from(text),
      },
      tlvs,
    )
    return answer.status
  }

  /** A carrier that takes its time. */
  later(ms: number, then: () => void): void {
    const timer = setTimeout(then, ms)
    void this.link.closed.then(() => clearTimeout(timer))
  }

  /** Accepts it and reports it delivered at once. */
  deliver(): void {
    this.accept()
    // The link may go before it is answered: who wants to know asks `receipt` itself.
    this.receipt().catch(() => {})
  }
}

export class Smsc {
  script: Script
  /** Every submit_sm over all links, in the order in which it came. */
  readonly submitted: Submitted[] = []
  /** Bound links, the oldest first. */
  readonly links = new Set<Peer>()
  /** Connections that came, bound or not. */
  connections = 0
  private readonly sockets = new Set<net.Socket>()
  private server = net.createServer()
  private portInUse = 0
  private taken = 0
  private serial = 0
  /** Receipts that wait for a link. */
  private reporting: (() => void)[] = []
  private isOver = false
  private readonly prefix: string
  private readonly waiting = new Waiting()

  constructor(script: Script, prefix: string) {
    this.script = script
    this.prefix = prefix
  }

  get port(): number {
    return this.portInUse
  }

  /** Listens, at the port it had before. */
  async open(): Promise<void> {
    this.server = net.createServer(socket => this.connected(socket))
    if (this.portInUse === 0) this.portInUse = await listen(this.server)
    else await once(this.server.listen(this.portInUse, '127.0.0.1'), 'listening')
  }

  /** Hangs up on everyone and refuses connections. */
  async close(): Promise<void> {
    if (!this.server.listening) return
    this.server.close()
    for (const socket of this.sockets) socket.destroy()
    await once(this.server, 'close')
  }

  private connected(socket: net.Socket): void {
    this.connections++
    this.sockets.add(socket)
    const link = new Peer(socket)
    void link.closed.then(() => {
      this.sockets.delete(socket)
      this.links.delete(link)
      this.waiting.look()
    })
    link.onRequest = pdu => this.request(link, pdu)
  }

  private request(link: Peer, pdu: Heard): void {
    if (pdu.name === 'submit_sm') {
      const sm = new Submitted(link, pdu, `${this.prefix}${++this.serial}`)
      this.submitted.push(sm)
      const { submit } = this.script
      if (submit) submit(sm)
      else sm.deliver()
    } else if (pdu.name.startsWith('bind_')) {
      const status = this.script.bind?.(pdu.fields as BindFields) ?? 0
      link.respond(pdu, status, status === 0 ? { system_id: 'smsc' } : {})
      if (status !== 0) return
      this.links.add(link)
      this.reportOn()
    } else if (pdu.name === 'unbind') {
      link.respond(pdu)
      link.flush()
      link.socket.end()
    } else link.respond(pdu)
    this.waiting.look()
  }

  /** The oldest bound link. */
  get link(): Peer {
    const [first] = this.links
    if (first === undefined) throw new Error('no link is bound')
    return first
  }

  /** Resolves when so many links are bound. */
  bound(links = 1): Promise<true> {
    return this.waiting.until(
      () => this.links.size >= links || undefined,
      `${links} links, there are ${this.links.size}`,
    )
  }

  /** Resolves when no link is bound. */
  unbound(): Promise<true> {
    return this.waiting.until(() => this.links.size === 0 || undefined, 'the links to go')
  }

  /** The next submit_sm that no one has taken so. */
  async next(): Promise<Submitted> {
    const sm = await this.waiting.until(() => this.submitted[this.taken], `submit_sm ${this.taken + 1}`)
    this.taken++
    return sm
  }

  async take(count: number): Promise<Submitted[]> {
    const all: Submitted[] = []
    while (all.length < count) all.push(await this.next())
    return all
  }

  /** Resolves when `done` says so; it is asked after each PDU. */
  until(done: () => boolean, what: string, ms = PATIENCE_MS): Promise<true> {
    return this.waiting.until(
      () => done() || undefined,
      () => `${what}; ${this.submitted.length} submit_sm came`,
      ms,
    )
  }

  /** Offers a receipt until it is taken, over whatever link is bound, as carriers do. False when the test was over first. */
  async report(sm: Submitted, words: ReceiptWords = {}): Promise<boolean> {
    for (;;) {
      await new Promise<void>(resolve => {
        if (this.links.size > 0 || this.isOver) resolve()
        else this.reporting.push(resolve)
      })
      if (this.isOver) return false
      if ((await sm.receipt(words, this.link).catch(() => -1)) === 0) return true
    }
  }

  /** Hangs up for good. */
  async end(): Promise<void> {
    this.isOver = true
    this.reportOn()
    await this.close()
  }

  private reportOn(): void {
    const { reporting } = this
    this.reporting = []
    for (const resolve of reporting) resolve()
  }

  /** A message from a phone; resolves with the command_status of the answer. */
  async mobileOriginated(fields: Partial<DeliverSm>, tlvs?: Buffer): Promise<number> {
    return (await within(this.link.request(command.deliver_sm, fields, tlvs), 'deliver_sm_resp')).status
  }

  /** Unbinds all links in order. */
  async unbind(): Promise<void> {
    for (const link of this.links) {
      await within(link.request(command.unbind), 'unbind_resp')
      link.socket.end()
    }
  }
}

let carriers = 0

/** A carrier that listens. `prefix` begins each of its ids. */
export async function smsc(t: Cleaner, script: Script = {}, prefix?: string): Promise<Smsc> {
  const carrier = new Smsc(script, prefix ?? `C${++carriers}-`)
  await carrier.open()
  t.teardown(() => carrier.end())
  return carrier
}

/** A whole submit_sm_resp, for scripts that write octets in an order of their own. */
export const submitSmResp = (sm: Submitted, ref = sm.ref): Buffer =>
  encodePdu(command.submit_sm_resp, 0, sm.pdu.sequence, { message_id: ref }, EMPTY)
