// Prefixes that nobody, or one account, may send to. Pure.

import { PrefixMap } from './prefixes.js'

export interface BlockedPrefix {
  /** system_id; '' = everybody. */
  readonly account: string
  readonly prefix: string
  readonly reason: string
}

export class Blocked {
  /** By account; '' = everybody. */
  private readonly maps = new Map<string, PrefixMap>()
  private readonly reasons: readonly string[]

  constructor(rows: readonly BlockedPrefix[]) {
    this.reasons = rows.map(({ reason }) => reason)
    const byAccount = new Map<string, [string, string][]>()
    for (const [i, { account, prefix }] of rows.entries()) {
      const entries = byAccount.get(account)
      if (entries) entries.push([prefix, String(i)])
      else byAccount.set(account, [[prefix, String(i)]])
    }
    for (const [account, entries] of byAccount) this.maps.set(account, new PrefixMap(entries))
  }

  /** The reason why the account may not send to this number, maybe ''; undefined when it may. */
  reason(account: string, digits: string): string | undefined {
    if (this.maps.size === 0) return undefined
    const row = this.maps.get('')?.ownerOf(digits) || this.maps.get(account)?.ownerOf(digits) || ''
    return row === '' ? undefined : this.reasons[Number(row)]
  }
}
