// API keys as rows in SQL: listed, made, rotated, revoked, each change with its line of audit. One function behind each
// door that does it. A key itself is shown once, by whom it is made for; only its hash is written.

import { z } from 'zod'
import { isRange } from '../../protocols/net/address.js'
import type { SqlClient, Store } from '../store/postgres.js'
import { type Actor, audited } from './audit.js'
import { type KeyKind, keyKinds, scopeWords } from './keys.js'
import { newApiKey, type Secrets, shownPrefix } from './secrets.js'
import { words } from './words.js'
import { writing } from './writing.js'

/** Keys of one account. */
const MAX_KEYS = 1_000
const MAX_OVERLAP_S = 30 * 86_400

export const keyScopes = z.array(z.enum(scopeWords)).max(scopeWords.length)
export const keyAllowFrom = z
  .array(z.string().refine(isRange, 'must be an IP address or a range like 192.0.2.0/24'))
  .max(100)

/** What is said of a new key. */
export const keyFields = z.strictObject({
  name: words(64).default(''),
  /** Left out: all that the account may do. */
  scopes: keyScopes.min(1).optional().describe('left out: what the key may that makes it, and no administration'),
  kind: z.enum(keyKinds).default('live').describe('test: nothing is sent to a carrier'),
  expires_at: z.iso
    .datetime({ offset: true })
    .optional()
    .describe('left out: with the key that makes it, else it has no end'),
  allow_from: keyAllowFrom.default([]).describe('addresses and ranges; none: those of the key that makes it, else any'),
})
export type KeyFields = z.output<typeof keyFields>

/** How a key is replaced. */
export const rotateFields = z.strictObject({
  overlap_s: z.int().min(0).max(MAX_OVERLAP_S).default(86_400).describe('how long the old key stays good'),
})

export interface KeyEntry {
  id: number
  account: string
  prefix: string
  name: string
  /** Empty: all that the account may do. */
  scopes: string[]
  kind: KeyKind
  created_at: string
  /** null = it has no end. */
  expires_at: string | null
  allow_from: string[]
  /** To the minute; null = never. */
  last_used_at: string | null
}

/** The only time that the key itself is shown. */
export type NewKey = KeyEntry & { key: string }

/** There is no such key, or it is another account's. */
export class NoKey extends Error {
  constructor(id: number) {
    super(`there is no key ${id}: 'trunkline key list' shows those there are`)
  }
}
/** There is no such account. */
export class NoAccount extends Error {
  constructor(systemId: string) {
    super(`there is no account ${systemId}: 'trunkline account list' shows those there are`)
  }
}
export class KeyRefused extends Error {}

/** Those of one account, or of all: up to `limit` behind `after`. */
export async function keyEntries(
  store: Pick<Store, 'query'>,
  asked: { account?: string | undefined; after: number; limit: number },
): Promise<KeyEntry[]> {
  const { account, after, limit } = asked
  const { rows } = await store.query<KeyRow>(
    `${KEYS} where ($1::text is null or a.system_id = $1) and k.id > $2 ${PAGE}`,
    [account ?? null, after, limit],
  )
  return rows.map(entry)
}

/** Throws {@link NoAccount}, {@link KeyRefused}, Refused, or what SQL throws. */
export function addKey(
  store: Pick<Store, 'transaction'>,
  secrets: Secrets,
  actor: Actor,
  systemId: string,
  fields: KeyFields,
  nowMs: number,
): Promise<NewKey> {
  const expires = fields.expires_at === undefined ? null : new Date(fields.expires_at)
  if (expires !== null && expires.getTime() <= nowMs) throw new KeyRefused('expires_at has passed already')
  return writing(store, secrets, async client => {
    const account = await accountId(client, systemId)
    const made = await insert(client, secrets, { ...fields, scopes: fields.scopes ?? [], account, systemId, expires })
    const { id, prefix, kind, scopes } = made
    await audited(client, actor, { action: 'key.add', subject: systemId, changes: { key: id, prefix, kind, scopes } })
    return made
  })
}

/** Another key in place of one, with all that it may; the old one is good for `overlapS` more. */
export function rotateKey(
  store: Pick<Store, 'transaction'>,
  secrets: Secrets,
  actor: Actor,
  id: number,
  overlapS: number,
  of?: string,
): Promise<{ key: NewKey; old: KeyEntry }> {
  return writing(store, secrets, async client => {
    const { row, account } = await found(client, id, of)
    if (row.ends !== null && row.ends.getTime() <= row.now.getTime()) {
      throw new KeyRefused(`key ${id} has expired: add a new one`)
    }
    const { system_id: systemId, name, scopes, kind, ends: expires, allow_from } = row
    const key = await insert(client, secrets, { account, systemId, name, scopes, kind, expires, allow_from })
    await client.query(SHORTEN, [id, overlapS])
    const changes = { key: id, by: key.id, overlap_s: overlapS }
    await audited(client, actor, { action: 'key.rotate', subject: systemId, changes })
    return { key, old: entry((await found(client, id)).row) }
  })
}

/** A key that is good no more, at once. `of`: whose it must be. */
export function revokeKey(
  store: Pick<Store, 'transaction'>,
  secrets: Secrets,
  actor: Actor,
  id: number,
  reason: string,
  of?: string,
): Promise<KeyEntry> {
  return writing(store, secrets, async client => {
    const { row } = await found(client, id, of)
    await client.query('delete from api_keys where id = $1', [id])
    const changes = { key: id, prefix: row.prefix }
    await audited(client, actor, { action: 'key.revoke', subject: row.system_id, reason, changes })
    return entry(row)
  })
}

export async function accountId(client: Pick<SqlClient, 'query'>, systemId: string): Promise<number> {
  const { rows } = await client.query<{ id: number }>('select id from accounts where system_id = $1', [systemId])
  const id = rows[0]?.id
  if (id === undefined) throw new NoAccount(systemId)
  return id
}

async function found(client: SqlClient, id: number, of?: string): Promise<{ row: KeyRow; account: number }> {
  const row = (await client.query<KeyRow>(`${KEYS} where k.id = $1`, [id])).rows[0]
  if (row === undefined || (of !== undefined && row.system_id !== of)) throw new NoKey(id)
  return { row, account: row.account }
}

interface Wanted {
  account: number
  systemId: string
  name: string
  scopes: readonly string[]
  kind: KeyKind
  expires: Date | null
  allow_from: readonly string[]
}

async function insert(client: SqlClient, secrets: Secrets, one: Wanted): Promise<NewKey> {
  const { rows } = await client.query<{ n: number }>('select count(*) as n from api_keys where account = $1', [
    one.account,
  ])
  if ((rows[0]?.n ?? 0) >= MAX_KEYS) throw new KeyRefused(`an account has ${MAX_KEYS} keys at most: revoke one first`)
  const key = newApiKey(one.systemId, one.kind)
  const made = await client.query<{ id: number }>(ADD, [
    secrets.keyHash(key),
    one.account,
    shownPrefix(key),
    one.name,
    one.scopes,
    one.kind,
    one.expires,
    one.allow_from,
  ])
  const { row } = await found(client, made.rows[0]?.id as number)
  return { ...entry(row), key }
}

interface KeyRow {
  id: number
  account: number
  system_id: string
  prefix: string
  name: string
  scopes: string[]
  kind: KeyKind
  created_at: Date
  ends: Date | null
  allow_from: string[]
  used: Date | null
  now: Date
}

const entry = (row: KeyRow): KeyEntry => ({
  id: row.id,
  account: row.system_id,
  prefix: row.prefix,
  name: row.name,
  scopes: row.scopes,
  kind: row.kind,
  created_at: row.created_at.toISOString(),
  expires_at: row.ends?.toISOString() ?? null,
  allow_from: row.allow_from,
  last_used_at: row.used?.toISOString() ?? null,
})

const KEYS = `
  select k.id, k.account, a.system_id, k.prefix, k.name, k.scopes, k.kind, k.created_at, k.expires_at as ends,
    k.allow_from, u.at as used, now() as now
  from api_keys k join accounts a on a.id = k.account left join api_key_uses u on u.key = k.id`
const PAGE = 'order by k.id limit $3'
const ADD = `
  insert into api_keys (hash, account, prefix, name, scopes, kind, expires_at, allow_from)
  values ($1, $2, $3, $4, $5, $6, $7, $8) returning id`
const SHORTEN = `
  update api_keys set expires_at = least(expires_at, date_trunc('milliseconds', now() + make_interval(secs => $2))) where id = $1`
