// Whose is a message from a phone? The rules of the directory, by keyword and by called number, so that thousands of them
// cost what a few do. Pure: knows rules and what a message says, not the numbers that accounts own.

import type { InboundRule } from '../accounts/inbound.js'
import { firstWord } from '../accounts/optWords.js'

/** What rules ask of a message. Numbers are digits, or as they came where they are none. */
export interface Inquiry {
  readonly called: string
  readonly source: string
  /** Name of the carrier that brought it. */
  readonly carrier: string
  readonly text: string
}

export class InboundTable {
  readonly rules: readonly InboundRule[]
  /** Indexes into rules, ascending: those with keywords, those with whole numbers but no keywords, all others. */
  private readonly byKeyword = new Map<string, number[]>()
  private readonly byNumber = new Map<string, number[]>()
  private readonly others: number[] = []

  constructor(rules: readonly InboundRule[]) {
    this.rules = [...rules].sort((a, b) => a.position - b.position || a.id - b.id)
    for (const [index, { keywords, numbers }] of this.rules.entries()) {
      if (keywords.length > 0) for (const word of keywords) list(this.byKeyword, word).push(index)
      else if (numbers.length > 0 && !numbers.some(isPrefix))
        for (const one of numbers) list(this.byNumber, one).push(index)
      else this.others.push(index)
    }
  }

  /** The first rule, by position, that takes the message. */
  match(inquiry: Inquiry): InboundRule | undefined {
    if (this.rules.length === 0) return undefined
    let best = this.rules.length
    const word = this.byKeyword.size === 0 ? '' : firstWord(inquiry.text)
    for (const indexes of [
      word === '' ? undefined : this.byKeyword.get(word),
      this.byNumber.get(inquiry.called),
      this.others,
    ]) {
      for (const index of indexes ?? []) {
        if (index >= best) break
        if (takes(this.rules[index] as InboundRule, inquiry)) {
          best = index
          break
        }
      }
    }
    return this.rules[best]
  }
}

function list(of: Map<string, number[]>, key: string): number[] {
  const known = of.get(key)
  if (known !== undefined) return known
  const made: number[] = []
  of.set(key, made)
  return made
}

const isPrefix = (number: string): boolean => number.endsWith('*')

/** All but the keyword, which was looked up. */
function takes({ numbers, carriers, sources }: InboundRule, { called, source, carrier }: Inquiry): boolean {
  if (
    numbers.length > 0 &&
    !numbers.some(one => (isPrefix(one) ? called.startsWith(one.slice(0, -1)) : called === one))
  )
    return false
  if (carriers.length > 0 && !carriers.includes(carrier)) return false
  return sources.length === 0 || sources.some(prefix => source.startsWith(prefix))
}
