// `trunkline simulate`: a message centre on a port, for trying things out, for tests and for measuring. Reads options,
// prints rates while it runs and the counts when it is stopped; what it does is smsc.ts's.

import { type Command, InvalidArgumentError, Option } from 'commander'
import { messageState, statNames } from '../../protocols/smpp/receipt.js'
import { statusName } from '../../protocols/smpp/status.js'
import { commandStatus, milliseconds, port, whole } from './arguments.js'
import { CommandError, EXIT } from './exit.js'
import { optionsOf } from './settings.js'
import { ID_FORMATS, type IdFormat } from './smsc/ids.js'
import { Smsc, type SmscSettings, smscDefaults } from './smsc.js'

interface SimulateOptions {
  host: string
  port: number
  systemId?: string
  password?: string
  maxBinds: number
  refuseBind?: number
  idFormat: IdFormat
  receiptIdFormat?: IdFormat
  throttle: number
  failEvery: number
  failStatus: number
  dropEvery: number
  stallEvery: number
  stallMs: number
  responseDelay: number
  receiptDelay: number
  receiptFirst?: boolean
  doubleReceipts?: boolean
  loseReceipts: number
  receiptState: number
  moEvery: number
  dump?: string
  quiet?: boolean
}

const every = whole(0, 1_000_000_000)
/** Ids that a simulator gives begin here: started again it gives others. A thousand a millisecond are left to each start. */
const IDS_SINCE_MS = Date.UTC(2020, 0, 1)
const IDS_PER_MS = 1000

export function register(program: Command): void {
  const d = smscDefaults
  program
    .command('simulate')
    .description('Run a message centre (SMSC) that takes messages and reports them delivered, or misbehaves as told.')
    .option('--host <address>', 'where to listen', d.host)
    .option('--port <port>', 'where to listen; 0 for any free port', port, d.port)
    .option('--system-id <id>', 'take binds of this system_id only')
    .option('--password <password>', 'take binds with this password only')
    .option('--max-binds <n>', 'refuse more binds than this with ESME_RBINDFAIL; 0 for no limit', every, d.maxBinds)
    .option('--refuse-bind <status>', 'refuse every bind with this command_status, by number or name', commandStatus)
    .addOption(new Option('--id-format <format>', 'of message_id in answers').choices(ID_FORMATS).default(d.idFormat))
    .addOption(new Option('--receipt-id-format <format>', 'of the id in receipts, if not the same').choices(ID_FORMATS))
    .option('--throttle <n>', 'answer ESME_RTHROTTLED past n messages a second; 0 for no limit', every, d.throttle)
    .option('--fail-every <n>', 'refuse every nth message', every, d.failEvery)
    .addOption(
      new Option('--fail-status <status>', 'with this command_status')
        .argParser(commandStatus)
        .default(d.failStatus, statusName(d.failStatus)),
    )
    .option('--drop-every <n>', 'close the connection on every nth message, without an answer', every, d.dropEvery)
    .option('--stall-every <n>', 'stop reading and answering on every nth message', every, d.stallEvery)
    .option('--stall-ms <ms>', 'for so long', milliseconds, d.stallMs)
    .option('--response-delay <ms>', 'hold each answer back for so long', milliseconds, d.responseDelayMs)
    .option('--receipt-delay <ms>', 'send the receipt so long after the answer', milliseconds, d.receiptDelayMs)
    .addOption(new Option('--receipt-first', 'send the receipt before the answer').conflicts('receiptDelay'))
    .option('--double-receipts', 'send every receipt twice')
    .option('--lose-receipts <n>', 'do not send every nth receipt', every, d.loseReceipts)
    .addOption(
      new Option('--receipt-state <stat>', 'DELIVRD, UNDELIV, EXPIRED, REJECTD, ...')
        .argParser(receiptState)
        .default(d.receiptState, statNames[d.receiptState]),
    )
    .option('--mo-every <n>', 'send a reply (MO) on every nth message taken', every, d.moEvery)
    .option('--dump <file>', 'at the end, write one byte a serial number: 1 for what arrived')
    .option('--quiet', 'print no rates')
    .addHelpText(
      'after',
      `
It runs until Ctrl-C (or SIGTERM) and then prints its counts. Receipts that were not acknowledged when their connection was
lost are sent again on the next one. "unique" and "dups" count the serial numbers that 'trunkline load' writes into texts.

Examples:
  trunkline simulate
  trunkline simulate --port 27750 --receipt-delay 500 --id-format hex --receipt-id-format decimal
  trunkline simulate --throttle 100 --drop-every 5000 --double-receipts
  trunkline simulate --refuse-bind ESME_RINVPASWD`,
    )
    .action((_, command: Command) => simulate(optionsOf<SimulateOptions>(command)))
}

async function simulate(options: ReturnType<typeof optionsOf<SimulateOptions>>): Promise<void> {
  const smsc = new Smsc(settingsOf(options))
  const stopped = new Promise<void>(resolve => {
    process.once('SIGINT', resolve)
    process.once('SIGTERM', resolve)
  })
  const { host } = options
  try {
    await smsc.listen()
  } catch (error) {
    throw new CommandError(EXIT.failed, listenFault(error as NodeJS.ErrnoException, host, options.port))
  }
  console.error(`a message centre listens at ${host.includes(':') ? `[${host}]` : host}:${smsc.port}; Ctrl-C stops it`)
  const lines = process.stderr.isTTY && !options.quiet ? setInterval(rates(smsc), 1000) : undefined
  const before = process.cpuUsage()
  await stopped
  clearInterval(lines)
  await smsc.stop()
  const { user, system } = process.cpuUsage(before)
  if (options.dump !== undefined) smsc.arrivals.write(options.dump)
  const figures = figuresOf(smsc, user + system)
  if (options.json) console.log(JSON.stringify(figures))
  else for (const [name, value] of Object.entries(figures)) if (value !== 0) console.log(`${name.padEnd(18)} ${value}`)
}

function settingsOf(options: SimulateOptions): SmscSettings {
  const receiptIdFormat = options.receiptIdFormat ?? options.idFormat
  const scattered = [options.idFormat, receiptIdFormat].filter(format => format === 'random' || format === 'uuid')
  if (scattered.length > 0 && receiptIdFormat !== options.idFormat) {
    throw new CommandError(EXIT.usage, `--id-format ${scattered[0]} has no other form for --receipt-id-format`)
  }
  return {
    host: options.host,
    port: options.port,
    systemId: options.systemId ?? null,
    password: options.password ?? null,
    maxBinds: options.maxBinds,
    refuseBind: options.refuseBind ?? 0,
    idFormat: options.idFormat,
    receiptIdFormat,
    firstId: (Date.now() - IDS_SINCE_MS) * IDS_PER_MS,
    throttle: options.throttle,
    failEvery: options.failEvery,
    failStatus: options.failStatus,
    dropEvery: options.dropEvery,
    stallEvery: options.stallEvery,
    stallMs: options.stallMs,
    responseDelayMs: options.responseDelay,
    receiptDelayMs: options.receiptDelay,
    receiptFirst: options.receiptFirst ?? false,
    doubleReceipts: options.doubleReceipts ?? false,
    loseReceipts: options.loseReceipts,
    receiptState: options.receiptState,
    moEvery: options.moEvery,
  }
}

function receiptState(word: string): number {
  const name = word.toUpperCase()
  const state = statNames.includes(name)
    ? statNames.indexOf(name)
    : (messageState as Readonly<Record<string, number>>)[name]
  if (state === undefined) throw new InvalidArgumentError(`It must be one of ${statNames.join(', ')}.`)
  return state
}

function listenFault(error: NodeJS.ErrnoException, host: string, port: number): string {
  switch (error.code) {
    case 'EADDRINUSE':
      return `port ${port} at ${host} is taken: give another with --port`
    case 'EACCES':
      return `port ${port} needs rights that this user does not have: give one above 1023 with --port`
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return `this machine has no address ${host}`
    default:
      return `cannot listen at ${host}:${port} (${error.code ?? error.message})`
  }
}

/** A line of what happened since the last one. */
function rates(smsc: Smsc): () => void {
  let submits = 0
  let receipts = 0
  let refused = 0
  return () => {
    const { counts } = smsc
    const turnedDown = counts.throttled + counts.failed + counts.malformed
    console.error(
      [
        new Date().toTimeString().slice(0, 8),
        `${smsc.peers.size} connections`,
        `${counts.submits - submits} submit_sm/s`,
        `${counts.receiptsSent - receipts} receipts/s`,
        `${turnedDown - refused} refused/s`,
        `${smsc.waiting} receipts waiting`,
      ].join('  '),
    )
    submits = counts.submits
    receipts = counts.receiptsSent
    refused = turnedDown
  }
}

/** What `--json` prints. */
function figuresOf(smsc: Smsc, cpuMicros: number): Record<string, string | number> {
  const { counts, arrivals } = smsc
  const seconds = (smsc.lastSubmitAt - smsc.firstSubmitAt) / 1000
  return {
    mode: 'simulate',
    binds: counts.binds,
    binds_refused: counts.bindsRefused,
    submits: counts.submits,
    accepted: counts.accepted,
    unique: arrivals.unique,
    dups: arrivals.doubled,
    noseq: arrivals.unnumbered,
    seconds: Math.round(seconds * 1000) / 1000,
    rate: seconds > 0 ? Math.round(counts.submits / seconds) : 0,
    throttled: counts.throttled,
    failed: counts.failed,
    malformed: counts.malformed,
    dropped: counts.dropped,
    stalled: counts.stalled,
    receipts_sent: counts.receiptsSent,
    receipts_acked: counts.receiptsAcked,
    receipts_nacked: counts.receiptsNacked,
    receipts_withheld: counts.receiptsLost,
    replies_sent: counts.repliesSent,
    replies_acked: counts.repliesAcked,
    replies_nacked: counts.repliesNacked,
    resent: counts.resent,
    waiting: smsc.waiting,
    cpu_us: counts.submits > 0 ? Math.round((cpuMicros / counts.submits) * 100) / 100 : 0,
  }
}
