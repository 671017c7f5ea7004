// People: they register, log in and out, refresh what they were given, choose another password, and are administered. Whoever
// is unknown is answered as whoever is wrong, and as late. Knows users, roles and sessions; HTTP is admin/api's.

import { randomBytes, timingSafeEqual } from 'node:crypto'
import type { Clock } from '../base/clock.js'
import type { Counters } from '../base/figures.js'
import type { Log } from '../base/log.js'
import type { SqlClient, Store } from '../store/postgres.js'
import { logged } from '../store/retry.js'
import { type Actor, audited } from './audit.js'
import { type ScopeSet, scopeSet } from './keys.js'
import { PeoplePasswords } from './peoplePasswords.js'
import {
  addReset,
  addUser,
  changeUser,
  endOwnSession,
  endSession,
  endSessions,
  forgetOldSessions,
  type LiveSession,
  liveSession,
  organisationId,
  ownSessions,
  type Role,
  renewSession,
  type SessionEntry,
  type Sql,
  sessionEntry,
  startSession,
  takeReset,
  type UserEntry,
  type UserRow,
  userByEmail,
  userEntry,
} from './peopleRows.js'
import { PeopleTokens, TOKEN_LIFE_S } from './peopleTokens.js'
import type { Secrets } from './secrets.js'
import { writing } from './writing.js'

/** A refresh token lives so long after it was given. */
const REFRESH_LIFE_S = 30 * 86_400
const RESET_LIFE_S = 3_600
/** Tokens of one person that are good at one time, of those that anybody may ask for: no more than are mailed in their life. */
const MOST_RESETS = 5
/** What a session is good for is asked again after this. */
const LIVE_MS = 1_000
const MAX_LIVE = 1_000
const FORGET_MS = 3_600_000
/** Octets. Of each 16 characters in a token. */
const RANDOM_OF_REFRESH = 12
const MARK_OF_REFRESH = 16
/** Octets, as SQL has it. */
export const MOST_ORGANISATION = 100
const LOGGED_OUT = 'logged out'

/** What each role may do with the accounts of its organisation; none listed: all that an account may. */
const MAY: Readonly<Record<Role, readonly string[]>> = {
  owner: [],
  admin: [],
  developer: ['messages:*', 'webhooks:*', 'otp:write', 'templates:*', 'account:read'],
  viewer: ['messages:read', 'webhooks:read', 'templates:read', 'account:read'],
}
export const scopesOfRole = (role: Role, operator: boolean): ScopeSet =>
  scopeSet(MAY[role]) | (operator ? scopeSet(['admin:*']) : 0)

/** Told to a person, or to programs that do it for us. */
export type TellPerson = (email: string, type: string, data: Readonly<Record<string, unknown>>) => void

export interface PeopleHost {
  readonly store: Store
  readonly secrets: Secrets
  readonly clock: Clock
  readonly counters: Counters
  readonly log: Log
  /** Whether anybody may register. */
  readonly isOpen: boolean
  readonly tell: TellPerson
}

export interface Tokens {
  access_token: string
  token_type: 'Bearer'
  /** Seconds. */
  expires_in: number
  refresh_token: string
  refresh_expires_in: number
}

type Reset = { token: string; expires_at: string }

/** There is no user of this address. */
export class NoUser extends Error {
  constructor(email: string) {
    super(`there is no user ${email}: 'trunkline user list' shows those there are`)
  }
}
export class UserRefused extends Error {}

export interface UserFields {
  email: string
  name: string
  password?: string | undefined
  /** By its name; made if there is none. */
  organisation?: string | undefined
  role: Role
  operator: boolean
}

export class People {
  readonly tokens: PeopleTokens
  private readonly host: PeopleHost
  private readonly passwords = new PeoplePasswords()
  /** What is known of sessions for the moment. */
  private readonly live = new Map<string, { readonly untilMs: number; readonly session: LiveSession | undefined }>()
  private forgetting: NodeJS.Timeout | undefined

  constructor(host: PeopleHost) {
    this.host = host
    this.tokens = new PeopleTokens(host.secrets.signing, host.clock)
  }

  get isOpen(): boolean {
    return this.host.isOpen
  }

  start(): void {
    const { store, log } = this.host
    const forget = (): void => {
      if (!store.ready) return
      forgetOldSessions(store).catch(error => log.debug({ ...logged(error) }, 'old sessions stay for now'))
    }
    this.forgetting = setInterval(forget, FORGET_MS).unref()
  }

  stop(): void {
    clearInterval(this.forgetting)
  }

  /** The same to see for an address that is taken: its owner is told. Throws Busy, or what SQL throws. */
  async register(email: string, password: string, name: string, organisation: string): Promise<void> {
    const { store, secrets } = this.host
    const hash = await this.passwords.hash(password)
    const subject = email.toLowerCase()
    const isNew = await writing(store, secrets, async client => {
      // Statement by statement the same for an address that is taken: its time must not tell, nor what SQL says of names.
      await client.query('savepoint registration')
      const wanted = organisation === '' ? cutTo(subject, MOST_ORGANISATION) : organisation
      // Nobody comes into another's organisation by its name.
      const taken = await client.query('select from organisations where name = $1', [wanted])
      const of = taken.rowCount ? `${cutTo(wanted, MOST_ORGANISATION - 9)}-${randomBytes(4).toString('hex')}` : wanted
      const made = { email, name, password: hash, organisation: await organisationId(client, of) }
      const isNew = (await addUser(client, { ...made, role: 'owner', operator: false })) !== undefined
      await client.query(isNew ? 'release savepoint registration' : 'rollback to savepoint registration')
      const action = isNew ? 'user.register' : 'user.registered_again'
      await audited(client, by(email), { action, subject, changes: isNew ? { organisation: of } : {} })
      return isNew
    })
    if (!isNew) this.host.tell(subject, 'user.registered_again', {})
  }

  /** Undefined: unknown, suspended or wrong, all of which take as long. Throws Busy, or what SQL throws. */
  async login(email: string, password: string): Promise<Tokens | undefined> {
    const { store, counters } = this.host
    const user = await userByEmail(store, email)
    const isRight = await this.passwords.verify(password, user?.password ?? null)
    if (user === undefined || !isRight || user.suspended !== null) {
      counters.add('logins_refused')
      return undefined
    }
    counters.add('logins')
    const id = randomBytes(16).toString('hex')
    const { text, hash } = this.refreshToken(id)
    await store.transaction(client => startSession(client, id, user.id, hash, REFRESH_LIFE_S))
    return this.given(id, text)
  }

  /**
   * The next pair of tokens. Undefined: the token is no good. One that was used before shows that somebody else has it: the
   * session ends for both.
   */
  async refresh(token: string): Promise<Tokens | undefined> {
    const { store, secrets, log, counters } = this.host
    const id = sessionIn(token)
    if (id === undefined) return undefined
    const { text, hash } = this.refreshToken(id)
    if (await renewSession(store, id, secrets.tokenHash(token), hash, REFRESH_LIFE_S)) return this.given(id, text)
    // Whoever knows the session's name alone ends it for nobody.
    if (!this.isOurs(token)) return undefined
    const reused = await store.transaction(async client => {
      const email = await endSession(client, id, 'a refresh token was used twice')
      if (email !== undefined) await audited(client, by(email), { action: 'user.token_reused', subject: email })
      return email
    })
    this.live.delete(id)
    if (reused !== undefined) {
      counters.add('refresh_tokens_reused')
      log.warn({ user: reused }, 'a refresh token was used twice: the session is ended')
      this.host.tell(reused, 'user.session_revoked', { reason: 'a refresh token was used twice' })
    }
    return undefined
  }

  /** Ends the session that the refresh token is of; it need not be the newest, but one that we gave. */
  async logout(token: string): Promise<void> {
    const id = sessionIn(token)
    if (id === undefined || !this.isOurs(token)) return
    await endSession(this.host.store, id, LOGGED_OUT)
    this.live.delete(id)
  }

  /** The sessions that the user of `session` has now, the newest first. */
  async sessions(session: string): Promise<SessionEntry[]> {
    return (await ownSessions(this.host.store, session)).map(row => sessionEntry(row, session))
  }

  /** Ends another session of the user of `session`, or that one; false: they have none of this id. */
  async endOwn(session: string, id: string): Promise<boolean> {
    const email = await endOwnSession(this.host.store, session, id, LOGGED_OUT)
    this.live.delete(id)
    return email !== undefined
  }

  /** Whose session it is now; undefined: it is over. */
  async person(session: string): Promise<LiveSession | undefined> {
    const nowMs = this.host.clock.mono()
    const known = this.live.get(session)
    if (known !== undefined && known.untilMs > nowMs) return known.session
    const found = await liveSession(this.host.store, session)
    if (this.live.size >= MAX_LIVE) this.live.clear()
    this.live.set(session, { untilMs: nowMs + LIVE_MS, session: found })
    return found
  }

  /** Tells the user how to choose another password, if there is one; nobody learns whether. */
  async requestReset(email: string): Promise<void> {
    const user = await userByEmail(this.host.store, email)
    if (user === undefined || user.suspended !== null) return
    const made = await this.newReset(this.host.store, user, MOST_RESETS)
    if (made === undefined) {
      this.host.counters.add('password_resets_held')
      this.host.log.info({ user: user.email, most: MOST_RESETS }, 'no other token for a password: those told are good')
      return
    }
    this.host.tell(user.email, 'user.password_reset', made)
  }

  /** Such a token for an administrator to hand on. Throws {@link NoUser}. */
  issueReset(actor: Actor, email: string): Promise<Reset> {
    return this.changing(email, async (client, user) => {
      await audited(client, actor, { action: 'user.reset', subject: user.email })
      return (await this.newReset(client, user, Number.MAX_SAFE_INTEGER)) as Reset
    })
  }

  /** Undefined: they have `most` already. */
  private async newReset(sql: Sql, user: UserRow, most: number): Promise<Reset | undefined> {
    const { secrets, clock } = this.host
    const token = `tlp_${randomBytes(24).toString('base64url')}`
    const isMade = await addReset(sql, user.id, secrets.tokenHash(token), RESET_LIFE_S, most)
    return isMade ? { token, expires_at: new Date(clock.now() + RESET_LIFE_S * 1000).toISOString() } : undefined
  }

  /** False: the token is no good. All sessions of the user end. */
  async confirmReset(token: string, password: string): Promise<boolean> {
    const { store, secrets } = this.host
    const hash = await this.passwords.hash(password)
    const done = await store.transaction(async client => {
      const email = await takeReset(client, secrets.tokenHash(token), hash, 'another password')
      if (email === undefined) return false
      await audited(client, by(email), { action: 'user.password', subject: email })
      return true
    })
    if (done) this.live.clear()
    return done
  }

  // ---- by administrators

  /** Throws {@link UserRefused}, Busy, or what SQL throws. */
  async add(actor: Actor, fields: UserFields): Promise<UserEntry> {
    const { store, secrets } = this.host
    const { email, name, password, organisation, role, operator } = fields
    const hash = password === undefined ? null : await this.passwords.hash(password)
    return writing(store, secrets, async client => {
      const of = organisation === undefined ? null : await organisationId(client, organisation)
      const made = await addUser(client, { email, name, password: hash, organisation: of, role, operator })
      if (made === undefined) throw new UserRefused(`there is a user ${email} already`)
      const changes = {
        role,
        ...(operator ? { operator } : {}),
        ...(organisation === undefined ? {} : { organisation }),
      }
      await audited(client, actor, { action: 'user.add', subject: email.toLowerCase(), changes })
      return userEntry((await userByEmail(client, email)) as UserRow)
    })
  }

  /** Throws {@link NoUser}, or what SQL throws. */
  async edit(
    actor: Actor,
    email: string,
    change: {
      name?: string | undefined
      role?: Role | undefined
      operator?: boolean | undefined
      organisation?: string | null | undefined
    },
  ): Promise<UserEntry> {
    return this.changing(email, async (client, user) => {
      const { organisation, ...rest } = change
      const of = typeof organisation === 'string' ? await organisationId(client, organisation) : organisation
      await changeUser(client, user.id, { ...rest, organisation: of })
      const changes = Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined))
      await audited(client, actor, { action: 'user.edit', subject: user.email, changes })
      return userEntry((await userByEmail(client, email)) as UserRow)
    })
  }

  /** Shuts a user out, sessions and all (`why`), or lets them in again (null). */
  async suspend(actor: Actor, email: string, why: string | null): Promise<UserEntry> {
    return this.changing(email, async (client, user) => {
      if (user.suspended !== why) {
        await changeUser(client, user.id, { suspended: why })
        if (why !== null) await endSessions(client, user.id, 'suspended')
        const action = why === null ? 'user.resume' : 'user.suspend'
        await audited(client, actor, { action, subject: user.email, reason: why ?? '' })
      }
      return userEntry({ ...user, suspended: why })
    })
  }

  async remove(actor: Actor, email: string, reason: string): Promise<void> {
    await this.changing(email, async (client, user) => {
      await client.query('delete from users where id = $1', [user.id])
      await audited(client, actor, { action: 'user.remove', subject: user.email, reason })
    })
  }

  private async changing<T>(email: string, work: (client: SqlClient, user: UserRow) => Promise<T>): Promise<T> {
    const { store, secrets } = this.host
    const done = await writing(store, secrets, async client => {
      const user = await userByEmail(client, email)
      if (user === undefined) throw new NoUser(email)
      return work(client, user)
    })
    this.live.clear()
    return done
  }

  // ---- tokens

  private refreshToken(session: string): { text: string; hash: Buffer } {
    const begun = `tlr_${session}_${randomBytes(RANDOM_OF_REFRESH).toString('base64url')}`
    const text = begun + this.markOf(begun)
    return { text, hash: this.host.secrets.tokenHash(text) }
  }

  /** The end of a refresh token shows that we gave it, long after another has taken its place. */
  private markOf(begun: string): string {
    return this.host.secrets.tokenHash(begun).subarray(0, RANDOM_OF_REFRESH).toString('base64url')
  }

  private isOurs(token: string): boolean {
    const begun = token.slice(0, -MARK_OF_REFRESH)
    return timingSafeEqual(Buffer.from(token.slice(-MARK_OF_REFRESH)), Buffer.from(this.markOf(begun)))
  }

  private async given(session: string, refresh: string): Promise<Tokens> {
    return {
      access_token: await this.tokens.sign({ kind: 'person', session }),
      token_type: 'Bearer',
      expires_in: TOKEN_LIFE_S,
      refresh_token: refresh,
      refresh_expires_in: REFRESH_LIFE_S,
    }
  }
}

/** Without half a character at its end. */
const cutTo = (text: string, octets: number): string =>
  Buffer.from(text)
    .subarray(0, octets)
    .toString()
    .replace(/\ufffd$/, '')

const by = (email: string): Actor => ({ who: email.toLowerCase(), from: '' })

/** The session that a refresh token names. */
const sessionIn = (token: string): string | undefined => /^tlr_([0-9a-f]{32})_[\w-]{32}$/.exec(token)?.[1]
