// Hash of a reference -> id of its message, by the hundred thousand: open addressing over plain numbers, for a Map of
// strings costs five times the memory and has the collector walk through all of it. Never grows: who fills it opens another.

export class RefTable {
  private readonly hashes: Float64Array
  private readonly ids: Float64Array
  private readonly shift: number
  size = 0

  /** For about `capacity` entries: half of its slots. */
  constructor(capacity: number) {
    const bits = Math.max(4, Math.ceil(Math.log2(capacity * 2)))
    this.hashes = new Float64Array(2 ** bits)
    this.ids = new Float64Array(2 ** bits)
    this.shift = 32 - bits
  }

  get slots(): number {
    return this.hashes.length
  }

  /** The slot of `hash`, or the empty one where its search ends. */
  private slotOf(hash: number): number {
    const { hashes } = this
    const mask = hashes.length - 1
    let at = home(hash, this.shift)
    for (let found = hashes[at]; found !== hash && found !== 0; found = hashes[at]) at = (at + 1) & mask
    return at
  }

  /** 0 = not here. */
  get(hash: number): number {
    return this.ids[this.slotOf(hash)] as number
  }

  /** A hash that stands here already means `id` from now on. */
  put(hash: number, id: number): void {
    const at = this.slotOf(hash)
    if (this.hashes[at] === 0) {
      this.hashes[at] = hash
      this.size++
    }
    this.ids[at] = id
  }

  /** False when `hash` does not mean `id` here. */
  delete(hash: number, id: number): boolean {
    const { hashes, ids } = this
    const mask = hashes.length - 1
    let hole = this.slotOf(hash)
    if (ids[hole] !== id || hashes[hole] === 0) return false
    this.size--
    // What was pushed on by the one that leaves moves up, so that no search ends too early.
    for (let at = (hole + 1) & mask; hashes[at] !== 0; at = (at + 1) & mask) {
      if (((at - home(hashes[at] as number, this.shift)) & mask) < ((at - hole) & mask)) continue
      hashes[hole] = hashes[at] as number
      ids[hole] = ids[at] as number
      hole = at
    }
    hashes[hole] = 0
    ids[hole] = 0
    return true
  }

  /** Tells of what stands in slots `from` to `end`, in no order. */
  walk(from: number, end: number, tell: (hash: number, id: number) => void): void {
    const { hashes, ids } = this
    for (let at = from; at < end; at++) {
      const hash = hashes[at] as number
      if (hash !== 0) tell(hash, ids[at] as number)
    }
  }
}

const home = (hash: number, shift: number): number => Math.imul(hash >>> 0, 0x9e3779b1) >>> shift
