// The course of a session after its first message: what becomes of its messages, the next step when one does not arrive, and
// its end. Moments are timers on disk, looked at four times a second; a restart changes nothing. Knows sessions and their
// steps; what is asked of them otp.ts answers.

import type { Account } from '../../accounts/account.js'
import { type Message, state, stateNames } from '../../model/message.js'
import { readExtras } from '../../model/webExtras.js'
import type { Ending } from '../../spool/contract.js'
import type { Gate } from './gate.js'
import { diskFull, isRefusal, type OtpHost, type Refusal, refusal } from './host.js'
import type { Sends } from './limits.js'
import type { Sender } from './sending.js'
import type { Session, SessionStatus, Sessions, Step, Try } from './session.js'
import type { OtpEvent, Told } from './told.js'

const TICK_MS = 250
/** Timers in one turn of the event loop. */
const AT_ONCE = 200
/** What could not be sent for now is tried again then. */
const AGAIN_MS = 5_000
/** Of codes that expired though they were reported delivered, people forget some: each fourth speaks against the carrier. */
const HEARD = 4

export interface CourseParts {
  readonly sessions: Sessions
  readonly sender: Sender
  readonly told: Told
  readonly gate: Gate
}

/** Clocks of nodes differ by less, and time servers put them back by less at one time. */
export const SKEW_MS = 2_000

/** A clock that was set back makes nothing good for longer. */
export const isOpen = (session: Session | undefined, nowMs: number): session is Session =>
  session !== undefined &&
  session.status === 'pending' &&
  nowMs < session.expiresMs &&
  nowMs > session.createdMs - SKEW_MS

export const unknownSession = refusal('otp_unknown', 'there is no such session')
export const sessionOver = refusal('otp_over', 'the session is over')
const noStep = refusal('otp_no_step', 'no other channel is left')

export class Course {
  private readonly host: OtpHost
  private readonly parts: CourseParts
  private timer: NodeJS.Timeout | undefined
  private unused = 0

  constructor(host: OtpHost, parts: CourseParts) {
    this.host = host
    this.parts = parts
  }

  start(): void {
    this.timer = setInterval(() => this.tick(''), TICK_MS).unref()
  }

  stop(): void {
    clearInterval(this.timer)
  }

  /** A message that carried a code is over; in the turn, and the commit, in which it ended. */
  ended(m: Message, ending: Ending): void {
    const { sessions, told, gate } = this.parts
    const id = readExtras(m.extras).web.otp
    const session = id === undefined ? undefined : sessions.read(m.account, id)
    const one = session?.tries.find(({ message }) => message === m.id)
    if (session === undefined || one === undefined || one.status !== 'sent') return
    const nowMs = this.host.clock.now()
    one.carrier = m.carrier
    one.lane = m.lane
    const { DELIVERED, ACCEPTED, UNKNOWN, DELETED } = state
    const isLast = one === session.tries.at(-1)
    const tells: OtpEvent[] = []
    if (ending.state === DELIVERED || (m.isMail && ending.state === ACCEPTED)) {
      one.status = 'delivered'
      if (one.step === session.step || isLast) session.nextMs = 0
      tells.push('delivered')
    } else if (ending.state !== ACCEPTED && ending.state !== UNKNOWN) {
      one.status = 'failed'
      one.error = ending.error || (stateNames[ending.state] as string)
      // Nobody could have entered it; of a session that was verified each of its messages counts as entered.
      if (session.status !== 'verified') gate.takeBack(session, session.steps[one.step] as Step, one.atMs)
      if (isOpen(session, nowMs)) {
        tells.push('failed')
        // Who called the message back wants no other in its place.
        if (isLast && ending.state === DELETED) session.nextMs = 0
        else if (isLast && session.step + 1 < session.steps.length) {
          session.nextMs = nowMs
          sessions.setTimer(session, nowMs)
        }
      }
    }
    sessions.write(session)
    for (const kind of tells) told.tell(session, kind, one)
  }

  /** Looks at timers whose moment has come, a slice at a time. */
  private tick(after: string): void {
    const { sessions } = this.parts
    const nowMs = this.host.clock.now()
    const due = sessions.due(nowMs, after, AT_ONCE)
    for (const { key, account, id } of due) {
      sessions.dropTimer(key)
      const session = sessions.read(account, id)
      if (session?.status !== 'pending') continue
      if (nowMs >= session.expiresMs) this.expire(session)
      else if (session.nextMs !== 0 && nowMs >= session.nextMs) {
        // Should it come to nothing, or should we be killed meanwhile, it is tried again.
        sessions.setTimer(session, Math.min(nowMs + AGAIN_MS, session.expiresMs))
        this.advance(account, id, session.step).catch(error => this.host.fault(error))
      } else
        sessions.setTimer(
          session,
          session.nextMs === 0 ? session.expiresMs : Math.min(session.nextMs, session.expiresMs),
        )
    }
    if (due.length === AT_ONCE) setImmediate(() => this.tick((due.at(-1) as { key: string }).key))
  }

  /**
   * The step after `from`, or the first after it whose message is taken. Resolves with the session as it is then; where
   * another was faster, as that one left it.
   */
  async advance(account: number, id: string, from: number): Promise<Session | Refusal> {
    const { sessions, sender, told, gate } = this.parts
    const { clock } = this.host
    let isAdmitted = false
    for (let index = from + 1; ; ) {
      const session = sessions.read(account, id)
      if (session === undefined) return unknownSession
      if (!isOpen(session, clock.now())) return sessionOver
      if (session.step !== index - 1) return session
      const step = session.steps[index]
      const who = this.host.account(account)
      const code = sender.codeOf(session)
      if (step === undefined || who === undefined) return noStep
      if (code === undefined) return sessionOver
      const written = await sender.write(session, step, code, who)
      const now = sessions.read(account, id)
      if (!isOpen(now, clock.now())) return sessionOver
      if (now.step !== index - 1) return now
      const sends = gate.sends(now, step)
      const late = gate.objection(now, step, who, sends, true)
      // It is not waited for: there may be another channel.
      const why = late && { ...late, retryable: false }
      const done = isRefusal(written) ? written : (why ?? sender.submit(now, index, written, who, isAdmitted))
      if (!isRefusal(done)) {
        if (!this.sent(now, done, who, sends)) return diskFull
        told.tell(now, 'sent', done)
        return now
      }
      if (done.code === 'credit_pending' && (await this.host.door.creditKnown(who))) {
        isAdmitted = true
        continue
      }
      if (done.retryable) return this.later(now, done)
      const failed: Try = {
        step: index,
        channel: step.channel,
        message: 0,
        atMs: clock.now(),
        status: 'failed',
        error: done.code,
      }
      now.tries.push(failed)
      now.step = index
      const isLast = index + 1 >= now.steps.length
      // Should we be killed before the next one went, it is tried then.
      now.nextMs = isLast ? 0 : clock.now()
      if (!isLast) sessions.setTimer(now, Math.min(clock.now() + AGAIN_MS, now.expiresMs))
      sessions.write(now)
      told.tell(now, 'failed', failed)
      if (isLast) return done
      index++
    }
  }

  /**
   * A message of it was handed in: written, counted, and the next step's moment set; after a step that was left behind what
   * is to come stays as it was. False when the disk is full: then the message is called back and nothing is counted.
   * `sends`: of its destination.
   */
  sent(session: Session, one: Try, account: Account, sends: Sends): boolean {
    const { sessions, gate } = this.parts
    const nowMs = this.host.clock.now()
    session.tries.push(one)
    session.lastSentMs = nowMs
    const step = session.steps[one.step] as Step
    if (one.step >= session.step) {
      session.step = one.step
      const isLast = one.step + 1 >= session.steps.length
      session.nextMs = isLast ? 0 : nowMs + step.timeoutMs
    }
    if (!sessions.write(session)) {
      if (one.message !== 0) this.host.spool.cancel(one.message)
      return false
    }
    if (session.nextMs !== 0) sessions.setTimer(session, Math.min(session.nextMs, session.expiresMs))
    gate.count(session, step, account, sends)
    return true
  }

  private later(session: Session, why: Refusal): Refusal {
    const { sessions } = this.parts
    const nowMs = this.host.clock.now()
    session.nextMs = nowMs + AGAIN_MS
    sessions.setTimer(session, Math.min(session.nextMs, session.expiresMs))
    sessions.write(session)
    return why
  }

  /** It is over, and so is whatever of it still waits for a carrier. False when the disk is full: then it is as it was. */
  close(session: Session, status: Exclude<SessionStatus, 'pending'>): boolean {
    const { sessions } = this.parts
    session.status = status
    session.endedMs = this.host.clock.now()
    session.sealed = ''
    session.nextMs = 0
    if (!sessions.write(session)) return false
    for (const { message, status: was } of session.tries) {
      if (message !== 0 && was === 'sent') this.host.spool.cancel(message)
    }
    return true
  }

  private expire(session: Session): void {
    if (!this.close(session, 'expired')) return
    this.parts.told.tell(session, 'expired')
    const one = session.tries.findLast(({ channel, status }) => channel === 'sms' && status === 'delivered')
    if (one?.carrier === undefined || session.isSandboxed || ++this.unused % HEARD !== 0) return
    this.host.learned({
      carrier: one.carrier,
      account: session.account,
      destination: (session.steps[one.step] as Step).to,
      isUnused: true,
      afterMs: this.host.clock.now() - one.atMs,
    })
  }
}
