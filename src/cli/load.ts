// `trunkline load`: offers messages to an SMPP server and accounts for every one of them. Reads options, shows the
// progress and prints what came of it; the sending and counting is esme.ts's.

import { type Command, Option } from 'commander'
import { port, seconds, whole } from './arguments.js'
import type { Quantiles } from './esme/latency.js'
import type { LoadResult } from './esme/result.js'
import { type LoadSettings, loadDefaults } from './esme/settings.js'
import { DESTINATION_DIGITS } from './esme/template.js'
import { Load } from './esme.js'
import { CommandError, EXIT } from './exit.js'
import { MAX_SERIAL } from './serial.js'
import { optionsOf } from './settings.js'

interface LoadOptions {
  host: string
  port: number
  systemId: string
  password: string
  bind: LoadSettings['bind']
  binds: number
  window: number
  count: number
  rate: number
  textLength: number
  ucs2?: boolean
  from: string
  to: string
  receipts?: boolean
  drain: number
  linger: number
  retry?: boolean
  seqFrom: number
  ids?: string
  dump?: string
}

const PROGRESS_MS = 200
/** An address has 20 characters, SMPP v3.4 §4.4.1. */
const MOST_ADDRESS = 20
const MOST_PREFIX = MOST_ADDRESS - DESTINATION_DIGITS

export function register(program: Command): void {
  const d = loadDefaults
  program
    .command('load')
    .description('Offer load to an SMPP server, and account for every message and receipt.')
    .option('--host <host>', 'the server', d.host)
    .option('--port <port>', 'its SMPP port', port, d.port)
    .option('--system-id <id>', 'account to bind as', d.systemId)
    .option('--password <password>', 'its password', d.password)
    .option('--binds <n>', 'connections', whole(1, 10_000), d.binds)
    .addOption(
      new Option('--bind <how>', 'transmitter+receiver opens so many connections of each')
        .choices(['transceiver', 'transmitter+receiver'])
        .default(d.bind),
    )
    .option('--window <n>', 'unanswered messages a connection', whole(1, 1_000_000), d.window)
    .option('--count <n>', 'messages; 0 only collects receipts, with --linger', whole(0, 20_000_000), d.count)
    .option('--rate <n>', 'messages a second in all; 0 for as fast as it goes', whole(0, 10_000_000), d.rate)
    .option('--text-length <n>', 'characters a message, 13 at least', whole(13, 30_000), d.textLength)
    .option('--ucs2', 'send the texts as UCS-2')
    .option('--from <address>', 'source address', d.from)
    .option('--to <prefix>', `destinations are this and ${DESTINATION_DIGITS} digits`, d.to)
    .option('--receipts', 'ask for receipts (the default)')
    .option('--no-receipts', 'ask for none')
    .addOption(
      new Option('--drain <seconds>', 'give up after so long without an answer or a receipt')
        .argParser(seconds)
        .default(d.drainMs, String(d.drainMs / 1000)),
    )
    .addOption(
      new Option('--linger <seconds>', 'listen on for so long after the last answer or receipt')
        .argParser(seconds)
        .default(d.lingerMs, '0'),
    )
    .option('--retry', 'submit again what was refused with ESME_RTHROTTLED or ESME_RMSGQFUL')
    .option('--seq-from <n>', "the first message's serial number", whole(0, MAX_SERIAL), d.serialFrom)
    .option('--ids <file>', 'write "A id" for each message accepted and "R id" for each receipt')
    .option('--dump <file>', 'write a byte a message: 0 unsent, 1 unanswered, 2 accepted, 3 refused')
    .addHelpText(
      'after',
      `
Each text begins with "seq=" and nine digits, by which 'trunkline simulate' counts what arrives. Latency runs from the first
submit_sm of a message, repetitions included. Exit code 1 if anything was refused, lost, undelivered, unreported or
reported twice; 0 if every message was accepted, delivered and reported once.

Examples:
  trunkline load --count 100000 --binds 4 --window 200
  trunkline load --rate 500 --count 30000 --system-id demo --password demo1234
  trunkline load --no-receipts --text-length 300 --json
  trunkline load --count 0 --linger 10 --ids late.txt`,
    )
    .action((_, command: Command) => load(optionsOf<LoadOptions>(command)))
}

async function load(options: ReturnType<typeof optionsOf<LoadOptions>>): Promise<void> {
  const run = newRun(settingsOf(options))
  process.once('SIGINT', () => run.stop())
  process.once('SIGTERM', () => run.stop())
  const hideProgress = await showProgress(run)
  let result: LoadResult
  try {
    result = await run.run()
  } finally {
    hideProgress()
  }
  if (options.json) console.log(JSON.stringify(result))
  else await print(result)
  if (result.faults.length > 0) process.exitCode = EXIT.failed
}

function settingsOf(options: LoadOptions): LoadSettings {
  const { from, to, count, seqFrom } = options
  if (!new RegExp(`^\\d{0,${MOST_PREFIX}}$`).test(to)) {
    throw new CommandError(EXIT.usage, `--to must be at most ${MOST_PREFIX} digits`)
  }
  if (!new RegExp(`^[ -~]{0,${MOST_ADDRESS}}$`).test(from)) {
    throw new CommandError(EXIT.usage, `--from must be at most ${MOST_ADDRESS} characters of ASCII`)
  }
  if (seqFrom + count - 1 > MAX_SERIAL) {
    throw new CommandError(EXIT.usage, `serial numbers end at ${MAX_SERIAL}: lower --seq-from or --count`)
  }
  return {
    host: options.host,
    port: options.port,
    systemId: options.systemId,
    password: options.password,
    bind: options.bind,
    binds: options.binds,
    window: options.window,
    count,
    rate: options.rate,
    textLength: options.textLength,
    ucs2: options.ucs2 ?? false,
    from,
    to,
    receipts: options.receipts ?? loadDefaults.receipts,
    retry: options.retry ?? false,
    drainMs: options.drain,
    lingerMs: options.linger,
    serialFrom: seqFrom,
    ids: options.ids ?? null,
    dump: options.dump ?? null,
  }
}

function newRun(settings: LoadSettings): Load {
  try {
    return new Load(settings)
  } catch (error) {
    const { code, path } = error as NodeJS.ErrnoException
    if (code === undefined || path === undefined) throw error
    throw new CommandError(EXIT.usage, `${path} cannot be written (${code})`)
  }
}

/** A bar, on a terminal only. Returns what takes it away. */
async function showProgress(run: Load): Promise<() => void> {
  if (!process.stderr.isTTY) return () => {}
  const { SingleBar, Presets } = await import('cli-progress')
  const bar = new SingleBar(
    {
      format: ' {bar} {percentage}%  {accepted} accepted  {receipts} receipts  {rate}/s  {seconds} s left',
      etaBuffer: 50,
      hideCursor: true,
      clearOnComplete: true,
      stream: process.stderr,
    },
    Presets.shades_classic,
  )
  const { count, receipts } = run.settings
  const goal = Math.max(count * (receipts ? 2 : 1), 1)
  bar.start(goal, 0, { accepted: 0, receipts: 0, rate: 0, seconds: '-' })
  const show = (): void => {
    const answered = run.accepted + run.refused
    const reported = run.ledger.matched
    const seconds = run.startedAt === 0 ? 0 : (performance.now() - run.startedAt) / 1000
    const done = receipts ? answered + reported + run.refused : answered
    const rate = seconds > 0 ? (receipts ? reported : answered) / seconds : 0
    bar.update(Math.min(done, goal), {
      accepted: grouped(run.accepted),
      receipts: grouped(reported),
      rate: grouped(Math.round(rate)),
      seconds: done > 0 && seconds > 0 ? Math.ceil(((goal - done) * seconds) / done) : '-',
    })
  }
  const timer = setInterval(show, PROGRESS_MS)
  return () => {
    clearInterval(timer)
    bar.stop()
  }
}

async function print(result: LoadResult): Promise<void> {
  const { default: Table } = await import('cli-table3')
  // Without colours, and without a rule between rows.
  const plain = {
    style: { head: [], border: [] },
    chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
  }
  const counts = new Table({ ...plain, colAligns: ['left', 'right', 'right'] })
  for (const [what, count, note] of countRows(result)) counts.push([what, count, note])
  const latencies = new Table({
    ...plain,
    head: ['latency, ms', 'p50', 'p90', 'p99', 'p99.9', 'max'],
    colAligns: ['left', 'right', 'right', 'right', 'right', 'right'],
  })
  latencies.push(latencyRow('submit_sm_resp', result.resp_ms))
  if (result.receipts.received > 0) latencies.push(latencyRow('receipt', result.receipt_ms))
  console.log(`${counts.toString()}\n${latencies.toString()}`)
  console.log(`${result.cpu_us} µs of this tool's processor time a message`)
  if (result.faults.length > 0) console.log(`failed: ${result.faults.join(', ')}`)
}

function* countRows(result: LoadResult): Generator<[what: string, count: string, note: string]> {
  const { receipts } = result
  yield ['messages', grouped(result.count), '']
  yield ['accepted', grouped(result.accepted), `${grouped(result.rate)}/s`]
  if (receipts.received > 0 || receipts.missing > 0) {
    yield ['end to end', grouped(result.accepted - receipts.missing), `${grouped(result.end_to_end_rate)}/s`]
    yield ['receipts missing', grouped(receipts.missing), '']
    yield ['receipts doubled', grouped(receipts.doubled), '']
    yield ['receipts unexpected', grouped(receipts.unexpected), '']
    for (const [state, count] of Object.entries(receipts.states)) yield [`receipts ${state}`, grouped(count), '']
  }
  for (const [name, count] of Object.entries(result.errors)) yield [`refused ${name}`, grouped(count), '']
  if (result.retried > 0) yield ['submitted again', grouped(result.retried), '']
  if (result.unanswered > 0) yield ['never answered', grouped(result.unanswered), '']
  if (result.unsent > 0) yield ['never sent', grouped(result.unsent), '']
  if (result.ids_reused > 0) yield ['message_id given twice', grouped(result.ids_reused), '']
  if (result.replies > 0) yield ['replies', grouped(result.replies), '']
  if (result.late_ms > 0) yield ['behind the rate, most', `${result.late_ms} ms`, '']
  yield ['connections lost', grouped(result.lost_connections), Object.keys(result.lost).join(', ')]
}

function latencyRow(what: string, { p50, p90, p99, p999, max }: Quantiles): string[] {
  return [what, ...[p50, p90, p99, p999, max].map(ms => ms.toFixed(2))]
}

function grouped(value: number): string {
  return value.toLocaleString('en-US')
}
