// Which message_id was given to which message, and how often it was reported: an open-addressing table of 16 bytes an
// id. Ids are compared by 64 bits of hash, not by their octets (two of a million ids meet once in some 30 million
// runs): a Map of strings costs five times the memory, a string an id, and pauses for its growth.

const WORDS = 4
// A record: first hash, second hash, whose it is, receipts that came.
const OWNER = 2
const RECEIPTS = 3
/** Beside the count of receipts: the first of them said DELIVRD. */
const DELIVERED = 1 << 30
const LEAST_SLOTS = 1024

export class Ledger {
  /** Messages with a receipt, and those of them whose first receipt says that they were delivered. */
  matched = 0
  delivered = 0
  /** Receipts after a message's first. */
  doubled = 0
  /** Receipts for ids that no answer has given. */
  unexpected = 0
  /** Answers with an id that another message has. */
  reused = 0
  private words: Int32Array
  private mask: number
  private used = 0
  private first = 0
  private second = 0

  /** Room for `ids`; more make it grow, which takes a while. */
  constructor(ids: number) {
    let slots = LEAST_SLOTS
    while (slots * 3 < ids * 4) slots *= 2
    this.mask = slots - 1
    this.words = new Int32Array(slots * WORDS)
  }

  /**
   * The id in `[start, end)` was given to `message`. Returns the moment of its receipt when that came before, else -1.
   */
  accepted(ids: Buffer, start: number, end: number, message: number): number {
    const at = this.find(ids, start, end)
    const { words } = this
    const owner = words[at + OWNER] as number
    if (owner > 0) {
      this.reused++
      return -1
    }
    words[at + OWNER] = message + 1
    if (owner === 0) return -1
    const receipts = words[at + RECEIPTS] as number
    const count = receipts & ~DELIVERED
    this.unexpected -= count
    this.matched++
    this.doubled += count - 1
    if (receipts !== count) this.delivered++
    return -owner - 1
  }

  /**
   * A receipt for the id in `[start, end)` came at `moment` (a whole number below 2^31 - 1). Returns its message if it
   * is that one's first, else -1.
   */
  receipt(ids: Buffer, start: number, end: number, moment: number, delivered: boolean): number {
    const at = this.find(ids, start, end)
    const { words } = this
    const owner = words[at + OWNER] as number
    const receipts = (words[at + RECEIPTS] as number)++
    if (owner === 0) {
      // Its answer may still come: until then the record keeps the moment in the owner's place.
      words[at + OWNER] = -moment - 1
      if (delivered) words[at + RECEIPTS] = DELIVERED | 1
    }
    if (owner <= 0) {
      this.unexpected++
      return -1
    }
    if (receipts > 0) {
      this.doubled++
      return -1
    }
    this.matched++
    if (delivered) this.delivered++
    return owner - 1
  }

  /** Where the record of an id is; a new one has no owner. */
  private find(ids: Buffer, start: number, end: number): number {
    if (this.used * 4 > this.mask * 3) this.grow()
    this.hash(ids, start, end)
    const { words, mask, first, second } = this
    for (let slot = first & mask; ; slot = (slot + 1) & mask) {
      const at = slot * WORDS
      if (words[at + OWNER] === 0) {
        words[at] = first
        words[at + 1] = second
        this.used++
        return at
      }
      if (words[at] === first && words[at + 1] === second) return at
    }
  }

  private hash(ids: Buffer, start: number, end: number): void {
    let first = end - start
    let second = 0x5bd1e995
    for (let at = start; at < end; at++) {
      const octet = ids[at] as number
      first = Math.imul(first ^ octet, 0x01000193)
      second = Math.imul(second ^ octet, 0x2c1b3c6d)
      second ^= second >>> 15
    }
    first ^= first >>> 16
    first = Math.imul(first, 0x85ebca6b)
    this.first = first ^ (first >>> 13)
    this.second = second
  }

  private grow(): void {
    const old = this.words
    const slots = (this.mask + 1) * 2
    this.mask = slots - 1
    this.words = new Int32Array(slots * WORDS)
    for (let from = 0; from < old.length; from += WORDS) {
      if (old[from + OWNER] === 0) continue
      let slot = (old[from] as number) & this.mask
      while (this.words[slot * WORDS + OWNER] !== 0) slot = (slot + 1) & this.mask
      this.words.set(old.subarray(from, from + WORDS), slot * WORDS)
    }
  }
}
