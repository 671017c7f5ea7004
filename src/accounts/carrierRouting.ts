// What a carrier's settings say to routing: what a part costs there, and how addresses are written for it. Knows what
// may stand there; what becomes of it is routing's.

import { z } from 'zod'
import { yamlText } from './yamlText.js'

/** Addresses in SMPP have 20 characters (SMPP v3.4 §5.2.8). */
const text = yamlText.max(20)
/** In one order, whoever wrote it, so that equal settings are equal texts. */
const sorted = <T>(map: Record<string, T>): Record<string, T> =>
  Object.fromEntries(Object.entries(map).sort(([a], [b]) => (a < b ? -1 : 1)))
const octet = z.int().min(0).max(255).optional()

/**
 * One step; several are taken in their order, each on what the one before has left. Conditions, all of which must hold
 * and none of which is everything; then one change of the text, and type and plan.
 */
const rewriteStep = z
  .strictObject({
    /** What the address begins with. */
    prefix: text.min(1).optional(),
    /** name: letters; short: up to six digits; number: more. */
    kind: z.enum(['name', 'short', 'number']).optional(),
    /** Whole addresses, and what becomes of them. */
    map: z.record(text, text).transform(sorted).optional(),
    /** In the place of `prefix`, or of all of it where there is none. */
    replace: text.optional(),
    /** Characters taken from the front. */
    strip: z.int().min(1).max(20).optional(),
    /** Put before it, after `strip`. */
    prepend: text.optional(),
    ton: octet,
    npi: octet,
  })
  .refine(
    ({ map, replace, strip, prepend }) =>
      [map, replace, strip ?? prepend].filter(change => change !== undefined).length <= 1,
    'must have one of map, replace, and strip or prepend',
  )
  .refine(
    step => Object.keys(step).some(key => !['prefix', 'kind'].includes(key)),
    'must change something: map, replace, strip, prepend, ton or npi',
  )

const PRICE = /^(\d{1,15}|default)$/

/** Of every kind of carrier. */
export const carrierRouting = {
  /** By the first digits of the destination: units of the gateway's currency for a part, with up to 6 decimals. */
  prices: z
    .record(
      z.string().regex(PRICE, 'must be the first digits of a number, or default'),
      z.number().min(0).max(1_000_000),
    )
    .transform(sorted)
    .default({}),
  rewrite: z
    .strictObject({
      source: z.array(rewriteStep).max(100).default([]),
      destination: z.array(rewriteStep).max(100).default([]),
      /** Of messages from phones, before anything is done with them. */
      replySource: z.array(rewriteStep).max(100).default([]),
      replyDestination: z.array(rewriteStep).max(100).default([]),
    })
    .prefault({}),
}
