// The guard against pumping: an account's codes to a prefix that hardly anybody enters are sent to numbers that earn money,
// not to people. Counts by account and prefix what was sent and what was verified, for the numbers of a network's block and
// for those of a country; where that is far below what is usual no codes of that account go for a while, at first a short
// one, for an outsider can ask for codes too. One account's prefixes are no other's. Time is an argument; memory is bounded.

import { LRUCache } from 'lru-cache'
import type { Spool } from '../../spool/contract.js'

export interface GuardSettings {
  /** Percent of the codes that must be entered. */
  readonly percent: number
  /** Codes that must have been sent before anything is judged. */
  readonly from: number
  /** People have so long to enter one before it counts. */
  readonly graceMs: number
  /** The longest; the first of a prefix is {@link FIRST_BLOCK_MS}. */
  readonly blockMs: number
}

export interface PrefixBlock {
  readonly account: number
  readonly prefix: string
  readonly sent: number
  readonly verified: number
  readonly atMs: number
  readonly untilMs: number
  /** How many in a row this is; a release before ours wrote none. */
  readonly times?: number
}

const FIRST_BLOCK_MS = 1_800_000
/** Digits that numbers of one block of a network share. */
const PREFIX = 7
/** ITU-T E.164: these have one or two digits, all others three; of +1, which two dozen countries share, with the area. */
const COUNTRY = /^(?:1\d{3}|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|\d{3})/
/** A country is judged from so many times the codes, and must be so many times worse: its block hits more people. */
const COUNTRY_FROM = 20
const COUNTRY_WORSE = 2
/** Codes to a prefix that may be too young to be judged: so many times `from`, or so many for each verified one. */
const UNJUDGED_FROM = 10
const UNJUDGED_VERIFIED = 4
const SLOT_MS = 60_000
/** An hour. */
const SLOTS = 60
/** In memory; those least lately asked for are on disk. */
const MOST_CELLS = 20_000
const PAGE = 500

const slotOf = (ms: number): number => Math.floor(ms / SLOT_MS)

interface Counts {
  readonly sent: number
  readonly verified: number
}

class Cell {
  readonly slots = new Float64Array(SLOTS).fill(-1)
  readonly sent = new Uint32Array(SLOTS)
  readonly verified = new Uint32Array(SLOTS)
  /** That it was written in, and whether it has changed since. */
  written = 0
  isDirty = false

  /** -1: too long ago. */
  at(slot: number): number {
    const i = slot % SLOTS
    if ((this.slots[i] as number) > slot) return -1
    if (this.slots[i] !== slot) {
      this.slots[i] = slot
      this.sent[i] = 0
      this.verified[i] = 0
    }
    return i
  }

  /** Of the present minute. What stands there of a later one was counted by a clock that has been put back. */
  now(slot: number): number {
    const i = slot % SLOTS
    if ((this.slots[i] as number) > slot) this.slots[i] = -1
    return this.at(slot)
  }

  /** Of an hour, after the slot `judged`. */
  sum(newest: number, judged: number): Counts {
    const oldest = Math.max(judged, newest - SLOTS)
    let sent = 0
    let verified = 0
    for (let i = 0; i < SLOTS; i++) {
      const slot = this.slots[i] as number
      if (slot > newest || slot <= oldest) continue
      sent += this.sent[i] as number
      verified += this.verified[i] as number
    }
    return { sent, verified }
  }

  clear(newest: number): void {
    for (let i = 0; i < SLOTS; i++) if ((this.slots[i] as number) <= newest) this.slots[i] = -1
  }

  octets(): Buffer {
    const all: number[] = []
    for (const [i, slot] of this.slots.entries()) {
      if (slot >= 0) all.push(slot, this.sent[i] as number, this.verified[i] as number)
    }
    return Buffer.from(JSON.stringify(all))
  }

  static of(octets: Buffer): Cell {
    const cell = new Cell()
    const all = JSON.parse(octets.toString()) as number[]
    for (let n = 0; n < all.length; n += 3) {
      const i = cell.at(all[n] as number)
      if (i < 0) continue
      cell.sent[i] = all[n + 1] as number
      cell.verified[i] = all[n + 2] as number
    }
    return cell
  }
}

/** What is judged as one. */
interface Level {
  readonly percent: number
  readonly from: number
  prefix(digits: string): string
}

export class Guard {
  private readonly spool: Pick<Spool, 'keep' | 'kept' | 'keptAfter' | 'dropKept'>
  private readonly settings: GuardSettings
  /** The narrow one, then the wide one. */
  private readonly levels: readonly [Level, Level]
  /** What it forgets of one account because of another it finds again on disk. */
  private readonly cells = new LRUCache<string, Cell>({
    maxSize: MOST_CELLS,
    sizeCalculation: () => 1,
    dispose: (cell, name, why) => {
      if (why === 'evict' && cell.isDirty) this.write(name, cell)
    },
  })
  /** Those that have ended too, for as long again as the longest: who is as bad after one gets a longer one. */
  private readonly blocks = new Map<string, PrefixBlock>()

  /** Reads what was blocked before. */
  constructor(spool: Guard['spool'], settings: GuardSettings) {
    this.spool = spool
    this.settings = settings
    const { percent, from } = settings
    this.levels = [
      { percent, from, prefix: digits => digits.slice(0, PREFIX) },
      {
        percent: percent / COUNTRY_WORSE,
        from: from * COUNTRY_FROM,
        prefix: digits => COUNTRY.exec(digits)?.[0] ?? '',
      },
    ]
    for (let after = ''; ; ) {
      const page = spool.keptAfter('otp b ', after, PAGE)
      for (const [, octets] of page) {
        const block = JSON.parse(octets.toString()) as PrefixBlock
        this.blocks.set(nameOf(block.account, block.prefix), block)
      }
      if (page.length < PAGE) break
      after = (page.at(-1) as [string, Buffer])[0]
    }
  }

  /** What keeps codes of the account from these digits now. */
  blocked(account: number, digits: string, nowMs: number): PrefixBlock | undefined {
    if (this.blocks.size === 0) return undefined
    for (const level of this.levels) {
      const block = this.blocks.get(nameOf(account, level.prefix(digits)))
      if (block !== undefined && holds(block, nowMs)) return block
    }
    return undefined
  }

  /** Until when no more go there, because so many went that nobody has had the time to enter. */
  fullUntil(account: number, digits: string, nowMs: number): number | undefined {
    const { percent, from, graceMs } = this.settings
    const name = nameOf(account, digits.slice(0, PREFIX))
    const cell = this.cell(name)
    const judged = slotOf(nowMs - graceMs)
    let young = 0
    let first = Number.POSITIVE_INFINITY
    for (let slot = judged + 1; slot <= slotOf(nowMs); slot++) {
      const i = slot % SLOTS
      if (cell.slots[i] !== slot || cell.sent[i] === 0) continue
      young += cell.sent[i] as number
      first = Math.min(first, slot)
    }
    if (young < from * UNJUDGED_FROM || percent === 0) return undefined
    const { verified } = cell.sum(slotOf(nowMs), this.judgedOf(name, judged))
    return young < from + verified * UNJUDGED_VERIFIED ? undefined : first * SLOT_MS + graceMs
  }

  /** A code goes there. The block that this is the reason for: the one before it was the last. */
  sent(account: number, digits: string, nowMs: number): PrefixBlock | undefined {
    const judged = slotOf(nowMs - this.settings.graceMs)
    let block: PrefixBlock | undefined
    for (const level of this.levels) {
      const prefix = level.prefix(digits)
      const name = nameOf(account, prefix)
      const cell = this.cell(name)
      const slot = slotOf(nowMs)
      ;(cell.sent[cell.now(slot)] as number)++
      cell.isDirty = true
      // By the minute, so that a restart forgets a minute and it costs nothing.
      if (slot !== cell.written) this.write(name, cell, slot)
      const old = cell.sum(judged, this.judgedOf(name, judged))
      if (block !== undefined || old.sent < level.from) continue
      if (isBad(old, level)) block = this.block(account, prefix, old, nowMs)
      else this.release(account, prefix)
    }
    return block
  }

  /** A code that was sent there at that moment was entered. */
  verified(account: number, digits: string, sentMs: number): void {
    this.learn(account, digits, sentMs, 0, 1)
  }

  /** One that was sent at that moment did not arrive: nobody could have entered it. */
  failed(account: number, digits: string, sentMs: number): void {
    this.learn(account, digits, sentMs, -1, 0)
  }

  /** Those that hold now; of one account, or of all. */
  list(nowMs: number, account?: number): PrefixBlock[] {
    const isAsked = (block: PrefixBlock): boolean => account === undefined || block.account === account
    return [...this.blocks.values()].filter(block => holds(block, nowMs) && isAsked(block))
  }

  /** What was the reason for it counts no more. False: there was none. */
  release(account: number, prefix: string): boolean {
    const name = nameOf(account, prefix)
    const block = this.blocks.get(name)
    if (block === undefined) return false
    const cell = this.cell(name)
    cell.clear(this.judgedBy(block))
    this.write(name, cell)
    this.drop(name)
    return true
  }

  private drop(name: string): void {
    this.blocks.delete(name)
    this.spool.dropKept(`otp b ${name}`)
  }

  /** The newest slot that a block had a reason in. */
  private judgedBy({ atMs }: PrefixBlock): number {
    return slotOf(atMs - this.settings.graceMs)
  }

  /** What is older was the reason for a block already; -1: for none, or the clock has been put back to before it. */
  private judgedOf(name: string, newest: number): number {
    const block = this.blocks.get(name)
    const judged = block === undefined ? -1 : this.judgedBy(block)
    return judged > newest ? -1 : judged
  }

  private block(account: number, prefix: string, counts: Counts, nowMs: number): PrefixBlock {
    const { blockMs } = this.settings
    for (const [old, { untilMs }] of this.blocks) if (untilMs + blockMs <= nowMs) this.blocks.delete(old)
    const before = this.blocks.get(nameOf(account, prefix))
    const times = before === undefined ? 1 : (before.times ?? 1) + 1
    const untilMs = nowMs + Math.min(blockMs, FIRST_BLOCK_MS * 2 ** (times - 1))
    const block: PrefixBlock = { account, prefix, ...counts, atMs: nowMs, untilMs, times }
    this.keep(block)
    return block
  }

  private keep(block: PrefixBlock): void {
    const name = nameOf(block.account, block.prefix)
    this.blocks.set(name, block)
    this.spool.keep(`otp b ${name}`, Buffer.from(JSON.stringify(block)), block.untilMs + this.settings.blockMs)
  }

  /**
   * What is heard later of a code; a block that it was a reason for is over when there are not enough reasons left. Those
   * that are go on to count.
   */
  private learn(account: number, digits: string, sentMs: number, sent: -1 | 0, verified: 0 | 1): void {
    const slot = slotOf(sentMs)
    for (const level of this.levels) {
      const prefix = level.prefix(digits)
      const name = nameOf(account, prefix)
      const block = this.blocks.get(name)
      const judged = block === undefined ? 0 : this.judgedBy(block)
      if (block !== undefined && slot <= judged && slot > judged - SLOTS) {
        const now = { sent: block.sent + sent, verified: block.verified + verified }
        if (now.sent < level.from || !isBad(now, level)) this.drop(name)
        else this.keep({ ...block, ...now })
      }
      const cell = this.cell(name)
      const i = cell.at(slot)
      if (i < 0) continue
      if (sent === 0 || cell.sent[i] !== 0) (cell.sent[i] as number) += sent
      ;(cell.verified[i] as number) += verified
      cell.isDirty = true
    }
  }

  private cell(name: string): Cell {
    let cell = this.cells.get(name)
    if (cell === undefined) {
      const kept = this.spool.kept(cellKey(name))
      cell = kept === undefined ? new Cell() : Cell.of(kept)
      this.cells.set(name, cell)
    }
    return cell
  }

  private write(name: string, cell: Cell, slot = cell.written): void {
    cell.written = slot
    cell.isDirty = false
    const newest = cell.slots.reduce((a, b) => Math.max(a, b), 0)
    this.spool.keep(cellKey(name), cell.octets(), (newest + SLOTS) * SLOT_MS)
  }
}

const isBad = ({ sent, verified }: Counts, { percent }: Level): boolean => verified * 100 < sent * percent
/** Not one that begins later: the clock was put back since. */
const holds = ({ atMs, untilMs }: PrefixBlock, nowMs: number): boolean => atMs <= nowMs && nowMs < untilMs
const nameOf = (account: number, prefix: string): string => `${account} ${prefix}`
const cellKey = (name: string): string => `otp c ${name}`
