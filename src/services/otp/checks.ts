// Whether a code is right. Counting an attempt, comparing it and closing the session are one step in one turn of the event
// loop, durable before it is answered: of codes that come at once no more are looked at than may be, and one is right at most.
// Whatever is wrong, the same is done, written and said.

import { createHash, timingSafeEqual } from 'node:crypto'
import { rankOf } from '../../model/message.js'
import { type Course, isOpen, SKEW_MS } from './course.js'
import type { Failures } from './failures.js'
import type { Guard } from './guard.js'
import { diskFull, type OtpHost, type Refusal, refusal } from './host.js'
import { type Asker, PURPOSE } from './making.js'
import { type Binding, isCode, type Session, type Sessions, type Step, secretText } from './session.js'
import type { Told } from './told.js'

const TOKEN_MS = 300_000
const TOKEN_OCTETS = 32
const OTP = rankOf('otp')

/** What whoever verifies says of the code besides it; without destinations it may have gone to any of the session's. */
export interface Named extends Partial<Omit<Binding, 'destination'>> {
  readonly destinations?: readonly string[]
}

export interface Verified {
  readonly session: Session
  readonly token: string
}

/** The answer to every code that is not right, whatever is wrong with it. */
const wrongCode = refusal('otp_invalid', 'the code is wrong, or no longer good')
const tokenRefused = refusal('otp_token_invalid', 'the token is wrong, was used, or is no longer good')

export class Checks {
  private readonly host: OtpHost
  private readonly parts: {
    readonly sessions: Sessions
    readonly course: Course
    readonly told: Told
    readonly guard: Guard
    readonly failures: Failures
  }

  constructor(host: OtpHost, parts: Checks['parts']) {
    this.host = host
    this.parts = parts
  }

  /**
   * Whether this is the code; whatever is not right about it, the answer is the same and takes as long. Durable when it
   * resolves.
   */
  async verify({ account, isTest }: Asker, id: string, written: string, named: Named): Promise<Verified | Refusal> {
    const { spool, peppers, clock, counters } = this.host
    const { sessions, course, told, failures } = this.parts
    const nowMs = clock.now()
    const found = sessions.read(account.id, id)
    const isBlocked = failures.isBlocked(found ?? { account: account.id, destination: '' }) && !found?.isSandboxed
    const isReal = isOpen(found, nowMs) && found.isTest === isTest && found.failed < found.attempts && !isBlocked
    const session = isReal ? found : sessions.decoyOf(account.id, id)
    const pepper = peppers.of(session.kid)
    const { destinations = [], purpose = PURPOSE, payee = '', amount = '' } = named
    const { destination } = session
    const isThere = areAll(destinations, session.steps)
    const isRight = isCode(session, pepper ?? peppers.current, { destination, purpose, payee, amount }, written)
    if (isRight && isThere && isReal && pepper !== undefined) {
      const secret = secretText(TOKEN_OCTETS)
      session.token = hashOf(secret).toString('base64')
      session.tokenUntilMs = nowMs + TOKEN_MS
      if (!course.close(session, 'verified')) return diskFull
      if (!session.isSandboxed) {
        failures.forget(session)
        this.converted(session, nowMs)
      }
      told.tell(session, 'verified')
      await spool.synced()
      return { session, token: `${id}.${secret}` }
    }
    counters.add('otp_wrong')
    session.failed++
    if (session.failedUntilMs <= nowMs) session.failedUntilMs = nowMs + this.host.settings.attemptsMs
    const isLast = failures.add(isReal && !session.isSandboxed ? session : { account: account.id, destination: '' })
    const isUsedUp = isReal && (isLast || session.failed >= session.attempts)
    if (!isReal) {
      if (!sessions.writeDecoy(session, session.failedUntilMs)) return diskFull
    } else {
      if (!(isUsedUp ? course.close(session, 'blocked') : sessions.write(session))) return diskFull
      if (!session.isSandboxed) sessions.writeStanding(session)
      if (isUsedUp) told.tell(session, 'blocked')
    }
    await spool.synced()
    return wrongCode
  }

  /** For analytics, for the guard, and for whoever judges carriers. */
  private converted(session: Session, nowMs: number): void {
    const { spool, counters, learned } = this.host
    const { account, steps } = session
    const one =
      session.tries.findLast(({ status }) => status === 'delivered') ??
      session.tries.findLast(({ message }) => message !== 0)
    if (one === undefined) return
    const m = one.carrier === undefined ? spool.find(one.message) : undefined
    const carrier = one.carrier ?? m?.carrier ?? 0
    const to = (steps[one.step] as Step).to
    // Each of its messages there is counted as sent, but for those that failed before.
    for (const { step, channel, status, atMs } of one.channel === 'sms' ? session.tries : []) {
      if (channel === 'sms' && status !== 'failed' && steps[step]?.to === to)
        this.parts.guard.verified(account, to, atMs)
    }
    const conversion = {
      id: one.message,
      account,
      rank: OTP,
      carrier,
      lane: one.lane ?? m?.lane ?? 0,
      source_addr: session.source,
      destination_addr: to,
    }
    if (!spool.converted(conversion)) counters.add('otp_conversions_lost')
    // What was reported delivered has been learned already.
    if (one.channel !== 'sms' || one.status === 'delivered' || carrier === 0) return
    learned({ carrier, account, destination: to, isUnused: false, afterMs: nowMs - one.atMs })
  }

  /** The session that a token stands for; it is good once. Durable when it resolves. */
  async redeem({ account, isTest }: Asker, token: string, purpose: string): Promise<Session | Refusal> {
    const { spool, clock } = this.host
    const { sessions } = this.parts
    const [id = '', secret = ''] = token.split('.')
    const session = sessions.read(account.id, id)
    const isGood =
      session !== undefined &&
      session.token !== '' &&
      timingSafeEqual(Buffer.from(session.token, 'base64'), hashOf(secret)) &&
      session.isTest === isTest &&
      session.purpose === purpose &&
      clock.now() < session.tokenUntilMs &&
      clock.now() > session.endedMs - SKEW_MS
    if (!isGood) return tokenRefused
    session.token = ''
    if (!sessions.write(session)) return diskFull
    await spool.synced()
    return session
  }
}

/** Whether each is where one of the steps leads. All are looked at, to their ends, wherever they differ. */
function areAll(destinations: readonly string[], steps: readonly Step[]): boolean {
  let missing = 0
  for (const destination of destinations) {
    let found = 0
    for (const { to } of steps) {
      let differs = destination.length ^ to.length
      for (let i = 0; i < destination.length; i++) differs |= destination.charCodeAt(i) ^ to.charCodeAt(i)
      found |= Number(differs === 0)
    }
    missing |= found ^ 1
  }
  return missing === 0
}

const hashOf = (text: string): Buffer => createHash('sha256').update(text).digest()
