// A session's code on its way: the message of a step, written and handed in at the door. Writing may wait, for a template or
// a mail; handing in does not. Knows texts and the door; which step is next, course.ts says.

import { composeText } from '../../../protocols/smtp/compose.js'
import type { Account } from '../../accounts/account.js'
import type { MessageFields } from '../../intake/web/fields.js'
import { messageFor } from '../../intake/web/message.js'
import { Message, rankOf } from '../../model/message.js'
import { extrasOfWeb } from '../../model/webExtras.js'
import { isRefusal, type OtpHost, type Refusal, refusal } from './host.js'
import { noVoice } from './making.js'
import { isCode, type Session, type Step, sealOwner, type Template, type Try } from './session.js'
import { MOST_FOR_APP, subjectFor, withSuffix, wordsFor } from './texts.js'

const OTP = rankOf('otp')
const MINUTE_MS = 60_000
/** From a code's making to its first message: no minute of it is over. */
const SLACK_MS = 5_000
const MOST_CHARACTERS = 1_600
const FIELDS: Omit<MessageFields, 'from_number' | 'message'> = {
  message_type: 'text',
  sms_type: 'otp',
  priority: 1,
  custom_id: '',
  tags: [],
  dry_run: false,
}

/** The text of a message, or a whole mail; and of which template it was made. */
export type Written = ({ readonly text: string } | { readonly mail: Buffer }) & { readonly templateId?: string }

interface Words {
  readonly words: string
  readonly templateId?: string
}

const textInvalid = (text: string): Refusal => refusal('otp_text_invalid', text)
const tooDear = refusal('otp_too_dear', 'a message there costs more than the account wants to pay for a code')

type SenderHost = Pick<OtpHost, 'door' | 'clock' | 'peppers' | 'postmaster' | 'hostname' | 'templates'>

export class Sender {
  private readonly host: SenderHost

  constructor(host: SenderHost) {
    this.host = host
  }

  /** The session's code; undefined: its pepper was destroyed, or is another one by now. */
  codeOf(session: Session): string | undefined {
    const pepper = this.host.peppers.of(session.kid)
    const code = pepper?.unseal(sealOwner(session), session.sealed)
    const { destination, purpose, wording } = session
    const { payee, amount } = wording
    // Under another secret it would be gibberish, and somebody's phone would show it.
    const isIt = pepper && code && isCode(session, pepper, { destination, purpose, payee, amount }, code)
    return isIt ? code : undefined
  }

  /** What the message of a step says. `code` as it is shown. The first one settles the version of a template. */
  async write(session: Session, step: Step, code: string, account: Account): Promise<Written | Refusal> {
    if (step.channel === 'voice') return noVoice
    const leftMs = session.expiresMs - this.host.clock.now()
    const minutes = Math.max(1, Math.floor((leftMs + SLACK_MS) / MINUTE_MS))
    const made: Words | Refusal =
      session.template === null
        ? { words: wordsFor(session.wording, code, minutes) }
        : await this.fill(session, code, minutes)
    if (isRefusal(made)) return made
    const { words, ...of } = made
    const unsaid = unsaidIn(words, session, code)
    if (unsaid !== undefined) return unsaid
    if (step.channel === 'sms') {
      const text = withSuffix(words, session.wording, code)
      return objection(text, session) ?? { text, ...of }
    }
    if (session.isSandboxed) return { mail: Buffer.alloc(0), ...of }
    const { hostname, postmaster, clock } = this.host
    const { brand } = session.wording
    const head = {
      from: { ...(brand === '' ? {} : { name: brand }), address: account.otp.mailFrom || postmaster },
      to: { address: step.to },
      subject: subjectFor(session.wording),
      messageId: `${session.id}.${session.tries.length}@${hostname}`,
      atMs: clock.now(),
      // Nobody answers it by program, RFC 3834 §5.
      fields: { 'Auto-Submitted': 'auto-generated' },
    }
    return { mail: await composeText(head, `${words}\n`), ...of }
  }

  private async fill(session: Session, code: string, minutes: number): Promise<Words | Refusal> {
    const { id, version, variables } = session.template as Template
    const { payee, amount, language } = session.wording
    const given = {
      ...variables,
      otp: code,
      expiry: String(minutes),
      ...(payee === '' ? {} : { payee }),
      ...(amount === '' ? {} : { amount }),
    }
    const { templates } = this.host
    let made = await templates.render(session.account, id, given, version, language)
    if (isRefusal(made) && made.code === 'variable_unknown') {
      // Not every template says how long its code is good.
      const { expiry: _, ...others } = given
      made = await templates.render(session.account, id, others, version, language)
    }
    if (isRefusal(made)) return made
    const { text, templateId } = made
    session.template = { id: templateId, version: made.version, variables }
    return { words: text, templateId }
  }

  /**
   * Hands in what was written, in this turn of the event loop; durable with whatever else is asked of the spool now. Once
   * more after credit_pending it `isAdmitted`: its place in the account's pace is paid.
   */
  submit(session: Session, index: number, written: Written, account: Account, isAdmitted: boolean): Try | Refusal {
    const { door, clock } = this.host
    const step = session.steps[index] as Step
    const done: Omit<Try, 'message'> = {
      step: index,
      channel: step.channel,
      atMs: clock.now(),
      status: 'sent',
      error: '',
    }
    // A mail would leave the building.
    if ('mail' in written && session.isSandboxed) return { ...done, message: 0 }
    const full = isAdmitted ? door.refusal(account) : door.admit(account, 1, 0)
    if (full !== undefined) return full
    const m =
      'mail' in written ? this.mail(session, step, written.mail, account) : this.sms(session, step, written.text)
    m.rank = OTP
    m.clientRef = session.id
    m.extras = extrasOfWeb({ otp: session.id, sms_type: 'otp' }, [])
    // Of no use afterwards.
    m.validUntilMs = session.expiresMs
    m.validityGiven = true
    const why = 'mail' in written ? door.submitMail(m, account) : this.submitSms(m, account)
    if (why !== undefined) return why
    if (written.templateId !== undefined) this.host.templates.used(written.templateId)
    return { ...done, message: m.id }
  }

  private submitSms(m: Message, account: Account): Refusal | undefined {
    const { door } = this.host
    const most = account.otp.maxPriceMicros
    if (most !== null && !m.isSandboxed) {
      const why = door.preview(m, account, OTP)
      if (why !== undefined) return why
      if (m.priceMicros > most) return tooDear
    }
    return door.submitAdmitted(m, account, OTP)
  }

  private sms(session: Session, step: Step, text: string): Message {
    const fields: MessageFields = { ...FIELDS, from_number: session.source, message: text }
    if (session.isSandboxed) fields.sandboxed = true
    const body = Buffer.from(text)
    const m = messageFor(step.to, step.to, body, { fields, smsType: 'otp', extras: '', body, template: null })
    m.registered_delivery = 1
    return m
  }

  private mail(session: Session, step: Step, octets: Buffer, account: Account): Message {
    const m = new Message()
    m.source_addr = account.otp.mailFrom || this.host.postmaster
    m.destination_addr = step.to
    m.body = octets
    m.account = session.account
    return m
  }
}

/** Whoever pays must read to whom and how much, and a variant of a template may have left it out. */
function unsaidIn(words: string, { wording, template }: Session, code: string): Refusal | undefined {
  if (template === null && wording.custom === '') return undefined
  const { payee, amount } = wording
  const named = Object.entries({ otp: code, payee, amount })
  const [name] = named.find(([, value]) => !words.includes(value)) ?? []
  return name === undefined ? undefined : textInvalid(`the text must name ${name}, and has no place for it`)
}

function objection(text: string, { wording }: Session): Refusal | undefined {
  if (text.length > MOST_CHARACTERS) return textInvalid(`the message has more than ${MOST_CHARACTERS} characters`)
  if (wording.appHash !== '' && Buffer.byteLength(text) > MOST_FOR_APP)
    return textInvalid(`with app_hash the message must have at most ${MOST_FOR_APP} octets`)
  return undefined
}
