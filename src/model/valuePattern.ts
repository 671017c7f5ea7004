// What a value must look like, as a customer writes it: literals, \d \w \s, classes like [A-Z0-9-], each with ? * + {n}
// {n,} or {n,m} behind it, and | between whole patterns. No groups: so a match costs a step for each character and item,
// whatever the pattern and the value, where a regular expression of somebody else's can cost minutes. Pure.

interface Item {
  readonly one: RegExp
  readonly least: number
  readonly most: number
}

const MAX_PATTERN = 200
const MAX_ITEMS = 64
const MAX_REPEAT = 1_600
/** Characters times items that one value may cost: a millisecond of them. */
const MAX_STEPS = 32_000
const ITEM =
  /(\[\^?(?:\\[^\n]|[^\]\\\n])+\]|\\[dwsDWS.\-+*?()[\]{}|^$/\\]|[^\\[\](){}|*+?^$\n])(?:\{(\d{1,4})(?:(,)(\d{1,4})?)?\}|([?*+]))?/uy

export class ValuePattern {
  private readonly ways: readonly (readonly Item[])[]
  private readonly items: number

  /** Throws what is wrong with it, for people. */
  constructor(pattern: string) {
    if (pattern.length === 0 || pattern.length > MAX_PATTERN)
      throw new Error(`must have 1 to ${MAX_PATTERN} characters`)
    this.ways = waysOf(pattern.replace(/^\^/, '').replace(/(?<!\\)\$$/, ''))
    this.items = this.ways.reduce((sum, { length }) => sum + length, 0)
  }

  /** So long that looking costs others their turn: it does not match. */
  isTooMuch(value: string): boolean {
    return this.items * value.length > MAX_STEPS
  }

  /** The whole of it. */
  matches(value: string): boolean {
    const characters = [...value]
    return this.ways.some(items => fits(items, characters))
  }
}

function waysOf(pattern: string): Item[][] {
  const ways: Item[][] = [[]]
  let items = 0
  for (let at = 0; at < pattern.length; ) {
    if (pattern[at] === '|') {
      ways.push([])
      at++
      continue
    }
    ITEM.lastIndex = at
    const found = ITEM.exec(pattern)
    if (found === null) {
      throw new Error(
        `cannot be read at "${pattern.slice(at, at + 10)}": it has no groups, only characters, classes, counts and |`,
      )
    }
    at = ITEM.lastIndex
    if (++items > MAX_ITEMS) throw new Error(`must have ${MAX_ITEMS} items at most`)
    ways.at(-1)?.push(itemOf(found))
  }
  return ways
}

function itemOf([text, one = '', n, comma, m, sign]: RegExpExecArray): Item {
  const least = n === undefined ? (sign === '?' || sign === '*' ? 0 : 1) : Number(n)
  let most = sign === '*' || sign === '+' ? MAX_REPEAT : 1
  if (n !== undefined) most = comma === undefined ? least : m === undefined ? MAX_REPEAT : Number(m)
  if (most < least || most > MAX_REPEAT) throw new Error(`cannot be read: ${text} is no count`)
  try {
    return { one: new RegExp(`^${one}$`, 'u'), least, most }
  } catch {
    throw new Error(`cannot be read: ${one} is no class of characters`)
  }
}

/** Places that items can end at, one item after the other: each is gone through once. */
function fits(items: readonly Item[], characters: readonly string[]): boolean {
  const { length } = characters
  let starts = new Uint8Array(length + 1)
  starts[0] = 1
  for (const { one, least, most } of items) {
    // How many characters from each place on the item could take.
    const runs = new Uint16Array(length + 1)
    for (let i = length - 1; i >= 0; i--) runs[i] = one.test(characters[i] as string) ? (runs[i + 1] as number) + 1 : 0
    // Where a stretch of ends begins, and where it is over.
    const steps = new Int32Array(length + 2)
    for (let i = 0; i <= length; i++) {
      const furthest = Math.min(most, runs[i] as number)
      if (starts[i] === 0 || furthest < least) continue
      steps[i + least] = (steps[i + least] as number) + 1
      steps[i + furthest + 1] = (steps[i + furthest + 1] as number) - 1
    }
    const ends = new Uint8Array(length + 1)
    for (let i = 0, open = 0; i <= length; i++) {
      open += steps[i] as number
      ends[i] = open > 0 ? 1 : 0
    }
    starts = ends
  }
  return starts[length] === 1
}
