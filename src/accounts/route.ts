// A route as the directory has it: what it matches, which carriers it names and how it chooses among them; and beside
// it the networks and the blocked prefixes. Shapes are those of routing; what a match means is routing's.

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
  readonly groups: readonly string[]
  readonly ranks: readonly ClassRank[]
  /** Prefixes of the source address. */
  readonly sources: readonly string[]
  /** Prefixes of the destination's digits, international, without +. */
  readonly destinations: readonly string[]
  /** ISO 3166-1 alpha-2. */
  readonly countries: readonly string[]
  /** MCC and MNC, or MCC alone, digits. */
  readonly networks: readonly string[]
  readonly times: readonly RouteTime[]
  readonly tags: readonly string[]
  /** Carriers that a message may name. */
  readonly carriers: readonly string[]
  readonly by: RouteBy
  /** listed: a message that names a carrier is taken only where that one is among `to`; any: whichever it names. */
  readonly named: 'listed' | 'any'
  readonly to: readonly RouteTarget[]
}

export interface RouteTarget {
  readonly carrier: string
  readonly weight: number | null
}

const routeBys = ['order', 'weight', 'price', 'quality'] as const
export type RouteBy = (typeof routeBys)[number]

const weekdays = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] as const

/** A window of each week: `from` 22:00 `to` 06:00 goes over midnight and belongs to the day on which it begins. */
export interface RouteTime {
  /** Empty = every day. */
  readonly days: readonly (typeof weekdays)[number][]
  /** hh:mm; to 24:00. */
  readonly from: string
  readonly to: string
  /** IANA name. */
  readonly zone: string
}

const oneOrMany = <T extends z.ZodType>(one: T) =>
  z.preprocess(value => (Array.isArray(value) ? value : [value]), z.array(one)).optional()

const address = yamlText.min(1).max(21)
const name = yamlText.min(1).max(64)

const digitsPrefix = address
  .regex(/^\+?\d{1,15}$/, 'must be the first digits of a number')
  .transform(prefix => prefix.replace('+', ''))

let regions: Intl.DisplayNames | undefined

/** The names are made when first asked for: that takes as long as all else in this file a thousand times. */
function isCountry(code: string): boolean {
  regions ??= new Intl.DisplayNames('en', { type: 'region', fallback: 'none' })
  return regions.of(code) !== undefined
}

function isZone(zone: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: zone }) !== undefined
  } catch {
    return false
  }
}

const time = z
  .strictObject({
    days: z.preprocess(value => (Array.isArray(value) ? value : [value]), z.array(z.enum(weekdays))).default([]),
    from: yamlText.regex(/^([01]\d|2[0-3]):[0-5]\d$/, 'must be a time like 08:00').default('00:00'),
    to: yamlText.regex(/^(([01]\d|2[0-3]):[0-5]\d|24:00)$/, 'must be a time like 20:00').default('24:00'),
    zone: yamlText.refine(isZone, 'must be a time zone like Europe/Berlin').default('UTC'),
  })
  .refine(({ from, to }) => from !== to, 'must not end when it begins')

/** `match` of a route in a gateway file: each key one value or a list; all keys that are there must match. */
const routeMatch = z.strictObject({
  account: oneOrMany(name),
  group: oneOrMany(name),
  class: oneOrMany(z.enum(messageClasses)),
  source: oneOrMany(address),
  destination: oneOrMany(digitsPrefix),
  country: oneOrMany(
    yamlText
      .regex(/^[A-Za-z]{2}$/, 'must be a country of two letters, like DE')
      // UK is GB.
      .transform(country => new Intl.Locale(`und-${country}`).region ?? country)
      .refine(isCountry, 'must be a country of two letters, like DE'),
  ),
  network: oneOrMany(
    yamlText
      .regex(/^\d{3}(-?\d{2,3})?$/, 'must be MCC-MNC like 262-01, or an MCC')
      .transform(network => network.replace('-', '')),
  ),
  time: oneOrMany(time),
  tag: oneOrMany(name),
  carrier: oneOrMany(name),
})

/** `to` of a route in a gateway file: names of carriers, or names with weights. */
const routeTargets = z
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

/** A route of a gateway file, and of a request to add one. */
export const fileRoute = z.strictObject({
  /** Routes keep their identity by name, those without one by what they match. */
  name: name.optional(),
  match: routeMatch.default({}),
  to: routeTargets,
  /** Left out: weight where there are weights, else order. */
  by: z.enum(routeBys).optional(),
  named: z.enum(['listed', 'any']).default('listed'),
})
export type FileRoute = z.output<typeof fileRoute>

/** As stored in `routes.match`; keys that match everything are left out. */
export interface StoredMatch {
  account?: string[]
  group?: string[]
  class?: MessageClass[]
  source?: string[]
  destination?: string[]
  country?: string[]
  network?: string[]
  time?: RouteTime[]
  tag?: string[]
  carrier?: string[]
}

const MATCH_KEYS = [
  'account',
  'group',
  'class',
  'source',
  'destination',
  'country',
  'network',
  'time',
  'tag',
  'carrier',
] as const satisfies readonly (keyof StoredMatch)[]

/** In one order of keys, so that equal matches are equal texts. */
export function storedMatch(match: StoredMatch | z.output<typeof routeMatch>): StoredMatch {
  const given = MATCH_KEYS.filter(key => match[key]?.length)
  return Object.fromEntries(given.map(key => [key, key === 'time' ? match.time?.map(inOrder) : match[key]]))
}

const inOrder = ({ days, from, to, zone }: RouteTime): RouteTime => ({ days, from, to, zone })

export interface StoredRoute {
  id: number
  position: number
  name: string
  match: StoredMatch
  targets: RouteTarget[]
  /** '' = by what the targets are. */
  choose_by: RouteBy | ''
  named: 'listed' | 'any'
}

export function readRoute(row: StoredRoute): RouteRow {
  const { id, position, match, targets } = row
  return {
    id,
    position,
    name: row.name,
    accounts: match.account ?? [],
    groups: match.group ?? [],
    ranks: (match.class ?? []).map(rankOf),
    sources: match.source ?? [],
    destinations: match.destination ?? [],
    countries: match.country ?? [],
    networks: match.network ?? [],
    times: match.time ?? [],
    tags: match.tag ?? [],
    carriers: match.carrier ?? [],
    by: row.choose_by || (targets.some(({ weight }) => weight !== null) ? 'weight' : 'order'),
    named: row.named,
    to: targets,
  }
}

/** A network and the prefixes of its numbers, as the operator knows them. */
export const fileNetwork = z.strictObject({
  mccmnc: yamlText
    .regex(/^\d{3}-?\d{2,3}$/, 'must be MCC-MNC like 262-01')
    .transform(network => network.replace('-', '')),
  name: yamlText.max(64).default(''),
  prefixes: z.array(digitsPrefix).default([]),
})
export type FileNetwork = z.output<typeof fileNetwork>

/** Numbers that nobody, or `account`, may send to. */
export const fileBlocked = z.strictObject({
  prefix: digitsPrefix,
  account: name.optional(),
  reason: yamlText.max(200).default(''),
})
export type FileBlocked = z.output<typeof fileBlocked>

export interface NetworkRow {
  readonly mccmnc: string
  readonly name: string
  readonly prefixes: readonly string[]
}

export interface BlockedRow {
  /** system_id; '' = everybody. */
  readonly account: string
  readonly prefix: string
  readonly reason: string
}
