// Money put together: tariffs compiled from the directory, credit leased for this node, what messages cost in the end, and
// the books that history is posted into. Decides nothing that a table or a purse could decide.

import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises'
import type { Account } from '../accounts/account.js'
import { Credit, type CreditFigures } from '../accounts/credit.js'
import { CREDIT_CHANNEL, CreditRows, WANTED_CHANNEL } from '../accounts/creditRows.js'
import type { Directory } from '../accounts/directory.js'
import { usuallyGivenBack } from '../accounts/tariffs.js'
import type { Clock } from '../base/clock.js'
import type { Counters } from '../base/figures.js'
import type { Log } from '../base/log.js'
import type { Money } from '../intake/submit.js'
import { digitsOf } from '../model/digits.js'
import { type ClassRank, type Message, state } from '../model/message.js'
import { Posting } from '../returns/posting.js'
import type { RouteRule } from '../routing/table.js'
import { TariffTable, withMargin } from '../routing/tariffTable.js'
import type { Ending, Settlement, Spool } from '../spool/contract.js'
import type { Store } from '../store/postgres.js'
import { logged } from '../store/retry.js'

const TICK_MS = 200
const RECOVER_RETRY_MS = 500
/** A start waits so long for a log that is longer. */
const RECOVER_MS = 1_000
/** Rows of the log in one go. */
const ROWS = 1_000

export interface BillingHost {
  readonly directory: Directory
  readonly spool: Spool
  readonly store: Store
  readonly node: number
  readonly clock: Clock
  readonly counters: Counters
  readonly log: Log
  /** Of a part to these digits; undefined: the carrier names no price. */
  priceMicros(carrier: string, digits: string): number | undefined
}

export class Billing implements Money {
  readonly posting: Posting
  private readonly host: BillingHost
  private readonly credit: Credit
  private tables = new Map<number, TariffTable>()
  private readonly stale = new Set<number>()
  private compiling: Promise<void> = Promise.resolve()
  private carrierNames = new Map<number, string>()
  private readonly unsubscribe: (() => void)[] = []
  private ticker: NodeJS.Timeout | undefined
  private recovering: NodeJS.Timeout | undefined
  private isRecovering = false
  private isStopped = false

  constructor(host: BillingHost) {
    this.host = host
    const { clock, counters, log, store, spool, node } = host
    this.credit = new Credit({
      ...{ clock, counters, log },
      rows: new CreditRows(store, spool.identity, node),
      isUp: () => store.ready,
      held: position => this.held(position),
    })
    this.posting = new Posting({ spool: spool.identity, carrierName: id => this.carrierNames.get(id) })
    this.nameCarriers()
    for (const { id } of host.directory.tariffs()) this.stale.add(id)
  }

  // -- prices

  segmentMicros(
    tariff: number,
    digits: string,
    rank: ClassRank,
    rule: RouteRule | undefined,
    nowMs: number,
  ): number | undefined {
    const table = this.tables.get(tariff) ?? this.compiledNow(tariff)
    const micros = table?.priceMicros(digits, rank, nowMs)
    if (micros !== undefined) return micros
    const margin = table?.marginOf(digits, rank)
    if (margin === undefined || rule === undefined) return undefined
    // Which carrier it will be is not known yet.
    let cost: number | undefined
    for (const { carrier } of rule.to) {
      const one = this.host.priceMicros(carrier, digits)
      if (one !== undefined && (cost === undefined || one > cost)) cost = one
    }
    return cost === undefined ? undefined : withMargin(cost, margin)
  }

  /** One that came in this moment, before its turn to be compiled. */
  private compiledNow(id: number): TariffTable | undefined {
    const row = this.host.directory.tariff(id)
    if (row === undefined) return undefined
    const table = new TariffTable(row.margins)
    for (const prices of this.host.directory.pricesOf(id)) table.add(prices)
    this.tables.set(id, table)
    this.stale.delete(id)
    return table
  }

  /** These tariffs, or all, are others now. */
  tariffsChanged(ids: readonly number[] | undefined): void {
    const { directory } = this.host
    for (const id of ids ?? [...this.tables.keys()]) this.stale.add(id)
    if (ids === undefined) for (const { id } of directory.tariffs()) this.stale.add(id)
    this.compiling = this.compiling.then(() => this.compile())
  }

  /** Resolves when prices are those of the directory. */
  async priced(): Promise<void> {
    await this.compile()
    await this.compiling
  }

  private async compile(): Promise<void> {
    const { directory, log } = this.host
    for (const id of this.stale) {
      this.stale.delete(id)
      const row = directory.tariff(id)
      if (row === undefined) {
        this.tables.delete(id)
        continue
      }
      const table = new TariffTable(row.margins)
      for (const prices of directory.pricesOf(id)) {
        table.add(prices)
        // What is in use meanwhile is the tariff as it was.
        await nextTurn()
        if (this.stale.has(id)) break
      }
      // It changed while it was read: another pass of the loop reads it whole.
      if (this.stale.has(id)) continue
      this.tables.set(id, table)
      log.debug({ tariff: row.name, prices: table.size }, 'a tariff is in use')
    }
  }

  // -- credit

  hold(account: Account, micros: number): 'held' | 'wait' | 'short' {
    return this.credit.hold(account, micros)
  }

  release(account: number, micros: number): void {
    this.credit.release(account, micros)
  }

  ready(account: Account): Promise<boolean> {
    return this.credit.ready(account)
  }

  /** It has bound, and will submit. */
  bound(account: Account | undefined): void {
    if (account !== undefined) this.credit.prefetch(account)
  }

  /** Limits or tariffs of these accounts, or of any, may be others. */
  accountsChanged(ids: readonly number[] | undefined): void {
    if (ids === undefined) this.credit.more()
    else for (const id of ids) this.credit.more(id)
  }

  carriersChanged(): void {
    this.nameCarriers()
  }

  /** Names of carriers that are gone stay: what they had may still end. */
  private nameCarriers(): void {
    for (const { id, name } of this.host.directory.carriers()) this.carrierNames.set(id, name)
  }

  figures(): CreditFigures {
    return this.credit.figures()
  }

  // -- what messages cost in the end

  settles(m: Message, { state: how }: Ending): Settlement {
    const { directory } = this.host
    let { priceMicros } = m
    if (priceMicros > 0) {
      const tariff = directory.tariff(directory.account(m.account)?.tariff ?? 0)
      if ((tariff?.givesBack ?? usuallyGivenBack).has(how)) priceMicros = 0
    }
    return { priceMicros, costMicros: this.costMicros(m, how) }
  }

  private costMicros(m: Message, how: Ending['state']): number {
    if (m.carrier === 0 || m.isMail) return 0
    // Of one part: a carrier that took it gave it a name, or that was its end.
    const parts = m.parts
      ? m.parts.reduce((n, { answered }) => n + (answered ? 1 : 0), 0)
      : m.ref !== '' || how === state.ACCEPTED
        ? 1
        : 0
    const name = parts === 0 ? undefined : this.carrierNames.get(m.carrier)
    return name === undefined ? 0 : parts * (this.host.priceMicros(name, digitsOf(m.destination_addr)) ?? 0)
  }

  // -- with the database

  /**
   * Begins; `post` is called once what a crash has left of the leases is known, and never before. Resolves then, or when
   * it takes long.
   */
  async start(post: () => void): Promise<void> {
    const { store } = this.host
    let failures = 0
    let tried: () => void = () => {}
    const firstTry = new Promise<void>(resolve => {
      tried = resolve
    })
    const recover = (): void => {
      if (this.isRecovering || this.isStopped) return
      this.isRecovering = true
      this.credit.recover().then(
        () => {
          tried()
          if (!this.isStopped) post()
        },
        error => {
          tried()
          this.isRecovering = false
          if (failures++ === 0)
            this.host.log.warn(
              { ...logged(error) },
              'what is left of leased credit is not known yet: nothing is posted',
            )
          if (store.ready) this.recovering = setTimeout(recover, RECOVER_RETRY_MS)
        },
      )
    }
    this.unsubscribe.push(
      store.listen(CREDIT_CHANNEL, id => this.credit.more(id === '' ? undefined : Number(id))),
      store.listen(WANTED_CHANNEL, said => {
        const [id, spool] = said.split(' ')
        if (spool !== this.host.spool.identity) this.credit.wanted(Number(id))
      }),
      store.onUp(() => {
        recover()
        this.credit.up()
        // What was told while we were away is lost.
        this.credit.more()
      }),
    )
    this.ticker = setInterval(() => this.credit.tick(), TICK_MS)
    if (store.ready) await Promise.race([firstTry, pause(RECOVER_MS, undefined, { ref: false })])
  }

  private async held(position: number): Promise<ReadonlyMap<number, number>> {
    const sums = new Map<number, number>()
    for (let after = position; ; ) {
      const slice = this.host.spool.readLog(after, ROWS)
      if (slice === undefined) return sums
      for (const { isHeld, account, priceMicros } of slice.rows)
        if (isHeld) sums.set(account, (sums.get(account) ?? 0) + priceMicros)
      after = slice.position
      await nextTurn()
    }
  }

  /** Gives back what is leased, if the database lets us. Nothing may be submitted any more. */
  async stop(): Promise<void> {
    this.isStopped = true
    clearInterval(this.ticker)
    clearTimeout(this.recovering)
    for (const end of this.unsubscribe.splice(0)) end()
    await this.credit.stop()
  }
}
