// Who may administer: whoever reaches the unix socket, and over TCP whoever has the admin key, or an API key with a scope of
// administration. Knows who asks, and whether they may read or write; what is asked for, it does not know.

import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { mayComeFrom, networkOf } from '../../protocols/net/address.js'
import type { Account } from '../accounts/account.js'
import type { Actor } from '../accounts/audit.js'
import {
  hasScope,
  hasScopes,
  isOfAdmins,
  type KeyBounds,
  type KeyGrant,
  objectionTo,
  scopeSet,
} from '../accounts/keys.js'
import { type People, scopesOfRole } from '../accounts/people.js'
import { type Bearer, looksLikeToken } from '../accounts/peopleTokens.js'
import type { Clock } from '../base/clock.js'
import type { Log } from '../base/log.js'
import { FailedBinds } from '../intake/smpp/failures.js'
import { asking } from './api/changing.js'
import type { Peers } from './peer.js'
import { Problem } from './problem.js'

/** Wrong keys of one network: later and later answers, then none for a while. */
const LIMITS = { delayMs: 2_000, barredAfter: 20, barredMs: 300_000 }
/** Refused keys are logged this often at most, with their number. */
const WARN_EVERY_MS = 10_000

export interface AccessOptions {
  key: string | null
  clock: Clock
  log: Log
  peers: Peers
  /** A key was refused. */
  refused(): void
  /** null where no API keys are known. */
  keys: {
    key(key: string): KeyGrant | undefined
    account(id: number): Account | undefined
    keyByHash(hash: string): KeyGrant | undefined
    keyUsed(id: number): void
    readonly people: People
  } | null
}

/** Who administers, and what they may give on. */
interface Admitted {
  readonly who: string
  readonly scopes: number
  /** Of the API key that asks. */
  readonly bounds?: KeyBounds
}

const EVERYTHING = scopeSet(['admin:*']) | scopeSet([])
const READS = ['GET', 'HEAD']

export type AdminScope = 'admin:read' | 'admin:write'

/** What a route of administration needs: it may say so; else whatever changes nothing reads. */
export const adminScope = (method: string, stated: string | undefined): AdminScope =>
  (stated === undefined ? READS.includes(method) : stated.endsWith(':read')) ? 'admin:read' : 'admin:write'

export class Access {
  private readonly options: AccessOptions
  /** Digests under a secret of this process have one length, whatever the keys' lengths. */
  private readonly secret = randomBytes(32)
  private readonly wanted: Buffer | null
  private readonly local = new WeakSet<IncomingMessage>()
  private readonly admitted = new WeakMap<IncomingMessage, Admitted>()
  private readonly failures: FailedBinds
  private refusedSince = 0
  private warnedMs = Number.NEGATIVE_INFINITY

  constructor(options: AccessOptions) {
    this.options = options
    this.failures = new FailedBinds(LIMITS, options.clock.mono)
    this.wanted = options.key === null ? null : this.digest(options.key)
  }

  /** The request came over the unix socket, whose file says who may connect. */
  trust(request: IncomingMessage): void {
    this.local.add(request)
  }

  /** For log lines: where a request came from. */
  from(request: IncomingMessage): string {
    return this.local.has(request) ? 'admin.sock' : this.options.peers.endpoint(request)
  }

  /** For the audit: who asks, once {@link refusal} has let them in. */
  actor(request: IncomingMessage): Actor {
    return { who: this.admitted.get(request)?.who ?? 'admin.sock', from: this.from(request) }
  }

  /** What the API key that asks is bound by; null: no such key asks. */
  bounds(request: IncomingMessage): KeyBounds | null {
    return this.admitted.get(request)?.bounds ?? null
  }

  /** Throws a Problem when whoever asks has less than these scopes: nobody gives more than they have. */
  mayGive(request: IncomingMessage, words: readonly string[]): void {
    const own = this.admitted.get(request)?.scopes ?? EVERYTHING
    // An administrator may make keys of any account; what matters is administration itself.
    const wanted = scopeSet(words) & scopeSet(['admin:*'])
    if (!hasScopes(own, wanted)) throw scopeMissing('admin:*')
  }

  /** Why this request may not administer as `wanted`; undefined when it may. */
  async refusal(request: IncomingMessage, wanted: AdminScope): Promise<Problem | undefined> {
    if (this.local.has(request)) return undefined
    const given = keyIn(request)
    const { keys } = this.options
    if (given !== undefined && keys !== null && looksLikeToken(given)) {
      const bearer = await keys.people.tokens.read(given)
      if (bearer !== undefined) return this.refusalOfBearer(bearer, request, wanted)
    }
    const grant = given === undefined ? undefined : keys?.key(given)
    if (grant !== undefined) return this.refusalOf(grant, request, wanted)
    if (this.wanted === null) return noKeyConfigured()
    if (given === undefined) {
      return new Problem(
        401,
        'key_missing',
        'A key is needed',
        'send the admin key as Authorization: Bearer or X-API-Key',
      )
    }
    const network = networkOf(this.options.peers.address(request))
    // Before it is compared: this key people may have thought of, and others guess.
    if (this.failures.isBarred(network)) {
      return new Problem(429, 'too_many_failures', 'Too many wrong keys', 'try again in some minutes', {
        retry_after_s: LIMITS.barredMs / 1_000,
      })
    }
    if (timingSafeEqual(this.digest(given), this.wanted)) {
      this.admitted.set(request, { who: 'admin key', scopes: EVERYTHING })
      return undefined
    }
    this.note(request)
    const delayMs = this.failures.add(network, '')
    if (delayMs > 0) await new Promise(resolve => setTimeout(resolve, delayMs))
    return new Problem(401, 'key_refused', 'The key is refused', 'this is not the admin key of this gateway')
  }

  private async refusalOfBearer(
    bearer: Bearer,
    request: IncomingMessage,
    wanted: AdminScope,
  ): Promise<Problem | undefined> {
    if (bearer.kind === 'key') {
      const grant = this.options.keys?.keyByHash(bearer.hash)
      if (grant === undefined) return tokenRefused()
      if (bearer.scopes.length === 0) return this.refusalOf(grant, request, wanted)
      return this.refusalOf({ ...grant, scopes: grant.scopes & scopeSet(bearer.scopes) }, request, wanted)
    }
    const session = await asking(async () => this.options.keys?.people.person(bearer.session))
    if (session === undefined) return tokenRefused()
    if (!session.operator) return scopeMissing('admin:*')
    this.admitted.set(request, { who: session.email, scopes: scopesOfRole(session.role, true) })
    return undefined
  }

  private refusalOf(grant: KeyGrant, request: IncomingMessage, wanted: AdminScope): Problem | undefined {
    const account = this.options.keys?.account(grant.account)
    const address = this.options.peers.address(request)
    const isGood =
      objectionTo(grant, this.options.clock.now(), address) === undefined &&
      account?.suspended === null &&
      mayComeFrom(account.smpp.allowFrom, address)
    if (account !== undefined && isGood && hasScope(grant.scopes, wanted)) {
      if (grant.kind === 'test' && wanted === 'admin:write') return testKey('a key for tests changes nothing here')
      this.options.keys?.keyUsed(grant.id)
      const who = `key ${grant.id} of ${account.systemId}`
      this.admitted.set(request, { who, scopes: grant.scopes, bounds: grant })
      return undefined
    }
    if (isGood) return scopeMissing(isOfAdmins(grant.scopes) ? wanted : 'admin:*')
    this.note(request)
    return new Problem(401, 'key_refused', 'The key is refused', 'it has expired, or is not for this address')
  }

  private digest(key: string): Buffer {
    return createHmac('sha256', this.secret).update(key).digest()
  }

  private note(request: IncomingMessage): void {
    const { clock, log, refused } = this.options
    refused()
    this.refusedSince++
    if (clock.mono() - this.warnedMs < WARN_EVERY_MS) return
    log.warn({ from: this.from(request), refused: this.refusedSince }, 'admin key refused')
    this.warnedMs = clock.mono()
    this.refusedSince = 0
  }
}

/** 403: the key is good, but not for this. */
export const scopeMissing = (scope: string): Problem =>
  new Problem(403, 'scope_missing', 'The key may not do this', `it needs the scope ${scope}`, { scope })

/** 403: what it would touch is real. */
export const testKey = (detail: string): Problem => new Problem(403, 'test_key', 'Not with a test key', detail)

const tokenRefused = (): Problem =>
  new Problem(401, 'token_refused', 'The token is no good', 'it has expired or was revoked: get another')

const noKeyConfigured = (): Problem =>
  new Problem(
    403,
    'no_admin_key',
    'Administration over the network is off',
    'set admin.key (TRUNKLINE_ADMIN_KEY) to allow it, or use the trunkline command on the machine itself, which needs no key',
  )

/** The key of a request: `Authorization: Bearer`, or X-API-Key. */
export function keyIn({ headers }: IncomingMessage): string | undefined {
  const bearer = /^Bearer +(\S.*)$/i.exec(headers.authorization ?? '')?.[1]
  const plain = headers['x-api-key']
  return bearer ?? (typeof plain === 'string' ? plain : undefined)
}
