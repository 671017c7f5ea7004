// Spans of time as people count them - hours, days, weeks, months where they are - and what of hours, days and weeks in UTC
// makes them up. Pure: knows clocks and their changes, nothing of what is counted.

const HOUR_MS = 3_600_000
const DAY_MS = 86_400_000
export const WEEK_MS = 7 * DAY_MS
/** 1969-12-29 */
const FIRST_MONDAY_MS = -3 * DAY_MS
const MOST_OFFSETS = 4_096

export const intervals = ['hour', 'day', 'week', 'month', 'none'] as const
export type Interval = (typeof intervals)[number]

/** From one moment to before another, in ms; whole hours of UTC. */
export interface Span {
  readonly fromMs: number
  readonly toMs: number
}

/** A span to count in: `labelMs` is where its hour, day, week or month begins, which may be before what was asked for. */
export interface Bucket extends Span {
  readonly labelMs: number
}

/** A piece of a bucket that is read from hours, days or weeks. */
export interface Piece extends Span {
  readonly bucket: number
}

const formats = new Map<string, Intl.DateTimeFormat>()
const FORMATS = 64

function formatOf(zone: string): Intl.DateTimeFormat {
  let format = formats.get(zone)
  if (format === undefined) {
    const fields = { year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', minute: 'numeric' } as const
    format = new Intl.DateTimeFormat('en-US', {
      timeZone: zone,
      hourCycle: 'h23',
      second: 'numeric',
      era: 'short',
      ...fields,
    })
    // Names are given by whoever asks.
    if (formats.size >= FORMATS) formats.clear()
    formats.set(zone, format)
  }
  return format
}

/** Whether there is such a zone: a name of the IANA's. */
export function isZone(zone: string): boolean {
  try {
    formatOf(zone)
    return true
  } catch {
    return false
  }
}

/** What the clocks there show, as if it were UTC. */
function shown(ms: number, zone: string): number {
  if (zone === 'UTC') return ms
  const week = Math.floor(ms / WEEK_MS)
  const before = offsetOf(week, zone)
  // No clock is changed and changed back within a week: to ask the calendar for each day would take thirty times as long.
  return before === offsetOf(week + 1, zone) ? ms + before : exactly(ms, zone)
}

/** By zone and week since 1970: how far its clocks are ahead of UTC as it begins, in ms. */
const offsets = new Map<string, number>()

function offsetOf(week: number, zone: string): number {
  const key = `${week} ${zone}`
  let offset = offsets.get(key)
  if (offset === undefined) {
    offset = exactly(week * WEEK_MS, zone) - week * WEEK_MS
    if (offsets.size >= MOST_OFFSETS) offsets.clear()
    offsets.set(key, offset)
  }
  return offset
}

function exactly(ms: number, zone: string): number {
  const part: Record<string, number> = {}
  for (const { type, value } of formatOf(zone).formatToParts(ms)) part[type] = Number(value)
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = part
  return Date.UTC(year, month - 1, day, hour, minute, second) + (((ms % 1_000) + 1_000) % 1_000)
}

/**
 * The first moment at which clocks there show this, given as if it were UTC; a date by its midnight. Where they jump over it,
 * that after the jump.
 */
export function startOf(shownMs: number, zone: string): number {
  if (zone === 'UTC') return shownMs
  const offset = (ms: number): number => shown(ms, zone) - ms
  const [before, after] = [offset(shownMs - DAY_MS), offset(shownMs + DAY_MS)]
  const candidates = before === after ? [shownMs - before] : [shownMs - before, shownMs - after].sort((a, b) => a - b)
  return candidates.find(ms => shown(ms, zone) >= shownMs) ?? (candidates.at(-1) as number)
}

/** `2026-03-29T00:00:00+01:00` */
export function momentText(ms: number, zone: string): string {
  const local = shown(ms, zone)
  const minutes = Math.round((local - ms) / 60_000)
  if (zone === 'UTC') return `${new Date(ms).toISOString().slice(0, 19)}Z`
  const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60]
  const two = (value: number): string => String(value).padStart(2, '0')
  return `${new Date(local).toISOString().slice(0, 19)}${minutes < 0 ? '-' : '+'}${two(hours)}:${two(rest)}`
}

/** `2026-11-20`, or `2026-11-20T08:00:00.5+01:00`: seconds and offset may be left out. */
const MOMENT = /^(2\d{3}-\d\d-\d\d)(?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?$/i

/**
 * What one asks for: a date is its whole day there, a text with a time a moment; without an offset it is one of the clocks there.
 * Undefined: it is neither, or of no year from 2000 to 2999.
 */
export function momentOf(text: string, zone: string, isEnd: boolean): number | undefined {
  const [, day = '', offset] = MOMENT.exec(text) ?? []
  const date = Date.parse(`${day}T00:00:00Z`)
  // A 31st of February would be read as a day of March.
  if (Number.isNaN(date) || new Date(date).toISOString().slice(0, 10) !== day) return undefined
  if (text === day) return startOf(isEnd ? date + DAY_MS : date, zone)
  const ms = Date.parse(offset === undefined ? `${text}Z` : text)
  if (Number.isNaN(ms)) return undefined
  return offset === undefined ? startOf(ms, zone) : ms
}

/** The date of a moment there, as its midnight in UTC. */
export const dateOf = (ms: number, zone: string): number => Math.floor(shown(ms, zone) / DAY_MS) * DAY_MS

/** The date on which the hour, day, week (from Monday) or month of a date begins, and that of the next one. */
function datesOf(dateMs: number, interval: Interval): [number, number] {
  const date = new Date(dateMs)
  if (interval === 'month') {
    const [year, month] = [date.getUTCFullYear(), date.getUTCMonth()]
    return [Date.UTC(year, month), Date.UTC(year, month + 1)]
  }
  if (interval === 'day') return [dateMs, dateMs + DAY_MS]
  const monday = dateMs - ((date.getUTCDay() + 6) % 7) * DAY_MS
  return [monday, monday + 7 * DAY_MS]
}

const LONGEST_DAYS = { day: 1, week: 7, month: 31 } as const

const hourOf = (ms: number): number => Math.floor(ms / HOUR_MS) * HOUR_MS

/**
 * The buckets of a span. What is counted is counted by hours of UTC: where clocks are half an hour off, a bucket begins at the
 * hour before. Undefined: they are more than `most`.
 */
export function bucketsOf(
  { fromMs, toMs }: Span,
  interval: Interval,
  zone: string,
  most: number,
): Bucket[] | undefined {
  const [first, end] = [hourOf(fromMs), hourOf(toMs + HOUR_MS - 1)]
  if (end <= first) return []
  if (interval === 'none') return [{ labelMs: fromMs, fromMs: first, toMs: end }]
  const buckets: Bucket[] = []
  if (interval === 'hour') {
    if ((end - first) / HOUR_MS > most) return undefined
    for (let at = first; at < end; at += HOUR_MS) buckets.push({ labelMs: at, fromMs: at, toMs: at + HOUR_MS })
    return buckets
  }
  // Sure to be too many, they are not even counted.
  if ((end - first) / DAY_MS > most * LONGEST_DAYS[interval]) return undefined
  let [date, next] = datesOf(dateOf(first, zone), interval)
  for (let labelMs = startOf(date, zone); hourOf(labelMs) < end; ) {
    if (buckets.length === most) return undefined
    const nextMs = startOf(next, zone)
    const bucket = { labelMs, fromMs: Math.max(first, hourOf(labelMs)), toMs: Math.min(end, hourOf(nextMs)) }
    if (bucket.fromMs < bucket.toMs) buckets.push(bucket)
    ;[date, next] = datesOf(next, interval)
    labelMs = nextMs
  }
  return buckets
}

/** The Monday in UTC of the week that a moment is in. */
export const mondayOf = (ms: number): number => Math.floor((ms - FIRST_MONDAY_MS) / WEEK_MS) * WEEK_MS + FIRST_MONDAY_MS

export interface Pieces {
  readonly hours: Piece[]
  readonly days: Piece[]
  readonly weeks: Piece[]
}

/**
 * What to read for buckets: whole weeks of UTC, whole days for what is left, and hours for what is left then. Hours are kept
 * from `hoursFromMs` on, the begin of a day; what is older is cut at the nearest day.
 */
export function piecesOf(buckets: readonly Span[], hoursFromMs: number): Pieces {
  const [hours, days, weeks]: [Piece[], Piece[], Piece[]] = [[], [], []]
  const cut = (ms: number): number => (ms >= hoursFromMs ? ms : Math.round(ms / DAY_MS) * DAY_MS)
  const add = (pieces: Piece[], bucket: number, fromMs: number, toMs: number): void => {
    if (fromMs < toMs) pieces.push({ bucket, fromMs, toMs })
  }
  const inDays = (bucket: number, fromMs: number, toMs: number): void => {
    const [first, last] = [Math.ceil(fromMs / DAY_MS) * DAY_MS, Math.floor(toMs / DAY_MS) * DAY_MS]
    const isWhole = first < last
    add(hours, bucket, fromMs, isWhole ? first : toMs)
    if (!isWhole) return
    add(days, bucket, first, last)
    add(hours, bucket, last, toMs)
  }
  for (const [bucket, span] of buckets.entries()) {
    const [fromMs, toMs] = [cut(span.fromMs), cut(span.toMs)]
    const [first, last] = [mondayOf(fromMs + WEEK_MS - 1), mondayOf(toMs)]
    if (first < last) {
      inDays(bucket, fromMs, first)
      add(weeks, bucket, first, last)
      inDays(bucket, last, toMs)
    } else inDays(bucket, fromMs, toMs)
  }
  return { hours, days, weeks }
}
