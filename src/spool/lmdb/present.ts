// Which waiting message a later one may take the place of: those of accounts that use
// replace_if_present_flag, by who sent what kind to whom. In memory only, bounded by what
// of those accounts waits; built again from the records at start.

import type { Message } from '../../model/message.js'

/** Ids handed out for one key: those before them have long been on their way, or their sender means something else. */
const MOST = 100

interface Entry {
  readonly id: number
  older: Entry | null
  newer: Entry | null
}

/** Several ids of one key, in the order in which they came: any number of them, and each step costs the same. */
class Line {
  private readonly byId = new Map<number, Entry>()
  private newest: Entry | null = null

  add(id: number): void {
    const entry: Entry = { id, older: this.newest, newer: null }
    if (this.newest !== null) this.newest.newer = entry
    this.newest = entry
    this.byId.set(id, entry)
  }

  /** False when it is not there. */
  remove(id: number): boolean {
    const entry = this.byId.get(id)
    if (entry === undefined) return false
    this.byId.delete(id)
    if (entry.older !== null) entry.older.newer = entry.newer
    if (entry.newer !== null) entry.newer.older = entry.older
    else this.newest = entry.older
    return true
  }

  get size(): number {
    return this.byId.size
  }

  newestIds(): number[] {
    const ids: number[] = []
    for (let entry = this.newest; entry !== null && ids.length < MOST; entry = entry.older) ids.push(entry.id)
    return ids
  }
}

export class Present {
  /** One id, or several. */
  private readonly byKey = new Map<string, number | Line>()
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
    else if (typeof there === 'number') {
      const line = new Line()
      line.add(there)
      line.add(m.id)
      this.byKey.set(key, line)
    } else there.add(m.id)
    this.size++
  }

  remove(m: Message): void {
    const key = this.keyOf(m)
    const there = this.byKey.get(key)
    if (there === m.id) this.byKey.delete(key)
    else {
      if (!(there instanceof Line) || !there.remove(m.id)) return
      if (there.size === 1) this.byKey.set(key, there.newestIds()[0] as number)
    }
    this.size--
  }

  /** Ids of those whose place `m` may take, the newest first, a hundred at most. */
  like(m: Message): readonly number[] {
    const there = this.byKey.get(this.keyOf(m))
    if (there === undefined) return []
    return typeof there === 'number' ? [there] : there.newestIds()
  }
}
