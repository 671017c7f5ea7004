// A tariff as the directory has it: prices of a standard segment by prefix, class and time, margins where no price stands,
// and after which ends a charge is given back. Shapes and bounds; which price is a message's, routing's table says.

import { z } from 'zod'
import { type ClassRank, type MessageState, messageClasses, rankOf, state } from '../model/message.js'
import { microsOf, unitsText } from '../model/money.js'
import { yamlText } from './yamlText.js'

/** Of a segment, in micros. */
export const MAX_PRICE = 1_000_000_000_000
/** In hundredths of a percent: a thousand times the cost. */
const MAX_PERCENT = 100_000
const MAX_MARGINS = 1_000

/** Units of the gateway's currency, as micros. */
export const priceField = z
  .union([z.number(), z.string()], { error: 'must be a price like 0.05' })
  .transform((written, context) => {
    const micros = microsOf(written)
    if (micros !== undefined && micros >= 0 && micros <= MAX_PRICE) return micros
    context.addIssue('must be a price of up to 1000000 with six decimals')
    return z.NEVER
  })

/** Prices begin in the years 1970 to 9999, UTC: what lies beyond is a slip of the pen, and not every database can write it. */
export const isPriceMoment = (ms: number): boolean => ms >= 0 && ms <= LAST_MS
const LAST_MS = Date.UTC(9999, 11, 31, 23, 59, 59, 999)
export const PRICE_YEARS = 'must be in the years 1970 to 9999'

export const pricePrefix = yamlText.regex(/^\+?\d{0,15}$/, 'must be the first digits of a number').transform(bare)

const margin = z.strictObject({
  prefix: pricePrefix.optional(),
  /** Two letters. */
  country: yamlText
    .regex(/^[A-Za-z]{2}$/, 'must be a country of two letters, like DE')
    .transform(country => country.toUpperCase())
    .optional(),
  class: z.enum(messageClasses).optional(),
  /** Of the cost, on top of it. */
  percent: z
    .number()
    .min(-100)
    .max(MAX_PERCENT)
    .refine(percent => Number.isInteger(Math.round(percent * 1e6) / 1e4), 'must have two decimals at most')
    .optional(),
  fixed: priceField.optional(),
  minimum: priceField.optional(),
})

/** Ends after which a charge may be given back. */
export const givenBack = ['rejected', 'expired', 'deleted', 'undeliverable', 'unknown'] as const
type GivenBack = (typeof givenBack)[number]
const DEFAULT_BACK: GivenBack[] = ['rejected', 'expired', 'deleted']

/** As in a gateway file, and, where given, in `tariffs.settings`: see {@link storedTariffSettings}. */
export const tariffSettings = z.strictObject({
  /** The first that matches counts, for numbers of which no price is named. */
  margins: z.array(margin).max(MAX_MARGINS).default([]),
  /**
   * After which ends a charge is given back, also where a carrier has taken the message and then reports that end. Not given,
   * or null: after rejected, expired and deleted, and only what no carrier has taken.
   */
  givesBack: z
    .array(z.enum(givenBack))
    .nullable()
    .transform(words => words ?? undefined)
    .optional(),
})
export type TariffSettings = z.output<typeof tariffSettings>

/** What is stored and exported: what is given. */
export function storedTariffSettings({ margins, givesBack }: TariffSettings): Record<string, unknown> {
  const units = (micros: number | undefined): number | undefined =>
    micros === undefined ? undefined : Number(unitsText(micros))
  return JSON.parse(
    JSON.stringify({
      ...(margins.length === 0
        ? {}
        : { margins: margins.map(one => ({ ...one, fixed: units(one.fixed), minimum: units(one.minimum) })) }),
      ...(givesBack === undefined ? {} : { givesBack: [...new Set(givesBack)] }),
    }),
  )
}

/** After which ends a charge is given back, and whether what a carrier has taken is too. */
export const backOf = ({ givesBack }: TariffSettings): { after: readonly GivenBack[]; isTakenToo: boolean } => ({
  after: givesBack ?? DEFAULT_BACK,
  isTakenToo: givesBack !== undefined,
})

/** Prefix; class, -1 = every class; from when, ms, or null = ever since; micros, null = from then on no price any more. */
export type StoredPrice = [prefix: string, rank: number, fromMs: number | null, micros: number | null]

export interface StoredTariff {
  id: number
  name: string
  settings: Record<string, unknown>
}

/** What a tariff takes on top of what a carrier takes. */
export interface Margin {
  /** '' = any. */
  readonly prefix: string
  /** ISO 3166-1 alpha-2; '' = any. */
  readonly country: string
  /** -1 = any. */
  readonly rank: ClassRank | -1
  /** Of the cost, in hundredths of a percent. */
  readonly hundredths: number
  readonly fixedMicros: number
  readonly minimumMicros: number
}

export interface TariffRow {
  readonly id: number
  readonly name: string
  readonly margins: readonly Margin[]
  readonly givesBack: GivesBack
}

/** When a charge is given back. */
export interface GivesBack {
  readonly after: ReadonlySet<MessageState>
  /** Also when a carrier took the message, and it ended so afterwards. */
  readonly isTakenToo: boolean
}

export function readTariff({ id, name, settings }: StoredTariff): TariffRow {
  const read = tariffSettings.parse(settings)
  const { after, isTakenToo } = backOf(read)
  return {
    id,
    name,
    margins: read.margins.map(one => ({
      prefix: one.prefix ?? '',
      country: one.country ?? '',
      rank: one.class === undefined ? -1 : rankOf(one.class),
      hundredths: Math.round((one.percent ?? 0) * 100),
      fixedMicros: one.fixed ?? 0,
      minimumMicros: one.minimum ?? 0,
    })),
    givesBack: { after: statesOf(after), isTakenToo },
  }
}

const statesOf = (names: readonly GivenBack[]): ReadonlySet<MessageState> =>
  new Set(names.map(name => state[name.toUpperCase() as Uppercase<GivenBack>]))

/** Of a tariff of which nothing is said, and of charges whose tariff is gone. */
export const usuallyGivenBack: GivesBack = { after: statesOf(DEFAULT_BACK), isTakenToo: false }

/** A price of a gateway file. */
const filePrice = z
  .strictObject({
    /** '' or `default`: whatever no other prefix matches. */
    prefix: z.union([z.literal('default').transform(() => ''), pricePrefix]),
    class: z.enum(messageClasses).optional(),
    from: z.iso
      .datetime({ offset: true, error: 'must be a moment like 2030-12-31T00:00:00Z' })
      .refine(from => isPriceMoment(Date.parse(from)), PRICE_YEARS)
      .optional(),
    /** null = from then on there is none any more. */
    price: priceField.nullable(),
  })
  .transform(
    (one): StoredPrice => [
      one.prefix,
      one.class === undefined ? -1 : rankOf(one.class),
      one.from === undefined ? null : Date.parse(one.from),
      one.price,
    ],
  )

const shortPrices = z
  .record(z.string().regex(/^(?:\+?\d{1,15}|default)$/, 'must be the first digits of a number, or default'), priceField)
  .transform(prices =>
    Object.entries(prices).map(
      ([prefix, micros]): StoredPrice => [prefix === 'default' ? '' : bare(prefix), -1, null, micros],
    ),
  )

/** A tariff of a gateway file. */
export const fileTariff = tariffSettings.extend({
  name: yamlText.min(1).max(63),
  /** Units of the gateway's currency a standard segment, by prefix; or a list with classes and moments. */
  prices: z
    .union([z.array(filePrice), shortPrices], { error: 'must be prices by prefix, or a list of prefix and price' })
    .default([]),
})
export type FileTariff = z.output<typeof fileTariff>

function bare(prefix: string): string {
  return prefix.replace('+', '')
}

/** Tells prices of a tariff apart. */
export const priceKey = ([prefix, rank, fromMs]: StoredPrice): string => `${prefix} ${rank} ${fromMs ?? ''}`
