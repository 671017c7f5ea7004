// Who writes the history of a spool. A directory may be restored from a backup or copied, and then several daemons, now or
// one after the other, have the same spool with different rows: only one of them goes on under its name, the others get
// names of their own, from where their rows are no longer the same. A database may be older than the spool: it is told so.
// Knows positions; rows are history.ts's.

import { randomBytes } from 'node:crypto'
import type { Counters } from '../base/figures.js'
import type { Log } from '../base/log.js'
import type { Spool } from '../spool/contract.js'
import type { Run } from '../spool/origin.js'
import type { SqlClient, Store } from '../store/postgres.js'

export interface ClaimHost {
  readonly spool: Pick<Spool, 'identity' | 'origin'>
  /** This node's number. */
  readonly node: number
  readonly counters: Pick<Counters, 'add'>
  readonly log: Log
}

/** What a transaction has found, and done if it holds. */
export interface Claimed {
  /** Up to here all rows are in SQL. */
  readonly position: number
  /** Another has written history as this spool: the name that ours has for itself now, from `position` on. */
  readonly renamed: string | undefined
}

export class Claim {
  /** Up to here all rows are known to be in SQL. */
  position = 0
  /** Where the last transaction stopped: if its end was not heard of, the row says whether it holds. */
  tried = 0
  /** This run has become history's writer. */
  isOurs = false
  /** Another has, and this one never will again. */
  isLost = false
  private readonly host: ClaimHost
  /** Made once, however often the transaction is tried. */
  private readonly nextIdentity = randomBytes(8).toString('hex')
  /** The database was older than the spool, and stood here, when that was told last. */
  private toldOf = -1

  constructor(host: ClaimHost) {
    this.host = host
  }

  /** Locks the row of this spool for the transaction, claims it if it is not ours yet, and says how far history is. */
  async take(client: SqlClient): Promise<Claimed> {
    const { spool, node } = this.host
    const { identity, origin } = spool
    const { position: known, writer } = await this.row(client)
    const isWriter = writer === origin.run
    if (isWriter && known === this.tried) return { position: known, renamed: undefined }
    const fork = isWriter ? undefined : await this.fork(client)
    // Of our own rows history has at least, and at most:
    const least = this.isOurs ? this.position : origin.dropped
    const most = this.isOurs ? this.position : this.endOf(fork?.before ?? writer)
    if (fork !== undefined || known > most) {
      // Rows that the other has from us were its to write; it may have more of them than we had when we began.
      const isFromUs = this.isOurs || fork?.before === origin.run
      const from = fork === undefined ? most : isFromUs ? fork.opened : Math.min(fork.opened, most)
      await client.query(RENAME, [this.nextIdentity, node, from])
      return { position: from, renamed: this.nextIdentity }
    }
    if (known < least) this.tellOfOlder(known, least)
    const position = Math.max(known, least)
    if (!isWriter) {
      this.tried = position
      await client.query(CLAIM, [identity, node, position, origin.run])
      await client.query(NOTE, [identity, origin.run, writer, most])
    }
    return { position, renamed: undefined }
  }

  /** The transaction holds. */
  async holds({ position, renamed }: Claimed): Promise<void> {
    const { spool, counters, log } = this.host
    if (renamed !== undefined) {
      await spool.origin.rename(renamed)
      this.isLost = true
      counters.add('history_identity_renewed')
      const { identity } = spool
      const found = this.isOurs
        ? 'another daemon runs on a copy of this data directory and writes its history'
        : 'this data directory is a copy, restored or taken from elsewhere: history was written since, without it'
      log.error({ identity, renamed, position }, `${found}. ${GOES_ON}`)
      return
    }
    this.position = position
    this.tried = position
    if (this.isOurs) return
    this.isOurs = true
    await spool.origin.isKnown()
  }

  /** Whether the row still says that this run is the writer; locks nothing. */
  async isStill(store: Pick<Store, 'query'>): Promise<boolean> {
    const { identity, origin } = this.host.spool
    const { rows } = await store.query<Row>(ROW, [identity])
    return this.isOurs && rows[0]?.writer === origin.run
  }

  private async row(client: SqlClient): Promise<Row> {
    const { identity } = this.host.spool
    const { rows } = await client.query<Row>(LOCKED, [identity])
    if (rows[0] !== undefined) return rows[0]
    // Of two that make it the second finds what the first has written.
    await client.query(MAKE, [identity, this.host.node])
    return (await client.query<Row>(LOCKED, [identity])).rows[0] as Row
  }

  /** The run of another directory that has taken the place of a run of ours; undefined: none has. */
  private async fork(client: SqlClient): Promise<Fork | undefined> {
    const { identity, origin } = this.host.spool
    const { rows } = await client.query<Fork>(FORK, [identity, origin.runs.map(({ name }) => name)])
    return rows[0]
  }

  /** What was logged by the end of a run of ours, as far as this run found it; of a run that we do not know, all. */
  private endOf(name: string): number {
    const { runs } = this.host.spool.origin
    const at = runs.findIndex(run => run.name === name)
    const next = at < 0 ? undefined : runs[at + 1]
    return (next ?? (runs.at(-1) as Run)).end
  }

  private tellOfOlder(known: number, least: number): void {
    if (this.toldOf === known) return
    this.toldOf = known
    const missing = least - known
    const { counters, log, spool } = this.host
    counters.add('history_rows_missing', missing)
    log.error(
      { identity: spool.identity, missing, position: known },
      'the database is older than this spool: rows of history that it had are missing there, with what they cost; going on',
    )
  }
}

const GOES_ON =
  'It goes on under another identity; what credit is leased to the old one stays so until `trunkline credit release`'

interface Row {
  readonly position: number
  readonly writer: string
}

interface Fork {
  /** In whose place it is. */
  readonly before: string
  /** Rows that it had logged, when it began, as that one has, too. */
  readonly opened: number
}
const ROW = 'select position, writer from spool_position where spool = $1'
const LOCKED = `${ROW} for update`
const MAKE = 'insert into spool_position (spool, node, position) values ($1, $2, 0) on conflict do nothing'
const FORK = `
  select before, opened from spool_runs where spool = $1 and before = any($2) and not run = any($2) order by opened limit 1`
const CLAIM = `
  update spool_position set node = $2, position = $3, writer = $4, moved_at = now() where spool = $1`
const NOTE = `
  insert into spool_runs (spool, run, before, opened) values ($1, $2, $3, $4) on conflict do nothing`
const RENAME = `
  insert into spool_position (spool, node, position) values ($1, $2, $3)
  on conflict (spool) do update set position = excluded.position, moved_at = now()`
