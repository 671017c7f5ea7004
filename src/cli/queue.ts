// `trunkline queue`: what waits, by route and message by message, and what may be done to it. Asks before it ends anything.

import { type Command, Option } from 'commander'
import type { CountedLane, QueuePage, WorkLine } from '../admin/queue.js'
import type { QueuedMessage } from '../admin/queued.js'
import type { QueueStatus } from '../admin/status.js'
import { messageClasses } from '../model/message.js'
import { whole } from './arguments.js'
import { ask } from './ask.js'
import { CommandError, EXIT } from './exit.js'
import { count, duration, faint, table } from './print.js'
import { type GlobalOptions, optionsOf } from './settings.js'
import { confirmed, Progress, work } from './works.js'

interface Filter {
  account?: string
  carrier?: string
  route?: string
  class?: string
}

interface WorkOptions extends Filter {
  id?: string[]
  all?: boolean
  yes?: boolean
  dryRun?: boolean
}

interface ShowOptions extends Filter {
  state: string
  limit: number
}

interface MoveOptions extends WorkOptions {
  from?: string
  to: string
}

const ROOT = '/api/v1/admin/queue'
const MOST_SHOWN = 100_000
const PAGE = 200

export function register(program: Command): void {
  const queue = program.command('queue').description('What waits: by route, by message; tried again, ended, moved.')

  filtered(queue.command('list', { isDefault: true }))
    .description(
      'Shows what waits, by route and class, with the age of the oldest; with a filter, all it has by state.',
    )
    .addHelpText(
      'after',
      `
Examples:
  trunkline queue
  trunkline queue list --account shop
  trunkline queue --json | jq '[.lanes[] | select(.class == "otp") | .oldest_s] | max'`,
    )
    .action((_, command: Command) => list(optionsOf<Filter>(command)))

  filtered(queue.command('show'))
    .description('Shows waiting messages, the oldest first, with why and when they are tried again.')
    .addOption(
      new Option('--state <state>', 'waiting: all that no carrier has taken; due: to be tried again or scheduled')
        .choices(['waiting', 'due', 'sent', 'any'])
        .default('waiting'),
    )
    .addOption(new Option('--limit <n>', 'so many').argParser(whole(1, MOST_SHOWN)).default(50))
    .addHelpText(
      'after',
      `
Examples:
  trunkline queue show --account shop --state due
  trunkline queue show --carrier acme --limit 500 --json | jq -r '.[] | select(.attempts > 3) | .id'`,
    )
    .action((_, command: Command) => show(optionsOf<ShowOptions>(command)))

  chosen(queue.command('retry'))
    .description('Tries messages at once that wait to be tried again.')
    .addHelpText(
      'after',
      `
Messages that wait for the hour that their sender gave go on waiting.

Examples:
  trunkline queue retry --carrier acme
  trunkline queue retry --id 1234567890123456 1234567890123457`,
    )
    .action((_, command: Command) => retry(optionsOf<WorkOptions>(command)))

  chosen(queue.command('cancel'))
    .description(
      'Ends waiting messages as DELETED and tells their senders, if they asked. Asks first, with their number.',
    )
    .option('--yes', 'do not ask')
    .addHelpText(
      'after',
      `
Messages that a carrier has in hand are left.

Examples:
  trunkline queue cancel --account shop --class bulk --dry-run
  trunkline queue cancel --route north --yes`,
    )
    .action((_, command: Command) => cancel(optionsOf<WorkOptions>(command)))

  chosen(queue.command('move').requiredOption('--to <route>', 'to which route'), false)
    .description('Gives waiting messages another route, at the end of what waits there.')
    .option('--from <route>', 'those of this route')
    .addHelpText(
      'after',
      `
A route stands for what it is called, or for its number: #7.

Examples:
  trunkline queue move --from north --to south
  trunkline queue move --from north --class bulk --to south
  trunkline queue move --id 1234567890123456 --to south`,
    )
    .action((_, command: Command) => move(optionsOf<MoveOptions>(command)))
}

function filtered(command: Command, withRoute = true): Command {
  command
    .option('--account <system_id>', 'of this account')
    .option('--carrier <name>', 'that may go to this carrier, or went there')
  if (withRoute) command.option('--route <name>', 'of this route')
  return command.addOption(new Option('--class <class>', 'of this class').choices(messageClasses))
}

function chosen(command: Command, withRoute = true): Command {
  return filtered(command, withRoute)
    .option('--id <id...>', 'these')
    .option('--all', 'all there are')
    .option('--dry-run', 'count them and change nothing')
}

const filterOf = ({ account, carrier, route, class: of }: Filter): Filter => ({
  ...(account === undefined ? {} : { account }),
  ...(carrier === undefined ? {} : { carrier }),
  ...(route === undefined ? {} : { route }),
  ...(of === undefined ? {} : { class: of }),
})

async function list(options: Filter & GlobalOptions): Promise<void> {
  const filter = filterOf(options)
  if (Object.keys(filter).length > 0) return listed(filter, options)
  const now = (await ask(options, { path: ROOT })) as QueueStatus
  if (options.json) return console.log(JSON.stringify(now, null, 2))
  if (now.lanes.length > 0) {
    const rows = now.lanes.map(lane => [
      lane.route,
      lane.class,
      lane.waiting,
      lane.oldest_s === null ? '-' : duration(lane.oldest_s),
    ])
    console.log(`${table(['route', 'class', '>waiting', '>oldest'], rows)}\n`)
  }
  console.log(
    [
      [now.waiting, 'waiting for a carrier'],
      [now.claimed, 'in hand: sent over a link and not answered, or about to be'],
      [now.due, 'scheduled, or to be tried again later'],
      [now.sent, 'accepted by a carrier, receipts awaited'],
      [now.outbox, 'receipts and replies that customers have not taken'],
      [now.unclaimed, 'replies that belong to no account'],
      [now.parked, 'receipts that came before the answer they belong to'],
      [now.log_rows, 'history rows that are not in the database'],
    ]
      .map(([n, words]) => `${count(n as number).padStart(12)}  ${n === 0 ? faint(words as string) : words}`)
      .join('\n'),
  )
}

async function listed(filter: Filter, options: GlobalOptions): Promise<void> {
  const progress = new Progress()
  const { lanes } = await work<{ lanes: CountedLane[] }, WorkLine>(
    options,
    { method: 'POST', path: `${ROOT}/count`, body: filter },
    ({ looked = 0, matched }) => progress.show(`${count(looked)} looked at, ${count(matched)} found`),
  ).finally(() => progress.end())
  if (options.json) return console.log(JSON.stringify(lanes, null, 2))
  if (lanes.length === 0) return console.log('nothing waits')
  const rows = lanes.map(lane => [lane.route, lane.class, STATES[lane.state], lane.count, duration(lane.oldest_s)])
  console.log(table(['route', 'class', '', '>messages', '>oldest'], rows))
}

const STATES: Readonly<Record<QueuedMessage['state'], string>> = {
  waiting: 'waiting',
  due: 'to be tried again',
  scheduled: 'scheduled',
  parts: 'waiting for parts',
  in_hand: 'in hand',
  sent: 'receipt awaited',
}

async function show(options: ShowOptions & GlobalOptions): Promise<void> {
  const messages: QueuedMessage[] = []
  const progress = new Progress()
  for (let after: number | null = 0; after !== null && messages.length < options.limit; ) {
    const query = new URLSearchParams({
      ...filterOf(options),
      state: options.state,
      after: String(after),
      limit: String(Math.min(PAGE, options.limit - messages.length)),
    } as Record<string, string>)
    const page = (await ask(options, { path: `${ROOT}/messages?${query}` })) as QueuePage
    messages.push(...page.messages)
    after = page.next
    progress.show(`${count(messages.length)} found`)
  }
  progress.end()
  if (options.json) return console.log(JSON.stringify(messages, null, 2))
  if (messages.length === 0) return console.log('nothing waits')
  const rows = messages.map(m => [
    m.id,
    m.account,
    m.class,
    m.route,
    m.source,
    m.destination,
    duration(m.age_s),
    m.attempts,
    standOf(m),
    m.last_failure === null ? '' : `${m.last_failure.code} by ${m.last_failure.carrier}`,
  ])
  const columns = ['id', 'account', 'class', 'route', 'from', 'to', '>age', '>tries', '', 'last failure']
  console.log(table(columns, rows))
}

const standOf = (m: QueuedMessage): string =>
  m.next_try === null ? STATES[m.state] : `${STATES[m.state]} at ${m.next_try.slice(0, 19).replace('T', ' ')}`

async function retry(options: WorkOptions & GlobalOptions): Promise<void> {
  const result = await worked('retry', {}, options)
  told(result, options, ['would be tried at once', 'are tried at once'])
}

async function cancel(options: WorkOptions & GlobalOptions): Promise<void> {
  if (!options.yes && !options.dryRun) {
    const { done } = await worked('cancel', {}, { ...options, dryRun: true })
    if (done === 0) return told({ matched: 0, done: 0 }, options, ['', 'were ended'])
    if (!(await confirmed(`End ${count(done)} waiting messages as DELETED?`))) return
  }
  const result = await worked('cancel', {}, options)
  told(result, options, ['would be ended', 'were ended'])
}

async function move({ from, to, ...options }: MoveOptions & GlobalOptions): Promise<void> {
  const result = await worked('move', { to }, { ...options, ...(from === undefined ? {} : { route: from }) })
  told(result, options, ['would move', 'have moved'])
}

function worked(verb: string, more: object, options: WorkOptions & GlobalOptions): Promise<WorkLine> {
  const filter = filterOf(options)
  const { id, all = false, dryRun = false } = options
  if (Object.keys(filter).length === 0 && id === undefined && !all) {
    throw new CommandError(EXIT.usage, 'name an account, a carrier, a route, a class or ids, or say --all')
  }
  const progress = new Progress()
  const body = { ...filter, ...more, ...(id === undefined ? {} : { id }), all, dry_run: dryRun }
  return work<WorkLine, WorkLine>(options, { method: 'POST', path: `${ROOT}/${verb}`, body }, line =>
    progress.show(`${count(line.looked ?? 0)} looked at, ${count(line.done)} of ${count(line.matched)} done`),
  ).finally(() => progress.end())
}

function told(result: WorkLine, options: WorkOptions & GlobalOptions, [dry, done]: [string, string]): void {
  if (options.json) {
    console.log(JSON.stringify(result))
    return
  }
  const left = result.left ?? 0
  const rest = left === 0 ? '' : `; ${count(left)} were left: a carrier has them, or they were over`
  console.log(`${count(result.done)} messages ${options.dryRun ? dry : done}${rest}`)
}
