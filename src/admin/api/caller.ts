// Who asks: the account of the API key that a request bears, or of the person who has logged in, and what they may do.
// Guessing is slowed down by network. Which scope a route needs the route itself says, by `needs`.

import type { IncomingMessage } from 'node:http'
import type { FastifyRequest } from 'fastify'
import { mayComeFrom, networkOf } from '../../../protocols/net/address.js'
import type { Account } from '../../accounts/account.js'
import type { Actor } from '../../accounts/audit.js'
import {
  hasScope,
  type KeyBounds,
  type KeyGrant,
  type KeyKind,
  objectionTo,
  type Scope,
  type ScopeSet,
  scopeSet,
  scopesOf,
} from '../../accounts/keys.js'
import { type People, scopesOfRole } from '../../accounts/people.js'
import type { LiveSession } from '../../accounts/peopleRows.js'
import { looksLikeToken } from '../../accounts/peopleTokens.js'
import type { Clock } from '../../base/clock.js'
import type { Counters } from '../../base/figures.js'
import type { Log } from '../../base/log.js'
import { Quiet } from '../../base/quiet.js'
import { FailedBinds } from '../../intake/smpp/failures.js'
import { keyIn, scopeMissing, testKey } from '../access.js'
import type { Peers } from '../peer.js'
import { Problem } from '../problem.js'
import { asking } from './changing.js'

/** Wrong keys of one network: later and later answers, then none for a while. */
const LIMITS = { delayMs: 2_000, barredAfter: 20, barredMs: 300_000 }
const LINES = 2
const LINES_IN_ALL = 60
/** Whoever is known by where they are alone may send, and makes no key that is good elsewhere. */
const WITHOUT_KEY = scopeSet(['messages:*', 'otp:write', 'templates:read', 'webhooks:read', 'account:read'])
const BEARER = 'send your API key as Authorization: Bearer or X-API-Key'

export interface CallerHost {
  readonly clock: Clock
  readonly counters: Counters
  readonly log: Log
  readonly peers: Peers
  account(id: number): Account | undefined
  accountBySystemId(systemId: string): Account | undefined
  key(key: string): KeyGrant | undefined
  /** In hex. */
  keyByHash(hash: string): KeyGrant | undefined
  readonly people: People
  keyUsed(id: number): void
  /** Whose requests without a key are, where none is needed; undefined: one is. */
  withoutKey(request: FastifyRequest): Account | undefined
}

export interface Caller {
  readonly account: Account
  readonly scopes: ScopeSet
  /** Of a test key nothing reaches a carrier. */
  readonly kind: KeyKind
  /** Of the key; null: a person asks, or nobody who could make keys. */
  readonly bounds: KeyBounds | null
  /** For the audit. */
  readonly actor: Actor
}

export interface Me {
  kind: 'person' | 'key'
  email: string | null
  name: string
  organisation: string | null
  role: LiveSession['role'] | null
  operator: boolean
  /** system_ids */
  accounts: string[]
  scopes: string[]
}

const addressRefused = (): Problem =>
  new Problem(403, 'address_refused', 'Not from here', 'the account may not be used from this address')
const tokenRefused = (): Problem =>
  new Problem(401, 'token_refused', 'The token is no good', 'it has expired or was revoked: get another')

function checkAddress(account: Account, ip: string): void {
  if (!mayComeFrom(account.smpp.allowFrom, ip)) throw addressRefused()
}

function checkLive({ suspended }: Account): void {
  if (suspended === null) return
  throw new Problem(403, 'account_suspended', 'The account is suspended', 'ask whoever runs this gateway')
}

/** The access token of a request; undefined: it bears none. */
function tokenIn(request: IncomingMessage): string | undefined {
  const given = keyIn(request)
  return given !== undefined && looksLikeToken(given) ? given : undefined
}

/**
 * The scope that a route needs, as part of its options: `routes.get(path, { ...needs('messages:read'), schema }, ...)`.
 * `isOfLive`: what it changes is not the sandbox's alone, and no test key may.
 */
export const needs = <More extends object>(
  scope: Scope,
  more?: More,
): { config: { scope: Scope } & Partial<More> } => ({ config: { ...more, scope } as { scope: Scope } & Partial<More> })

const isOfLive = (config: unknown): boolean => (config as { isOfLive?: boolean } | undefined)?.isOfLive === true

/** Of a route; undefined: it has not said. */
export const scopeOf = (config: unknown): Scope | undefined => (config as { scope?: Scope } | undefined)?.scope

export class Callers {
  private readonly host: CallerHost
  private readonly failures: FailedBinds
  private readonly quiet: Quiet

  constructor(host: CallerHost) {
    this.host = host
    this.failures = new FailedBinds(LIMITS, host.clock.mono)
    this.quiet = new Quiet(LINES, LINES_IN_ALL, host.clock.mono)
  }

  /** Whose key the request bears, if it may do what the route is for. Throws the Problem to answer with, in its time. */
  async of(request: FastifyRequest): Promise<Caller> {
    const caller = await this.known(request)
    const scope = scopeOf(request.routeOptions.config)
    // Whoever is suspended may have to see what is owed.
    if (scope !== 'billing:read' || request.method !== 'GET') checkLive(caller.account)
    if (scope !== undefined && !hasScope(caller.scopes, scope)) throw scopeMissing(scope)
    if (caller.kind === 'test' && isOfLive(request.routeOptions.config)) {
      throw testKey('what it would change is told of real messages too: use a live key')
    }
    return caller
  }

  /** Who one is, whatever one may do. */
  async me(request: FastifyRequest): Promise<Me> {
    const token = tokenIn(request.raw)
    const session = token === undefined ? undefined : await this.sessionOf(token)
    if (session === undefined) {
      const { account, scopes, actor } = await this.known(request)
      checkLive(account)
      const of = { email: null, organisation: null, role: null, operator: false, accounts: [account.systemId] }
      return { kind: 'key', name: actor.who, ...of, scopes: scopesOf(scopes) }
    }
    const { email, name, organisation, role, operator } = session
    const accounts = session.accounts.flatMap(id => this.host.account(id)?.systemId ?? [])
    const scopes = scopesOf(scopesOfRole(role, operator))
    return { kind: 'person', email, name, organisation, role, operator, accounts, scopes }
  }

  private async known(request: FastifyRequest): Promise<Caller> {
    const token = tokenIn(request.raw)
    if (token !== undefined) return this.ofToken(token, request)
    const key = keyIn(request.raw)
    if (key === undefined) return this.withoutKey(request)
    return this.byKey(key, this.host.peers.address(request.raw))
  }

  private withoutKey(request: FastifyRequest): Caller {
    const account = this.host.withoutKey(request)
    if (account === undefined) throw new Problem(401, 'key_missing', 'A key is needed', BEARER)
    const from = this.host.peers.address(request.raw)
    checkAddress(account, from)
    const actor = { who: `no key, for ${account.systemId}`, from }
    return { account, scopes: WITHOUT_KEY, kind: 'live', bounds: null, actor }
  }

  /** `id`: which key it must be. */
  async ofKey(key: string, ip: string, id?: string): Promise<Caller> {
    const caller = await this.byKey(key, ip, id)
    checkLive(caller.account)
    return caller
  }

  private async byKey(key: string, ip: string, id?: string): Promise<Caller> {
    const network = networkOf(ip)
    const grant = this.host.key(key)
    const isGood = grant !== undefined && (id === undefined || id === String(grant.id))
    // Many stand behind one address: a good key, which nobody guesses, is let in whatever the others did.
    if (isGood) return this.ofGrant(grant, ip)
    if (this.failures.isBarred(network)) {
      throw new Problem(429, 'too_many_failures', 'Too many wrong keys', 'try again in some minutes', {
        retry_after_s: LIMITS.barredMs / 1_000,
      })
    }
    return this.refuse(network, ip)
  }

  private async ofToken(token: string, request: FastifyRequest): Promise<Caller> {
    const bearer = await this.host.people.tokens.read(token)
    if (bearer?.kind === 'key') {
      const grant = this.host.keyByHash(bearer.hash)
      if (grant === undefined) throw tokenRefused()
      const caller = this.ofGrant(grant, this.host.peers.address(request.raw))
      return bearer.scopes.length === 0 ? caller : { ...caller, scopes: this.narrowed(caller.scopes, bearer.scopes) }
    }
    const session = bearer && (await asking(() => this.host.people.person(bearer.session)))
    if (session === undefined) throw tokenRefused()
    const account = this.accountFor(session, request.headers['x-account'])
    const from = this.host.peers.address(request.raw)
    checkAddress(account, from)
    const actor = { who: session.email, from }
    return { account, scopes: scopesOfRole(session.role, session.operator), kind: 'live', bounds: null, actor }
  }

  /** The session of the person who asks. Throws the Problem where it is no person. */
  async sessionId(request: FastifyRequest): Promise<string> {
    const token = tokenIn(request.raw)
    if (token === undefined || (await this.sessionOf(token)) === undefined) {
      checkLive((await this.known(request)).account)
      throw new Problem(403, 'not_a_person', 'Not a person', 'a key has no sessions: log in')
    }
    const bearer = await this.host.people.tokens.read(token)
    if (bearer?.kind !== 'person') throw tokenRefused()
    return bearer.session
  }

  private async sessionOf(token: string): Promise<LiveSession | undefined> {
    const bearer = await this.host.people.tokens.read(token)
    if (bearer?.kind === 'key') return undefined
    const session = bearer && (await asking(() => this.host.people.person(bearer.session)))
    if (session === undefined) throw tokenRefused()
    return session
  }

  /** Those of `scopes` that were asked for. */
  narrowed(scopes: ScopeSet, words: readonly string[]): ScopeSet {
    return scopes & scopeSet(words)
  }

  /** The account that a person means: the one that X-Account names, or the only one of the organisation. */
  private accountFor({ accounts }: LiveSession, named: string | string[] | undefined): Account {
    if (typeof named === 'string') {
      const account = this.host.accountBySystemId(named)
      if (account !== undefined && accounts.includes(account.id)) return account
      throw new Problem(403, 'account_refused', 'Not your account', `${named} is no account of your organisation`)
    }
    const [first, second] = accounts
    const account = first === undefined ? undefined : this.host.account(first)
    if (account !== undefined && second === undefined) return account
    if (first === undefined) {
      throw new Problem(403, 'no_account', 'No account', 'your organisation has none: ask whoever runs this gateway')
    }
    throw new Problem(422, 'account_missing', 'Which account?', 'name one of your organisation in the header X-Account')
  }

  private ofGrant(grant: KeyGrant, ip: string): Caller {
    const { host } = this
    const account = host.account(grant.account)
    if (account === undefined) throw tokenRefused()
    const nowMs = host.clock.now()
    const objection = objectionTo(grant, nowMs, ip)
    if (objection === 'expired') {
      throw new Problem(401, 'key_expired', 'The key has expired', 'make a new one, or ask whoever runs this gateway')
    }
    if (objection === 'address') throw addressRefused()
    checkAddress(account, ip)
    host.keyUsed(grant.id)
    const actor = { who: `key ${grant.id} of ${account.systemId}`, from: ip }
    return { account, scopes: grant.scopes, kind: grant.kind, bounds: grant, actor }
  }

  private async refuse(network: string, from: string): Promise<never> {
    const delayMs = this.failures.add(network, '')
    this.host.counters.add('api_keys_refused')
    this.quiet.warn(this.host.log, network, { from }, 'API key refused')
    if (delayMs > 0) await new Promise(resolve => setTimeout(resolve, delayMs))
    throw new Problem(401, 'key_refused', 'The key is refused', 'this is no API key of this gateway')
  }
}
