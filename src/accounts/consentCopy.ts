// What phones have said about being written to, in an LMDB environment of this node's own: looked up while messages come
// in, and the journal of what was said here and is not in SQL yet. What is put here is durable before anybody is told that
// it is. Knows how it stands on disk; what is heeded when is consent.ts's.

import { randomUUID } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { type Database, open, type RootDatabase } from 'lmdb'
import { phoneKey } from './phoneKey.js'

export type ConsentKind = 'stop' | 'start'
export type ConsentSource = 'mo' | 'http' | 'cli'

/** Something that was said about a number. */
export interface ConsentEvent {
  /** 0 = everybody. */
  readonly account: number
  /** Digits, international. */
  readonly number: string
  readonly kind: ConsentKind
  readonly source: ConsentSource
  readonly atMs: number
  /** Of a message from the phone: the number it was sent to, and the word; '' otherwise. */
  readonly called: string
  readonly word: string
}

/** What holds for a number and an account, 0 = everybody. */
export interface ConsentRow {
  readonly account: number
  readonly number: string
  readonly stopped: boolean
  readonly atMs: number
}

/** How far the copy has come, and of which database. */
export interface ConsentState {
  readonly identity: string
  readonly change: number
  /** Everything was loaded once, lists included. */
  readonly complete: boolean
}

const FORMAT = 1
/** An entry of a phone: account u32, stopped u8, atMs f64. */
const ENTRY = 13
/** Accounts that share a bit are looked up for nothing, no more. */
const ACCOUNT_BITS = 2 ** 19
const DAY_MS = 86_400_000
const NONE = Buffer.alloc(0)
/** Whoever made the copy knows already. */
const told = (): void => {}

export class ConsentCopy {
  /** Names this journal in SQL. */
  readonly origin: string
  private readonly root: RootDatabase<unknown, string>
  /** phoneKey -> entries. */
  private readonly phones: Database<Buffer, number>
  /** Accounts that a phone has an entry of. */
  private readonly accounts: Database<boolean, number>
  private readonly journal: Database<ConsentEvent, number>
  /** [day, account, phoneKey, kind of answer] */
  private readonly answered: Database<boolean, (number | string)[]>
  private readonly concerned = new Uint8Array(ACCOUNT_BITS / 8)
  /** Entries that are being written, in the order of the writes: a reader of LMDB does not see them yet. */
  private readonly fresh = new Map<number, { entries: Buffer; write: number }>()
  private readonly asked = new Set<string>()
  private seq: number
  private writes = 0
  private written = 0
  private readonly waiting: { write: number; then: () => void }[] = []
  private readonly failed: (error: Error) => void

  /** @param failed what was to be durable is not: nothing of it may be acknowledged */
  constructor(path: string, failed: (error: Error) => void) {
    mkdirSync(path, { recursive: true, mode: 0o700 })
    this.failed = failed
    this.root = open({ path, noSubdir: false, overlappingSync: false, maxDbs: 8 })
    this.phones = this.root.openDB({ name: 'phones', encoding: 'binary' })
    this.accounts = this.root.openDB({ name: 'accounts', keyEncoding: 'uint32' })
    this.journal = this.root.openDB({ name: 'journal', keyEncoding: 'uint32' })
    this.answered = this.root.openDB({ name: 'answered' })
    for (const account of this.accounts.getKeys({})) this.mark(account)
    const [last] = this.journal.getKeys({ reverse: true, limit: 1 })
    // What was sent is gone from the journal: its numbers must not come again.
    this.seq = Math.max(last ?? 0, (this.root.get('sent') as number | undefined) ?? 0)
    // It holds what is nowhere else yet: it is not thrown away.
    const format = this.root.get('format') ?? FORMAT
    if (format !== FORMAT) throw new Error(`${path} was written by another release (format ${format})`)
    let origin = this.root.get('origin') as string | undefined
    if (origin === undefined) {
      origin = randomUUID()
      this.root.putSync('format', FORMAT)
      this.root.putSync('origin', origin)
    }
    this.origin = origin
  }

  // ---- looking up, on the hot path

  /** False: no phone has an entry of the account, or of everybody. */
  concerns(account: number): boolean {
    return this.isMarked(0) || this.isMarked(account)
  }

  /**
   * An account's own entry goes before everybody's, but for a START that is older than everybody's STOP.
   * @param phone see {@link phoneKey}
   */
  isStopped(account: number, phone: number): boolean {
    const entries = this.entriesOf(phone)
    let startMs = Number.NEGATIVE_INFINITY
    let allStopMs = Number.NEGATIVE_INFINITY
    for (let at = 0; at < entries.length; at += ENTRY) {
      const of = entries.readUInt32LE(at)
      const isStop = entries[at + 4] === 1
      if (of === account) {
        if (isStop) return true
        startMs = entries.readDoubleLE(at + 5)
      } else if (of === 0 && isStop) allStopMs = entries.readDoubleLE(at + 5)
    }
    return allStopMs > startMs
  }

  rowsOf(number: string): ConsentRow[] {
    const entries = this.entriesOf(phoneKey(number))
    const rows: ConsentRow[] = []
    for (let at = 0; at < entries.length; at += ENTRY) {
      rows.push({
        account: entries.readUInt32LE(at),
        number,
        stopped: entries[at + 4] === 1,
        atMs: entries.readDoubleLE(at + 5),
      })
    }
    return rows
  }

  // ---- what is said here

  /** Holds from now on; durable when {@link afterWritten} says so. */
  note(event: ConsentEvent): void {
    const { account, number, kind } = event
    // What is said now is said last, though the clock, or another node's, was ahead when the phone last said something.
    const atMs = Math.max(event.atMs, this.newestMs(number) + 1)
    this.write(() => {
      this.set({ account, number, stopped: kind === 'stop', atMs })
      void this.journal.put(++this.seq, atMs === event.atMs ? event : { ...event, atMs })
    }).catch(told)
  }

  /** Calls back, in the order of the calls, when everything noted until now is durable; at once when it is. Never when it could not be made so. */
  afterWritten(then: () => void): void {
    if (this.written === this.writes) then()
    else this.waiting.push({ write: this.writes, then })
  }

  /** True once a day for an account, a phone and a kind of answer. */
  mayAnswer(account: number, number: string, kind: string, nowMs: number): boolean {
    const key = [Math.floor(nowMs / DAY_MS), account, phoneKey(number), kind]
    const name = key.join(' ')
    if (this.asked.has(name) || this.answered.doesExist(key)) return false
    this.asked.add(name)
    this.write(
      () => void this.answered.put(key, true),
      () => this.asked.delete(name),
    ).catch(told)
    return true
  }

  /** Forgets whom was answered before yesterday, so many at a time. */
  async forgetAnswers(nowMs: number, most: number): Promise<void> {
    const old = Array.from(this.answered.getKeys({ end: [Math.floor(nowMs / DAY_MS) - 1], limit: most }))
    if (old.length === 0) return
    await this.root.batch(() => {
      for (const key of old) void this.answered.remove(key)
    })
  }

  // ---- the journal on its way to SQL

  journaled(most: number): { seq: number; event: ConsentEvent }[] {
    return Array.from(this.journal.getRange({ limit: most }), ({ key, value }) => ({ seq: key, event: value }))
  }

  /** SQL has these, and all before them. */
  async sent(seqs: readonly number[]): Promise<void> {
    await this.root.batch(() => {
      for (const seq of seqs) void this.journal.remove(seq)
      void this.root.put('sent', seqs.at(-1) as number)
    })
  }

  // ---- what SQL says

  get state(): ConsentState | undefined {
    return this.root.get('state') as ConsentState | undefined
  }

  /** What is newer here, and on its way to SQL, stays. */
  async take(rows: readonly ConsentRow[], state: ConsentState): Promise<void> {
    await this.write(() => {
      for (const row of rows) this.set(row)
      void this.root.put('state', state)
    })
  }

  /** Another database: only what was said here and is in none stays. */
  async startOver(state: ConsentState): Promise<void> {
    await this.phones.clearAsync()
    await this.accounts.clearAsync()
    this.concerned.fill(0)
    await this.write(() => {
      for (const { value } of this.journal.getRange({})) this.set({ ...value, stopped: value.kind === 'stop' })
      void this.root.put('state', state)
    })
  }

  async close(): Promise<void> {
    await this.root.close()
  }

  private newestMs(number: string): number {
    const entries = this.entriesOf(phoneKey(number))
    let newest = Number.NEGATIVE_INFINITY
    for (let at = 0; at < entries.length; at += ENTRY) newest = Math.max(newest, entries.readDoubleLE(at + 5))
    return newest
  }

  private set({ account, number, stopped, atMs }: ConsentRow): void {
    const phone = phoneKey(number)
    const before = this.fresh.get(phone)?.entries ?? this.phones.get(phone) ?? NONE
    let at = 0
    while (at < before.length && before.readUInt32LE(at) !== account) at += ENTRY
    if (at < before.length && before.readDoubleLE(at + 5) > atMs) return
    const entries = Buffer.allocUnsafeSlow(Math.max(before.length, at + ENTRY))
    before.copy(entries)
    entries.writeUInt32LE(account, at)
    entries[at + 4] = stopped ? 1 : 0
    entries.writeDoubleLE(atMs, at + 5)
    void this.phones.put(phone, entries)
    this.fresh.delete(phone)
    this.fresh.set(phone, { entries, write: this.writes })
    if (!this.accounts.doesExist(account)) void this.accounts.put(account, true)
    this.mark(account)
  }

  /** The octets may be LMDB's own, in a buffer longer than it says: to be read, and before the next look-up. */
  private entriesOf(phone: number): Buffer {
    const fresh = this.fresh.size === 0 ? undefined : this.fresh.get(phone)
    return fresh?.entries ?? this.phones.getBinaryFast(phone) ?? NONE
  }

  /** Runs `puts` in one transaction. */
  private write(puts: () => void, then = (): unknown => undefined): Promise<void> {
    const write = ++this.writes
    return this.root.batch(puts).then(
      () => {
        this.written = write
        for (const [phone, one] of this.fresh) {
          if (one.write > write) break
          this.fresh.delete(phone)
        }
        then()
        while (this.waiting.length > 0 && (this.waiting[0] as { write: number }).write <= write)
          this.waiting.shift()?.then()
      },
      (error: Error) => {
        this.failed(error)
        throw error
      },
    )
  }

  private mark(account: number): void {
    const bit = account & (ACCOUNT_BITS - 1)
    this.concerned[bit >> 3] = (this.concerned[bit >> 3] as number) | (1 << (bit & 7))
  }

  private isMarked(account: number): boolean {
    const bit = account & (ACCOUNT_BITS - 1)
    return ((this.concerned[bit >> 3] as number) & (1 << (bit & 7))) !== 0
  }
}
