// One-time passwords as everyone else sees them: made and sent, sent again, called off, looked at; whether a code is right
// checks.ts says. What is taken is durable before anything is answered. Knows sessions and what limits them; knows no HTTP.

import { countryOf } from '../../routing/countries.js'
import { Checks } from './checks.js'
import { Course, isOpen, unknownSession } from './course.js'
import { Guard, type PrefixBlock } from './guard.js'
import { diskFull, isRefusal, type OtpHost, type Refusal, refusal } from './host.js'
import { type Left, type Over, SendCounts, type Sends } from './limits.js'
import { type Asker, buildSession, decoySession, type Wanted } from './making.js'
import { Sender, type Written } from './sending.js'
import { type Channel, type Session, Sessions, type Standing, type Step, type Try } from './session.js'
import { type SessionLine, Told } from './told.js'

/** A session, and its code where it never left the building. */
export interface Made {
  readonly session: Session
  readonly left: Left | null
  readonly code?: string
}

const sessionOver = refusal('otp_over', 'the session is over')
const limitText: Readonly<Record<Over['what'], string>> = {
  cooldown: 'a code was sent to this destination just now',
  hour: 'no more codes for this destination in this hour',
  day: 'no more codes for this destination on this day',
  address: 'no more codes for this address in this hour',
  account: 'no more codes for this account in this hour',
}

export class Otp {
  readonly guard: Guard
  readonly told: Told
  readonly course: Course
  readonly checks: Checks
  private readonly host: OtpHost
  private readonly sessions: Sessions
  private readonly sender: Sender
  private readonly counts: SendCounts

  constructor(host: OtpHost) {
    this.host = host
    const { spool, settings } = host
    this.sessions = new Sessions(spool, decoySession(host))
    this.sender = new Sender(host)
    this.counts = new SendCounts(spool, settings.limits)
    this.guard = new Guard(spool, settings.guard)
    this.told = new Told(host)
    const { sessions, sender, told, counts, guard } = this
    this.course = new Course(host, { sessions, sender, told, counts })
    this.checks = new Checks(host, { sessions, course: this.course, told, guard })
  }

  start(): void {
    this.course.start()
    this.told.start()
  }

  async stop(): Promise<void> {
    this.course.stop()
    await this.told.stop()
  }

  get cooldownMs(): number {
    return this.host.settings.limits.cooldownMs
  }

  /** Resolves when everything asked for until now is durable. */
  synced(): Promise<void> {
    return this.host.spool.synced()
  }

  /** Makes a code and sends it; durable when it resolves. `taken` is called in the turn, and the commit, of its message. */
  async generate(asker: Asker, wanted: Wanted, taken: (made: Made) => void = () => {}): Promise<Made | Refusal> {
    const built = buildSession(this.host, asker, wanted)
    if (isRefusal(built)) return built
    const { session, code } = built
    const { account } = asker
    const first = session.steps[0] as Step
    for (;;) {
      const before =
        first.channel === 'email' || session.template !== null
          ? this.objection(asker, session, wanted.network, this.sendsOf(session), this.standingOf(session))
          : undefined
      if (before !== undefined) return before
      const written = await this.sender.write(session, first, code, account)
      if (isRefusal(written)) return written
      const done = this.begin(asker, session, written, wanted.network)
      if (!isRefusal(done)) {
        const left = session.isSandboxed ? null : done.left
        const made: Made = { session, left, ...(session.isSandboxed ? { code } : {}) }
        taken(made)
        await this.host.spool.synced()
        return made
      }
      // The door does not wait for credit: it is asked once more when that is known.
      if (done.code !== 'credit_pending' || !(await this.host.door.creditKnown(account))) return done
    }
  }

  private sendsOf({ account, destination }: Session): Sends {
    return this.counts.to(account, destination, this.host.clock.now())
  }

  private standingOf({ account, destination, purpose, isSandboxed }: Session): Standing | undefined {
    return isSandboxed ? undefined : this.sessions.standing(account, destination, purpose)
  }

  /** What stands in the way of a first message; nothing is counted. */
  private objection(
    { account }: Asker,
    session: Session,
    network: string | undefined,
    sends: Sends,
    standing: Standing | undefined,
  ): Refusal | undefined {
    if (session.isSandboxed) return undefined
    const nowMs = this.host.clock.now()
    const { id, otp } = account
    const { destination } = session
    const isPhone = session.steps[0]?.channel === 'sms'
    if (isPhone && otp.countries.length > 0 && !otp.countries.includes(countryOf(destination))) {
      return refusal('otp_country_refused', 'the account sends no codes to this country')
    }
    const block = isPhone && otp.guard ? this.guard.blocked(id, destination, nowMs) : undefined
    if (block !== undefined) {
      this.host.counters.add('otp_prefix_refused')
      return refusal(
        'otp_prefix_blocked',
        'codes to these numbers are hardly ever entered: none are sent there for now',
        {
          retryable: true,
          untilMs: block.untilMs,
        },
      )
    }
    if (standing !== undefined && standing.failedUntilMs > nowMs && standing.failed >= session.attempts) {
      return refusal('otp_attempts_used', 'too many wrong codes for this destination', {
        retryable: true,
        untilMs: standing.failedUntilMs,
        more: { attempts_left: 0 },
      })
    }
    const over =
      (network === undefined ? undefined : this.counts.overAddress(id, network, nowMs)) ??
      (otp.perHour === null ? undefined : this.counts.overAccount(id, otp.perHour, nowMs)) ??
      sends.over()
    return over && this.limited(over, sends.left)
  }

  private limited({ what, untilMs }: Over, left: Left): Refusal {
    this.host.counters.add('otp_limited')
    const more = { limit: what, left_this_hour: left.hour, left_today: left.day }
    return refusal('otp_limited', limitText[what], { retryable: true, untilMs, more })
  }

  /** Takes the message and writes the session, or nothing at all; in one turn of the event loop. */
  private begin(asker: Asker, session: Session, written: Written, network: string | undefined): Refusal | Sends {
    const sends = this.sendsOf(session)
    // Others may have come while it was written.
    const standing = this.standingOf(session)
    const late = this.objection(asker, session, network, sends, standing)
    if (late !== undefined) return late
    const { account } = asker
    const { sessions, counts, course, told } = this
    const nowMs = this.host.clock.now()
    const before = standing === undefined ? undefined : sessions.read(account.id, standing.session)
    if (standing !== undefined && standing.failedUntilMs > nowMs && before?.status !== 'verified') {
      session.failed = standing.failed
      session.failedUntilMs = standing.failedUntilMs
    }
    const done = this.sender.submit(session, 0, written, account)
    if (isRefusal(done)) {
      if (session.steps.length === 1 || !PASSED_ON.has(done.code)) return done
      // The next channel is told by the timer, as it is when a carrier refuses the message.
      const failed: Try = {
        step: 0,
        channel: session.steps[0]?.channel as Channel,
        message: 0,
        atMs: nowMs,
        status: 'failed',
        error: done.code,
      }
      session.tries.push(failed)
      session.nextMs = nowMs
    } else course.sent(session, done)
    if (!sessions.write(session)) {
      if (!isRefusal(done) && done.message !== 0) this.host.spool.cancel(done.message)
      return diskFull
    }
    sessions.setTimer(session, session.nextMs === 0 ? session.expiresMs : Math.min(session.nextMs, session.expiresMs))
    const one = session.tries[0] as Try
    if (!session.isSandboxed) {
      if (before?.status === 'pending' && course.close(before, 'superseded')) told.tell(before, 'superseded')
      sessions.writeStanding(session)
      sends.count()
      if (network !== undefined) counts.countAddress(account.id, network, nowMs)
      if (account.otp.perHour !== null) counts.countAccount(account.id, nowMs)
      if (one.channel === 'sms' && account.otp.guard) this.watch(account.id, session.destination, nowMs)
    }
    told.tell(session, one.status === 'failed' ? 'failed' : 'sent', one)
    return sends
  }

  private watch(account: number, digits: string, nowMs: number): void {
    const block = this.guard.sent(account, digits, nowMs)
    if (block === undefined) return
    this.host.counters.add('otp_prefixes_blocked')
    const { prefix, sent, verified, untilMs } = block
    this.host.notice(account, 'otp.prefix_blocked', { prefix, sent, verified, until: new Date(untilMs).toISOString() })
  }

  /** The same code once more, over the channel that it went last; durable when it resolves. */
  async resend(asker: Asker, id: string, network?: string): Promise<Made | Refusal> {
    const { account } = asker
    for (;;) {
      const session = this.open(asker, id)
      if (isRefusal(session)) return session
      const code = this.sender.codeOf(session)
      if (code === undefined) return sessionOver
      const { step } = session
      const written = await this.sender.write(session, session.steps[step] as Step, code, account)
      if (isRefusal(written)) return written
      const now = this.open(asker, id)
      if (isRefusal(now)) return now
      const sends = this.counts.to(account.id, (now.steps[now.step] as Step).to, this.host.clock.now())
      const objection = this.resendObjection(now, network, sends)
      if (objection !== undefined) return objection
      if (now.step !== step) continue
      const done = this.sender.submit(now, step, written, account)
      if (isRefusal(done)) {
        if (done.code === 'credit_pending' && (await this.host.door.creditKnown(account))) continue
        return done
      }
      const nowMs = this.host.clock.now()
      this.course.sent(now, done)
      this.sessions.write(now)
      if (!now.isSandboxed) {
        sends.count()
        if (network !== undefined) this.counts.countAddress(account.id, network, nowMs)
      }
      this.told.tell(now, 'sent', done)
      await this.host.spool.synced()
      const left = now.isSandboxed ? null : sends.left
      return { session: now, left, ...(now.isSandboxed ? { code } : {}) }
    }
  }

  private resendObjection(session: Session, network: string | undefined, sends: Sends): Refusal | undefined {
    if (session.isSandboxed) return undefined
    const nowMs = this.host.clock.now()
    const over =
      (network === undefined ? undefined : this.counts.overAddress(session.account, network, nowMs)) ?? sends.over()
    return over && this.limited(over, sends.left)
  }

  /** Goes on to the next channel at once; durable when it resolves. */
  async next(asker: Asker, id: string): Promise<Session | Refusal> {
    const session = this.open(asker, id)
    if (isRefusal(session)) return session
    const done = await this.course.advance(asker.account.id, id, session.step)
    await this.host.spool.synced()
    return done
  }

  /** Its code is good no more; durable when it resolves. */
  async cancel(asker: Asker, id: string): Promise<Session | Refusal> {
    const session = this.open(asker, id)
    if (isRefusal(session)) return session
    if (!this.course.close(session, 'canceled')) return diskFull
    this.told.tell(session, 'canceled')
    await this.host.spool.synced()
    return session
  }

  /** As it is now. */
  show({ account, isTest }: Asker, id: string): Session | Refusal {
    const session = this.sessions.read(account.id, id)
    return session !== undefined && session.isTest === isTest ? session : unknownSession
  }

  private open(asker: Asker, id: string): Session | Refusal {
    const session = this.show(asker, id)
    return isRefusal(session) || isOpen(session, this.host.clock.now()) ? session : sessionOver
  }

  /** Of the account, the newest first, from SQL. */
  list(account: number, limit: number): Promise<SessionLine[]> {
    return this.told.list(account, limit)
  }

  /** A new secret for codes from now on, durable when it resolves with its number. */
  async rotate(): Promise<number> {
    const { peppers } = this.host
    await peppers.rotate()
    return peppers.current.kid
  }

  blocks(): PrefixBlock[] {
    return this.guard.list(this.host.clock.now())
  }

  /** False: there is no such block. Durable when it resolves. */
  async release(account: number, prefix: string): Promise<boolean> {
    const isThere = this.guard.release(account, prefix)
    await this.host.spool.synced()
    return isThere
  }
}

/** The destination cannot be reached so, and perhaps in another way. */
const PASSED_ON: ReadonlySet<string> = new Set([
  'no_route',
  'destination_stopped',
  'destination_blocked',
  'destination_dnd',
])
