// May this one bind? Judges name, password and limits, and says no in one code, so that nobody learns which
// accounts exist. Knows accounts; sessions and sockets are the Bind's.

import { status } from '../../../protocols/smpp/status.js'
import type { Account } from '../../accounts/account.js'
import type { Binds } from './binds.js'

export interface AdmissionHost {
  accountBySystemId(systemId: string): Account | undefined
  verify(account: Account, password: string): boolean
}

/** `why` is one of few words, for counters and the log. */
export type Admitted = { ok: true; account: Account } | { ok: false; status: number; why: string }

export class Admission {
  private readonly host: AdmissionHost

  constructor(host: AdmissionHost) {
    this.host = host
  }

  judge(systemId: string, password: string, binds: Binds): Admitted {
    const account = this.host.accountBySystemId(systemId)
    const why = this.objection(account, password, binds)
    if (account === undefined || why !== undefined) return { ok: false, status: status.ESME_RBINDFAIL, why: why ?? '' }
    return { ok: true, account }
  }

  private objection(account: Account | undefined, password: string, binds: Binds): string | undefined {
    if (account === undefined) return 'unknown account'
    if (!this.host.verify(account, password)) return 'password'
    if (account.suspended !== null) return 'suspended'
    if (account.maxBinds > 0 && binds.count(account.id) >= account.maxBinds) return 'too many binds'
    return undefined
  }
}
