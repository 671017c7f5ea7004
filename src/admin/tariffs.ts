// Tariffs for administrators: listed, made, changed and removed, and their prices one by one and as files. Every change holds
// on this node when the answer comes. Margins are pricingRules', and what one message costs is quote's.

import type { Readable } from 'node:stream'
import { finished } from 'node:stream/promises'
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { exportPrices, importPrices, MostGone, PricesFaulty } from '../accounts/tariffImport.js'
import {
  changePrices,
  changeTariff,
  createTariff,
  MAX_PRICES,
  priceEntries,
  rankOrAll,
  removeTariff,
  tariffEntries,
  tariffId,
  tariffShown,
} from '../accounts/tariffRows.js'
import { twicePriced } from '../accounts/tariffSection.js'
import {
  isPriceMoment,
  PRICE_YEARS,
  priceField,
  pricePrefix,
  type StoredPrice,
  tariffSettings,
} from '../accounts/tariffs.js'
import type { Clock } from '../base/clock.js'
import { messageClasses } from '../model/message.js'
import type { Access } from './access.js'
import { needs } from './api/caller.js'
import { asking } from './api/changing.js'
import { answerLines, read } from './asked.js'
import { fileName } from './credit.js'
import { answerCsv } from './csv.js'
import { changingTariffs, pricing, tariffName, writtenSettings } from './pricingRules.js'
import { Problem } from './problem.js'
import { type Quote, quote, quoteBody } from './quote.js'
import type { AdminSubject } from './subject.js'

const MAX_PAGE = 1_000

const named = z.strictObject({ name: tariffName })
const settings = z.strictObject({ margins: z.unknown().optional(), givesBack: z.unknown().optional() })
const at = z.iso
  .datetime({ offset: true })
  .or(z.iso.date())
  .transform(Date.parse)
  .refine(ms => isPriceMoment(ms), { error: PRICE_YEARS, abort: true })
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
const prices = z
  .array(price)
  .max(MAX_PRICES)
  .superRefine((all, ctx) => {
    const twice = twicePriced(all)
    if (twice === undefined) return
    ctx.addIssue({ code: 'custom', path: [twice], message: 'is of the same prefix, class and moment as another' })
  })
  .default([])

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
  /** Of what a replacing file leaves out: half of the prices at most, or any number. */
  removes: z.enum(['any', 'half']).default('any'),
  dry_run: z.enum(['true', 'false']).default('false'),
})
export function tariffRoutes(app: FastifyInstance, subject: AdminSubject, access: Access): void {
  const { desk } = subject
  const { store, secrets } = desk
  const { currency } = subject.config.billing
  const changed = <T>(work: () => Promise<T>): Promise<T> => changingTariffs(subject, work)

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
    return pricing(() => quote(subject, asked))
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
      const { mode, removes, dry_run } = read(importQuery, request.query)
      const body = request.body as Readable | null
      if (typeof body?.pipe !== 'function') {
        throw new Problem(415, 'not_a_stream', 'No such body', 'send text/csv')
      }
      await heard(body, () => pricing(() => tariffId(store, name)))
      await answerLines(reply, subject, async tell => {
        const told = pacer(subject.clock, tell)
        const progress = (what: string, n: number, of: number | null): void => told({ [what]: n, of })
        const options = {
          replaces: mode === 'replace',
          keepsHalf: removes === 'half',
          dryRun: dry_run === 'true',
          progress,
        }
        const octets = body.iterator({ destroyOnReturn: false })
        try {
          const by = access.actor(request.raw)
          const done = await heard(body, () => changed(() => importPrices(store, by, name, octets, options)))
          return { ...done, faults: [] }
        } catch (error) {
          if (error instanceof PricesFaulty) return { faults: error.faults, count: error.count }
          if (error instanceof MostGone) return { faults: [], would_remove: error.removed, of: error.of }
          throw error
        }
      })
      return reply
    })
  })
}

/** Lines of progress are this many ms apart. */
const TELL_MS = 100

/** A line now and then, and each that is the first of its kind. */
function pacer(clock: Clock, tell: (line: object) => void): (line: Record<string, unknown>) => void {
  let toldMs = 0
  let told = ''
  return line => {
    const nowMs = clock.mono()
    const [what = ''] = Object.keys(line)
    if (what === told && nowMs - toldMs < TELL_MS) return
    toldMs = nowMs
    told = what
    tell(line)
  }
}

/** Whoever is refused while they still send would lose the answer with the connection: they are heard to their end. */
async function heard<T>(body: Readable, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    body.resume()
    await finished(body).catch(() => {})
    throw error
  }
}
