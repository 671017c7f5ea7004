// `trunkline tariff`: what messages cost by prefix, class and time: prices one by one and as files, margins, and what one
// message would cost. Asks the daemon, which writes the rows.

import { type Command, InvalidArgumentError, Option } from 'commander'
import type { PriceEntry, TariffEntry, TariffShown } from '../accounts/tariffRows.js'
import { givenBack } from '../accounts/tariffs.js'
import type { PricingRule } from '../admin/pricingRules.js'
import type { Quote } from '../admin/quote.js'
import { messageClasses } from '../model/message.js'
import { unitsText } from '../model/money.js'
import { whole } from './arguments.js'
import { ask } from './ask.js'
import { CommandError, EXIT } from './exit.js'
import { bad, count, faint, table } from './print.js'
import { type GlobalOptions, optionsOf } from './settings.js'
import { exportPrices, type ImportOptions, importFile } from './tariffFile.js'
import { confirmed } from './works.js'

interface CreateOptions extends GlobalOptions {
  givesBack?: string[]
}

interface ShowOptions extends GlobalOptions {
  prefix: string
  limit: number
}

interface SetOptions extends GlobalOptions {
  class?: string
  from?: string
  unset?: string[]
  givesBack?: string[]
}

interface MarginOptions extends GlobalOptions {
  prefix?: string
  country?: string
  class?: string
  percent?: number
  fixed?: string
  minimum?: string
  position?: number
  replace?: number
  remove?: number
}

interface PriceOptions extends GlobalOptions {
  account?: string
  tariff?: string
  to: string
  class?: string
  segments?: number
  text?: string
}

const ROOT = '/api/v1/admin/tariffs'
const RULES = '/api/v1/admin/pricing-rules'
const classOption = (what: string): Option => new Option('--class <class>', what).choices([...messageClasses])
const backOption = (): Option =>
  new Option(
    '--gives-back <ending...>',
    'after which ends a charge is given back, also of what a carrier had taken; none: after none; default: see below',
  ).choices([...givenBack, 'none', 'default'])

const BACK_HELP = `
By default a charge is given back when a message ends as rejected, expired or deleted, and only for the parts that no
carrier has taken: what was sent costs, whatever the carrier reports of it afterwards. A tariff that names ends with
--gives-back gives all of the charge back when a carrier that took a message reports such an end. Of a message that ends
before all of its parts were taken, nobody gets back more than the others' share: of two parts, one of them sent, half.
What a message costs is fixed when it is accepted; what of it is given back says the tariff of its account at its end.
`

export function register(program: Command): void {
  const tariff = program.command('tariff').description('Tariffs: what messages cost, by prefix, class and time.')
  tariff
    .command('list')
    .description('Lists the tariffs.')
    .addHelpText('after', '\nExample:\n  trunkline tariff list')
    .action((_, command: Command) => list(optionsOf(command)))
  tariff
    .command('show')
    .argument('<tariff>', 'which tariff')
    .description('Shows a tariff: its prices, its margins and who uses it.')
    .option('--prefix <digits>', 'prices of these numbers alone', '')
    .addOption(new Option('--limit <n>', 'so many prices').argParser(whole(1, 1_000)).default(50))
    .addHelpText('after', '\nExample:\n  trunkline tariff show retail --prefix 49')
    .action((name: string, _, command: Command) => show(name, optionsOf<ShowOptions>(command)))
  tariff
    .command('create')
    .argument('<tariff>', 'its name')
    .argument('[price...]', 'PREFIX=PRICE of a segment; default=PRICE for all other numbers')
    .description('Makes a tariff.')
    .addOption(backOption())
    .addHelpText(
      'after',
      `
An account uses it after 'trunkline account edit NAME --set tariff=TARIFF'.
${BACK_HELP}
Examples:
  trunkline tariff create retail default=0.1 49=0.05 4915=0.045
  trunkline tariff create wholesale --gives-back rejected expired deleted undeliverable`,
    )
    .action((name: string, prices: string[], _, command: Command) =>
      create(name, prices, optionsOf<CreateOptions>(command)),
    )
  tariff
    .command('set')
    .argument('<tariff>', 'which tariff')
    .argument('[price...]', 'PREFIX=PRICE of a segment; PREFIX=none: it has no price any more')
    .description('Sets prices, or takes them away, and says when charges are given back.')
    .addOption(classOption('of this class alone'))
    .option('--from <moment>', 'from then on, like 2030-01-01T00:00:00Z')
    .option('--unset <prefix...>', 'takes away the rows of these prefixes, with the same --class and --from')
    .addOption(backOption())
    .addHelpText(
      'after',
      `${BACK_HELP}
Examples:
  trunkline tariff set retail 49=0.06 --from 2030-01-01
  trunkline tariff set retail 4915=0.04 --class otp
  trunkline tariff set retail --unset 4915 --class otp`,
    )
    .action((name: string, prices: string[], _, command: Command) => set(name, prices, optionsOf<SetOptions>(command)))
  tariff
    .command('import')
    .argument('<tariff>', 'which tariff')
    .argument('<file>', 'CSV; - is standard input')
    .description('Puts the prices of a file into a tariff: all of them at once, or none.')
    .option('--replace', 'what is in the tariff and not in the file goes')
    .option('--dry-run', 'says what would be done, and does nothing')
    .option('--yes', 'do not ask before --replace takes away more than half of the prices')
    .addHelpText(
      'after',
      `
The first line names the columns: prefix, price, and where wanted class and from, in any order. A prefix is digits or
default; a price is like 0.05, or none; no class means every class, no from means ever since.

Examples:
  trunkline tariff import retail prices.csv --dry-run
  trunkline tariff import retail prices.csv --replace`,
    )
    .action((name: string, file: string, _, command: Command) =>
      importFile(name, file, optionsOf<ImportOptions>(command)),
    )
  tariff
    .command('export')
    .argument('<tariff>', 'which tariff')
    .description('Writes the prices of a tariff as CSV that import reads.')
    .addHelpText('after', '\nExample:\n  trunkline tariff export retail > prices.csv')
    .action((name: string, _, command: Command) => exportPrices(name, optionsOf(command)))
  tariff
    .command('margin')
    .argument('<tariff>', 'which tariff')
    .description('Shows the margins on what carriers take, or adds, replaces or removes one.')
    .option('--prefix <digits>', 'for numbers that begin so')
    .option('--country <code>', 'for numbers of a country, like DE')
    .addOption(classOption('for this class'))
    .option('--percent <n>', 'on top of the cost', percent)
    .option('--fixed <amount>', 'and so much more')
    .option('--minimum <amount>', 'never less than that')
    .addOption(new Option('--position <n>', 'stands there, from 1; else behind all').argParser(whole(1, 1_000)))
    .addOption(new Option('--replace <n>', 'in place of that one').argParser(whole(1, 1_000)).conflicts('position'))
    .addOption(new Option('--remove <n>', 'takes that one away').argParser(whole(1, 1_000)))
    .addHelpText(
      'after',
      `
The first margin that matches a number counts, where no price does: cost and percent and fixed part, or the minimum.

Examples:
  trunkline tariff margin retail
  trunkline tariff margin retail --country DE --percent 20 --minimum 0.03
  trunkline tariff margin retail --remove 1`,
    )
    .action((name: string, _, command: Command) => margin(name, optionsOf<MarginOptions>(command)))
  tariff
    .command('remove')
    .argument('<tariff>', 'which tariff')
    .description('Removes a tariff that no account uses.')
    .option('--yes', 'do not ask')
    .option('--reason <why>', 'for the audit')
    .addHelpText('after', '\nExample:\n  trunkline tariff remove retail')
    .action((name: string, _, command: Command) =>
      remove(name, optionsOf<GlobalOptions & { yes?: boolean; reason?: string }>(command)),
    )
  tariff
    .command('price')
    .description('Tells what a message costs, and by which row.')
    .requiredOption('--to <number>', 'the destination, international')
    .addOption(new Option('--account <account>', 'by the tariff of this account').conflicts('tariff'))
    .option('--tariff <tariff>', 'by this tariff')
    .addOption(classOption('of this class; else as the account sends'))
    .addOption(new Option('--segments <n>', 'of so many segments').argParser(whole(1, 255)))
    .addOption(new Option('--text <text>', 'of this text').conflicts('segments'))
    .addHelpText(
      'after',
      `
Examples:
  trunkline tariff price --account shop --to +4917112345678 --text 'Your parcel is here'
  trunkline tariff price --tariff retail --to +4917112345678 --class otp`,
    )
    .action((_, command: Command) => price(optionsOf<PriceOptions>(command)))
}

const pathOf = (name: string, more = ''): string => `${ROOT}/${encodeURIComponent(name)}${more}`

function percent(word: string): number {
  if (/^-?\d{1,6}(?:\.\d{1,2})?$/.test(word)) return Number(word)
  throw new InvalidArgumentError('It must be a number like 20 or 12.5.')
}

/** `49=0.05` */
function priceOf(word: string): { prefix: string; price: string | null } {
  const [, prefix, price] = /^\s*\+?(\d{1,15}|default)\s*=\s*(\S+)\s*$/.exec(word) ?? []
  if (prefix === undefined || price === undefined) {
    throw new CommandError(EXIT.usage, `${word} is no PREFIX=PRICE, like 49=0.05 or default=0.1`)
  }
  return { prefix, price: price === 'none' ? null : price }
}

const backOf = (words: readonly string[] | undefined): { givesBack?: string[] | null } =>
  words === undefined ? {} : { givesBack: words.includes('default') ? null : words.filter(word => word !== 'none') }

async function list(options: GlobalOptions): Promise<void> {
  const { tariffs } = (await ask(options, { path: ROOT })) as { tariffs: TariffEntry[] }
  if (options.json) return console.log(JSON.stringify(tariffs, null, 2))
  if (tariffs.length === 0) return console.log("no tariffs: 'trunkline tariff create' makes one; messages cost nothing")
  const rows = tariffs.map(one => [one.name, one.prices, one.margins, one.accounts, one.gives_back.join(' ')])
  console.log(table(['name', '>prices', '>margins', '>accounts', 'gives back'], rows))
}

async function show(name: string, options: ShowOptions): Promise<void> {
  const shown = (await ask(options, { path: pathOf(name) })) as TariffShown & { currency: string }
  const query = new URLSearchParams({ prefix: options.prefix, limit: String(options.limit) })
  const { prices, next } = (await ask(options, { path: pathOf(name, `/prices?${query}`) })) as {
    prices: PriceEntry[]
    next: string | null
  }
  if (options.json) return console.log(JSON.stringify({ ...shown, shown_prices: prices }, null, 2))
  const users = shown.accounts > shown.used_by.length ? [...shown.used_by, '…'] : shown.used_by
  console.log(`used by      ${shown.accounts === 0 ? 'no account' : users.join(', ')}`)
  const what = shown.gives_back_taken ? 'also what a carrier had taken' : 'what no carrier has taken'
  console.log(
    `gives back   ${shown.gives_back.length === 0 ? 'nothing' : `after ${shown.gives_back.join(', ')}: ${what}`}`,
  )
  console.log(`prices       ${count(shown.prices)} in ${shown.currency}, of a segment\n`)
  const rows = prices.map(one => [one.prefix, one.class ?? 'every', one.from?.slice(0, 16) ?? '', one.price ?? 'none'])
  if (rows.length > 0) console.log(table(['prefix', 'class', 'from', '>price'], rows))
  if (next !== null) console.log(faint('and more: --prefix, --limit, or trunkline tariff export'))
  const margins = (shown.settings.margins ?? []) as Record<string, unknown>[]
  if (margins.length > 0) console.log(`\n${marginTable(margins)}`)
}

async function create(name: string, words: string[], options: CreateOptions): Promise<void> {
  const body = { name, prices: words.map(priceOf), ...backOf(options.givesBack) }
  const made = (await ask(options, { method: 'POST', path: ROOT, body })) as TariffShown
  console.log(options.json ? JSON.stringify(made, null, 2) : `${name} is there, with prices: ${count(made.prices)}`)
}

async function set(name: string, words: string[], options: SetOptions): Promise<void> {
  const { class: of = null, from = null, unset = [], givesBack } = options
  if (words.length + unset.length === 0 && givesBack === undefined) {
    throw new CommandError(EXIT.usage, 'say what: PREFIX=PRICE, --unset or --gives-back')
  }
  const back = backOf(givesBack)
  if (givesBack !== undefined) await ask(options, { method: 'PATCH', path: pathOf(name), body: back })
  let done = { set: 0, unset: 0 }
  if (words.length + unset.length > 0) {
    const body = {
      set: words.map(word => ({ ...priceOf(word), class: of, from })),
      unset: unset.map(prefix => ({ prefix, class: of, from })),
    }
    done = (await ask(options, { method: 'PATCH', path: pathOf(name, '/prices'), body })) as typeof done
  }
  if (options.json) return console.log(JSON.stringify({ tariff: name, ...done, ...back }))
  console.log(`prices of ${name} that are different now: ${count(done.set)}; taken away: ${count(done.unset)}`)
}

async function margin(name: string, options: MarginOptions): Promise<void> {
  const { prefix, country, percent, fixed, minimum, position, replace, remove } = options
  const rule = { prefix, country, class: options.class, percent, fixed, minimum }
  const hasRule = Object.values(rule).some(value => value !== undefined)
  if (remove !== undefined && (hasRule || replace !== undefined)) {
    throw new CommandError(EXIT.usage, '--remove stands alone')
  }
  const place = `${RULES}/${encodeURIComponent(name)}`
  const question =
    remove !== undefined
      ? ({ method: 'DELETE', path: `${place}/${remove}` } as const)
      : replace !== undefined
        ? ({ method: 'PUT', path: `${place}/${replace}`, body: rule } as const)
        : hasRule
          ? ({ method: 'POST', path: RULES, body: { tariff: name, position, rule } } as const)
          : ({ path: `${RULES}?tariff=${encodeURIComponent(name)}` } as const)
  const { rules } = (await ask(options, question)) as { rules: PricingRule[] }
  if (options.json) return console.log(JSON.stringify(rules, null, 2))
  if (rules.length === 0) return console.log(`${name} has no margins: a number without a price is refused`)
  console.log(marginTable(rules.map(one => one.rule)))
}

function marginTable(margins: readonly Record<string, unknown>[]): string {
  const word = (value: unknown, none: string): string => (value === undefined ? none : String(value))
  const rows = margins.map((one, i) => [
    String(i + 1),
    word(one.prefix, 'any'),
    word(one.country, 'any'),
    word(one.class, 'every'),
    one.percent === undefined ? '' : `${one.percent} %`,
    word(one.fixed, ''),
    word(one.minimum, ''),
  ])
  return table(['>margin', 'prefix', 'country', 'class', '>percent', '>fixed', '>minimum'], rows)
}

async function remove(name: string, options: GlobalOptions & { yes?: boolean; reason?: string }): Promise<void> {
  if (!options.yes && !(await confirmed(`Remove the tariff ${name} with its prices?`))) return
  await ask(options, { method: 'DELETE', path: pathOf(name), body: { reason: options.reason ?? '' } })
  console.log(options.json ? JSON.stringify({ removed: name }) : `${name} is gone`)
}

async function price(options: PriceOptions): Promise<void> {
  const { account, tariff, to, class: of, segments, text } = options
  if (account === undefined && tariff === undefined)
    throw new CommandError(EXIT.usage, 'name an --account or a --tariff')
  const body = { account, tariff, to, class: of, segments, text }
  const quote = (await ask(options, { method: 'POST', path: `${ROOT}/price`, body })) as Quote
  if (options.json) return console.log(JSON.stringify(quote, null, 2))
  const by = quote.tariff === null ? '' : ` by tariff ${quote.tariff}`
  if (quote.micros === null || quote.segment_micros === null) {
    return console.log(`${bad('no price')} for +${quote.to}, ${quote.class}${by}: ${quote.why}`)
  }
  const each = `${quote.segments} × ${unitsText(quote.segment_micros)}`
  console.log(
    `${unitsText(quote.micros)} ${quote.currency} for +${quote.to}, ${quote.class}${by}: ${each}; ${quote.why}`,
  )
  if (quote.row !== null) {
    const { prefix, class: only, from, price } = quote.row
    console.log(table(['prefix', 'class', 'from', '>price'], [[prefix, only ?? 'every', from ?? '', price ?? 'none']]))
  } else if (quote.margin !== null) console.log(marginTable([quote.margin.rule]))
}
