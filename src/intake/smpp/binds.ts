// Who is bound: the binds of each account, and which of them can take a deliver_sm. Knows
// membership only.

import type { Bind } from './bind.js'

export class Binds {
  private readonly byAccount = new Map<number, Set<Bind>>()
  /** Every connection, bound or not. */
  readonly all = new Set<Bind>()

  join(bind: Bind, account: number): void {
    const set = this.byAccount.get(account)
    if (set) set.add(bind)
    else this.byAccount.set(account, new Set([bind]))
  }

  leave(bind: Bind, account: number): void {
    const set = this.byAccount.get(account)
    if (!set) return
    set.delete(bind)
    if (set.size === 0) this.byAccount.delete(account)
  }

  count(account: number): number {
    return this.byAccount.get(account)?.size ?? 0
  }

  of(account: number): Iterable<Bind> {
    return this.byAccount.get(account) ?? []
  }

  /** The bind that sent the message, while it lives and remembers. */
  sender(account: number, id: number): Bind | undefined {
    for (const bind of this.of(account)) if (bind.sent?.has(id)) return bind
    return undefined
  }

  /** The account's receiver or transceiver bind with the most room; undefined when none has any. */
  receiver(account: number): Bind | undefined {
    let best: Bind | undefined
    let most = 0
    for (const bind of this.of(account)) {
      const room = bind.receives ? bind.session.room() : 0
      if (room > most) {
        most = room
        best = bind
      }
    }
    return best
  }

  bound(): { tx: number; rx: number; trx: number; open: number } {
    const n = { tx: 0, rx: 0, trx: 0, open: 0 }
    for (const { session } of this.all) {
      if (session.state === 'bound_tx') n.tx++
      else if (session.state === 'bound_rx') n.rx++
      else if (session.state === 'bound_trx') n.trx++
      else n.open++
    }
    return n
  }
}
