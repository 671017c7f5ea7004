// Who may do what, and which carriers and routes there are: looked up in this node's own
// copy, which follows the rows in SQL by change number (NOTIFY wakes, a poll each second makes
// sure). A node that has a copy serves without SQL. Knows rows; judges nobody but by password.

import { setTimeout as pause } from 'node:timers/promises'
import type { Log } from '../base/log.js'
import type { Store } from '../store/postgres.js'
import { backOffMs, logged } from '../store/retry.js'
import type { Account } from './account.js'
import { type CarrierRow, readFields, type SimulatorSettings, type SmppFields, type SmtpFields } from './carrier.js'
import { DirectoryCopy, type OwnedBy, type RowsName } from './copy.js'
import { DirectoryRows, type StoredCarrier } from './directoryRows.js'
import { type InboundRule, readInbound, type StoredInbound } from './inbound.js'
import type { KeyGrant } from './keys.js'
import { type BlockedRow, type NetworkRow, type RouteRow, readRoute, type StoredRoute } from './route.js'
import type { Secrets } from './secrets.js'
import { readTariff, type StoredPrice, type StoredTariff, type TariffRow } from './tariffs.js'

/** routes: with the networks that they name; tariffs: with their prices. */
export type DirectoryPart = 'accounts' | 'carriers' | 'routes' | 'blocked' | 'inbound' | 'tariffs'

/** `ids` of what is new, different or gone; undefined = anything may be. */
export type DirectoryListener = (part: DirectoryPart, ids: readonly number[] | undefined) => void

const POLL_MS = 1000
/** Few rows: one changed, all are read. Routes name the others. */
const WHOLE: readonly Exclude<RowsName, 'tariffs'>[] = ['carriers', 'networks', 'routes', 'blocked', 'inbound']
const LAST_RETRY_MS = 15_000
/** Rows in one go: what keeps the event loop under 5 ms. */
const SLICE = 250
/** The same of prices. */
const PRICES = 500
const PRUNE_EVERY_PASSES = 3600

/** In the copy: `generation` names its prices there. */
type CopiedTariff = StoredTariff & { generation: number }

export interface DirectoryOptions {
  /** Folder of the copy; this process's alone. */
  path: string
  store: Store
  secrets: Secrets
  log: Log
}

export class Directory {
  private readonly store: Store
  private readonly rows: DirectoryRows
  private readonly secrets: Secrets
  private readonly log: Log
  private readonly copy: DirectoryCopy
  private readonly listeners = new Set<DirectoryListener>()
  private readonly closing = new AbortController()
  private readonly unsubscribe: (() => void)[] = []
  private carrierRows: readonly CarrierRow[] = []
  private routeRows: readonly RouteRow[] = []
  private networkRows: readonly NetworkRow[] = []
  private blockedRows: readonly BlockedRow[] = []
  private inboundRules: readonly InboundRule[] = []
  private tariffRows: ReadonlyMap<number, TariffRow> = new Map()
  private generations: ReadonlyMap<number, number> = new Map()
  private loop: Promise<void> | undefined
  private waking = new AbortController()
  private waiting: Waiter[] = []
  /** The database may be another one than before. */
  private unsure = true
  private passes = 0

  constructor(options: DirectoryOptions) {
    this.store = options.store
    this.rows = new DirectoryRows(options.store, this.closing.signal)
    this.secrets = options.secrets
    this.log = options.log
    this.copy = new DirectoryCopy(options.path)
    this.readRows()
    this.readTariffs()
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

  /** Expired or not: see {@link objectionTo}. */
  key(apiKey: string): KeyGrant | undefined {
    return this.copy.key(this.secrets.keyHash(apiKey).toString('hex'))
  }

  keyByHash(hash: string): KeyGrant | undefined {
    return this.copy.key(hash)
  }

  /** Up to `count` accounts whose ids are above `id`, in the order of their ids. */
  accountsAfter(id: number, count: number): Account[] {
    return this.copy.accountsAfter(id, count).flatMap(one => this.copy.account(one) ?? [])
  }

  /** Whether `password` is the account's; as slow for no account as for one. */
  verify(account: Account | undefined, password: string): boolean {
    return this.secrets.verifyPassword(account?.systemId ?? '', password, account?.secret ?? null)
  }

  /** The account that gets what phones send to `number`. */
  ownerOf(number: string): number | undefined {
    return this.copy.ownerOf(number)
  }

  carriers(): readonly CarrierRow[] {
    return this.carrierRows
  }

  routes(): readonly RouteRow[] {
    return this.routeRows
  }

  networks(): readonly NetworkRow[] {
    return this.networkRows
  }

  blocked(): readonly BlockedRow[] {
    return this.blockedRows
  }

  /** Whose messages from phones are, where the number called does not say it. */
  inbound(): readonly InboundRule[] {
    return this.inboundRules
  }

  tariff(id: number): TariffRow | undefined {
    return this.tariffRows.get(id)
  }

  tariffs(): Iterable<TariffRow> {
    return this.tariffRows.values()
  }

  /** A tariff's prices from disk, a piece at a time: whoever has turns in between may meet a change, and is told of it. */
  pricesOf(id: number): Iterable<readonly StoredPrice[]> {
    const generation = this.generations.get(id)
    return generation === undefined ? [] : this.copy.pricesOf(id, generation)
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
    if (this.passes++ % PRUNE_EVERY_PASSES === 0) await this.rows.prune()
  }

  /** Whether the changes in the database go on where the copy stands. */
  private async isContinuation(): Promise<boolean> {
    const { identity, keyCheck, oldest, newest } = await this.rows.head()
    if (keyCheck !== null && !keyCheck.equals(this.secrets.check)) {
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
    const changes = await this.rows.changes(state.version, SLICE)
    const last = changes.at(-1)
    if (last === undefined) return false
    const named = (what: string): string[] => [
      ...new Set(changes.filter(change => change.what === what).map(change => change.id)),
    ]
    const ids = named('accounts').map(Number)
    const keys = named('keys')
    const numbers = named('numbers')
    const records = await this.rows.accounts(ids)
    const owners = await this.rows.owners('keys', keys)
    const takers = await this.rows.owners('numbers', numbers)
    const whole = await this.wholeRows(WHOLE.filter(name => named(name).length > 0))
    const priced = named('tariffs').map(Number)
    // Before the accounts that have them.
    const tariffs = priced.length === 0 ? undefined : await this.copyPrices(last.number, priced)
    await this.copy.write(() => {
      if (tariffs !== undefined) this.setTariffs(tariffs)
      this.copy.setAccounts(ids, records)
      this.copy.setOwners('keys', owners)
      this.copy.setOwners('numbers', takers)
      for (const [name, rows] of whole) this.copy.setRows(name, rows)
      this.copy.setState({ ...state, version: last.number })
    })
    this.copy.forget(ids, keys)
    if (tariffs !== undefined) this.readTariffs(priced)
    if (ids.length > 0) this.tell('accounts', ids)
    this.readRows(whole.map(([name]) => name))
    return changes.length === SLICE
  }

  /** Everything anew, over what is there: look-ups go on meanwhile. */
  private async loadAll(): Promise<void> {
    const before = this.copy.state
    const { identity, newest } = await this.rows.head()
    this.log.info({ version: newest }, 'loading the directory')
    const whole = await this.wholeRows(WHOLE)
    const tariffs = await this.copyPrices(newest)
    await this.copy.write(() => {
      for (const [name, rows] of whole) this.copy.setRows(name, rows)
      this.setTariffs(tariffs)
      // Should we be interrupted, the next load knows that something may be left of this one.
      if (before === undefined) this.copy.setState({ identity, version: 0, complete: false })
    })
    this.readRows()
    this.readTariffs()
    const accounts = await this.loadAccounts()
    await this.loadOwners('keys')
    await this.loadOwners('numbers')
    if (before !== undefined) await this.sweep()
    await this.copy.write(() => this.copy.setState({ identity, version: newest, complete: true }))
    this.copy.forget()
    this.tell('accounts', undefined)
    this.log.info({ accounts, version: newest }, 'the directory is loaded')
  }

  private async loadAccounts(): Promise<number> {
    let count = 0
    for (let last = 0; ; ) {
      const records = await this.rows.accountsAfter(last, SLICE)
      if (records.length === 0) return count
      const ids = records.map(record => record.id)
      await this.copy.write(() => this.copy.setAccounts(ids, records))
      count += records.length
      last = ids.at(-1) as number
    }
  }

  private async loadOwners(what: OwnedBy): Promise<void> {
    for (let last = ''; ; ) {
      const owners = await this.rows.ownersAfter(what, last, SLICE)
      if (owners.size === 0) return
      await this.copy.write(() => this.copy.setOwners(what, owners))
      last = [...owners.keys()].at(-1) as string
    }
  }

  /** Removes from the copy what SQL does not know. */
  private async sweep(): Promise<void> {
    for (let last = 0; ; ) {
      const ids = this.copy.accountsAfter(last, SLICE)
      if (ids.length === 0) break
      const known = await this.rows.knownAccounts(ids)
      const gone = ids.filter(id => !known.has(id))
      if (gone.length > 0) await this.copy.write(() => this.copy.setAccounts(gone, []))
      last = ids.at(-1) as number
    }
    for (const what of ['keys', 'numbers'] as const) {
      for (let last = ''; ; ) {
        const names = this.copy.ownedAfter(what, last, SLICE)
        if (names.length === 0) break
        const owners = await this.rows.owners(what, names)
        await this.copy.write(() => this.copy.setOwners(what, owners))
        last = names.at(-1) as string
      }
    }
  }

  /**
   * Puts the prices of these tariffs, or of all, beside what is there: they count when {@link setTariffs} is written. A
   * million of them are never in memory at once.
   */
  private async copyPrices(generation: number, ids?: readonly number[]): Promise<CopiedTariff[]> {
    const tariffs: CopiedTariff[] = []
    for (const one of await this.rows.tariffs()) {
      const present = this.generations.get(one.id)
      if (present !== undefined && ids !== undefined && !ids.includes(one.id)) {
        tariffs.push({ ...one, generation: present })
        continue
      }
      // A load that was interrupted may have left some under the same number.
      await this.copy.write(() => this.copy.dropPrices(one.id, present))
      const next = generation === present ? generation + 0.5 : generation
      let piece = 0
      await this.rows.prices(one.id, PRICES, prices =>
        this.copy.write(() => this.copy.setPrices(one.id, next, piece++, prices)),
      )
      tariffs.push({ ...one, generation: next })
    }
    return tariffs
  }

  private setTariffs(tariffs: readonly CopiedTariff[]): void {
    this.copy.setRows('tariffs', tariffs)
    for (const { id, generation } of tariffs)
      if (this.generations.get(id) !== generation) this.copy.dropPrices(id, generation)
    for (const id of this.generations.keys()) if (!tariffs.some(one => one.id === id)) this.copy.dropPrices(id)
  }

  /** Those of `ids` may have changed, or all. */
  private readTariffs(ids?: readonly number[]): void {
    const rows = this.copy.rows<CopiedTariff>('tariffs')
    const before = this.tariffRows
    this.generations = new Map(rows.map(({ id, generation }) => [id, generation]))
    this.tariffRows = new Map(rows.map(row => [row.id, readTariff(row)]))
    const gone = [...before.keys()].filter(id => !this.tariffRows.has(id))
    if (before.size > 0 || rows.length > 0) this.tell('tariffs', ids === undefined ? undefined : [...ids, ...gone])
  }

  private async wholeRows(names: readonly (typeof WHOLE)[number][]): Promise<[RowsName, readonly unknown[]][]> {
    const whole: [RowsName, readonly unknown[]][] = []
    for (const name of names) whole.push([name, await this.rows[name]()])
    return whole
  }

  /** What was written to the copy becomes what is answered. */
  private readRows(names: readonly RowsName[] = WHOLE): void {
    if (names.includes('carriers')) this.readCarriers()
    if (names.includes('networks')) this.networkRows = this.copy.rows<NetworkRow>('networks')
    if (names.includes('routes') || names.includes('networks')) this.readRoutes(names.includes('networks'))
    if (names.includes('blocked')) {
      const before = this.blockedRows
      this.blockedRows = this.copy.rows<BlockedRow>('blocked')
      if (before.length > 0 || this.blockedRows.length > 0) this.tell('blocked', undefined)
    }
    if (names.includes('inbound')) {
      this.inboundRules = this.copy.rows<StoredInbound>('inbound').map(readInbound)
      this.tell('inbound', undefined)
    }
  }

  private readCarriers(): void {
    const before = this.carrierRows
    this.carrierRows = this.copy.rows<StoredCarrier>('carriers').flatMap(row => this.openCarrier(row) ?? [])
    const changed = differing(before, this.carrierRows)
    if (changed.length > 0) this.tell('carriers', changed)
  }

  private readRoutes(withNetworks: boolean): void {
    const before = this.routeRows
    this.routeRows = this.copy.rows<StoredRoute>('routes').map(readRoute)
    const changed = differing(before, this.routeRows)
    // Networks are what rules match by, and what they learn by.
    if (changed.length > 0 || withNetworks) this.tell('routes', changed)
  }

  /** A carrier that we cannot read is left out: to bind without its password would only get us locked out. */
  private openCarrier(row: StoredCarrier): CarrierRow | undefined {
    const { id, name, kind, paused } = row
    try {
      const fields = readFields(kind, row.settings)
      if (kind === 'simulator') return { id, name, paused, kind, settings: fields as SimulatorSettings }
      const password = row.secret === null ? '' : this.secrets.unseal(name, Buffer.from(row.secret, 'base64'))
      if (password !== undefined) {
        return kind === 'smtp'
          ? { id, name, paused, kind, settings: { ...(fields as SmtpFields), password } }
          : { id, name, paused, kind, settings: { ...(fields as SmppFields), password } }
      }
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
