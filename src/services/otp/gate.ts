// Whether a message with a code may go where a step of its session leads, and what is noted once it went: the account's
// countries, prefixes that get none for now, codes of the account and of the destination. One judge for the first message,
// for the same code once more and for the next channel, so that none of them is a way around another.

import type { Account } from '../../accounts/account.js'
import { countryOf } from '../../routing/countries.js'
import type { Failures } from './failures.js'
import type { Guard } from './guard.js'
import { type OtpHost, type Refusal, refusal } from './host.js'
import type { Left, Over, SendCounts, Sends } from './limits.js'
import type { Session, Step } from './session.js'

const limitText: Readonly<Record<Over['what'], string>> = {
  cooldown: 'a code was sent to this destination just now',
  hour: 'no more codes for this destination in this hour',
  day: 'no more codes for this destination on this day',
  address: 'no more codes for this address in this hour',
  account: 'no more codes for this account in this hour',
  prefix: 'many codes went to numbers that begin like this one, and none has had the time to be entered',
}
const destinationBlocked = refusal(
  'otp_destination_blocked',
  'too many wrong codes in a row for this destination: whoever runs the gateway can release it',
)
const countryRefused = refusal('otp_country_refused', 'the account sends no codes to this country')

export class Gate {
  private readonly host: Pick<OtpHost, 'clock' | 'counters' | 'notice'>
  private readonly counts: SendCounts
  private readonly guard: Guard
  private readonly failures: Failures

  constructor(host: Gate['host'], counts: SendCounts, guard: Guard, failures: Failures) {
    this.host = host
    this.counts = counts
    this.guard = guard
    this.failures = failures
  }

  /** What went to the destination of a step until now. */
  sends({ account }: Session, { to }: Step): Sends {
    return this.counts.to(account, to, this.host.clock.now())
  }

  /** Whether the account sends codes there at all. */
  country({ otp }: Account, { channel, to }: Step): Refusal | undefined {
    const isOut = channel !== 'email' && otp.countries.length > 0 && !otp.countries.includes(countryOf(to))
    return isOut ? countryRefused : undefined
  }

  /**
   * What keeps a message of the step from going there now; nothing is counted. `isNext`: of a session that goes on by
   * itself, whatever was sent just now.
   */
  objection(session: Session, step: Step, account: Account, sends: Sends, isNext = false): Refusal | undefined {
    if (session.isSandboxed) return undefined
    const abroad = this.country(account, step)
    if (abroad !== undefined) return abroad
    const { id, otp } = account
    const { to } = step
    // What is counted by the first destination, and what by the one that a later step has of its own.
    if (this.failures.isBlocked(session)) return destinationBlocked
    if (to !== session.destination && this.failures.isBlocked({ account: id, destination: to }))
      return destinationBlocked
    const nowMs = this.host.clock.now()
    const over =
      (otp.perHour === null ? undefined : this.counts.overAccount(id, otp.perHour, nowMs)) ?? sends.over(isNext)
    if (over !== undefined) return this.limited(over, sends.left)
    if (step.channel !== 'sms' || !otp.guard) return undefined
    const block = this.guard.blocked(id, to, nowMs)
    if (block !== undefined) {
      this.host.counters.add('otp_prefix_refused')
      const why = 'codes to these numbers are hardly ever entered: none are sent there for now'
      return refusal('otp_prefix_blocked', why, { retryable: true, untilMs: block.untilMs })
    }
    const untilMs = this.guard.fullUntil(id, to, nowMs)
    return untilMs === undefined ? undefined : this.limited({ what: 'prefix', untilMs }, sends.left)
  }

  /** What keeps a client's address from asking for one more. */
  objectionTo(network: string | undefined, session: Session, sends: Sends): Refusal | undefined {
    if (session.isSandboxed || network === undefined) return undefined
    const over = this.counts.overAddress(session.account, network, this.host.clock.now())
    return over && this.limited(over, sends.left)
  }

  /** A message of the step went. `sends`: of its destination. */
  count(session: Session, { channel, to }: Step, { id, otp }: Account, sends: Sends): void {
    if (session.isSandboxed) return
    const nowMs = this.host.clock.now()
    sends.count()
    if (otp.perHour !== null) this.counts.countAccount(id, nowMs)
    if (channel === 'sms' && otp.guard) this.watch(id, to, nowMs)
  }

  /** A message of the step that was counted at that moment never arrived. */
  takeBack({ account, isSandboxed }: Session, { channel, to }: Step, sentMs: number): void {
    if (!isSandboxed && channel === 'sms') this.guard.failed(account, to, sentMs)
  }

  countAddress({ account, isSandboxed }: Session, network: string | undefined): void {
    if (!isSandboxed && network !== undefined) this.counts.countAddress(account, network, this.host.clock.now())
  }

  private watch(account: number, digits: string, nowMs: number): void {
    const block = this.guard.sent(account, digits, nowMs)
    if (block === undefined) return
    this.host.counters.add('otp_prefixes_blocked')
    const { prefix, sent, verified, untilMs } = block
    this.host.notice(account, 'otp.prefix_blocked', { prefix, sent, verified, until: new Date(untilMs).toISOString() })
  }

  private limited({ what, untilMs }: Over, left: Left): Refusal {
    this.host.counters.add('otp_limited')
    const more = { limit: what, left_this_hour: left.hour, left_today: left.day }
    return refusal('otp_limited', limitText[what], { retryable: true, untilMs, more })
  }
}
