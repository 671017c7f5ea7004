// Windows of a week: is one open at a moment, by the clocks of its zone? Pure; the time is an argument.

import { offsetAt } from './quietHours.js'

/** As the directory has it: `from` 22:00 `to` 06:00 goes over midnight and belongs to the day on which it begins. */
export interface TimeWindow {
  /** sun to sat; empty = every day. */
  readonly days: readonly string[]
  /** hh:mm; `to` up to 24:00. */
  readonly from: string
  readonly to: string
  /** IANA name. */
  readonly zone: string
}

/** The same in numbers. */
export interface WeekWindow {
  /** By day, 0 = Sunday. */
  readonly opens: readonly boolean[]
  /** Minutes of the day; `to` is above `from`, beyond 1440 where it is over midnight. */
  readonly from: number
  readonly to: number
  readonly zone: string
}

const DAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat']
const MINUTE_MS = 60_000
const DAY_MINUTES = 1_440
/** The first day of 1970 was a Thursday. */
const FIRST_DAY = 4

export function windowOf({ days, from, to, zone }: TimeWindow): WeekWindow {
  const opensAt = minutes(from)
  const closesAt = minutes(to)
  return {
    opens: DAYS.map(day => days.length === 0 || days.includes(day)),
    from: opensAt,
    to: closesAt > opensAt ? closesAt : closesAt + DAY_MINUTES,
    zone,
  }
}

function minutes(time: string): number {
  const [hours = 0, rest = 0] = time.split(':').map(Number)
  return hours * 60 + rest
}

/** `to` itself is outside. */
export function isOpen(window: WeekWindow, atMs: number): boolean {
  const local = Math.floor((atMs + offsetAt(window.zone, atMs)) / MINUTE_MS)
  const day = Math.floor(local / DAY_MINUTES)
  const minute = local - day * DAY_MINUTES
  return (
    (opensOn(window, day) && minute >= window.from && minute < window.to) ||
    (opensOn(window, day - 1) && minute + DAY_MINUTES < window.to)
  )
}

const opensOn = ({ opens }: WeekWindow, day: number): boolean => opens[(((day + FIRST_DAY) % 7) + 7) % 7] === true
