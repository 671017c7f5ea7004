// The guard against pumping: an account's codes to a prefix that hardly anybody enters are sent to numbers that earn money,
// not to people. Counts by account and prefix what was sent and what was verified; a prefix that is far below what is usual
// gets no codes of that account for a while. One account's prefixes are no other's. Time is an argument; memory is bounded.

import { LRUCache } from 'lru-cache'
import type { Spool } from '../../spool/contract.js'

export interface GuardSettings {
  /** Percent of the codes that must be entered. */
  readonly percent: number
  /** Codes that must have been sent before anything is judged. */
  readonly from: number
  /** People have so long to enter one before it counts. */
  readonly graceMs: number
  readonly blockMs: number
}

export interface PrefixBlock {
  readonly account: number
  readonly prefix: string
  readonly sent: number
  readonly verified: number
  readonly atMs: number
  readonly untilMs: number
}

/** Digits that numbers of one block of a network share. */
const PREFIX = 7
const SLOT_MS = 60_000
/** An hour. */
const SLOTS = 60
/** Accounts by prefixes; those least lately asked for are forgotten. */
const MOST_CELLS = 20_000
const PAGE = 500

class Cell {
  readonly slots = new Float64Array(SLOTS).fill(-1)
  readonly sent = new Uint32Array(SLOTS)
  readonly verified = new Uint32Array(SLOTS)

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

  sum(newest: number): { sent: number; verified: number } {
    let sent = 0
    let verified = 0
    for (let i = 0; i < SLOTS; i++) {
      const slot = this.slots[i] as number
      if (slot > newest || slot <= newest - SLOTS) continue
      sent += this.sent[i] as number
      verified += this.verified[i] as number
    }
    return { sent, verified }
  }
}

export class Guard {
  private readonly spool: Pick<Spool, 'keep' | 'keptAfter' | 'dropKept'>
  private readonly settings: GuardSettings
  private readonly cells = new LRUCache<string, Cell>({ maxSize: MOST_CELLS, sizeCalculation: () => 1 })
  private readonly blocks = new Map<string, PrefixBlock>()

  /** Reads what was blocked before. */
  constructor(spool: Guard['spool'], settings: GuardSettings) {
    this.spool = spool
    this.settings = settings
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
    const name = nameOf(account, digits.slice(0, PREFIX))
    const block = this.blocks.get(name)
    if (block === undefined || block.untilMs > nowMs) return block
    this.blocks.delete(name)
    return undefined
  }

  /** A code goes there. The block that this is the reason for: the one before it was the last. */
  sent(account: number, digits: string, nowMs: number): PrefixBlock | undefined {
    const { percent, from, graceMs, blockMs } = this.settings
    const prefix = digits.slice(0, PREFIX)
    const name = nameOf(account, prefix)
    const cell = this.cell(name)
    const slot = Math.floor(nowMs / SLOT_MS)
    const i = cell.at(slot)
    if (i >= 0) (cell.sent[i] as number)++
    const old = cell.sum(Math.floor((nowMs - graceMs) / SLOT_MS))
    if (old.sent < from || old.verified * 100 >= old.sent * percent) return undefined
    const block: PrefixBlock = { account, prefix, ...old, atMs: nowMs, untilMs: nowMs + blockMs }
    for (const [old, { untilMs }] of this.blocks) if (untilMs <= nowMs) this.blocks.delete(old)
    this.blocks.set(name, block)
    this.spool.keep(`otp b ${name}`, Buffer.from(JSON.stringify(block)), block.untilMs)
    // What was counted has been judged.
    this.cells.delete(name)
    return block
  }

  /** A code that was sent there at that moment was entered. */
  verified(account: number, digits: string, sentMs: number): void {
    const cell = this.cell(nameOf(account, digits.slice(0, PREFIX)))
    const i = cell.at(Math.floor(sentMs / SLOT_MS))
    if (i >= 0) (cell.verified[i] as number)++
  }

  /** Those that hold now. */
  list(nowMs: number): PrefixBlock[] {
    return [...this.blocks.values()].filter(({ untilMs }) => untilMs > nowMs)
  }

  /** False: there was none. */
  release(account: number, prefix: string): boolean {
    const name = nameOf(account, prefix)
    if (!this.blocks.delete(name)) return false
    this.spool.dropKept(`otp b ${name}`)
    return true
  }

  private cell(name: string): Cell {
    let cell = this.cells.get(name)
    if (cell === undefined) {
      cell = new Cell()
      this.cells.set(name, cell)
    }
    return cell
  }
}

const nameOf = (account: number, prefix: string): string => `${account} ${prefix}`
