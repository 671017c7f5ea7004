// `trunkline send`: one message through an SMPP account, and what became of it. Reads options and prints; the
// conversation with the server is sending.ts's.

import { type Command, Option } from 'commander'
import { messageState, messageStateName } from '../../protocols/smpp/receipt.js'
import { port, seconds } from './arguments.js'
import { connectTo } from './connect.js'
import { CommandError, EXIT } from './exit.js'
import { type Fate, Sending } from './sending.js'
import { optionsOf } from './settings.js'

interface SendOptions {
  to: string
  text: string
  from: string
  systemId: string
  password: string
  host: string
  port: number
  parts?: boolean
  wait: boolean
  timeout: number
}

/** An address has 20 characters, SMPP v3.4 §4.4.1. */
const MOST_ADDRESS = 20

export function register(program: Command): void {
  program
    .command('send')
    .description('Send one message over SMPP and wait for its receipt.')
    .requiredOption('--to <number>', 'destination, digits with the country code')
    .requiredOption('--text <text>', 'what to say; GSM 7-bit where it can be, else UCS-2')
    .option('--from <address>', 'source address: a number, a short code or a name', 'trunkline')
    .option('--system-id <id>', 'account to bind as', 'demo')
    .option('--password <password>', 'its password', 'demo1234')
    .option('--host <host>', 'the server', '127.0.0.1')
    .option('--port <port>', 'its SMPP port', port, 2775)
    .option('--parts', 'cut a long text here, with a user data header, instead of sending it as message_payload')
    .option('--no-wait', 'ask for no receipt')
    .addOption(
      new Option('--timeout <seconds>', 'wait for the receipt so long').argParser(seconds).default(30_000, '30'),
    )
    .addHelpText(
      'after',
      `
Exit code 0 when the message was delivered (with --no-wait: accepted), 1 otherwise.

Examples:
  trunkline send --to 254700000001 --text 'Hello'
  trunkline send --to 254700000001 --text 'Привет' --from 12345 --json
  trunkline send --host smpp.example.com --system-id me --password secret --to 254700000001 --text Hi --no-wait`,
    )
    .action((_, command: Command) => send(optionsOf<SendOptions>(command)))
}

async function send(options: ReturnType<typeof optionsOf<SendOptions>>): Promise<void> {
  const to = options.to.replace(/^\+/, '')
  if (!/^\d+$/.test(to) || to.length > MOST_ADDRESS) {
    throw new CommandError(EXIT.usage, `--to must be at most ${MOST_ADDRESS} digits`)
  }
  if (!/^[ -~]*$/.test(options.from) || options.from.length > MOST_ADDRESS) {
    throw new CommandError(EXIT.usage, `--from must be at most ${MOST_ADDRESS} characters of ASCII`)
  }
  const { host, systemId, password, from, text, wait, timeout } = options
  const sending = new Sending({ systemId, password, from, to, text, parts: options.parts ?? false, receipt: wait })
  const say = options.json ? () => {} : (line: string) => console.log(line)
  sending.onAccepted = fate => say(`accepted ${fate.id} after ${ms(fate.acceptedMs)}`)
  sending.onReceipt = fate => say(`${receiptWords(fate)} after ${ms(fate.receiptMs ?? 0)}`)
  const socket = await connectTo(host, options.port)
  const fates = await sending.run(socket, timeout)
  if (options.json) console.log(JSON.stringify(answerOf(fates, wait)))
  if (!wait) return
  const silent = fates.filter(({ state }) => state === null).length
  if (silent > 0) say(`no receipt within ${timeout / 1000} s${fates.length > 1 ? ` for ${silent} parts` : ''}`)
  if (!fates.every(({ state }) => state === messageState.DELIVERED)) process.exitCode = EXIT.failed
}

function receiptWords({ state, stat, err }: Fate): string {
  const words = [stat === '' || state === null ? messageStateName(state ?? messageState.UNKNOWN) : stat]
  if (err !== '' && Number(err) !== 0) words.push(`error ${err}`)
  return words.join(', ')
}

function answerOf(fates: readonly Fate[], wait: boolean): unknown {
  const parts = fates.map(({ id, acceptedMs, state, stat, err, receiptMs }) => ({
    id,
    accepted_ms: acceptedMs,
    ...(wait
      ? {
          state: state === null ? null : messageStateName(state),
          stat: stat || null,
          err: err || null,
          receipt_ms: receiptMs,
        }
      : {}),
  }))
  const delivered = wait ? { delivered: fates.every(({ state }) => state === messageState.DELIVERED) } : {}
  return { ...delivered, ...parts[0], ...(parts.length > 1 ? { parts } : {}) }
}

function ms(value: number): string {
  return value < 10_000 ? `${value} ms` : `${(value / 1000).toFixed(1)} s`
}
