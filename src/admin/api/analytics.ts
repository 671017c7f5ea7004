// What an account's own messages came to, by time, country and class: for its programs and the people behind it. Which carriers
// had them is the gateway's affair, unless it says otherwise.

import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { Problem } from '../problem.js'
import { type Analytics, answerStats, type Names, statsContent, statsQuery } from '../statsAnswer.js'
import type { Api } from './api.js'
import { needs } from './caller.js'

export interface AnalyticsHost {
  readonly analytics: Analytics
  readonly carriers: Pick<Names, 'carrierId' | 'carrierName'>
}

export function analyticsApiRoutes(app: Api, host: () => AnalyticsHost): void {
  const routes = app.scope.withTypeProvider<ZodTypeProvider>()

  routes.get(
    '/analytics/stats',
    {
      ...needs('messages:read'),
      schema: {
        summary: 'What your messages came to',
        description:
          'Messages to phones count in the time of their acceptance, however late they end; mails and the sandbox are left ' +
          'out. A date is a day of tz; without dates the last seven days are told. Accept: text/csv gives all rows as CSV, ' +
          'however many. One question of an account is answered at a time: others wait a little, then they are told busy.',
        tags: ['Analytics'],
        querystring: statsQuery,
        response: { 200: statsContent, ...app.problems },
      },
    },
    async (request, reply) => {
      const { query } = request
      const account = app.callerOf(request)
      const { analytics, carriers } = host()
      const isOfCarriers =
        query.carrier !== undefined || query.group_by.split(',').some(word => word.trim() === 'carrier')
      if (isOfCarriers && !analytics.showsCarriers) {
        throw new Problem(422, 'invalid', 'The request is not as it must be', 'carriers are not told here')
      }
      const names: Names = {
        ...carriers,
        accountId: name => {
          if (name === account.systemId) return account.id
          throw new Problem(403, 'account_refused', 'Not your account', 'these figures are of your own account alone')
        },
        accountName: () => account.systemId,
      }
      const options = { names, withCost: false, only: account.id, accept: request.headers.accept }
      return answerStats(analytics, query, options, reply) as never
    },
  )
}
