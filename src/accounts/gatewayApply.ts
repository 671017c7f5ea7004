// Makes the rows match a gateway file, in one transaction: what the file leaves out of a
// section it has is removed. Knows rows and how they are told apart; the file's own faults
// are gatewayFile's.

import { readFile } from 'node:fs/promises'
import type { Log } from '../base/log.js'
import type { SqlClient, Store } from '../store/postgres.js'
import { audited } from './audit.js'
import { moneyLeft } from './balances.js'
import { carrierRecords, putCarrier } from './carrierRows.js'
import { storedConsentProfile } from './consentProfile.js'
import { type FileAccount, type FileCarrier, type GatewayFault, type GatewayFile, parseGateway } from './gatewayFile.js'
import { applyHooks } from './hookRows.js'
import { hookOwner } from './hooks.js'
import { applyInbound, checkInboundAccounts } from './inboundRows.js'
import { storedMailProfile } from './mailProfile.js'
import { storedOtpProfile } from './otpProfile.js'
import { storedQuota } from './quota.js'
import { type FileBlocked, type FileNetwork, type FileRoute, type StoredRoute, storedMatch } from './route.js'
import { type Secrets, shownPrefix } from './secrets.js'
import { storedProfile } from './smppProfile.js'
import { applyTariffs, removeTariffs } from './tariffSection.js'
import { begin, LOCK, Refused } from './writing.js'

export interface SectionReport {
  created: number
  updated: number
  removed: number
  unchanged: number
}

/** For each section that the file has. */
export type GatewayReport = { [Section in keyof GatewayFile]?: SectionReport }

export type Applied = { ok: true; report: GatewayReport } | { ok: false; faults: GatewayFault[] }

/** Accounts in one go: their hashes keep the event loop under 5 ms. */
const SLICE = 100

class RolledBack extends Error {
  readonly report: GatewayReport
  constructor(report: GatewayReport) {
    super('rolled back, as asked')
    this.report = report
  }
}

/**
 * Accounts are told apart by systemId, carriers by name, routes by name or else by match. A password, API keys, `paused`
 * and `suspended` that the file does not give stay as they are. With `dryRun` all is done and undone. Throws when SQL fails.
 */
export async function applyGateway(
  store: Store,
  secrets: Secrets,
  file: GatewayFile,
  options: { dryRun?: boolean } = {},
): Promise<Applied> {
  try {
    const report = await store.transaction(async client => {
      const done = await applyIn(client, secrets, file)
      if (options.dryRun) throw new RolledBack(done)
      await auditApplied(client, 'trunkline apply', done)
      return done
    })
    return { ok: true, report }
  } catch (error) {
    if (error instanceof RolledBack) return { ok: true, report: error.report }
    if (error instanceof Refused) return { ok: false, faults: error.faults }
    throw error
  }
}

/**
 * Applies the file at `path` if nobody ever wrote to this database, once over all nodes. Undefined when somebody did.
 * Throws when SQL fails or the file cannot be read.
 */
export async function bootstrapIfEmpty(
  store: Store,
  secrets: Secrets,
  path: string,
  log: Log,
): Promise<Applied | undefined> {
  const isEmpty = async (client: SqlClient): Promise<boolean> =>
    (await client.query<{ empty: boolean }>(IS_EMPTY)).rows[0]?.empty === true
  if (!(await store.withClient(isEmpty))) return undefined
  const parsed = parseGateway(await readFile(path, 'utf8'))
  if (!parsed.ok) return parsed
  try {
    const report = await store.transaction(async client => {
      await client.query('select pg_advisory_xact_lock($1)', [LOCK])
      if (!(await isEmpty(client))) return undefined
      const done = await applyIn(client, secrets, parsed.file)
      await auditApplied(client, 'bootstrap', done)
      await client.query('update gateway set bootstrapped_at = now()')
      return done
    })
    if (report === undefined) return undefined
    log.info({ file: path, ...report }, 'the empty database was filled from the bootstrap file')
    return { ok: true, report }
  } catch (error) {
    if (error instanceof Refused) return { ok: false, faults: error.faults }
    throw error
  }
}

const IS_EMPTY = `
  select bootstrapped_at is null and not exists (select from accounts) and not exists (select from carriers)
    and not exists (select from routes) as empty
  from gateway`

/** What changed nothing is not told. */
async function auditApplied(client: SqlClient, who: string, report: GatewayReport): Promise<void> {
  const changes = Object.fromEntries(
    Object.entries(report).filter(([, { created, updated, removed }]) => created + updated + removed > 0),
  )
  if (Object.keys(changes).length > 0)
    await audited(client, { who, from: '' }, { action: 'gateway.apply', subject: '', changes })
}

async function applyIn(client: SqlClient, secrets: Secrets, file: GatewayFile): Promise<GatewayReport> {
  await begin(client, secrets)
  const report: GatewayReport = {}
  if (file.tariffs) report.tariffs = await applyTariffs(client, file.tariffs)
  if (file.accounts) report.accounts = await applyAccounts(client, secrets, file.accounts)
  if (file.tariffs && report.tariffs) report.tariffs.removed = await removeTariffs(client, file.tariffs)
  if (file.carriers) report.carriers = await applyCarriers(client, secrets, file.carriers)
  if (file.routes) report.routes = await applyRoutes(client, file.routes)
  if (file.carriers || file.routes) await checkTargets(client)
  if (file.networks) report.networks = await applyNetworks(client, file.networks)
  if (file.blocked) report.blocked = await applyBlocked(client, file.blocked)
  if (file.inbound) report.inbound = await applyInbound(client, file.inbound)
  if (file.accounts || file.inbound) await checkInboundAccounts(client)
  return report
}

// ---- accounts: by the thousand, so SQL does the comparing

async function applyAccounts(
  client: SqlClient,
  secrets: Secrets,
  accounts: readonly FileAccount[],
): Promise<SectionReport> {
  await stage(client, secrets, accounts)
  const removed = await removeAccounts(client)
  const { created, updated } = await putStaged(client, secrets, accounts)
  return { created, updated, removed, unchanged: accounts.length - created - updated }
}

/** Those that the file leaves out. Throws {@link Refused} while any of them has money. */
async function removeAccounts(client: SqlClient): Promise<number> {
  const { rows } = await client.query<{ id: number }>(LEFT_OUT)
  const ids = rows.map(({ id }) => id)
  const faults = (await moneyLeft(client, ids)).map(({ account, why }) => ({
    path: 'accounts',
    text: `leaves out ${account}, but ${why}`,
  }))
  const [first, ...more] = faults
  if (first) throw new Refused(first.path, first.text, more)
  return (await client.query('delete from accounts where id = any($1)', [ids])).rowCount ?? 0
}

/** Makes one account as it is given here, and lets all others be. True when anything was changed. */
export async function putAccount(client: SqlClient, secrets: Secrets, one: FileAccount): Promise<boolean> {
  await stage(client, secrets, [one])
  const { created, updated } = await putStaged(client, secrets, [one])
  return created + updated > 0
}

async function stage(client: SqlClient, secrets: Secrets, accounts: readonly FileAccount[]): Promise<void> {
  await client.query(STAGE)
  for (let from = 0; from < accounts.length; from += SLICE) {
    const rows = accounts.slice(from, from + SLICE).map((one, i) => staged(secrets, one, from + i))
    await client.query(FILL_STAGE, [JSON.stringify(rows)])
  }
  await client.query('analyze staged')
}

async function putStaged(
  client: SqlClient,
  secrets: Secrets,
  accounts: readonly FileAccount[],
): Promise<{ created: number; updated: number }> {
  const unknown = (await client.query<{ place: number; tariff: string }>(UNKNOWN_TARIFF)).rows[0]
  if (unknown) throw new Refused(`accounts[${unknown.place}].tariff`, `names no tariff: ${unknown.tariff}`)
  await client.query(ADD_ORGANISATIONS)
  const touched = new Set<number>()
  for (const statement of CHANGE_ACCOUNTS) {
    const { rows } = await client.query<{ id: number }>(statement)
    for (const { id } of rows) touched.add(id)
  }
  const created = await client.query<{ id: number }>(CREATE_ACCOUNTS)
  for (const statement of CHANGE_BELONGINGS) {
    const { rows } = await client.query<{ id: number }>(statement)
    for (const { id } of rows) touched.add(id)
  }
  await client.query('drop table staged')
  for (const id of await applyAllHooks(client, secrets, accounts)) touched.add(id)
  for (const { id } of created.rows) touched.delete(id)
  return { created: created.rows.length, updated: touched.size }
}

/** Few have any, and secrets are sealed here. */
async function applyAllHooks(
  client: SqlClient,
  secrets: Secrets,
  accounts: readonly FileAccount[],
): Promise<readonly number[]> {
  const touched: number[] = []
  for (const [i, { systemId, webhooks }] of accounts.entries()) {
    if (webhooks === undefined) continue
    for (const [j, { sealed }] of webhooks.entries()) {
      if (sealed !== undefined && secrets.unseal(hookOwner(systemId), sealed) === undefined) {
        throw new Refused(
          `accounts[${i}].webhooks[${j}].sealed`,
          'was sealed under another server key or for another account',
        )
      }
    }
    const { rows } = await client.query<{ id: number }>('select id from accounts where system_id = $1', [systemId])
    const id = rows[0]?.id as number
    if (await applyHooks(client, secrets, { id, systemId }, webhooks)) touched.push(id)
  }
  return touched
}

const bytea = (octets: Buffer | undefined): string | null => (octets ? `\\x${octets.toString('hex')}` : null)

/** A key of which nothing is said. */
const plainKey = { name: '', scopes: [], kind: 'live', expires_at: null, allow_from: [] }

function staged(secrets: Secrets, one: FileAccount, place: number): Record<string, unknown> {
  const { systemId, password, apiKey } = one
  const secret = password === undefined ? one.passwordHash : secrets.passwordHash(systemId, password)
  const keys =
    apiKey === undefined
      ? one.apiKeys?.map(({ expires, allowFrom, ...key }) => ({ ...key, expires_at: expires, allow_from: allowFrom }))
      : [{ ...plainKey, prefix: shownPrefix(apiKey), hash: secrets.keyHash(apiKey) }]
  return {
    place,
    system_id: systemId,
    secret: bytea(secret),
    keeps_suspended: one.suspended === undefined,
    suspended: one.suspended ?? null,
    throughput: one.throughput,
    max_binds: one.maxBinds,
    class: one.class,
    account_group: one.group,
    weight: one.weight,
    max_waiting: one.maxWaiting,
    service_types: one.serviceTypes,
    credit_micros: one.credit,
    quiet_hours: one.quietHours,
    smpp: storedProfile(one.smpp),
    mail: storedMailProfile(one.mail),
    consent: storedConsentProfile(one.consent),
    otp: storedOtpProfile(one.otp),
    limits: storedQuota(one.limits),
    organisation: one.organisation,
    tariff: one.tariff,
    senders: one.senders,
    numbers: one.numbers,
    keys: keys?.map(key => ({ ...key, hash: bytea(key.hash) })) ?? null,
  }
}

const STAGED_COLUMNS = `place int, system_id text, secret bytea, keeps_suspended boolean, suspended text, throughput int,
  max_binds int, class text, account_group text, weight int, max_waiting int, service_types jsonb, credit_micros bigint, quiet_hours text, smpp jsonb, mail jsonb, consent jsonb, otp jsonb, limits jsonb, organisation text, tariff text,
  senders jsonb,
  numbers jsonb, keys jsonb`
const STAGE = `create temp table staged (${STAGED_COLUMNS}) on commit drop`
const FILL_STAGE = `insert into staged select * from jsonb_to_recordset($1::jsonb) as one(${STAGED_COLUMNS})`

const LEFT_OUT = `
  select id from accounts a where not exists (select from staged s where s.system_id = a.system_id)`

const ADD_ORGANISATIONS = `
  insert into organisations (name) select distinct organisation from staged where organisation <> ''
  on conflict do nothing`
const UNKNOWN_TARIFF = `
  select place, tariff from staged where tariff is not null and tariff not in (select name from tariffs)
  order by place limit 1`
const TARIFF = '(select t.id from tariffs t where t.name = s.tariff)'
const ORGANISATION = '(select o.id from organisations o where o.name = s.organisation)'

const CHANGE_ACCOUNTS = [
  `update accounts a set
    (secret, suspended, throughput, max_binds, class, account_group, weight, max_waiting, service_types, credit_micros, quiet_hours, smpp, mail,
      consent, otp, limits, organisation, tariff, updated_at) =
    (coalesce(s.secret, a.secret), case when s.keeps_suspended then a.suspended else s.suspended end,
      s.throughput, s.max_binds, s.class, s.account_group, s.weight, s.max_waiting, s.service_types, s.credit_micros, s.quiet_hours, s.smpp, s.mail,
      s.consent, s.otp, s.limits, ${ORGANISATION}, ${TARIFF}, now())
  from staged s
  where s.system_id = a.system_id and
    (a.secret, a.suspended, a.throughput, a.max_binds, a.class, a.account_group, a.weight, a.max_waiting, a.service_types,
      a.credit_micros, a.quiet_hours, a.smpp, a.mail, a.consent, a.otp, a.limits, a.organisation, a.tariff) is distinct from
    (coalesce(s.secret, a.secret), case when s.keeps_suspended then a.suspended else s.suspended end,
      s.throughput, s.max_binds, s.class, s.account_group, s.weight, s.max_waiting, s.service_types, s.credit_micros, s.quiet_hours, s.smpp, s.mail,
      s.consent, s.otp, s.limits, ${ORGANISATION}, ${TARIFF})
  returning a.id`,
]

const CREATE_ACCOUNTS = `
  insert into accounts (system_id, secret, suspended, throughput, max_binds, class, account_group, weight, max_waiting, service_types,
    credit_micros, quiet_hours, smpp, mail, consent, otp, limits, organisation, tariff)
  select system_id, secret, suspended, throughput, max_binds, class, account_group, weight, max_waiting, service_types, credit_micros,
    quiet_hours, smpp, mail, consent, otp, limits, ${ORGANISATION}, ${TARIFF}
  from staged s where not exists (select from accounts a where a.system_id = s.system_id)
  order by place
  returning id`

const CHANGE_BELONGINGS = [
  `delete from senders d using accounts a
  where a.id = d.account and not exists (
    select from staged s cross join jsonb_array_elements_text(s.senders) t(address)
    where s.system_id = a.system_id and t.address = d.address)
  returning d.account as id`,
  `insert into senders (account, address)
  select a.id, t.address from staged s join accounts a on a.system_id = s.system_id
    cross join jsonb_array_elements_text(s.senders) t(address)
  on conflict do nothing
  returning account as id`,
  `delete from numbers d using accounts a join staged o on o.system_id = a.system_id
  where a.id = d.account and not exists (
    select from staged s cross join jsonb_array_elements_text(s.numbers) t(number) where t.number = d.number)
  returning d.account as id`,
  `insert into numbers (number, account)
  select t.number, a.id from staged s join accounts a on a.system_id = s.system_id
    cross join jsonb_array_elements_text(s.numbers) t(number)
  on conflict (number) do update set account = excluded.account where numbers.account <> excluded.account
  returning account as id`,
  `delete from api_keys d using accounts a join staged s on s.system_id = a.system_id
  where a.id = d.account and s.keys is not null and not exists (
    select from jsonb_to_recordset(s.keys) as t(hash bytea) where t.hash = d.hash)
  returning d.account as id`,
  `insert into api_keys (hash, account, prefix, name, scopes, kind, expires_at, allow_from)
  select t.hash, a.id, t.prefix, t.name, t.scopes, t.kind, t.expires_at, t.allow_from
  from staged s join accounts a on a.system_id = s.system_id cross join jsonb_to_recordset(s.keys) as
    t(hash bytea, prefix text, name text, scopes text[], kind text, expires_at timestamptz, allow_from text[])
  on conflict (hash) do update set account = excluded.account, prefix = excluded.prefix, name = excluded.name,
    scopes = excluded.scopes, kind = excluded.kind, expires_at = excluded.expires_at, allow_from = excluded.allow_from
  where (api_keys.account, api_keys.prefix, api_keys.name, api_keys.scopes, api_keys.kind, api_keys.expires_at,
      api_keys.allow_from) is distinct from
    (excluded.account, excluded.prefix, excluded.name, excluded.scopes, excluded.kind, excluded.expires_at,
      excluded.allow_from)
  returning account as id`,
]

// ---- carriers and routes: few, compared here

async function applyCarriers(
  client: SqlClient,
  secrets: Secrets,
  carriers: readonly FileCarrier[],
): Promise<SectionReport> {
  const present = new Map((await carrierRecords(client)).map(row => [row.name, row]))
  const report: SectionReport = { created: 0, updated: 0, removed: 0, unchanged: 0 }
  for (const [i, one] of carriers.entries()) {
    const known = present.get(one.name)
    present.delete(one.name)
    report[await putCarrier(client, secrets, one, known, `carriers[${i}].`)]++
  }
  report.removed = await removeRows(client, 'carriers', [...present.values()])
  return report
}

async function applyRoutes(client: SqlClient, routes: readonly FileRoute[]): Promise<SectionReport> {
  const { rows } = await client.query<StoredRoute>(
    'select id, position, name, match, targets, choose_by, named from routes order by position, id',
  )
  const present = new Set(rows)
  const report: SectionReport = { created: 0, updated: 0, removed: 0, unchanged: 0 }
  // A name that moves from one row to another must be free in between.
  const wanted = routes.map(one => ({
    name: one.name ?? '',
    match: JSON.stringify(storedMatch(one.match)),
    to: one.to,
    by: one.by ?? ('' as const),
    named: one.named,
  }))
  const pairs = wanted.map(one => {
    const known = rows.find(
      row =>
        present.has(row) &&
        row.name === one.name &&
        (one.name !== '' || JSON.stringify(storedMatch(row.match)) === one.match),
    )
    if (known) present.delete(known)
    return { one, known }
  })
  report.removed = await removeRows(client, 'routes', [...present])
  for (const [i, { one, known }] of pairs.entries()) {
    const values = [i + 1, one.name, one.match, JSON.stringify(one.to), one.by, one.named]
    if (known === undefined) {
      await client.query(INSERT_ROUTE, values)
      report.created++
      continue
    }
    const targets = known.targets.map(({ carrier, weight }) => ({ carrier, weight }))
    const isUnchanged =
      known.position === i + 1 &&
      JSON.stringify(storedMatch(known.match)) === one.match &&
      JSON.stringify(targets) === JSON.stringify(one.to) &&
      known.choose_by === one.by &&
      known.named === one.named
    if (isUnchanged) report.unchanged++
    else {
      await client.query(
        `update routes set position = $1, name = $2, match = $3, targets = $4, choose_by = $5, named = $6,
          updated_at = now() where id = $7`,
        [...values, known.id],
      )
      report.updated++
    }
  }
  return report
}

const INSERT_ROUTE =
  'insert into routes (position, name, match, targets, choose_by, named) values ($1, $2, $3, $4, $5, $6)'

// ---- networks and blocked prefixes: SQL compares

async function applyNetworks(client: SqlClient, networks: readonly FileNetwork[]): Promise<SectionReport> {
  const rows = JSON.stringify(networks)
  const removed = await client.query(
    `delete from networks d where not exists (
      select from jsonb_to_recordset($1::jsonb) as t(mccmnc text) where t.mccmnc = d.mccmnc)`,
    [rows],
  )
  const { rows: changed } = await client.query<{ created: boolean }>(
    `insert into networks (mccmnc, name, prefixes)
    select * from jsonb_to_recordset($1::jsonb) as t(mccmnc text, name text, prefixes jsonb)
    on conflict (mccmnc) do update set name = excluded.name, prefixes = excluded.prefixes
    where (networks.name, networks.prefixes) is distinct from (excluded.name, excluded.prefixes)
    returning xmax = 0 as created`,
    [rows],
  )
  return reportOf(networks.length, removed.rowCount, changed)
}

async function applyBlocked(client: SqlClient, blocked: readonly FileBlocked[]): Promise<SectionReport> {
  const rows = JSON.stringify(blocked.map(one => ({ ...one, account: one.account ?? '' })))
  const removed = await client.query(
    `delete from blocked d where not exists (
      select from jsonb_to_recordset($1::jsonb) as t(account text, prefix text)
      where t.account = d.account and t.prefix = d.prefix)`,
    [rows],
  )
  const { rows: changed } = await client.query<{ created: boolean }>(
    `insert into blocked (account, prefix, reason)
    select * from jsonb_to_recordset($1::jsonb) as t(account text, prefix text, reason text)
    on conflict (account, prefix) do update set reason = excluded.reason
    where blocked.reason <> excluded.reason
    returning xmax = 0 as created`,
    [rows],
  )
  return reportOf(blocked.length, removed.rowCount, changed)
}

function reportOf(count: number, removed: number | null, changed: readonly { created: boolean }[]): SectionReport {
  const created = changed.filter(row => row.created).length
  const updated = changed.length - created
  return { created, updated, removed: removed ?? 0, unchanged: count - created - updated }
}

async function removeRows(client: SqlClient, table: 'carriers' | 'routes', rows: { id: number }[]): Promise<number> {
  if (rows.length === 0) return 0
  return (await client.query(`delete from ${table} where id = any($1)`, [rows.map(row => row.id)])).rowCount ?? 0
}

/** A file may have routes without carriers or the other way: the rest of the rows must still fit. */
async function checkTargets(client: SqlClient): Promise<void> {
  const { rows } = await client.query<{ position: number; carrier: string }>(`
    select position, t.carrier from routes cross join jsonb_to_recordset(targets) as t(carrier text)
    where not exists (select from carriers c where c.name = t.carrier) order by position`)
  const first = rows[0]
  if (first) throw new Refused(`routes[${first.position - 1}].to`, `names no carrier: ${first.carrier}`)
  const ofMail = await client.query<{ position: number; carrier: string }>(`
    select position, t.carrier from routes cross join jsonb_to_recordset(targets) as t(carrier text)
    where exists (select from carriers c where c.name = t.carrier and c.kind = 'smtp') order by position`)
  const mail = ofMail.rows[0]
  if (mail)
    throw new Refused(
      `routes[${mail.position - 1}].to`,
      `names a carrier of mail: text messages cannot go to ${mail.carrier}`,
    )
}
