// `trunkline otp`: codes for an account, sent and checked as its application would; prefixes that get none for now; and a
// new secret for codes to come.

import { text as textOf } from 'node:stream/consumers'
import { type Command, Option } from 'commander'
import type { BlockedPrefix, BlockedTo } from '../admin/otp.js'
import { codeFormats } from '../services/otp/codes.js'
import type { SessionLine } from '../services/otp/told.js'
import { whole } from './arguments.js'
import { ask, type Question } from './ask.js'
import { CommandError, EXIT } from './exit.js'
import { bad, count, good, strong, table } from './print.js'
import { type GlobalOptions, optionsOf } from './settings.js'
import { asking } from './works.js'

interface OfAccount extends GlobalOptions {
  account: string
}

interface GenerateOptions extends OfAccount {
  number?: string
  email?: string
  format?: string
  length?: number
  minutes?: number
  purpose?: string
  language?: string
}

interface VerifyOptions extends OfAccount {
  session: string
  code?: string
  purpose?: string
  payee?: string
  amount?: string
}

interface ReleaseOptions extends OfAccount {
  prefix?: string
  to?: string
}

interface Shown {
  session_id: string
  status: string
  purpose: string
  channel: string
  to: string
  expires_at: string
  attempts_left: number
  messages: { channel: string; message_id: string | null; status: string; error: string | null; at: string }[]
  code?: string
}

const ROOT = '/api/v1/admin'

export function register(program: Command): void {
  const otp = program
    .command('otp')
    .description('One-time passwords: send, check, and look at what keeps them back.')
    .addHelpText(
      'after',
      `
Examples:
  trunkline otp generate --account shop --number +4917112345678
  trunkline otp verify --account shop --session otp_...
  trunkline otp blocked`,
    )
  const account = ['--account <systemId>', 'whose it is'] as const
  otp
    .command('generate')
    .description('Sends a code. Nobody is told it but the phone; in the sandbox it is shown.')
    .requiredOption(...account)
    .option('--number <number>', 'the phone, international')
    .option('--email <address>', 'a mail goes there; with --number, if the phone does not get it')
    .addOption(new Option('--format <format>', 'what it is made of').choices(codeFormats))
    .option('--length <n>', 'digits, letters or words', whole(2, 10))
    .option('--minutes <n>', 'it is good for so long', whole(1, 10))
    .option('--purpose <purpose>', 'who verifies must name the same')
    .option('--language <language>', 'of its message: en, de, fr, ...')
    .action((_, command: Command) => generate(optionsOf<GenerateOptions>(command)))
  otp
    .command('verify')
    .description('Says whether a code is right. Once it was, it is good no more.')
    .requiredOption(...account)
    .requiredOption('--session <id>', 'as generate gave it')
    .option('--code <code>', 'as the phone shows it; - reads standard input, and without it the terminal is asked')
    .option('--purpose <purpose>', 'as generate was told')
    .option('--payee <name>', 'who is paid, as generate was told')
    .option('--amount <amount>', 'what is paid, as generate was told')
    .action((_, command: Command) => verify(optionsOf<VerifyOptions>(command)))
  const works = [
    ['resend', 'Sends the same code once more.'],
    ['next', 'Goes on to the next channel at once.'],
    ['cancel', 'Calls a code off.'],
    ['show', 'Shows how a session stands.'],
  ] as const
  for (const [name, words] of works) {
    otp
      .command(name)
      .argument('<session>', 'as generate gave it')
      .description(words)
      .requiredOption(...account)
      .action((id: string, _, command: Command) => onSession(name, id, optionsOf<OfAccount>(command)))
  }
  otp
    .command('list')
    .description('Lists what became of the newest sessions.')
    .requiredOption(...account)
    .option('--limit <n>', 'so many at most', whole(1, 200), 50)
    .action((_, command: Command) => list(optionsOf<OfAccount & { limit: number }>(command)))
  otp
    .command('blocked')
    .description('Lists prefixes whose codes are hardly ever entered, and destinations with too many wrong codes.')
    .action((_, command: Command) => blocked(optionsOf<GlobalOptions>(command)))
  otp
    .command('release')
    .description('Lets codes go to a blocked prefix, number or mail address again: name one of them.')
    .requiredOption(...account)
    .option('--prefix <digits>', 'as blocked lists it')
    .option('--to <destination>', 'a number or mail address')
    .action((_, command: Command) => release(optionsOf<ReleaseOptions>(command)))
  const pepper = otp.command('pepper').description('The secret that codes are hashed under.')
  pepper
    .command('rotate')
    .description('Makes a new one for codes from now on; those under way stay good.')
    .action((_, command: Command) => rotate(optionsOf<GlobalOptions>(command)))
}

const of = (account: string, path: string): string => `${ROOT}/accounts/${encodeURIComponent(account)}/otp/${path}`

async function generate(options: GenerateOptions): Promise<void> {
  const { account, number, email, format, length, minutes, purpose, language } = options
  const both = number !== undefined && email !== undefined
  const body = {
    phone_number: number,
    email,
    format,
    length,
    expiry_minutes: minutes,
    purpose,
    language,
    ...(both ? { workflow: [{ channel: 'sms' }, { channel: 'email' }] } : {}),
  }
  await shown(options, { method: 'POST', path: of(account, 'generate'), body })
}

async function verify(options: VerifyOptions): Promise<void> {
  const { account, session, code, purpose, payee, amount } = options
  const body = { session_id: session, otp_code: await codeOf(code), purpose, payee, amount }
  const said = (await ask(options, { method: 'POST', path: of(account, 'verify'), body })) as {
    purpose: string
    verified_token: string
    carried_by: { channel: string; to: string }[]
  }
  if (options.json) return console.log(JSON.stringify(said, null, 2))
  const ways = said.carried_by.map(({ channel, to }) => `${channel} to ${to}`)
  console.log(`${good('verified')} for ${said.purpose}; the code went by ${ways.join(', and by ')}`)
}

/** What stands on the command line every user of the machine can read while it runs. */
async function codeOf(given: string | undefined): Promise<string> {
  if (given === '-') return (await textOf(process.stdin)).trim()
  if (given !== undefined) return given
  if (!process.stdin.isTTY) {
    throw new CommandError(
      EXIT.usage,
      'there is no terminal to ask for the code: give --code -, and it on standard input',
    )
  }
  const { input } = await import('@inquirer/prompts')
  return asking(input({ message: 'The code:' }, { output: process.stderr }))
}

async function onSession(work: string, id: string, options: OfAccount): Promise<void> {
  const name = encodeURIComponent(id)
  if (work === 'show') await shown(options, { path: of(options.account, name) })
  else await shown(options, { method: 'POST', path: of(options.account, `${work}/${name}`) })
}

async function shown(options: GlobalOptions, question: Question): Promise<void> {
  const one = (await ask(options, question)) as Shown
  if (options.json) return console.log(JSON.stringify(one, null, 2))
  const { status } = one
  const word = status === 'verified' ? good(status) : status === 'pending' ? status : bad(status)
  console.log(`${strong(one.session_id)}  ${word}`)
  console.log(`for ${one.purpose}, ${one.channel} to ${one.to}, until ${one.expires_at}`)
  console.log(`wrong codes that it still takes: ${one.attempts_left}`)
  if (one.code !== undefined) console.log(`code ${strong(one.code)}, which has not left the building`)
  const rows = one.messages.map(m => [m.at, m.channel, m.message_id ?? '-', m.status, m.error ?? ''])
  if (rows.length > 0) console.log(`\n${table(['when', 'channel', 'message', 'state', 'error'], rows)}`)
}

async function list(options: OfAccount & { limit: number }): Promise<void> {
  const { account, limit } = options
  const { sessions } = (await ask(options, { path: of(account, `sessions?limit=${limit}`) })) as {
    sessions: SessionLine[]
  }
  if (options.json) return console.log(JSON.stringify(sessions, null, 2))
  if (sessions.length === 0) return console.log('no code was asked for')
  const rows = sessions.map(one => [
    one.session_id,
    one.started_at,
    one.purpose,
    one.channel,
    one.to,
    one.event,
    one.at,
  ])
  console.log(table(['session', 'begun', 'purpose', 'channel', 'to', 'last', 'when'], rows))
}

async function blocked(options: GlobalOptions): Promise<void> {
  const said = (await ask(options, { path: `${ROOT}/otp/blocked` })) as {
    blocked: BlockedPrefix[]
    destinations: BlockedTo[]
  }
  if (options.json) return console.log(JSON.stringify(said, null, 2))
  const { blocked: all, destinations } = said
  if (all.length + destinations.length === 0) return console.log('nothing is blocked')
  if (destinations.length > 0) {
    const found = destinations.map(({ account, to, at }) => [account, to, at])
    console.log(table(['account', 'wrong codes to', 'since'], found))
  }
  if (all.length === 0) return
  const rows = all.map(one => [one.account, one.prefix, count(one.sent), count(one.verified), one.at, one.until])
  console.log(table(['account', 'prefix', '>sent', '>entered', 'since', 'until'], rows))
}

async function release(options: ReleaseOptions): Promise<void> {
  const { account, prefix, to } = options
  const body = { account, prefix, to }
  await ask(options, { method: 'POST', path: `${ROOT}/otp/release`, body })
  console.log(options.json ? JSON.stringify(body) : `codes of ${account} may go to ${prefix ?? to} again`)
}

async function rotate(options: GlobalOptions): Promise<void> {
  const made = (await ask(options, { method: 'POST', path: `${ROOT}/otp/pepper` })) as { kid: number }
  console.log(options.json ? JSON.stringify(made) : `codes are hashed under secret ${made.kid} from now on`)
}
