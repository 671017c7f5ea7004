// Margins of tariffs as pricing rules, one by one: on what carriers take, where no price is named. And what all that changes
// tariffs has in common: it holds on this node when the answer comes, and HTTP says why it could not be.

import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { changeTariff, NoTariff, TariffRefused, tariffEntries, tariffShown } from '../accounts/tariffRows.js'
import { type TariffSettings, tariffSettings } from '../accounts/tariffs.js'
import { yamlText } from '../accounts/yamlText.js'
import { unitsText } from '../model/money.js'
import type { Access } from './access.js'
import { asking } from './api/changing.js'
import { read, serving } from './asked.js'
import { Problem } from './problem.js'
import type { AdminSubject } from './subject.js'

export const tariffName = yamlText.min(1).refine(name => Buffer.byteLength(name) <= 63, 'must have 63 octets at most')
const margin = z.record(z.string(), z.unknown())
const ruleBody = z.strictObject({
  tariff: tariffName,
  /** From 1; left out: behind all others. */
  position: z.int().min(1).optional(),
  rule: margin,
})
const ruleParams = z.strictObject({ tariff: tariffName, position: z.coerce.number().int().min(1) })
const ruleQuery = z.strictObject({ tariff: tariffName.optional() })

export interface PricingRule {
  tariff: string
  /** From 1: the first that matches counts. */
  position: number
  rule: Record<string, unknown>
}

export function pricingRuleRoutes(app: FastifyInstance, subject: AdminSubject, access: Access): void {
  const { store, secrets } = subject.desk

  app.get('/pricing-rules', async request => {
    const { tariff } = read(ruleQuery, request.query)
    return pricing(async () => {
      const names = tariff === undefined ? (await tariffEntries(store)).map(({ name }) => name) : [tariff]
      const rules: PricingRule[] = []
      for (const name of names) rules.push(...rulesOf(name, (await tariffShown(store, name)).settings))
      return { rules }
    })
  })

  app.post('/pricing-rules', async (request, reply) => {
    const { tariff, position, rule } = read(ruleBody, request.body)
    const rules = await editMargins(request.raw, tariff, margins => {
      margins.splice(position === undefined ? margins.length : placeOf(position, margins.length + 1), 0, rule)
    })
    reply.code(201)
    return rules
  })

  app.put('/pricing-rules/:tariff/:position', async request => {
    const { tariff, position } = read(ruleParams, request.params)
    const rule = read(margin, request.body)
    return editMargins(request.raw, tariff, margins => {
      margins[placeOf(position, margins.length)] = rule
    })
  })

  app.delete('/pricing-rules/:tariff/:position', async request => {
    const { tariff, position } = read(ruleParams, request.params)
    return editMargins(request.raw, tariff, margins => {
      margins.splice(placeOf(position, margins.length), 1)
    })
  })

  async function editMargins(
    request: Parameters<Access['actor']>[0],
    tariff: string,
    edit: (margins: Record<string, unknown>[]) => void,
  ): Promise<{ rules: PricingRule[] }> {
    await changingTariffs(subject, () =>
      changeTariff(store, secrets, access.actor(request), tariff, present => {
        const written = writtenSettings(present)
        const margins = [...written.margins]
        edit(margins)
        return read(tariffSettings, { ...written, margins })
      }),
    )
    return pricing(async () => ({ rules: rulesOf(tariff, (await tariffShown(store, tariff)).settings) }))
  }
}

/** Margins as a gateway file writes them. */
export function writtenSettings(present: TariffSettings): {
  margins: Record<string, unknown>[]
  givesBack: readonly string[] | undefined
} {
  const units = (micros: number | undefined): string | undefined =>
    micros === undefined ? undefined : unitsText(micros)
  return {
    margins: present.margins.map(one => ({ ...one, fixed: units(one.fixed), minimum: units(one.minimum) })),
    givesBack: present.givesBack,
  }
}

export const rulesOf = (tariff: string, { margins = [] }: Record<string, unknown>): PricingRule[] =>
  (margins as Record<string, unknown>[]).map((rule, i) => ({ tariff, position: i + 1, rule }))

function placeOf(position: number, count: number): number {
  if (position <= count) return position - 1
  throw new Problem(404, 'no_rule', 'There is no such rule', `the tariff has ${count} margins`)
}

/** Does it, and resolves once it holds here. Throws the Problem to answer with. */
export async function changingTariffs<T>(subject: AdminSubject, work: () => Promise<T>): Promise<T> {
  serving(subject)
  const result = await pricing(work)
  await subject.desk.refresh()
  return result
}

/** What is wrong with it, as HTTP says it. */
export async function pricing<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await asking(work)
  } catch (error) {
    if (error instanceof NoTariff) throw new Problem(404, 'no_tariff', 'There is no such tariff', error.message)
    if (error instanceof TariffRefused) throw new Problem(409, 'refused', 'Not now', error.message)
    throw error
  }
}
