// The books of messages: each slice of history is posted in its own transaction. What was charged and given back moves
// customers' balances and this node's leases; what carriers take is owed to them. One entry a node and hour of the rows, so
// that an hour's lines and its history say the same. Knows rows of the log; prices and leases were settled before.

import type { Clock } from '../base/clock.js'
import { idTimeMs } from '../base/ids.js'
import type { HistoryRow } from '../spool/contract.js'
import type { SqlClient } from '../store/postgres.js'
import type { SlicePart } from './history.js'

const HOUR_MS = 3_600_000

/** What one account's rows of a slice come to. */
interface Moved {
  /** What the balance changes by. */
  micros: number
  /** Of the charges, what was taken from the lease. */
  held: number
}

/** A line of an entry. */
interface Line {
  micros: number
  messages: number
}

/** Lines of one hour, by whose they are. */
interface Hour {
  readonly customers: Map<number, Line>
  readonly carriers: Map<number, Line>
  /** The account last looked up: rows come in runs of one. */
  account: number
  line: Line
}

export interface PostingHost {
  /** Identity of the spool. */
  readonly spool: string
  readonly clock: Pick<Clock, 'now'>
  /** undefined: it is gone. */
  carrierName(id: number): string | undefined
}

export class Posting implements SlicePart {
  private readonly host: PostingHost
  private accounts = new Map<number, Moved>()
  private readonly hours = new Map<number, Hour>()
  /** Of this slice. */
  private nowMs = 0
  private lastHour = 0
  private hour: Hour | undefined

  constructor(host: PostingHost) {
    this.host = host
  }

  begin(): void {
    this.accounts.clear()
    this.hours.clear()
    this.hour = undefined
    this.nowMs = this.host.clock.now()
  }

  take({ kind, id, atMs, account, carrier, priceMicros, backMicros, costMicros, isHeld }: HistoryRow): void {
    if (kind === 'accepted') {
      if (priceMicros === 0) return
      this.move(atMs, account, -priceMicros, isHeld ? priceMicros : 0, 1)
    } else if (kind === 'ended' && (backMicros !== 0 || costMicros !== 0)) {
      // When it ended is the carrier's word: nothing is given back before it was charged, nor booked before its time has come.
      const bookedMs = Math.max(Math.min(atMs, this.nowMs), idTimeMs(id))
      if (backMicros !== 0) this.move(bookedMs, account, backMicros, 0, 0)
      if (costMicros === 0) return
      const { carriers } = this.hourOf(bookedMs)
      const line = carriers.get(carrier) ?? noLine()
      carriers.set(carrier, line)
      line.micros += costMicros
      line.messages++
    }
  }

  private move(atMs: number, account: number, micros: number, held: number, messages: number): void {
    const hour = this.hourOf(atMs)
    if (hour.account !== account) {
      hour.account = account
      hour.line = hour.customers.get(account) ?? noLine()
      hour.customers.set(account, hour.line)
    }
    hour.line.micros += micros
    hour.line.messages += messages
    let moved = this.accounts.get(account)
    if (moved === undefined) {
      moved = { micros: 0, held: 0 }
      this.accounts.set(account, moved)
    }
    moved.micros += micros
    moved.held += held
  }

  private hourOf(atMs: number): Hour {
    const start = Math.floor(atMs / HOUR_MS)
    if (this.hour !== undefined && start === this.lastHour) return this.hour
    let hour = this.hours.get(start)
    if (hour === undefined) {
      hour = { customers: new Map(), carriers: new Map(), account: -1, line: noLine() }
      this.hours.set(start, hour)
    }
    this.lastHour = start
    this.hour = hour
    return hour
  }

  async write(client: SqlClient): Promise<void> {
    if (this.hours.size === 0) return
    await this.moveBalances(client)
    const starts = [...this.hours.keys()].sort((a, b) => a - b)
    const references = starts.map(start => `messages:${this.host.spool}:${new Date(start * HOUR_MS).toISOString()}`)
    const hours = starts.map(start => (start * HOUR_MS) / 1_000)
    await client.query(MAKE_ENTRIES, [references, hours])
    const entries: string[] = []
    const books: string[] = []
    const micros: number[] = []
    const messages: number[] = []
    for (const [i, start] of starts.entries()) {
      for (const [book, line] of this.linesOf(this.hours.get(start) as Hour)) {
        entries.push(references[i] as string)
        books.push(book)
        micros.push(line.micros)
        messages.push(line.messages)
      }
    }
    await client.query(PUT_LINES, [entries, books, micros, messages])
  }

  /** Balanced: what customers lose is revenue, what a carrier costs is owed to it. */
  private linesOf({ customers, carriers }: Hour): Map<string, Line> {
    const lines = new Map<string, Line>()
    const add = (book: string, micros: number, messages: number): void => {
      const line = lines.get(book) ?? noLine()
      lines.set(book, line)
      line.micros += micros
      line.messages += messages
    }
    for (const [account, { micros, messages }] of customers) {
      add(`customer:${account}`, micros, messages)
      add('revenue', -micros, messages)
    }
    for (const [carrier, { micros, messages }] of carriers) {
      const name = this.host.carrierName(carrier) ?? `#${carrier}`
      add(`cost:${name}`, -micros, messages)
      add(`payable:${name}`, micros, messages)
    }
    return lines
  }

  /** Of balances, leases and their sums at once, in the order in which everybody locks them. */
  private async moveBalances(client: SqlClient): Promise<void> {
    const accounts = [...this.accounts.keys()].sort((a, b) => a - b)
    if (accounts.length === 0) return
    const moved = accounts.map(account => this.accounts.get(account) as Moved)
    const amounts = moved.map(({ micros }) => micros)
    const held = moved.map(one => one.held)
    const { rowCount } = await client.query(LOCK, [accounts])
    if (rowCount !== accounts.length) {
      await client.query(MAKE_CREDIT, [accounts])
      await client.query(LOCK, [accounts])
    }
    await client.query(MOVE, [accounts, amounts, held, this.host.spool])
  }
}

const noLine = (): Line => ({ micros: 0, messages: 0 })

const LOCK = 'select from credit where account = any($1) order by account for update'
const MAKE_CREDIT = 'insert into credit (account) select a from unnest($1::int[]) a order by a on conflict do nothing'
/** A lease that an operator has released meanwhile is in the sum no more. */
const MOVE = `
  with moved as (select * from unnest($1::int[], $2::bigint[], $3::bigint[]) as m(account, micros, held)),
    leased as (
      update credit_leases l set micros = l.micros - m.held from moved m
      where l.account = m.account and l.spool = $4 and m.held <> 0 returning l.account, m.held)
  update credit c set balance_micros = c.balance_micros + m.micros,
    leased_micros = c.leased_micros - coalesce(l.held, 0)
  from moved m left join leased l on l.account = m.account where c.account = m.account`
const MAKE_ENTRIES = `
  insert into ledger_entries (at, kind, reference)
  select to_timestamp(t.hour), 'messages', t.reference from unnest($1::text[], $2::float8[]) as t(reference, hour)
  on conflict (reference) do nothing`
const PUT_LINES = `
  insert into ledger_lines (entry, book, micros, messages)
  select e.id, t.book, t.micros, t.messages
  from unnest($1::text[], $2::text[], $3::bigint[], $4::int[]) as t(reference, book, micros, messages)
    join ledger_entries e on e.reference = t.reference
  order by e.id, t.book
  on conflict (entry, book) do update
    set micros = ledger_lines.micros + excluded.micros, messages = ledger_lines.messages + excluded.messages`
