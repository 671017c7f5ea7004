// A message centre for tests, demonstrations and measurements: takes what ESMEs submit, answers, reports, replies, and
// misbehaves as it is told. Reusable without a command line; `trunkline simulate` prints. Knows all connections and the
// counts; what is said on a connection is the Peer's.

import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { PduCounts } from '../../protocols/smpp/counts.js'
import { messageState } from '../../protocols/smpp/receipt.js'
import { defaultLimits, Session, type SessionLimits } from '../../protocols/smpp/session.js'
import { SessionClock } from '../../protocols/smpp/session-clock.js'
import { status } from '../../protocols/smpp/status.js'
import { Arrivals } from './serial.js'
import { Client, Taken } from './smsc/client.js'
import type { IdFormat } from './smsc/ids.js'
import { Peer } from './smsc/peer.js'
import { ReceiptText } from './smsc/receiptText.js'

/** `every N`: each Nth one, counted over all connections; 0 is never. */
export interface SmscSettings {
  readonly host: string
  readonly port: number
  /** null: any. */
  readonly systemId: string | null
  readonly password: string | null
  /** Over all clients; 0: no limit. */
  readonly maxBinds: number
  /** The command_status of every bind_*_resp; 0 takes them. */
  readonly refuseBind: number
  readonly idFormat: IdFormat
  readonly receiptIdFormat: IdFormat
  /** Ids are numbers from here on; a simulator that is started again must not give the same. */
  readonly firstId: number
  /** submit_sm a second over all binds; 0: no limit. */
  readonly throttle: number
  readonly failEvery: number
  readonly failStatus: number
  readonly dropEvery: number
  readonly stallEvery: number
  readonly stallMs: number
  readonly responseDelayMs: number
  /** After the answer. */
  readonly receiptDelayMs: number
  /** The receipt goes before the answer, whatever delay that has. */
  readonly receiptFirst: boolean
  readonly doubleReceipts: boolean
  readonly loseReceipts: number
  /** message_state of every receipt. */
  readonly receiptState: number
  readonly moEvery: number
}

export const smscDefaults: SmscSettings = {
  host: '127.0.0.1',
  port: 27_750,
  systemId: null,
  password: null,
  maxBinds: 0,
  refuseBind: 0,
  idFormat: 'hex',
  receiptIdFormat: 'hex',
  firstId: 0xa0000001,
  throttle: 0,
  failEvery: 0,
  failStatus: status.ESME_RINVDSTADR,
  dropEvery: 0,
  stallEvery: 0,
  stallMs: 5000,
  responseDelayMs: 0,
  receiptDelayMs: 0,
  receiptFirst: false,
  doubleReceipts: false,
  loseReceipts: 0,
  receiptState: messageState.DELIVERED,
  moEvery: 0,
}

export class SmscCounts {
  binds = 0
  bindsRefused = 0
  /** submit_sm that came, whatever was answered. */
  submits = 0
  accepted = 0
  throttled = 0
  failed = 0
  malformed = 0
  /** Connections cut, and stalled, on purpose. */
  dropped = 0
  stalled = 0
  /** Receipts that were due: `receiptsLost` of them were withheld on purpose. */
  receipts = 0
  receiptsLost = 0
  /** deliver_sm sent, again ones included. */
  receiptsSent = 0
  receiptsAcked = 0
  receiptsNacked = 0
  repliesSent = 0
  repliesAcked = 0
  repliesNacked = 0
  /** deliver_sm sent again: their connection was lost, or the ESME said "not now". */
  resent = 0
}

const TICK_MS = 50
const LISTEN_BACKLOG = 1024
/** deliver_sm that an ESME may leave unanswered. */
const WINDOW = 1000
const GOODBYE_MS = 1000

export class Smsc {
  readonly settings: SmscSettings
  readonly counts = new SmscCounts()
  readonly arrivals = new Arrivals()
  readonly peers = new Set<Peer>()
  /** Taken messages that are done with. */
  readonly pool: Taken[] = []
  firstSubmitAt = 0
  lastSubmitAt = 0
  port = 0
  /** A bug of ours: set by a test or a command that wants to know. */
  onFault: (error: unknown) => void = error => {
    throw error
  }
  private readonly clients = new Map<string, Client>()
  private readonly clock = new SessionClock(() => performance.now(), TICK_MS)
  private readonly pdus = new PduCounts()
  private readonly text: ReceiptText
  private readonly server = createServer({ noDelay: true })
  private readonly limits: SessionLimits = {
    ...defaultLimits,
    windowRequests: WINDOW,
    windowBytes: Number.MAX_SAFE_INTEGER,
    responseMs: Number.POSITIVE_INFINITY,
  }
  /** Added to our clock it is the time of day. */
  private readonly wallOffsetMs = Date.now() - performance.now()
  private ids: number
  private replies = 0
  private windowAt = 0
  private windowCount = 0
  private moment = -1
  private timer: NodeJS.Timeout | undefined
  private timerDueMs = Number.POSITIVE_INFINITY
  private emptied: () => void = () => {}

  constructor(given: Partial<SmscSettings> = {}) {
    const settings = { ...smscDefaults, ...given }
    this.settings = settings
    this.ids = settings.firstId
    this.text = new ReceiptText(settings.receiptIdFormat, settings.receiptState)
    this.server.on('connection', socket => {
      const peer = new Peer(this)
      peer.session = new Session<Taken>(socket, 'smsc', peer, this.limits, this.clock, this.pdus)
      this.peers.add(peer)
    })
  }

  /** Resolves with the port; rejects with what the system says (EADDRINUSE, EACCES). */
  async listen(): Promise<number> {
    const { host, port } = this.settings
    this.server.listen({ host, port, backlog: LISTEN_BACKLOG })
    await once(this.server, 'listening')
    this.port = (this.server.address() as AddressInfo).port
    return this.port
  }

  /** Unbinds everybody, and hangs up on who has not gone after a second. */
  async stop(): Promise<void> {
    this.server.close()
    const gone = new Promise<void>(resolve => {
      this.emptied = resolve
    })
    for (const { session } of [...this.peers]) {
      session.resume()
      session.limits = { ...this.limits, responseMs: GOODBYE_MS }
      session.unbind('unbound by us')
    }
    if (this.peers.size > 0) {
      const late = setTimeout(() => {
        for (const { session } of [...this.peers]) session.destroy('unbound by us')
      }, GOODBYE_MS)
      await gone
      clearTimeout(late)
    }
    clearTimeout(this.timer)
  }

  /** Receipts and replies that wait for a bind, or for their time. */
  get waiting(): number {
    let size = 0
    for (const client of this.clients.values()) size += client.size
    return size
  }

  // For the peers

  /** The time of this turn. */
  now(): number {
    if (this.moment < 0) this.moment = performance.now()
    return this.moment
  }

  turnOver(): void {
    this.moment = -1
  }

  /** ESME_ROK, or why a bind is refused. */
  refusal(systemId: string, password: string): number {
    const { settings } = this
    if (settings.refuseBind !== 0) return settings.refuseBind
    if (settings.systemId !== null && systemId !== settings.systemId) return status.ESME_RINVSYSID
    if (settings.password !== null && password !== settings.password) return status.ESME_RINVPASWD
    if (settings.maxBinds === 0) return status.ESME_ROK
    let bound = 0
    for (const peer of this.peers) if (peer.session.bound) bound++
    return bound < settings.maxBinds ? status.ESME_ROK : status.ESME_RBINDFAIL
  }

  clientOf(systemId: string): Client {
    let client = this.clients.get(systemId)
    if (client === undefined) {
      client = new Client()
      this.clients.set(systemId, client)
    }
    return client
  }

  /** Counts a submit_sm; returns its number. */
  submitted(now: number): number {
    if (this.firstSubmitAt === 0) this.firstSubmitAt = now
    this.lastSubmitAt = now
    return ++this.counts.submits
  }

  throttles(now: number): boolean {
    if (now - this.windowAt >= 1000) {
      this.windowAt = now
      this.windowCount = 0
    }
    return ++this.windowCount > this.settings.throttle
  }

  nextId(): number {
    return this.ids++
  }

  nextReply(): number {
    return ++this.replies
  }

  another(): Taken {
    return new Taken()
  }

  receiptText(serial: number): Buffer {
    const doneMs = this.clock.time + this.wallOffsetMs
    return this.text.of(serial, doneMs - this.settings.receiptDelayMs, doneMs)
  }

  leave(peer: Peer): void {
    this.peers.delete(peer)
    if (this.peers.size === 0) this.emptied()
  }

  fault(error: unknown): void {
    this.onFault(error)
  }

  /** Something will be due then. */
  wakeAt(dueMs: number): void {
    if (dueMs >= this.timerDueMs) return
    clearTimeout(this.timer)
    this.timerDueMs = dueMs
    this.timer = setTimeout(() => this.wake(), Math.max(dueMs - performance.now(), 0))
  }

  private wake(): void {
    this.timerDueMs = Number.POSITIVE_INFINITY
    this.moment = -1
    const now = this.now()
    let dueMs = Number.POSITIVE_INFINITY
    for (const peer of this.peers) {
      peer.wake(now)
      dueMs = Math.min(dueMs, peer.dueMs())
    }
    for (const client of this.clients.values()) {
      client.pump(now)
      dueMs = Math.min(dueMs, client.dueMs(now))
    }
    if (dueMs < Number.POSITIVE_INFINITY) this.wakeAt(dueMs)
    this.moment = -1
  }
}
