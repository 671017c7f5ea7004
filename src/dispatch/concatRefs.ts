// References for the messages that a carrier's dispatch cuts into parts. A phone joins parts of one sender by this number
// alone, so two messages of one sender to one phone must not have the same soon after each other. Knows addresses, no
// messages.

const SLOTS = 4096
/** Of 8 bits, and of 16; 0 means "not cut" in a message's record. */
const MOST_8 = 255
const MOST_16 = 65_535

export class ConcatRefs {
  /** One counter for all pairs of addresses that fall into a slot: it comes round after `most` long messages there. */
  private slots: Uint16Array | null = null
  private readonly most: number
  private readonly random: () => number

  /** @param random [0, 1): where each counter starts, so that a restart does not begin where the last one did */
  constructor(wide: boolean, random: () => number) {
    this.most = wide ? MOST_16 : MOST_8
    this.random = random
  }

  /** 1 to 255, or to 65,535. */
  next(source: string, destination: string): number {
    if (this.slots === null) {
      const { most, random } = this
      this.slots = Uint16Array.from({ length: SLOTS }, () => Math.floor(random() * most))
    }
    const slot = hash(hash(0x811c9dc5, source), destination) % SLOTS
    const ref = ((this.slots[slot] as number) % this.most) + 1
    this.slots[slot] = ref
    return ref
  }
}

function hash(seed: number, text: string): number {
  let h = seed ^ text.length
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  return (h ^ (h >>> 15)) >>> 0
}
