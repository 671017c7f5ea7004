// The hours in which no advertising may reach a phone, by the clocks where the phone is: is it such an hour there, and
// when does it end? Knows numbers, zones and rules; whose message it is, and what is done with it, others decide. The time
// is an argument. One comparison for most messages: an answer holds for all numbers of a group of zones until it changes.

import type { Counters } from '../base/figures.js'
import type { Quiet, QuietRule } from '../model/quiet.js'
import { countryOf } from './countries.js'
import { zoneGroupOf, zonesOf } from './zones.js'

export interface QuietSettings {
  /** Where nothing else is said. */
  readonly everywhere: Quiet
  /** By ISO 3166-1 alpha-2. */
  readonly countries: ReadonlyMap<string, Quiet>
}

const MINUTE_MS = 60_000
const DAY_MS = 86_400_000
const DAY_MINUTES = 1_440
/** Clocks change at quarters of an hour of UTC, and stand still in between. */
const QUARTER_MS = 900_000
/** Offsets of a zone that are remembered: a year of quarters. */
const OFFSETS = 40_000
/** Where zones leave no minute of a day that is quiet in none of them, there is none tomorrow either. */
const LONGEST_MS = 2 * DAY_MS

/** From `sinceMs` to before `changesMs` it is quiet until `untilMs`, or not at all: 0. */
interface Span {
  readonly sinceMs: number
  readonly changesMs: number
  readonly untilMs: number
}

export class QuietHours {
  private readonly settings: QuietSettings
  private readonly counters: Counters
  /** By rule, then by group of zones: the newest answer. */
  private readonly spans = new Map<number, (Span | undefined)[]>()

  constructor(settings: QuietSettings, counters: Counters) {
    this.settings = settings
    this.counters = counters
  }

  /**
   * The first moment, ms, from `atMs` on at which it is not quiet at a number (digits, international); 0: it is not quiet
   * at `atMs`. Where the number may be in several zones it is quiet while it is in any of them; if that leaves no minute
   * of the day, only the first counts. `own` is what goes before the settings, undefined when nothing does.
   */
  until(digits: string, atMs: number, own?: Quiet): number {
    const rule = own === undefined ? this.ruleOf(digits) : own
    if (rule === null) return 0
    const key = rule.from * DAY_MINUTES + rule.to
    let spans = this.spans.get(key)
    if (spans === undefined) {
      spans = []
      this.spans.set(key, spans)
    }
    const group = zoneGroupOf(digits)
    let span = spans[group]
    if (span === undefined || atMs < span.sinceMs || atMs >= span.changesMs) {
      span = spanAt(zonesOf(group), rule, atMs)
      spans[group] = span
    }
    return span.untilMs
  }

  /** A message has to wait for their end. */
  held(): void {
    this.counters.add('held_quiet_hours')
  }

  private ruleOf(digits: string): Quiet {
    const { everywhere, countries } = this.settings
    if (countries.size === 0) return everywhere
    const own = countries.get(countryOf(digits))
    return own === undefined ? everywhere : own
  }
}

/** The answer at a moment, and how long it holds. */
export function spanAt(zones: readonly string[], rule: QuietRule, atMs: number): Span {
  let untilMs = atMs
  for (let isQuiet = true; isQuiet; ) {
    isQuiet = false
    for (const zone of zones) {
      const end = endOf(zone, rule, untilMs)
      if (end === untilMs) continue
      untilMs = end
      isQuiet = true
    }
    if (untilMs - atMs > LONGEST_MS && zones.length > 1) return spanAt(zones.slice(0, 1), rule, atMs)
  }
  if (untilMs > atMs) return { sinceMs: atMs, changesMs: untilMs, untilMs }
  const open = { from: rule.to, to: rule.from }
  return { sinceMs: atMs, changesMs: Math.min(...zones.map(zone => endOf(zone, open, atMs))), untilMs: 0 }
}

/** The first moment from `atMs` on that is not within the rule's hours: `atMs` itself when it is not. */
function endOf(zone: string, { from, to }: QuietRule, atMs: number): number {
  const lengthMs = ((to - from + DAY_MINUTES) % DAY_MINUTES) * MINUTE_MS
  for (let at = atMs; ; ) {
    const offset = offsetAt(zone, at)
    const intoMs = (((at + offset - from * MINUTE_MS) % DAY_MS) + DAY_MS) % DAY_MS
    if (intoMs >= lengthMs) return at
    const end = at + lengthMs - intoMs
    // No clock is changed and changed back within a day. Where it is changed, the end is looked for a quarter at a time.
    if (offsetAt(zone, end - 1) === offset) return end
    at = Math.min(end, (Math.floor(at / QUARTER_MS) + 1) * QUARTER_MS)
  }
}

interface Zone {
  readonly format: Intl.DateTimeFormat
  /** ms, by quarter of an hour since 1970. */
  readonly offsets: Map<number, number>
}

const known = new Map<string, Zone>()

/** How far the zone's clocks are ahead of UTC at a moment, ms. */
export function offsetAt(name: string, atMs: number): number {
  let zone = known.get(name)
  if (zone === undefined) {
    zone = {
      format: new Intl.DateTimeFormat('en-US', { timeZone: name, timeZoneName: 'longOffset' }),
      offsets: new Map(),
    }
    known.set(name, zone)
  }
  const quarter = Math.floor(atMs / QUARTER_MS)
  let offset = zone.offsets.get(quarter)
  if (offset === undefined) {
    offset = readOffset(zone.format, quarter * QUARTER_MS)
    if (zone.offsets.size >= OFFSETS) zone.offsets.clear()
    zone.offsets.set(quarter, offset)
  }
  return offset
}

/** `GMT`, `GMT+05:45`. */
function readOffset(format: Intl.DateTimeFormat, atMs: number): number {
  const text = format.formatToParts(atMs).find(part => part.type === 'timeZoneName')?.value ?? ''
  const [, sign, hours, minutes] = /([+-])(\d{2}):(\d{2})/.exec(text) ?? []
  if (sign === undefined) return 0
  return (sign === '-' ? -1 : 1) * (Number(hours) * 60 + Number(minutes)) * MINUTE_MS
}
