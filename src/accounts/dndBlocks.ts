// Numbers in a row as a block: four octets each, how far behind the block's first number it is. Look-up in a block,
// changes to one, and cutting many numbers into blocks. Pure.

/** What a block is cut to, and what it may grow to: a page of LMDB's, and two. */
const CUT = 1000
const MOST = 2000
const FARTHEST = 0xffff_ffff

export interface Block {
  readonly first: number
  readonly numbers: Buffer
}

/** Whether `number` is in the block that begins at `first`. */
export function blockHas(first: number, numbers: Buffer, number: number): boolean {
  const wanted = number - first
  if (wanted > FARTHEST) return false
  let low = 0
  let high = numbers.length >> 2
  while (low < high) {
    const middle = (low + high) >> 1
    const there = numbers.readUInt32LE(middle << 2)
    if (there === wanted) return true
    if (there < wanted) low = middle + 1
    else high = middle
  }
  return false
}

/** The numbers of a block, in order. */
export function numbersOf({ first, numbers }: Block): number[] {
  const all: number[] = []
  for (let at = 0; at < numbers.length; at += 4) all.push(first + numbers.readUInt32LE(at))
  return all
}

/** Two rising rows as one, each number once. */
export function union(a: readonly number[], b: readonly number[]): number[] {
  const all: number[] = []
  let i = 0
  let j = 0
  while (i < a.length || j < b.length) {
    const one = a[i] ?? Number.POSITIVE_INFINITY
    const other = b[j] ?? Number.POSITIVE_INFINITY
    all.push(Math.min(one, other))
    if (one <= other) i++
    if (other <= one) j++
  }
  return all
}

/** A rising row without the numbers of another. */
export function difference(a: readonly number[], b: readonly number[]): number[] {
  const gone = new Set(b)
  return a.filter(number => !gone.has(number))
}

/** Rising numbers as blocks. The first of them begins at `first`, where that is given and not too far off. */
export function cutBlocks(numbers: readonly number[], first?: number): Block[] {
  const blocks: Block[] = []
  const size = numbers.length > MOST ? CUT : MOST
  let begin = first
  if (begin !== undefined && (numbers.length === 0 || (numbers[0] as number) - begin > FARTHEST)) {
    blocks.push({ first: begin, numbers: Buffer.alloc(0) })
    begin = undefined
  }
  for (let from = 0; from < numbers.length; ) {
    const start = begin ?? (numbers[from] as number)
    let end = from
    while (end < numbers.length && end - from < size && (numbers[end] as number) - start <= FARTHEST) end++
    const octets = Buffer.allocUnsafeSlow((end - from) * 4)
    for (let i = from; i < end; i++) octets.writeUInt32LE((numbers[i] as number) - start, (i - from) * 4)
    blocks.push({ first: start, numbers: octets })
    begin = undefined
    from = end
  }
  return blocks
}

/** Which of the blocks that begin at `firsts`, rising, a number belongs to; -1: it is before all of them. */
export function blockOf(firsts: { readonly length: number; readonly [i: number]: number }, number: number): number {
  let low = 0
  let high = firsts.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((firsts[middle] as number) <= number) low = middle + 1
    else high = middle
  }
  return low - 1
}
