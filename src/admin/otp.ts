// One-time passwords for whoever administers: an account's, by the routes that it has itself; prefixes that get none for
// now; and a new secret for those to come.

import type { FastifyInstance, FastifyRequest } from 'fastify'
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { digitsOf } from '../model/digits.js'
import type { Asker } from '../services/otp/making.js'
import { phoneNumbers } from '../services/otp/numbers.js'
import { masked } from '../services/otp/told.js'
import { otpRoutes } from './api/otp.js'
import { type Done, read, serving } from './asked.js'
import { Problem } from './problem.js'
import { accountOf } from './queue.js'
import { timeText } from './queued.js'
import type { AdminSubject } from './subject.js'

export interface BlockedPrefix {
  account: string
  prefix: string
  /** Codes within an hour, and how many of them were entered. */
  sent: number
  verified: number
  at: string
  until: string
}

/** After too many wrong codes in a row. */
export interface BlockedTo {
  account: string
  to: string
  at: string
}

const releaseBody = z
  .strictObject({
    account: z.string().min(1).max(63),
    prefix: z
      .string()
      .regex(/^\d{1,15}$/, 'must be digits')
      .optional(),
    to: z.string().min(3).max(254).optional(),
  })
  .refine(({ prefix, to }) => (prefix === undefined) !== (to === undefined), 'must name a prefix, or to')

/** As codes to it are counted; what is no number, or no more, as it stands in the list. */
async function numberIn(to: string): Promise<string> {
  const found = (await phoneNumbers()).canonical(to)
  return typeof found === 'string' ? found : digitsOf(to)
}

/** What an operator does for an account: `/otp/generate` is `otp_generate`. */
const actionOf = (url: string): string => `otp_${/\/otp\/([a-z]+)/.exec(url)?.[1]}`

export function adminOtpRoutes(app: FastifyInstance, subject: AdminSubject, done: Done): void {
  app.register(
    async scope => {
      const askers = new WeakMap<FastifyRequest, Asker>()
      scope.setValidatorCompiler(validatorCompiler)
      scope.setSerializerCompiler(serializerCompiler)
      scope.addHook('onRequest', async request => {
        const { account: name } = request.params as { account: string }
        const account = serving(subject).directory.accountBySystemId(name)
        if (account === undefined) {
          throw new Problem(404, 'no_account', 'There is no such account', `no account is called ${name}`)
        }
        askers.set(request, { account, isTest: false })
      })
      // Wrong codes too: an operator may not guess unseen. The code itself is in no record.
      scope.addHook('onResponse', async (request, { statusCode }) => {
        const asker = askers.get(request)
        const { url } = request.routeOptions
        if (request.method === 'GET' || asker === undefined || url === undefined) return
        const { session_id } = { ...(request.body as object | null), ...(request.params as object) } as {
          session_id?: unknown
        }
        const of = typeof session_id === 'string' ? { session_id } : {}
        done(request, actionOf(url), { account: asker.account.systemId, ...of, status: statusCode })
      })
      const askerOf = (request: FastifyRequest): Asker => askers.get(request) as Asker
      otpRoutes({ scope, problems: {}, askerOf }, () => serving(subject).desk.otp)
    },
    { prefix: '/accounts/:account' },
  )

  app.get('/otp/blocked', async (): Promise<{ blocked: BlockedPrefix[]; destinations: BlockedTo[] }> => {
    const { desk } = serving(subject)
    const blocked = desk.otp.otp.blocks().map(({ account, prefix, sent, verified, atMs, untilMs }) => ({
      account: desk.account(account)?.systemId ?? `#${account}`,
      prefix,
      sent,
      verified,
      at: timeText(atMs),
      until: timeText(untilMs),
    }))
    const destinations = desk.otp.otp.blockedDestinations().map(({ account, destination, atMs }) => ({
      account: desk.account(account)?.systemId ?? `#${account}`,
      to: destination,
      at: timeText(atMs),
    }))
    return { blocked, destinations }
  })

  app.post('/otp/release', async request => {
    const { account, prefix = '', to } = read(releaseBody, request.body)
    const { desk } = serving(subject)
    if (to !== undefined) {
      const destination = to.includes('@') ? to.toLowerCase() : await numberIn(to)
      if (!(await desk.otp.otp.releaseDestination(accountOf(subject, account), destination))) {
        throw new Problem(404, 'not_blocked', 'It is not blocked', `codes of ${account} to ${to} are not blocked`)
      }
      done(request, 'otp_release', { account, to: masked(destination) })
      return { account, to: destination }
    }
    if (!(await desk.otp.otp.release(accountOf(subject, account), prefix))) {
      throw new Problem(404, 'not_blocked', 'It is not blocked', `codes of ${account} to ${prefix} are not blocked`)
    }
    done(request, 'otp_release', { account, prefix })
    return { account, prefix }
  })

  app.post('/otp/pepper', async request => {
    const { otp } = serving(subject).desk
    const kid = await otp.otp.rotate()
    done(request, 'otp_pepper', { kid })
    return { kid }
  })
}
