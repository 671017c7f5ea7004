// What a message would cost: by which row of its tariff, or by which margin on the dearest carrier of its route, and why there
// is no price where there is none. Asks the same tables that messages are priced by; holds and sends nothing.

import { z } from 'zod'
import { countSegmentsOfText } from '../../protocols/gsm/segment.js'
import type { Account } from '../accounts/account.js'
import { type PriceEntry, priceRowOf, tariffId, tariffShown } from '../accounts/tariffRows.js'
import { readTariff } from '../accounts/tariffs.js'
import { messageClasses, rankOf } from '../model/message.js'
import { microsOf, unitsText } from '../model/money.js'
import { TariffTable, withMargin } from '../routing/tariffTable.js'
import { writtenNumber } from '../routing/writtenNumber.js'
import type { Store } from '../store/postgres.js'
import { serving } from './asked.js'
import { explain } from './explain.js'
import { rulesOf, tariffName } from './pricingRules.js'
import { Problem } from './problem.js'
import { accountOf } from './queue.js'
import type { AdminSubject } from './subject.js'

export const quoteBody = z
  .strictObject({
    account: z.string().min(1).max(63).optional(),
    tariff: tariffName.optional(),
    to: z.string().min(3).max(40),
    class: z.enum(messageClasses).optional(),
    segments: z.int().min(1).max(255).optional(),
    text: z.string().max(10_000).optional(),
    /** Now, if left out. */
    at: z.iso.datetime({ offset: true }).or(z.iso.date()).transform(Date.parse).optional(),
  })
  .refine(({ account, tariff }) => (account === undefined) !== (tariff === undefined), 'give an account or a tariff')
  .refine(({ segments, text }) => segments === undefined || text === undefined, 'give segments or a text')

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

/** Throws a Problem, NoTariff, or what SQL throws. */
export async function quote(subject: AdminSubject, asked: z.output<typeof quoteBody>): Promise<Quote> {
  const { desk } = subject
  const { store } = desk
  const { currency } = subject.config.billing
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
  const name = asked.tariff ?? (await tariffOf(store, asked.account as string))
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
  const { cost = null, without = 'name an account' } =
    account === undefined ? {} : costOf(subject, account, digits, told.class, atMs)
  const by = { position, rule: rulesOf(name, found.settings)[position - 1]?.rule ?? {}, cost_micros: cost }
  if (cost === null) {
    const why = `margin ${position} counts, on what the carriers of a route take: ${without}`
    return { ...told, ...none, tariff: name, margin: by, why }
  }
  const micros = withMargin(cost, rule)
  const why = `margin ${position}, on the dearest of its route's carriers at ${unitsText(cost)}`
  return { ...told, ...none, tariff: name, segment_micros: micros, micros: micros * segments, margin: by, why }
}

async function tariffOf(store: Pick<Store, 'query'>, systemId: string): Promise<string | null> {
  const { rows } = await store.query<{ name: string | null }>(TARIFF_OF, [systemId])
  return rows[0]?.name ?? null
}

/** What the dearest carrier of the route takes for a part; or why that cannot be said. */
function costOf(
  subject: AdminSubject,
  account: Account,
  digits: string,
  name: Quote['class'],
  atMs: number,
): { cost?: number; without?: string } {
  const from = account.senders?.values().next().value ?? ''
  const asked = { account: account.systemId, to: `+${digits}`, from, class: name, serviceType: '', carrier: '' }
  const { candidates, outcome } = explain(subject, account, { ...asked, tags: [], atMs })
  if (candidates.length === 0) return { without: `it has none, the message would meet with ${outcome}` }
  const costs = candidates.flatMap(({ price }) => (price === null ? [] : (microsOf(price) ?? [])))
  return costs.length === 0 ? { without: 'none of its carriers names a price' } : { cost: Math.max(...costs) }
}

const TARIFF_OF = 'select t.name from accounts a left join tariffs t on t.id = a.tariff where a.system_id = $1'
