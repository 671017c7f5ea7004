// How many connections there are, in all and from each network, and how fast new ones come. One crowd may stand before several
// listeners. Knows numbers and names of networks; sockets are the listener's.

export interface CrowdLimits {
  /** Connections at one time. */
  readonly all: number
  /** Of one network; 0: as many as there may be in all. */
  readonly perNetwork: number
  /** New ones a second of one network; 0: no limit. */
  readonly perSecond: number
}

/** Networks whose pace is remembered; past that the one that has been quiet longest is forgotten. */
const REMEMBERED = 10_000

export class Crowd {
  limits: CrowdLimits
  /** Connections that are open. */
  count = 0
  private readonly now: () => number
  private readonly perNetwork = new Map<string, number>()
  /** A bucket of `perSecond` new connections that fills up in a second; the least recently used first. */
  private readonly paces = new Map<string, { left: number; atMs: number }>()

  /** `now`: milliseconds, monotonic. */
  constructor(limits: CrowdLimits, now: () => number) {
    this.limits = limits
    this.now = now
  }

  get isFull(): boolean {
    return this.count >= this.limits.all
  }

  /** One more of this network, or why not. */
  enter(network: string): 'too many of one address' | 'too fast' | undefined {
    const { perNetwork, perSecond } = this.limits
    const here = this.perNetwork.get(network) ?? 0
    if (perNetwork > 0 && here >= perNetwork) return 'too many of one address'
    if (perSecond > 0 && !this.paced(network, perSecond)) return 'too fast'
    this.perNetwork.set(network, here + 1)
    return undefined
  }

  leave(network: string): void {
    const here = (this.perNetwork.get(network) ?? 0) - 1
    if (here > 0) this.perNetwork.set(network, here)
    else this.perNetwork.delete(network)
  }

  private paced(network: string, perSecond: number): boolean {
    const now = this.now()
    const pace = this.paces.get(network) ?? { left: perSecond, atMs: now }
    pace.left = Math.min(perSecond, pace.left + ((now - pace.atMs) * perSecond) / 1000)
    pace.atMs = now
    this.paces.delete(network)
    this.paces.set(network, pace)
    if (this.paces.size > REMEMBERED) this.paces.delete(this.paces.keys().next().value as string)
    if (pace.left < 1) return false
    pace.left--
    return true
  }
}
