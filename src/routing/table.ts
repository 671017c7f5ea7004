// Which route is a message's? Rules compiled once into a trie of destination
// prefixes, walked once per message. Pure: knows rules and digits, not carriers'
// health, which is choose.ts's.

import type { ClassRank } from '../model/message.js'

/** A rule as the directory has it. Empty lists match everything. */
export interface RouteRule {
  readonly id: number
  /** Lower is asked first. */
  readonly position: number
  readonly name: string
  readonly accounts: readonly string[]
  readonly ranks: readonly ClassRank[]
  /** Prefixes of the source address. */
  readonly sources: readonly string[]
  /** Prefixes of the destination's digits, international, without + or 00. */
  readonly destinations: readonly string[]
  readonly to: readonly { readonly carrier: string; readonly weight: number | null }[]
}

interface Node {
  next: (Node | undefined)[]
  /** Indexes into rules, ascending. */
  rules: number[]
}

const node = (): Node => ({ next: [], rules: [] })

export class RouteTable {
  readonly rules: readonly RouteRule[]
  private readonly root = node()
  private readonly byId = new Map<number, RouteRule>()

  constructor(rules: readonly RouteRule[]) {
    this.rules = [...rules].sort((a, b) => a.position - b.position || a.id - b.id)
    for (const [index, rule] of this.rules.entries()) {
      this.byId.set(rule.id, rule)
      if (rule.destinations.length === 0) this.root.rules.push(index)
      for (const prefix of rule.destinations) this.place(prefix).rules.push(index)
    }
  }

  private place(prefix: string): Node {
    let at = this.root
    for (const digit of prefix) {
      const index = digit.charCodeAt(0) - 48
      at.next[index] ??= node()
      at = at.next[index] as Node
    }
    return at
  }

  route(id: number): RouteRule | undefined {
    return this.byId.get(id)
  }

  /** The first rule, by position, that takes the message. `destination` is digits only (see {@link digitsOf}). */
  match(account: string, rank: ClassRank, source: string, destination: string): RouteRule | undefined {
    let best = this.rules.length
    let at: Node | undefined = this.root
    for (let i = 0; at; i++) {
      for (const index of at.rules) {
        if (index >= best) break
        if (takes(this.rules[index] as RouteRule, account, rank, source)) {
          best = index
          break
        }
      }
      if (i === destination.length) break
      at = at.next[destination.charCodeAt(i) - 48]
    }
    return this.rules[best]
  }
}

function takes(rule: RouteRule, account: string, rank: ClassRank, source: string): boolean {
  if (rule.accounts.length > 0 && !rule.accounts.includes(account)) return false
  if (rule.ranks.length > 0 && !rule.ranks.includes(rank)) return false
  return rule.sources.length === 0 || rule.sources.some(prefix => source.startsWith(prefix))
}

const ZERO = 48
const NINE = 57

/**
 * The digits to route by: a leading + or 00 is taken off. '' when the address is no number:
 * other characters, or not 3 to 15 digits (ITU-T E.164; short codes from 3).
 */
export function digitsOf(address: string): string {
  let start = 0
  if (address.charCodeAt(0) === 43) start = 1
  else if (address.charCodeAt(0) === ZERO && address.charCodeAt(1) === ZERO) start = 2
  const length = address.length - start
  if (length < 3 || length > 15) return ''
  for (let i = start; i < address.length; i++) {
    const code = address.charCodeAt(i)
    if (code < ZERO || code > NINE) return ''
  }
  return start === 0 ? address : address.slice(start)
}
