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
import { type Message, state } from '../model/message.js'
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
/** Whose limits are read in one go. */
const ACCOUNTS = 100
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
  /** The same, also of a carrier that is gone. */
  costMicros(carrier: string, digits: string): number | undefined
}

export class Billing implements Money {
  readonly posting: Posting
  private readonly host: BillingHost
  private readonly credit: Credit
  private tables = new Map<number, TariffTable>()
  private readonly stale = new Set<number>()
  /** Of tariffs that messages wait for. */
  private readonly reading = new Map<number, Promise<void>>()
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
      rows: new CreditRows(store, spool, node),
      isUp: () => store.ready,
      held: position => this.held(position),
    })
    this.posting = new Posting({ spool: spool.identity, clock, carrierName: id => this.carrierNames.get(id) })
    this.nameCarriers()
    for (const { id } of host.directory.tariffs()) this.stale.add(id)
  }

  // -- prices

  segmentMicros(
    tariff: number,
    { rank, carrierName }: Pick<Message, 'rank' | 'carrierName'>,
    digits: string,
    rule: RouteRule | undefined,
    nowMs: number,
  ): number | 'wait' | undefined {
    const table = this.tables.get(tariff)
    if (table === undefined) return this.isUnread(tariff) ? 'wait' : undefined
    const micros = table.priceMicros(digits, rank, nowMs)
    if (micros !== undefined) return micros
    const margin = table.marginOf(digits, rank)
    if (margin === undefined || rule === undefined) return undefined
    const cost = this.mostOf(rule, carrierName, digits)
    return cost === undefined ? undefined : withMargin(cost, margin)
  }

  /** What a part costs over the named carrier; where none is named it is not known yet which it will be: over the dearest. */
  private mostOf({ to }: RouteRule, named: string, digits: string): number | undefined {
    // A route may let messages name a carrier that it does not.
    if (named !== '') return this.host.priceMicros(named, digits)
    let most: number | undefined
    for (const { carrier } of to) {
      const one = this.host.priceMicros(carrier, digits)
      if (one !== undefined && (most === undefined || one > most)) most = one
    }
    return most
  }

  /** It came in this moment, and its prices are not compiled yet. */
  private isUnread(tariff: number): boolean {
    return !this.tables.has(tariff) && this.host.directory.tariff(tariff) !== undefined
  }

  /** Resolves when a tariff that is unread is read. */
  private read(tariff: number): Promise<void> {
    const before = this.reading.get(tariff)
    if (before !== undefined) return before
    this.tariffsChanged([tariff])
    const reading = this.compiling.finally(() => this.reading.delete(tariff))
    this.reading.set(tariff, reading)
    return reading
  }

  /** These tariffs, or all, are others now. */
  tariffsChanged(ids: readonly number[] | undefined): void {
    const { directory } = this.host
    for (const id of ids ?? [...this.tables.keys()]) this.stale.add(id)
    if (ids === undefined) for (const { id } of directory.tariffs()) this.stale.add(id)
    void this.priced()
  }

  /** Resolves when prices are those of the directory. */
  priced(): Promise<void> {
    // One after the other: of two that read the same tariff the older could come last.
    this.compiling = this.compiling.then(() => this.compile())
    return this.compiling
  }

  /** A tariff that cannot be compiled stays in use as it was; a new one has no prices. */
  private async compile(): Promise<void> {
    const { counters, log } = this.host
    for (const id of this.stale) {
      this.stale.delete(id)
      try {
        await this.compileOne(id)
      } catch (error) {
        counters.add('tariff_faulty')
        log.error({ err: error, tariff: id }, 'a tariff cannot be compiled: it stays in use as it was')
        // Without prices it is refused; without a table it would be waited for.
        if (!this.tables.has(id)) this.tables.set(id, new TariffTable())
      }
    }
  }

  private async compileOne(id: number): Promise<void> {
    const { directory, log } = this.host
    const row = directory.tariff(id)
    if (row === undefined) {
      this.tables.delete(id)
      return
    }
    const table = new TariffTable(row.margins)
    for (const prices of directory.pricesOf(id)) {
      table.add(prices)
      // What is in use meanwhile is the tariff as it was.
      await nextTurn()
      // It changed while it was read: another pass of the loop reads it whole.
      if (this.stale.has(id)) return
    }
    this.tables.set(id, table)
    log.debug({ tariff: row.name, prices: table.size }, 'a tariff is in use')
  }

  // -- credit

  hold(account: Account, micros: number): 'held' | 'wait' | 'short' {
    return this.credit.hold(account, micros)
  }

  release(account: number, micros: number): void {
    this.credit.release(account, micros)
  }

  ready(account: Account): Promise<boolean> {
    const { tariff } = account
    if (!this.isUnread(tariff)) return this.credit.ready(account)
    // One that cannot be read is not asked about again at once.
    return this.read(tariff).then(() => !this.isUnread(tariff))
  }

  /** It has bound, and will submit. */
  bound(account: Account | undefined): void {
    if (account !== undefined) this.credit.prefetch(account)
  }

  /** Limits or tariffs of these accounts, or of any, may be others. */
  accountsChanged(ids: readonly number[] | undefined): void {
    if (ids === undefined) this.credit.more()
    else for (const id of ids) this.credit.more(id)
    void this.limitsChanged(ids ?? this.credit.accounts())
  }

  private async limitsChanged(ids: readonly number[]): Promise<void> {
    for (const [i, id] of ids.entries()) {
      if (i % ACCOUNTS === ACCOUNTS - 1) await nextTurn()
      if (this.isStopped) return
      this.credit.limited(id, () => this.host.directory.account(id)?.creditMicros)
    }
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

  /** @param sent the message in which its text went: itself, or the one that it was joined into */
  settles(m: Message, { state: how }: Ending, sent: Message = m): Settlement {
    return { priceMicros: m.priceMicros - this.backMicros(m, how, sent), costMicros: this.costMicros(m, how) }
  }

  /** Of what no carrier has taken its share, and, where the tariff says so, all of what one took and has failed to deliver. */
  private backMicros({ account, priceMicros }: Message, how: Ending['state'], sent: Message): number {
    if (priceMicros === 0) return 0
    const { directory } = this.host
    const { after, isTakenToo } =
      directory.tariff(directory.account(account)?.tariff ?? 0)?.givesBack ?? usuallyGivenBack
    if (!after.has(how)) return 0
    const { taken, of } = takenOf(sent)
    // A receipt ends only what was taken whole; of what ended unknown nobody knows how much was.
    if (taken === of || how === state.UNKNOWN) return isTakenToo ? priceMicros : 0
    const rest = of - taken
    const each = Math.floor(priceMicros / of)
    return each * rest + Math.floor(((priceMicros % of) * rest) / of)
  }

  private costMicros(m: Message, how: Ending['state']): number {
    // A part whose text went in another message cost nothing more.
    if (m.carrier === 0 || m.isMail || (m.joined !== null && m.joined.of !== 0)) return 0
    // That was its end, without a name.
    const parts = m.parts === null && how === state.ACCEPTED ? 1 : takenOf(m).taken
    const name = parts === 0 ? undefined : this.carrierNames.get(m.carrier)
    return name === undefined ? 0 : parts * (this.host.costMicros(name, digitsOf(m.destination_addr)) ?? 0)
  }

  // -- with the database

  /**
   * Begins. `claim` makes sure that leases and log are this node's: while it says no, nothing is leased. `post` is called
   * once what a crash has left of them is known, and never before. Resolves then, or when it takes long.
   */
  async start(claim: () => Promise<boolean>, post: () => void): Promise<void> {
    const { store } = this.host
    let failures = 0
    let tried: () => void = () => {}
    const firstTry = new Promise<void>(resolve => {
      tried = resolve
    })
    const recover = (): void => {
      if (this.isRecovering || this.isStopped) return
      this.isRecovering = true
      const known = async (): Promise<void> => {
        const isOurs = await claim()
        if (isOurs) await this.credit.recover()
        tried()
        if (isOurs && !this.isStopped) post()
      }
      known().catch(error => {
        tried()
        this.isRecovering = false
        if (failures++ === 0)
          this.host.log.warn({ ...logged(error) }, 'what is left of leased credit is not known yet: nothing is posted')
        if (store.ready) this.recovering = setTimeout(recover, RECOVER_RETRY_MS)
      })
    }
    this.unsubscribe.push(
      store.listen(CREDIT_CHANNEL, id => this.credit.more(id === '' ? undefined : Number(id))),
      store.listen(WANTED_CHANNEL, said => {
        const [id, spool] = said.split(' ')
        if (spool === undefined) this.credit.recall(Number(id))
        else if (spool !== this.host.spool.identity) this.credit.wanted(Number(id))
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
    // What is held now and on its way to the log.
    await this.host.spool.synced()
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

/** How many of its parts a carrier took. A carrier that took one part alone gave it a name, or that was its end. */
const takenOf = ({ parts, ref }: Message): { taken: number; of: number } =>
  parts === null
    ? { taken: ref === '' ? 0 : 1, of: 1 }
    : { taken: parts.reduce((n, { answered }) => n + (answered ? 1 : 0), 0), of: parts.length }
