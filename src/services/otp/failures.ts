// Wrong codes in a row for one destination of an account, over all its sessions, whatever they are for: after so many
// (NIST SP 800-63B §3.2.2) none is right there any more and none is sent, until somebody who administers releases it. A code
// that is right begins anew. Kept with the sessions, in the commit that has the attempt.

import type { OtpHost } from './host.js'
import { masked } from './told.js'

/** As many as NIST lets be. */
const MOST = 100
const KEEP_MS = 30 * 86_400_000
const PAGE = 1_000

export interface Destination {
  readonly account: number
  /** Digits of a number, or a mail address. */
  readonly destination: string
}

export interface BlockedDestination extends Destination {
  readonly atMs: number
}

export class Failures {
  private readonly host: Pick<OtpHost, 'spool' | 'clock' | 'counters' | 'notice'>

  constructor(host: Failures['host']) {
    this.host = host
  }

  isBlocked(of: Destination): boolean {
    return this.count(of) >= MOST
  }

  /** One more; true: with it, it is blocked. Of what is nobody's (destination '') it is written alike, and counts nothing. */
  add(of: Destination): boolean {
    const { spool, clock, counters, notice } = this.host
    const { account, destination } = of
    const untilMs = clock.now() + KEEP_MS
    const before = this.count(of)
    const count = destination === '' ? 0 : before + 1
    spool.keep(countKey(of), Buffer.from(String(count)), untilMs)
    if (count < MOST) return false
    const block: BlockedDestination = { account, destination, atMs: clock.now() }
    spool.keep(blockKey(of), Buffer.from(JSON.stringify(block)), untilMs)
    counters.add('otp_destinations_blocked')
    notice(account, 'otp.destination_blocked', { to: destination, failed: count }, { to: masked(destination) })
    return true
  }

  /** A code was right. */
  forget(of: Destination): void {
    if (this.count(of) > 0) this.host.spool.dropKept(countKey(of))
  }

  /** The first so many. */
  list(): BlockedDestination[] {
    const page = this.host.spool.keptAfter('otp g ', '', PAGE)
    return page.map(([, octets]) => JSON.parse(octets.toString()) as BlockedDestination)
  }

  /** False: it was not blocked. */
  release(of: Destination): boolean {
    if (!this.isBlocked(of)) return false
    this.host.spool.dropKept(countKey(of))
    this.host.spool.dropKept(blockKey(of))
    return true
  }

  private count(of: Destination): number {
    const kept = this.host.spool.kept(countKey(of))
    return kept === undefined ? 0 : Number(kept.toString())
  }
}

const countKey = ({ account, destination }: Destination): string => `otp f ${account} ${destination}`
const blockKey = ({ account, destination }: Destination): string => `otp g ${account} ${destination}`
