// `trunkline credit`: accounts' money: how each stands, what comes and goes, statements, and leases of nodes. Bookings are
// made once by their reference. Asks the daemon.

import { randomUUID } from 'node:crypto'
import { pipeline } from 'node:stream/promises'
import { type Command, Option } from 'commander'
import type { Balance, Lease, SpoolLeases } from '../accounts/balances.js'
import type { Booked } from '../accounts/ledger.js'
import type { StatementLine } from '../accounts/statement.js'
import type { LinesPage } from '../admin/credit.js'
import { unitsText } from '../model/money.js'
import { moment, whole } from './arguments.js'
import { ask, follow } from './ask.js'
import { CommandError, EXIT } from './exit.js'
import { bad, count, faint, table } from './print.js'
import { type GlobalOptions, optionsOf } from './settings.js'
import { confirmed } from './works.js'

interface BookOptions extends GlobalOptions {
  tax?: string
  reference?: string
  memo?: string
}

interface StatementOptions extends GlobalOptions {
  from?: Date
  to?: Date
  csv?: boolean
  html?: boolean
  limit: number
}

interface LeasesOptions extends GlobalOptions {
  limit: number
}

interface ReleaseOptions extends GlobalOptions {
  account?: string
  reason: string
  yes?: boolean
}

interface NoticeOptions extends GlobalOptions {
  below?: string
  percent?: number
  never?: boolean
}

const ROOT = '/api/v1/admin/credit'
const LEASES = '/api/v1/admin/credit-leases'
const PAGE = 200
const pathOf = (account: string, more = ''): string => `${ROOT}/${encodeURIComponent(account)}${more}`

export function register(program: Command): void {
  const credit = program.command('credit').description('Credit: balances, top-ups, statements, and who holds what.')
  credit
    .command('list')
    .description('Lists the accounts with their balances.')
    .option('--low', 'only those that were told that little is left')
    .addHelpText('after', '\nExample:\n  trunkline credit list --low')
    .action((_, command: Command) => list(optionsOf<{ low?: boolean }>(command)))
  credit
    .command('show')
    .argument('<account>', 'which account')
    .description('Shows the balance of an account, its credit, and what nodes hold of it.')
    .addHelpText('after', '\nExample:\n  trunkline credit show shop')
    .action((account: string, _, command: Command) => show(account, optionsOf(command)))
  for (const [verb, path, what, tax, about] of [
    [
      'top-up',
      'top-up',
      'Adds money that an account has paid; what waits for credit goes on at once.',
      'paid on top of it: messages do not spend it, and invoices count it as paid',
      'Prices are without tax. Without --tax the tax of what is spent is to be paid with the invoice of the month.\n\n',
    ],
    [
      'take',
      'withdrawal',
      'Pays money out that an account has; never more.',
      'paid back with it, of what was paid so',
      '',
    ],
  ] as const) {
    booking(credit.command(verb), what)
      .option('--tax <amount>', tax)
      .addHelpText(
        'after',
        `\n${about}Example:\n  trunkline credit ${verb} shop 250 --tax 47.5 --reference wire-8812 --memo 'Bank transfer'`,
      )
      .action((account: string, amount: string, _, command: Command) =>
        book(account, amount, path, optionsOf<BookOptions>(command)),
      )
  }
  booking(credit.command('adjust'), 'Sets a balance right by so much, up or down; it takes a reason.')
    .addHelpText(
      'after',
      "\nA minus stands behind --.\n\nExample:\n  trunkline credit adjust shop --memo 'Charged twice on Monday' -- -12.5",
    )
    .action((account: string, amount: string, _, command: Command) =>
      book(account, amount, 'adjustment', optionsOf<BookOptions>(command)),
    )
  credit
    .command('statement')
    .argument('<account>', 'which account')
    .description('Shows what was booked, oldest first, each line with the balance behind it.')
    .addOption(new Option('--from <moment>', 'from then on, ISO 8601; else the last 31 days').argParser(moment))
    .addOption(new Option('--to <moment>', 'before then').argParser(moment))
    .addOption(new Option('--csv', 'as CSV, all of it').conflicts('html'))
    .option('--html', 'as a page that prints well, all of it')
    .addOption(new Option('--limit <n>', 'so many lines').argParser(whole(1, 100_000)).default(1_000))
    .addHelpText(
      'after',
      `
Examples:
  trunkline credit statement shop --from 2030-01-01 --to 2030-02-01
  trunkline credit statement shop --csv > shop.csv
  trunkline credit statement shop --html > shop.html`,
    )
    .action((account: string, _, command: Command) => statement(account, optionsOf<StatementOptions>(command)))
  credit
    .command('leases')
    .argument('[account]', 'of this account alone')
    .description('Lists what nodes hold of accounts’ credit: what each has in all, and of which accounts.')
    .addOption(new Option('--limit <n>', 'so many leases').argParser(whole(1, 100_000)).default(200))
    .addHelpText('after', '\nExample:\n  trunkline credit leases shop')
    .action((account: string | undefined, _, command: Command) =>
      showLeases(account, optionsOf<LeasesOptions>(command)),
    )
  credit
    .command('release')
    .argument('<spool>', 'the node’s spool, as credit leases shows it')
    .description('Frees what a node holds that is gone for ever, with its disk.')
    .requiredOption('--reason <why>', 'for the audit')
    .option('--account <account>', 'of this account alone')
    .option('--yes', 'do not ask')
    .addHelpText(
      'after',
      `
A node gives back by itself what it holds, also after a crash, when it starts again. Only one whose disk is lost never
will. What it had accepted and had not yet written to the database is then charged to nobody.

Example:
  trunkline credit release 5f0c2a9e --reason 'disk of node 3 is lost'`,
    )
    .action((spool: string, _, command: Command) => release(spool, optionsOf<ReleaseOptions>(command)))
  credit
    .command('notice')
    .argument('<account>', 'which account')
    .description('Says when an account is told that little is left: account.credit_low and account.credit_exhausted.')
    .addOption(new Option('--below <amount>', 'when less than that is left').conflicts(['percent', 'never']))
    .addOption(
      new Option('--percent <n>', 'of the last top-up, or of what it may owe')
        .argParser(whole(1, 100))
        .conflicts('never'),
    )
    .option('--never', 'it is told nothing')
    .addHelpText(
      'after',
      `
Credit is exhausted when it does not pay the cheapest message that the tariff names a price of; under a tariff of margins
alone, when nothing is left. There a message may be refused before: say --below so much that it is told in time.

Example:
  trunkline credit notice shop --below 25`,
    )
    .action((account: string, _, command: Command) => notice(account, optionsOf<NoticeOptions>(command)))
}

function booking(command: Command, what: string): Command {
  return command
    .argument('<account>', 'which account')
    .argument('<amount>', 'units of the currency, like 250 or 12.5')
    .description(what)
    .option('--reference <text>', 'whoever asks twice with one reference is booked once')
    .option('--memo <text>', 'what for: the account reads it')
}

async function list(options: GlobalOptions & { low?: boolean }): Promise<void> {
  const all: Balance[] = []
  let unit = ''
  for (let after: number | null = 0; after !== null; ) {
    const query = `?after=${after}&low=${options.low === true}`
    const page = (await ask(options, { path: ROOT + query })) as {
      accounts: Balance[]
      next: number | null
      currency: string
    }
    all.push(...page.accounts)
    after = page.next
    unit = page.currency
  }
  if (options.json) return console.log(JSON.stringify(all, null, 2))
  if (all.length === 0) return console.log(options.low ? 'nobody runs low' : 'no accounts')
  const rows = all.map(one => [
    one.account,
    one.tariff ?? '-',
    unitsText(one.balance_micros),
    one.credit_micros === null ? 'unlimited' : unitsText(one.credit_micros),
    unitsText(one.leased_micros),
    one.free_micros === null ? '-' : unitsText(one.free_micros),
    one.told === 'nothing' ? '' : bad(one.told),
  ])
  console.log(table(['account', 'tariff', `>balance ${unit}`, '>credit', '>leased', '>free', ''], rows))
}

async function show(account: string, options: GlobalOptions): Promise<void> {
  const one = (await ask(options, { path: pathOf(account) })) as Balance & { currency: string; leases: Lease[] }
  if (options.json) return console.log(JSON.stringify(one, null, 2))
  const facts: [string, string][] = [
    ['tariff', one.tariff ?? 'none: what it sends costs nothing'],
    ['balance', `${unitsText(one.balance_micros)} ${one.currency}`],
    ['credit', one.credit_micros === null ? 'as far as it will' : `${unitsText(one.credit_micros)} below zero`],
    ['leased', `${unitsText(one.leased_micros)} to nodes, part of it spent`],
    ['free', one.free_micros === null ? 'no limit' : unitsText(one.free_micros)],
    ['told', `${one.low_micros === null ? 'never' : `below ${unitsText(one.low_micros)}`}; now: ${one.told}`],
  ]
  for (const [name, words] of facts) console.log(`${name.padEnd(10)}${words}`)
  if (one.leases.length > 0) console.log(`\n${leaseTable(one.leases)}`)
}

async function book(account: string, amount: string, path: string, options: BookOptions): Promise<void> {
  // Asked once more by hand it is another booking; by our own repeated request it is the same.
  const { reference = `cli-${randomUUID()}`, memo = '' } = options
  const body = { amount, reference, memo, ...(options.tax === undefined ? {} : { tax: options.tax }) }
  const question = { method: 'POST', path: pathOf(account, `/${path}`), body } as const
  const booked = (await ask(options, question).catch((error: Error) => {
    // It may have been booked all the same.
    if (!(error instanceof CommandError) || options.reference !== undefined) throw error
    throw new CommandError(error.exit, `${error.message}\nto try the same booking again, add --reference ${reference}`)
  })) as Booked & { balance: string; currency: string }
  if (options.json) return console.log(JSON.stringify({ reference, ...booked }, null, 2))
  if (booked.repeated)
    return console.log(
      `${reference} was booked before; the balance of ${account} is ${booked.balance} ${booked.currency}`,
    )
  console.log(
    `booked as entry ${booked.entry}, ${reference}; the balance of ${account} is ${booked.balance} ${booked.currency}`,
  )
}

async function statement(account: string, options: StatementOptions): Promise<void> {
  const { from, to, limit } = options
  const span = new URLSearchParams({
    ...(from === undefined ? {} : { from: from.toISOString() }),
    ...(to === undefined ? {} : { to: to.toISOString() }),
  })
  const format = options.csv ? 'csv' : options.html ? 'html' : undefined
  if (format !== undefined) {
    const response = await follow(options, { path: pathOf(account, `/statement?${span}&format=${format}`) })
    try {
      return await pipeline(response, process.stdout, { end: false })
    } catch (error) {
      throw new CommandError(EXIT.failed, `the statement broke off: ${(error as Error).message}`)
    }
  }
  const lines: StatementLine[] = []
  let opening: number | undefined
  let unit = ''
  let next: number | null = 0
  while (next !== null && lines.length < limit) {
    const query = `${span}&after=${next}&limit=${Math.min(PAGE, limit - lines.length)}`
    const page = (await ask(options, { path: pathOf(account, `/statement?${query}`) })) as LinesPage
    opening ??= page.opening_micros
    unit = page.currency
    lines.push(...(page.lines as StatementLine[]))
    next = page.next
  }
  if (options.json) return console.log(JSON.stringify({ opening_micros: opening, lines }, null, 2))
  const rows = lines.map(one => [
    one.at.slice(0, 16).replace('T', ' '),
    one.kind.replace('_', '-'),
    one.kind === 'messages' ? `${count(one.messages)} messages` : [one.memo, faint(one.reference)].join(' ').trim(),
    one.who,
    unitsText(one.micros),
    unitsText(one.balance_micros),
  ])
  rows.unshift(['', 'before', '', '', '', unitsText(opening ?? 0)])
  console.log(table(['when', 'what', '', 'by', `>${unit}`, '>balance'], rows))
  if (next !== null) console.log(faint('and more: --limit, --from, --csv or --html'))
}

async function showLeases(account: string | undefined, { limit, ...options }: LeasesOptions): Promise<void> {
  const found: Lease[] = []
  let spools: SpoolLeases[] = []
  let next: string | null = ''
  while (next !== null && found.length < limit) {
    const query = new URLSearchParams({
      ...(account === undefined ? {} : { account }),
      ...(next === '' ? {} : { after: next }),
      limit: String(Math.min(PAGE, limit - found.length)),
    })
    const page = (await ask(options, { path: `${LEASES}?${query}` })) as {
      leases: Lease[]
      next: string | null
      spools: SpoolLeases[]
    }
    found.push(...page.leases)
    spools = page.spools
    next = page.next
  }
  if (options.json) return console.log(JSON.stringify({ spools, leases: found }, null, 2))
  if (spools.length === 0) return console.log('nothing is leased')
  console.log(spoolTable(spools))
  console.log(`\n${leaseTable(found)}`)
  if (next !== null) console.log(faint('and more: --limit'))
}

function spoolTable(spools: readonly SpoolLeases[]): string {
  const rows = spools.map(one => [
    String(one.node),
    one.spool,
    count(one.leases),
    unitsText(one.micros),
    one.heard_at?.slice(0, 19).replace('T', ' ') ?? 'never',
  ])
  return table(['>node', 'spool', '>leases', '>leased', 'history written'], rows)
}

function leaseTable(leases: readonly Lease[]): string {
  const rows = leases.map(one => [
    one.account,
    String(one.node),
    one.spool,
    unitsText(one.micros),
    one.at.slice(0, 19).replace('T', ' '),
    one.heard_at?.slice(0, 19).replace('T', ' ') ?? 'never',
  ])
  return table(['account', '>node', 'spool', '>leased', 'since', 'history written'], rows)
}

async function release(spool: string, options: ReleaseOptions): Promise<void> {
  const question = `Free what the node of ${spool} holds? What it had accepted and not yet written is never charged.`
  if (!options.yes && !(await confirmed(question))) return
  const body = { spool, account: options.account, reason: options.reason }
  const done = (await ask(options, { method: 'POST', path: `${LEASES}/release`, body })) as {
    leases: number
    micros: number
  }
  if (options.json) return console.log(JSON.stringify(done))
  console.log(`leases ended: ${count(done.leases)}; ${unitsText(done.micros)} can be leased again`)
}

async function notice(account: string, { below, percent, never, ...options }: NoticeOptions): Promise<void> {
  const body = { amount: below ?? null, percent: never ? 0 : (percent ?? 10) }
  const one = (await ask(options, { method: 'PUT', path: pathOf(account, '/notice'), body })) as Balance
  if (options.json) return console.log(JSON.stringify(one, null, 2))
  const isTold = one.low_micros !== null
  console.log(isTold ? `${account} is told below ${unitsText(one.low_micros as number)}` : `${account} is told nothing`)
}
