// Who guesses passwords: failed binds by the network they came from. Says how long the next answer waits, and who is not let
// in for a while. Bounded, and forgets; knows neither accounts nor sockets.

import { LRUCache } from 'lru-cache'

export interface FailureLimits {
  /** The longest that the answer to a failed bind waits; 0: none waits. */
  readonly delayMs: number
  /** So many failures that no good bind has made up for, and the network is barred; 0: never. */
  readonly barredAfter: number
  /** For so long. */
  readonly barredMs: number
}

interface Failures {
  count: number
  /** Of `count`, those of each name, for the first few names. */
  readonly byName: Map<string, number>
  /** When the last one was. */
  atMs: number
  barredUntilMs: number
}

/** A mistyped password is not yet guessing. */
const FREE = 2
const FIRST_DELAY_MS = 125
/** Failures this old are forgotten. */
const FORGOTTEN_MS = 600_000
/** Networks; past that the one that has not failed for longest is forgotten. */
const REMEMBERED = 10_000
/** Names of one network; failures of more than these are not forgiven. */
const NAMES = 16
/** Of mail's names; those of SMPP have 15 characters at most. */
const LONGEST_NAME = 64

export class FailedBinds {
  limits: FailureLimits
  private readonly now: () => number
  private readonly byNetwork = new LRUCache<string, Failures>({ max: REMEMBERED })

  /** `now`: milliseconds, monotonic. */
  constructor(limits: FailureLimits, now: () => number) {
    this.limits = limits
    this.now = now
  }

  /** One more failure, of whoever called itself `name`; how many ms its answer must wait. */
  add(network: string, name: string): number {
    const now = this.now()
    const { delayMs, barredAfter, barredMs } = this.limits
    let found = this.byNetwork.get(network)
    if (found === undefined || now - found.atMs >= FORGOTTEN_MS) {
      found = { count: 0, byName: new Map(), atMs: now, barredUntilMs: -1 }
      this.byNetwork.set(network, found)
    }
    const ofName = found.byName.get(name)
    if (ofName !== undefined || (found.byName.size < NAMES && name.length <= LONGEST_NAME)) {
      found.byName.set(name, (ofName ?? 0) + 1)
    }
    found.count++
    found.atMs = now
    if (barredAfter > 0 && found.count >= barredAfter && now >= found.barredUntilMs) {
      found.barredUntilMs = now + barredMs
    }
    const delay = found.count > FREE ? FIRST_DELAY_MS * 2 ** Math.min(found.count - FREE - 1, 20) : 0
    return Math.min(delay, delayMs)
  }

  /**
   * A good bind of `name`: it was not guessing. What others of its network did stands: an account of one's own must be no
   * help in guessing at another.
   */
  forgive(network: string, name: string): void {
    const found = this.byNetwork.peek(network)
    if (found === undefined) return
    found.count -= found.byName.get(name) ?? 0
    found.byName.delete(name)
    if (found.count === 0) this.byNetwork.delete(network)
    // What was forgiven has barred nobody.
    else if (found.count < this.limits.barredAfter) found.barredUntilMs = -1
  }

  /** The last failure of `name` was none: nobody knows whether it was right. */
  undo(network: string, name: string): void {
    const found = this.byNetwork.peek(network)
    const ofName = found?.byName.get(name)
    if (found === undefined || ofName === undefined) return
    found.byName.set(name, ofName - 1)
    if (--found.count < this.limits.barredAfter) found.barredUntilMs = -1
  }

  isBarred(network: string): boolean {
    const found = this.byNetwork.peek(network)
    return found !== undefined && this.now() < found.barredUntilMs
  }

  /** Networks remembered. */
  get size(): number {
    return this.byNetwork.size
  }
}
