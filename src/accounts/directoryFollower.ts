// Keeps this node's copy of the directory what the rows in SQL are, by change number, a slice at a time. Where changes are
// missing, or the database is another, it loads all anew, over what is there: look-ups go on meanwhile. What the rows say,
// directory.ts knows.

import type { Log } from '../base/log.js'
import { Following } from '../store/following.js'
import type { Store } from '../store/postgres.js'
import type { DirectoryCopy, OwnedBy, RowsName } from './copy.js'
import { DirectoryRows } from './directoryRows.js'
import type { Secrets } from './secrets.js'
import type { StoredTariff } from './tariffs.js'

/** Few rows: one changed, all are read. Routes name the others. */
const WHOLE: readonly Exclude<RowsName, 'tariffs'>[] = ['carriers', 'networks', 'routes', 'blocked', 'inbound']
/** Rows in one go: what keeps the event loop under 5 ms. */
const SLICE = 250
/** The same of prices. */
const PRICES = 500
const PRUNE_EVERY_PASSES = 3600

/** In the copy: `generation` names its prices there. */
export type CopiedTariff = StoredTariff & { generation: number }

export interface DirectoryFollowerHost {
  readonly copy: DirectoryCopy
  readonly store: Store
  readonly secrets: Pick<Secrets, 'check'>
  readonly log: Log
  /** These stand in the copy otherwise than before; undefined = any may. */
  accountsWritten(ids: readonly number[] | undefined): void
  tariffsWritten(ids: readonly number[] | undefined): void
  rowsWritten(names: readonly RowsName[]): void
}

export class DirectoryFollower extends Following {
  private readonly host: DirectoryFollowerHost
  private readonly copy: DirectoryCopy
  private readonly rows: DirectoryRows
  private readonly log: Log
  private passes = 0

  constructor(host: DirectoryFollowerHost) {
    const { copy, store, log } = host
    super({
      store,
      log,
      channel: 'trunkline_changes',
      lost: 'the directory does not follow the database',
      closed: 'the directory is closed',
    })
    this.host = host
    this.copy = copy
    this.rows = new DirectoryRows(store, this.closing)
    this.log = log
  }

  protected async catchUp(isUnsure: boolean): Promise<void> {
    if (isUnsure && !(await this.isContinuation())) await this.loadAll()
    while (!this.closing.aborted && (await this.takeChanges())) {}
    if (this.passes++ % PRUNE_EVERY_PASSES === 0) await this.rows.prune()
  }

  /** Whether the changes in the database go on where the copy stands. */
  private async isContinuation(): Promise<boolean> {
    const { identity, keyCheck, oldest, newest } = await this.rows.head()
    if (keyCheck !== null && !keyCheck.equals(this.host.secrets.check)) {
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
    if (tariffs !== undefined) this.host.tariffsWritten(priced)
    if (ids.length > 0) this.host.accountsWritten(ids)
    this.host.rowsWritten(whole.map(([name]) => name))
    return changes.length === SLICE
  }

  /** Everything anew, over what is there. */
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
    this.host.rowsWritten(WHOLE)
    this.host.tariffsWritten(undefined)
    const accounts = await this.loadAccounts()
    await this.loadOwners('keys')
    await this.loadOwners('numbers')
    if (before !== undefined) await this.sweep()
    await this.copy.write(() => this.copy.setState({ identity, version: newest, complete: true }))
    this.copy.forget()
    this.host.accountsWritten(undefined)
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
    const generations = this.generations()
    for (const one of await this.rows.tariffs()) {
      const present = generations.get(one.id)
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
    const before = this.generations()
    this.copy.setRows('tariffs', tariffs)
    for (const { id, generation } of tariffs) if (before.get(id) !== generation) this.copy.dropPrices(id, generation)
    for (const id of before.keys()) if (!tariffs.some(one => one.id === id)) this.copy.dropPrices(id)
  }

  /** Of each tariff in the copy. */
  private generations(): Map<number, number> {
    return new Map(this.copy.rows<CopiedTariff>('tariffs').map(({ id, generation }) => [id, generation]))
  }

  private async wholeRows(names: readonly (typeof WHOLE)[number][]): Promise<[RowsName, readonly unknown[]][]> {
    const whole: [RowsName, readonly unknown[]][] = []
    for (const name of names) whole.push([name, await this.rows[name]()])
    return whole
  }
}
