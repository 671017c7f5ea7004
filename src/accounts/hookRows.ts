// Webhooks as rows in SQL: made, changed, their secrets rotated, switched off. One function behind each door that does it
// (gateway file, command, HTTP). Knows rows; who is told what is others'.

import { newWebhookSecret } from '../../protocols/http/webhook.js'
import type { SqlClient } from '../store/postgres.js'
import { type HookFields, type HookSettings, hookOwner, hookSettings, MAX_HOOKS, storedHookSettings } from './hooks.js'
import type { Secrets } from './secrets.js'

export interface HookRow {
  id: number
  slot: number
  url: string
  events: string[]
  secret: Buffer
  disabled: string | null
  settings: Record<string, unknown>
}

/** An account, as its webhooks' rows need it. */
export interface HookAccount {
  id: number
  systemId: string
}

export async function hookRows(client: Pick<SqlClient, 'query'>, account: number): Promise<HookRow[]> {
  return (await client.query<HookRow>(`${HOOKS} where account = $1 order by slot`, [account])).rows
}

/** Undefined: the account has as many as it may. `secret`: as it is now, to be shown once. */
export async function addHook(
  client: SqlClient,
  secrets: Secrets,
  account: HookAccount,
  fields: HookFields,
  sealed?: Buffer,
): Promise<{ id: number; secret: string } | undefined> {
  const taken = new Set((await hookRows(client, account.id)).map(({ slot }) => slot))
  // Not the slot of one that has just gone, as far as can be: what was on its way there is dropped first.
  const { rows } = await client.query<{ last: number }>(LAST_SLOT, [account.id])
  const first = ((rows[0]?.last ?? -1) + 1) % MAX_HOOKS
  let slot = first
  while (taken.has(slot)) {
    slot = (slot + 1) % MAX_HOOKS
    if (slot === first) return undefined
  }
  const secret = fields.secret ?? newWebhookSecret()
  const octets = sealed ?? secrets.seal(hookOwner(account.systemId), secret)
  const values = [account.id, slot, fields.url, fields.events, octets, storedHookSettings(fields)]
  const made = await client.query<{ id: number }>(ADD, values)
  return { id: made.rows[0]?.id as number, secret }
}

/** Makes the account's webhooks those of a gateway file. @returns whether anything changed */
export async function applyHooks(
  client: SqlClient,
  secrets: Secrets,
  account: HookAccount,
  wanted: readonly (HookFields & { sealed?: Buffer | undefined })[],
): Promise<boolean> {
  const known = new Map((await hookRows(client, account.id)).map(row => [row.url, row]))
  const owner = hookOwner(account.systemId)
  const added: (typeof wanted)[number][] = []
  let changed = false
  for (const one of wanted) {
    const row = known.get(one.url)
    known.delete(one.url)
    if (row === undefined) {
      added.push(one)
      continue
    }
    let { secret } = row
    if (one.sealed !== undefined) secret = one.sealed
    else if (one.secret !== undefined && secrets.unseal(owner, row.secret) !== one.secret) {
      secret = secrets.seal(owner, one.secret)
    }
    const settings = storedHookSettings(one)
    const same =
      secret.equals(row.secret) &&
      JSON.stringify(one.events) === JSON.stringify(row.events) &&
      JSON.stringify(settings) === JSON.stringify(storedHookSettings(hookSettings.parse(row.settings)))
    if (same) continue
    changed = true
    await client.query(CHANGE, [row.id, one.events, secret, settings])
  }
  if (known.size > 0) {
    changed = true
    await client.query('delete from webhooks where id = any($1)', [[...known.values()].map(({ id }) => id)])
  }
  for (const one of added) {
    changed = true
    await addHook(client, secrets, account, one, one.sealed)
  }
  return changed
}

/** Switches a webhook off (`why`) or on again (null). False: there is none. */
export async function switchHook(client: Pick<SqlClient, 'query'>, id: number, why: string | null): Promise<boolean> {
  const sql = 'update webhooks set disabled = $2, updated_at = now() where id = $1 and disabled is distinct from $2'
  return ((await client.query(sql, [id, why])).rowCount ?? 0) > 0
}

/** Its other URL, types of events or settings. False: there is none. Throws what SQL throws, 23505 when the account has the URL. */
export async function changeHook(
  client: Pick<SqlClient, 'query'>,
  id: number,
  { url, events, settings }: Pick<HookFields, 'url' | 'events'> & { settings: HookSettings },
): Promise<boolean> {
  return ((await client.query(CHANGE_ALL, [id, url, events, storedHookSettings(settings)])).rowCount ?? 0) > 0
}

/** Gives it a new secret; the one until now signs as well for so many hours. @returns the new one; undefined: there is none */
export async function rotateHook(
  client: Pick<SqlClient, 'query'>,
  secrets: Secrets,
  account: HookAccount,
  id: number,
  keepHours: number,
): Promise<string | undefined> {
  const secret = newWebhookSecret()
  const values = [id, secrets.seal(hookOwner(account.systemId), secret), keepHours]
  return ((await client.query(ROTATE, values)).rowCount ?? 0) > 0 ? secret : undefined
}

/** With what could not be delivered there. False: there is none. */
export async function removeHook(client: Pick<SqlClient, 'query'>, id: number): Promise<boolean> {
  return ((await client.query('delete from webhooks where id = $1', [id])).rowCount ?? 0) > 0
}

const CHANGE_ALL = `
  update webhooks set url = $2, events = $3, settings = $4, updated_at = now() where id = $1`
const ROTATE = `
  update webhooks set old_secret = secret, old_until = now() + $3 * interval '1 hour', secret = $2, updated_at = now()
  where id = $1`
const HOOKS = 'select id, slot, url, events, secret, disabled, settings from webhooks'
const LAST_SLOT = 'select slot as last from webhooks where account = $1 order by id desc limit 1'
const ADD = `
  insert into webhooks (account, slot, url, events, secret, settings) values ($1, $2, $3, $4, $5, $6) returning id`
const CHANGE = `
  update webhooks set events = $2, secret = $3, settings = $4, updated_at = now() where id = $1`
