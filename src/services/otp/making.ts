// A session in the making: what was asked for, what the account wants, and what the gateway's settings say, as one. Knows what
// may be asked for; sends and writes nothing.

import { randomBytes } from 'node:crypto'
import type { Account } from '../../accounts/account.js'
import type { Language } from '../../accounts/otpProfile.js'
import { isMagic } from '../../routing/sandbox.js'
import { type CodeFormat, FEWEST_DIGITS, LENGTHS, newCode, plainCode } from './codes.js'
import { type OtpHost, type OtpSettings, type Refusal, refusal } from './host.js'
import { type Channel, newSessionId, type Session, type Step, sealOwner, tagOf } from './session.js'
import type { Wording } from './texts.js'

const MINUTE_MS = 60_000
/** So long before its end a code can still be read and entered. */
const ENTERED_MS = 10_000
/** What a code is for, if nobody says. */
export const PURPOSE = 'verification'

/** What is asked for; undefined and '' leave it to the account. */
export interface Wanted {
  /** Digits of a number; '' = none. */
  readonly phone: string
  readonly email: string
  readonly format?: CodeFormat | undefined
  readonly length?: number | undefined
  readonly expiryMinutes?: number | undefined
  readonly purpose: string
  readonly payee: string
  readonly amount: string
  readonly brand?: string | undefined
  readonly language?: Language | undefined
  /** With {otp}; '' = our own words. */
  readonly custom: string
  readonly template: Session['template']
  readonly metadata: Session['metadata']
  readonly workflow: readonly { readonly channel: Channel; readonly timeoutMs: number }[]
  /** Of the client whom it is for: its address, of IPv6 its /64. */
  readonly network?: string | undefined
  readonly domain?: string | undefined
  readonly appHash?: string | undefined
  readonly source?: string | undefined
}

/** Who asks. */
export interface Asker {
  readonly account: Account
  /** With a test key. */
  readonly isTest: boolean
}

const noDestination = (channel: Channel): Refusal =>
  refusal(
    'otp_destination_missing',
    `the channel ${channel} needs ${channel === 'email' ? 'an email' : 'a phone_number'}`,
  )
const sandboxOff = refusal('sandbox_off', 'this gateway has no sandbox: test keys send nothing here')
const sandboxMixed = refusal(
  'otp_sandbox_mixed',
  'a number of the sandbox and a destination outside of it: with a test key all channels stay inside',
)
const neverBegins = (channel: Channel, beginsMs: number, goodMs: number): Refusal => {
  const [begins, good] = [Math.ceil(beginsMs / 1_000), Math.floor(goodMs / 1_000)]
  return refusal(
    'otp_workflow_too_long',
    `the channel ${channel} would begin ${begins} s after the first message, and the code is good for ${good} s: ` +
      'shorten timeout_s or lengthen expiry_minutes',
    { more: { begins_after_s: begins, good_for_s: good } },
  )
}
export const noVoice = refusal('otp_channel_unavailable', 'codes are not spoken yet: use sms or email')

/** A session with a code of its own, nothing of it written or sent; or what of it cannot be. */
export function buildSession(
  { settings, peppers, clock, sandbox }: OtpHost,
  { account, isTest }: Asker,
  wanted: Wanted,
): { session: Session; code: string } | Refusal {
  const { otp } = account
  if (isTest && !sandbox) return sandboxOff
  const format = wanted.format ?? otp.format
  const length = wanted.length ?? (otp.format === format ? otp.length : null) ?? usual(format, settings)
  const bounds = LENGTHS[format]
  const min = format === 'digits' && otp.shortCodes ? FEWEST_DIGITS : bounds.min
  if (length < min || length > bounds.max) {
    return refusal('otp_length_invalid', `a code of ${format} must have ${min} to ${bounds.max} of them`, {
      more: { min, max: bounds.max },
    })
  }
  const steps: Step[] = []
  for (const { channel, timeoutMs } of wanted.workflow) {
    const to = channel === 'email' ? wanted.email : wanted.phone
    if (channel === 'voice') return noVoice
    if (to === '') return noDestination(channel)
    steps.push({ channel, to, timeoutMs })
  }
  const minutes = wanted.expiryMinutes ?? otp.expiryMinutes
  const goodMs = minutes === null ? settings.expiryMs : minutes * MINUTE_MS
  let beginsMs = 0
  for (const { channel, timeoutMs } of steps) {
    if (beginsMs > 0 && beginsMs > goodMs - ENTERED_MS) return neverBegins(channel, beginsMs, goodMs)
    beginsMs += timeoutMs
  }
  const played = sandbox ? steps.filter(({ channel, to }) => channel === 'sms' && isMagic(to)).length : 0
  if (!isTest && played > 0 && played < steps.length) return sandboxMixed
  const first = steps[0] as Step
  const nowMs = clock.now()
  const wording: Wording = {
    brand: wanted.brand ?? otp.brand,
    language: wanted.language ?? otp.language,
    payee: wanted.payee,
    amount: wanted.amount,
    custom: wanted.custom,
    domain: wanted.domain ?? (wanted.appHash === undefined ? otp.domain : ''),
    appHash: wanted.appHash ?? (wanted.domain === undefined ? otp.appHash : ''),
  }
  const code = newCode(format, length)
  const pepper = peppers.current
  const of = { account: account.id, id: newSessionId(nowMs) }
  const binding = { destination: first.to, purpose: wanted.purpose, payee: wanted.payee, amount: wanted.amount }
  const session: Session = {
    // Spread into an object of so many fields they would cost five times all else here.
    id: of.id,
    account: of.account,
    isTest,
    isSandboxed: isTest || played > 0,
    destination: first.to,
    purpose: wanted.purpose,
    format,
    kid: pepper.kid,
    tag: tagOf(pepper, of, binding, plainCode(code, format)).toString('base64'),
    sealed: pepper.seal(sealOwner(of), code),
    wording,
    source: wanted.source ?? otp.sender,
    template: wanted.template,
    metadata: wanted.metadata,
    steps,
    step: 0,
    nextMs: 0,
    tries: [],
    attempts: otp.attempts ?? settings.attempts,
    failed: 0,
    failedUntilMs: 0,
    createdMs: nowMs,
    expiresMs: nowMs + goodMs,
    lastSentMs: nowMs,
    status: 'pending',
    endedMs: 0,
    token: '',
    tokenUntilMs: 0,
  }
  return { session, code }
}

/** For {@link Sessions}: like one that waits for its code, and nobody's. */
export function decoySession({ clock, peppers }: OtpHost): Session {
  const nowMs = clock.now()
  return {
    id: newSessionId(nowMs),
    account: 0,
    isTest: false,
    isSandboxed: false,
    destination: '490000000000',
    purpose: PURPOSE,
    format: 'digits',
    kid: peppers.current.kid,
    tag: randomBytes(32).toString('base64'),
    sealed: randomBytes(34).toString('base64'),
    wording: { brand: '', language: 'en', payee: '', amount: '', custom: '', domain: '', appHash: '' },
    source: '',
    template: null,
    metadata: null,
    steps: [{ channel: 'sms', to: '490000000000', timeoutMs: 0 }],
    step: 0,
    nextMs: 0,
    tries: [{ step: 0, channel: 'sms', message: 2 ** 52, atMs: nowMs, status: 'sent', error: '' }],
    attempts: 3,
    failed: 0,
    failedUntilMs: 0,
    createdMs: nowMs,
    expiresMs: nowMs,
    lastSentMs: nowMs,
    status: 'pending',
    endedMs: 0,
    token: '',
    tokenUntilMs: 0,
  }
}

const usual = (format: CodeFormat, { length }: OtpSettings): number =>
  format === 'digits' ? length : LENGTHS[format].usual
