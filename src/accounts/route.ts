// A route as the directory has it: what it matches and which carriers it names. Its shape is
// that of routing's rule; what a match means is routing's.

import { z } from 'zod'
import { type ClassRank, type MessageClass, messageClasses, rankOf } from '../model/message.js'
import { yamlText } from './yamlText.js'

export interface RouteRow {
  readonly id: number
  /** Lower is asked first. */
  readonly position: number
  /** '' = none. */
  readonly name: string
  /** system_ids. Empty lists match everything. */
  readonly accounts: readonly string[]
  readonly ranks: readonly ClassRank[]
  /** Prefixes of the source address. */
  readonly sources: readonly string[]
  /** Prefixes of the destination's digits, international, without +. */
  readonly destinations: readonly string[]
  /** Without weights in their order: the second is for when the first is down. */
  readonly to: readonly RouteTarget[]
}

export interface RouteTarget {
  readonly carrier: string
  readonly weight: number | null
}

const oneOrMany = <T extends z.ZodType>(one: T) =>
  z.preprocess(value => (Array.isArray(value) ? value : [value]), z.array(one)).optional()

const address = yamlText.min(1).max(21)

/** `match` of a route in a gateway file: each key one value or a list. */
export const routeMatch = z.strictObject({
  account: oneOrMany(yamlText.min(1)),
  class: oneOrMany(z.enum(messageClasses)),
  source: oneOrMany(address),
  destination: oneOrMany(
    address.regex(/^\+?\d{1,15}$/, 'must be the first digits of a number').transform(prefix => prefix.replace('+', '')),
  ),
})

/** `to` of a route in a gateway file: names of carriers, or names with weights. */
export const routeTargets = z
  .array(
    z.union(
      [
        z.string().transform((carrier): RouteTarget => ({ carrier, weight: null })),
        z.strictObject({ carrier: z.string(), weight: z.int().min(0).max(1000).nullable().default(null) }),
      ],
      { error: 'must be the name of a carrier, or carrier and weight (0 to 1000)' },
    ),
  )
  .min(1, 'must name a carrier')

/** As stored in `routes.match`; keys that match everything are left out. */
export interface StoredMatch {
  account?: string[]
  class?: MessageClass[]
  source?: string[]
  destination?: string[]
}

/** In one order of keys, so that equal matches are equal texts. */
export function storedMatch(match: z.output<typeof routeMatch>): StoredMatch {
  const stored: StoredMatch = {}
  if (match.account?.length) stored.account = match.account
  if (match.class?.length) stored.class = match.class
  if (match.source?.length) stored.source = match.source
  if (match.destination?.length) stored.destination = match.destination
  return stored
}

export interface StoredRoute {
  id: number
  position: number
  name: string
  match: StoredMatch
  targets: RouteTarget[]
}

export function readRoute(row: StoredRoute): RouteRow {
  const { id, position, name, match, targets } = row
  return {
    id,
    position,
    name,
    accounts: match.account ?? [],
    ranks: (match.class ?? []).map(rankOf),
    sources: match.source ?? [],
    destinations: match.destination ?? [],
    to: targets,
  }
}
