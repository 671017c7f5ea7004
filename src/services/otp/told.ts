// Who hears of what happens to sessions: the account's webhooks, durable with the event itself; and people, by rows in SQL
// that are gathered in memory and written a second later. No code is in either, and of a number in SQL only its last digits.

import { hooksFor } from '../../returns/tells.js'
import { countryOf } from '../../routing/countries.js'
import { logged } from '../../store/retry.js'
import type { OtpHost } from './host.js'
import { lastStep, type Session, type Step, type Try } from './session.js'

const FLUSH_MS = 1_000
/** Rows of one statement, and rows that wait while SQL is away. */
const SLICE = 2_000
const MOST_WAITING = 100_000
const CLEAN_MS = 3_600_000
const CLEAN_SLICE = 20_000
const SHOWN_DIGITS = 3

export type OtpEvent = 'sent' | 'delivered' | 'failed' | 'verified' | 'expired' | 'blocked' | 'canceled' | 'superseded'

/** A session as people see it. */
export interface SessionLine {
  session_id: string
  /** The last that happened. */
  event: OtpEvent
  started_at: string
  at: string
  purpose: string
  channel: string
  to: string
  country: string
}

type Row = [at: Date, account: number, session: string, kind: OtpEvent, string, string, string, string]

export class Told {
  private readonly host: Pick<OtpHost, 'spool' | 'store' | 'clock' | 'counters' | 'log' | 'account' | 'settings'>
  private rows: Row[] = []
  private timer: NodeJS.Timeout | undefined
  private flushing: Promise<void> = Promise.resolve()
  private cleanedMs = Number.NEGATIVE_INFINITY
  private wasAway = false

  constructor(host: Told['host']) {
    this.host = host
  }

  start(): void {
    this.timer = setInterval(() => void this.flush(), FLUSH_MS).unref()
  }

  /** Of a session; `one`: the message that it is about. */
  tell(session: Session, kind: OtpEvent, one?: Try, more: Readonly<Record<string, unknown>> = {}): void {
    const { clock, counters } = this.host
    counters.add(`otp_${kind}`)
    const { channel, to } = session.steps[one?.step ?? lastStep(session)] as Step
    this.tellHooks(session, kind, one, { channel, to, ...more })
    if (session.isSandboxed) return
    if (this.rows.length >= MOST_WAITING) {
      counters.add('otp_rows_lost')
      return
    }
    const country = to.includes('@') ? '' : countryOf(to)
    this.rows.push([
      new Date(clock.now()),
      session.account,
      session.id,
      kind,
      session.purpose,
      channel,
      masked(to),
      country,
    ])
  }

  private tellHooks(session: Session, kind: OtpEvent, one: Try | undefined, more: object): void {
    const { spool, clock, counters, account } = this.host
    const type = `otp.${kind}`
    const queues = hooksFor(account(session.account), type)
    if (queues.length === 0) return
    const data = JSON.stringify({
      session_id: session.id,
      status: session.status,
      purpose: session.purpose,
      ...more,
      ...(one === undefined || one.message === 0 ? {} : { message_id: String(one.message) }),
      ...(one === undefined || one.error === '' ? {} : { error: one.error }),
      metadata: session.metadata,
      ...(session.isSandboxed ? { sandbox: true } : {}),
    })
    // A step happens once; a session's end, too.
    const id = `${session.id}_${kind}${one === undefined ? '' : `_${session.tries.indexOf(one)}`}`
    for (const queue of queues)
      if (!spool.event(queue, { id, type, atMs: clock.now(), data })) counters.add('otp_events_lost')
  }

  /** Resolves when what was told until now is in SQL, or SQL is away. */
  flush(): Promise<void> {
    this.flushing = this.flushing.then(() => this.write())
    return this.flushing
  }

  private async write(): Promise<void> {
    const { store, log } = this.host
    while (this.rows.length > 0) {
      const slice = this.rows.slice(0, SLICE)
      const columns = Array.from({ length: 8 }, (_, i) => slice.map(row => row[i]))
      try {
        await store.query(INSERT, columns)
      } catch (error) {
        // Kept in memory, as far as there is room for it.
        if (!this.wasAway)
          log.warn({ ...logged(error) }, 'what became of one-time passwords does not reach the database')
        this.wasAway = true
        return
      }
      this.wasAway = false
      this.rows = this.rows.slice(slice.length)
    }
    await this.clean()
  }

  private async clean(): Promise<void> {
    const { store, clock, settings, log } = this.host
    if (clock.mono() - this.cleanedMs < CLEAN_MS || !store.ready) return
    this.cleanedMs = clock.mono()
    try {
      const { rowCount } = await store.query(CLEAN, [settings.keepDays, CLEAN_SLICE])
      // There are more: after the next flush, so that others have SQL meanwhile.
      if (rowCount === CLEAN_SLICE) this.cleanedMs = Number.NEGATIVE_INFINITY
    } catch (error) {
      log.debug({ ...logged(error) }, 'old rows of one-time passwords stay for now')
    }
  }

  /** Of an account, the newest first. Throws what SQL throws. */
  async list(account: number, limit: number): Promise<SessionLine[]> {
    await this.flush()
    return (await this.host.store.query<SessionLine>(LIST, [account, limit])).rows
  }

  async stop(): Promise<void> {
    clearInterval(this.timer)
    await this.flush()
    if (this.rows.length === 0) return
    this.host.counters.add('otp_rows_lost', this.rows.length)
    this.host.log.warn({ rows: this.rows.length }, 'what became of some one-time passwords never reached the database')
  }
}

/** `4915*****678`, `a***@example.com`. */
export function masked(to: string): string {
  const at = to.lastIndexOf('@')
  if (at > 0) return `${to[0]}***${to.slice(at)}`
  return to.slice(0, 2) + '*'.repeat(Math.max(0, to.length - 2 - SHOWN_DIGITS)) + to.slice(-SHOWN_DIGITS)
}

const INSERT = `
  insert into otp_events (at, account, session, kind, purpose, channel, destination, country)
  select * from unnest($1::timestamptz[], $2::int[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])`
const CLEAN = `
  delete from otp_events where ctid = any(array(
    select ctid from otp_events where at < now() - make_interval(days => $1) limit $2))`
/** Of the newest rows only: it is for looking at. */
const LIST = `
  select session as session_id, (array_agg(kind order by at desc, kind desc))[1] as event,
    to_char(min(at) at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as started_at,
    to_char(max(at) at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as at,
    min(purpose) as purpose, (array_agg(channel order by at desc))[1] as channel,
    (array_agg(destination order by at))[1] as "to", (array_agg(country order by at))[1] as country
  from (select * from otp_events where account = $1 order by at desc limit 5000) newest
  group by session order by max(at) desc, session limit $2`
