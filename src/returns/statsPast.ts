// Questions about what messages came to: sums by time, account, carrier, country and class, read from the smallest table that
// tells these apart, a page at a time. Knows numbers of accounts and carriers, and no names; who may ask, others know.

import { idTimeMs } from '../base/ids.js'
import { Turns } from '../base/turns.js'
import type { SqlClient, Store } from '../store/postgres.js'
import { PATIENCE_MS, TooWide } from './past.js'
import { hoursWholeFrom, type StatsRetention } from './stats.js'
import { COLUMNS, column, DAY_LEVELS, dimension, FINEST, HOUR_LEVELS, type StatsTable, TOOK_S } from './statsColumns.js'
import { type Bucket, bucketsOf, dateOf, type Interval, mondayOf, type Piece, piecesOf, startOf } from './statsTime.js'

const DAY_MS = 86_400_000
const CANCELED = '57014'
const MOST_BUCKETS = 2_500
/** Connections that questions hold, one for an account; and how long others wait for theirs. */
const QUESTIONS = 2
const WAIT_MS = 5_000
/** Which days have no hours is looked up this often. */
const LOOK_MS = 60_000
/** So many buckets are asked for at first; more while they have few rows. */
const FIRST = 4
/** Accounts, each with a row. */
const FEW_ACCOUNTS = 250
const GROWTH = 4
/** So many pieces of time are asked for one by one. */
const FEW = 8

export const dimensions = ['account', 'carrier', 'country', 'class'] as const
export type Dimension = (typeof dimensions)[number]

/** In SQL the class is a rank. */
const NAMES = { account: 'account', carrier: 'carrier', country: 'country', class: 'rank' } as const
const TYPES = { account: 'int', carrier: 'int', country: 'text', class: 'smallint' } as const

export interface StatsQuestion {
  readonly fromMs: number
  readonly toMs: number
  readonly zone: string
  readonly interval: Interval
  readonly by: readonly Dimension[]
  /** Of these alone. Carriers: messages that they had at last. */
  readonly only: {
    readonly account?: readonly number[] | undefined
    readonly carrier?: readonly number[] | undefined
    readonly country?: readonly string[] | undefined
    readonly class?: readonly number[] | undefined
  }
}

/** What one is asked by: null where it is not. */
export interface StatsKey {
  /** Where the hour, day, week or month begins. */
  readonly atMs: number
  readonly account: number | null
  /** 0 = no carrier has had them. */
  readonly carrier: number | null
  /** '' = none. */
  readonly country: string | null
  readonly rank: number | null
}

export interface StatsRow extends StatsKey {
  /** In the order of {@link COLUMNS}. */
  readonly counts: number[]
}

export interface StatsPage {
  readonly rows: StatsRow[]
  /** Give it as `after` for the next page; null: there are no more. */
  readonly next: StatsKey | null
}

/** The span has too many hours, days or weeks, or begins or ends within a day of which hours are not kept any more. */
export class BadSpan extends Error {}

export class StatsPast {
  private readonly store: Pick<Store, 'transaction'>
  private readonly kept: StatsRetention
  private readonly now: () => number
  private readonly turns = new Turns({ most: QUESTIONS, waitMs: WAIT_MS })
  /** From when on all days had their hours as it was looked up last. */
  private hours = { fromMs: 0, askedMs: Number.NEGATIVE_INFINITY }

  constructor(store: StatsPast['store'], kept: StatsRetention, now: () => number) {
    this.store = store
    this.kept = kept
    this.now = now
  }

  /** From then on spans are exact to the hour; before, to the day in UTC. Throws what SQL throws. */
  async hoursFromMs(): Promise<number> {
    const now = this.now()
    const fromMs = this.keptFromMs(this.kept.hoursDays)
    // They may have been kept for less before.
    if (Math.abs(now - this.hours.askedMs) >= LOOK_MS) {
      const whole = await this.reading(null, client => hoursWholeFrom(client, fromMs))
      this.hours = { fromMs: whole, askedMs: now }
    }
    return Math.max(fromMs, this.hours.fromMs)
  }

  private keptFromMs(days: number): number {
    return (Math.floor(this.now() / DAY_MS) - days) * DAY_MS
  }

  /** In the order of time, then of accounts, carriers, countries and classes. Throws {@link BadSpan}, TooWide, Busy, or what SQL throws. */
  async page(question: StatsQuestion, after: StatsKey | null, limit: number): Promise<StatsPage> {
    const hoursFromMs = await this.hoursFromMs()
    // Where nothing can be, there are no buckets: to make those of centuries would hold up everything else.
    const span = {
      fromMs: Math.max(question.fromMs, this.keptFromMs(this.kept.days), idTimeMs(0)),
      toMs: Math.min(question.toMs, this.now() + DAY_MS),
    }
    const buckets = bucketsOf(span, question.interval, question.zone, MOST_BUCKETS)
    if (buckets === undefined) throw new BadSpan(`there are more than ${MOST_BUCKETS} ${question.interval}s in it`)
    const since = new Date(hoursFromMs).toISOString().slice(0, 10)
    if (question.interval === 'hour' && question.fromMs < hoursFromMs) {
      throw new BadSpan(`hours are kept from ${since} on`)
    }
    for (const ms of [span.fromMs, span.toMs]) {
      if (ms < hoursFromMs && !isDate(ms, question.zone)) {
        throw new BadSpan(`before ${since} whole days are kept: date_from and date_to must be dates, or midnight there`)
      }
    }
    // The first day that is kept may be another by the next page.
    const told = question.interval === 'none' ? buckets.map(one => ({ ...one, labelMs: question.fromMs })) : buckets
    const [account = null, ...others] = question.only.account ?? []
    const who = others.length === 0 ? account : null
    return this.reading(who, client => new Reading(client, question, told, hoursFromMs).page(after, limit))
  }

  /** All of it in one row: as if it were asked by nothing. */
  async whole(question: StatsQuestion): Promise<StatsRow> {
    const { rows } = await this.page({ ...question, interval: 'none', by: [] }, null, 1)
    return rows[0] ?? { ...NO_KEY, atMs: question.fromMs, counts: COLUMNS.map(() => 0) }
  }

  /** `who` alone is asked about; null: several are. */
  private async reading<T>(who: number | null, work: (client: SqlClient) => Promise<T>): Promise<T> {
    const read = async (client: SqlClient): Promise<T> => {
      await client.query(SETTINGS)
      return work(client)
    }
    try {
      return await this.turns.run(who, () => this.store.transaction(read))
    } catch (error) {
      if ((error as { code?: string }).code === CANCELED) throw new TooWide()
      throw error
    }
  }
}

/** One moment for all that is read. Compiling the sums takes longer than they do. */
const SETTINGS = `set transaction isolation level repeatable read read only; set local jit = off;
  set local statement_timeout = ${PATIENCE_MS}`

/** It begins a day there, or in UTC. */
const isDate = (ms: number, zone: string): boolean => ms % DAY_MS === 0 || startOf(dateOf(ms, zone), zone) === ms

const NO_KEY = { account: null, carrier: null, country: null, rank: null }

class Reading {
  private readonly client: SqlClient
  private readonly question: StatsQuestion
  private readonly buckets: readonly Bucket[]
  private readonly hoursFromMs: number
  private readonly rows: StatsRow[] = []

  constructor(client: SqlClient, question: StatsQuestion, buckets: readonly Bucket[], hoursFromMs: number) {
    this.client = client
    this.question = question
    this.buckets = buckets
    this.hoursFromMs = hoursFromMs
  }

  async page(after: StatsKey | null, limit: number): Promise<StatsPage> {
    const { by, only } = this.question
    const first = after === null ? 0 : this.buckets.findIndex(({ labelMs }) => labelMs >= after.atMs)
    if (first < 0) return { rows: [], next: null }
    const accounts = by.includes('account') ? (only.account ?? (await this.accounts())) : []
    // There may be a hundred thousand, and each may have many rows of its own. So few as a page has are read at once.
    const isDeep =
      accounts.length > FIRST && (by.includes('carrier') || by.includes('country') || accounts.length > FEW_ACCOUNTS)
    if (isDeep) await this.byAccounts(first, after, limit, accounts)
    else await this.byBuckets(first, after, limit)
    const rows = this.rows.slice(0, limit)
    return { rows, next: this.rows.length > limit ? (rows.at(-1) as StatsRow) : null }
  }

  private async byBuckets(first: number, after: StatsKey | null, limit: number): Promise<void> {
    let many = FIRST
    for (let i = first; i < this.buckets.length && this.rows.length <= limit; ) {
      const found = await this.read(this.buckets.slice(i, i + many), this.question.only.account)
      this.add(found, after)
      i += many
      if (found.length * GROWTH <= limit) many *= GROWTH
    }
  }

  private async byAccounts(
    first: number,
    after: StatsKey | null,
    limit: number,
    given: readonly number[],
  ): Promise<void> {
    const accounts = [...given].sort((a, b) => a - b)
    let many = 1
    for (let i = first; i < this.buckets.length && this.rows.length <= limit; i++) {
      const bucket = this.buckets[i] as Bucket
      const from = after !== null && bucket.labelMs === after.atMs ? (after.account ?? 0) : Number.NEGATIVE_INFINITY
      const left = accounts.filter(account => account >= from)
      const before = this.rows.length
      for (let a = 0; a < left.length && this.rows.length <= limit; ) {
        const found = await this.read([bucket], left.slice(a, a + many))
        this.add(found, after)
        a += many
        const missing = (limit + 1 - this.rows.length) / Math.max(found.length, 1)
        // As many as there should be room for.
        many = Math.max(1, Math.ceil(many * Math.min(missing, GROWTH * GROWTH)))
      }
      // So few that several buckets are read at once.
      if (left.length === accounts.length && (this.rows.length - before) * GROWTH <= limit) {
        return this.byBuckets(i + 1, after, limit)
      }
    }
  }

  private add(found: readonly StatsRow[], after: StatsKey | null): void {
    for (const row of found) if (after === null || compared(row, after) > 0) this.rows.push(row)
  }

  /** Those that have rows in the weeks of the question. */
  private async accounts(): Promise<number[]> {
    const from = mondayOf(this.buckets[0]?.fromMs ?? 0)
    const { rows } = await this.client.query<{ account: number }>(
      `select distinct account from stats_week where level = 1 and hour >= $1 and hour < $2
      union select account from stats_fresh where hour >= $1 and hour < $2`,
      [new Date(from), new Date(this.buckets.at(-1)?.toMs ?? 0)],
    )
    return rows.map(({ account }) => account)
  }

  /** All rows of these buckets and accounts, in order. */
  private async read(buckets: readonly Bucket[], accounts: readonly number[] | undefined): Promise<StatsRow[]> {
    const { by, only } = this.question
    const { hours, days, weeks } = piecesOf(buckets, this.hoursFromMs)
    const values: unknown[] = []
    const $ = (value: unknown): string => `$${values.push(value)}`
    const where: string[] = []
    for (const name of dimensions) {
      const wanted = name === 'account' ? accounts : only[name]
      if (wanted !== undefined) where.push(`and ${NAMES[name]} = any(${$(wanted)}::${TYPES[name]}[])`)
    }
    const told = dimensions.filter(name => by.includes(name)).map(name => NAMES[name])
    const bits = dimensions.reduce((bits, name) => {
      const isAsked =
        name !== 'class' && (by.includes(name) || (name === 'account' ? accounts : only[name]) !== undefined)
      return isAsked ? bits | dimension[name] : bits
    }, 0)
    const from = (table: StatsTable, levels: readonly number[], pieces: readonly Piece[]): string => {
      const level = levels.find(one => (one & bits) === bits) ?? FINEST
      const sums = COLUMNS.map(name => `sum(${name})::bigint as ${name}`).join(', ')
      const summed = (begin: string, end: string): string => `
        select ${[...told, sums].join(', ')} from ${table}
        where level = ${level} and hour >= ${begin} and hour < ${end} ${where.join(' ')}
        ${told.length === 0 ? 'having count(*) > 0' : `group by ${told.join(', ')}`}`
      if (pieces.length <= FEW) {
        // Their lengths known, the database reads long ones from end to end, and others by their keys.
        const moment = (ms: number): string => `${$(new Date(ms))}::timestamptz`
        return pieces
          .map(
            ({ bucket, fromMs, toMs }) =>
              `select ${bucket} as bucket, s.* from (${summed(moment(fromMs), moment(toMs))}) s`,
          )
          .join(' union all ')
      }
      const spans = [
        $(pieces.map(({ bucket }) => bucket)),
        $(pieces.map(({ fromMs }) => new Date(fromMs))),
        $(pieces.map(({ toMs }) => new Date(toMs))),
      ]
      return `select bucket, s.* from unnest(${spans[0]}::int[], ${spans[1]}::timestamptz[], ${spans[2]}::timestamptz[])
          as span (bucket, a, b) cross join lateral (${summed('a', 'b')}) s`
    }
    /** Not moved yet, from all of these buckets: one follows the other. */
    const fresh = (): string => {
      const ends = [...buckets.map(({ fromMs }) => fromMs), (buckets.at(-1) as Bucket).toMs].map(ms => new Date(ms))
      const bounds = `${$(ends)}::timestamptz[]`
      const keys = ['1', ...told].join(', ')
      const sums = COLUMNS.map(name => `sum(${name})::bigint`).join(', ')
      return `select width_bucket(hour, ${bounds}) - 1, ${[...told, sums].join(', ')} from stats_fresh
        where hour >= (${bounds})[1] and hour < (${bounds})[${ends.length}] ${where.join(' ')} group by ${keys}`
    }
    const parts: string[] = []
    if (weeks.length > 0) parts.push(from('stats_week', DAY_LEVELS, weeks))
    if (days.length > 0) parts.push(from('stats_day', DAY_LEVELS, days))
    if (hours.length > 0) parts.push(from('stats_hour', HOUR_LEVELS, hours))
    if (parts.length > 0) parts.push(fresh())
    if (parts.length === 0) return []
    const keys = ['bucket', ...told].join(', ')
    const sums = COLUMNS.map(name => `coalesce(sum(${name}), 0)::bigint`).join(', ')
    const { rows } = await this.client.query<unknown[]>({
      text: `select ${keys}, ${sums} from (${parts.join(' union all ')}) s group by ${keys} order by ${keys}`,
      values,
      rowMode: 'array',
    } as never)
    return withCarriers(
      rows.map(row => rowOf(row, buckets, by)),
      by,
      only.carrier !== undefined,
    ).filter(isNotEmpty)
  }
}

function rowOf(values: readonly unknown[], buckets: readonly Bucket[], by: readonly Dimension[]): StatsRow {
  let i = 0
  const atMs = (buckets[values[i++] as number] as Bucket).labelMs
  const next = (name: Dimension): unknown => (by.includes(name) ? values[i++] : null)
  const account = next('account') as number | null
  const carrier = next('carrier') as number | null
  const country = next('country') as string | null
  const rank = next('class') as number | null
  return { atMs, account, carrier, country, rank, counts: values.slice(i) as number[] }
}

/**
 * At acceptance no carrier has a message. Told apart by carriers, those that a carrier had at last are its own, and the rest
 * nobody's.
 */
function withCarriers(rows: StatsRow[], by: readonly Dimension[], isOfSome: boolean): StatsRow[] {
  if (!by.includes('carrier') && !isOfSome) return rows
  const taken = new Map<string, [messages: number, segments: number, micros: number]>()
  const keyOf = ({ atMs, account, country, rank }: StatsKey): string => `${atMs} ${account} ${country} ${rank}`
  for (const row of rows) {
    if (row.carrier === 0) continue
    const { counts } = row
    const ended = endedOf(counts)
    const [segments, micros] = [counts[column.endedSegments] as number, counts[column.ended] as number]
    counts[column.accepted] = ended
    counts[column.segments] = segments
    counts[column.price] = micros
    const sum = taken.get(keyOf(row)) ?? [0, 0, 0]
    taken.set(keyOf(row), [sum[0] + ended, sum[1] + segments, sum[2] + micros])
  }
  for (const row of rows) {
    if (row.carrier !== 0) continue
    const [messages, segments, micros] = taken.get(keyOf(row)) ?? [0, 0, 0]
    ;(row.counts[column.accepted] as number) -= messages
    ;(row.counts[column.segments] as number) -= segments
    ;(row.counts[column.price] as number) -= micros
  }
  return rows
}

const isNotEmpty = ({ counts }: StatsRow): boolean => counts.some(count => count !== 0)

function compared(a: StatsKey, b: StatsKey): number {
  const bytes = (text: string | null): Buffer => Buffer.from(text ?? '')
  return (
    a.atMs - b.atMs ||
    (a.account ?? 0) - (b.account ?? 0) ||
    (a.carrier ?? 0) - (b.carrier ?? 0) ||
    Buffer.compare(bytes(a.country), bytes(b.country)) ||
    (a.rank ?? 0) - (b.rank ?? 0)
  )
}

/** How many have ended. */
export const endedOf = (counts: readonly number[]): number => {
  let ended = 0
  for (let i: number = column.delivered; i <= column.unreported; i++) ended += counts[i] as number
  return ended
}

/** What `share` of the deliveries took at most, in seconds; null: there were none. Beyond an hour all are as if it were one. */
export function tookSeconds(counts: readonly number[], share: number): number | null {
  const all = TOOK_S.reduce((sum, _, i) => sum + (counts[column.took + i] as number), 0)
  const later = counts[column.took + TOOK_S.length] as number
  if (all + later === 0) return null
  let left = share * (all + later)
  for (const [i, bound] of TOOK_S.entries()) {
    const here = counts[column.took + i] as number
    const below = i === 0 ? 0 : (TOOK_S[i - 1] as number)
    if (here >= left && here > 0) return Math.round((below + ((bound - below) * left) / here) * 100) / 100
    left -= here
  }
  return TOOK_S.at(-1) as number
}
