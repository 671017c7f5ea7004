// Who may do what, and which carriers and routes there are: looked up in this node's own
// copy, which directoryFollower.ts keeps up with the rows in SQL. A node that has a copy serves
// without SQL. Knows rows; judges nobody but by password.

import type { Log } from '../base/log.js'
import type { Store } from '../store/postgres.js'
import { logged } from '../store/retry.js'
import type { Account } from './account.js'
import { type CarrierRow, readFields, type SimulatorSettings, type SmppFields, type SmtpFields } from './carrier.js'
import { DirectoryCopy, type RowsName } from './copy.js'
import { type CopiedTariff, DirectoryFollower } from './directoryFollower.js'
import type { StoredCarrier } from './directoryRows.js'
import { type InboundRule, readInbound, type StoredInbound } from './inbound.js'
import type { KeyGrant } from './keys.js'
import { type BlockedRow, type NetworkRow, type RouteRow, readRoute, type StoredRoute } from './route.js'
import type { Secrets } from './secrets.js'
import { readTariff, type StoredPrice, type TariffRow } from './tariffs.js'

/** routes: with the networks that they name; tariffs: with their prices. */
export type DirectoryPart = 'accounts' | 'carriers' | 'routes' | 'blocked' | 'inbound' | 'tariffs'

/** `ids` of what is new, different or gone; undefined = anything may be. */
export type DirectoryListener = (part: DirectoryPart, ids: readonly number[] | undefined) => void

export interface DirectoryOptions {
  /** Folder of the copy; this process's alone. */
  path: string
  store: Store
  secrets: Secrets
  log: Log
}

export class Directory {
  private readonly secrets: Secrets
  private readonly log: Log
  private readonly copy: DirectoryCopy
  private readonly follower: DirectoryFollower
  private readonly listeners = new Set<DirectoryListener>()
  private carrierRows: readonly CarrierRow[] = []
  private routeRows: readonly RouteRow[] = []
  private networkRows: readonly NetworkRow[] = []
  private blockedRows: readonly BlockedRow[] = []
  private inboundRules: readonly InboundRule[] = []
  private tariffRows: ReadonlyMap<number, TariffRow> = new Map()
  private generations: ReadonlyMap<number, number> = new Map()

  constructor({ path, store, secrets, log }: DirectoryOptions) {
    this.secrets = secrets
    this.log = log
    this.copy = new DirectoryCopy(path)
    this.follower = new DirectoryFollower({
      copy: this.copy,
      store,
      secrets,
      log,
      accountsWritten: ids => this.tell('accounts', ids),
      rowsWritten: names => this.readRows(names),
      tariffsWritten: ids => this.readTariffs(ids),
    })
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
    this.follower.start()
  }

  /** Resolves when everything committed in SQL until now can be looked up here; rejects when SQL is away. */
  refresh(): Promise<void> {
    return this.follower.refresh()
  }

  async close(): Promise<void> {
    await this.follower.close()
    await this.copy.close()
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

  /** What was written to the copy becomes what is answered. Without `names`: all but the tariffs. */
  private readRows(names?: readonly RowsName[]): void {
    const has = (name: RowsName): boolean => names === undefined || names.includes(name)
    if (has('carriers')) this.readCarriers()
    if (has('networks')) this.networkRows = this.copy.rows<NetworkRow>('networks')
    if (has('routes') || has('networks')) this.readRoutes(has('networks'))
    if (has('blocked')) {
      const before = this.blockedRows
      this.blockedRows = this.copy.rows<BlockedRow>('blocked')
      if (before.length > 0 || this.blockedRows.length > 0) this.tell('blocked', undefined)
    }
    if (has('inbound')) {
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
