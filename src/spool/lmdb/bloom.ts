// The hash of a reference, and a filter that knows most hashes it does not hold. Pure
// arithmetic: knows nothing of carriers and messages.

/** Bits for each entry, at least; an entry's bits lie within one line of 256, one access to memory. */
const BLOOM_BITS_PER_ENTRY = 10
const BLOOM_LINE = 256
const BLOOM_HASHES = 5

/**
 * Of a carrier's reference. 52 bits, so that it is an exact number: two 32-bit hashes (FNV-1a and a multiplied mix)
 * joined. Never 0.
 */
export function hashOf(carrier: number, ref: string): number {
  let a = 0x811c9dc5 ^ carrier
  let b = Math.imul(carrier, 0x9e3779b9) ^ 0x9e3779b9
  for (let i = 0; i < ref.length; i++) {
    const c = ref.charCodeAt(i)
    a = Math.imul(a ^ c, 0x01000193)
    b = Math.imul(b ^ c, 0x85ebca6b)
    b ^= b >>> 13
  }
  a ^= a >>> 16
  return ((b & 0xfffff) >>> 0) * 2 ** 32 + (a >>> 0) || 1
}

export function newBloom(entries: number): Uint32Array {
  const lines = 2 ** Math.ceil(Math.log2(Math.max(1, (entries * BLOOM_BITS_PER_ENTRY) / BLOOM_LINE)))
  return new Uint32Array((lines * BLOOM_LINE) / 32)
}

export function readBloom(from: Buffer, at: number): Uint32Array {
  const bloom = new Uint32Array((from.length - at) / 4)
  for (let i = 0; i < bloom.length; i++) bloom[i] = from.readUInt32LE(at + i * 4)
  return bloom
}

export function writeBloom(bloom: Uint32Array, to: Buffer, at: number): void {
  for (let i = 0; i < bloom.length; i++) to.writeUInt32LE(bloom[i] as number, at + i * 4)
}

/** Where the line of a hash begins in a filter. */
export const lineOf = (bloom: Uint32Array, hash: number): number => ((hash >>> 0) & (bloom.length / 8 - 1)) * 8

/** Which bits of its line a hash sets: each turn by six bits is another place. */
export const bitsOf = (hash: number): number => Math.imul((hash / 2 ** 20) >>> 0, 0x9e3779b1)

export function bloomAdd(bloom: Uint32Array, hash: number): void {
  const line = lineOf(bloom, hash)
  let bits = bitsOf(hash)
  for (let i = 0; i < BLOOM_HASHES; i++) {
    const at = line + ((bits >>> 5) & 7)
    bloom[at] = (bloom[at] as number) | (1 << (bits & 31))
    bits = (bits >>> 6) | (bits << 26)
  }
}

export function bloomHas(bloom: Uint32Array, line: number, bits: number): boolean {
  for (let i = 0; i < BLOOM_HASHES; i++) {
    if (((bloom[line + ((bits >>> 5) & 7)] as number) & (1 << (bits & 31))) === 0) return false
    bits = (bits >>> 6) | (bits << 26)
  }
  return true
}
