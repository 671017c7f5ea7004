// Is this a phone number, and whose kind? For people and forms, who ask one at a time: the door itself asks much less.

import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { Api } from './api.js'
import { needs } from './caller.js'

const answer = z
  .object({
    valid: z.boolean().describe('a number that its country may have given to somebody'),
    possible: z.boolean().describe('of a length that its country has'),
    e164: z.string().nullable(),
    national: z.string().nullable(),
    country: z.string().nullable().describe('ISO 3166-1, two letters'),
    type: z.string().nullable().describe('mobile, fixed_line, toll_free, ...'),
  })
  .meta({ id: 'PhoneNumber' })

export function phoneRoutes(app: Api): void {
  app.scope.withTypeProvider<ZodTypeProvider>().get(
    '/phone/validate/:number',
    {
      ...needs('messages:read'),
      schema: {
        summary: 'Check a phone number',
        tags: ['Phone numbers'],
        params: z.object({ number: z.string().min(1).max(40) }),
        querystring: z.object({
          country: z
            .string()
            .regex(/^[A-Za-z]{2}$/, 'must be two letters')
            .optional()
            .describe('of numbers without +'),
        }),
        response: { 200: answer, ...app.problems },
      },
    },
    async request => {
      // 120 kB of tables that most daemons never need.
      const { isSupportedCountry, parsePhoneNumberFromString } = await import('libphonenumber-js/max')
      const country = request.query.country?.toUpperCase() ?? ''
      const given = request.params.number.trim()
      // Digits alone are international, as everywhere in this gateway.
      const text = country === '' && /^[1-9]/.test(given) ? `+${given}` : given.replace(/^00/, '+')
      const found = parsePhoneNumberFromString(text, isSupportedCountry(country) ? country : undefined)
      return {
        valid: found?.isValid() ?? false,
        possible: found?.isPossible() ?? false,
        e164: found?.number ?? null,
        national: found?.formatNational() ?? null,
        country: found?.country ?? null,
        type: found?.getType()?.toLowerCase() ?? null,
      }
    },
  )
}
