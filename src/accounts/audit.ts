// Who changed what, and why: one row a change, written in the transaction that makes the change where that is one of SQL, and
// never altered. Knows rows; what is worth a row the writers say, and they leave secrets out.

import type { Store } from '../store/postgres.js'

/** Who asks for a change, and from where. */
export interface Actor {
  /** `admin.sock`, `admin key`, `key 7 of shop`, a mail address. */
  readonly who: string
  readonly from: string
}

export interface AuditEntry {
  id: number
  at: string
  who: string
  from: string
  /** `account.suspend` */
  action: string
  /** A system_id, a mail address, a name. */
  subject: string
  reason: string
  changes: Record<string, unknown>
}

export async function audited(
  client: Pick<Store, 'query'>,
  { who, from }: Actor,
  done: { action: string; subject: string; reason?: string; changes?: Readonly<Record<string, unknown>> },
): Promise<void> {
  const { action, subject, reason = '', changes = {} } = done
  await client.query(ADD, [who, from, action, subject, reason, JSON.stringify(changes)])
}

export interface AuditQuery {
  subject?: string | undefined
  /** `account.` means all that begin with it. */
  action?: string | undefined
  who?: string | undefined
  /** ms */
  sinceMs?: number | undefined
  /** The id of the last of the page before. */
  before?: number | undefined
  limit: number
}

/** The newest first. */
export async function auditEntries(store: Pick<Store, 'query'>, asked: AuditQuery): Promise<AuditEntry[]> {
  const { subject, action, who, sinceMs, before, limit } = asked
  const { rows } = await store.query<Omit<AuditEntry, 'at'> & { at: Date }>(LIST, [
    subject ?? null,
    action ?? null,
    who ?? null,
    sinceMs === undefined ? null : new Date(sinceMs),
    before ?? null,
    limit,
  ])
  return rows.map(row => ({ ...row, at: row.at.toISOString() }))
}

const ADD = 'insert into audit (who, origin, action, subject, reason, changes) values ($1, $2, $3, $4, $5, $6)'
const LIST = `
  select id, at, who, origin as from, action, subject, reason, changes from audit
  where ($1::text is null or subject = $1) and ($3::text is null or who = $3)
    and ($2::text is null or action = $2 or (right($2, 1) = '.' and starts_with(action, $2)))
    and ($4::timestamptz is null or at >= $4) and ($5::bigint is null or id < $5)
  order by id desc limit $6`
