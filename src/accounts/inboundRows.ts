// Rules for messages from phones as rows: made to match those of a gateway file. Few, compared here.

import type { SqlClient } from '../store/postgres.js'
import type { SectionReport } from './gatewayApply.js'
import { type FileInbound, type StoredInbound, storedInboundMatch, storedInboundTarget } from './inbound.js'
import { Refused } from './writing.js'

export const INBOUND = 'select id, position, name, match, target from inbound order by position, id'

/** Told apart by name or else by match. Throws {@link Refused} for a rule that names no account. */
export async function applyInbound(client: SqlClient, rules: readonly FileInbound[]): Promise<SectionReport> {
  const { rows } = await client.query<StoredInbound>(INBOUND)
  const present = new Set(rows)
  const report: SectionReport = { created: 0, updated: 0, removed: 0, unchanged: 0 }
  // A name that moves from one row to another must be free in between.
  const pairs = rules.map(one => {
    const name = one.name ?? ''
    const match = JSON.stringify(storedInboundMatch(one.match))
    const known = rows.find(
      row =>
        present.has(row) &&
        row.name === name &&
        (name !== '' || JSON.stringify(storedInboundMatch(row.match)) === match),
    )
    if (known) present.delete(known)
    return { name, match, target: JSON.stringify(storedInboundTarget(one.to)), known }
  })
  const gone = [...present].map(({ id }) => id)
  report.removed = (await client.query('delete from inbound where id = any($1)', [gone])).rowCount ?? 0
  for (const [i, { name, match, target, known }] of pairs.entries()) {
    const values = [i + 1, name, match, target]
    if (known === undefined) {
      await client.query('insert into inbound (position, name, match, target) values ($1, $2, $3, $4)', values)
      report.created++
    } else if (
      known.position === i + 1 &&
      JSON.stringify(storedInboundMatch(known.match)) === match &&
      JSON.stringify(storedInboundTarget(known.target)) === target
    ) {
      report.unchanged++
    } else {
      await client.query(
        'update inbound set position = $1, name = $2, match = $3, target = $4, updated_at = now() where id = $5',
        [...values, known.id],
      )
      report.updated++
    }
  }
  return report
}

/** A file may have accounts without rules or the other way: the rest of the rows must still fit. */
export async function checkInboundAccounts(client: SqlClient): Promise<void> {
  const { rows } = await client.query<{ position: number; account: string }>(`
    select position, target ->> 'account' as account from inbound
    where not exists (select from accounts a where a.system_id = target ->> 'account') order by position limit 1`)
  const first = rows[0]
  if (first) throw new Refused(`inbound[${first.position - 1}].to.account`, `names no account: ${first.account}`)
}

export const inboundEntry = ({ name, match, target }: StoredInbound): object => ({
  ...(name === '' ? {} : { name }),
  match,
  to: storedInboundTarget({ ...target, by: target.by }),
})
