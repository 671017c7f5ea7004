// What the links of one carrier know together of its hosts: which of them fail, when each may be tried again, which of
// them refuse our credentials. One link's failure spares the others the same try, so a dead carrier sees one bind at a
// time. Pure; time is an argument (monotonic ms).

import { assert } from '../base/assert.js'

export interface Place {
  readonly host: string
  readonly port: number
}

export interface BackOff {
  readonly minMs: number
  readonly maxMs: number
  /** Refusals of our credentials in a row after which a host is not tried any more. */
  readonly refusals: number
}

/** Before refused credentials are tried again: they seldom heal by themselves, and carriers lock accounts. */
const REFUSED_MS = 60_000

const LONG_AGO = Number.NEGATIVE_INFINITY

interface Standing {
  /** Links that are bound there. */
  bound: number
  /** Binds to it that are under way. */
  trying: number
  failures: number
  refusals: number
  retryAtMs: number
  /** When the last back-off ended: who fails long after it fails anew. */
  troubleMs: number
}

/** The place to try next, and when. */
export interface Try {
  readonly index: number
  readonly waitMs: number
}

export class Hosts {
  readonly places: readonly Place[]
  /** May be replaced at any time. */
  back: BackOff
  private readonly standings: Standing[]
  private readonly random: () => number

  /** @param places in the order of preference; at least one */
  constructor(places: readonly Place[], back: BackOff, random: () => number) {
    assert(places.length > 0, 'a carrier has no host')
    this.places = places
    this.back = back
    this.random = random
    this.standings = places.map(() => ({
      bound: 0,
      trying: 0,
      failures: 0,
      refusals: 0,
      retryAtMs: LONG_AGO,
      troubleMs: LONG_AGO,
    }))
  }

  private at(index: number): Standing {
    return this.standings[index] as Standing
  }

  /** It has refused our credentials too often. */
  barred(index: number): boolean {
    return this.at(index).refusals >= this.back.refusals
  }

  /** Some link is bound there. */
  lives(index: number): boolean {
    return this.at(index).bound > 0
  }

  /**
   * The first host in order that may be tried now, else the one that may be tried soonest; null: none ever, by
   * themselves. `own` has the moments before which the asking link does not want to.
   */
  next(nowMs: number, own: readonly number[]): Try | null {
    let soonest: Try | null = null
    for (let index = 0; index < this.standings.length; index++) {
      if (this.barred(index)) continue
      const { retryAtMs, failures, refusals, trying, bound } = this.at(index)
      // Of a host that was down, one link finds out whether it lives.
      const isProbed = failures + refusals > 0 && trying > 0 && bound === 0
      const waitMs = Math.max(retryAtMs - nowMs, (own[index] ?? LONG_AGO) - nowMs, isProbed ? this.back.minMs : 0)
      if (waitMs <= 0) return { index, waitMs: 0 }
      if (soonest === null || waitMs < soonest.waitMs) soonest = { index, waitMs }
    }
    return soonest
  }

  tried(index: number): void {
    this.at(index).trying++
  }

  /** A try is over, whatever came of it. */
  settled(index: number): void {
    this.at(index).trying--
  }

  bound(index: number): void {
    const standing = this.at(index)
    standing.bound++
    standing.refusals = 0
    standing.retryAtMs = LONG_AGO
  }

  unbound(index: number): void {
    this.at(index).bound--
  }

  /** No connection, no bind, or one that did not last: it is down for all, longer each time; what was known already counts once. */
  failed(index: number, nowMs: number): void {
    const standing = this.at(index)
    if (nowMs < standing.retryAtMs) return
    // It was well for long enough: this is another trouble than the last.
    if (nowMs - standing.troubleMs > this.back.maxMs) standing.failures = 0
    standing.failures++
    standing.retryAtMs = nowMs + backOffMs(standing.failures, this.back, this.random)
    standing.troubleMs = standing.retryAtMs
  }

  /** It does not know us. Ms until it is tried again; null: never. */
  refused(index: number, nowMs: number): number | null {
    const standing = this.at(index)
    if (nowMs >= standing.retryAtMs) {
      standing.refusals++
      standing.retryAtMs = nowMs + this.refusedMs()
    }
    return this.barred(index) ? null : Math.round(standing.retryAtMs - nowMs)
  }

  /** What a link waits whose own credentials are refused where others are bound. */
  refusedMs(): number {
    return Math.max(REFUSED_MS, this.back.maxMs)
  }

  /** An operator has looked: all may be tried at once. */
  forgive(): void {
    for (const standing of this.standings) {
      standing.failures = 0
      standing.refusals = 0
      standing.retryAtMs = LONG_AGO
    }
  }
}

/** Doubles with each failure up to the most, spread by a quarter to either side: what was lost together comes back apart. */
export function backOffMs(failures: number, { minMs, maxMs }: BackOff, random: () => number): number {
  const grown = Math.min(minMs * 2 ** Math.min(failures - 1, 30), maxMs)
  return Math.round(grown * (0.75 + random() / 2))
}
