// One account of the directory at a time: added, changed, suspended, resumed, removed, each with its line of audit. What may
// stand in it the gateway file's own schema says, in its own words. Knows nothing of binds that stand.

import type { SqlClient, Store } from '../store/postgres.js'
import { type Actor, audited } from './audit.js'
import { moneyLeft } from './balances.js'
import { put, type Settings } from './carrierEdit.js'
import { putAccount } from './gatewayApply.js'
import { accountWritten } from './gatewayExport.js'
import { type FileAccount, pathText, readGateway } from './gatewayFile.js'
import { accountId, NoAccount } from './keyRows.js'
import type { Secrets } from './secrets.js'
import { writing } from './writing.js'

export interface AccountChange {
  readonly set: Settings
  /** Back to their defaults. */
  readonly unset: readonly string[]
  /** Left out: the present one stays. */
  readonly password?: string | undefined
}

/** All that is wrong with what was asked for. */
export class AccountFaulty extends Error {
  readonly faults: readonly { path: string; message: string }[]

  constructor(faults: readonly { path: string; message: string }[]) {
    super(faults.map(({ path, message }) => (path === '' ? message : `${path} ${message}`)).join('\n'))
    this.faults = faults
  }
}

type Directory = Pick<Store, 'transaction'>

/** Throws {@link AccountFaulty}, Refused, or what SQL throws. */
export function addAccount(
  store: Directory,
  secrets: Secrets,
  actor: Actor,
  systemId: string,
  change: AccountChange,
): Promise<void> {
  const one = readAccount(systemId, {}, change)
  return writing(store, secrets, async client => {
    const { rowCount } = await client.query('select from accounts where system_id = $1', [systemId])
    if (rowCount) throw new AccountFaulty([{ path: 'systemId', message: `is taken: there is an account ${systemId}` }])
    await numbersAreFree(client, one)
    await putAccount(client, secrets, one)
    await audited(client, actor, { action: 'account.add', subject: systemId, changes: told(change) })
  })
}

/** True when anything is different now. Throws {@link NoAccount}, {@link AccountFaulty}, Refused, or what SQL throws. */
export function editAccount(
  store: Directory,
  secrets: Secrets,
  actor: Actor,
  systemId: string,
  change: AccountChange,
): Promise<boolean> {
  return writing(store, secrets, async client => {
    const present = await accountWritten(client, systemId)
    if (present === undefined) throw new NoAccount(systemId)
    const one = readAccount(systemId, present, change)
    await numbersAreFree(client, one)
    if (!(await putAccount(client, secrets, one))) return false
    await audited(client, actor, { action: 'account.edit', subject: systemId, changes: told(change) })
    return true
  })
}

/** `why`: null resumes it. True when it was not so before. Throws {@link NoAccount}, Refused, or what SQL throws. */
export function suspendAccount(
  store: Directory,
  secrets: Secrets,
  actor: Actor,
  systemId: string,
  why: string | null,
): Promise<boolean> {
  return writing(store, secrets, async client => {
    await accountId(client, systemId)
    const { rowCount } = await client.query(SUSPEND, [systemId, why])
    if (rowCount === 0) return false
    const action = why === null ? 'account.resume' : 'account.suspend'
    await audited(client, actor, { action, subject: systemId, reason: why ?? '' })
    return true
  })
}

/**
 * With its keys, numbers, senders and webhooks. Throws {@link NoAccount}, {@link AccountFaulty} while it has money or an
 * inbound rule names it, Refused, or what SQL throws.
 */
export function removeAccount(
  store: Directory,
  secrets: Secrets,
  actor: Actor,
  systemId: string,
  reason: string,
): Promise<void> {
  return writing(store, secrets, async client => {
    const rules = await client.query<{ name: string; position: number }>(RULES_TO, [systemId])
    if (rules.rows.length > 0) {
      const names = rules.rows.map(({ name, position }) => name || `#${position}`).join(', ')
      const message = `still gets messages from phones by the inbound rules ${names}: take it out there first`
      throw new AccountFaulty([{ path: systemId, message }])
    }
    const id = await accountId(client, systemId)
    const [left] = await moneyLeft(client, [id])
    if (left) throw new AccountFaulty([{ path: systemId, message: `is not removed: ${left.why}` }])
    await client.query('delete from accounts where id = $1', [id])
    await audited(client, actor, { action: 'account.remove', subject: systemId, reason })
  })
}

const SUSPEND = `
  update accounts set suspended = $2, updated_at = now() where system_id = $1 and suspended is distinct from $2`
const RULES_TO = `select name, position from inbound where target->>'account' = $1 order by position`

/** For the audit: what was asked for. */
const told = ({ set, unset, password }: AccountChange): Record<string, unknown> => ({
  ...(Object.keys(set).length === 0 ? {} : { set }),
  ...(unset.length === 0 ? {} : { unset }),
  ...(password === undefined ? {} : { password: 'changed' }),
})

/** A gateway file says whose a number is from now on; here it is not taken from anybody. */
async function numbersAreFree(client: SqlClient, { systemId, numbers }: FileAccount): Promise<void> {
  if (numbers.length === 0) return
  const { rows } = await client.query<{ number: string; owner: string }>(
    `select n.number, a.system_id as owner from numbers n join accounts a on a.id = n.account
    where n.number = any($1) and a.system_id <> $2 order by n.number limit 20`,
    [numbers, systemId],
  )
  if (rows.length === 0) return
  throw new AccountFaulty(
    rows.map(({ number, owner }) => ({ path: 'numbers', message: `${number} is a number of the account ${owner}` })),
  )
}

/** What an account would be with these settings, none of it written. Throws {@link AccountFaulty}. */
function readAccount(systemId: string, present: Settings, change: AccountChange): FileAccount {
  const faults: { path: string; message: string }[] = []
  const tree: Record<string, unknown> = structuredClone(present)
  const ofOthers = (key: string): boolean => {
    const message = OWN.get(key.split('.', 1)[0] as string)
    if (message !== undefined) faults.push({ path: key, message })
    return message !== undefined
  }
  for (const key of change.unset) if (!ofOthers(key)) put(tree, key.split('.'), undefined)
  for (const [key, value] of Object.entries(change.set)) if (!ofOthers(key)) put(tree, key.split('.'), value)
  const password = change.password === undefined ? {} : { password: change.password }
  const read = readGateway({ accounts: [{ ...tree, ...password, systemId }] })
  if (!read.ok) {
    for (const { path, text } of read.faults) faults.push({ path: pathText(path.slice(2)), message: text })
  } else if (faults.length === 0) return read.file.accounts?.[0] as FileAccount
  throw new AccountFaulty(faults)
}

/** What is changed in another way. */
const OWN = new Map([
  ['systemId', 'cannot be changed: add another account and remove this one'],
  ['password', 'must not stand on a command line: use --password-file, or be asked for it'],
  ['passwordHash', 'is for gateway files only: give the password'],
  ['suspended', 'is no setting: use trunkline account suspend and resume'],
  ['apiKey', 'is no setting: use trunkline key'],
  ['apiKeys', 'is no setting: use trunkline key'],
  ['webhooks', 'is no setting: it has ways of its own over HTTP, and the gateway file'],
])
