// A rule for messages from phones as the directory has it: which ones it takes, whose they are, and how they leave. What a
// match means is returns'.

import { z } from 'zod'
import { folded } from './optWords.js'
import { yamlText } from './yamlText.js'

/** How a message from a phone reaches its customer: over a bind, a webhook, by mail. */
const inboundWays = ['bind', 'hook', 'mail'] as const
export type InboundWay = (typeof inboundWays)[number]

export interface InboundRule {
  readonly id: number
  /** Lower is asked first. */
  readonly position: number
  /** '' = none. */
  readonly name: string
  /** Called numbers; with a * at the end, what they begin with. Empty lists match everything. */
  readonly numbers: readonly string[]
  /** First words of the text, folded. */
  readonly keywords: readonly string[]
  readonly carriers: readonly string[]
  /** Prefixes of the phone's number. */
  readonly sources: readonly string[]
  /** system_id */
  readonly account: string
  /** Empty: as the account has it otherwise. */
  readonly by: readonly InboundWay[]
}

const oneOrMany = <T extends z.ZodType>(one: T) =>
  z.preprocess(value => (Array.isArray(value) ? value : [value]), z.array(one)).optional()

const withoutPlus = (text: string): string => text.replace(/^\+/, '')

/** `match` of a rule in a gateway file: each key one value or a list. */
const inboundMatch = z.strictObject({
  number: oneOrMany(
    yamlText
      .min(1)
      .max(22)
      .regex(/^[^*\s]*\*?$/, 'must be a number, or its first digits and a *')
      .transform(withoutPlus),
  ),
  keyword: oneOrMany(
    yamlText
      .min(1)
      .max(40)
      .refine(word => !/\s/.test(word) && folded(word) !== '', 'must be one word'),
  ),
  carrier: oneOrMany(yamlText.min(1).max(64)),
  source: oneOrMany(yamlText.regex(/^\+?\d{1,15}$/, 'must be the first digits of a number').transform(withoutPlus)),
})

/** `to` of a rule in a gateway file. */
const inboundTarget = z.strictObject({
  account: yamlText.min(1).max(63),
  by: oneOrMany(z.enum(inboundWays)),
})

/** As stored in `inbound.match`; keys that match everything are left out. */
export interface StoredInboundMatch {
  number?: string[]
  keyword?: string[]
  carrier?: string[]
  source?: string[]
}

/** As stored in `inbound.target`. */
export interface StoredInboundTarget {
  account: string
  by?: InboundWay[]
}

/** In one order of keys, so that equal matches are equal texts. */
export function storedInboundMatch(match: z.output<typeof inboundMatch>): StoredInboundMatch {
  const stored: StoredInboundMatch = {}
  for (const key of ['number', 'keyword', 'carrier', 'source'] as const) {
    const values = match[key]
    if (values?.length) stored[key] = values
  }
  return stored
}

export function storedInboundTarget({ account, by }: z.output<typeof inboundTarget>): StoredInboundTarget {
  return by?.length ? { account, by: [...new Set(by)] } : { account }
}

export interface StoredInbound {
  id: number
  position: number
  name: string
  match: StoredInboundMatch
  target: StoredInboundTarget
}

export function readInbound({ id, position, name, match, target }: StoredInbound): InboundRule {
  return {
    id,
    position,
    name,
    numbers: match.number ?? [],
    keywords: (match.keyword ?? []).map(folded),
    carriers: match.carrier ?? [],
    sources: match.source ?? [],
    account: target.account,
    by: target.by ?? [],
  }
}

export const fileInbound = z.strictObject({
  /** Rules keep their identity by name, those without one by what they match. */
  name: yamlText.min(1).max(64).optional(),
  match: inboundMatch.default({}),
  to: inboundTarget,
})
export type FileInbound = z.output<typeof fileInbound>
