// `trunkline stats`: what messages came to, as tables with bars for people, as CSV or JSON for programs; and counting them anew
// from history. Asks the daemon; only `rebuild` works on the database itself.

import { type Command, Option } from 'commander'
import type { Dashboard } from '../admin/analytics.js'
import type { StatsAnswer, StatsEntry, StatsFigures } from '../admin/statsAnswer.js'
import { rebuildStats } from '../returns/statsRebuild.js'
import { momentOf } from '../returns/statsTime.js'
import { whole } from './arguments.js'
import { ask, follow } from './ask.js'
import { withDatabase } from './database.js'
import { CommandError, EXIT } from './exit.js'
import { bad, count, faint, good, strong, table } from './print.js'
import { type GlobalOptions, optionsOf } from './settings.js'
import { Progress } from './works.js'

interface Options {
  by: string
  last?: number
  from?: string
  to?: string
  interval?: string
  tz: string
  account?: string
  carrier?: string
  country?: string
  class?: string
  limit: number
  csv?: boolean
}

const ROOT = '/api/v1/admin/analytics'
const PAGE = 1_000
const BAR = 12
/** As {@link cells} gives them. */
const AFTER_ACCEPTED = ['>delivered', '>failed', '>unreported', '>open', '>converted', '>segments', '>p50 s', '>p95 s']
const BLOCKS = ' ▏▎▍▌▋▊▉█'
const DAY_MS = 86_400_000

export function register(program: Command): void {
  const stats = program
    .command('stats')
    .description('Shows what messages came to: how many, how they ended, how long they took, what they cost.')
    .option('--by <what>', 'with commas: account, carrier, country, class', '')
    .option('--last <days>', 'so many days with today, like 7d', days)
    .addOption(new Option('--from <date>', 'a date, or a moment of ISO 8601').conflicts('last'))
    .addOption(new Option('--to <date>', 'a date, with the whole of it, or a moment').conflicts('last'))
    .addOption(
      new Option('--interval <interval>', 'a row for each; none is that of --by').choices([
        'hour',
        'day',
        'week',
        'month',
        'none',
      ]),
    )
    .option('--tz <zone>', 'whose days, weeks and months', 'UTC')
    .option('--account <names>', 'of these accounts alone, with commas')
    .option('--carrier <names>', 'of messages that these carriers had at last')
    .option('--country <codes>', 'to these countries alone, like DE,AT')
    .option('--class <classes>', 'of otp, transactional, bulk')
    .option('--limit <rows>', 'so many rows on the screen', whole(1, 100_000), 50)
    .option('--csv', 'all rows as CSV')
    .addHelpText(
      'after',
      `
Messages to phones count in the time of their acceptance, however late they end; mails and the sandbox are left out. Rates:
delivered of those that are over, without the unreported, of which no receipt was to come; converted (their code was used) of all.
Profit is that of messages that are over. Without dates it is the last seven days.

Examples:
  trunkline stats
  trunkline stats --by account --last 30d
  trunkline stats --by carrier,country --from 2026-01-01 --to 2026-01-31 --tz Europe/Berlin
  trunkline stats --account shop --interval hour --last 1d --json | jq '.rows[].delivered'
  trunkline stats --by account,country --interval day --csv > january.csv
  trunkline stats rebuild --from 2026-01-01`,
    )
    .action((_, command: Command) => show(optionsOf<Options>(command)))
  stats
    .command('now')
    .description('Shows today, yesterday and the last seven days on one screen.')
    .option('--tz <zone>', 'whose days', 'UTC')
    .action((_, command: Command) => now(optionsOf<{ tz: string }>(command)))
  stats
    .command('rebuild')
    .description('Counts days of acceptance anew from history, one after the other, while the daemon runs or not.')
    .option('--from <date>', 'from this day in UTC on; all that history has, if not given', date)
    .option('--to <date>', 'to this day in UTC, with it', date)
    .addHelpText(
      'after',
      `
For messages from before there were counts, or where counts and history disagree. May be done again and broken off. Codes
that were used stand in no history: their counts stay as they are. The first day that history has is left alone once days before
it are dropped: its ends may stand in them.

Examples:
  trunkline stats rebuild
  trunkline stats rebuild --from 2026-01-01 --to 2026-01-31`,
    )
    .action((_, command: Command) => rebuild(optionsOf<{ from?: number; to?: number }>(command)))
}

function days(word: string): number {
  const [, n] = /^(\d{1,4})d?$/.exec(word) ?? []
  if (n === undefined || Number(n) === 0) throw new CommandError(EXIT.usage, 'it must be a number of days such as 7d')
  return Number(n)
}

function date(word: string): number {
  const ms = word.includes('T') ? undefined : momentOf(word, 'UTC', false)
  if (ms === undefined) throw new CommandError(EXIT.usage, `${word} is no date: it must be like 2026-01-31`)
  return ms
}

async function show(options: Options & GlobalOptions): Promise<void> {
  const { by, last, from, to, tz, account, carrier, country, csv } = options
  const interval = options.interval ?? (by === '' ? 'day' : 'none')
  const query = new URLSearchParams({ tz, interval, group_by: by })
  // The days of the zone, as the daemon has them: a date is enough.
  const since = last === undefined ? from : dateBack(last - 1, tz)
  for (const [name, value] of Object.entries({
    date_from: since,
    date_to: to,
    account,
    carrier,
    country,
    class: options.class,
  })) {
    if (value !== undefined) query.set(name, value)
  }
  if (csv) {
    query.set('format', 'csv')
    const response = await follow(options, { path: `${ROOT}?${query}` })
    for await (const piece of response) process.stdout.write(piece as Buffer)
    return
  }
  // Without time they stand by how many they are, and those are known last.
  const most = interval === 'none' || options.json ? Number.POSITIVE_INFINITY : options.limit
  query.set('limit', String(Math.min(PAGE, most)))
  const answer = (await ask(options, { path: `${ROOT}?${query}` })) as StatsAnswer
  const progress = new Progress()
  for (let next = answer.next_cursor; next !== null && answer.rows.length < most; ) {
    query.set('cursor', next)
    const page = (await ask(options, { path: `${ROOT}?${query}` })) as StatsAnswer
    answer.rows.push(...page.rows)
    progress.show(`${count(answer.rows.length)} rows`)
    next = page.next_cursor
    answer.next_cursor = next
  }
  progress.end()
  console.log(options.json ? JSON.stringify(answer, null, 2) : screen(answer, options.limit))
}

function dateBack(back: number, zone: string): string {
  try {
    const today = new Intl.DateTimeFormat('en-CA', { timeZone: zone, dateStyle: 'short' }).format(new Date())
    return new Date(Date.parse(`${today}T00:00:00Z`) - back * DAY_MS).toISOString().slice(0, 10)
  } catch {
    throw new CommandError(EXIT.usage, `there is no zone ${zone}; a name is like Europe/Berlin`)
  }
}

function screen(answer: StatsAnswer, limit: number): string {
  const { rows, totals, interval, group_by, currency, date_from, date_to } = answer
  const head = `${strong('messages')} from ${shortened(date_from)} to ${shortened(date_to)} ${faint(answer.tz)}`
  if (rows.length === 0) return `${head}\n\nthere were none`
  const sorted = interval === 'none' ? [...rows].sort((a, b) => b.accepted - a.accepted) : rows
  const shown = sorted.slice(0, limit)
  const most = Math.max(...shown.map(({ accepted }) => accepted), 1)
  const columns = [
    ...(interval === 'none' ? [] : [interval]),
    ...group_by,
    '>accepted',
    '',
    ...AFTER_ACCEPTED,
    `>spend ${currency}`,
    '>cost',
    '>profit',
  ]
  const lines = shown.map(row => [...labels(row, answer), ...cells(row, bar(row.accepted / most))])
  if (totals && lines.length > 1) {
    const empty = columns.slice(0, columns.indexOf('>accepted')).map((_, i) => (i === 0 ? 'all' : ''))
    lines.push([...empty, ...cells(totals, '')])
  }
  const more =
    sorted.length > shown.length || answer.next_cursor !== null
      ? `\n${faint('there are more: --limit, --csv or --json')}`
      : ''
  return `${head}\n\n${table(columns, lines)}${more}`
}

const labels = (row: StatsEntry, { interval, group_by }: StatsAnswer): string[] => [
  ...(interval === 'none' ? [] : [interval === 'hour' ? shortened(row.period ?? '') : (row.period ?? '').slice(0, 10)]),
  ...group_by.map(name => row[name] ?? '-'),
]

function cells(row: StatsFigures, bar: string): (string | number)[] {
  const failed = row.undelivered + row.expired + row.rejected + row.canceled + row.unknown
  return [
    row.accepted,
    bar,
    percent(row.delivery_rate),
    failed,
    row.unreported,
    row.pending,
    row.converted === 0 ? '-' : row.conversion_rate === null ? row.converted : shareText(row.conversion_rate),
    row.segments,
    row.latency_p50_s ?? '-',
    row.latency_p95_s ?? '-',
    row.spend,
    row.cost ?? '-',
    row.profit ?? '-',
  ]
}

const shareText = (rate: number): string => `${(rate * 100).toFixed(1)} %`

function percent(rate: number | null): string {
  if (rate === null) return '-'
  const text = shareText(rate)
  return rate >= 0.9 ? good(text) : rate < 0.5 ? bad(text) : text
}

function bar(share: number): string {
  const eighths = Math.round(share * BAR * 8)
  return faint(('█'.repeat(Math.floor(eighths / 8)) + (BLOCKS[eighths % 8] as string)).trim().padEnd(BAR))
}

const shortened = (moment: string): string => moment.slice(0, 16).replace('T', ' ')

async function now(options: { tz: string } & GlobalOptions): Promise<void> {
  const path = `/api/v1/admin/dashboard?${new URLSearchParams({ tz: options.tz })}`
  const dash = (await ask(options, { path })) as Dashboard
  if (options.json) return console.log(JSON.stringify(dash, null, 2))
  const { queue, carriers, rate } = dash
  const rows = (['today', 'yesterday', 'last_7_days', 'otp'] as const).map(name => {
    const one = dash[name]
    const label = name === 'otp' ? 'OTPs, 7 days' : name.replaceAll('_', ' ')
    return [label, ...cells(one, '')].filter((_, i) => i !== 2)
  })
  const columns = ['', '>accepted', ...AFTER_ACCEPTED]
  console.log(
    [
      table([...columns, `>spend ${dash.currency}`, '>cost', '>profit'], rows),
      '',
      `rates     ${count(rate.in_per_s)} in, ${count(rate.out_per_s)} out, ${count(rate.ended_per_s)} ended a second`,
      `queue     ${count(queue.waiting)} waiting, ${count(queue.sent)} sent and not over, ${count(queue.due)} due`,
      `carriers  ${carriers.up} of ${carriers.all} up${carriers.down.length === 0 ? '' : `; ${bad(`down: ${carriers.down.join(', ')}`)}`}`,
      `binds     ${count(dash.binds)}`,
    ].join('\n'),
  )
}

async function rebuild(options: { from?: number; to?: number } & GlobalOptions): Promise<void> {
  const span = { fromMs: options.from ?? 0, toMs: options.to ?? Date.now() }
  if (span.fromMs > span.toMs) throw new CommandError(EXIT.usage, '--from must not be after --to, nor after today')
  const progress = new Progress()
  const done = { days: 0, rows: 0 }
  await withDatabase(options, store =>
    rebuildStats(store, span, ({ day, rows }) => {
      done.days++
      done.rows += rows
      progress.show(`${day}  ${count(done.rows)} rows of history`)
    }),
  )
  progress.end()
  console.log(
    options.json ? JSON.stringify(done) : `counted anew: ${count(done.days)} days, ${count(done.rows)} rows of history`,
  )
}
