// Which waiting message a later one may take the place of: those of accounts that use
// replace_if_present_flag, by who sent what kind to whom. In memory only, bounded by what
// of those accounts waits; built again from the records at start.

import type { Message } from '../../model/message.js'

export class Present {
  /** One id, or several, oldest first. */
  private readonly byKey = new Map<string, number | number[]>()
  /** Messages in it. */
  size = 0

  /** SMPP v3.4 §5.2.18: source address, destination address and service_type must be the same. */
  private keyOf(m: Message): string {
    const source = `${m.source_addr_ton} ${m.source_addr_npi} ${m.source_addr}`
    const destination = `${m.dest_addr_ton} ${m.dest_addr_npi} ${m.destination_addr}`
    return `${m.account}\0${m.service_type}\0${source}\0${destination}`
  }

  add(m: Message): void {
    const key = this.keyOf(m)
    const there = this.byKey.get(key)
    if (there === undefined) this.byKey.set(key, m.id)
    else if (typeof there === 'number') this.byKey.set(key, [there, m.id])
    else there.push(m.id)
    this.size++
  }

  remove(m: Message): void {
    const key = this.keyOf(m)
    const there = this.byKey.get(key)
    if (there === m.id) this.byKey.delete(key)
    else {
      const at = Array.isArray(there) ? there.indexOf(m.id) : -1
      if (at < 0) return
      const ids = there as number[]
      ids.splice(at, 1)
      if (ids.length === 1) this.byKey.set(key, ids[0] as number)
    }
    this.size--
  }

  /** Ids of those whose place `m` may take, the newest first. */
  like(m: Message): readonly number[] {
    const there = this.byKey.get(this.keyOf(m))
    if (there === undefined) return []
    return typeof there === 'number' ? [there] : [...there].reverse()
  }
}
