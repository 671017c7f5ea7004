// Messages that have ended, found again by their ids: in SQL, or in the spool's log while their rows are on the way there.
// One look at a time, for all that were asked for meanwhile: whoever asks a lot costs one look more, and takes no
// connection from history. Writes nothing, and knows no protocol.

import { setImmediate as nextTurn } from 'node:timers/promises'
import { idTimeMs } from '../base/ids.js'
import type { EndedMessage } from '../intake/smpp/operations.js'
import type { MessageState } from '../model/message.js'
import type { Spool } from '../spool/contract.js'
import type { Store } from '../store/postgres.js'

/** Rows of the log looked through at most, two of each message: more are there only while SQL is away or far behind. */
const MOST = 40_000
const SLICE = 500
/** An id's moment may be a little ahead of its row's, and a clock may have been set back. */
const EARLY_MS = 86_400_000

/** What a look has found; `fault` tells why of the others nobody can say anything. */
interface Look {
  readonly found: Map<number, EndedMessage>
  fault?: unknown
}

export class Lookup {
  private readonly spool: Spool
  private readonly store: Pick<Store, 'query'>
  /** What the next look is for. */
  private asked = new Set<number>()
  private next: Promise<Look> | null = null
  private last: Promise<unknown> = Promise.resolve()

  constructor(spool: Spool, store: Pick<Store, 'query'>) {
    this.spool = spool
    this.store = store
  }

  /** Undefined when no such message ended, as far as this node can know. Throws when SQL does not answer and the log does not say. */
  async ended(id: number): Promise<EndedMessage | undefined> {
    this.asked.add(id)
    this.next ??= this.last.then(() => this.look())
    this.last = this.next
    const { found, fault } = await this.next
    const one = found.get(id)
    if (one === undefined && fault !== undefined) throw fault
    return one
  }

  private async look(): Promise<Look> {
    const ids = this.asked
    this.asked = new Set()
    this.next = null
    const found: Look['found'] = new Map()
    try {
      // Rows move from the log to SQL, so this order misses none.
      const isBehind = !(await this.inLog(ids, found))
      const rest = [...ids].filter(id => !found.has(id))
      if (rest.length > 0) await this.inSql(rest, found)
      return isBehind ? { found, fault: new Error('history is behind') } : { found }
    } catch (fault) {
      return { found, fault }
    }
  }

  /** False when there is more than it looked through. */
  private async inLog(ids: ReadonlySet<number>, found: Look['found']): Promise<boolean> {
    await this.spool.synced()
    let n = 0
    for (let after = 0; found.size < ids.size; ) {
      if (n >= MOST) return false
      const slice = this.spool.readLog(after, SLICE)
      if (slice === undefined) return true
      n += slice.rows.length
      for (const row of slice.rows) {
        if (row.kind === 'ended' && ids.has(row.id)) found.set(row.id, { ...row, doneMs: row.atMs })
      }
      after = slice.position
      await nextTurn()
    }
    return true
  }

  private async inSql(ids: readonly number[], found: Look['found']): Promise<void> {
    const { rows } = await this.store.query<Row>(ENDED, [ids, new Date(idTimeMs(Math.min(...ids)) - EARLY_MS)])
    for (const { id, state, at, ...row } of rows) {
      found.set(id, { ...row, state: state as MessageState, doneMs: at.getTime() })
    }
  }
}

interface Row {
  id: number
  account: number
  source: string
  state: number
  error: string
  at: Date
}

/** The moment leaves out the days before it, each a table of its own. */
const ENDED = `select id, account, source, state, error, at from history where id = any($1) and kind = 'e' and at >= $2`
