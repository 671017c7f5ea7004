// Consent in SQL: the ledger of what was said, and what holds now, as nodes write, follow and list it. Statements and the
// shapes they answer with.

import type { Store } from '../store/postgres.js'
import type { ConsentEvent, ConsentRow } from './consentCopy.js'

/** Writers of consent come one after the other: change numbers become visible in their order. */
const LOCK = 5494788
export const CONSENT_CHANNEL = 'trunkline_consent'

export interface ChangedConsent extends ConsentRow {
  readonly change: number
}

/** A row for people. */
export interface ConsentEntry {
  /** system_id; null = everybody. */
  account: string | null
  number: string
  state: 'stopped' | 'started'
  source: string
  at: string
}

export interface LedgerEntry {
  account: string | null
  kind: string
  source: string
  at: string
  called: string
  word: string
}

export interface ConsentPage {
  /** null = all accounts; 0 = everybody's. */
  readonly account: number | null
  readonly number: string | null
  /** After this account and number. */
  readonly after: readonly [account: number, number: string]
  readonly limit: number
}

export class ConsentRows {
  private readonly store: Store

  constructor(store: Store) {
    this.store = store
  }

  async head(): Promise<{ identity: string; newest: number }> {
    const { rows } = await this.store.query<{ identity: string; newest: number }>(HEAD)
    return rows[0] as { identity: string; newest: number }
  }

  async changes(after: number, count: number): Promise<ChangedConsent[]> {
    return (await this.store.query<ChangedConsent & Record<string, unknown>>(CHANGES, [after, count])).rows
  }

  /** Into the ledger, once each, and into what holds. */
  async add(origin: string, events: readonly { seq: number; event: ConsentEvent }[]): Promise<void> {
    const sent = JSON.stringify(events.map(({ seq, event }) => ({ seq, ...event })))
    await this.store.transaction(async client => {
      await client.query('select pg_advisory_xact_lock($1)', [LOCK])
      await client.query(ADD_EVENTS, [origin, sent])
      await client.query(ADD_STATE, [sent])
      await client.query(`notify ${CONSENT_CHANNEL}`)
    })
  }

  async list({ account, number, after, limit }: ConsentPage): Promise<(ConsentEntry & { id: number })[]> {
    const values = [account, number, ...after, limit]
    return (await this.store.query<ConsentEntry & { id: number }>(LIST, values)).rows
  }

  /** What was said about a number, the newest first. */
  async ledger(number: string, limit: number): Promise<LedgerEntry[]> {
    return (await this.store.query<LedgerEntry & Record<string, unknown>>(LEDGER, [number, limit])).rows
  }
}

const HEAD = 'select identity, (select coalesce(max(change), 0) from consent) as newest from gateway'
const AT_MS = 'round(extract(epoch from at) * 1000)::bigint'
const CHANGES = `
  select account, number, stopped, ${AT_MS} as "atMs", change from consent where change > $1 order by change limit $2`
const SENT = `jsonb_to_recordset($SENT::jsonb) as e(seq bigint, account int, number text, kind text, source text,
  "atMs" float8, called text, word text)`
const ADD_EVENTS = `
  insert into consent_events (origin, seq, account, number, kind, source, at, called, word)
  select $1, seq, account, number, kind, source, to_timestamp("atMs" / 1000), called, word
  from ${SENT.replace('$SENT', '$2')}
  on conflict do nothing`
const ADD_STATE = `
  insert into consent (account, number, stopped, source, at, change)
  select account, number, kind = 'stop', source, to_timestamp("atMs" / 1000), nextval('consent_change')
  from (select distinct on (account, number) * from ${SENT.replace('$SENT', '$1')}
    order by account, number, "atMs" desc, seq desc) newest
  on conflict (account, number) do update
    set (stopped, source, at, change) = (excluded.stopped, excluded.source, excluded.at, excluded.change)
    where excluded.at >= consent.at`
const ISO = `to_char(c.at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as at`
/** Of an account that is gone its number is left. */
const NAME = `case when c.account = 0 then null else coalesce(a.system_id, '#' || c.account) end as account`
const LIST = `
  select c.account as id, ${NAME}, c.number, case when c.stopped then 'stopped' else 'started' end as state, c.source, ${ISO}
  from consent c left join accounts a on a.id = c.account
  where ($1::int is null or c.account = $1) and ($2::text is null or c.number = $2)
    and (c.account, c.number) > ($3, $4::text)
  order by c.account, c.number limit $5`
const LEDGER = `
  select ${NAME}, c.kind, c.source, ${ISO}, c.called, c.word
  from consent_events c left join accounts a on a.id = c.account
  where c.number = $1 order by c.at desc, c.seq desc limit $2`
