// Which mail a phone answers: by account, our number and the phone, the mail that the last text message between them came
// from. An LMDB environment of its own with a table for each day, dropped whole after a week. Written a moment after the
// mail was answered, so that nobody waits for a second disk; what a kill takes with it is in the spool still, and read
// from there at the next start. Knows what makes two messages one conversation; a reply that finds none goes its usual way.

import { mkdirSync } from 'node:fs'
import { type Database, open, type RootDatabase } from 'lmdb'
import { digitsOf } from '../model/digits.js'
import { isOfMail, type Message } from '../model/message.js'
import type { Reply } from '../model/outcome.js'
import type { Spool } from '../spool/contract.js'
import { readNote } from './mailNotices.js'

const DAYS = 7
const DAY_MS = 86_400_000
const FLUSH_MS = 50
/** Written in one go. */
const AT_ONCE = 1_000
/** Of one day. */
const MOST = 1_000_000

/** What a reply needs to become an answer to a mail. */
export interface Conversation {
  /** Who wrote the mail. */
  readonly to: string
  /** Domain at which the phone can be answered. */
  readonly at: string
  /** Message-ID without angle brackets; '' = none. */
  readonly id: string
  readonly subject: string
}

export interface ConversationsHost {
  readonly path: string
  now(): number
  count(name: string, by?: number): void
  fault(error: unknown): void
}

export class Conversations {
  private readonly host: ConversationsHost
  private readonly root: RootDatabase<string, string>
  private readonly days = new Map<number, Database<string, string>>()
  /** Not on disk yet. */
  private readonly fresh = new Map<string, string>()
  /** On their way there: until they are, a look-up does not see them. */
  private readonly writing = new Map<string, string>()
  private timer: NodeJS.Timeout | undefined
  private isClosed = false

  constructor(host: ConversationsHost) {
    this.host = host
    mkdirSync(host.path, { recursive: true, mode: 0o700 })
    this.root = open<string, string>({ path: host.path, encoding: 'string', maxDbs: DAYS + 9, overlappingSync: false })
    for (const name of [...this.root.getKeys()]) this.table(Number(name))
  }

  private table(day: number): Database<string, string> {
    let table = this.days.get(day)
    if (table === undefined) {
      table = this.root.openDB<string, string>({ name: `${day}`, encoding: 'string' })
      this.days.set(day, table)
    }
    return table
  }

  private get today(): number {
    return Math.floor(this.host.now() / DAY_MS)
  }

  /** A message that came by mail was accepted. */
  note(m: Message): void {
    if (this.isClosed) return
    this.fresh.set(keyOf(m.account, m.source_addr, m.destination_addr), `${m.id}\n${m.clientRef}\n${m.extras}`)
    this.timer ??= setTimeout(() => this.flush(), FLUSH_MS)
  }

  /** What was accepted in the last moment before a kill, where nothing newer is known. */
  async restore(spool: Spool): Promise<void> {
    for await (const { messages } of spool.walk({}, 0)) {
      for (const m of messages) {
        if (this.isClosed) return
        if (!isOfMail(m) || m.isMail) continue
        const known = this.get(keyOf(m.account, m.source_addr, m.destination_addr))
        if (known === undefined || Number.parseInt(known, 10) < m.id) this.note(m)
      }
      // The spool may hold very many.
      if (this.fresh.size < AT_ONCE || this.isClosed) continue
      this.write(Number.POSITIVE_INFINITY)
      await this.root.flushed
    }
  }

  private flush(): void {
    this.timer = undefined
    if (this.isClosed) return
    try {
      this.write(AT_ONCE)
    } catch (error) {
      this.host.fault(error)
    }
    if (this.fresh.size > 0) this.timer = setTimeout(() => this.flush(), 1)
  }

  private write(most: number): void {
    const { today } = this
    const isNew = !this.days.has(today)
    const table = this.table(today)
    if (isNew) this.forget(today - DAYS)
    const isFull = (table.getStats() as { entryCount: number }).entryCount >= MOST
    let n = 0
    for (const [key, value] of this.fresh) {
      this.fresh.delete(key)
      if (isFull) this.host.count('mail_conversations_not_kept')
      else this.put(table, key, value)
      if (++n >= most) break
    }
  }

  private put(table: Database<string, string>, key: string, value: string): void {
    this.writing.set(key, value)
    table
      .put(key, value)
      .catch(error => this.host.fault(error))
      .finally(() => {
        // A later one may be on its way by now.
        if (this.writing.get(key) === value) this.writing.delete(key)
      })
  }

  private forget(before: number): void {
    for (const [day, table] of this.days) {
      if (day >= before) continue
      this.days.delete(day)
      void table.drop().catch(error => this.host.fault(error))
    }
  }

  /** The mail that a reply answers, which the account's number has got; null: none. */
  find(account: number, { source_addr, destination_addr }: Reply): Conversation | null {
    if (account === 0 || this.isClosed) return null
    // Where the carrier chose the number, the message named none.
    for (const ours of [destination_addr, '']) {
      const found = this.get(keyOf(account, ours, source_addr))
      if (found !== undefined) return read(found)
    }
    return null
  }

  private get(key: string): string | undefined {
    const fresh = this.fresh.get(key) ?? this.writing.get(key)
    if (fresh !== undefined) return fresh
    const { today } = this
    for (let day = today; day >= today - DAYS; day--) {
      const found = this.days.get(day)?.get(key)
      if (found !== undefined) return found
    }
    return undefined
  }

  async close(): Promise<void> {
    if (this.isClosed) return
    clearTimeout(this.timer)
    this.write(Number.POSITIVE_INFINITY)
    this.isClosed = true
    await this.root.flushed
    await this.root.close()
  }
}

const keyOf = (account: number, ours: string, phone: string): string =>
  `${account} ${digitsOf(ours) || ours} ${digitsOf(phone) || phone}`

/** Of a message's id, the mail's Message-ID and its note, a line each. */
function read(value: string): Conversation | null {
  const [, id, extras] = value.split('\n', 3)
  const note = readNote(extras ?? '', '')
  // An earlier release kept no recipient: at which domain the phone is answered nobody knows.
  if (id === undefined || note === null || note.to === '') return null
  return { to: note.from, at: note.to.slice(note.to.lastIndexOf('@') + 1), id, subject: note.subject ?? '' }
}
