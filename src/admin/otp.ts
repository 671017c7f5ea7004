// One-time passwords for whoever administers: an account's, by the routes that it has itself; prefixes that get none for
// now; and a new secret for those to come.

import type { FastifyInstance, FastifyRequest } from 'fastify'
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { Asker } from '../services/otp/making.js'
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

const releaseBody = z.strictObject({
  account: z.string().min(1).max(63),
  prefix: z.string().regex(/^\d{1,15}$/, 'must be digits'),
})

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
      const askerOf = (request: FastifyRequest): Asker => askers.get(request) as Asker
      otpRoutes({ scope, problems: {}, askerOf }, () => serving(subject).desk.otp)
    },
    { prefix: '/accounts/:account' },
  )

  app.get('/otp/blocked', async (): Promise<{ blocked: BlockedPrefix[] }> => {
    const { desk } = serving(subject)
    const blocked = desk.otp.otp.blocks().map(({ account, prefix, sent, verified, atMs, untilMs }) => ({
      account: desk.account(account)?.systemId ?? `#${account}`,
      prefix,
      sent,
      verified,
      at: timeText(atMs),
      until: timeText(untilMs),
    }))
    return { blocked }
  })

  app.post('/otp/release', async request => {
    const { account, prefix } = read(releaseBody, request.body)
    const { desk } = serving(subject)
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
