// What history knows of messages, for people who ask: the rows of one, or the latest that fit. Reads the spool's log first,
// for rows move from there to SQL, and this order misses none. Writes nothing; what still waits the spool knows.

import { setImmediate as nextTurn } from 'node:timers/promises'
import { idTimeMs } from '../base/ids.js'
import { Turns } from '../base/turns.js'
import { type Message, type MessageState, state } from '../model/message.js'
import type { HistoryRow, LogFilter, Spool } from '../spool/contract.js'
import type { SqlClient, Store } from '../store/postgres.js'

/** Rows of the log looked through at most: more are there only while SQL is away or far behind. */
const MOST_LOGGED = 40_000
const SLICE = 2_000
/** An id's moment may be a little ahead of its row's, and a clock may have been set back. */
const EARLY_MS = 86_400_000
/**
 * A question that takes the database longer is one that must be asked more narrowly. Less than others wait for a connection:
 * history, leases of credit and the followers of the directory have the same ones.
 */
export const PATIENCE_MS = 4_000
/** Of the few connections that there are, people's lists hold so many at most, and one for an account. */
const LISTS = 2
const WAIT_MS = 5_000
/** There may be several who ask, and it is one database. */
const turns = new Turns({ most: LISTS, waitMs: WAIT_MS })
const CANCELED = '57014'

export interface PastFilter {
  readonly account?: number | undefined
  /** As source or as destination. */
  readonly number?: string | undefined
  /** null: those that have not ended. */
  readonly state?: MessageState | null | undefined
  readonly fromMs: number
  readonly toMs: number
  /** Ids below this one. */
  readonly before?: number | undefined
  readonly limit: number
}

/** A message as it was accepted, and how it ended. */
export interface PastMessage {
  readonly accepted: HistoryRow
  readonly ended: HistoryRow | undefined
}

/** Where among ends one looks on. */
export interface EndPlace {
  readonly atMs: number
  readonly id: number
}

/** The database needed too long for the answer. */
export class TooWide extends Error {}

export class Past {
  private readonly spool: Pick<Spool, 'synced' | 'readLog'>
  private readonly store: Pick<Store, 'query' | 'transaction'>

  constructor(spool: Past['spool'], store: Past['store']) {
    this.spool = spool
    this.store = store
  }

  /** The rows of a message, the accepted one first. Throws what SQL throws, if the log has not all of them. */
  async rowsOf(id: number): Promise<HistoryRow[]> {
    const rows: HistoryRow[] = []
    await this.logged({ id }, row => void rows.push(row))
    if (rows.length < 2) {
      const { rows: stored } = await this.store.query<Stored>(OF_ONE, [id, new Date(idTimeMs(id) - EARLY_MS)])
      for (const row of stored) if (!rows.some(({ kind }) => kind === KINDS[row.kind])) rows.push(rowOf(row))
    }
    return rows.sort((a, b) => (a.kind < b.kind ? -1 : 1))
  }

  /** The newest first. Throws {@link TooWide}, Busy, or what SQL throws. */
  async latest(filter: PastFilter): Promise<PastMessage[]> {
    const { account, number, state, fromMs, toMs, before = Number.MAX_SAFE_INTEGER, limit } = filter
    const accepted = new Map<number, HistoryRow>()
    const ended = new Map<number, HistoryRow>()
    await this.logged({ account }, row => {
      if (row.kind === 'ended') ended.set(row.id, row)
      else if (
        (number === undefined || row.source === number || row.destination === number) &&
        row.atMs >= fromMs &&
        row.atMs < toMs &&
        row.id < before
      ) {
        accepted.set(row.id, row)
      }
    })
    const values = [new Date(fromMs), new Date(toMs), before, limit, new Date(fromMs - EARLY_MS)]
    const more = (value: unknown): string => `$${values.push(value as number)}`
    const where: string[] = []
    if (account !== undefined) where.push(`and a.account = ${more(account)}`)
    if (number !== undefined) {
      const $number = more(number)
      where.push(`and (a.source = ${$number} or a.destination = ${$number})`)
    }
    // Of those whose end is still in the log, SQL would say that they have not ended; and a page must be full of what fits.
    if (state === null) where.push(`and e.id is null and not a.id = any(${more([...ended.keys()])})`)
    else if (state !== undefined) {
      const inLog = [...ended.values()].filter(row => row.state === state).map(({ id }) => id)
      where.push(`and (e.state = ${more(state)} or a.id = any(${more(inLog)}))`)
    }
    const text = state === undefined ? latestOf(where.join(' ')) : latestEnded(where.join(' '))
    for (const pair of await this.pairs(account, text, values)) {
      accepted.set(pair.accepted.id, pair.accepted)
      if (pair.ended) ended.set(pair.accepted.id, pair.ended)
    }
    return [...accepted.values()]
      .map(row => ({ accepted: row, ended: ended.get(row.id) }))
      .filter(({ ended }) => state === undefined || (ended?.state ?? null) === state)
      .sort((a, b) => b.accepted.id - a.accepted.id)
      .slice(0, limit)
  }

  /** Of an account's messages with ids from `first` to `last`, those that have ended: how many in which state. */
  async endedBetween(account: number, first: number, last: number): Promise<Map<MessageState, number>> {
    const logged = new Map<number, MessageState>()
    await this.logged({ account }, row => {
      const { id } = row
      if (row.kind === 'ended' && id >= first && id <= last) logged.set(id, row.state)
    })
    const counts = new Map<MessageState, number>()
    for (const s of logged.values()) counts.set(s, (counts.get(s) ?? 0) + 1)
    const since = new Date(idTimeMs(first) - EARLY_MS)
    const values = [account, first, last, since, [...logged.keys()]]
    const { rows } = await this.store.query<{ state: MessageState; count: number }>(ENDED_BETWEEN, values)
    for (const { state, count } of rows) counts.set(state, (counts.get(state) ?? 0) + count)
    return counts
  }

  /**
   * Ends of an account's messages from one moment to before another, in the order of their moments and ids; those after
   * `after`. Throws {@link TooWide}, Busy, or what SQL throws.
   */
  async ends(account: number, fromMs: number, toMs: number, after: EndPlace, limit: number): Promise<HistoryRow[]> {
    const found = new Map<number, HistoryRow>()
    await this.logged({ account }, row => {
      const { id, atMs } = row
      if (row.kind !== 'ended' || atMs < fromMs || atMs >= toMs) return
      if (atMs > after.atMs || (atMs === after.atMs && id > after.id)) found.set(id, row)
    })
    const since = new Date(Math.max(fromMs, after.atMs))
    const values = [account, since, new Date(toMs), new Date(after.atMs), after.id, limit]
    for (const row of await this.patiently<Stored>(account, ENDS, values)) found.set(row.id, rowOf(row))
    return [...found.values()].sort((a, b) => a.atMs - b.atMs || a.id - b.id).slice(0, limit)
  }

  private async pairs(account: number | undefined, text: string, values: unknown[]): Promise<PastMessage[]> {
    const rows = await this.patiently<Stored & Prefixed>(account, text, values)
    return rows.map(row => ({ accepted: rowOf(row), ended: endOf(row) }))
  }

  private async patiently<Row extends object>(
    account: number | undefined,
    text: string,
    values: unknown[],
  ): Promise<Row[]> {
    const read = async (client: SqlClient): Promise<Row[]> => {
      await client.query(`set local statement_timeout = ${PATIENCE_MS}`)
      return (await client.query<Row>(text, values)).rows
    }
    try {
      return await turns.run(account ?? null, () => this.store.transaction(read))
    } catch (error) {
      if ((error as { code?: string }).code === CANCELED) throw new TooWide()
      throw error
    }
  }

  private async logged(of: LogFilter, each: (row: HistoryRow) => void): Promise<void> {
    await this.spool.synced()
    const first = this.spool.readLog(0, SLICE, of)
    let last = 0
    for (let slice = first; slice !== undefined; slice = this.spool.readLog(slice.position, SLICE, of)) {
      for (const row of slice.rows) if (row.kind !== 'converted') each(row)
      // A position is a count.
      last ||= slice.position + MOST_LOGGED
      if (slice.position >= last) return
      await nextTurn()
    }
  }
}

interface Stored {
  id: number
  at: Date
  price_micros: number
  account: number
  route: number
  carrier: number
  segments: number
  rank: number
  state: number
  kind: 'a' | 'e'
  source: string
  destination: string
  error: string
  client_ref: string
  back_micros: number
  cost_micros: number
}

interface Prefixed {
  e_at: Date | null
  e_state: number
  e_carrier: number
  e_error: string
  e_price: number
  e_back: number
  e_cost: number
}

const KINDS = { a: 'accepted', e: 'ended' } as const

const COLUMNS = `a.id, a.at, a.price_micros, a.account, a.route, a.carrier, a.segments, a.rank, a.state, a.kind::text as kind,
  a.source, a.destination, a.error, a.client_ref, a.back_micros, a.cost_micros`
/** The moment leaves out the days before it, each a table of its own. */
const ENDED_BETWEEN = `
  select state, count(*)::bigint as count from history
  where account = $1 and id between $2 and $3 and at >= $4 and kind = 'e' and not id = any($5) group by state`
const ENDS = `select ${COLUMNS} from history a
  where a.account = $1 and a.at >= $2 and a.at < $3 and a.kind = 'e' and (a.at, a.id) > ($4, $5)
  order by a.at, a.id limit $6`
const OF_ONE = `select ${COLUMNS} from history a where a.id = $1 and a.at >= $2`
const PAIRED = `
  select ${COLUMNS}, e.at as e_at, e.state as e_state, e.carrier as e_carrier, e.error as e_error, e.price_micros as e_price,
    e.back_micros as e_back, e.cost_micros as e_cost`
const THEIR_ENDS = `left join lateral (
    select * from history e where e.id = a.id and e.kind = 'e' and e.at >= $5 limit 1) e on true`
const ACCEPTED = `a.kind = 'a' and a.at >= $1 and a.at < $2 and a.id < $3`
const NEWEST = 'order by a.id desc limit $4'
/** Whatever their ends: those of the page alone are looked up. */
const latestOf = (where: string): string => `${PAIRED}
  from (select * from history a where ${ACCEPTED} ${where} ${NEWEST}) a ${THEIR_ENDS} order by a.id desc`
const latestEnded = (where: string): string => `${PAIRED}
  from history a ${THEIR_ENDS} where ${ACCEPTED} ${where} ${NEWEST}`

const rowOf = (row: Stored): HistoryRow => ({
  kind: KINDS[row.kind],
  atMs: row.at.getTime(),
  id: row.id,
  account: row.account,
  rank: row.rank,
  state: row.state as MessageState,
  source: row.source,
  destination: row.destination,
  route: row.route,
  carrier: row.carrier,
  segments: row.segments,
  priceMicros: row.price_micros,
  backMicros: row.back_micros,
  costMicros: row.cost_micros,
  // Nobody asks: it is counted.
  tookMs: null,
  // Of a charge that is posted nobody asks any more.
  isHeld: false,
  error: row.error,
  clientRef: row.client_ref,
})

/** What history will say of a message that has not ended and whose row is not found. */
export const rowOfLive = (m: Message, id: number): HistoryRow => ({
  kind: 'accepted',
  atMs: idTimeMs(id),
  id,
  account: m.account,
  rank: m.rank,
  state: state.ENROUTE,
  source: m.source_addr,
  destination: m.destination_addr,
  route: m.lane,
  carrier: 0,
  segments: m.segments,
  priceMicros: m.priceMicros,
  backMicros: 0,
  costMicros: 0,
  tookMs: null,
  isHeld: m.isHeld,
  error: '',
  clientRef: m.clientRef,
})

function endOf(row: Stored & Prefixed): HistoryRow | undefined {
  if (row.e_at === null) return undefined
  return {
    ...rowOf(row),
    kind: 'ended',
    atMs: row.e_at.getTime(),
    state: row.e_state as MessageState,
    carrier: row.e_carrier,
    error: row.e_error,
    priceMicros: row.e_price,
    backMicros: row.e_back,
    costMicros: row.e_cost,
  }
}
