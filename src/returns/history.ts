// The one writer of history: takes rows from the spool's log, copies them into SQL in one
// transaction with the spool's position, and only then drops them from the log. So each row
// stands there once, whatever dies when. With SQL away the log grows on disk. That no other writes
// from a copy of the log historyClaim.ts sees to.

import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises'
import { from as copyFrom } from 'pg-copy-streams'
import type { Counters } from '../base/figures.js'
import type { Log } from '../base/log.js'
import type { HistoryRow, LogSlice, Spool } from '../spool/contract.js'
import type { SqlClient, Store } from '../store/postgres.js'
import { backOffMs, logged, retryDelayMs } from '../store/retry.js'
import { Claim, type Claimed } from './historyClaim.js'
import { keepDays, lookAtDay } from './historyDays.js'
import { COPY_END, COPY_HISTORY, COPY_START, encodeRows } from './historyRows.js'

/** Rows read and encoded in one go: about 1 ms. */
const PIECE = 1000
/** Rows in one transaction at most. */
const SLICE = 20_000
/** After a wake, rows are gathered this long: a transaction costs five round trips however many there are. */
const GATHER_MS = 50
/** With nothing to write, it is looked so often whether another does. */
const LOOK_MS = 5_000
const UPKEEP_MS = 3_600_000
const UPKEEP_RETRY_MS = 60_000
/**
 * So many rows into a day the database is told to look at it: it knows nothing of a day that has just begun, and would
 * read all of it to find one row. Later its own upkeep is soon enough.
 */
const LOOKS = [500, 5_000, 50_000, 500_000]
const DAY_MS = 86_400_000
const FIRST_RETRY_MS = 200
const LAST_RETRY_MS = 30_000

/** What else is written from the rows of a slice, in its transaction: so it counts each row once, too. */
export interface SlicePart {
  /** A slice begins, perhaps one that failed before: what was taken then is forgotten. */
  begin(): void
  take(row: HistoryRow): void
  /** In the transaction, once all rows were taken. */
  write(client: SqlClient): Promise<void>
  /** The slice that was written is in SQL. Not told where the connection broke before it said so. */
  written?(): void
}

export interface HistoryOptions {
  spool: Pick<Spool, 'identity' | 'origin' | 'clock' | 'readLog' | 'dropLog'>
  store: Store
  /** This node's number. */
  node: number
  retentionDays: number
  /** Asked in this order, in every slice. */
  parts?: readonly SlicePart[]
  counters: Pick<Counters, 'add'>
  log: Log
}

export interface HistoryFigures {
  /** Rows in SQL by this writer. */
  rows: number
  slices: number
  failures: number
  /** Age of the oldest row that was not in SQL at the last look; 0 = all were. */
  lagMs: number
}

export class HistoryWriter {
  readonly figures: HistoryFigures = { rows: 0, slices: 0, failures: 0, lagMs: 0 }
  /** The spool is a copy of one that another writes from, and has a new identity: this run writes nothing more. */
  onRenamed: () => void = () => {}

  private readonly spool: HistoryOptions['spool']
  private readonly store: Store
  private readonly claimed: Claim
  private readonly retentionDays: number
  private readonly parts: readonly SlicePart[]
  private readonly log: Log
  private nextLookMs = Number.NEGATIVE_INFINITY
  private nextUpkeepMs = Number.NEGATIVE_INFINITY
  private readonly today = { day: 0, rows: 0, looks: 0 }
  private isStopping = false
  private isAwake = true
  private waking = new AbortController()
  private loop: Promise<void> | undefined
  private unsubscribe: (() => void) | undefined

  constructor(options: HistoryOptions) {
    this.spool = options.spool
    this.store = options.store
    this.claimed = new Claim(options)
    this.retentionDays = options.retentionDays
    this.parts = options.parts ?? []
    this.log = options.log
  }

  /** See {@link onRenamed}. */
  get isRenamed(): boolean {
    return this.claimed.isLost
  }

  /**
   * Makes this run the one that writes the history of its spool. Until it is, nothing may be leased to the spool. False: it
   * cannot be, see {@link onRenamed}. Throws what SQL throws.
   */
  async claim(): Promise<boolean> {
    const { claimed } = this
    if (!claimed.isLost && !claimed.isOurs)
      await this.hold(await this.store.transaction(client => claimed.take(client)))
    return !claimed.isLost
  }

  start(): void {
    this.unsubscribe = this.store.onUp(() => this.wake())
    this.loop = this.run()
  }

  /** The log got rows. Cheap: call it for every commit. */
  wake(): void {
    if (this.isAwake) return
    this.isAwake = true
    this.waking.abort()
  }

  /** Resolves when the running slice is in SQL, or has failed. What is left stays in the log. */
  async stop(): Promise<void> {
    this.isStopping = true
    this.unsubscribe?.()
    this.waking.abort()
    await this.loop
  }

  private async run(): Promise<void> {
    let failures = 0
    while (!this.isStopping && !this.isRenamed) {
      this.isAwake = false
      this.waking = new AbortController()
      try {
        if (this.store.ready) {
          await this.upkeep()
          while ((await this.copySlice()) && !this.isStopping) {}
        }
        failures = 0
        if (!this.isRenamed) await this.rest(LOOK_MS)
        // Not cut short by the next wake, which comes with the next commit.
        if (this.isAwake && !this.isStopping) await pause(GATHER_MS)
      } catch (error) {
        this.figures.failures++
        if (failures++ === 0)
          this.log.warn({ ...logged(error) }, 'history does not reach the database; it is kept in the log')
        await this.rest(Math.max(backOffMs(failures, FIRST_RETRY_MS, LAST_RETRY_MS), retryDelayMs(error) ?? 0))
      }
    }
  }

  private async rest(ms: number): Promise<void> {
    if (!this.isAwake && !this.isStopping) await pause(ms, undefined, { signal: this.waking.signal }).catch(() => {})
  }

  private async upkeep(): Promise<void> {
    const { clock } = this.spool
    if (clock.mono() < this.nextUpkeepMs) return
    this.nextUpkeepMs = clock.mono() + UPKEEP_MS
    try {
      await keepDays(this.store, clock.now(), this.retentionDays)
    } catch (error) {
      // Rows without a partition of their own stand in the default one until the next try.
      this.nextUpkeepMs = clock.mono() + UPKEEP_RETRY_MS
      this.log.warn({ ...logged(error) }, 'the days of history could not be looked after')
    }
  }

  /** True when there may be more. */
  private async copySlice(): Promise<boolean> {
    const { spool, claimed } = this
    const first = spool.readLog(claimed.position, PIECE)
    this.figures.lagMs = first ? Math.max(0, spool.clock.now() - (first.rows[0]?.atMs ?? 0)) : 0
    if (first === undefined) return this.lookForOthers()
    const done = await this.store.transaction(async client => {
      const found = await claimed.take(client)
      // Our last transaction holds, though the connection broke before it said so; or we were killed before the drop.
      if (found.renamed !== undefined || found.position > claimed.position) return { ...found, rows: 0 }
      for (const part of this.parts) part.begin()
      const copied = await this.copy(client, first)
      for (const part of this.parts) await part.write(client)
      claimed.tried = copied.position
      await client.query(MOVE_POSITION, [spool.identity, copied.position])
      return { ...found, ...copied }
    })
    this.figures.rows += done.rows
    this.figures.slices++
    await this.hold(done)
    if (this.isRenamed) return false
    if (done.rows > 0) for (const part of this.parts) part.written?.()
    await this.lookAtToday(done.rows)
    return true
  }

  /** The transaction holds. */
  private async hold(done: Claimed): Promise<void> {
    await this.claimed.holds(done)
    if (this.isRenamed) this.onRenamed()
    else this.spool.dropLog(done.position)
  }

  /** There is nothing to write, but another may have begun to. True when there may be rows all the same. */
  private async lookForOthers(): Promise<boolean> {
    const { claimed, spool } = this
    if (spool.clock.mono() < this.nextLookMs) return false
    if (!(await claimed.isStill(this.store))) await this.hold(await this.store.transaction(c => claimed.take(c)))
    this.nextLookMs = spool.clock.mono() + LOOK_MS
    return !this.isRenamed
  }

  private async lookAtToday(rows: number): Promise<void> {
    const { today, store, spool } = this
    const now = spool.clock.now()
    const day = Math.floor(now / DAY_MS)
    if (day !== today.day) Object.assign(today, { day, rows: 0, looks: 0 })
    today.rows += rows
    if (today.rows < (LOOKS[today.looks] ?? Number.POSITIVE_INFINITY)) return
    while (today.rows >= (LOOKS[today.looks] ?? Number.POSITIVE_INFINITY)) today.looks++
    await lookAtDay(store, now).catch(error => {
      this.log.debug({ ...logged(error) }, 'the day of history could not be looked at')
    })
  }

  private async copy(client: SqlClient, first: LogSlice): Promise<{ position: number; rows: number }> {
    const stream = client.query(copyFrom(COPY_HISTORY))
    let isBroken = false
    const finished = new Promise<void>((resolve, reject) => {
      stream.on('finish', resolve)
      stream.on('error', error => {
        isBroken = true
        reject(error)
      })
    })
    // It is raced with every write; alone it must not count as unhandled.
    finished.catch(() => {})
    const write = (chunk: Buffer): Promise<unknown> =>
      Promise.race([new Promise(taken => stream.write(chunk, taken)), finished])
    let { position } = this.claimed
    let rows = 0
    try {
      await write(COPY_START)
      for (let piece: LogSlice | undefined = first; piece; ) {
        for (let from = 0; from < piece.rows.length; from += PIECE) {
          const to = Math.min(from + PIECE, piece.rows.length)
          await write(encodeRows(piece.rows, from, to))
          for (const part of this.parts) for (let i = from; i < to; i++) part.take(piece.rows[i] as HistoryRow)
          // The socket may take it all at once, and the loop belongs to others too.
          await nextTurn()
        }
        position = piece.position
        rows += piece.rows.length
        piece = rows < SLICE ? this.spool.readLog(position, PIECE) : undefined
      }
      stream.end(COPY_END)
      await finished
    } catch (error) {
      if (!isBroken) stream.destroy(error as Error)
      throw error
    }
    return { position, rows }
  }
}

const MOVE_POSITION = 'update spool_position set position = $2, moved_at = now() where spool = $1'
