// When a session is asked, unbound or given up (SMPP v3.4 §7.2). All times are milliseconds on one monotonic clock, passed in;
// this file never reads a clock and touches no socket. Which requests have expired is the window's to say.

export interface TimerLimits {
  /** session_init_timer: from the connection to a successful bind. */
  readonly sessionInitMs: number
  /** enquire_link_timer: silence of the peer after which it is asked. 0: never. */
  readonly enquireLinkMs: number
  /** Asked each enquireLinkMs whatever else goes to and fro: some peers take nothing else for life. */
  readonly enquireInTraffic?: boolean
  /** response_timer: for an enquire_link, an unbind, and each request. */
  readonly responseMs: number
  /** inactivity_timer: since the last request or response but enquire_link. 0: never. */
  readonly inactivityMs: number
  /** How long a peer may leave more than `sendBytes` unread. */
  readonly stallMs: number
}

/** What the verdict depends on; a moment of -1 is "not now". */
export interface TimerState {
  readonly bound: boolean
  /** False while we have stopped reading: then the peer's silence is our doing. */
  readonly reading: boolean
  readonly openedAt: number
  /** When the last whole PDU came. */
  readonly heardAt: number
  /** When enquire_link was last sent, or the bind made. */
  readonly enquiredAt: number
  /** When the peer was asked by enquire_link, and it has been silent since. */
  readonly askedAt: number
  readonly transactedAt: number
  /** When either side unbound. */
  readonly unboundAt: number
  /** Since when too much has been waiting for the peer to read it. */
  readonly stalledAt: number
}

export type Verdict =
  | 'nothing'
  /** Send an enquire_link. */
  | 'enquire'
  /** Unbind for want of transactions. */
  | 'inactive'
  /** The unbinding has had its time: close. */
  | 'unbound'
  | 'never bound'
  | 'link silent'
  | 'too slow to read'

export function verdict(state: TimerState, now: number, limits: TimerLimits): Verdict {
  if (state.stalledAt >= 0 && now - state.stalledAt >= limits.stallMs) return 'too slow to read'
  if (state.unboundAt >= 0) return now - state.unboundAt >= limits.responseMs ? 'unbound' : 'nothing'
  if (!state.bound) return now - state.openedAt >= limits.sessionInitMs ? 'never bound' : 'nothing'
  if (!state.reading) return 'nothing'
  if (state.askedAt >= 0) return now - state.askedAt >= limits.responseMs ? 'link silent' : 'nothing'
  if (limits.inactivityMs > 0 && now - state.transactedAt >= limits.inactivityMs) return 'inactive'
  const since = limits.enquireInTraffic ? state.enquiredAt : state.heardAt
  if (limits.enquireLinkMs > 0 && now - since >= limits.enquireLinkMs) return 'enquire'
  return 'nothing'
}
