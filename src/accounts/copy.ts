// The node's own copy of the directory, in an LMDB environment of its own: what is looked
// up while messages come in, without SQL and without holding 2,000,000 accounts in memory.
// Knows how the copy stands on disk; when and from what it is written is directoryFollower.ts's.

import { mkdirSync, rmSync } from 'node:fs'
import { type Database, open, type RootDatabase } from 'lmdb'
import { LRUCache } from 'lru-cache'
import type { ClassRank } from '../model/message.js'
import { readQuiet } from '../model/quiet.js'
import type { Account } from './account.js'
import { readConsentProfile } from './consentProfile.js'
import { readHooks, type StoredHook } from './hooks.js'
import { type KeyGrant, readGrant, type StoredGrant } from './keys.js'
import { readMailProfile } from './mailProfile.js'
import { readOtpProfile } from './otpProfile.js'
import { readQuota } from './quota.js'
import { readProfile } from './smppProfile.js'
import type { StoredPrice } from './tariffs.js'

/** Another format on disk is thrown away and loaded anew. */
const FORMAT = 6
const LIVE_ACCOUNTS = 50_000
/** Keys that are in use. */
const LIVE_KEYS = 10_000
/** Longer names are nobody's, and LMDB refuses long keys. */
const MAX_NAME = 64

/** What belongs to an account and is looked up by its own name: API keys by their hash in hex, numbers as they are. */
export type OwnedBy = 'keys' | 'numbers'

/** What is known of each. */
export interface Owned {
  keys: StoredGrant
  /** Account. */
  numbers: number
}

/** Rows that are few. */
export type RowsName = 'carriers' | 'routes' | 'networks' | 'blocked' | 'inbound' | 'tariffs'

/** How far a copy has come, and of which database. */
export interface CopyState {
  readonly format: number
  readonly identity: string
  /** The last change that is in it. */
  readonly version: number
  /** Every account was loaded once. */
  readonly complete: boolean
}

/** An account as it comes from SQL. */
export interface AccountRecord {
  readonly id: number
  readonly systemId: string
  readonly group: string
  readonly secret: Buffer | null
  readonly suspended: string | null
  readonly throughput: number
  readonly maxBinds: number
  readonly rank: ClassRank
  readonly weight: number
  readonly maxWaiting: number | null
  readonly serviceTypes: [name: string, rank: ClassRank][]
  readonly senders: string[]
  readonly creditMicros: number | null
  /** As written; null = the gateway's. */
  readonly quietHours: string | null
  /** See {@link storedProfile}. */
  readonly smpp: Record<string, unknown>
  /** See {@link storedMailProfile}. */
  readonly mail: Record<string, unknown>
  /** See {@link storedConsentProfile}. */
  readonly consent: Record<string, unknown>
  readonly hooks: StoredHook[]
  /** See {@link storedQuota}. */
  readonly limits: Record<string, unknown>
  /** 0 = none. */
  readonly tariff: number
  /** See {@link storedOtpProfile}. */
  readonly otp: Record<string, unknown>
}

/** On disk: the fields in the order of {@link AccountRecord}, without the id. */
type Stored = [
  string,
  string,
  Uint8Array | null,
  string | null,
  number,
  number,
  ClassRank,
  number,
  number | null,
  [string, ClassRank][],
  string[],
  number | null,
  string | null,
  Record<string, unknown>,
  Record<string, unknown>,
  Record<string, unknown>,
  StoredHook[],
  Record<string, unknown>,
  number,
  Record<string, unknown>,
]

const NO_SERVICE_TYPES: ReadonlyMap<string, ClassRank> = new Map()

export class DirectoryCopy {
  private readonly root: RootDatabase<unknown, string>
  private readonly accounts: Database<Stored, number>
  private readonly idsBySystemId: Database<number, string>
  /** Of each tariff, in pieces, under the generation that its row names. */
  private readonly prices: Database<StoredPrice[], [tariff: number, generation: number, piece: number]>
  private readonly owners: { readonly [What in OwnedBy]: Database<Owned[What], string> }
  // `max` would make room for all of them at once.
  private readonly live = new LRUCache<number, Account>({ maxSize: LIVE_ACCOUNTS, sizeCalculation: () => 1 })
  private readonly liveKeys = new LRUCache<string, KeyGrant>({ maxSize: LIVE_KEYS, sizeCalculation: () => 1 })

  constructor(path: string) {
    mkdirSync(path, { recursive: true, mode: 0o700 })
    let root = openRoot(path)
    const state = root.get('state') as CopyState | undefined
    if (state !== undefined && state.format !== FORMAT) {
      void root.close()
      rmSync(path, { recursive: true })
      mkdirSync(path, { mode: 0o700 })
      root = openRoot(path)
    }
    this.root = root
    this.accounts = root.openDB({ name: 'accounts', keyEncoding: 'uint32' })
    this.idsBySystemId = root.openDB({ name: 'systemIds' })
    this.prices = root.openDB({ name: 'prices' })
    this.owners = { keys: root.openDB({ name: 'keys' }), numbers: root.openDB({ name: 'numbers' }) }
  }

  // ---- looking up, on the hot path

  account(id: number): Account | undefined {
    const live = this.live.get(id)
    if (live !== undefined) return live
    const stored = this.accounts.get(id)
    if (stored === undefined) return undefined
    const account = revive(id, stored)
    this.live.set(id, account)
    return account
  }

  idOfSystemId(systemId: string): number | undefined {
    return isName(systemId) ? this.idsBySystemId.get(systemId) : undefined
  }

  /** The account that `number` belongs to. */
  ownerOf(number: string): number | undefined {
    return isName(number) ? this.owners.numbers.get(number) : undefined
  }

  /** `hash`: in hex. */
  key(hash: string): KeyGrant | undefined {
    const live = this.liveKeys.get(hash)
    if (live !== undefined) return live
    const stored = this.owners.keys.get(hash)
    if (stored === undefined) return undefined
    const grant = readGrant(stored)
    this.liveKeys.set(hash, grant)
    return grant
  }

  get state(): CopyState | undefined {
    return this.root.get('state') as CopyState | undefined
  }

  /** Rows that are read whole, as SQL gave them. */
  rows<T>(name: RowsName): T[] {
    return (this.root.get(name) ?? []) as T[]
  }

  /** Prices of a tariff as of a generation, a piece at a time. */
  *pricesOf(tariff: number, generation: number): Generator<StoredPrice[]> {
    const range = { start: [tariff, generation, 0], end: [tariff, generation, Number.MAX_SAFE_INTEGER] }
    for (const { value } of this.prices.getRange(range as never)) yield value
  }

  // ---- writing: what one call of `write` does is one transaction

  /** Runs `puts` in one transaction; resolves when it can be read. */
  async write(puts: () => void): Promise<void> {
    await this.root.batch(puts)
  }

  setState(state: Omit<CopyState, 'format'>): void {
    void this.root.put('state', { format: FORMAT, ...state })
  }

  setRows(name: RowsName, rows: readonly unknown[]): void {
    void this.root.put(name, rows)
  }

  /** They count once the tariff's row names their generation. */
  setPrices(tariff: number, generation: number, piece: number, prices: StoredPrice[]): void {
    void this.prices.put([tariff, generation, piece], prices)
  }

  /** What a tariff had in other generations. */
  dropPrices(tariff: number, but?: number): void {
    const range = { start: [tariff, 0, 0], end: [tariff + 1, 0, 0] }
    for (const key of this.prices.getKeys(range as never)) if (key[1] !== but) void this.prices.remove(key)
  }

  /** Each of `ids` becomes what `records` has for it; those without a record go. Call {@link forget} when it is written. */
  setAccounts(ids: readonly number[], records: readonly AccountRecord[]): void {
    const byId = new Map(records.map(record => [record.id, record]))
    // Names that were given up go first: another of these accounts may have taken them.
    for (const id of ids) {
      const old = this.accounts.get(id)
      if (old === undefined) continue
      const record = byId.get(id)
      if (old[0] !== record?.systemId && this.idsBySystemId.get(old[0]) === id) void this.idsBySystemId.remove(old[0])
      if (record === undefined) void this.accounts.remove(id)
    }
    for (const record of records) {
      void this.accounts.put(record.id, store(record))
      void this.idsBySystemId.put(record.systemId, record.id)
    }
  }

  /** New objects for these accounts and hashes of keys from now on; without ids for all. */
  forget(ids?: readonly number[], hashes: readonly string[] = []): void {
    if (ids === undefined) {
      this.live.clear()
      this.liveKeys.clear()
      return
    }
    for (const id of ids) this.live.delete(id)
    for (const hash of hashes) this.liveKeys.delete(hash)
  }

  /** What each of these is from now on; undefined = it is gone. Call {@link forget} when it is written. */
  setOwners<What extends OwnedBy>(what: What, owners: ReadonlyMap<string, Owned[What] | undefined>): void {
    const table = this.owners[what] as Database<Owned[What], string>
    for (const [name, owned] of owners) void (owned === undefined ? table.remove(name) : table.put(name, owned))
  }

  // ---- walking, to find what is no longer in SQL

  accountsAfter(id: number, count: number): number[] {
    return Array.from(this.accounts.getKeys({ start: id + 1, limit: count }))
  }

  ownedAfter(what: OwnedBy, name: string, count: number): string[] {
    // The range begins with the name itself.
    const range = name === '' ? { limit: count } : { start: name, limit: count + 1 }
    const found = Array.from(this.owners[what].getKeys(range))
    return found[0] === name ? found.slice(1) : found.slice(0, count)
  }

  async close(): Promise<void> {
    await this.root.close()
  }
}

function openRoot(path: string): RootDatabase<unknown, string> {
  // One sync a commit: after a crash the copy is as of some commit, never in between.
  return open({ path, noSubdir: false, overlappingSync: false, maxDbs: 8 })
}

const isName = (text: string): boolean => text.length > 0 && text.length <= MAX_NAME

const store = (record: AccountRecord): Stored => [
  record.systemId,
  record.group,
  record.secret,
  record.suspended,
  record.throughput,
  record.maxBinds,
  record.rank,
  record.weight,
  record.maxWaiting,
  record.serviceTypes,
  record.senders,
  record.creditMicros,
  record.quietHours,
  record.smpp,
  record.mail,
  record.consent,
  record.hooks,
  record.limits,
  record.tariff,
  record.otp,
]

function revive(id: number, stored: Stored): Account {
  const [
    systemId,
    group,
    secret,
    suspended,
    throughput,
    maxBinds,
    rank,
    weight,
    maxWaiting,
    types,
    senders,
    credit,
    quiet,
    smpp,
    mail,
    consent,
    hooks,
    limits,
    tariff,
    otp,
  ] = stored
  return {
    id,
    systemId,
    group,
    // LMDB's read buffer is used again.
    secret: secret === null ? null : Buffer.from(secret),
    suspended,
    throughput,
    maxBinds,
    rank,
    weight,
    maxWaiting,
    serviceTypes: types.length === 0 ? NO_SERVICE_TYPES : new Map(types),
    senders: senders.length === 0 ? null : new Set(senders),
    creditMicros: credit,
    quietHours: quiet === null ? undefined : readQuiet(quiet),
    smpp: readProfile(smpp),
    mail: readMailProfile(mail),
    consent: readConsentProfile(consent),
    otp: readOtpProfile(otp),
    hooks: readHooks(id, hooks),
    quota: readQuota(limits),
    tariff,
  }
}
