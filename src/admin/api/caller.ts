// Who asks: the account of the API key that a request bears, and what that key may do. Guessing is slowed down by network.
// Knows keys and addresses; which scope a route needs the route itself says, by `needs`.

import type { FastifyRequest } from 'fastify'
import { mayComeFrom, networkOf } from '../../../protocols/net/address.js'
import type { Account } from '../../accounts/account.js'
import type { Actor } from '../../accounts/audit.js'
import { hasScope, type KeyGrant, type KeyKind, objectionTo, type Scope, type ScopeSet } from '../../accounts/keys.js'
import type { Clock } from '../../base/clock.js'
import type { Counters } from '../../base/figures.js'
import type { Log } from '../../base/log.js'
import { Quiet } from '../../base/quiet.js'
import { FailedBinds } from '../../intake/smpp/failures.js'
import { keyIn, scopeMissing } from '../access.js'
import { Problem } from '../problem.js'

/** Wrong keys of one network: later and later answers, then none for a while. */
const LIMITS = { delayMs: 2_000, barredAfter: 20, barredMs: 300_000 }
const LINES = 2
const LINES_IN_ALL = 60
const BEARER = 'send your API key as Authorization: Bearer or X-API-Key'

export interface CallerHost {
  readonly clock: Clock
  readonly counters: Counters
  readonly log: Log
  account(id: number): Account | undefined
  key(key: string): KeyGrant | undefined
  keyUsed(id: number): void
}

export interface Caller {
  readonly account: Account
  readonly scopes: ScopeSet
  /** Of a test key nothing reaches a carrier. */
  readonly kind: KeyKind
  /** For the audit. */
  readonly actor: Actor
}

/** The scope that a route needs, as part of its options: `routes.get(path, { ...needs('messages:read'), schema }, ...)`. */
export const needs = <More extends object>(
  scope: Scope,
  more?: More,
): { config: { scope: Scope } & Partial<More> } => ({ config: { ...more, scope } as { scope: Scope } & Partial<More> })

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
    if (scope !== undefined && !hasScope(caller.scopes, scope)) throw scopeMissing(scope)
    if (scope === 'messages:send' && caller.kind === 'test') {
      throw new Problem(403, 'test_key', 'Not with a test key', 'nothing is sent with a key for tests')
    }
    return caller
  }

  private async known(request: FastifyRequest): Promise<Caller> {
    const { host } = this
    const key = keyIn(request.raw)
    if (key === undefined) throw new Problem(401, 'key_missing', 'A key is needed', BEARER)
    const network = networkOf(request.ip)
    if (this.failures.isBarred(network)) {
      throw new Problem(429, 'too_many_failures', 'Too many wrong keys', 'try again in some minutes')
    }
    const grant = host.key(key)
    const account = grant && host.account(grant.account)
    if (grant === undefined || account === undefined) return this.refuse(network, request.ip)
    const nowMs = host.clock.now()
    const objection = objectionTo(grant, nowMs, request.ip)
    if (objection === 'expired') {
      throw new Problem(401, 'key_expired', 'The key has expired', 'make a new one, or ask whoever runs this gateway')
    }
    if (objection === 'address' || !mayComeFrom(account.smpp.allowFrom, request.ip)) {
      throw new Problem(403, 'address_refused', 'Not from here', 'the key may not be used from this address')
    }
    if (account.suspended !== null) {
      throw new Problem(403, 'account_suspended', 'The account is suspended', 'ask whoever runs this gateway')
    }
    host.keyUsed(grant.id)
    const actor = { who: `key ${grant.id} of ${account.systemId}`, from: request.ip }
    return { account, scopes: grant.scopes, kind: grant.kind, actor }
  }

  private async refuse(network: string, from: string): Promise<never> {
    const delayMs = this.failures.add(network, '')
    this.host.counters.add('api_keys_refused')
    this.quiet.warn(this.host.log, network, { from }, 'API key refused')
    if (delayMs > 0) await new Promise(resolve => setTimeout(resolve, delayMs))
    throw new Problem(401, 'key_refused', 'The key is refused', 'this is no API key of this gateway')
  }
}
