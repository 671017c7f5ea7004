// The SMPP time format (v3.4 §7.1.1, v5.0 §4.7.23): `YYMMDDhhmmsstnnp`, absolute or relative, in milliseconds.
// The clock is an argument. Whether a time is too early or too late to accept is not judged here.

const QUARTER_HOUR_MS = 15 * 60_000
const DAY_MS = 86_400_000
/** The largest offset two digits a field can say: 99 days, 23:59:59. */
const LONGEST_RELATIVE_S = 99 * 86_400 + 86_399

/**
 * The absolute moment (ms since 1970) that `text` names: undefined for '' (not given), NaN for what is no SMPP time.
 *
 * Years are 2000 to 2099. A relative time (`R`) is added to `nowMs` by the calendar in UTC, the 31st of a month to the
 * last day of a shorter one; its fields may be any two digits (48 hours, 99 days), and `t` and `nn` are not looked at.
 */
export function parseTime(text: string, nowMs: number): number | undefined {
  if (text === '') return undefined
  if (text.length !== 16) return Number.NaN
  for (let at = 0; at < 15; at++) {
    const code = text.charCodeAt(at)
    if (code < 0x30 || code > 0x39) return Number.NaN
  }
  const years = pair(text, 0)
  const months = pair(text, 2)
  const days = pair(text, 4)
  const hours = pair(text, 6)
  const minutes = pair(text, 8)
  const seconds = pair(text, 10)
  const sign = text[15]
  if (sign === 'R') {
    return addMonths(nowMs, years * 12 + months) + days * DAY_MS + ((hours * 60 + minutes) * 60 + seconds) * 1000
  }
  const quarters = pair(text, 13)
  if ((sign !== '+' && sign !== '-') || quarters > 48) return Number.NaN
  const local = dateMs(2000 + years, months, days, hours, minutes, seconds) + (text.charCodeAt(12) - 0x30) * 100
  // `+`: the local time written is ahead of UTC.
  return sign === '+' ? local - quarters * QUARTER_HOUR_MS : local + quarters * QUARTER_HOUR_MS
}

/** The two digits at `at` as a number. */
export function pair(text: string, at: number): number {
  return (text.charCodeAt(at) - 0x30) * 10 + text.charCodeAt(at + 1) - 0x30
}

/** Milliseconds of a date and time of day in UTC, `month` 1 to 12; NaN when the calendar has no such moment. */
export function dateMs(year: number, month: number, day: number, hour: number, minute: number, second: number): number {
  if (month < 1 || month > 12 || day < 1 || day > daysIn(year, month)) return Number.NaN
  if (hour > 23 || minute > 59 || second > 59) return Number.NaN
  return Date.UTC(year, month - 1, day, hour, minute, second)
}

function daysIn(year: number, month: number): number {
  return new Date(Date.UTC(year, month, 0)).getUTCDate()
}

function addMonths(ms: number, count: number): number {
  if (count === 0) return ms
  const from = new Date(ms)
  const months = from.getUTCFullYear() * 12 + from.getUTCMonth() + count
  const year = Math.floor(months / 12)
  const month = months % 12
  const day = Math.min(from.getUTCDate(), daysIn(year, month + 1))
  return Date.UTC(year, month, day) + (ms - Date.UTC(from.getUTCFullYear(), from.getUTCMonth(), from.getUTCDate()))
}

/** A moment of the years 2000 to 2099 as an absolute SMPP time in UTC, to the tenth of a second. */
export function formatAbsolute(ms: number): string {
  const [date, time] = new Date(ms).toISOString().split('T') as [string, string]
  return `${date.slice(2).replaceAll('-', '')}${time.slice(0, 8).replaceAll(':', '')}${time[9]}00+`
}

/**
 * A span as a relative SMPP time, rounded up to the second and cut at 99 days. Days stand in the day field, never as
 * hours past 23 or as months, whose length nobody agrees on: NowSMS writes seven days as `000007000000000R` too.
 */
export function formatRelative(ms: number): string {
  const total = Math.min(Math.max(Math.ceil(ms / 1000), 0), LONGEST_RELATIVE_S)
  const days = Math.floor(total / 86_400)
  const hours = Math.floor((total % 86_400) / 3600)
  const minutes = Math.floor((total % 3600) / 60)
  return `0000${two(days)}${two(hours)}${two(minutes)}${two(total % 60)}000R`
}

function two(value: number): string {
  return value < 10 ? `0${value}` : String(value)
}
