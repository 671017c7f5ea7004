// `trunkline route`: which messages go to which carriers, in the order in which they are asked, and why.

import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Explanation } from '../admin/explain.js'
import type { RouteEntry } from '../admin/lists.js'
import type { ChangedRoute } from '../admin/routing.js'
import { ask } from './ask.js'
import { CommandError, EXIT } from './exit.js'
import { bad, faint, good, strong, table } from './print.js'
import { type GlobalOptions, optionsOf } from './settings.js'

const PATH = '/api/v1/admin/routes'
const CLASSES = ['otp', 'transactional', 'bulk']

export function register(program: Command): void {
  const route = program.command('route').description('Routes: which messages go to which carriers.')
  route
    .command('list')
    .description('Lists the routes in the order in which they are asked; the first that matches takes a message.')
    .addHelpText(
      'after',
      `
Carriers are chosen by order (the second when the first is down), weight, price or quality.

Examples:
  trunkline route list
  trunkline route list --json | jq '.[] | select(.match.destination | index("44"))'`,
    )
    .action((_, command: Command) => list(optionsOf(command)))

  const adding = route
    .command('add')
    .description('Adds a route: at the end, or where --before, --after or --first says.')
    .requiredOption('--to <carriers>', 'its carriers, in their order: up,down or with weights up:3,down:1')
    .option('--name <name>', 'what it is called')
  matching(adding)
  placing(adding)
    .addHelpText(
      'after',
      `
All keys that are given must match; of the values of one key, one must. Without keys it takes everything.

Examples:
  trunkline route add --to up,down --destination 49,43 --name dach --before rest
  trunkline route add --to a,b,c --by quality --class otp --name codes --first
  trunkline route add --to night --time "mon-fri 22:00-06:00 Europe/Berlin" --name night --before rest`,
    )
    .action((_, command: Command) => add(optionsOf<RouteOptions>(command)))

  const editing = route
    .command('edit')
    .argument('<name>', 'of the route, or # and its number')
    .description('Changes a route; what waits for it follows at once.')
    .option('--to <carriers>', 'other carriers')
    .option('--name <name>', 'another name')
  matching(editing)
    .option('--any <keys>', 'keys that shall match everything again: class,time')
    .addHelpText(
      'after',
      `
Examples:
  trunkline route edit dach --to up:3,down:1
  trunkline route edit dach --destination 49 --any class`,
    )
    .action((name: string, _, command: Command) => edit(name, optionsOf<RouteOptions>(command)))

  placing(
    route
      .command('move')
      .argument('<name>', 'of the route, or # and its number')
      .description('Puts a route elsewhere in the order.'),
  )
    .addHelpText(
      'after',
      `
Examples:
  trunkline route move dach --before rest
  trunkline route move dach --first`,
    )
    .action((name: string, _, command: Command) => move(name, optionsOf<RouteOptions>(command)))

  route
    .command('remove')
    .argument('<name>', 'of the route, or # and its number')
    .description('Removes a route; what waits for it goes where other routes send it.')
    .addHelpText('after', '\nExample:\n  trunkline route remove dach')
    .action((name: string, _, command: Command) => remove(name, optionsOf(command)))

  route
    .command('explain')
    .description('Tells step by step what would become of a message, and why; sends nothing.')
    .requiredOption('--account <name>', 'system_id of the account')
    .requiredOption('--to <number>', 'destination address')
    .option('--from <address>', 'source address', '')
    .addOption(new Option('--class <class>', "its class, if not the account's").choices(CLASSES))
    .option('--service-type <type>', 'its service_type', '')
    .option('--carrier <name>', 'the carrier that it names', '')
    .option('--tag <tags>', 'its tags, with commas between them', listed, [])
    .option('--at <time>', 'another moment than now: 2026-11-20T22:30:00+01:00')
    .addHelpText(
      'after',
      `
Exit code 0 if a carrier would get it now, 1 if it would be refused or wait.

Examples:
  trunkline route explain --account shop --to 4915112345678
  trunkline route explain --account shop --to 4915112345678 --from SHOP --class otp --json`,
    )
    .action((_, command: Command) => explain(optionsOf<ExplainOptions>(command)))
}

interface RouteOptions extends GlobalOptions {
  name?: string
  to?: string
  by?: string
  named?: string
  account?: string[]
  group?: string[]
  class?: string[]
  source?: string[]
  destination?: string[]
  country?: string[]
  network?: string[]
  time?: object[]
  tag?: string[]
  carrier?: string[]
  any?: string
  before?: string
  after?: string
  first?: boolean
  last?: boolean
}

interface ExplainOptions extends GlobalOptions {
  account: string
  to: string
  from: string
  class?: string
  serviceType: string
  carrier: string
  tag: string[]
  at?: string
}

const KEYS = [
  'account',
  'group',
  'class',
  'source',
  'destination',
  'country',
  'network',
  'time',
  'tag',
  'carrier',
] as const

const listed = (words: string): string[] => words.split(',').map(word => word.trim())

function matching(command: Command): Command {
  return command
    .option('--account <names>', 'accounts, by system_id; of all keys several values with commas between them', listed)
    .option('--group <names>', 'groups of accounts', listed)
    .option('--class <classes>', 'otp, transactional, bulk', listed)
    .option('--source <prefixes>', 'what the source address begins with', listed)
    .option('--destination <prefixes>', "first digits of the destination, with its country's", listed)
    .option('--country <codes>', 'countries of the destination: DE,AT', listed)
    .option('--network <codes>', 'its networks, MCC-MNC or MCC alone: 262-01,232', listed)
    .option('--time <window>', '"[days] HH:MM-HH:MM [zone]"; may be given again', windows)
    .option('--tag <tags>', 'tags of the message', listed)
    .option('--carrier <names>', 'carriers that the message itself names', listed)
    .addOption(new Option('--by <what>', 'how a carrier is chosen').choices(['order', 'weight', 'price', 'quality']))
    .addOption(
      new Option('--named <which>', 'which carriers a message may name: those of the route, or any').choices([
        'listed',
        'any',
      ]),
    )
}

function placing(command: Command): Command {
  return command
    .option('--before <name>', 'stand before this route')
    .option('--after <name>', 'stand after this route')
    .option('--first', 'stand before all others')
    .option('--last', 'stand after all others')
}

const DAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun']
const WINDOW = /^(?:([a-z,-]+)\s+)?(\d\d:\d\d)-(\d\d:\d\d)(?:\s+(\S+))?$/

/** `mon-fri,sun 08:00-20:00 Europe/Berlin` */
function windows(word: string, before: object[] = []): object[] {
  const [, days, from, to, zone] = WINDOW.exec(word.trim()) ?? []
  if (from === undefined) throw new InvalidArgumentError('It must be like "mon-fri 08:00-20:00 Europe/Berlin".')
  return [
    ...before,
    { ...(days === undefined ? {} : { days: daysOf(days) }), from, to, ...(zone === undefined ? {} : { zone }) },
  ]
}

function daysOf(words: string): string[] {
  return words.split(',').flatMap(word => {
    const [first = '', last = first] = word.split('-')
    const [from, to] = [DAYS.indexOf(first), DAYS.indexOf(last)]
    if (from < 0 || to < 0) throw new InvalidArgumentError('Days are mon, tue, wed, thu, fri, sat and sun.')
    return from <= to ? DAYS.slice(from, to + 1) : [...DAYS.slice(from), ...DAYS.slice(0, to + 1)]
  })
}

function targetsOf(words: string): (string | { carrier: string; weight: number })[] {
  return listed(words).map(word => {
    const [, carrier = word, weight] = /^(.+):(\d+)$/.exec(word) ?? []
    return weight === undefined ? word : { carrier, weight: Number(weight) }
  })
}

function placeOf({ before, after, first, last }: RouteOptions): Record<string, unknown> {
  const place = Object.entries({ before, after, first, last }).filter(([, value]) => value !== undefined)
  if (place.length > 1) throw new CommandError(EXIT.usage, 'give one of --before, --after, --first and --last')
  return Object.fromEntries(place)
}

/** What a route is made of, as far as the options say. */
function givenOf(options: RouteOptions): Record<string, unknown> {
  const { name, to, by, named, any } = options
  const match: Record<string, unknown> = {}
  for (const key of any === undefined ? [] : listed(any)) {
    if (!(KEYS as readonly string[]).includes(key)) {
      throw new CommandError(EXIT.usage, `--any takes ${KEYS.join(', ')}, not ${key}`)
    }
    match[key] = null
  }
  for (const key of KEYS) if (options[key] !== undefined) match[key] = options[key]
  return {
    ...(name === undefined ? {} : { name }),
    ...(Object.keys(match).length === 0 ? {} : { match }),
    ...(to === undefined ? {} : { to: targetsOf(to) }),
    ...(by === undefined ? {} : { by }),
    ...(named === undefined ? {} : { named }),
  }
}

const pathOf = (name: string): string => `${PATH}/${encodeURIComponent(name)}`

async function add(options: RouteOptions): Promise<void> {
  const body = { ...givenOf(options), ...placeOf(options) }
  shown(options, 'added', await ask(options, { method: 'POST', path: PATH, body }))
}

async function edit(name: string, options: RouteOptions): Promise<void> {
  const body = givenOf(options)
  if (Object.keys(body).length === 0) {
    throw new CommandError(EXIT.usage, "say what to change: 'trunkline route edit --help' lists the options")
  }
  shown(options, 'changed', await ask(options, { method: 'PATCH', path: pathOf(name), body }))
}

async function move(name: string, options: RouteOptions): Promise<void> {
  const body = placeOf(options)
  if (Object.keys(body).length === 0) {
    throw new CommandError(EXIT.usage, 'say where to: --before NAME, --after NAME, --first or --last')
  }
  shown(options, 'moved', await ask(options, { method: 'POST', path: `${pathOf(name)}/move`, body }))
}

async function remove(name: string, options: GlobalOptions): Promise<void> {
  const answer = (await ask(options, { method: 'DELETE', path: pathOf(name) })) as { waiting: number }
  if (options.json) return console.log(JSON.stringify(answer))
  const rest =
    answer.waiting === 0 ? '' : `; ${answer.waiting} messages that wait for it go where other routes send them`
  console.log(`removed ${name}${rest}`)
}

function shown(options: GlobalOptions, what: string, answer: unknown): void {
  if (options.json) {
    console.log(JSON.stringify(answer))
    return
  }
  const { position, name, match, to, by, notes, changed } = answer as ChangedRoute & { changed?: boolean }
  const how = changed === false ? 'unchanged' : what
  console.log(`${how} ${strong(name)}, route ${position}: ${matches(match)} to ${targets(to)} by ${by}`)
  for (const note of notes) console.log(`note: ${note}`)
}

async function list(options: GlobalOptions): Promise<void> {
  const { routes } = (await ask(options, { path: PATH })) as { routes: RouteEntry[] }
  if (options.json) return console.log(JSON.stringify(routes, null, 2))
  if (routes.length === 0)
    return console.log(
      "no routes, so every message is refused: 'trunkline route add' makes one, 'trunkline apply FILE' some",
    )
  const rows = routes.map(({ position, name, match, to, by }) => [
    String(position),
    name,
    matches(match),
    targets(to),
    by,
  ])
  console.log(table(['>', 'route', 'matches', 'to', 'by'], rows))
}

function matches(match: RouteEntry['match']): string {
  const parts = Object.entries(match)
    .filter(([, values]) => values.length > 0)
    .map(([name, values]) => {
      const words = values.slice(0, MOST).map(value => (typeof value === 'string' ? value : windowWords(value)))
      return `${name} ${words.join(', ')}${values.length > MOST ? ', ...' : ''}`
    })
  return parts.length === 0 ? 'everything' : parts.join('; ')
}

const windowWords = ({ days, from, to, zone }: RouteEntry['match']['time'][number]): string =>
  `${days.length === 0 ? '' : `${days.join(' ')} `}${from}-${to} ${zone}`

/** Values of a match on the screen; --json has all. */
const MOST = 5

function targets(to: RouteEntry['to']): string {
  return to
    .map(({ carrier, weight, up }) => `${carrier}${weight === null ? '' : `:${weight}`}${up ? '' : bad(' (down)')}`)
    .join(', ')
}

// ---- explain

async function explain(options: ExplainOptions): Promise<void> {
  const { account, to, from, class: rank, serviceType: service_type, carrier, tag: tags, at } = options
  const body = {
    account,
    to,
    from,
    service_type,
    carrier,
    tags,
    ...(rank ? { class: rank } : {}),
    ...(at ? { at } : {}),
  }
  const told = (await ask(options, { method: 'POST', path: `${PATH}/explain`, body })) as Explanation
  if (told.outcome !== 'routed') process.exitCode = EXIT.failed
  if (options.json) return console.log(JSON.stringify(told, null, 2))
  for (const { step, ok, text } of told.steps) {
    if (step === 'route') for (const line of ruleLines(told)) console.log(line)
    if (step === 'carrier' && told.candidates.length > 0) console.log(candidates(told))
    console.log(line(step, ok ? text : bad(text)))
  }
  console.log(line('outcome', told.outcome === 'routed' ? good(`goes to ${told.carrier}`) : bad(told.outcome)))
}

const line = (step: string, text: string): string => `${strong(step.padEnd(12))} ${text}`

function* ruleLines({ rules }: Explanation): Generator<string> {
  for (const { route, takes, why } of rules) if (!takes) yield faint(`${''.padEnd(12)} not ${route}: ${why}`)
}

function candidates({ candidates: all }: Explanation): string {
  const rows = all.map(one => [
    one.chosen ? '*' : '',
    one.carrier,
    one.up ? good('up') : bad('down'),
    one.weight ?? '-',
    one.price === null ? '-' : String(one.price),
    one.delivery_rate === null ? '-' : `${(one.delivery_rate * 100).toFixed(1)} %`,
    one.receipt_median_ms === null ? '-' : `${one.receipt_median_ms / 1000} s`,
    one.samples,
    one.score === null ? '-' : String(one.score),
  ])
  const lines = table(['', 'carrier', '', '>weight', '>price', '>delivered', '>receipt', '>of', '>score'], rows)
  return lines.replace(/^/gm, ''.padEnd(13))
}
