// Which messages a bind has sent, for receipts that go back to it: the newest, until their receipts are answered. Bounded
// by two generations, of which the older one goes whole: the oldest of a large Map is slow to find. Knows ids only.

/** The newest so many are remembered at least, twice as many at most. */
const GENERATION = 50_000

export class Sent {
  /** How many messages have the id: those of a submit_multi share one. */
  private young = new Map<number, number>()
  private old = new Map<number, number>()

  get size(): number {
    return this.young.size + this.old.size
  }

  add(id: number): void {
    this.young.set(id, (this.young.get(id) ?? 0) + 1)
    if (this.young.size < GENERATION) return
    this.old = this.young
    this.young = new Map()
  }

  has(id: number): boolean {
    return this.young.has(id) || this.old.has(id)
  }

  /** The last receipt of one message with this id has been answered. */
  forget(id: number): void {
    const generation = this.young.has(id) ? this.young : this.old
    const count = generation.get(id)
    if (count === undefined) return
    if (count > 1) generation.set(id, count - 1)
    else generation.delete(id)
  }
}
