// `trunkline consent`: what phones have said of being written to, looked up and said for them.

import type { Command } from 'commander'
import type { ConsentPageOf, ConsentShown } from '../admin/consent.js'
import { whole } from './arguments.js'
import { ask } from './ask.js'
import { bad, faint, good, strong, table } from './print.js'
import { type GlobalOptions, optionsOf } from './settings.js'

interface Named extends GlobalOptions {
  account?: string
  number: string
}

interface ListOptions extends GlobalOptions {
  account?: string
  number?: string
  limit: number
}

const PATH = '/api/v1/admin/consent'
const EVERYBODY = 'everybody'

export function register(program: Command): void {
  const consent = program
    .command('consent')
    .description('STOP and START: who may be written to.')
    .addHelpText(
      'after',
      `
A phone that writes STOP, as its whole message and in its own language, to a number of an account is not written to by
that account any more; to a number that is nobody's, by no account. START takes it back. One-time passwords are sent all
the same, unless the account has 'consent: { stopsOtp: true }'.

Examples:
  trunkline consent show --number +4917112345678 --account shop
  trunkline consent stop --number +4917112345678
  trunkline consent export > consent.csv`,
    )
  const number = ['--number <number>', 'the phone, international'] as const
  consent
    .command('show')
    .description('Shows what holds for a phone, and why.')
    .requiredOption(...number)
    .option('--account <systemId>', 'what this account may send to it')
    .action((_, command: Command) => show(optionsOf<Named>(command)))
  for (const kind of ['stop', 'start'] as const) {
    consent
      .command(kind)
      .description(kind === 'stop' ? 'Nothing more is sent to a phone.' : 'It may be written to again.')
      .requiredOption(...number)
      .option('--account <systemId>', 'by this account; left out: by all')
      .action((_, command: Command) => say(kind, optionsOf<Named>(command)))
  }
  consent
    .command('list')
    .description('Lists what holds, by account and number.')
    .option('--account <systemId>', 'of this account only')
    .option('--number <number>', 'of this phone only')
    .option('--limit <n>', 'so many at most', whole(1, 1_000_000), 100)
    .action((_, command: Command) => list(optionsOf<ListOptions>(command)))
  consent
    .command('export')
    .description('Writes all of it as CSV.')
    .option('--account <systemId>', 'of this account only')
    .action((_, command: Command) => exportAll(optionsOf<ListOptions>(command)))
}

async function show(options: Named): Promise<void> {
  const query = options.account === undefined ? '' : `?account=${encodeURIComponent(options.account)}`
  const path = `${PATH}/${encodeURIComponent(options.number)}${query}`
  const shown = (await ask(options, { path })) as ConsentShown
  if (options.json) return console.log(JSON.stringify(shown, null, 2))
  console.log(strong(shown.number))
  if (shown.may !== null) {
    const words = Object.entries(shown.may).map(([name, may]) => `${name} ${may ? good('yes') : bad('no')}`)
    console.log(`${options.account} may send it: ${words.join(', ')}`)
  }
  for (const { account, name } of shown.lists) {
    console.log(`on the do-not-disturb list ${name}${account === null ? '' : ` of ${account}`}`)
  }
  if (shown.heeded.length === 0) console.log('it has said nothing')
  else {
    const rows = shown.heeded.map(({ account, state, at }) => [account ?? EVERYBODY, stateText(state), at])
    console.log(table(['account', 'state', 'since'], rows))
  }
  if (shown.events === null) console.log(faint('the database is away: what was said before is not shown'))
  else if (shown.events.length > 0) {
    const rows = shown.events.map(one => [one.at, one.kind, one.account ?? EVERYBODY, one.source, one.called, one.word])
    console.log(`\n${table(['at', 'said', 'account', 'by', 'number called', 'word'], rows)}`)
  }
}

async function say(kind: 'stop' | 'start', options: Named): Promise<void> {
  const body = { account: options.account ?? null, number: options.number, kind }
  const said = (await ask(options, { method: 'POST', path: PATH, body })) as { number: string }
  if (options.json) return console.log(JSON.stringify(said))
  const who = options.account ?? 'every account'
  console.log(kind === 'stop' ? `${said.number} is stopped for ${who}` : `${said.number} may be written to by ${who}`)
}

async function list(options: ListOptions): Promise<void> {
  const all: ConsentPageOf['consent'] = []
  for await (const page of pages(options)) {
    all.push(...page)
    if (all.length >= options.limit) break
  }
  const some = all.slice(0, options.limit)
  if (options.json) return console.log(JSON.stringify(some, null, 2))
  if (some.length === 0) return console.log('nobody has said anything')
  const rows = some.map(one => [one.account ?? EVERYBODY, one.number, stateText(one.state), one.source, one.at])
  console.log(table(['account', 'number', 'state', 'by', 'since'], rows))
  if (all.length > some.length) console.log(faint(`more than ${options.limit}: --limit shows more`))
}

async function exportAll(options: ListOptions): Promise<void> {
  if (!options.json) console.log('account,number,state,by,at')
  for await (const page of pages(options)) {
    for (const one of page) {
      const cells = [one.account ?? '', one.number, one.state, one.source, one.at]
      console.log(options.json ? JSON.stringify(one) : cells.map(cell).join(','))
    }
  }
}

const cell = (text: string): string => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text)

async function* pages(options: ListOptions): AsyncGenerator<ConsentPageOf['consent']> {
  const query = new URLSearchParams()
  if (options.account !== undefined) query.set('account', options.account)
  if (options.number !== undefined) query.set('number', options.number)
  for (let next: string | null = ''; next !== null; ) {
    const page = (await ask(options, { path: `${PATH}?${query}` })) as ConsentPageOf
    yield page.consent
    next = page.next
    query.set('after', next ?? '')
  }
}

const stateText = (state: string): string => (state === 'stopped' ? bad(state) : good(state))
