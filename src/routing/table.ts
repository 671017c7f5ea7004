// Which route is a message's? Rules compiled once into a trie of destination prefixes, walked once per message; a rule's
// countries and networks are prefixes too. Pure: knows rules and digits, not carriers' health, which is choose.ts's.

import { type ClassRank, type Message, tagsOf } from '../model/message.js'
import { countryOf, prefixesOf } from './countries.js'
import { common, PrefixMap } from './prefixes.js'
import { isOpen, type TimeWindow, type WeekWindow, windowOf } from './windows.js'

/** A rule as the directory has it. Empty lists match everything; all that are not must match. */
export interface RouteRule {
  readonly id: number
  /** Lower is asked first. */
  readonly position: number
  readonly name: string
  /** system_ids. */
  readonly accounts: readonly string[]
  /** Groups of accounts. */
  readonly groups: readonly string[]
  readonly ranks: readonly ClassRank[]
  /** Prefixes of the source address. */
  readonly sources: readonly string[]
  /** Prefixes of the destination's digits, international, without + or 00. */
  readonly destinations: readonly string[]
  /** ISO 3166-1 alpha-2. */
  readonly countries: readonly string[]
  /** MCC and MNC, or MCC alone, digits. */
  readonly networks: readonly string[]
  readonly times: readonly TimeWindow[]
  readonly tags: readonly string[]
  /** Carriers that the message may name. */
  readonly carriers: readonly string[]
  /** How one of `to` is chosen; see choose.ts. */
  readonly by: 'order' | 'weight' | 'price' | 'quality'
  /** listed: a message that names a carrier is taken only where that one is among `to`; any: whichever it names. */
  readonly named: 'listed' | 'any'
  readonly to: readonly { readonly carrier: string; readonly weight: number | null }[]
}

/** Whose numbers begin with which prefixes. */
export interface Network {
  /** Digits. */
  readonly mccmnc: string
  readonly name: string
  readonly prefixes: readonly string[]
}

/** Of the account, what rules ask. */
export interface Sender {
  readonly systemId: string
  readonly group: string
}

/** Why a rule does not take a message: the first of its keys that does not match; `named`: see {@link RouteRule.named}. */
export type Misfit =
  | 'account'
  | 'group'
  | 'class'
  | 'source'
  | 'destination'
  | 'country'
  | 'network'
  | 'carrier'
  | 'named'
  | 'time'
  | 'tag'

interface Node {
  next: (Node | undefined)[]
  /** Indexes into rules, ascending. */
  rules: number[]
}

const node = (): Node => ({ next: [], rules: [] })

export class RouteTable {
  readonly rules: readonly RouteRule[]
  /** Some rule chooses by what becomes of messages in an {@link areaOf} of theirs. */
  readonly learns: boolean
  private readonly root = node()
  private readonly byId = new Map<number, RouteRule>()
  /** By rule; null for those that are always open. */
  private readonly windows: (readonly WeekWindow[] | null)[]
  private readonly networks: PrefixMap
  private readonly networkNames: ReadonlyMap<string, string>

  constructor(rules: readonly RouteRule[], networks: readonly Network[] = []) {
    this.rules = [...rules].sort((a, b) => a.position - b.position || a.id - b.id)
    this.learns = rules.some(rule => rule.by === 'quality')
    this.windows = this.rules.map(rule => (rule.times.length === 0 ? null : rule.times.map(windowOf)))
    this.networks = new PrefixMap(
      networks.flatMap(({ mccmnc, prefixes }) => prefixes.map(prefix => [prefix, mccmnc] as const)),
    )
    this.networkNames = new Map(networks.map(({ mccmnc, name }) => [mccmnc, name]))
    const covers = this.networks.covers()
    for (const [index, rule] of this.rules.entries()) {
      this.byId.set(rule.id, rule)
      for (const prefix of prefixesFor(rule, covers)) this.place(prefix).rules.push(index)
    }
  }

  private place(prefix: string): Node {
    let at = this.root
    for (let i = 0; i < prefix.length; i++) {
      const index = prefix.charCodeAt(i) - ZERO
      at.next[index] ??= node()
      at = at.next[index] as Node
    }
    return at
  }

  route(id: number): RouteRule | undefined {
    return this.byId.get(id)
  }

  /**
   * The first rule, by position, that takes the message at this moment. `destination` is digits only (see
   * digitsOf); of the message its class, source, tags and named carrier are asked.
   */
  match(sender: Sender, m: Message, destination: string, nowMs: number): RouteRule | undefined {
    let best = this.rules.length
    let at: Node | undefined = this.root
    for (let i = 0; at; i++) {
      for (const index of at.rules) {
        if (index >= best) break
        if (this.misfit(index, sender, m, nowMs) === undefined) {
          best = index
          break
        }
      }
      if (i === destination.length) break
      at = at.next[destination.charCodeAt(i) - ZERO]
    }
    return this.rules[best]
  }

  /** Why the rule at this place of {@link rules} does not take the message; undefined when it does. */
  whyNot(index: number, sender: Sender, m: Message, destination: string, nowMs: number): Misfit | undefined {
    const rule = this.rules[index] as RouteRule
    const { destinations, countries, networks } = rule
    if (destinations.length > 0 && !destinations.some(prefix => destination.startsWith(prefix))) return 'destination'
    if (countries.length > 0 && !countries.includes(countryOf(destination))) return 'country'
    if (networks.length > 0 && !networks.some(network => isOf(this.networkOf(destination), network))) return 'network'
    return this.misfit(index, sender, m, nowMs)
  }

  private misfit(index: number, sender: Sender, m: Message, nowMs: number): Misfit | undefined {
    const rule = this.rules[index] as RouteRule
    if (rule.accounts.length > 0 && !rule.accounts.includes(sender.systemId)) return 'account'
    if (rule.groups.length > 0 && !rule.groups.includes(sender.group)) return 'group'
    if (rule.ranks.length > 0 && !rule.ranks.includes(m.rank)) return 'class'
    if (rule.sources.length > 0 && !rule.sources.some(prefix => m.source_addr.startsWith(prefix))) return 'source'
    if (rule.carriers.length > 0 && !rule.carriers.includes(m.carrierName)) return 'carrier'
    if (m.carrierName !== '' && rule.named === 'listed' && !rule.to.some(({ carrier }) => carrier === m.carrierName))
      return 'named'
    const windows = this.windows[index]
    if (windows && !windows.some(window => isOpen(window, nowMs))) return 'time'
    if (rule.tags.length > 0 && !tagsOf(m).some(tag => rule.tags.includes(tag))) return 'tag'
    return undefined
  }

  /** MCC and MNC of the network that a number's prefix belongs to; '' when none is known to. */
  networkOf(destination: string): string {
    return this.networks.ownerOf(destination)
  }

  networkName(mccmnc: string): string {
    return this.networkNames.get(mccmnc) ?? ''
  }

  /** What numbers share whose messages fare alike: their network, else their country. */
  areaOf(destination: string): string {
    return this.networks.ownerOf(destination) || countryOf(destination)
  }
}

const isOf = (network: string, asked: string): boolean =>
  asked.length === MCC ? network.startsWith(asked) : network === asked

/** Of the numbers that a rule can take. */
function prefixesFor(rule: RouteRule, covers: ReadonlyMap<string, readonly string[]>): readonly string[] {
  let prefixes: readonly string[] = rule.destinations.length === 0 ? [''] : [...new Set(rule.destinations)]
  if (rule.countries.length > 0) prefixes = common(prefixes, rule.countries.flatMap(prefixesOf))
  if (rule.networks.length > 0) {
    const asked = [...covers].filter(([mccmnc]) => rule.networks.some(network => isOf(mccmnc, network)))
    prefixes = common(
      prefixes,
      asked.flatMap(([, cover]) => cover),
    )
  }
  return prefixes
}

const MCC = 3
const ZERO = 48
