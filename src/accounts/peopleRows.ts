// People as rows in SQL: users, the organisations that they and accounts belong to, sessions, tokens for another password.
// Statements and their shapes; who may do what is people.ts's.

import type { Store } from '../store/postgres.js'

export const roles = ['owner', 'admin', 'developer', 'viewer'] as const
export type Role = (typeof roles)[number]

export interface UserRow {
  id: number
  email: string
  name: string
  password: string | null
  organisation: string | null
  role: Role
  operator: boolean
  suspended: string | null
  created_at: Date
  last_login_at: Date | null
}

/** A user as others may see them. */
export interface UserEntry {
  email: string
  name: string
  organisation: string | null
  role: Role
  operator: boolean
  /** Why; null = live. */
  suspended: string | null
  has_password: boolean
  created_at: string
  last_login_at: string | null
}

/** Any connection, or the one of a transaction. */
export type Sql = Pick<Store, 'query'>

export const userEntry = ({ id: _, password, created_at, last_login_at, ...user }: UserRow): UserEntry => ({
  ...user,
  has_password: password !== null,
  created_at: created_at.toISOString(),
  last_login_at: last_login_at?.toISOString() ?? null,
})

export async function userByEmail(sql: Sql, email: string): Promise<UserRow | undefined> {
  return (await sql.query<UserRow>(`${USERS} where u.email = $1`, [email.toLowerCase()])).rows[0]
}

/** In the order of their addresses. */
export async function users(
  sql: Sql,
  asked: { search?: string | undefined; organisation?: string | undefined; after: string; limit: number },
): Promise<UserRow[]> {
  const { search, organisation, after, limit } = asked
  const pattern = search === undefined ? null : `%${search.toLowerCase().replace(/[\\%_]/g, '\\$&')}%`
  return (await sql.query<UserRow>(LIST, [after, pattern, organisation ?? null, limit])).rows
}

/** The id of the organisation of this name, made if need be. */
export async function organisationId(sql: Sql, name: string): Promise<number> {
  await sql.query('insert into organisations (name) values ($1) on conflict do nothing', [name])
  const { rows } = await sql.query<{ id: number }>('select id from organisations where name = $1', [name])
  return rows[0]?.id as number
}

export interface NewUser {
  email: string
  name: string
  /** argon2 */
  password: string | null
  organisation: number | null
  role: Role
  operator: boolean
}

/** Undefined: there is one of this address. */
export async function addUser(sql: Sql, user: NewUser): Promise<number | undefined> {
  const { email, name, password, organisation, role, operator } = user
  const { rows } = await sql.query<{ id: number }>(
    `insert into users (email, name, password, organisation, role, operator) values ($1, $2, $3, $4, $5, $6)
    on conflict do nothing returning id`,
    [email.toLowerCase(), name, password, organisation, role, operator],
  )
  return rows[0]?.id
}

export interface UserChange {
  name?: string | undefined
  role?: Role | undefined
  operator?: boolean | undefined
  /** null: none. */
  organisation?: number | null | undefined
  suspended?: string | null | undefined
}

export async function changeUser(sql: Sql, id: number, change: UserChange): Promise<void> {
  for (const column of ['name', 'role', 'operator', 'organisation', 'suspended'] as const) {
    const value = change[column]
    if (value !== undefined) await sql.query(`update users set ${column} = $2 where id = $1`, [id, value])
  }
}

/** What a session is good for at this moment. */
export interface LiveSession {
  readonly email: string
  readonly name: string
  readonly role: Role
  readonly operator: boolean
  readonly organisation: string | null
  /** Ids of the accounts that the organisation has. */
  readonly accounts: readonly number[]
}

/** Undefined: it has ended, or its user is suspended or gone. */
export async function liveSession(sql: Sql, id: string): Promise<LiveSession | undefined> {
  return (await sql.query<LiveSession>(LIVE, [id])).rows[0]
}

export async function startSession(sql: Sql, id: string, user: number, token: Buffer, lifeS: number): Promise<void> {
  await sql.query(
    `insert into sessions (id, person, token, expires_at) values ($1, $2, $3, now() + make_interval(secs => $4))`,
    [id, user, token, lifeS],
  )
  await sql.query('update users set last_login_at = now() where id = $1', [user])
}

/** Another refresh token in place of the one that was used; false: that one is no good (any more). */
export async function renewSession(sql: Sql, id: string, old: Buffer, token: Buffer, lifeS: number): Promise<boolean> {
  const { rowCount } = await sql.query(
    `update sessions s set token = $3, used_at = now(), expires_at = now() + make_interval(secs => $4) from users u
    where s.id = $1 and s.token = $2 and s.ended is null and s.expires_at > now()
      and u.id = s.person and u.suspended is null`,
    [id, old, token, lifeS],
  )
  return rowCount === 1
}

/** The address of the user whose session it was; undefined: it had ended before. */
export async function endSession(sql: Sql, id: string, why: string): Promise<string | undefined> {
  const { rows } = await sql.query<{ email: string }>(
    `update sessions s set ended = $2 from users u
    where s.id = $1 and s.ended is null and s.expires_at > now() and u.id = s.person returning u.email`,
    [id, why],
  )
  return rows[0]?.email
}

export async function endSessions(sql: Sql, user: number, why: string): Promise<void> {
  await sql.query('update sessions set ended = $2 where person = $1 and ended is null', [user, why])
}

/**
 * Those that they have stay good: anybody may ask for one in another's name. False: they have `most` that are, and no other is
 * made; asked at once it may be a few more.
 */
export async function addReset(sql: Sql, user: number, hash: Buffer, lifeS: number, most: number): Promise<boolean> {
  const { rowCount } = await sql.query(
    `insert into password_resets (hash, person, expires_at) select $1, $2, now() + make_interval(secs => $3)
    where (select count(*) from password_resets where person = $2 and expires_at > now()) < $4`,
    [hash, user, lifeS, most],
  )
  return rowCount === 1
}

/**
 * Another password for whose token it is: uses up all tokens that they have, and ends their sessions. Whose address; undefined:
 * it is no good (any more). Of two tokens of one person that come at once, one is.
 */
export async function takeReset(sql: Sql, hash: Buffer, password: string, why: string): Promise<string | undefined> {
  return (await sql.query<{ email: string }>(TAKE_RESET, [hash, password, why])).rows[0]?.email
}

interface SessionRow {
  id: string
  created_at: Date
  used_at: Date
  expires_at: Date
}

/** A session as its person sees it. */
export interface SessionEntry {
  id: string
  /** The one that asks. */
  current: boolean
  created_at: string
  /** When it got its last pair of tokens. */
  used_at: string
  expires_at: string
}

export const sessionEntry = ({ id, ...at }: SessionRow, current: string): SessionEntry => ({
  id,
  current: id === current,
  created_at: at.created_at.toISOString(),
  used_at: at.used_at.toISOString(),
  expires_at: at.expires_at.toISOString(),
})

/** Those of the person whose session it is, which have not ended, the newest first. */
export async function ownSessions(sql: Sql, session: string): Promise<SessionRow[]> {
  const { rows } = await sql.query<SessionRow>(
    `select s.id, s.created_at, s.used_at, s.expires_at from sessions s
    where s.person = (select person from sessions where id = $1) and s.ended is null and s.expires_at > now()
    order by s.created_at desc, s.id limit 200`,
    [session],
  )
  return rows
}

/** Ends one of them; undefined: the person has no such session. */
export async function endOwnSession(sql: Sql, session: string, id: string, why: string): Promise<string | undefined> {
  const { rows } = await sql.query<{ id: string }>(
    `update sessions set ended = $3 where id = $2 and ended is null and expires_at > now()
      and person = (select person from sessions where id = $1) returning id`,
    [session, id, why],
  )
  return rows[0]?.id
}

/** What has been over for long. */
export async function forgetOldSessions(sql: Sql): Promise<void> {
  await sql.query(`delete from sessions where expires_at < now() - interval '1 day'`)
  await sql.query('delete from password_resets where expires_at < now()')
}

/**
 * The lock on the person makes a second one wait; what the first has deleted is then nothing that it deletes itself, and
 * without a token of its own it changes nothing.
 */
const TAKE_RESET = `
  with mine as (
    select u.id, u.email from password_resets r join users u on u.id = r.person
    where r.hash = $1 and r.expires_at > now() and u.suspended is null for update of u
  ), used as (
    delete from password_resets r using mine where r.person = mine.id returning r.hash
  ), good as (
    select mine.id, mine.email from mine where exists (select from used where hash = $1)
  ), over as (
    update sessions s set ended = $3 from good where s.person = good.id and s.ended is null
  )
  update users u set password = $2 from good where u.id = good.id returning u.email`
const USERS = `
  select u.id, u.email, u.name, u.password, o.name as organisation, u.role, u.operator, u.suspended, u.created_at,
    u.last_login_at
  from users u left join organisations o on o.id = u.organisation`
const LIST = `
  ${USERS} where u.email > $1 and ($2::text is null or u.email like $2 or lower(u.name) like $2)
    and ($3::text is null or o.name = $3)
  order by u.email limit $4`
const LIVE = `
  select u.email, u.name, u.role, u.operator, o.name as organisation,
    array(select id from accounts where organisation = u.organisation order by id limit 1000) as accounts
  from sessions s join users u on u.id = s.person left join organisations o on o.id = u.organisation
  where s.id = $1 and s.ended is null and s.expires_at > now() and u.suspended is null`
