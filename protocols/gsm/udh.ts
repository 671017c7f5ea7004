// The user data header before a message's text (3GPP TS 23.040 §9.2.3.24): finding its elements, reading and writing
// the concatenation element. It takes the octets that begin with UDHL; whether a header is there (esm_class 0x40) is
// the caller's to know, and what the other elements mean is left to whoever wants them.

const CONCAT_8 = 0x00
const CONCAT_16 = 0x08
const NATIONAL_SINGLE_SHIFT = 0x24
const NATIONAL_LOCKING_SHIFT = 0x25

/** Part `seq` of `total`, of the message that sender and destination know by `ref`. 1 <= seq <= total <= 255. */
export interface Concat {
  readonly ref: number
  readonly total: number
  readonly seq: number
  readonly bits: 8 | 16
}

export interface UdhElement {
  readonly iei: number
  readonly octets: Buffer
}

export interface Udh {
  /** Octets of the header, UDHL included: the text begins here. */
  readonly length: number
  readonly elements: readonly UdhElement[]
  readonly concat: Concat | undefined
  /** National language identifiers (TS 23.038 §6.2.1.2.4): 1 Turkish, 2 Spanish, 3 Portuguese, ... */
  readonly singleShift: number | undefined
  readonly lockingShift: number | undefined
}

/**
 * Reads the header at the start of `octets`; the elements' octets are views of it. Undefined when the header or an
 * element in it runs over its end, for then the standard has the whole header ignored.
 */
export function parseUdh(octets: Buffer): Udh | undefined {
  const length = headerLength(octets)
  if (length === 0) return undefined
  const elements: UdhElement[] = []
  let singleShift: number | undefined
  let lockingShift: number | undefined
  for (let at = 1; at < length; ) {
    const iei = octets[at] as number
    const end = at + 2 + (octets[at + 1] as number)
    elements.push({ iei, octets: octets.subarray(at + 2, end) })
    if (end - at === 3) {
      if (iei === NATIONAL_SINGLE_SHIFT) singleShift = octets[at + 2]
      else if (iei === NATIONAL_LOCKING_SHIFT) lockingShift = octets[at + 2]
    }
    at = end
  }
  return { length, elements, concat: readConcat(octets, length), singleShift, lockingShift }
}

/**
 * The concatenation element alone, or undefined: no sound header, no such element, or one that says nothing valid
 * (total 0, seq 0, seq above total), which the standard has ignored and the message taken as a single one.
 */
export function concatOf(octets: Buffer): Concat | undefined {
  const length = headerLength(octets)
  return length === 0 ? undefined : readConcat(octets, length)
}

// 0 when the header is not sound; else every element within it is known to end in bounds.
function headerLength(octets: Buffer): number {
  if (octets.length === 0) return 0
  const length = (octets[0] as number) + 1
  if (length > octets.length) return 0
  let at = 1
  while (at < length) {
    if (at + 2 > length) return 0
    at += 2 + (octets[at + 1] as number)
  }
  return at === length ? length : 0
}

// Of elements that repeat or exclude each other the last one holds (TS 23.040 §9.2.3.24).
function readConcat(octets: Buffer, length: number): Concat | undefined {
  let found = 0
  for (let at = 1; at < length; at += 2 + (octets[at + 1] as number)) {
    const refOctets = refOctetsAt(octets, at)
    if (refOctets === 0) continue
    const total = octets[at + 2 + refOctets] as number
    const seq = octets[at + 3 + refOctets] as number
    if (seq >= 1 && seq <= total) found = at
  }
  if (found === 0) return undefined
  const refOctets = refOctetsAt(octets, found)
  return {
    ref: octets.readUIntBE(found + 2, refOctets),
    total: octets[found + 2 + refOctets] as number,
    seq: octets[found + 3 + refOctets] as number,
    bits: refOctets === 1 ? 8 : 16,
  }
}

// 0 when the element is no concatenation element of the length the standard gives it.
function refOctetsAt(octets: Buffer, at: number): number {
  const iei = octets[at]
  const length = octets[at + 1]
  return iei === CONCAT_8 && length === 3 ? 1 : iei === CONCAT_16 && length === 4 ? 2 : 0
}

/** Octets of a header that holds nothing but a concatenation element. */
export function concatUdhOctets(bits: 8 | 16): 6 | 7 {
  return bits === 8 ? 6 : 7
}

/** Such a header. `ref` may be a running counter: its low 8 or 16 bits are written. */
export function buildConcatUdh(ref: number, total: number, seq: number, bits: 8 | 16): Buffer {
  const header = Buffer.allocUnsafe(concatUdhOctets(bits))
  writeConcatUdh(header, ref, total, seq, bits)
  return header
}

/** Writes the same at the start of `into` and returns where the text goes on. */
export function writeConcatUdh(into: Buffer, ref: number, total: number, seq: number, bits: 8 | 16): number {
  let at = 0
  into[at++] = concatUdhOctets(bits) - 1
  into[at++] = bits === 8 ? CONCAT_8 : CONCAT_16
  into[at++] = bits === 8 ? 3 : 4
  if (bits === 16) into[at++] = (ref >> 8) & 0xff
  into[at++] = ref & 0xff
  into[at++] = total
  into[at++] = seq
  return at
}
