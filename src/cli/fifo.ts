// A queue in memory: a ring that doubles when it is full, so that a push or a shift allocates nothing.

const FIRST_SLOTS = 64

export class Fifo<T> {
  size = 0
  private slots: (T | undefined)[] = new Array<T | undefined>(FIRST_SLOTS).fill(undefined)
  private head = 0

  push(one: T): void {
    if (this.size === this.slots.length) this.grow()
    this.slots[(this.head + this.size++) & (this.slots.length - 1)] = one
  }

  first(): T | undefined {
    return this.slots[this.head]
  }

  shift(): T | undefined {
    if (this.size === 0) return undefined
    const one = this.slots[this.head]
    this.slots[this.head] = undefined
    this.head = (this.head + 1) & (this.slots.length - 1)
    this.size--
    return one
  }

  private grow(): void {
    const old = this.slots
    this.slots = new Array<T | undefined>(old.length * 2).fill(undefined)
    for (let i = 0; i < this.size; i++) this.slots[i] = old[(this.head + i) & (old.length - 1)]
    this.head = 0
  }
}
