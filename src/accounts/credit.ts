// What this node may spend of its accounts' credit, in memory: taken from leases that it asks SQL for before they are used
// up, and gives back when it does not use them or another node needs them. Knows amounts; prices and messages are others'.
//
// The invariants, over all nodes and at every moment:
//   what can be leased  = balance + limit - sum of leases                   (credit, accounts, credit_leases in SQL)
//   a lease             = what its node has left + what is held by rows of its log that are not in the books yet
// The first changes under the lock of the account's row alone. Of the second: holding moves from left to held; a slice of
// history takes what it posts from the balance, the lease and their sum in one transaction; a grant and a return change
// lease and left by the same amount, and of a return left goes down first. So at most what was leased is ever spent, and
// after a crash what is left is the lease minus what the log holds beyond the position that the books know. Until that is
// known nothing is held, asked for or given back, and nothing may be posted: else rows would be counted twice.
// A lease that somebody else has ended is lost whole: the next one begins when all that the log held of it is in the books.

import type { Clock } from '../base/clock.js'
import type { Counters } from '../base/figures.js'
import type { Log } from '../base/log.js'
import { logged } from '../store/retry.js'
import type { Account } from './account.js'
import type { CreditRows, Move, Moved, Round } from './creditRows.js'
import { Purse } from './purse.js'

/** Unused for so long, a lease is given back; and as often it is looked at whether it is larger than what is spent. */
const IDLE_MS = 10_000
/** Another node needs it: unused for so long, or for one message alone, it goes whole, else the half. */
const IDLE_WANTED_MS = 1_000
/** What was not there is asked for again. */
const DENIED_MS = 1_000
/** So long others are waited for who have leased what is needed. */
const CONTENDED_MS = 700
/** Messages wait so long for an answer of a database that gives none. */
const PATIENCE_MS = 2_000
/** And so long for one that is slow. */
const SLOW_MS = 10_000
const RETRY_MS = 250
/** Whether the books know all that was held of a lost lease. */
const RENEW_MS = 1_000
/** Leases that one tick looks at. */
const LOOKED = 2_000
/** Leases in one transaction. */
const ROUND = 500

export interface CreditHost {
  readonly clock: Clock
  readonly counters: Pick<Counters, 'add'>
  readonly log: Pick<Log, 'warn'>
  readonly rows: Pick<CreditRows, 'move' | 'turns' | 'recover' | 'leases'>
  /** The database answers. */
  isUp(): boolean
  /** What rows of this node's log beyond `position` hold, by account: of all that was held before it is asked. */
  held(position: number): Promise<ReadonlyMap<number, number>>
}

export interface CreditFigures {
  /** With something left. */
  readonly accounts: number
  readonly leftMicros: number
  /** Submissions that wait for an answer. */
  readonly waiting: number
}

export class Credit {
  private readonly host: CreditHost
  private readonly purses = new Map<number, Purse>()
  private readonly asking = new Set<Purse>()
  private readonly giving = new Set<Purse>()
  /** Something waits for more of these. */
  private readonly needy = new Set<Purse>()
  /** Of these all is to be given back as soon as it is known what there is. */
  private readonly recalled = new Set<number>()
  /** Whose lease was ended by somebody else. */
  private readonly lost = new Set<Purse>()
  private renewMs = Number.NEGATIVE_INFINITY
  /** Where the next tick looks on. */
  private around = this.purses.values()
  /** What crashes and restarts have left is known. */
  private isKnown = false
  /** Of monotonic time, of the last tick: what the hot path needs no more exactly. */
  private nowMs: number
  private isWorking = false
  private work: Promise<void> = Promise.resolve()
  /** Of this nobody has said whether it holds. */
  private open: Round | undefined
  private retryMs = Number.NEGATIVE_INFINITY
  /** Since when the database does not answer; 0 = it does. */
  private failingMs = 0
  private isStopping = false

  constructor(host: CreditHost) {
    this.host = host
    this.nowMs = host.clock.mono()
  }

  // -- asked by the door

  /** Takes so much of what is leased of an account whose credit is limited. */
  hold({ id }: Pick<Account, 'id'>, micros: number): 'held' | 'wait' | 'short' {
    const purse = this.purses.get(id) ?? this.made(id)
    purse.price = micros
    if (purse.left >= micros) {
      purse.left -= micros
      purse.spent += micros
      purse.usedMs = this.nowMs
      if (purse.left < purse.low && !purse.isAsked) this.ask(purse)
      return 'held'
    }
    if (this.isKnown && micros >= purse.deniedNeed && this.host.clock.mono() < purse.deniedUntilMs) {
      this.host.counters.add('credit_exhausted')
      return 'short'
    }
    purse.need = Math.max(purse.need, micros)
    this.needy.add(purse)
    // While others are waited for, their word or the clock asks.
    if (purse.contendedUntilMs === 0) this.ask(purse)
    return 'wait'
  }

  /** In the turn of the event loop in which it was held. */
  release(account: number, micros: number): void {
    const purse = this.purses.get(account)
    if (purse === undefined) return
    purse.left += micros
    purse.spent -= micros
  }

  /** After `wait`: true once {@link hold} will answer otherwise; false when it will not for long. */
  ready({ id }: Pick<Account, 'id'>): Promise<boolean> {
    const purse = this.purses.get(id)
    if (purse === undefined || (this.isKnown && purse.need === 0)) return YES
    const sinceMs = this.host.clock.mono()
    if (this.isStopping || (this.failingMs > 0 && sinceMs - this.failingMs > PATIENCE_MS)) {
      this.host.counters.add('credit_pending')
      return NO
    }
    return purse.wait(sinceMs)
  }

  /** It will submit soon. */
  prefetch({ id, tariff, creditMicros }: Pick<Account, 'id' | 'tariff' | 'creditMicros'>): void {
    if (tariff === 0 || creditMicros === null) return
    const purse = this.purses.get(id) ?? this.made(id)
    if (purse.left === 0) this.ask(purse)
  }

  private made(id: number): Purse {
    const purse = new Purse(id, this.nowMs)
    this.purses.set(id, purse)
    return purse
  }

  private ask(purse: Purse): void {
    if (purse.isAsked || this.isStopping || this.lost.has(purse)) return
    purse.isAsked = true
    this.asking.add(purse)
    this.kick()
  }

  // -- told by the database

  /** There may be more for this account, or, of undefined, for any. */
  more(account?: number): void {
    for (const purse of account === undefined ? this.purses.values() : this.some(account)) {
      purse.deniedUntilMs = Number.NEGATIVE_INFINITY
      if (purse.need > 0) this.ask(purse)
    }
  }

  /** Another node needs what we have. */
  wanted(account: number): void {
    for (const purse of this.some(account)) {
      const { left, need, price, usedMs } = purse
      // The half of one message is of no use to anybody.
      const isWhole = this.host.clock.mono() - usedMs > IDLE_WANTED_MS || left < need || left < 2 * price
      this.giveBack(purse, isWhole ? left : Math.floor(left / 2))
    }
  }

  /** Of whom something was ever asked for. */
  accounts(): number[] {
    return [...this.purses.keys()]
  }

  /**
   * The limit of an account may be another: null = there is none, undefined = the account is gone. Where it is lower, what is
   * left of the lease goes back, and what is needed is asked for under the new one.
   */
  limited(account: number, limitOf: () => number | null | undefined): void {
    const purse = this.purses.get(account)
    if (purse === undefined) return
    const before = purse.limitMicros
    const limit = limitOf()
    purse.limitMicros = limit
    const isLower = limit === undefined || (limit !== null && (before == null || limit < before))
    if (limit !== before && isLower) this.recall(account)
  }

  /** There is less for this account than is leased of it: all that no message holds goes back, and is asked for anew. */
  recall(account: number): void {
    if (!this.isKnown) this.recalled.add(account)
    for (const purse of this.some(account)) {
      // What it is granted at this moment was reckoned before.
      if (purse.isMoving && purse.isAsked) purse.isRecalled = true
      this.giveBack(purse, purse.left)
    }
  }

  private some(account: number): Purse[] {
    const purse = this.purses.get(account)
    return purse === undefined ? [] : [purse]
  }

  private giveBack(purse: Purse, micros: number): void {
    if (micros <= 0 || !this.isKnown) return
    // At once: nobody may spend it from now on.
    purse.left -= micros
    purse.low = Math.min(purse.low, purse.left / 2)
    purse.giving += micros
    this.giving.add(purse)
    this.kick()
  }

  /** Begins anew what the database could not be asked. */
  up(): void {
    this.retryMs = Number.NEGATIVE_INFINITY
    this.kick()
  }

  // -- by the clock

  /** A few times a second. */
  tick(): void {
    const nowMs = this.host.clock.mono()
    this.nowMs = nowMs
    for (const purse of this.needy) this.hurry(purse, nowMs)
    for (let left = LOOKED; left > 0; left--) {
      const { done, value } = this.around.next()
      if (!done) this.look(value, nowMs)
      else if (left < LOOKED) break
      else this.around = this.purses.values()
    }
    this.kick()
  }

  private hurry(purse: Purse, nowMs: number): void {
    if (purse.need === 0 && purse.waiting === 0) this.needy.delete(purse)
    const late = purse.giveUp(nowMs - (this.failingMs > 0 ? PATIENCE_MS : SLOW_MS))
    if (late > 0) this.host.counters.add('credit_pending', late)
    if (purse.contendedUntilMs > 0 && nowMs >= purse.contendedUntilMs) this.ask(purse)
  }

  private look(purse: Purse, nowMs: number): void {
    if (nowMs - purse.lookedMs < IDLE_MS) return
    const spent = purse.spent - purse.lookedSpent
    purse.lookedMs = nowMs
    purse.lookedSpent = purse.spent
    if (purse.left > 0 && purse.need === 0 && !purse.isAsked) this.giveBack(purse, purse.left - 2 * spent)
  }

  private kick(): void {
    if (this.isWorking) return
    const nowMs = this.host.clock.mono()
    const isRenewing = this.lost.size > 0 && nowMs >= this.renewMs
    if (this.asking.size === 0 && this.giving.size === 0 && this.open === undefined && !isRenewing) return
    if (!this.host.isUp()) {
      if (this.failingMs === 0) this.failingMs = nowMs
      return
    }
    if (!this.isKnown || nowMs < this.retryMs) return
    this.isWorking = true
    this.work = this.run().then(
      () => {
        this.isWorking = false
        this.failingMs = 0
        // What was asked for in the turn in which it ended.
        this.kick()
      },
      error => {
        this.isWorking = false
        const since = this.host.clock.mono()
        this.retryMs = since + RETRY_MS
        this.host.counters.add('credit_lease_failed')
        if (this.failingMs === 0) {
          this.failingMs = since
          this.host.log.warn({ ...logged(error) }, 'credit cannot be leased at this moment')
        }
      },
    )
  }

  private async run(): Promise<void> {
    await this.settle()
    if (this.lost.size > 0 && this.host.clock.mono() >= this.renewMs) await this.renew()
    while (this.giving.size > 0 || this.asking.size > 0) {
      const moves = this.nextMoves()
      if (moves.length === 0) return
      const round: Round = { moves, moved: [] }
      this.open = round
      await this.host.rows.move(round)
      this.conclude(round)
    }
  }

  /** Learns what is left of the leases that this node had. Resolves when it is known; nothing may be posted before. */
  async recover(): Promise<void> {
    const { position, leases } = await this.host.rows.recover().catch(error => {
      if (this.failingMs === 0) this.failingMs = this.host.clock.mono()
      throw error
    })
    const held = await this.host.held(position)
    for (const { account, micros, turn, isOver } of leases) {
      const purse = this.purses.get(account) ?? this.made(account)
      purse.left = micros - (held.get(account) ?? 0)
      purse.turn = turn
      if (isOver) this.recalled.add(account)
    }
    const leased = new Set(leases.map(({ account }) => account))
    for (const [account, micros] of held)
      if (micros > 0 && !leased.has(account)) this.lose(this.purses.get(account) ?? this.made(account))
    this.isKnown = true
    this.failingMs = 0
    for (const account of this.recalled) this.recall(account)
    this.recalled.clear()
    for (const purse of this.purses.values()) if (purse.need > 0 && purse.left >= purse.need) purse.satisfied()
    this.kick()
  }

  /** What was left of it may be leased to others already. */
  private lose(purse: Purse): void {
    const { account, left } = purse
    this.host.counters.add('credit_leases_lost')
    this.host.log.warn(
      { account, leftMicros: left },
      'a lease of credit is gone: it was released, or is of another spool',
    )
    purse.left = 0
    purse.low = 0
    purse.giving = 0
    purse.isAsked = false
    purse.isRecalled = false
    this.giving.delete(purse)
    this.asking.delete(purse)
    this.lost.add(purse)
  }

  /** Begins anew where all that was held of a lost lease is in the books: of the next one they will be told nothing of it. */
  private async renew(): Promise<void> {
    this.renewMs = this.host.clock.mono() + RENEW_MS
    const { position } = await this.host.rows.leases([...this.lost].map(({ account }) => account))
    const held = await this.host.held(position)
    const over = [...this.lost].filter(({ account }) => (held.get(account) ?? 0) === 0)
    if (over.length === 0) return
    // As they are now that nothing more will be posted of them.
    const { leases } = await this.host.rows.leases(over.map(({ account }) => account))
    const leased = new Map(leases.map(one => [one.account, one]))
    for (const purse of over) {
      const { micros, turn } = leased.get(purse.account) ?? { micros: 0, turn: 0 }
      this.lost.delete(purse)
      purse.left = micros
      purse.turn = turn
      if (purse.need === 0) continue
      if (purse.left >= purse.need) purse.satisfied()
      else this.ask(purse)
    }
  }

  /** Finds out what became of a round whose end was not heard of. */
  private async settle(): Promise<void> {
    const { open } = this
    if (open === undefined) return
    const turns = await this.host.rows.turns(open.moves.map(({ account }) => account))
    // A transaction: one of them stands for all.
    const some = open.moved.find(({ micros }) => micros !== 0)
    const before = open.moves.find(({ account }) => account === some?.account)
    if (some !== undefined && (turns.get(some.account) ?? 0) > (before?.turn ?? 0)) this.conclude(open)
    else this.undo(open)
  }

  private nextMoves(): Move[] {
    const moves: Move[] = []
    for (const purse of this.giving) {
      if (moves.length >= ROUND) return moves
      this.giving.delete(purse)
      purse.isMoving = true
      moves.push({ account: purse.account, turn: purse.turn, give: purse.giving, want: 0, least: 0 })
    }
    const nowMs = this.host.clock.mono()
    for (const purse of this.asking) {
      if (moves.length >= ROUND) break
      if (purse.isMoving) continue
      this.asking.delete(purse)
      purse.isMoving = true
      const least = Math.max(0, purse.need - purse.left)
      moves.push({ account: purse.account, turn: purse.turn, give: 0, want: purse.wantOf(nowMs, least), least })
      this.host.counters.add('credit_leases_asked')
    }
    return moves
  }

  private conclude(round: Round): void {
    this.open = undefined
    for (const one of round.moved) {
      const purse = this.purses.get(one.account) as Purse
      purse.isMoving = false
      if (one.isLost) {
        this.lose(purse)
        continue
      }
      if (one.micros !== 0) purse.turn++
      const { give, least } = round.moves.find(({ account }) => account === one.account) as Move
      if (give > 0) {
        purse.giving -= give
        this.host.counters.add('credit_leases_returned')
        if (purse.giving > 0) this.giving.add(purse)
      } else this.answered(purse, one, least)
    }
  }

  private answered(purse: Purse, { micros, others }: Moved, least: number): void {
    purse.isAsked = false
    const isDearer = purse.need - purse.left > least
    purse.left += micros
    if (purse.isRecalled) {
      purse.isRecalled = false
      this.giveBack(purse, purse.left)
      if (purse.need > 0) this.ask(purse)
      return
    }
    purse.low = micros === 0 ? 0 : purse.left / 2
    if (purse.left >= purse.need) {
      purse.satisfied()
      return
    }
    if (isDearer) {
      // What needs more came after it was asked.
      this.ask(purse)
      return
    }
    const nowMs = this.host.clock.mono()
    if (others > 0 && purse.contendedUntilMs === 0) purse.contendedUntilMs = nowMs + CONTENDED_MS
    if (nowMs < purse.contendedUntilMs) return
    purse.deniedNeed = purse.need
    purse.deniedUntilMs = nowMs + DENIED_MS
    purse.satisfied()
  }

  private undo({ moves }: Round): void {
    this.open = undefined
    for (const { account, give } of moves) {
      const purse = this.purses.get(account) as Purse
      purse.isMoving = false
      if (give > 0) this.giving.add(purse)
      else {
        purse.isAsked = false
        purse.isRecalled = false
        if (purse.need > 0 || purse.left < purse.low) this.ask(purse)
      }
    }
  }

  /** Gives back all that no message holds, if the database lets us; nothing is held from now on. */
  async stop(): Promise<void> {
    this.isStopping = true
    await this.work
    for (const purse of this.purses.values()) {
      this.asking.delete(purse)
      purse.giveUp(Number.POSITIVE_INFINITY)
      this.giveBack(purse, purse.left)
    }
    await this.work
  }

  figures(): CreditFigures {
    let accounts = 0
    let leftMicros = 0
    let waiting = 0
    for (const purse of this.purses.values()) {
      if (purse.left > 0) accounts++
      leftMicros += purse.left
      waiting += purse.waiting
    }
    return { accounts, leftMicros, waiting }
  }
}

const YES = Promise.resolve(true)
const NO = Promise.resolve(false)
