// One-time passwords as everyone else sees them: made and sent, sent again, called off, looked at; whether a code is right
// checks.ts says. What is taken is durable before anything is answered. Knows sessions and what limits them; knows no HTTP.

import { Checks } from './checks.js'
import { Course, isOpen, sessionOver, unknownSession } from './course.js'
import { type BlockedDestination, Failures } from './failures.js'
import { Gate } from './gate.js'
import { Guard, type PrefixBlock } from './guard.js'
import { diskFull, isRefusal, type OtpHost, type Refusal, refusal } from './host.js'
import { type Left, SendCounts, type Sends } from './limits.js'
import { type Asker, buildSession, decoySession, type Wanted } from './making.js'
import { Sender, type Written } from './sending.js'
import { type Channel, lastStep, type Session, Sessions, type Standing, type Step, type Try } from './session.js'
import { type SessionLine, Told } from './told.js'

/** A session, and its code where it never left the building. */
export interface Made {
  readonly session: Session
  readonly left: Left | null
  readonly code?: string
}

/** How a code is to go once more. */
export interface Again {
  /** Of the client who asks, as for {@link Wanted}. */
  readonly network?: string | undefined
  /** One of the session's; without it the one that the code went last. */
  readonly channel?: Channel | undefined
}

const noChannel = refusal('otp_channel_missing', 'the session has no such channel')

export class Otp {
  readonly guard: Guard
  readonly told: Told
  readonly course: Course
  readonly checks: Checks
  private readonly host: OtpHost
  private readonly sessions: Sessions
  private readonly sender: Sender
  private readonly gate: Gate
  private readonly failures: Failures

  constructor(host: OtpHost) {
    this.host = host
    const { spool, settings } = host
    this.sessions = new Sessions(spool, decoySession(host))
    this.sender = new Sender(host)
    this.guard = new Guard(spool, settings.guard)
    this.told = new Told(host)
    this.failures = new Failures(host)
    this.gate = new Gate(host, new SendCounts(spool, settings.limits), this.guard, this.failures)
    const { sessions, sender, told, gate, guard, failures } = this
    this.course = new Course(host, { sessions, sender, told, gate })
    this.checks = new Checks(host, { sessions, course: this.course, told, guard, failures })
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
    for (let isAdmitted = false; ; isAdmitted = true) {
      const before =
        first.channel === 'email' || session.template !== null
          ? this.objection(asker, session, wanted.network, this.gate.sends(session, first), this.standingOf(session))
          : undefined
      if (before !== undefined && !isPassedOn(before, session)) return before
      const written = await this.sender.write(session, first, code, account)
      if (isRefusal(written)) return written
      const done = this.begin(asker, session, written, wanted.network, isAdmitted)
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
    // A channel that could not be used when its turn comes is said at once.
    for (const step of session.steps) {
      const abroad = this.gate.country(account, step)
      if (abroad !== undefined) return abroad
    }
    if (standing !== undefined && standing.failedUntilMs > nowMs && standing.failed >= session.attempts) {
      return refusal('otp_attempts_used', 'too many wrong codes for this destination', {
        retryable: true,
        untilMs: standing.failedUntilMs,
        more: { attempts_left: 0 },
      })
    }
    const first = session.steps[0] as Step
    return this.gate.objectionTo(network, session, sends) ?? this.gate.objection(session, first, account, sends)
  }

  /** Takes the message and writes the session, or nothing at all; in one turn of the event loop. */
  private begin(
    asker: Asker,
    session: Session,
    written: Written,
    network: string | undefined,
    isAdmitted: boolean,
  ): Refusal | Sends {
    const first = session.steps[0] as Step
    const sends = this.gate.sends(session, first)
    // Others may have come while it was written.
    const standing = this.standingOf(session)
    const late = this.objection(asker, session, network, sends, standing)
    if (late !== undefined && !isPassedOn(late, session)) return late
    const { account } = asker
    const { sessions, gate, course, told } = this
    const nowMs = this.host.clock.now()
    const before = standing === undefined ? undefined : sessions.read(account.id, standing.session)
    if (standing !== undefined && standing.failedUntilMs > nowMs && before?.status !== 'verified') {
      session.failed = standing.failed
      session.failedUntilMs = standing.failedUntilMs
    }
    const done = late ?? this.sender.submit(session, 0, written, account, isAdmitted)
    if (isRefusal(done)) {
      if (!isPassedOn(done, session)) return done
      // The next channel is told by the timer, as it is when a carrier refuses the message.
      const failed: Try = {
        step: 0,
        channel: first.channel,
        message: 0,
        atMs: nowMs,
        status: 'failed',
        error: done.code,
      }
      session.tries.push(failed)
      session.nextMs = nowMs
      if (!sessions.write(session)) return diskFull
      // It brings guesses all the same.
      if (!session.isSandboxed) sends.count()
    } else if (!course.sent(session, done, account, sends)) return diskFull
    sessions.setTimer(session, session.nextMs === 0 ? session.expiresMs : Math.min(session.nextMs, session.expiresMs))
    const one = session.tries[0] as Try
    if (!session.isSandboxed) {
      if (before?.status === 'pending' && course.close(before, 'superseded')) told.tell(before, 'superseded')
      sessions.writeStanding(session)
    }
    gate.countAddress(session, network)
    told.tell(session, one.status === 'failed' ? 'failed' : 'sent', one)
    return sends
  }

  /** The same code once more; durable when it resolves. */
  async resend(asker: Asker, id: string, { network, channel }: Again = {}): Promise<Made | Refusal> {
    const { account } = asker
    let isAdmitted = false
    for (;;) {
      const session = this.open(asker, id)
      if (isRefusal(session)) return session
      const code = this.sender.codeOf(session)
      if (code === undefined) return sessionOver
      const step = stepAgain(session, channel)
      const to = session.steps[step]
      if (to === undefined) return noChannel
      const written = await this.sender.write(session, to, code, account)
      if (isRefusal(written)) return written
      const now = this.open(asker, id)
      if (isRefusal(now)) return now
      // Another request may have gone on meanwhile.
      if (stepAgain(now, channel) !== step) continue
      const sends = this.gate.sends(now, to)
      const objection = this.gate.objectionTo(network, now, sends) ?? this.gate.objection(now, to, account, sends)
      if (objection !== undefined) return objection
      const done = this.sender.submit(now, step, written, account, isAdmitted)
      if (isRefusal(done)) {
        if (done.code !== 'credit_pending' || !(await this.host.door.creditKnown(account))) return done
        isAdmitted = true
        continue
      }
      if (!this.course.sent(now, done, account, sends)) return diskFull
      this.gate.countAddress(now, network)
      this.told.tell(now, 'sent', done)
      await this.host.spool.synced()
      const left = now.isSandboxed ? null : sends.left
      return { session: now, left, ...(now.isSandboxed ? { code } : {}) }
    }
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

  /** Prefixes that get no codes now: of one account, or of all. */
  blocks(account?: number): PrefixBlock[] {
    return this.guard.list(this.host.clock.now(), account)
  }

  /** False: there is no such block. Durable when it resolves. */
  async release(account: number, prefix: string): Promise<boolean> {
    const isThere = this.guard.release(account, prefix)
    await this.host.spool.synced()
    return isThere
  }

  /** Destinations with too many wrong codes in a row; the first thousand. */
  blockedDestinations(): BlockedDestination[] {
    return this.failures.list()
  }

  /** Codes may go to a number or mail address again. False: nothing kept them. Durable when it resolves. */
  async releaseDestination(account: number, destination: string): Promise<boolean> {
    const isThere = this.failures.release({ account, destination })
    await this.host.spool.synced()
    return isThere
  }
}

/** Of steps that have the channel, all to one destination, one that was come to rather than one ahead; -1: none has it. */
function stepAgain(session: Session, channel: Channel | undefined): number {
  if (channel === undefined) return lastStep(session)
  const { steps, step } = session
  const before = steps.findLastIndex((one, i) => one.channel === channel && i <= step)
  return before >= 0 ? before : steps.findIndex(one => one.channel === channel)
}

/** The destination cannot be reached so, and perhaps in another way. */
const PASSED_ON: ReadonlySet<string> = new Set([
  'no_route',
  'destination_stopped',
  'destination_blocked',
  'destination_dnd',
  'otp_prefix_blocked',
])
const isPassedOn = ({ code }: Refusal, { steps }: Session): boolean => steps.length > 1 && PASSED_ON.has(code)
