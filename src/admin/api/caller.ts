// Who asks: the account of the API key that a request bears. Guessing is slowed down by network. Knows keys and addresses;
// what a caller may do with a route the route says.

import type { FastifyRequest } from 'fastify'
import { mayComeFrom, networkOf } from '../../../protocols/net/address.js'
import type { Account } from '../../accounts/account.js'
import type { Clock } from '../../base/clock.js'
import type { Counters } from '../../base/figures.js'
import type { Log } from '../../base/log.js'
import { Quiet } from '../../base/quiet.js'
import { FailedBinds } from '../../intake/smpp/failures.js'
import { keyIn } from '../access.js'
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
  accountByKey(key: string): Account | undefined
}

export class Callers {
  private readonly host: CallerHost
  private readonly failures: FailedBinds
  private readonly quiet: Quiet

  constructor(host: CallerHost) {
    this.host = host
    this.failures = new FailedBinds(LIMITS, host.clock.mono)
    this.quiet = new Quiet(LINES, LINES_IN_ALL, host.clock.mono)
  }

  /** The account whose key the request bears. Throws the Problem to answer with, in its time. */
  async of(request: FastifyRequest): Promise<Account> {
    const key = keyIn(request.raw)
    if (key === undefined) throw new Problem(401, 'key_missing', 'A key is needed', BEARER)
    const network = networkOf(request.ip)
    if (this.failures.isBarred(network)) {
      throw new Problem(429, 'too_many_failures', 'Too many wrong keys', 'try again in some minutes')
    }
    const account = this.host.accountByKey(key)
    if (account === undefined) return this.refuse(network, request.ip)
    if (!mayComeFrom(account.smpp.allowFrom, request.ip)) {
      throw new Problem(403, 'address_refused', 'Not from here', 'the account may not be used from this address')
    }
    if (account.suspended !== null) {
      throw new Problem(403, 'account_suspended', 'The account is suspended', 'ask whoever runs this gateway')
    }
    return account
  }

  private async refuse(network: string, from: string): Promise<never> {
    const delayMs = this.failures.add(network, '')
    this.host.counters.add('api_keys_refused')
    this.quiet.warn(this.host.log, network, { from }, 'API key refused')
    if (delayMs > 0) await new Promise(resolve => setTimeout(resolve, delayMs))
    throw new Problem(401, 'key_refused', 'The key is refused', 'this is no API key of this gateway')
  }
}
