// Writes the rows as a gateway file: hashes instead of passwords, carriers' passwords as they
// are sealed. Applying it changes nothing. One snapshot of the database, a slice at a time.

import { yaml } from '../base/yaml.js'
import type { MessageClass } from '../model/message.js'
import { MICROS } from '../model/money.js'
import type { SqlClient, Store } from '../store/postgres.js'
import type { CarrierKind } from './carrier.js'
import { writtenHash, writtenSeal } from './gatewayFile.js'
import type { StoredInbound } from './inbound.js'
import { INBOUND, inboundEntry } from './inboundRows.js'
import { readOtpProfile, storedOtpProfile } from './otpProfile.js'
import type { BlockedRow, NetworkRow, StoredRoute } from './route.js'
import { writeTariffs } from './tariffSection.js'

/** Accounts in one go: what keeps the event loop under 5 ms. */
const SLICE = 15

/** Hands the file to `write` in pieces. Good under this gateway's server key only. Throws when SQL fails. */
export async function exportGateway(store: Store, write: (piece: string) => unknown): Promise<void> {
  await store.withClient(async client => {
    await client.query('begin isolation level repeatable read read only')
    try {
      await writeTariffs(client, write)
      await writeAccounts(client, write)
      const carriers = await client.query<CarrierRecord>(CARRIERS)
      await write(section('carriers', carriers.rows.map(carrierEntry)))
      const routes = await client.query<StoredRoute>(ROUTES)
      await write(section('routes', routes.rows.map(routeEntry)))
      const networks = await client.query<NetworkRow>(NETWORKS)
      await write(section('networks', networks.rows.map(networkEntry)))
      const blocked = await client.query<BlockedRow>(BLOCKED)
      await write(section('blocked', blocked.rows.map(blockedEntry)))
      const inbound = await client.query<StoredInbound>(INBOUND)
      await write(section('inbound', inbound.rows.map(inboundEntry)))
    } finally {
      await client.query('rollback')
    }
  })
}

async function writeAccounts(client: SqlClient, write: (piece: string) => unknown): Promise<void> {
  let count = 0
  for (let last = 0; ; ) {
    const { rows } = await client.query<AccountRecord>(ACCOUNTS, [last, SLICE])
    const end = rows.at(-1)
    if (end === undefined) break
    if (count === 0) await write('accounts:\n')
    await write(items(rows.map(accountEntry)))
    count += rows.length
    last = end.id
  }
  if (count === 0) await write('accounts: []\n')
}

const section = (name: string, entries: object[]): string =>
  entries.length === 0 ? `${name}: []\n` : `${name}:\n${items(entries)}`

const items = (entries: object[]): string =>
  yaml()
    .stringify(entries, { lineWidth: 0 })
    .replace(/^(?=.)/gm, '  ')

function accountEntry(row: AccountRecord): object {
  return {
    systemId: row.system_id,
    ...(row.secret ? { passwordHash: writtenHash(row.secret) } : {}),
    apiKeys: row.keys.map(keyEntry),
    suspended: row.suspended,
    ...settingsOf(row),
    ...(row.hooks.length > 0 ? { webhooks: row.hooks.map(hookEntry) } : {}),
  }
}

/** What may be changed by itself, under the names of the gateway file. */
function settingsOf(row: AccountRecord): Record<string, unknown> {
  // Read, for an earlier release took what is refused now.
  const otp = storedOtpProfile(readOtpProfile(row.otp))
  return {
    throughput: row.throughput,
    maxBinds: row.max_binds,
    class: row.class,
    ...(row.account_group === '' ? {} : { group: row.account_group }),
    ...(row.organisation === null ? {} : { organisation: row.organisation }),
    ...(Object.keys(row.limits).length === 0 ? {} : { limits: row.limits }),
    weight: row.weight,
    maxWaiting: row.max_waiting,
    ...(Object.keys(row.service_types).length > 0 ? { serviceTypes: row.service_types } : {}),
    credit: row.credit_micros === null ? 'unlimited' : row.credit_micros / MICROS,
    ...(row.tariff === null ? {} : { tariff: row.tariff }),
    ...(row.quiet_hours === null ? {} : { quietHours: row.quiet_hours }),
    ...(row.numbers.length > 0 ? { numbers: row.numbers } : {}),
    ...(row.senders.length > 0 ? { senders: row.senders } : {}),
    ...(Object.keys(row.smpp).length > 0 ? { smpp: row.smpp } : {}),
    ...(Object.keys(row.mail).length > 0 ? { mail: row.mail } : {}),
    ...(Object.keys(row.consent).length > 0 ? { consent: row.consent } : {}),
    ...(Object.keys(otp).length > 0 ? { otp } : {}),
  }
}

/** The settings of one account; undefined: there is none. */
export async function accountWritten(
  client: Pick<SqlClient, 'query'>,
  systemId: string,
): Promise<Record<string, unknown> | undefined> {
  const row = (await client.query<AccountRecord>(`${ACCOUNT} where system_id = $1`, [systemId])).rows[0]
  return row && settingsOf(row)
}

function keyEntry({ prefix, hash, name, scopes, kind, expires, allowFrom }: AccountRecord['keys'][number]): object {
  return {
    prefix,
    hash: writtenHash(Buffer.from(hash, 'hex')),
    ...(name === '' ? {} : { name }),
    ...(scopes.length === 0 ? {} : { scopes }),
    ...(kind === 'live' ? {} : { kind }),
    ...(expires === null ? {} : { expires: new Date(expires).toISOString() }),
    ...(allowFrom.length === 0 ? {} : { allowFrom }),
  }
}

function hookEntry({ url, events, secret, settings }: AccountRecord['hooks'][number]): object {
  return { url, events, sealed: writtenSeal(Buffer.from(secret, 'base64')), ...settings }
}

function carrierEntry(row: CarrierRecord): object {
  const sealed = row.secret ? { sealed: writtenSeal(row.secret) } : {}
  return { name: row.name, kind: row.kind, ...(row.settings as object), ...sealed, paused: row.paused }
}

function routeEntry(row: StoredRoute): object {
  const to = row.targets.map(({ carrier, weight }) => (weight === null ? carrier : { carrier, weight }))
  return {
    ...(row.name === '' ? {} : { name: row.name }),
    match: row.match,
    to,
    ...(row.choose_by === '' ? {} : { by: row.choose_by }),
    ...(row.named === 'any' ? { named: row.named } : {}),
  }
}

const networkEntry = ({ mccmnc, name, prefixes }: NetworkRow): object => ({
  mccmnc,
  ...(name === '' ? {} : { name }),
  prefixes,
})

const blockedEntry = ({ account, prefix, reason }: BlockedRow): object => ({
  prefix,
  ...(account === '' ? {} : { account }),
  ...(reason === '' ? {} : { reason }),
})

interface AccountRecord {
  id: number
  system_id: string
  account_group: string
  organisation: string | null
  limits: Record<string, unknown>
  tariff: string | null
  secret: Buffer | null
  suspended: string | null
  throughput: number
  max_binds: number
  class: MessageClass
  weight: number
  max_waiting: number | null
  service_types: Record<string, MessageClass>
  credit_micros: number | null
  quiet_hours: string | null
  smpp: Record<string, unknown>
  mail: Record<string, unknown>
  consent: Record<string, unknown>
  otp: Record<string, unknown>
  senders: string[]
  numbers: string[]
  /** secret in base64 */
  hooks: { url: string; events: string[]; secret: string; settings: object }[]
  /** hash in hex */
  keys: {
    prefix: string
    hash: string
    name: string
    scopes: string[]
    kind: string
    /** ms */
    expires: number | null
    allowFrom: string[]
  }[]
}
const ACCOUNT = `
  select id, system_id, account_group, secret, suspended, throughput, max_binds, class, weight, max_waiting, service_types,
    credit_micros, quiet_hours, smpp, mail, consent, otp, limits,
    (select o.name from organisations o where o.id = a.organisation) as organisation,
    (select t.name from tariffs t where t.id = a.tariff) as tariff,
    array(select address from senders where account = a.id order by address) as senders,
    array(select number from numbers where account = a.id order by number) as numbers,
    (select coalesce(jsonb_agg(jsonb_build_object('url', url, 'events', events, 'secret', encode(secret, 'base64'),
      'settings', settings) order by slot), '[]') from webhooks where account = a.id) as hooks,
    (select coalesce(jsonb_agg(jsonb_build_object('prefix', prefix, 'hash', encode(hash, 'hex'), 'name', name,
      'scopes', scopes, 'kind', kind, 'expires', floor(extract(epoch from expires_at) * 1000), 'allowFrom', allow_from)
      order by created_at, hash), '[]') from api_keys where account = a.id) as keys
  from accounts a`
const ACCOUNTS = `${ACCOUNT} where id > $1 order by id limit $2`

interface CarrierRecord {
  name: string
  kind: CarrierKind
  settings: unknown
  secret: Buffer | null
  paused: boolean
}
const CARRIERS = 'select name, kind, settings, secret, paused from carriers order by id'
const ROUTES = 'select id, position, name, match, targets, choose_by, named from routes order by position, id'
const NETWORKS = 'select mccmnc, name, prefixes from networks order by mccmnc'
const BLOCKED = 'select account, prefix, reason from blocked order by account, prefix'
