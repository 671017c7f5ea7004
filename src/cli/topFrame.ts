// The screen of `trunkline top`: a view laid out in so many columns and rows. Pure: knows neither terminal nor daemon. No line
// is wider than it may be, whatever names people give.

import type { CarrierStatus, LaneStatus, Status } from '../admin/status.js'
import { bad, bytes, duration, faint, good, strong } from './print.js'
import type { AccountView, Rates, View } from './topView.js'

export type SortBy = 'rate' | 'name' | 'waiting'

export interface FrameOptions {
  width: number
  /** Infinity: everything there is. */
  height: number
  sort: SortBy
  /** What is wrong with the daemon's answers now; null: nothing. */
  fault: string | null
  /** The line of keys. */
  keys: boolean
}

type Style = (text: string) => string
/** Text without colours, so that its width is known, and what to colour it with. */
type Span = string | readonly [text: string, style: Style]

/** Named columns; a heading that begins with > is of numbers. A width of 0 takes what is left. */
type Columns = readonly (readonly [heading: string, width: number])[]

const LANES: Columns = [
  ['lane', 0],
  ['class', 13],
  ['>waiting', 9],
  ['>oldest', 12],
]
const CARRIERS: Columns = [
  ['carrier', 0],
  ['', 6],
  ['>links', 5],
  ['>window', 8],
  ['>out/s', 6],
  ['>pace', 5],
  ['>p50ms', 5],
  ['>p99ms', 5],
  ['>thrt', 5],
  ['>defer', 5],
  ['>refus', 5],
  ['>dlv%', 4],
]
const ACCOUNTS: Columns = [
  ['account', 0],
  ['>trx', 4],
  ['>tx', 4],
  ['>rx', 4],
  ['>in/s', 7],
  ['>out/s', 7],
  ['>submitted', 9],
  ['>delivered', 9],
  ['>flight', 6],
]

/** Rows of a list, most important first, and how they begin. */
interface Section {
  readonly head: string
  readonly rows: readonly string[]
}

export function frame(view: View, options: FrameOptions): string[] {
  const { width, height, sort, keys } = options
  const { status } = view
  const head = [...title(view, options), '', ...rates(view, width), '', ...waiting(status, width)]
  const sections = [
    section(LANES, lanes(status), width),
    section(CARRIERS, carriers(view, sort), width),
    section(ACCOUNTS, accounts(view.accounts, sort), width),
  ].filter(one => one.rows.length > 0)
  const foot = keys ? ['', line([[`q quit   sort by: r rate  n name  w waiting   (now ${sort})`, faint]], width)] : []
  const fixed = head.length + foot.length + 2 * sections.length
  const shown = shares(
    sections.map(({ rows }) => rows.length),
    height - fixed,
  )
  const lists = sections.flatMap(({ head, rows }, i) => ['', head, ...rows.slice(0, shown[i])])
  return [...head, ...lists, ...foot].slice(0, height)
}

function title({ status, cpu_percent }: View, { width, fault }: FrameOptions): string[] {
  const { process: own, spool, queue } = status
  const ready: Span = status.ready ? ['ready', good] : [status.stopping ? 'stopping' : 'NOT READY', bad]
  const cpu = cpu_percent === null ? '-' : `${Math.round(cpu_percent)} %`
  const lines = [
    line(
      [
        [`trunkline ${status.version}`, strong],
        `  node ${status.node}  pid ${status.pid}  up ${duration(status.uptime_s)}  `,
        ready,
        `  cpu ${cpu}  memory ${bytes(own.rss_anon_bytes ?? own.rss_bytes)}`,
      ],
      width,
    ),
    line(
      [
        `loop p99 ${millis(own.loop_lag_p99_ms)} ms  commit p50 ${millis(spool.sync_p50_ms)} p99 ${millis(spool.sync_p99_ms)} ms`,
        `  disk ${bytes(status.disk.free_bytes)} free  outbox ${short(queue.outbox)}`,
        `  history ${short(queue.log_rows)}`,
      ],
      width,
    ),
  ]
  const wrong = fault ?? (status.ready ? null : status.why.join('; '))
  if (wrong !== null) lines.push(line([[wrong, bad]], width))
  return lines
}

const RATES: readonly (readonly [label: string, of: keyof Rates])[] = [
  ['in', 'in'],
  ['out', 'out'],
  ['ended', 'ended'],
  ['receipts', 'receipts'],
]

function rates(view: View, width: number): string[] {
  const room = Math.max(0, width - 22)
  return RATES.map(([label, of]) => {
    const past = view.history.slice(-room).map(rates => rates[of])
    return line([label.padEnd(9), [short(view.rates[of]).padStart(8), strong], '/s  ', [bars(past), faint]], width)
  })
}

const BARS = '▁▂▃▄▅▆▇█'

/** A bar for each, the highest of them as high as a line. */
export function bars(values: readonly number[]): string {
  const most = Math.max(...values, 0)
  return values.map(value => (most === 0 ? BARS[0] : BARS[Math.ceil((value / most) * (BARS.length - 1))])).join('')
}

function waiting({ queue, binds }: Status, width: number): string[] {
  const byClass = new Map<string, number>()
  for (const lane of queue.lanes) byClass.set(lane.class, (byClass.get(lane.class) ?? 0) + lane.waiting)
  const classes = ['otp', 'transactional', 'bulk'].map(name => `${name} ${short(byClass.get(name) ?? 0)}`)
  return [
    line(
      [
        'waiting  ',
        [short(queue.waiting), strong],
        ` (${classes.join(', ')})  in hand ${short(queue.claimed)}  due ${short(queue.due)}  sent ${short(queue.sent)}`,
      ],
      width,
    ),
    line(
      [
        `binds    `,
        [short(binds.trx + binds.tx + binds.rx), strong],
        ` (trx ${short(binds.trx)}, tx ${short(binds.tx)}, rx ${short(binds.rx)})`,
        ` of ${short(binds.accounts_bound)} accounts, ${short(binds.open)} not bound`,
      ],
      width,
    ),
  ]
}

function lanes({ queue }: Status): Span[][] {
  const largest = queue.lanes.filter(lane => lane.waiting > 0).sort((a, b) => b.waiting - a.waiting)
  const age = ({ oldest_s }: LaneStatus): string => (oldest_s === null ? '-' : duration(oldest_s))
  return largest.map(lane => [lane.route, lane.class, short(lane.waiting), age(lane)])
}

function carriers({ status, carriers }: View, sort: SortBy): Span[][] {
  const inFlight = (one: CarrierStatus): number => one.links.reduce((all, link) => all + link.in_flight, 0)
  const rate = (one: CarrierStatus): number => carriers.get(one.name)?.out_per_s ?? 0
  const key = sort === 'rate' ? rate : inFlight
  return sorted(status.carriers, sort, key).map(one => {
    const bound = one.links.filter(({ stand }) => stand !== 'closed' && stand !== 'binding').length
    const window = one.links.reduce((all, link) => all + link.window, 0)
    // The class with the most answers in the last minute.
    const [latency] = Object.values(one.latency).sort((a, b) => b.count - a.count)
    const said = carriers.get(one.name)
    const stand: Span = one.paused ? ['paused', bad] : one.up ? ['up', good] : ['down', bad]
    return [
      one.name,
      stand,
      `${bound}/${one.links.length}`,
      `${short(inFlight(one))}/${short(window)}`,
      short(rate(one)),
      one.pace_per_s === 0 ? '-' : short(one.pace_per_s),
      millis(latency?.p50_ms ?? null),
      millis(latency?.p99_ms ?? null),
      short(said?.throttled ?? 0),
      short(said?.deferred ?? 0),
      short(said?.refused ?? 0),
      one.delivered_share === null ? '-' : String(Math.round(one.delivered_share * 100)),
    ]
  })
}

function accounts(all: readonly AccountView[], sort: SortBy): Span[][] {
  const key = (one: AccountView): number => (sort === 'rate' ? one.in_per_s + one.out_per_s : one.in_flight)
  return sorted(all, sort, key).map(one => [
    one.system_id,
    short(one.trx),
    short(one.tx),
    short(one.rx),
    short(one.in_per_s),
    short(one.out_per_s),
    short(one.submitted),
    short(one.delivered),
    short(one.in_flight),
  ])
}

/** By name, or by the highest key and then by name. */
function sorted<T extends { name: string } | { system_id: string }>(
  all: readonly T[],
  sort: SortBy,
  key: (one: T) => number,
): T[] {
  const name = (one: T): string => ('name' in one ? one.name : one.system_id)
  const byName = (a: T, b: T): number => (name(a) < name(b) ? -1 : 1)
  return [...all].sort((a, b) => (sort === 'name' ? 0 : key(b) - key(a)) || byName(a, b))
}

// ---- lines

function section(columns: Columns, rows: readonly Span[][], width: number): Section {
  const gaps = columns.length - 1
  const left = Math.max(6, width - gaps - columns.reduce((all, [, columnWidth]) => all + columnWidth, 0))
  const row = (cells: readonly Span[]): string => {
    const spans = columns.flatMap(([heading, columnWidth], i): Span[] => {
      const cell = cells[i] ?? ''
      const [text, style] = typeof cell === 'string' ? [cell, undefined] : cell
      const fit = fitted(text, columnWidth || left, heading.startsWith('>'))
      return [...(i === 0 ? [] : [' ']), style === undefined ? fit : [fit, style]]
    })
    return line(spans, width)
  }
  return { head: row(columns.map(([heading]) => [heading.replace(/^>/, ''), strong])), rows: rows.map(row) }
}

/** In just so many columns. */
function fitted(text: string, width: number, toTheRight: boolean): string {
  const plain = [...printable(text)]
  const cut = plain.length > width ? `${plain.slice(0, width - 1).join('')}…` : plain.join('')
  const padding = ' '.repeat(width - Math.min(plain.length, width))
  return toTheRight ? padding + cut : cut + padding
}

function line(spans: readonly Span[], width: number): string {
  let room = width
  let all = ''
  for (const span of spans) {
    const [text, style] = typeof span === 'string' ? [span, undefined] : span
    const plain = [...printable(text)].slice(0, room)
    room -= plain.length
    const shown = plain.join('')
    all += style === undefined || shown === '' ? shown : style(shown)
  }
  return all.trimEnd()
}

/** A column each: what steers a terminal, joins other characters or may be wider than one is a question mark. */
const printable = (text: string): string => text.replace(/[\p{C}\p{M}\p{Z}\u1100-\u{10ffff}]/gu, asOne)

const asOne = (found: string): string => (KEPT.includes(found) ? found : '?')

/** Above U+10FF, and still of one column. */
const KEPT = ' …▁▂▃▄▅▆▇█–—’'

/** One row to each list in turn, until the room is used up. */
export function shares(needs: readonly number[], room: number): number[] {
  const given = needs.map(() => 0)
  for (let left = room, isFull = false; left > 0 && !isFull; ) {
    isFull = true
    for (const [i, need] of needs.entries()) {
      if ((given[i] as number) >= need || left <= 0) continue
      ;(given[i] as number)++
      left--
      isFull = false
    }
    if (left === Number.POSITIVE_INFINITY) return [...needs]
  }
  return given
}

/** In five columns: 9999, 12.3k, 4.5M. */
export function short(value: number): string {
  if (value < 10 && !Number.isInteger(value)) return value.toFixed(1)
  if (value < 9_999.5) return String(Math.round(value))
  for (const [size, unit] of UNITS) {
    const scaled = value / size
    if (scaled < 99.95) return `${scaled.toFixed(1)}${unit}`
    if (scaled < 999.5) return `${Math.round(scaled)}${unit}`
  }
  return value.toExponential(0)
}

const UNITS = [
  [1e3, 'k'],
  [1e6, 'M'],
  [1e9, 'G'],
  [1e12, 'T'],
] as const

/** In five columns. */
const millis = (value: number | null): string =>
  value === null ? '-' : value < 100 ? value.toFixed(value < 10 ? 2 : 1) : short(value)
