// One-time passwords over HTTP: asked for, entered, sent again, called off, looked at; the same routes serve whoever
// administers. Knows requests and answers; what a session is, and when its code is good, services/otp says.

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import type { z } from 'zod'
import { networkOf } from '../../../protocols/net/address.js'
import type { Clock } from '../../base/clock.js'
import { idText } from '../../base/ids.js'
import type { WebSender } from '../../intake/web/sender.js'
import type { FaultCode } from '../../model/fault.js'
import { isoTime } from '../../returns/events.js'
import { isOpen } from '../../services/otp/course.js'
import { isRefusal, type Refusal } from '../../services/otp/host.js'
import { type Asker, PURPOSE, type Wanted } from '../../services/otp/making.js'
import { type PhoneNumbers, phoneNumbers, premium } from '../../services/otp/numbers.js'
import type { Made, Otp } from '../../services/otp/otp.js'
import { carriedBy, lastStep, type Session, type Step } from '../../services/otp/session.js'
import { Problem } from '../problem.js'
import type { Api } from './api.js'
import { needs } from './caller.js'
import { asking } from './changing.js'
import { statusOfFault } from './faults.js'
import * as shapes from './otpShapes.js'

export interface OtpDesk {
  readonly otp: Otp
  readonly sender: Pick<WebSender, 'once' | 'settle' | 'giveUp'>
  readonly clock: Clock
}

/** Where the routes are: an application's own, or an operator's for an account. */
export interface OtpPlace {
  readonly scope: FastifyInstance
  readonly problems: Api['problems']
  askerOf(request: FastifyRequest): Asker
}

const DEFAULT_TIMEOUT_MS = 30_000

export function otpRoutes({ scope, problems, askerOf }: OtpPlace, desk: () => OtpDesk): void {
  const routes = scope.withTypeProvider<ZodTypeProvider>()
  const tags = ['One-time passwords']
  const otp = (): Otp => desk().otp
  const { params, refusals } = shapes

  routes.post(
    '/otp/generate',
    {
      ...needs('otp:write'),
      schema: {
        summary: 'Send a code',
        description:
          'Nobody is told the code but the phone; only in the sandbox it stands in the answer. With more than one channel ' +
          'the same code may go to more than one destination: whoever enters it has proven one of them, not which. However ' +
          'a number is written, it is one: +49 (0)151 is +49151. In its national form it needs country_code; a length that ' +
          'its country does not have is refused, and so is a premium rate (403 otp_number_refused).' +
          refusals.generate,
        tags,
        headers: shapes.idempotency,
        body: shapes.generateBody,
        response: { 200: shapes.made, ...problems },
      },
    },
    async (request, reply) => {
      const asker = askerOf(request)
      const wanted = wantedOf(request.body, await phoneNumbers())
      await once(request, reply, asker, settled => otp().generate(asker, wanted, made => settled(madeText(made))))
      return reply
    },
  )

  routes.post(
    '/otp/verify',
    {
      ...needs('otp:write'),
      schema: {
        summary: 'Is this the code?',
        description:
          'A wrong code, one that is no longer good and a session that never was are answered alike: 422 otp_invalid. ' +
          'Once it was right it is good no more. carried_by says where the code went: with a fallback one of them is proven, ' +
          'so take a phone for verified only where nothing else is named. phone_number and email may be named to be sure ' +
          'whose session it is: each must be one of its destinations, whichever of them the code went to. What is named and ' +
          'is not as it was costs an attempt like a wrong code; purpose is verification where none is named.',
        tags,
        body: shapes.verifyBody,
        response: { 200: shapes.verified, ...problems },
      },
    },
    async (request, reply) => {
      const { session_id, otp_code, phone_number, email, purpose, payee, amount } = request.body
      const phone = phone_number === undefined ? [] : [digitsIn(phone_number, await phoneNumbers())]
      const named = {
        destinations: email === undefined ? phone : [...phone, email.toLowerCase()],
        ...(purpose === undefined ? {} : { purpose }),
        ...(payee === undefined ? {} : { payee }),
        ...(amount === undefined ? {} : { amount }),
      }
      const { session, token } = good(await otp().checks.verify(askerOf(request), session_id, otp_code, named))
      return said(reply, {
        verified: true,
        session_id,
        status: 'verified',
        purpose: session.purpose,
        verified_token: token,
        verified_token_expires_at: isoTime(session.tokenUntilMs),
        carried_by: carriedBy(session),
        metadata: session.metadata,
        sandbox: session.isSandboxed,
      })
    },
  )

  routes.post(
    '/otp/redeem',
    {
      ...needs('otp:write'),
      schema: {
        summary: 'What a verified_token stands for, once',
        description:
          'For the part of your application that acts on a verified code and did not see it itself. One of carried_by is ' +
          'proven; refuse what says sandbox where it counts.' +
          refusals.redeem,
        tags,
        body: shapes.redeemBody,
        response: { 200: shapes.redeemed, ...problems },
      },
    },
    async request => {
      const { verified_token, purpose } = request.body
      const one = good(await otp().checks.redeem(askerOf(request), verified_token, purpose ?? PURPOSE))
      const { payee, amount } = one.wording
      const of = { session_id: one.id, purpose: one.purpose, to: one.destination, payee, amount }
      return { ...of, verified_at: isoTime(one.endedMs), carried_by: carriedBy(one), sandbox: one.isSandboxed }
    },
  )

  routes.post(
    '/otp/resend/:session_id',
    {
      ...needs('otp:write'),
      schema: {
        summary: 'Send the same code once more',
        description:
          'Over the channel that it went last, or over another one of its workflow. What limits codes limits this, too: ' +
          'resend_at of the answer before says when.' +
          refusals.resend,
        tags,
        params,
        body: shapes.resendBody,
        response: { 200: shapes.made, ...problems },
      },
    },
    async (request, reply) => {
      const { session_id } = request.params
      const { ip, channel } = request.body ?? {}
      const made = good(await otp().resend(askerOf(request), session_id, { network: networkIn(ip), channel }))
      return text(reply, madeText(made))
    },
  )

  const on = (
    path: string,
    { summary, description }: { summary: string; description: string },
    work: (asker: Asker, id: string) => Promise<Session | Refusal>,
  ): void => {
    routes.post(
      path,
      {
        ...needs('otp:write'),
        schema: { summary, description, tags, params, response: { 200: shapes.session, ...problems } },
      },
      async (request, reply) => said(reply, view(good(await work(askerOf(request), request.params.session_id)))),
    )
  }
  const next = { summary: 'Go on to the next channel at once', description: refusals.next }
  on('/otp/next/:session_id', next, (asker, id) => otp().next(asker, id))
  const cancel = { summary: 'Call a code off', description: refusals.session }
  on('/otp/cancel/:session_id', cancel, (asker, id) => otp().cancel(asker, id))

  routes.get(
    '/otp/sessions',
    {
      ...needs('otp:write'),
      schema: {
        summary: 'What became of your newest sessions',
        description: 'For people, some seconds late: without codes, and of numbers the last digits only.',
        tags,
        querystring: shapes.listQuery,
        response: { 200: shapes.sessions, ...problems },
      },
    },
    async request => {
      const { account, isTest } = askerOf(request)
      // What a test key asks for stays in the sandbox, and is listed nowhere.
      return { sessions: isTest ? [] : await asking(() => otp().list(account.id, request.query.limit)) }
    },
  )

  routes.get(
    '/otp/blocks',
    {
      ...needs('otp:write'),
      schema: {
        summary: 'Prefixes of yours that get no codes for now',
        description:
          'Hardly anybody entered the codes that went there: mostly somebody asks your application for codes to numbers ' +
          'that earn them money. Numbers of a network are told by seven digits, those of a country by its code.',
        tags,
        response: { 200: shapes.blocks, ...problems },
      },
    },
    async request => {
      const { account, isTest } = askerOf(request)
      // What a test key sends is counted nowhere.
      const found = isTest ? [] : otp().blocks(account.id)
      return {
        blocks: found.map(({ prefix, sent, verified, atMs, untilMs }) => ({
          prefix,
          sent,
          verified,
          at: isoTime(atMs),
          until: isoTime(untilMs),
        })),
      }
    },
  )

  routes.delete(
    '/otp/blocks/:prefix',
    {
      ...needs('otp:write'),
      schema: {
        summary: 'Let codes go to a prefix again',
        description: 'Should they be entered as rarely as before, it is blocked again.',
        tags,
        params: shapes.prefixParams,
        response: { 200: shapes.released, ...problems },
      },
    },
    async request => {
      const { account, isTest } = askerOf(request)
      const { prefix } = request.params
      if (isTest || !(await otp().release(account.id, prefix))) {
        throw new Problem(404, 'not_blocked', 'It is not blocked', `codes to ${prefix} are not blocked`)
      }
      return { prefix }
    },
  )

  routes.get(
    '/otp/:session_id',
    {
      ...needs('otp:write'),
      schema: {
        summary: 'How a session stands',
        description: `Until an hour after its code has expired.${refusals.show}`,
        tags,
        params,
        response: { 200: shapes.session, ...problems },
      },
    },
    async (request, reply) => said(reply, view(good(otp().show(askerOf(request), request.params.session_id)))),
  )

  /** Throws the Problem of a refusal. */
  function good<T extends object>(answer: T | Refusal): T {
    if (isRefusal(answer)) throw problemOf(answer, desk().clock.now())
    return answer
  }

  function view(session: Session): z.output<typeof shapes.session> {
    const { status, expiresMs, steps, step, tries, attempts, failed } = session
    const isLate = status === 'pending' && !isOpen(session, desk().clock.now())
    const { channel, to } = steps[lastStep(session)] as Step
    return {
      session_id: session.id,
      status: isLate ? 'expired' : status,
      purpose: session.purpose,
      channel,
      to,
      created_at: isoTime(session.createdMs),
      expires_at: isoTime(expiresMs),
      ended_at: session.endedMs === 0 ? null : isoTime(session.endedMs),
      attempts_left: Math.max(0, attempts - failed),
      next_channel: steps[step + 1]?.channel ?? null,
      messages: tries.map(({ channel, message, status, error, atMs }) => ({
        channel,
        message_id: message === 0 ? null : idText(message, 'decimal'),
        status,
        error: error === '' ? null : error,
        at: isoTime(atMs),
      })),
      metadata: session.metadata,
      sandbox: session.isSandboxed,
    }
  }

  /** The answer as it is sent, and given again to whoever asks again. */
  function madeText({ session, left, code }: Made): string {
    const { otp } = desk()
    const limits = left === null ? null : { left_this_hour: left.hour, left_today: left.day }
    const resendMs = session.isSandboxed ? session.lastSentMs : session.lastSentMs + otp.cooldownMs
    return JSON.stringify({
      ...view(session),
      resend_at: isoTime(resendMs),
      limits,
      ...(code === undefined ? {} : { code }),
    })
  }

  /** With an Idempotency-Key the second answer is the first one, and nothing is sent twice. */
  async function once(
    request: FastifyRequest,
    reply: FastifyReply,
    { account, isTest }: Asker,
    work: (settled: (answer: string) => void) => Promise<Made | Refusal>,
  ): Promise<void> {
    const given = shapes.keyIn(request.headers['idempotency-key'] as string | undefined)
    if (given === undefined) {
      let answer = ''
      good(
        await work(made => {
          answer = made
        }),
      )
      text(reply, answer)
      return
    }
    const { sender, otp } = desk()
    const key = isTest ? `otp\0${given}` : `otp ${given}`
    const before = sender.once(account, key, JSON.stringify(request.body))
    if (before.kind === 'running') throw shapes.stillRunning()
    if (before.kind === 'other') throw shapes.keyReused()
    if (before.kind === 'again') {
      await otp.synced()
      text(reply.header('idempotency-replayed', 'true'), before.body)
      return
    }
    let answer = ''
    try {
      // Kept in the commit that has the message, so that a crash leaves both or none.
      const done = await work(made => {
        answer = made
        sender.settle(account, key, 200, made)
      })
      good(done)
    } finally {
      sender.giveUp(account, key)
    }
    text(reply, answer)
  }
}

/** A Refusal: it is no number. */
function numberIn(phone: z.output<typeof shapes.phone>, numbers: PhoneNumbers): string | Refusal {
  if (typeof phone === 'string') return numbers.canonical(phone)
  return numbers.canonical(phone.number, phone.country_code?.replace('+', ''))
}

/** '' for what is no number: no session is of that. */
function digitsIn(phone: z.output<typeof shapes.phone>, numbers: PhoneNumbers): string {
  const found = numberIn(phone, numbers)
  return typeof found === 'string' ? found : ''
}

function wantedOf(body: z.output<typeof shapes.generateBody>, numbers: PhoneNumbers): Wanted {
  const { phone_number, email = '', alphanumeric, format, workflow, template_id, template_variables } = body
  const phone = phone_number === undefined ? '' : numberIn(phone_number, numbers)
  if (typeof phone !== 'string') throw new Problem(422, phone.code, 'The code is not sent', phone.text)
  if (numbers.isPremium(phone)) throw new Problem(403, premium.code, 'The code is not sent', premium.text)
  const usual = [{ channel: phone === '' ? ('email' as const) : ('sms' as const), timeout_s: undefined }]
  return {
    phone,
    email: email.toLowerCase(),
    format: format ?? (alphanumeric ? 'letters' : undefined),
    length: body.length,
    expiryMinutes: body.expiry_minutes,
    purpose: body.purpose ?? PURPOSE,
    payee: body.payee ?? '',
    amount: body.amount ?? '',
    brand: body.brand,
    language: body.language,
    custom: body.custom_message ?? '',
    template: template_id === undefined ? null : { id: template_id, variables: template_variables ?? {} },
    metadata: body.metadata ?? null,
    workflow: (workflow ?? usual).map(({ channel, timeout_s }) => ({
      channel,
      timeoutMs: timeout_s === undefined ? DEFAULT_TIMEOUT_MS : timeout_s * 1_000,
    })),
    network: networkIn(body.ip),
    domain: body.domain,
    appHash: body.app_hash,
    source: body.from_number,
  }
}

/** Of IPv6 whoever has an address has many more beside it. */
const networkIn = (ip: string | undefined): string | undefined => (ip === undefined ? undefined : networkOf(ip))

/** By code; the door's own stand with faults. */
const statuses: Readonly<Record<string, number>> = {
  otp_unknown: 404,
  otp_over: 409,
  otp_no_step: 409,
  otp_limited: 429,
  otp_attempts_used: 429,
  otp_prefix_blocked: 403,
  otp_destination_blocked: 403,
  otp_country_refused: 403,
  otp_channel_unavailable: 501,
}

/** `nowMs`: to say how long whoever asks must wait. */
function problemOf({ code, text, retryable, untilMs, more }: Refusal, nowMs: number): Problem {
  const status = statuses[code] ?? statusOfFault({ code: code as FaultCode, text, retryable })
  return new Problem(status, code, 'It is refused', text, {
    ...(code === 'otp_invalid' ? {} : { retryable }),
    ...(untilMs === undefined ? {} : { retry_after_s: Math.max(1, Math.ceil((untilMs - nowMs) / 1_000)) }),
    ...more,
  })
}

/** Serialized already: the schema is for the documents. */
function text(reply: FastifyReply, body: string): FastifyReply {
  return reply
    .type('application/json')
    .serializer((said: unknown) => said as string)
    .send(body)
}
const said = (reply: FastifyReply, answer: object): FastifyReply => text(reply, JSON.stringify(answer))
