// May this one bind? Judges name, password, address and limits, and says no in one code, so that nobody learns which
// accounts exist, unless `legacyBindCodes` asks for the codes of old; slows who fails again and again. Knows accounts and
// addresses; sessions and sockets are the Bind's.

import { mayComeFrom, networkOf } from '../../../protocols/net/address.js'
import { status } from '../../../protocols/smpp/status.js'
import type { Account } from '../../accounts/account.js'
import type { Binds } from './binds.js'
import type { FailedBinds } from './failures.js'

export interface AdmissionHost {
  accountBySystemId(systemId: string): Account | undefined
  /** Takes as long for no account as for one. */
  verify(account: Account | undefined, password: string): boolean
}

/** `why` is one of few words, for counters and the log; the answer waits `delayMs`. */
export type Admitted = { ok: true; account: Account } | { ok: false; status: number; why: Objection; delayMs: number }

export type Objection =
  | 'barred'
  | 'unknown account'
  | 'password'
  | 'address not allowed'
  | 'suspended'
  | 'too many binds'

/** What may be guessing; the others know the password. */
const GUESSES: readonly Objection[] = ['unknown account', 'password', 'address not allowed']

export class Admission {
  private readonly host: AdmissionHost
  private readonly failures: FailedBinds
  private readonly legacyCodes: boolean

  constructor(host: AdmissionHost, failures: FailedBinds, legacyCodes: boolean) {
    this.host = host
    this.failures = failures
    this.legacyCodes = legacyCodes
  }

  /** `address`: the peer's, behind a proxy the real one. */
  judge(systemId: string, password: string, address: string, binds: Binds): Admitted {
    const network = networkOf(address)
    // Connections that were there before it was barred get no more tries than new ones.
    if (this.failures.isBarred(network)) {
      return { ok: false, status: status.ESME_RBINDFAIL, why: 'barred', delayMs: this.failures.limits.delayMs }
    }
    const account = this.host.accountBySystemId(systemId)
    const why = this.objection(account, password, address, binds)
    if (account !== undefined && why === undefined) {
      this.failures.forgive(network, systemId)
      return { ok: true, account }
    }
    const objection = why ?? 'unknown account'
    const delayMs = GUESSES.includes(objection) ? this.failures.add(network, systemId) : 0
    return { ok: false, status: this.codeOf(objection), why: objection, delayMs }
  }

  private objection(
    account: Account | undefined,
    password: string,
    address: string,
    binds: Binds,
  ): Objection | undefined {
    // Asked for no account too: the time it takes must not tell who exists.
    const isRight = this.host.verify(account, password)
    if (account === undefined) return 'unknown account'
    if (!isRight) return 'password'
    if (!mayComeFrom(account.smpp.allowFrom, address)) return 'address not allowed'
    if (account.suspended !== null) return 'suspended'
    if (account.maxBinds > 0 && binds.count(account.id) >= account.maxBinds) return 'too many binds'
    return undefined
  }

  private codeOf(why: Objection): number {
    if (this.legacyCodes && why === 'unknown account') return status.ESME_RINVSYSID
    if (this.legacyCodes && why === 'password') return status.ESME_RINVPASWD
    return status.ESME_RBINDFAIL
  }
}
