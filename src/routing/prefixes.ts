// Sets of digit prefixes: who owns a number by its longest prefix, which prefixes are one
// owner's alone, and what two sets have in common. Pure; knows digits, not what they stand for.

interface Node {
  owner: string
  next: (Node | undefined)[]
}

/** Owners by prefix; the longest that a number begins with decides. */
export class PrefixMap {
  private readonly root: Node = { owner: '', next: [] }

  constructor(entries: Iterable<readonly [prefix: string, owner: string]>) {
    for (const [prefix, owner] of entries) {
      let at = this.root
      for (let i = 0; i < prefix.length; i++) {
        const digit = prefix.charCodeAt(i) - 48
        at.next[digit] ??= { owner: '', next: [] }
        at = at.next[digit] as Node
      }
      at.owner = owner
    }
  }

  /** '' = nobody's. */
  ownerOf(digits: string): string {
    let owner = ''
    let at: Node | undefined = this.root
    for (let i = 0; at !== undefined; i++) {
      if (at.owner !== '') owner = at.owner
      if (i === digits.length) break
      at = at.next[digits.charCodeAt(i) - 48]
    }
    return owner
  }

  /** Prefixes, none of which begins another, of exactly the numbers that belong to each owner. */
  covers(): Map<string, string[]> {
    const covers = new Map<string, string[]>()
    const add = (owner: string, prefix: string): void => {
      if (owner === '') return
      const list = covers.get(owner)
      if (list) list.push(prefix)
      else covers.set(owner, [prefix])
    }
    const walk = (node: Node, prefix: string, above: string): void => {
      const owner = node.owner || above
      if (isAllOf(node, owner)) {
        add(owner, prefix)
        return
      }
      for (let digit = 0; digit < 10; digit++) {
        const child = node.next[digit]
        if (child === undefined) add(owner, prefix + digit)
        else walk(child, prefix + digit, owner)
      }
    }
    walk(this.root, '', '')
    return covers
  }
}

const isAllOf = (node: Node, owner: string): boolean =>
  node.next.every(child => child === undefined || ((child.owner || owner) === owner && isAllOf(child, owner)))

/** Prefixes of the numbers that begin with one of `a` and with one of `b`. */
export function common(a: readonly string[], b: readonly string[]): string[] {
  const inA = new Set(a)
  const inB = new Set(b)
  const both = new Set<string>()
  for (const prefix of inA) if (beginsIn(prefix, inB)) both.add(prefix)
  for (const prefix of inB) if (beginsIn(prefix, inA)) both.add(prefix)
  return [...both]
}

function beginsIn(prefix: string, set: ReadonlySet<string>): boolean {
  for (let length = prefix.length; length >= 0; length--) if (set.has(prefix.slice(0, length))) return true
  return false
}
