// The SQL database as everyone else sees it: there or away. Connects in the background,
// for ever; one watching connection hears NOTIFY and tells when the database goes. Knows
// connections, transactions and retries; statements live with those who own them.

import { setTimeout as pause } from 'node:timers/promises'
import './navigator.js'
import pg from 'pg'
import type { Log } from '../base/log.js'
import { type Embedded, startEmbedded } from './embedded.js'
import { migrate } from './migrate.js'
import { backOffMs, isConflict, logged, retryDelayMs, StoreAway } from './retry.js'

export type SqlClient = pg.PoolClient

export interface StoreOptions {
  /** null = the embedded PostgreSQL of `dataDir`. */
  url: string | null
  dataDir: string
  log: Log
  /** Connections at most, besides the watching one. */
  pool?: number
  /** Who stops the embedded server; see {@link startEmbedded}. */
  role?: 'owner' | 'visitor'
}

const CONNECT_MS = 5000
const FIRST_RETRY_MS = 100
const LAST_RETRY_MS = 15_000
/** The watching connection is asked this often, and has this long to answer. */
const PING_EVERY_MS = 10_000
const PING_MS = 5000
const DEFAULT_POOL = 8
/** What still runs when we close gets this long. */
const CLOSE_MS = 2000
const CONFLICT_TRIES = 5
/** server_version_num */
const OLDEST_SERVER = 140_000
const INT8 = 20

/** bigint as number: our ids, micros and positions stay below 2^53. */
const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text') =>
    oid === INT8 ? Number : pg.types.getTypeParser(oid, format)) as pg.CustomTypesConfig['getTypeParser'],
}

/** Begins to connect and returns at once. Never throws for a database that is away. */
export function openStore(options: StoreOptions): Store {
  return new Store(options)
}

export class Store {
  /** The database answered, and has this release's schema. */
  ready = false
  /** Settled by the first try to connect: with its error when that failed, though trying goes on. */
  readonly firstTry: Promise<void>

  private readonly options: StoreOptions
  private readonly log: Log
  private readonly ups = new Set<() => void>()
  private readonly channels = new Map<string, Set<Listener>>()
  private readonly closing = new AbortController()
  private readonly loop: Promise<void>
  private embedded: Embedded | undefined
  private link: Link | undefined

  constructor(options: StoreOptions) {
    this.options = options
    this.log = options.log
    let settle: (error?: unknown) => void = () => {}
    this.firstTry = new Promise((resolve, reject) => {
      settle = error => (error === undefined ? resolve() : reject(error))
    })
    this.firstTry.catch(() => {})
    this.loop = this.keepConnected(settle)
  }

  /** Called each time the database comes up; at once when it is up. Returns how to unsubscribe. */
  onUp(then: () => void): () => void {
    this.ups.add(then)
    if (this.ready) then()
    return () => this.ups.delete(then)
  }

  /** NOTIFY on `channel` (a plain lower-case name); what is sent while we are away is lost, so poll as well. */
  listen(channel: string, then: Listener): () => void {
    const listeners = this.channels.get(channel) ?? new Set<Listener>()
    this.channels.set(channel, listeners)
    listeners.add(then)
    if (this.link) say(this.link, `listen ${channel}`)
    return () => listeners.delete(then)
  }

  /** One statement on any connection. Throws {@link StoreAway} or the database's error. */
  query<Row extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<pg.QueryResult<Row>> {
    return this.withClient(client => client.query<Row>(text, values))
  }

  /** `work` on a connection of its own. Throws {@link StoreAway}, the database's error, or what `work` throws. */
  async withClient<T>(work: (client: SqlClient) => Promise<T>): Promise<T> {
    if (!this.link || !this.ready) throw new StoreAway()
    const client = await this.link.pool.connect()
    try {
      const result = await work(client)
      client.release()
      return result
    } catch (error) {
      client.release(!leavesConnectionSound(error))
      throw error
    }
  }

  /** `work` between BEGIN and COMMIT, again when it met another transaction. An error from COMMIT leaves open whether it holds. */
  async transaction<T>(work: (client: SqlClient) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.withClient(client => inTransaction(client, work))
      } catch (error) {
        if (tries === CONFLICT_TRIES || !isConflict(error)) throw error
        await pause((retryDelayMs(error) ?? 0) * (0.5 + Math.random()))
      }
    }
  }

  /** Ends the connections, and the embedded server if it is ours to stop. */
  async close(): Promise<void> {
    this.closing.abort()
    this.ready = false
    const { link } = this
    if (link) {
      // What still runs is somebody's who was not closed before us: it gets a moment.
      await Promise.race([link.pool.end().catch(() => {}), pause(CLOSE_MS, undefined, { ref: false })])
      destroy(link)
    }
    await this.loop
    await this.embedded?.stop()
  }

  private async keepConnected(settleFirst: (error?: unknown) => void): Promise<void> {
    const { signal } = this.closing
    let failures = 0
    let lastReason = ''
    while (!signal.aborted) {
      try {
        const link = await this.connect()
        if (signal.aborted) {
          destroy(link)
          break
        }
        failures = 0
        lastReason = ''
        this.goUp(link)
        settleFirst()
        const reason = await link.lost
        if (!signal.aborted) this.goDown(link, reason)
      } catch (error) {
        const failure = logged(error)
        if (failure.reason !== lastReason) this.log.warn({ ...failure }, 'no connection to the database; trying on')
        lastReason = failure.reason
        settleFirst(error)
      }
      if (signal.aborted) break
      await pause(backOffMs(failures++, FIRST_RETRY_MS, LAST_RETRY_MS), undefined, { signal }).catch(() => {})
    }
    settleFirst(new StoreAway())
  }

  private goUp(link: Link): void {
    this.link = link
    this.ready = true
    this.log.info({ server: link.version }, 'the database is up')
    for (const then of [...this.ups]) then()
  }

  private goDown(link: Link, reason: string): void {
    this.ready = false
    this.link = undefined
    destroy(link)
    this.log.warn({ reason }, 'the database went away')
  }

  /** Everything in place: server running, schema migrated, channels listened to. */
  private async connect(): Promise<Link> {
    const { url, dataDir, log, role, pool } = this.options
    if (url === null) this.embedded = await startEmbedded({ dataDir, log, role: role ?? 'owner' })
    const connectionString = url ?? this.embedded?.url
    const config = { connectionString, types, connectionTimeoutMillis: CONNECT_MS, keepAlive: true }
    const watch = new pg.Client({ ...config, application_name: 'trunkline watch' })
    const lost = new Promise<string>(resolve => {
      watch.on('error', error => resolve(error.message))
      watch.on('end', () => resolve('the connection ended'))
    })
    try {
      await watch.connect()
      const version = await serverVersion(watch)
      await migrate(watch, log)
      watch.on('notification', ({ channel, payload = '' }) => {
        for (const then of this.channels.get(channel) ?? []) then(payload)
      })
      for (const channel of this.channels.keys()) await watch.query(`listen ${channel}`)
      const clients = new Set<pg.PoolClient>()
      const link: Link = {
        watch,
        lost,
        version,
        clients,
        pool: openPool(config, pool ?? DEFAULT_POOL, clients, log),
        said: Promise.resolve(),
      }
      keepAsking(link)
      return link
    } catch (error) {
      watch.end().catch(() => {})
      throw error
    }
  }
}

/** Gets what was sent with it, '' when nothing was. */
type Listener = (payload: string) => void

/** One stretch of being connected. */
interface Link {
  readonly watch: pg.Client
  /** The last statement on it: the next waits for that, for the driver will take one at a time only. */
  said: Promise<unknown>
  readonly pool: pg.Pool
  /** The pool's connections, in use or not. */
  readonly clients: Set<pg.PoolClient>
  readonly version: string
  /** Resolves with the reason. */
  readonly lost: Promise<string>
}

function openPool(config: pg.PoolConfig, max: number, clients: Set<pg.PoolClient>, log: Log): pg.Pool {
  const pool = new pg.Pool({ ...config, max, application_name: 'trunkline', idleTimeoutMillis: 60_000 })
  // Without these listeners a server that ends a connection ends our process.
  pool.on('error', error => log.debug({ ...logged(error) }, 'an idle connection to the database ended'))
  pool.on('connect', client => {
    clients.add(client)
    client.on('error', () => {})
  })
  pool.on('remove', client => clients.delete(client))
  return pool
}

/** A server that went without a word (a pulled cable) answers no question; TCP itself would take minutes. */
function keepAsking(link: Link): void {
  const timer = setInterval(() => say(link, 'select'), PING_EVERY_MS)
  timer.unref()
  void link.lost.then(() => clearInterval(timer))
}

/** A statement on the watching connection, which ends when there is no answer. */
function say(link: Link, text: string): void {
  const { watch } = link
  const ask = (): Promise<unknown> => watch.query({ text, query_timeout: PING_MS } as pg.QueryConfig)
  link.said = link.said.then(ask).catch(() => endAtOnce(watch))
}

/** Statements that still wait on this link fail now. */
function destroy(link: Link): void {
  for (const client of link.clients) endAtOnce(client)
  endAtOnce(link.watch)
  link.pool.end().catch(() => {})
}

/** The driver's own `end` waits for what is under way. */
function endAtOnce(client: pg.ClientBase): void {
  ;(client as unknown as { connection: pg.Connection }).connection.stream.destroy()
}

async function serverVersion(client: pg.ClientBase): Promise<string> {
  const { rows } = await client.query<{ name: string; number: string }>(
    `select current_setting('server_version') as name, current_setting('server_version_num') as number`,
  )
  const { name, number } = rows[0] as { name: string; number: string }
  if (Number(number) < OLDEST_SERVER) throw new Error(`PostgreSQL ${name} is too old: 14 or newer is needed`)
  return name
}

/** Complaints of a living server about a statement leave the connection usable. */
const leavesConnectionSound = (error: unknown): boolean =>
  error instanceof pg.DatabaseError && !/^(08|57P)/.test(error.code ?? '')

async function inTransaction<T>(client: SqlClient, work: (client: SqlClient) => Promise<T>): Promise<T> {
  await client.query('begin')
  try {
    const result = await work(client)
    await client.query('commit')
    return result
  } catch (error) {
    // When even this fails, the connection is thrown away with the transaction.
    await client.query('rollback').catch(() => {})
    throw error
  }
}
