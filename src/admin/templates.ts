// Templates for whoever administers: those of the gateway, which every account may use, below /admin; and an account's below
// /admin/accounts/NAME. The routes are the account's own; here stands only whose they are about.

import type { FastifyInstance, FastifyRequest } from 'fastify'
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod'
import type { Access } from './access.js'
import { type TemplateCaller, templateRoutes } from './api/templates.js'
import { serving } from './asked.js'
import { Problem } from './problem.js'
import type { AdminSubject } from './subject.js'

export function adminTemplateRoutes(app: FastifyInstance, subject: AdminSubject, access: Access): void {
  for (const prefix of ['', '/accounts/:account']) {
    app.register(
      async scope => {
        const callers = new WeakMap<FastifyRequest, TemplateCaller>()
        scope.setValidatorCompiler(validatorCompiler)
        scope.setSerializerCompiler(serializerCompiler)
        scope.addHook('onRequest', async request => {
          const { account: name } = request.params as { account?: string }
          const account = name === undefined ? null : serving(subject).directory.accountBySystemId(name)
          if (account === undefined) {
            throw new Problem(404, 'no_account', 'There is no such account', `no account is called ${name}`)
          }
          callers.set(request, { account, actor: access.actor(request.raw) })
        })
        const whoOf = (request: FastifyRequest) => callers.get(request) as TemplateCaller
        templateRoutes({ scope, problems: {}, whoOf }, () => serving(subject).desk.templates)
      },
      { prefix },
    )
  }
}
