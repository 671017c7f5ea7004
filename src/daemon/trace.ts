// Who sees which PDUs: the log, of accounts and carriers that the settings or an operator name, one line each at debug
// without texts and passwords; and whoever watches live. A session that nobody wants to see costs nothing.

import { describePdu } from '../../protocols/smpp/pdu.js'
import type { Session } from '../../protocols/smpp/session.js'
import type { TracedSession, TraceTap } from '../admin/subject.js'
import type { Clock } from '../base/clock.js'
import type { Log } from '../base/log.js'

type Watched = Pick<Session<unknown>, 'peer' | 'local' | 'state' | 'trace'>

/** Of a session that has no name yet; what it says beyond that is not kept. */
const HELD_PDUS = 16
const HELD_OCTETS = 16_384

export class Trace {
  private names = new Set<string>()
  private readonly watched = new Map<Watched, One>()
  private readonly taps = new Set<TraceTap>()
  private readonly clock: Clock
  private serial = 0

  constructor(log: Log, clock: Clock) {
    this.clock = clock
    this.taps.add({
      wants: ({ name }) => this.names.has(name),
      pdu: ({ name, peer }, direction, _atMs, buf, start, end) =>
        log.debug({ name, peer, direction }, describePdu(buf, start, end)),
      missed: () => {},
      ended: () => {},
    })
  }

  get named(): readonly string[] {
    return [...this.names]
  }

  /** system_ids and carriers' names whose PDUs are logged, from now on and for the sessions that are. */
  use(names: readonly string[]): void {
    this.names = new Set(names)
    this.applyAll()
  }

  /** Shows it the sessions that it wants, from now on; returns how to stop. */
  tap(tap: TraceTap): () => void {
    this.taps.add(tap)
    this.applyAll()
    return () => {
      this.taps.delete(tap)
      this.applyAll()
    }
  }

  /** A session that may be traced; its name may become known later. Returns what to call when it is gone. */
  watch(session: Watched, kind: TracedSession['kind'], name: () => string): () => void {
    const one = new One(session, ++this.serial, kind, name)
    this.watched.set(session, one)
    this.apply(one)
    return () => {
      this.watched.delete(session)
      this.give(one)
      for (const tap of one.takers) tap.ended(one)
    }
  }

  /** The session's name has become known, or has changed. */
  renamed(session: Watched): void {
    const one = this.watched.get(session)
    if (one !== undefined) this.apply(one)
  }

  private applyAll(): void {
    for (const one of this.watched.values()) this.apply(one)
  }

  private apply(one: One): void {
    one.takers = [...this.taps].filter(tap => tap.wants(one))
    const { session, takers } = one
    if (one.name === '' && !this.isIdle) {
      one.look()
      session.trace = (direction, buf, start, end) => one.hold(direction, this.clock.now(), buf, start, end)
      return
    }
    if (takers.length > 0) one.look()
    this.give(one)
    session.trace =
      takers.length === 0
        ? null
        : (direction, buf, start, end) => {
            const atMs = this.clock.now()
            for (const tap of takers) tap.pdu(one, direction, atMs, buf, start, end)
          }
  }

  /** Nobody looks at anything. */
  private get isIdle(): boolean {
    return this.names.size === 0 && this.taps.size === 1
  }

  /** What it said before its name was known, or, at its end, without ever telling one. */
  private give(one: One): void {
    const { held, missed } = one
    one.held = []
    one.heldOctets = 0
    one.missed = 0
    for (const tap of one.takers) {
      for (const { direction, atMs, octets } of held) tap.pdu(one, direction, atMs, octets, 0, octets.length)
      if (missed > 0) tap.missed(missed)
    }
  }
}

interface Held {
  readonly direction: 'received' | 'sent'
  readonly atMs: number
  readonly octets: Buffer
}

class One implements TracedSession {
  readonly session: Watched
  readonly serial: number
  readonly kind: TracedSession['kind']
  local = ''
  takers: readonly TraceTap[] = []
  held: Held[] = []
  heldOctets = 0
  missed = 0
  private readonly called: () => string

  constructor(session: Watched, serial: number, kind: TracedSession['kind'], called: () => string) {
    this.session = session
    this.serial = serial
    this.kind = kind
    this.called = called
  }

  get name(): string {
    return this.called()
  }

  get peer(): string {
    return this.session.peer
  }

  /** A socket that is gone does not say where it was. */
  look(): void {
    this.local ||= this.session.local
  }

  hold(direction: Held['direction'], atMs: number, buf: Buffer, start: number, end: number): void {
    if (this.held.length >= HELD_PDUS || this.heldOctets + end - start > HELD_OCTETS) {
      this.missed++
      return
    }
    this.heldOctets += end - start
    this.held.push({ direction, atMs, octets: Buffer.from(buf.subarray(start, end)) })
  }
}
