// Tariffs for administrators: listed, made, changed and removed; prices one by one and as files; margins, also as pricing
// rules; and what a message to a number costs, and by which row. Every change holds on this node when the answer comes.

import type { Readable } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { countSegmentsOfText } from '../../protocols/gsm/segment.js'
import type { Account } from '../accounts/account.js'
import { exportPrices, importPrices, PricesFaulty } from '../accounts/tariffImport.js'
import {
  changePrices,
  changeTariff,
  createTariff,
  MAX_PRICES,
  NoTariff,
  type PriceEntry,
  priceEntries,
  priceRowOf,
  rankOrAll,
  removeTariff,
  TariffRefused,
  tariffEntries,
  tariffId,
  tariffShown,
} from '../accounts/tariffRows.js'
import { priceField, pricePrefix, readTariff, type StoredPrice, tariffSettings } from '../accounts/tariffs.js'
import { messageClasses, rankOf } from '../model/message.js'
import { microsOf, unitsText } from '../model/money.js'
import { TariffTable, withMargin } from '../routing/tariffTable.js'
import { writtenNumber } from '../routing/writtenNumber.js'
import type { Access } from './access.js'
import { needs } from './api/caller.js'
import { asking } from './api/changing.js'
import { answerLines, read, serving } from './asked.js'
import { fileName } from './credit.js'
import { answerCsv } from './csv.js'
import { explain } from './explain.js'
import { Problem } from './problem.js'
import { accountOf } from './queue.js'
import type { AdminSubject } from './subject.js'

const MAX_PAGE = 1_000

const tariffName = z
  .string()
  .min(1)
  .refine(name => Buffer.byteLength(name) <= 63, 'must have 63 octets at most')
const named = z.strictObject({ name: tariffName })
const margin = z.record(z.string(), z.unknown())
const settings = z.strictObject({ margins: z.unknown().optional(), givesBack: z.unknown().optional() })
const at = z.iso.datetime({ offset: true }).or(z.iso.date()).transform(Date.parse)
const place = {
  /** First digits of a number, or `default`. */
  prefix: z.union([z.literal('default').transform(() => ''), pricePrefix]),
  class: z.enum(messageClasses).nullable().default(null),
  from: at.nullable().default(null),
}
const price = z
  .strictObject({
    ...place,
    /** Units of a standard segment; null = from then on there is none any more. */
    price: priceField.nullable(),
  })
  .transform((one): StoredPrice => [one.prefix, rankOrAll(one.class), one.from, one.price])
const unset = z.strictObject(place).transform((one): StoredPrice => [one.prefix, rankOrAll(one.class), one.from, null])
const prices = z.array(price).max(MAX_PRICES).default([])

const createBody = settings.extend({ name: tariffName, prices })
const removeBody = z.strictObject({ reason: z.string().max(200).default('') })
const changeBody = z.strictObject({ set: prices, unset: z.array(unset).max(MAX_PRICES).default([]) })
const pricesQuery = z.strictObject({
  prefix: z
    .string()
    .regex(/^\d{0,15}$/)
    .default(''),
  /** `next` of the page before. */
  after: z
    .string()
    .regex(/^(?:\d{0,15} -?\d (?:-?\d{1,16})?)?$/, 'must be what the page before gave as next')
    .default(''),
  limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(200),
})
const importQuery = z.strictObject({
  mode: z.enum(['merge', 'replace']).default('merge'),
  dry_run: z.enum(['true', 'false']).default('false'),
})
const quoteBody = z
  .strictObject({
    account: z.string().min(1).max(63).optional(),
    tariff: tariffName.optional(),
    to: z.string().min(3).max(40),
    class: z.enum(messageClasses).optional(),
    segments: z.int().min(1).max(255).optional(),
    text: z.string().max(10_000).optional(),
    /** Now, if left out. */
    at: at.optional(),
  })
  .refine(({ account, tariff }) => (account === undefined) !== (tariff === undefined), 'give an account or a tariff')
  .refine(({ segments, text }) => segments === undefined || text === undefined, 'give segments or a text')
const ruleBody = z.strictObject({
  tariff: tariffName,
  /** From 1; left out: behind all others. */
  position: z.int().min(1).optional(),
  rule: margin,
})
const ruleParams = z.strictObject({ tariff: tariffName, position: z.coerce.number().int().min(1) })
const ruleQuery = z.strictObject({ tariff: tariffName.optional() })

export interface Quote {
  tariff: string | null
  currency: string
  to: string
  class: (typeof messageClasses)[number]
  segments: number
  /** Of a segment, and of all; null = there is no price, and what needs one is refused. */
  segment_micros: number | null
  micros: number | null
  /** The row that says so. */
  row: PriceEntry | null
  /** Where no row does: its place in the tariff from 1, and what the dearest carrier of the route takes. */
  margin: { position: number; rule: Record<string, unknown>; cost_micros: number | null } | null
  why: string
}

export interface PricingRule {
  tariff: string
  /** From 1: the first that matches counts. */
  position: number
  rule: Record<string, unknown>
}

export function tariffRoutes(app: FastifyInstance, subject: AdminSubject, access: Access): void {
  const { desk } = subject
  const { store, secrets } = desk
  const { currency } = subject.config.billing
  const changed = async <T>(work: () => Promise<T>): Promise<T> => {
    serving(subject)
    const result = await pricing(work)
    await desk.refresh()
    return result
  }

  app.get('/tariffs', async () => ({ currency, tariffs: await asking(() => tariffEntries(store)) }))

  app.post('/tariffs', async (request, reply) => {
    const { name, prices, ...given } = read(createBody, request.body)
    const made = read(tariffSettings, given)
    await changed(() => createTariff(store, secrets, access.actor(request.raw), name, made, prices))
    reply.code(201)
    return pricing(() => tariffShown(store, name))
  })

  app.post('/tariffs/price', { ...needs('admin:read') }, async (request): Promise<Quote> => {
    const asked = read(quoteBody, request.body)
    return pricing(() => quote(asked))
  })

  app.get('/tariffs/:name', async request => {
    const { name } = read(named, request.params)
    return pricing(async () => ({ currency, ...(await tariffShown(store, name)) }))
  })

  app.patch('/tariffs/:name', async request => {
    const { name } = read(named, request.params)
    const given = read(settings, request.body)
    await changed(() =>
      changeTariff(store, secrets, access.actor(request.raw), name, present =>
        read(tariffSettings, { ...writtenSettings(present), ...given }),
      ),
    )
    return pricing(() => tariffShown(store, name))
  })

  app.delete('/tariffs/:name', async request => {
    const { name } = read(named, request.params)
    const { reason } = read(removeBody, request.body)
    await changed(() => removeTariff(store, secrets, access.actor(request.raw), name, reason))
    return { removed: name }
  })

  app.get('/tariffs/:name/prices', async request => {
    const { name } = read(named, request.params)
    const query = read(pricesQuery, request.query)
    return pricing(async () => ({ currency, ...(await priceEntries(store, name, query)) }))
  })

  app.patch('/tariffs/:name/prices', async request => {
    const { name } = read(named, request.params)
    const { set, unset } = read(changeBody, request.body)
    return changed(() => changePrices(store, secrets, access.actor(request.raw), name, set, unset))
  })

  app.get('/tariffs/:name/export', async (request, reply) => {
    const { name } = read(named, request.params)
    return pricing(() => answerCsv(reply, `${fileName(name)}.csv`, write => exportPrices(store, name, write)))
  })

  app.register(async scope => {
    scope.addContentTypeParser('text/csv', (_request, payload, done) => done(null, payload))
    scope.post('/tariffs/:name/import', { ...needs('admin:write', { isLong: true }) }, async (request, reply) => {
      const { name } = read(named, request.params)
      const { mode, dry_run } = read(importQuery, request.query)
      const body = request.body as Readable | null
      if (typeof body?.pipe !== 'function') {
        throw new Problem(415, 'not_a_stream', 'No such body', 'send text/csv')
      }
      serving(subject)
      await pricing(() => tariffId(store, name))
      await answerLines(reply, subject, async tell => {
        const told = pacer(tell)
        const progress = (what: string, n: number, of: number | null): void => told({ [what]: n, of })
        const options = { replaces: mode === 'replace', dryRun: dry_run === 'true', progress }
        try {
          const done = await changed(() => importPrices(store, access.actor(request.raw), name, body, options))
          return { ...done, faults: [] }
        } catch (error) {
          if (error instanceof PricesFaulty) return { faults: error.faults, count: error.count }
          throw error
        }
      })
      return reply
    })
  })

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
    await changed(() =>
      changeTariff(store, secrets, access.actor(request), tariff, present => {
        const written = writtenSettings(present)
        const margins = [...written.margins]
        edit(margins)
        return read(tariffSettings, { ...written, margins })
      }),
    )
    return pricing(async () => ({ rules: rulesOf(tariff, (await tariffShown(store, tariff)).settings) }))
  }

  async function quote(asked: z.output<typeof quoteBody>): Promise<Quote> {
    const digits = writtenNumber(asked.to)
    if (digits === undefined) {
      throw new Problem(
        422,
        'invalid',
        'No such number',
        `${asked.to} is no phone number, international like +4917112345`,
      )
    }
    const account = asked.account === undefined ? undefined : desk.account(accountOf(serving(subject), asked.account))
    const rank = asked.class === undefined ? (account?.rank ?? rankOf('transactional')) : rankOf(asked.class)
    const segments = asked.segments ?? (asked.text === undefined ? 1 : countSegmentsOfText(asked.text))
    const atMs = asked.at ?? subject.clock.now()
    const told = { currency, to: digits, class: messageClasses[rank] as Quote['class'], segments }
    const none = { segment_micros: null, micros: null, row: null, margin: null }
    const name = asked.tariff ?? (await tariffOf(asked.account as string))
    if (name === null) {
      return {
        ...told,
        ...none,
        segment_micros: 0,
        micros: 0,
        tariff: null,
        why: 'the account has no tariff: it pays nothing',
      }
    }
    const found = await tariffShown(store, name)
    const id = await tariffId(store, name)
    const row = await priceRowOf(store, id, digits, rank, atMs)
    if (row !== undefined) {
      const micros = row.micros as number
      const why = row.prefix === 'default' ? 'the default price' : `the price of numbers that begin with ${row.prefix}`
      return { ...told, ...none, tariff: name, segment_micros: micros, micros: micros * segments, row, why }
    }
    const { margins } = readTariff({ id, name, settings: found.settings })
    const rule = new TariffTable(margins).marginOf(digits, rank)
    if (rule === undefined) return { ...told, ...none, tariff: name, why: 'no price and no margin is named for it' }
    const position = margins.indexOf(rule as (typeof margins)[number]) + 1
    const cost = account === undefined ? null : dearest(account, digits, told.class, atMs)
    const by = { position, rule: rulesOf(name, found.settings)[position - 1]?.rule ?? {}, cost_micros: cost }
    if (cost === null) {
      const why =
        account === undefined
          ? `margin ${position} counts, on what the carriers of an account's route take: name an account`
          : `margin ${position} counts, but no carrier of its route names a price`
      return { ...told, ...none, tariff: name, margin: by, why }
    }
    const micros = withMargin(cost, rule)
    const why = `margin ${position}, on the dearest of its route's carriers at ${unitsText(cost)}`
    return { ...told, ...none, tariff: name, segment_micros: micros, micros: micros * segments, margin: by, why }
  }

  async function tariffOf(systemId: string): Promise<string | null> {
    const { rows } = await store.query<{ name: string | null }>(TARIFF_OF, [systemId])
    return rows[0]?.name ?? null
  }

  /** What the dearest carrier of the route takes for a part; null where none names a price. */
  function dearest(account: Account, digits: string, name: Quote['class'], atMs: number): number | null {
    const from = account.senders?.values().next().value ?? ''
    const asked = { account: account.systemId, to: `+${digits}`, from, class: name, serviceType: '', carrier: '' }
    const { candidates } = explain(subject, account, { ...asked, tags: [], atMs })
    const costs = candidates.flatMap(({ price }) => (price === null ? [] : (microsOf(price) ?? [])))
    return costs.length === 0 ? null : Math.max(...costs)
  }
}

const TARIFF_OF = 'select t.name from accounts a left join tariffs t on t.id = a.tariff where a.system_id = $1'
/** Lines of progress are this many ms apart. */
const TELL_MS = 100

/** A line now and then, and each that is the first of its kind. */
function pacer(tell: (line: object) => void): (line: Record<string, unknown>) => void {
  let [toldMs, told] = [0, '']
  return line => {
    const nowMs = performance.now()
    const [what = ''] = Object.keys(line)
    if (what === told && nowMs - toldMs < TELL_MS) return
    toldMs = nowMs
    told = what
    tell(line)
  }
}

/** Margins as a gateway file writes them. */
function writtenSettings(present: z.output<typeof tariffSettings>): {
  margins: Record<string, unknown>[]
  givesBack: readonly string[]
} {
  const units = (micros: number | undefined): string | undefined =>
    micros === undefined ? undefined : unitsText(micros)
  return {
    margins: present.margins.map(one => ({ ...one, fixed: units(one.fixed), minimum: units(one.minimum) })),
    givesBack: present.givesBack,
  }
}

const rulesOf = (tariff: string, { margins = [] }: Record<string, unknown>): PricingRule[] =>
  (margins as Record<string, unknown>[]).map((rule, i) => ({ tariff, position: i + 1, rule }))

function placeOf(position: number, count: number): number {
  if (position <= count) return position - 1
  throw new Problem(404, 'no_rule', 'There is no such rule', `the tariff has ${count} margins`)
}

/** What is wrong with it, as HTTP says it. */
async function pricing<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await asking(work)
  } catch (error) {
    if (error instanceof NoTariff) throw new Problem(404, 'no_tariff', 'There is no such tariff', error.message)
    if (error instanceof TariffRefused) throw new Problem(409, 'refused', 'Not now', error.message)
    throw error
  }
}
