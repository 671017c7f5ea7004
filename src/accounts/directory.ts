// Who may do what, and which carriers and routes there are: looked up in this node's own
// copy, which follows the rows in SQL by change number (NOTIFY wakes, a poll each second makes
// sure). A node that has a copy serves without SQL. Knows rows; judges nobody but by password.

import { setTimeout as pause } from 'node:timers/promises'
import type { QueryResult, QueryResultRow } from 'pg'
import type { Log } from '../base/log.js'
import { type MessageClass, rankOf } from '../model/message.js'
import type { Store } from '../store/postgres.js'
import { backOffMs, logged } from '../store/retry.js'
import type { Account } from './account.js'
import { type CarrierKind, type CarrierRow, readFields, type SimulatorSettings, type SmppFields } from './carrier.js'
import { type AccountRecord, DirectoryCopy } from './copy.js'
import { type RouteRow, readRoute, type StoredRoute } from './route.js'
import type { Secrets } from './secrets.js'

export type DirectoryPart = 'accounts' | 'carriers' | 'routes'

/** `ids` of what is new, different or gone; undefined = anything may be. */
export type DirectoryListener = (part: DirectoryPart, ids: readonly number[] | undefined) => void

const POLL_MS = 1000
const LAST_RETRY_MS = 15_000
/** Rows in one go: what keeps the event loop under 5 ms. */
const SLICE = 250
const KEEP_CHANGES = '7 days'
const PRUNE_EVERY_PASSES = 3600

export interface DirectoryOptions {
  /** Folder of the copy; this process's alone. */
  path: string
  store: Store
  secrets: Secrets
  log: Log
}

export class Directory {
  private readonly store: Store
  private readonly secrets: Secrets
  private readonly log: Log
  private readonly copy: DirectoryCopy
  private readonly listeners = new Set<DirectoryListener>()
  private readonly closing = new AbortController()
  private readonly unsubscribe: (() => void)[] = []
  private carrierRows: readonly CarrierRow[] = []
  private routeRows: readonly RouteRow[] = []
  private loop: Promise<void> | undefined
  private waking = new AbortController()
  private waiting: Waiter[] = []
  /** The database may be another one than before. */
  private unsure = true
  private passes = 0

  constructor(options: DirectoryOptions) {
    this.store = options.store
    this.secrets = options.secrets
    this.log = options.log
    this.copy = new DirectoryCopy(options.path)
    this.readCarriers()
    this.readRoutes()
  }

  /** The copy is whole: look-ups may be trusted to know every account. */
  get ready(): boolean {
    return this.copy.state?.complete === true
  }

  /** The change number up to which the copy goes. */
  get version(): number {
    return this.copy.state?.version ?? 0
  }

  account(id: number): Account | undefined {
    return this.copy.account(id)
  }

  accountBySystemId(systemId: string): Account | undefined {
    const id = this.copy.idOfSystemId(systemId)
    return id === undefined ? undefined : this.copy.account(id)
  }

  accountByKey(apiKey: string): Account | undefined {
    const id = this.copy.idOfKey(this.secrets.keyHash(apiKey).toString('hex'))
    return id === undefined ? undefined : this.copy.account(id)
  }

  /** Whether `password` is the account's; as slow for no account as for one. */
  verify(account: Account | undefined, password: string): boolean {
    return this.secrets.verifyPassword(account?.systemId ?? '', password, account?.secret ?? null)
  }

  /** The account that gets what phones send to `number`. */
  ownerOf(number: string): number | undefined {
    return this.copy.idOfNumber(number)
  }

  carriers(): readonly CarrierRow[] {
    return this.carrierRows
  }

  routes(): readonly RouteRow[] {
    return this.routeRows
  }

  /** Called after the change can be looked up. Returns how to unsubscribe. */
  onChange(then: DirectoryListener): () => void {
    this.listeners.add(then)
    return () => this.listeners.delete(then)
  }

  /** Begins to follow SQL. Look-ups work before that. */
  start(): void {
    this.unsubscribe.push(
      this.store.listen('trunkline_changes', () => this.wake()),
      this.store.onUp(() => {
        this.unsure = true
        this.wake()
      }),
    )
    this.loop = this.follow()
  }

  /** Resolves when everything committed in SQL until now can be looked up here; rejects when SQL is away. */
  refresh(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ resolve, reject })
      this.wake()
    })
  }

  async close(): Promise<void> {
    this.closing.abort()
    this.wake()
    for (const stop of this.unsubscribe) stop()
    await this.loop
    for (const { reject } of this.waiting) reject(new Error('the directory is closed'))
    await this.copy.close()
  }

  private wake(): void {
    this.waking.abort()
  }

  private async follow(): Promise<void> {
    let failures = 0
    while (!this.closing.signal.aborted) {
      this.waking = new AbortController()
      const waiting = this.waiting
      this.waiting = []
      try {
        if (this.store.ready || waiting.length > 0) await this.catchUp()
        for (const { resolve } of waiting) resolve()
        failures = 0
      } catch (error) {
        for (const { reject } of waiting) reject(error as Error)
        if (this.closing.signal.aborted) return
        if (failures++ === 0) this.log.warn({ ...logged(error) }, 'the directory does not follow the database')
      }
      const restMs = failures === 0 ? POLL_MS : backOffMs(failures, POLL_MS, LAST_RETRY_MS)
      await pause(restMs, undefined, { signal: this.waking.signal }).catch(() => {})
    }
  }

  private async catchUp(): Promise<void> {
    if (this.unsure) {
      if (!(await this.isContinuation())) await this.loadAll()
      this.unsure = false
    }
    while (!this.closing.signal.aborted && (await this.takeChanges())) {}
    if (this.passes++ % PRUNE_EVERY_PASSES === 0) await this.query(PRUNE, [KEEP_CHANGES])
  }

  /** Whether the changes in the database go on where the copy stands. */
  private async isContinuation(): Promise<boolean> {
    const { rows } = await this.query<Head>(HEAD)
    const { identity, key_check, oldest, newest } = rows[0] as Head
    if (key_check !== null && !key_check.equals(this.secrets.check)) {
      this.log.error({}, 'the database was written under another server key: no password or API key will be good')
    }
    const state = this.copy.state
    if (state?.complete !== true || state.identity !== identity) return false
    return state.version <= newest && state.version + 1 >= oldest
  }

  /** True when there may be more. */
  private async takeChanges(): Promise<boolean> {
    const state = this.copy.state
    if (state === undefined) return false
    const { rows } = await this.query<Change>(CHANGES, [state.version, SLICE])
    const last = rows.at(-1)
    if (last === undefined) return false
    const named = (what: string): string[] => [
      ...new Set(rows.filter(change => change.what === what).map(change => change.id)),
    ]
    const ids = named('accounts').map(Number)
    const keys = named('keys')
    const numbers = named('numbers')
    const records = await this.fetchAccounts('a.id = any($1)', [ids])
    const owners = await this.fetchOwners(OWNERS_OF_KEYS, keys)
    const takers = await this.fetchOwners(OWNERS_OF_NUMBERS, numbers)
    const carriers = named('carriers').length > 0 ? await this.fetchCarriers() : undefined
    const routes = named('routes').length > 0 ? await this.fetchRoutes() : undefined
    await this.copy.write(() => {
      this.copy.setAccounts(ids, records)
      this.copy.setKeys(keys.map(hash => [hash, owners.get(hash)]))
      this.copy.setNumbers(numbers.map(number => [number, takers.get(number)]))
      if (carriers) this.copy.setRows('carriers', carriers)
      if (routes) this.copy.setRows('routes', routes)
      this.copy.setState({ ...state, version: last.number })
    })
    this.copy.forget(ids)
    if (ids.length > 0) this.tell('accounts', ids)
    if (carriers) this.readCarriers()
    if (routes) this.readRoutes()
    return rows.length === SLICE
  }

  /** Everything anew, over what is there: look-ups go on meanwhile. */
  private async loadAll(): Promise<void> {
    const before = this.copy.state
    const { rows } = await this.query<Head>(HEAD)
    const { identity, newest } = rows[0] as Head
    this.log.info({ version: newest }, 'loading the directory')
    const carriers = await this.fetchCarriers()
    const routes = await this.fetchRoutes()
    await this.copy.write(() => {
      this.copy.setRows('carriers', carriers)
      this.copy.setRows('routes', routes)
    })
    this.readCarriers()
    this.readRoutes()
    const accounts = await this.loadAccounts()
    await this.loadOwners(PAGE_OF_KEYS, entries => this.copy.setKeys(entries))
    await this.loadOwners(PAGE_OF_NUMBERS, entries => this.copy.setNumbers(entries))
    if (before !== undefined) await this.sweep()
    await this.copy.write(() => this.copy.setState({ identity, version: newest, complete: true }))
    this.copy.forget()
    this.tell('accounts', undefined)
    this.log.info({ accounts, version: newest }, 'the directory is loaded')
  }

  private async loadAccounts(): Promise<number> {
    let count = 0
    for (let last = 0; ; ) {
      const records = await this.fetchAccounts('a.id > $1 order by a.id limit $2', [last, SLICE])
      if (records.length === 0) return count
      const ids = records.map(record => record.id)
      await this.copy.write(() => this.copy.setAccounts(ids, records))
      count += records.length
      last = ids.at(-1) as number
    }
  }

  private async loadOwners(page: string, put: (entries: Iterable<readonly [string, number]>) => void): Promise<void> {
    for (let last = ''; ; ) {
      const { rows } = await this.query<Owner>(page, [last, SLICE])
      if (rows.length === 0) return
      await this.copy.write(() => put(rows.map(row => [row.name, row.account])))
      last = rows.at(-1)?.name as string
    }
  }

  /** Removes from the copy what SQL does not know. */
  private async sweep(): Promise<void> {
    for (let last = 0; ; ) {
      const ids = this.copy.accountsAfter(last, SLICE)
      if (ids.length === 0) break
      const { rows } = await this.query<{ id: number }>('select id from accounts where id = any($1)', [ids])
      const known = new Set(rows.map(row => row.id))
      const gone = ids.filter(id => !known.has(id))
      if (gone.length > 0) await this.copy.write(() => this.copy.setAccounts(gone, []))
      last = ids.at(-1) as number
    }
    for (let last = ''; ; ) {
      const hashes = this.copy.keysAfter(last, SLICE)
      if (hashes.length === 0) break
      const owners = await this.fetchOwners(OWNERS_OF_KEYS, hashes)
      await this.copy.write(() => this.copy.setKeys(hashes.map(hash => [hash, owners.get(hash)])))
      last = hashes.at(-1) as string
    }
    for (let last = ''; ; ) {
      const numbers = this.copy.numbersAfter(last, SLICE)
      if (numbers.length === 0) break
      const takers = await this.fetchOwners(OWNERS_OF_NUMBERS, numbers)
      await this.copy.write(() => this.copy.setNumbers(numbers.map(number => [number, takers.get(number)])))
      last = numbers.at(-1) as string
    }
  }

  private async fetchAccounts(where: string, values: unknown[]): Promise<AccountRecord[]> {
    const { rows } = await this.query<AccountRow>(`${ACCOUNTS} where ${where}`, values)
    return rows.map(toRecord)
  }

  private async fetchOwners(text: string, names: string[]): Promise<Map<string, number>> {
    if (names.length === 0) return new Map()
    const { rows } = await this.query<Owner>(text, [names])
    return new Map(rows.map(row => [row.name, row.account]))
  }

  private async fetchCarriers(): Promise<StoredCarrier[]> {
    return (await this.query<StoredCarrier>(CARRIERS)).rows
  }

  private async fetchRoutes(): Promise<StoredRoute[]> {
    return (await this.query<StoredRoute>(ROUTES)).rows
  }

  private query<Row extends QueryResultRow>(text: string, values?: unknown[]): Promise<QueryResult<Row>> {
    this.closing.signal.throwIfAborted()
    return this.store.query<Row>(text, values)
  }

  private readCarriers(): void {
    const before = this.carrierRows
    this.carrierRows = this.copy.rows<StoredCarrier>('carriers').flatMap(row => this.openCarrier(row) ?? [])
    const changed = differing(before, this.carrierRows)
    if (changed.length > 0) this.tell('carriers', changed)
  }

  private readRoutes(): void {
    const before = this.routeRows
    this.routeRows = this.copy.rows<StoredRoute>('routes').map(readRoute)
    const changed = differing(before, this.routeRows)
    if (changed.length > 0) this.tell('routes', changed)
  }

  /** A carrier that we cannot read is left out: to bind without its password would only get us locked out. */
  private openCarrier(row: StoredCarrier): CarrierRow | undefined {
    const { id, name, kind, paused } = row
    try {
      const fields = readFields(kind, row.settings)
      if (kind === 'simulator') return { id, name, paused, kind, settings: fields as SimulatorSettings }
      const password = row.secret === null ? '' : this.secrets.unseal(name, Buffer.from(row.secret, 'base64'))
      if (password !== undefined) return { id, name, paused, kind, settings: { ...(fields as SmppFields), password } }
      this.log.error({ carrier: name }, 'the password of this carrier was sealed under another server key')
    } catch (error) {
      this.log.error({ carrier: name, ...logged(error) }, 'the settings of this carrier cannot be read')
    }
    return undefined
  }

  private tell(part: DirectoryPart, ids: readonly number[] | undefined): void {
    for (const then of [...this.listeners]) then(part, ids)
  }
}

interface Waiter {
  resolve(): void
  reject(error: Error): void
}

/** Ids of rows that are in one list only, or different in the other. */
function differing(before: readonly { id: number }[], after: readonly { id: number }[]): number[] {
  const texts = new Map(before.map(row => [row.id, JSON.stringify(row)]))
  const changed: number[] = []
  for (const row of after) {
    if (texts.get(row.id) !== JSON.stringify(row)) changed.push(row.id)
    texts.delete(row.id)
  }
  return [...changed, ...texts.keys()]
}

// ---- statements

interface Head {
  identity: string
  key_check: Buffer | null
  oldest: number
  newest: number
}
/** A change is kept at least as long as it is the newest, so an empty table means a new database. */
const HEAD = `
  select identity, key_check,
    (select coalesce(min(number), 0) from changes) as oldest,
    (select coalesce(max(number), 0) from changes) as newest
  from gateway`

interface Change {
  number: number
  what: string
  id: string
}
const CHANGES = 'select number, what, id from changes where number > $1 order by number limit $2'
const PRUNE = 'delete from changes where at < now() - $1::interval and number < (select max(number) from changes)'

interface AccountRow {
  id: number
  system_id: string
  secret: Buffer | null
  suspended: string | null
  throughput: number
  max_binds: number
  class: MessageClass
  weight: number
  max_waiting: number | null
  service_types: Record<string, MessageClass>
  credit_micros: number | null
  senders: string[]
}
const ACCOUNTS = `
  select id, system_id, secret, suspended, throughput, max_binds, class, weight, max_waiting, service_types,
    credit_micros, array(select address from senders where account = a.id) as senders
  from accounts a`

const toRecord = (row: AccountRow): AccountRecord => ({
  id: row.id,
  systemId: row.system_id,
  secret: row.secret,
  suspended: row.suspended,
  throughput: row.throughput,
  maxBinds: row.max_binds,
  rank: rankOf(row.class),
  weight: row.weight,
  maxWaiting: row.max_waiting,
  serviceTypes: Object.entries(row.service_types).map(([type, name]) => [type, rankOf(name)]),
  senders: row.senders,
  creditMicros: row.credit_micros,
})

interface Owner {
  name: string
  account: number
}
const OWNERS_OF_KEYS = `
  select encode(hash, 'hex') as name, account from api_keys
  where hash = any(select decode(unnest($1::text[]), 'hex'))`
const OWNERS_OF_NUMBERS = 'select number as name, account from numbers where number = any($1)'
const PAGE_OF_KEYS = `
  select encode(hash, 'hex') as name, account from api_keys where hash > decode($1, 'hex') order by hash limit $2`
const PAGE_OF_NUMBERS = `
  select number as name, account from numbers where number > $1 order by number limit $2`

interface StoredCarrier {
  id: number
  name: string
  kind: CarrierKind
  settings: unknown
  /** base64 */
  secret: string | null
  paused: boolean
}
const CARRIERS = `
  select id, name, kind, settings, encode(secret, 'base64') as secret, paused from carriers order by id`
const ROUTES = 'select id, position, name, match, targets from routes order by position, id'
