// Templates as rows in SQL: made, edited, removed, listed; their versions and how often they were used. Every change is
// one transaction with its line in the audit. Statements and the shapes they answer with; who may do it is not asked here.

import { type Actor, audited } from '../../accounts/audit.js'
import type { SmsType } from '../../intake/web/fields.js'
import type { TemplateContent, TemplateVariable } from '../../model/templateText.js'
import type { SqlClient, Store } from '../../store/postgres.js'
import { codeOf } from '../../store/retry.js'
import { contentOf, type TemplateChange, type TemplateFields, type VariableGiven } from './content.js'

/** Of one owner; those made within a day count even when they were removed. */
const MAX_TEMPLATES = 10_000
/** Of one template: every node has them all. */
const MAX_VERSIONS = 500
/** Of one owner's templates in all their versions; those removed within a day count. */
const MAX_OCTETS = 16 * 2 ** 20
/** What nodes load in one go: rows that are looked at, and the octets that stop it. */
const PAGE = 100
const PAGE_OCTETS = 1_000_000
const UNIQUE_VIOLATION = '23505'
export const TEMPLATES_CHANNEL = 'trunkline_templates'

/** Whose templates: an account's; null = the gateway's own, which every account may use. */
export type TemplateOwner = number | null

export interface TemplateRow extends TemplateContent {
  readonly id: number
  readonly account: TemplateOwner
  readonly name: string
  readonly category: string
  readonly smsType: SmsType
  readonly active: boolean
  /** Whose content it is. */
  readonly version: number
  readonly newest: number
  readonly createdAt: Date
  readonly updatedAt: Date
  readonly deletedAt: Date | null
  readonly uses: number
  readonly lastAt: Date | null
}

export interface VersionRow extends TemplateContent {
  readonly version: number
  readonly who: string
  readonly createdAt: Date
}

/** As nodes copy it. */
export interface TemplateHead {
  readonly id: number
  readonly account: TemplateOwner
  readonly name: string
  readonly category: string
  readonly smsType: SmsType
  readonly active: boolean
  readonly version: number
  readonly deleted: boolean
  readonly change: number
}

export type TemplateRefusal = 'exists' | 'gone' | 'no_version' | 'changed' | 'too_many' | 'too_large'
export class TemplateRefused extends Error {
  readonly why: TemplateRefusal
  constructor(why: TemplateRefusal) {
    super(why)
    this.why = why
  }
}

/** A version on its way to a node. */
export type TemplateVersion = TemplateContent & { readonly template: number; readonly version: number }

export interface TemplatePage {
  /** An account's: with those of the gateway. */
  readonly owner: TemplateOwner
  readonly category?: string | undefined
  readonly smsType?: SmsType | undefined
  readonly active?: boolean | undefined
  /** Ids above this one. */
  readonly after: number
  readonly offset: number
  readonly limit: number
}

export class TemplateRows {
  private readonly store: Pick<Store, 'query' | 'transaction'>

  constructor(store: Pick<Store, 'query' | 'transaction'>) {
    this.store = store
  }

  // ---- for people

  /** Its id. Throws TemplateFaulty, {@link TemplateRefused}. */
  create(actor: Actor, owner: TemplateOwner, fields: TemplateFields): Promise<number> {
    const content = contentOf(fields)
    const { name, category, sms_type, is_active } = fields
    return this.write(async client => {
      const values = [owner, name, category, sms_type, is_active, octetsOf(content), MAX_TEMPLATES]
      const { rows } = await client.query<{ id: number }>(createFor(owner), values)
      const id = rows[0]?.id
      if (id === undefined) throw new TemplateRefused('too_many')
      await addVersion(client, id, owner, 1, content, actor)
      await audited(client, actor, { action: 'template.create', subject: name, changes: { id, account: owner } })
      return id
    })
  }

  /** The number of its newest version then. Throws TemplateFaulty, {@link TemplateRefused}. */
  edit(actor: Actor, id: number, { version: changed, ...change }: TemplateChange): Promise<number> {
    return this.write(async client => {
      const row = await locked(client, id)
      if (changed !== undefined && changed !== row.version) throw new TemplateRefused('changed')
      const given = change.content ?? change.locales ?? change.variables
      const content = given === undefined ? row : changedContent(row, change)
      const { name = row.name, category = row.category, sms_type = row.smsType, is_active = row.active } = change
      const isSame =
        name === row.name && category === row.category && sms_type === row.smsType && is_active === row.active
      if (!isSame) await client.query(EDIT, [id, name, category, sms_type, is_active])
      const version = await renewed(client, id, row, content, actor)
      if (isSame && version === row.version) return version
      const changes = { id, fields: Object.keys(change), version }
      await audited(client, actor, { action: 'template.edit', subject: name, changes })
      return version
    })
  }

  /** The text of one of its versions, as its newest: the number of that. Throws {@link TemplateRefused}. */
  restore(actor: Actor, id: number, restored: number): Promise<number> {
    return this.write(async client => {
      const row = await locked(client, id)
      const content = await contentAt(client, id, restored)
      if (content === undefined) throw new TemplateRefused('no_version')
      const version = await renewed(client, id, row, content, actor)
      if (version === row.version) return version
      const changes = { id, restored, version }
      await audited(client, actor, { action: 'template.restore', subject: row.name, changes })
      return version
    })
  }

  /** Its versions stay. Throws {@link TemplateRefused}. */
  remove(actor: Actor, id: number): Promise<void> {
    return this.write(async client => {
      const { rows } = await client.query<{ name: string }>(REMOVE, [id])
      if (rows[0] === undefined) throw new TemplateRefused('gone')
      await audited(client, actor, { action: 'template.remove', subject: rows[0].name, changes: { id } })
    })
  }

  private async write<T>(work: (client: SqlClient) => Promise<T>): Promise<T> {
    try {
      return await this.store.transaction(work)
    } catch (error) {
      throw codeOf(error) === UNIQUE_VIOLATION ? new TemplateRefused('exists') : error
    }
  }

  async list({ owner, category, smsType, active, after, offset, limit }: TemplatePage): Promise<TemplateRow[]> {
    const values: unknown[] = [category ?? null, smsType ?? null, active ?? null, after, offset, limit]
    if (owner !== null) values.push(owner)
    return (await this.store.query<TemplateRow & Record<string, unknown>>(listFor(owner), values)).rows
  }

  /** Also one that was removed. `version`: undefined = its newest. */
  async one(owner: TemplateOwner, id: number, version?: number): Promise<TemplateRow | undefined> {
    const values = [id, owner, version ?? null]
    return (await this.store.query<TemplateRow & Record<string, unknown>>(ONE, values)).rows[0]
  }

  /** The newest first. */
  async versions(id: number, limit: number): Promise<VersionRow[]> {
    return (await this.store.query<VersionRow & Record<string, unknown>>(VERSIONS, [id, limit])).rows
  }

  // ---- for nodes

  async head(): Promise<{ identity: string; newest: number }> {
    return (await this.store.query<{ identity: string; newest: number }>(HEAD)).rows[0] as never
  }

  async changes(after: number, count: number): Promise<TemplateHead[]> {
    return (await this.store.query<TemplateHead & Record<string, unknown>>(CHANGES, [after, count])).rows
  }

  /** Versions of those templates above the one that is known of each, in the order of `ids`: one at least, if there are any. */
  async versionsAbove(
    ids: readonly number[],
    known: readonly number[],
  ): Promise<{ versions: TemplateVersion[]; isMore: boolean }> {
    const { rows } = await this.store.query<TemplateVersion & { seen: number }>(ABOVE, [ids, known, PAGE, PAGE_OCTETS])
    const seen = rows[0]?.seen ?? 0
    return { versions: rows, isMore: seen === PAGE || rows.length < seen }
  }

  /** Which of them are not there at all. */
  async missing(ids: readonly number[]): Promise<number[]> {
    return (await this.store.query<{ id: number }>(MISSING, [ids])).rows.map(({ id }) => id)
  }

  /**
   * Takes away `count` at most that were removed before then and are not named by what was made since `usedSince`; how
   * many went. Nodes are not told: they ask for what is {@link missing}.
   */
  forget(removedBefore: Date, usedSince: Date, count: number): Promise<number> {
    return this.store.transaction(async client => {
      const { rowCount } = await client.query(FORGET, [removedBefore, usedSince, count])
      const gone = rowCount ?? 0
      const changes = { templates: gone, before: removedBefore.toISOString() }
      if (gone > 0) await audited(client, nobody, { action: 'template.forget', subject: '', changes })
      return gone
    })
  }

  /** Of templates that are gone nothing is written. */
  async addUses(uses: readonly { id: number; count: number; lastMs: number }[]): Promise<void> {
    const values = [
      uses.map(({ id }) => id),
      uses.map(({ count }) => count),
      uses.map(({ lastMs }) => new Date(lastMs)),
    ]
    await this.store.query(ADD_USES, values)
  }
}

const nobody: Actor = { who: 'trunkline', from: '' }

/**
 * As it is now, and nobody else's to change until the transaction ends. In two statements: the first one waits for another
 * edit, and would see the versions that were there before it.
 */
async function locked(client: SqlClient, id: number): Promise<LockedRow> {
  const [row] = (await client.query<Omit<LockedRow, keyof TemplateContent>>(LOCK, [id])).rows
  if (row === undefined) throw new TemplateRefused('gone')
  return { ...row, ...((await contentAt(client, id, row.version)) as TemplateContent) }
}
type LockedRow = Pick<
  TemplateRow,
  'account' | 'name' | 'category' | 'smsType' | 'active' | 'version' | keyof TemplateContent
>

async function contentAt(client: SqlClient, id: number, version: number): Promise<TemplateContent | undefined> {
  return (await client.query<TemplateContent>(CONTENT, [id, version])).rows[0]
}

/** The number of its newest version once it says that: another one, unless it says so already. */
async function renewed(
  client: SqlClient,
  id: number,
  row: LockedRow,
  content: TemplateContent,
  actor: Actor,
): Promise<number> {
  if (sameContent(row, content)) return row.version
  const version = row.version + 1
  if (version > MAX_VERSIONS) throw new TemplateRefused('too_many')
  await client.query(RENEW, [id, version, octetsOf(content)])
  await addVersion(client, id, row.account, version, content, actor)
  return version
}

/** Its template is written before: that waits for all others that write templates, so that what is added up here holds. */
async function addVersion(
  client: SqlClient,
  id: number,
  owner: TemplateOwner,
  version: number,
  { content, locales, variables }: TemplateContent,
  actor: Actor,
): Promise<void> {
  const { rows } = await client.query<{ octets: number }>(octetsFor(owner), owner === null ? [] : [owner])
  if ((rows[0]?.octets ?? 0) > MAX_OCTETS) throw new TemplateRefused('too_large')
  await client.query(ADD_VERSION, [id, version, content, locales, JSON.stringify(variables), actor.who])
}

const octetsOf = ({ content, locales, variables }: TemplateContent): number =>
  Buffer.byteLength(JSON.stringify([content, locales, variables]))

/** What is not said stays; variables that no text has any more go. */
function changedContent(row: TemplateContent, change: TemplateChange): TemplateContent {
  const { content = row.content, locales = row.locales, variables = [] } = change
  return contentOf({ content, locales, variables }, change.variables === undefined ? row.variables : [])
}

const written = ({ content, locales, variables }: TemplateContent): string =>
  JSON.stringify([content, Object.entries(locales).sort(), variables.map(writtenVariable).sort()])
const writtenVariable = ({ name, required, default: preset, maxLength, pattern }: TemplateVariable): string =>
  JSON.stringify([name, required, preset, maxLength, pattern])
const sameContent = (one: TemplateContent, other: TemplateContent): boolean => written(one) === written(other)

/** As it came: for whoever gives it back. */
export const variableGiven = ({ name, required, default: preset, maxLength, pattern }: TemplateVariable) =>
  ({ name, required, default: preset, max_length: maxLength, pattern }) satisfies VariableGiven

const HEAD = 'select identity, (select coalesce(max(change), 0) from templates) as newest from gateway'
const HEADS = `id, account, name, category, sms_type as "smsType", active, version, deleted_at is not null as deleted, change`
const CHANGES = `select ${HEADS} from templates where change > $1 order by change limit $2`
const ABOVE = `
  with page as (
    select k.n, v.*, octet_length(v.content) + octet_length(v.locales::text) + octet_length(v.variables::text) as octets
    from unnest($1::int[], $2::int[]) with ordinality as k(template, known, n)
    join template_versions v on v.template = k.template and v.version > k.known
    order by k.n, v.version limit $3)
  select template, version, content, locales, variables, (select count(*) from page) as seen
  from (select *, sum(octets) over (order by n, version) - octets as before from page) as p
  where before < $4 order by n, version`
const MISSING = `
  select k.id from unnest($1::int[]) as k(id) where not exists (select from templates t where t.id = k.id)`
const FORGET = `
  delete from templates where id in (
    select id from templates t
    where deleted_at < $1 and not exists (select from template_uses u where u.template = t.id and u.last_at >= $2)
    order by deleted_at limit $3 for update skip locked)`
const FIELDS = `t.id, t.account, t.name, t.category, t.sms_type as "smsType", t.active, v.version, t.version as newest,
  v.content, v.locales, v.variables, t.created_at as "createdAt", t.updated_at as "updatedAt", t.deleted_at as "deletedAt"`
const LOCK = `
  select account, name, category, sms_type as "smsType", active, version from templates
  where id = $1 and deleted_at is null for update`
const CONTENT = 'select content, locales, variables from template_versions where template = $1 and version = $2'
const ALL = `${FIELDS}, coalesce(u.uses, 0)::bigint as uses, u.last_at as "lastAt"`
const listFor = (owner: TemplateOwner): string => `
  select ${ALL} from templates t
  join template_versions v on v.template = t.id and v.version = t.version left join template_uses u on u.template = t.id
  where t.deleted_at is null and ${owner === null ? 't.account is null' : '(t.account = $7 or t.account is null and t.active)'}
    and ($1::text is null or t.category = $1) and ($2::text is null or t.sms_type = $2)
    and ($3::boolean is null or t.active = $3) and t.id > $4
  order by t.id offset $5 limit $6`
const ONE = `
  select ${ALL} from templates t
  join template_versions v on v.template = t.id and v.version = coalesce($3, t.version)
  left join template_uses u on u.template = t.id
  where t.id = $1 and (t.account is null or t.account = $2)`
const VERSIONS = `
  select version, content, locales, variables, who, created_at as "createdAt" from template_versions
  where template = $1 order by version desc limit $2`
const createFor = (owner: TemplateOwner): string => `
  insert into templates (account, name, category, sms_type, active, octets)
  select $1::int, $2, $3, $4, $5, $6::int
  where (
    select count(*) from templates
    where account ${owner === null ? 'is null' : '= $1'} and (deleted_at is null or created_at > now() - interval '1 day')
  ) < $7
  returning id`
const EDIT = `
  update templates set name = $2, category = $3, sms_type = $4, active = $5, updated_at = now() where id = $1`
const RENEW = 'update templates set version = $2, octets = octets + $3, updated_at = now() where id = $1'
const octetsFor = (owner: TemplateOwner): string => `
  select coalesce(sum(octets), 0)::float8 as octets from templates
  where account ${owner === null ? 'is null' : '= $1'} and (deleted_at is null or deleted_at > now() - interval '1 day')`
const REMOVE = `
  update templates set deleted_at = now(), updated_at = now() where id = $1 and deleted_at is null returning name`
const ADD_VERSION = `
  insert into template_versions (template, version, content, locales, variables, who) values ($1, $2, $3, $4, $5, $6)`
const ADD_USES = `
  insert into template_uses (template, uses, last_at)
  select k.id, k.count, k.at from unnest($1::int[], $2::bigint[], $3::timestamptz[]) as k(id, count, at)
  join templates t on t.id = k.id order by k.id
  on conflict (template) do update
    set uses = template_uses.uses + excluded.uses, last_at = greatest(template_uses.last_at, excluded.last_at)`
