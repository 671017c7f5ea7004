// Who guesses passwords: failed binds by the network they came from. Says how long the next answer waits, and who is not let
// in for a while. Bounded, and forgets; knows neither accounts nor sockets.

export interface FailureLimits {
  /** The longest that the answer to a failed bind waits; 0: none waits. */
  readonly delayMs: number
  /** So many failures without a good bind between them, and the network is barred; 0: never. */
  readonly barredAfter: number
  /** For so long. */
  readonly barredMs: number
}

interface Failures {
  count: number
  /** When the last one was. */
  atMs: number
  barredUntilMs: number
}

/** A mistyped password is not yet guessing. */
const FREE = 2
const FIRST_DELAY_MS = 125
/** Failures this old are forgotten. */
const FORGOTTEN_MS = 600_000
const REMEMBERED = 10_000

export class FailedBinds {
  limits: FailureLimits
  private readonly now: () => number
  /** The least recently failed first. */
  private readonly byNetwork = new Map<string, Failures>()

  /** `now`: milliseconds, monotonic. */
  constructor(limits: FailureLimits, now: () => number) {
    this.limits = limits
    this.now = now
  }

  /** One more failure; how many ms its answer must wait. */
  add(network: string): number {
    const now = this.now()
    const { delayMs, barredAfter, barredMs } = this.limits
    let found = this.byNetwork.get(network)
    if (found === undefined || now - found.atMs >= FORGOTTEN_MS) found = { count: 0, atMs: now, barredUntilMs: -1 }
    found.count++
    found.atMs = now
    this.byNetwork.delete(network)
    this.byNetwork.set(network, found)
    if (this.byNetwork.size > REMEMBERED) this.byNetwork.delete(this.byNetwork.keys().next().value as string)
    if (barredAfter > 0 && found.count >= barredAfter && now >= found.barredUntilMs) {
      found.barredUntilMs = now + barredMs
    }
    const delay = found.count > FREE ? FIRST_DELAY_MS * 2 ** Math.min(found.count - FREE - 1, 20) : 0
    return Math.min(delay, delayMs)
  }

  /** A good bind: who knows a password is not guessing. */
  clear(network: string): void {
    this.byNetwork.delete(network)
  }

  isBarred(network: string): boolean {
    const found = this.byNetwork.get(network)
    return found !== undefined && this.now() < found.barredUntilMs
  }

  /** Networks remembered. */
  get size(): number {
    return this.byNetwork.size
  }
}
