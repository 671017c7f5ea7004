// Messages by id: a table of open addressing, for ids are doubles, and a Map boxes and
// hashes each of them at four times the cost. Knows nothing of who keeps a message.

import type { Message } from '../../model/message.js'

const FIRST_BITS = 10

export class ById {
  private bits = FIRST_BITS
  /** 0 = empty. */
  private keys = new Float64Array(2 ** FIRST_BITS)
  private values: (Message | null)[] = new Array(2 ** FIRST_BITS).fill(null)
  size = 0

  /** The place of `id`, or the empty one where its search ends. */
  private find(id: number): number {
    const { keys } = this
    const mask = keys.length - 1
    let at = Math.imul(id, 0x9e3779b1) >>> (32 - this.bits)
    for (let key = keys[at]; key !== id && key !== 0; key = keys[at]) at = (at + 1) & mask
    return at
  }

  get(id: number): Message | undefined {
    return this.values[this.find(id)] ?? undefined
  }

  set(m: Message): void {
    if (this.size * 2 >= this.keys.length) this.grow()
    const at = this.find(m.id)
    if (this.keys[at] === 0) {
      this.keys[at] = m.id
      this.size++
    }
    this.values[at] = m
  }

  delete(id: number): void {
    const { keys, values } = this
    const mask = keys.length - 1
    let hole = this.find(id)
    if (keys[hole] === 0) return
    this.size--
    // What was pushed on by the one that leaves moves up, so that no search ends too early.
    for (let at = (hole + 1) & mask; keys[at] !== 0; at = (at + 1) & mask) {
      const key = keys[at] as number
      const home = Math.imul(key, 0x9e3779b1) >>> (32 - this.bits)
      if (((at - home) & mask) < ((at - hole) & mask)) continue
      keys[hole] = key
      values[hole] = values[at] as Message
      hole = at
    }
    keys[hole] = 0
    values[hole] = null
  }

  private grow(): void {
    const { values } = this
    this.bits++
    this.keys = new Float64Array(2 ** this.bits)
    this.values = new Array(2 ** this.bits).fill(null)
    this.size = 0
    for (const m of values) if (m) this.set(m)
  }
}
