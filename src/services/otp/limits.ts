// How many codes may be asked for: for one destination, by one account and by all, from one address of a client, by one
// account. Counts what was sent, beside the sessions, in the same commit; a restart forgets nothing. Knows moments and
// bounds; what is answered to whoever is over one, gate.ts says.

import type { Spool } from '../../spool/contract.js'

export interface SendLimits {
  /** From one code to the next for a destination. */
  readonly cooldownMs: number
  readonly perHour: number
  readonly perDay: number
  /** For a destination over all accounts, if that is more than `perDay`; 0: no limit. */
  readonly perDayInAll: number
  /** For one address of a client; 0: as many as it likes. */
  readonly perAddressHour: number
}

/** What stands in the way, and until when. */
export interface Over {
  readonly what: 'cooldown' | 'hour' | 'day' | 'address' | 'account' | 'prefix'
  readonly untilMs: number
}

export interface Left {
  readonly hour: number
  readonly day: number
}

const MINUTE_MS = 60_000
/** Counted by the minute: an address may have as many as it likes. */
const MINUTES = 60
const HOUR_MS = 3_600_000
const DAY_MS = 86_400_000

export class SendCounts {
  private readonly spool: Pick<Spool, 'keep' | 'kept'>
  private readonly limits: SendLimits

  constructor(spool: SendCounts['spool'], limits: SendLimits) {
    this.spool = spool
    this.limits = limits
  }

  /** What was sent to a destination until now. */
  to(account: number, destination: string, nowMs: number): Sends {
    const key = destinationKey(account, destination)
    const moments = this.moments(key, nowMs - DAY_MS, nowMs)
    const write = (all: readonly number[]): void => this.write(key, all, nowMs + DAY_MS)
    if (this.limits.perDayInAll === 0) return new Sends(this.limits, moments, nowMs, write)
    const inAllKey = overallKey(destination)
    const inAll = this.inAll(inAllKey, nowMs)
    return new Sends(this.limits, moments, nowMs, write, {
      ...inAll,
      write: count => this.write(inAllKey, [inAll.fromMs, count], inAll.fromMs + DAY_MS),
    })
  }

  overAddress(account: number, network: string, nowMs: number): Over | undefined {
    const { perAddressHour } = this.limits
    if (perAddressHour === 0) return undefined
    const buckets = this.minutesOf(addressKey(account, network), nowMs)
    let rest = buckets.reduce((sum, [, count]) => sum + count, 0)
    if (rest < perAddressHour) return undefined
    for (const [minute, count] of buckets) {
      rest -= count
      if (rest < perAddressHour) return { what: 'address', untilMs: (minute + MINUTES) * MINUTE_MS }
    }
    return undefined
  }

  /** `most` codes of the account in an hour by the clock. */
  overAccount(account: number, most: number, nowMs: number): Over | undefined {
    const { fromMs, count } = this.hourOf(account, nowMs)
    return count < most ? undefined : { what: 'account', untilMs: fromMs + HOUR_MS }
  }

  countAddress(account: number, network: string, nowMs: number): void {
    if (this.limits.perAddressHour === 0) return
    const key = addressKey(account, network)
    const buckets = this.minutesOf(key, nowMs)
    const minute = Math.floor(nowMs / MINUTE_MS)
    const last = buckets.at(-1)
    if (last?.[0] === minute) last[1]++
    else buckets.push([minute, 1])
    this.write(key, buckets.flat(), nowMs + HOUR_MS)
  }

  countAccount(account: number, nowMs: number): void {
    const { fromMs, count } = this.hourOf(account, nowMs)
    this.write(accountKey(account), [fromMs, count + 1], fromMs + HOUR_MS)
  }

  /** A day from its first code on: of so many accounts' moments the list would be long. */
  private inAll(key: string, nowMs: number): { fromMs: number; count: number } {
    const kept = this.spool.kept(key)
    const [fromMs = nowMs, count = 0] = kept === undefined ? [] : (JSON.parse(kept.toString()) as number[])
    return { fromMs: Math.min(fromMs, nowMs), count }
  }

  private hourOf(account: number, nowMs: number): { fromMs: number; count: number } {
    const fromMs = nowMs - (nowMs % HOUR_MS)
    const kept = this.spool.kept(accountKey(account))
    const [from = 0, count = 0] = kept === undefined ? [] : (JSON.parse(kept.toString()) as number[])
    return from === fromMs ? { fromMs, count } : { fromMs, count: 0 }
  }

  /** Minutes of the last hour that had any, the oldest first, with how many. */
  private minutesOf(key: string, nowMs: number): [minute: number, count: number][] {
    const kept = this.spool.kept(key)
    if (kept === undefined) return []
    const now = Math.floor(nowMs / MINUTE_MS)
    const numbers = JSON.parse(kept.toString()) as number[]
    const buckets: [number, number][] = []
    for (let i = 0; i < numbers.length; i += 2) {
      const minute = Math.min(numbers[i] as number, now)
      if (minute > now - MINUTES) buckets.push([minute, numbers[i + 1] as number])
    }
    return buckets
  }

  private moments(key: string, sinceMs: number, nowMs: number): number[] {
    const kept = this.spool.kept(key)
    if (kept === undefined) return []
    // A clock that was put back makes nothing longer than it would have been.
    return after(JSON.parse(kept.toString()) as number[], sinceMs).map(ms => Math.min(ms, nowMs))
  }

  private write(key: string, numbers: readonly number[], untilMs: number): void {
    this.spool.keep(key, Buffer.from(JSON.stringify(numbers)), untilMs)
  }
}

/** What all accounts sent to a destination within a day that began then. */
interface InAll {
  readonly fromMs: number
  readonly count: number
  write(count: number): void
}

/** Of one destination, as of one moment. */
export class Sends {
  private readonly limits: SendLimits
  private readonly moments: number[]
  private readonly nowMs: number
  private readonly write: (moments: readonly number[]) => void
  private readonly inAll: InAll | undefined

  constructor(
    limits: SendLimits,
    moments: number[],
    nowMs: number,
    write: (moments: readonly number[]) => void,
    inAll?: InAll,
  ) {
    this.limits = limits
    this.moments = moments
    this.nowMs = nowMs
    this.write = write
    this.inAll = inAll
  }

  /** Nothing is counted. `isNext`: of a session that goes on by itself, whatever was sent just now. */
  over(isNext = false): Over | undefined {
    const { moments, nowMs } = this
    const { cooldownMs, perHour, perDay } = this.limits
    const last = moments.at(-1)
    if (!isNext && last !== undefined && nowMs - last < cooldownMs)
      return { what: 'cooldown', untilMs: last + cooldownMs }
    const day = full(moments, perDay, DAY_MS)
    if (day !== undefined) return { what: 'day', untilMs: day }
    const hour = full(after(moments, nowMs - HOUR_MS), perHour, HOUR_MS)
    if (hour !== undefined) return { what: 'hour', untilMs: hour }
    // Said as if it were the account's own: who else sends there is nobody's business.
    const inAll = this.fullInAllUntil()
    return inAll === undefined ? undefined : { what: 'day', untilMs: inAll }
  }

  private fullInAllUntil(): number | undefined {
    const { inAll, limits } = this
    const isFull = inAll !== undefined && inAll.count >= Math.max(limits.perDay, limits.perDayInAll)
    return isFull ? inAll.fromMs + DAY_MS : undefined
  }

  get left(): Left {
    const { moments, nowMs } = this
    const { perHour, perDay } = this.limits
    if (this.fullInAllUntil() !== undefined) return { hour: 0, day: 0 }
    const day = Math.max(0, perDay - moments.length)
    return { hour: Math.min(day, Math.max(0, perHour - after(moments, nowMs - HOUR_MS).length)), day }
  }

  /** One more. */
  count(): void {
    this.moments.push(this.nowMs)
    this.write(this.moments)
    this.inAll?.write(this.inAll.count + 1)
  }
}

const after = (moments: readonly number[], sinceMs: number): number[] => moments.filter(ms => ms > sinceMs)

/** Until when there are `most` of them in a window; undefined: there are fewer. */
function full(moments: readonly number[], most: number, windowMs: number): number | undefined {
  const oldest = moments[moments.length - most]
  return oldest === undefined ? undefined : oldest + windowMs
}

const destinationKey = (account: number, destination: string): string => `otp d ${account} ${destination}`
const overallKey = (destination: string): string => `otp w ${destination}`
const addressKey = (account: number, network: string): string => `otp n ${account} ${network}`
const accountKey = (account: number): string => `otp a ${account}`
