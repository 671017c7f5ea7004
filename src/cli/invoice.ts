// `trunkline invoice`: what accounts are billed for a month: made, listed, written as CSV and HTML, paid and voided. Asks the
// daemon.

import { readFile, writeFile } from 'node:fs/promises'
import { text as read } from 'node:stream/consumers'
import { type Command, Option } from 'commander'
import { type Invoice, type InvoiceEntry, invoiceStatuses } from '../accounts/invoices.js'
import { messageClasses } from '../model/message.js'
import { unitsText } from '../model/money.js'
import { whole } from './arguments.js'
import { ask } from './ask.js'
import { CommandError, EXIT } from './exit.js'
import { bad, count, good, strong, table } from './print.js'
import { type GlobalOptions, optionsOf } from './settings.js'
import { confirmed, Progress, work } from './works.js'

interface CreateOptions extends GlobalOptions {
  month?: string
  account?: string
  all?: boolean
  again?: boolean
}

interface ListOptions extends GlobalOptions {
  account?: string
  status?: string
  month?: string
  limit: number
}

interface VoidOptions extends GlobalOptions {
  reason: string
  yes?: boolean
}

const ROOT = '/api/v1/admin/invoices'
const PAGE = 200
/** Making one waits for those who make others. */
const SILENCE_MS = 120_000
const pathOf = (number: string, more = ''): string => `${ROOT}/${encodeURIComponent(number)}${more}`

export function register(program: Command): void {
  const invoice = program.command('invoice').description('Invoices: what accounts are billed for a month.')
  invoice
    .command('create')
    .description('Makes the invoice of a month, once: asked again, it shows the one there is.')
    .option('--month <month>', 'like 2030-01; else the last one')
    .option('--account <account>', 'of this account')
    .option('--all', 'of every account that was charged')
    .option('--again', 'in place of one that was voided')
    .addHelpText(
      'after',
      `
An account that was charged nothing gets none. What credit had paid already is not to be paid again. Credit pays what
messages cost, without tax: tax that came with top-ups (credit top-up --tax) counts as paid, all other tax is to be paid.

Examples:
  trunkline invoice create --account shop --month 2030-01
  trunkline invoice create --all`,
    )
    .action((_, command: Command) => create(optionsOf<CreateOptions>(command)))
  invoice
    .command('list')
    .description('Lists invoices, the newest first.')
    .option('--account <account>', 'of this account')
    .addOption(new Option('--status <status>', 'in this state').choices([...invoiceStatuses]))
    .option('--month <month>', 'of this month, like 2030-01')
    .addOption(new Option('--limit <n>', 'so many').argParser(whole(1, 100_000)).default(50))
    .addHelpText('after', '\nExample:\n  trunkline invoice list --status open')
    .action((_, command: Command) => list(optionsOf<ListOptions>(command)))
  invoice
    .command('show')
    .argument('<number>', 'like 2030-000001')
    .description('Shows an invoice with its lines.')
    .addHelpText('after', '\nExample:\n  trunkline invoice show 2030-000001')
    .action((number: string, _, command: Command) => show(number, optionsOf(command)))
  for (const format of ['csv', 'html'] as const) {
    invoice
      .command(format)
      .argument('<number>', 'like 2030-000001')
      .argument('[file]', 'where to; standard output if not given')
      .description(
        format === 'csv' ? 'Writes the lines of an invoice as CSV.' : 'Writes an invoice as a page to print.',
      )
      .addHelpText('after', `\nExample:\n  trunkline invoice ${format} 2030-000001 invoice.${format}`)
      .action((number: string, file: string | undefined, _, command: Command) =>
        write(number, format, file, optionsOf(command)),
      )
  }
  invoice
    .command('pay')
    .argument('<number>', 'like 2030-000001')
    .description('Books what was due as paid.')
    .option('--memo <text>', 'the account reads it')
    .addHelpText('after', "\nExample:\n  trunkline invoice pay 2030-000001 --memo 'Bank transfer of 3 February'")
    .action((number: string, _, command: Command) => pay(number, optionsOf<{ memo?: string }>(command)))
  invoice
    .command('void')
    .argument('<number>', 'like 2030-000001')
    .description('Makes an invoice void, with a credit note: the account gets back what it was charged.')
    .requiredOption('--reason <why>', 'stands on the invoice, and in the audit')
    .option('--yes', 'do not ask')
    .addHelpText(
      'after',
      `
To correct an invoice, void it and make it again: what was credited is then charged anew.

Example:
  trunkline invoice void 2030-000001 --reason 'wrong tax'`,
    )
    .action((number: string, _, command: Command) => cancel(number, optionsOf<VoidOptions>(command)))
  invoice
    .command('address')
    .argument('<account>', 'which account')
    .argument('<file>', 'name and address in lines; - is standard input')
    .description('Says to whom the invoices of an account are addressed, from now on.')
    .addHelpText('after', '\nExample:\n  trunkline invoice address shop address.txt')
    .action((account: string, file: string, _, command: Command) => address(account, file, optionsOf(command)))
}

async function create(options: CreateOptions): Promise<void> {
  const { account, all, again = false, month = lastMonth(new Date()) } = options
  if ((account === undefined) === (all !== true)) throw new CommandError(EXIT.usage, 'say --account NAME, or --all')
  if (account !== undefined) {
    const body = { month, account, again }
    const question = { method: 'POST', path: ROOT, body, silenceMs: SILENCE_MS } as const
    const made = (await ask(options, question)) as Invoice & { made: boolean }
    if (options.json) return console.log(JSON.stringify(made, null, 2))
    if (!made.made) console.log(`${made.number} was made before`)
    return console.log(screen(made))
  }
  if (again) throw new CommandError(EXIT.usage, '--again is for one --account')
  const bar = new Progress()
  const done = await work<{ looked: number; made: string[] }, { looked: number; made: number }>(
    options,
    { method: 'POST', path: `${ROOT}/all`, body: { month }, silenceMs: SILENCE_MS },
    ({ looked, made }) => bar.show(`${count(looked)} accounts, ${count(made)} invoices`),
  ).finally(() => bar.end())
  if (options.json) return console.log(JSON.stringify({ month, ...done }))
  const [first] = done.made
  const which = first === undefined ? '' : `: ${done.made.length === 1 ? first : `${first} to ${done.made.at(-1)}`}`
  console.log(`invoices made for ${month}: ${count(done.made.length)}${which}`)
}

/** In UTC, as everywhere. */
function lastMonth(now: Date): string {
  return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - 1, 1)).toISOString().slice(0, 7)
}

async function list({ account, status, month, limit, ...options }: ListOptions): Promise<void> {
  const found: InvoiceEntry[] = []
  for (let before: string | null = ''; before !== null && found.length < limit; ) {
    const query = new URLSearchParams({
      ...(account === undefined ? {} : { account }),
      ...(status === undefined ? {} : { status }),
      ...(month === undefined ? {} : { month }),
      ...(before === '' ? {} : { before }),
      limit: String(Math.min(PAGE, limit - found.length)),
    })
    const page = (await ask(options, { path: `${ROOT}?${query}` })) as { invoices: InvoiceEntry[]; next: string | null }
    found.push(...page.invoices)
    before = page.next
  }
  if (options.json) return console.log(JSON.stringify(found, null, 2))
  if (found.length === 0) return console.log('no invoice is like that')
  const rows = found.map(one => [
    one.number,
    one.account,
    one.month,
    statusWord(one),
    unitsText(one.total_micros),
    unitsText(one.due_micros),
    one.currency,
  ])
  console.log(table(['number', 'account', 'month', 'status', '>total', '>due', ''], rows))
}

async function show(number: string, options: GlobalOptions): Promise<void> {
  const one = (await ask(options, { path: pathOf(number) })) as Invoice
  console.log(options.json ? JSON.stringify(one, null, 2) : screen(one))
}

function screen(one: Invoice): string {
  const rows = one.lines.map(line => [
    line.what,
    line.month,
    line.country || '-',
    messageClasses[line.rank] ?? '-',
    line.messages,
    line.segments,
    unitsText(line.micros),
  ])
  const sums: [string, string][] = [
    ['net', unitsText(one.net_micros)],
    [`tax ${one.tax_percent} %`, unitsText(one.tax_micros)],
    ['total', unitsText(one.total_micros)],
    ['from credit', unitsText(one.covered_micros)],
    ['tax paid', unitsText(one.tax_micros - one.due_tax_micros)],
    ['due', `${unitsText(one.due_micros)} ${one.currency}`],
  ]
  return [
    `${strong(one.number)}  ${one.account}, ${one.month}, ${statusWord(one)}${one.void_reason === '' ? '' : `: ${one.void_reason}`}`,
    '',
    table(['', 'month', 'country', 'class', '>messages', '>segments', '>amount'], rows),
    '',
    ...sums.map(([name, words]) => `${name.padEnd(14)}${words}`),
  ].join('\n')
}

const statusWord = ({ status }: InvoiceEntry): string =>
  status === 'paid' ? good(status) : status === 'void' ? bad(status) : status

async function write(
  number: string,
  format: 'csv' | 'html',
  file: string | undefined,
  options: GlobalOptions,
): Promise<void> {
  const text = (await ask(options, { path: pathOf(number, `.${format}`) })) as string
  if (file === undefined) {
    process.stdout.write(text)
    return
  }
  try {
    await writeFile(file, text)
  } catch (error) {
    throw new CommandError(EXIT.failed, `${file} cannot be written: ${(error as Error).message}`)
  }
  console.log(options.json ? JSON.stringify({ file }) : `written to ${file}`)
}

async function pay(number: string, options: GlobalOptions & { memo?: string }): Promise<void> {
  const body = { memo: options.memo ?? '' }
  const one = (await ask(options, { method: 'POST', path: pathOf(number, '/pay'), body })) as Invoice & {
    repeated: boolean
  }
  if (options.json) return console.log(JSON.stringify(one, null, 2))
  const amount = `${unitsText(one.due_micros)} ${one.currency}`
  console.log(one.repeated ? `${number} was paid before` : `${number} is paid: ${amount}`)
}

async function cancel(number: string, options: VoidOptions): Promise<void> {
  const question = `Make invoice ${number} void, and credit the account with what it was charged?`
  if (!options.yes && !(await confirmed(question))) return
  const body = { reason: options.reason }
  const one = (await ask(options, { method: 'POST', path: pathOf(number, '/void'), body })) as Invoice & {
    repeated: boolean
  }
  if (options.json) return console.log(JSON.stringify(one, null, 2))
  console.log(one.repeated ? `${number} was void before` : `${number} is void; ${one.account} is credited`)
}

async function address(account: string, file: string, options: GlobalOptions): Promise<void> {
  let text: string
  try {
    text = file === '-' ? await read(process.stdin) : await readFile(file, 'utf8')
  } catch (error) {
    throw new CommandError(EXIT.usage, `${file} cannot be read: ${(error as NodeJS.ErrnoException).code}`)
  }
  const path = `${ROOT}/addresses/${encodeURIComponent(account)}`
  await ask(options, { method: 'PUT', path, body: { address: text.trim() } })
  console.log(options.json ? JSON.stringify({ account }) : `invoices of ${account} are addressed as in ${file}`)
}
