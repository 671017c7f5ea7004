// What stands between a session and whoever owns it: the calls it makes, its limits, and the reasons it ends for.
// Types and numbers only; session.ts keeps the promises.
import type { Session } from './session.js'
import type { TimerLimits } from './timers.js'

/** Why a session ended. The first cause counts: a peer that hangs up while we unbind it leaves our reason standing. */
export type CloseReason =
  | 'unbound by peer'
  | 'unbound by us'
  | 'never bound'
  | 'link silent'
  | 'too slow to read'
  | 'bad frame'
  | 'peer closed'
  | 'connection lost'
  | 'refused'
  | 'draining'
  | 'account suspended'
  | 'inactive'
  | 'flooding'
  | 'internal fault'

export interface SessionLimits extends TimerLimits {
  /** command_length above this loses the peer its session. */
  readonly maxPduBytes: number
  /** Requests of ours that may be unanswered, by number and by octets. */
  readonly windowRequests: number
  readonly windowBytes: number
  /** Octets that may wait for the peer to read them, before we stop reading from it. */
  readonly sendBytes: number
  /** So many expired requests are remembered for an answer that comes late. */
  readonly lateRequests: number
}

export const defaultLimits: SessionLimits = {
  maxPduBytes: 70_000,
  windowRequests: 100,
  windowBytes: 1_048_576,
  sendBytes: 1_048_576,
  lateRequests: 1000,
  sessionInitMs: 10_000,
  enquireLinkMs: 30_000,
  responseMs: 30_000,
  inactivityMs: 0,
  stallMs: 30_000,
}

/**
 * Who listens to a session. All calls are synchronous; `buf` is never written again, so views of it may be kept. Command ids and statuses are
 * unsigned. T is the owner's token for each request it sends. An exception out of any of them closes that session with
 * 'internal fault' and goes to `onFault`.
 */
export interface SessionOwner<T> {
  /**
   * A request that the state table allows; `buf[start, end)` is the whole PDU. The owner answers each once, now or later, by
   * `commit` or `respondHeader` (alert_notification and outbind, which have no response, excepted).
   */
  request(session: Session<T>, command: number, sequence: number, buf: Buffer, start: number, end: number): void
  /**
   * The answer to the request that was sent with `token`: its response, or generic_nack. That the response is of the
   * request's kind is not checked.
   */
  response(
    session: Session<T>,
    token: T,
    command: number,
    status: number,
    buf: Buffer,
    start: number,
    end: number,
  ): void
  /** Not answered within responseMs: it has left the window, and may still have been carried out. */
  expired(session: Session<T>, token: T): void
  /** The answer came after `expired`. */
  late(session: Session<T>, token: T, command: number, status: number, buf: Buffer, start: number, end: number): void
  /** All PDUs of one chunk have been handled: a good moment to send. */
  turn(session: Session<T>): void
  /** `room()` was 0 and is not any more. Not called where `turn` has asked and found it so. */
  room(session: Session<T>): void
  /**
   * Exactly once, and the last call: `unanswered` are the requests in flight, in the order sent; expired ones are not among
   * them. Comes from within `close`, `destroy` and `unbind` where these end the session at once.
   */
  closed(session: Session<T>, reason: CloseReason, unanswered: T[]): void
  /** A call of the owner's threw, or was given what it must not be. */
  onFault(session: Session<T>, error: unknown): void
}
