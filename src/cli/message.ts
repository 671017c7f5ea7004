// `trunkline message`: one message with its whole way, lists of those that were, and cancelling those that still wait.

import { type Command, Option } from 'commander'
import type { Canceled } from '../admin/api/cancelling.js'
import type { MessageEntry, MessagePage, MessageStory } from '../admin/messages.js'
import { ago, moment, whole } from './arguments.js'
import { ask } from './ask.js'
import { CommandError, EXIT } from './exit.js'
import { bad, faint, good, strong, table } from './print.js'
import { type GlobalOptions, optionsOf } from './settings.js'
import { confirmed } from './works.js'

interface ListOptions {
  account?: string
  number?: string
  state?: string
  since?: Date
  from?: Date
  to?: Date
  limit: number
}

interface CancelOptions {
  account?: string
  batch?: string
  reason?: string
  yes?: boolean
}

const ROOT = '/api/v1/admin/messages'
const MOST_SHOWN = 100_000
const PAGE = 500

export function register(program: Command): void {
  const message = program
    .command('message')
    .description('Messages: where they are, what became of them, and calling them back.')
  message
    .command('show')
    .argument('<id>', 'as it was answered: 16 decimal digits, or 14 hexadecimal ones')
    .description('Shows a message and its whole way, whether it still waits or is over.')
    .option('--text', 'its text too, while it waits; on the machine of the daemon only')
    .addHelpText(
      'after',
      `
What carriers answered to single tries is remembered for the last 65,536 answers and failures, and not over a restart.

Examples:
  trunkline message show 1234567890123456
  trunkline message show 1234567890123456 --json | jq '.way[] | .at + " " + .event'`,
    )
    .action((id: string, _, command: Command) => show(id, optionsOf<{ text?: boolean }>(command)))
  message
    .command('list')
    .description('Lists messages, the newest first, of the last day if nothing else is said.')
    .option('--account <system_id>', 'of this account')
    .option('--number <number>', 'from or to this address')
    .option('--state <state>', 'DELIVERED, UNDELIVERABLE, …; ENROUTE: not over yet')
    .addOption(new Option('--since <time>', 'accepted so long ago at most, such as 90m, 2h or 3d').argParser(ago))
    .addOption(new Option('--from <moment>', 'accepted then or later, ISO 8601').argParser(moment).conflicts('since'))
    .addOption(new Option('--to <moment>', 'accepted before').argParser(moment))
    .addOption(new Option('--limit <n>', 'so many').argParser(whole(1, MOST_SHOWN)).default(50))
    .addHelpText(
      'after',
      `
Examples:
  trunkline message list --account shop --since 1h
  trunkline message list --number 254700000001 --from 2026-01-31T08:00Z --to 2026-02-01
  trunkline message list --account shop --state UNDELIVERABLE --json | jq -r '.[].error' | sort | uniq -c`,
    )
    .action((_, command: Command) => list(optionsOf<ListOptions>(command)))
  message
    .command('cancel')
    .argument('[id...]', 'which messages, by their ids')
    .description('Ends messages that still wait as DELETED and tells their senders, if they asked.')
    .option('--account <system_id>', 'whose batch it is')
    .option('--batch <id>', 'all that waits of this batch: batch_id, as it was answered over HTTP')
    .option('--reason <why>', 'for the audit')
    .option('--yes', 'do not ask')
    .addHelpText(
      'after',
      `
What a carrier has in hand cannot be called back: it is left, and the command ends with 1 where that is all there was.
By account, carrier, route or class: trunkline queue cancel.

Examples:
  trunkline message cancel 1234567890123456
  trunkline message cancel --account shop --batch 1234567890123456 --reason 'the wrong list'
  trunkline message list --account shop --state ENROUTE --json | jq -r '.[].id' | xargs trunkline message cancel`,
    )
    .action((ids: string[], _, command: Command) => cancel(ids, optionsOf<CancelOptions>(command)))
}

async function cancel(ids: readonly string[], options: CancelOptions & GlobalOptions): Promise<void> {
  const { account, batch, reason, yes } = options
  const isBatch = account !== undefined && batch !== undefined
  if (ids.length > 0 === isBatch || (account === undefined) !== (batch === undefined)) {
    throw new CommandError(EXIT.usage, 'name messages by their ids, or a batch: --account and --batch')
  }
  if (isBatch && !yes && !(await confirmed(`Cancel all that waits of batch ${batch} of ${account}?`))) return
  const body = { ...(isBatch ? { account, batch } : { ids }), ...(reason === undefined ? {} : { reason }) }
  const done = (await ask(options, { method: 'POST', path: `${ROOT}/cancel`, body })) as Canceled
  if (done.canceled === 0) process.exitCode = EXIT.failed
  if (options.json) return console.log(JSON.stringify(done, null, 2))
  for (const { id, became } of done.messages) {
    console.log(`${id}  ${became === 'canceled' ? good('canceled') : bad(NOT_CANCELED[became])}`)
  }
  if (isBatch) console.log(`canceled: ${done.canceled}, with a carrier: ${done.left}, over before: ${done.over}`)
}

const NOT_CANCELED = { left: 'is with a carrier', over: 'is over, or unknown' } as const

async function list(options: ListOptions & GlobalOptions): Promise<void> {
  const { account, number, state, since, from = since, to, limit } = options
  const found: MessageEntry[] = []
  for (let before: string | null = ''; before !== null && found.length < limit; ) {
    const query = new URLSearchParams({
      ...(account === undefined ? {} : { account }),
      ...(number === undefined ? {} : { number: number.replace(/^\+/, '') }),
      ...(state === undefined ? {} : { state: state.toUpperCase() }),
      ...(from === undefined ? {} : { from: from.toISOString() }),
      ...(to === undefined ? {} : { to: to.toISOString() }),
      ...(before === '' ? {} : { before }),
      limit: String(Math.min(PAGE, limit - found.length)),
    })
    const page = (await ask(options, { path: `${ROOT}?${query}` })) as MessagePage
    found.push(...page.messages)
    before = page.next
  }
  if (options.json) return console.log(JSON.stringify(found, null, 2))
  if (found.length === 0) return console.log('no message is like that')
  const rows = found.map(m => [
    m.id,
    timeOf(m.accepted_at),
    m.account,
    m.source,
    m.destination,
    stateWord(m.state),
    m.error,
    m.carrier ?? '-',
    m.segments,
  ])
  console.log(table(['id', 'accepted', 'account', 'from', 'to', 'state', 'error', 'carrier', '>segments'], rows))
}

async function show(id: string, options: { text?: boolean } & GlobalOptions): Promise<void> {
  const query = options.text ? '?text=true' : ''
  const story = (await ask(options, { path: `${ROOT}/${encodeURIComponent(id)}${query}` })) as MessageStory
  console.log(options.json ? JSON.stringify(story, null, 2) : screen(story, options.text === true))
}

function screen(m: MessageStory, withText: boolean): string {
  const facts: [string, string][] = [
    ['account', `${m.account}, ${m.class}`],
    ['from, to', `${m.source} → ${m.destination}`],
    ['route', `${m.route}${m.carrier === null ? '' : `, carrier ${m.carrier}`}`],
    ['price', `${(m.price_micros / 1e6).toFixed(6)} for segments: ${m.segments}`],
  ]
  if (m.client_ref !== '') facts.push(['reference', m.client_ref])
  if (m.scheduled_for !== null) facts.push(['scheduled', timeOf(m.scheduled_for)])
  if (m.valid_until !== null) facts.push(['valid until', timeOf(m.valid_until)])
  if (m.attempts !== null) facts.push(['tries', `not accepted: ${m.attempts}`])
  if (m.receipt.asked !== null) {
    facts.push(['receipt', m.receipt.asked ? `asked for; ${m.receipt.stands}` : 'not asked for'])
  }
  if (withText) facts.push(['text', m.text ?? faint('is kept only while it waits for a carrier')])
  const way = m.way.map(({ at, event, detail }) => [at === null ? faint('-') : timeOf(at, true), event, detail])
  return [
    `${strong(m.id)}  ${stateWord(m.state)}${m.error === '' ? '' : `, error ${m.error}`}`,
    ...facts.map(([name, words]) => `${name.padEnd(12)}${words}`),
    '',
    table(['when', 'what', ''], way),
  ].join('\n')
}

function stateWord(state: string): string {
  if (state === 'DELIVERED' || state === 'ACCEPTED') return good(state)
  return state === 'ENROUTE' ? state : bad(state)
}

/** In UTC, as everywhere. */
const timeOf = (at: string, withMs = false): string => at.slice(0, withMs ? 23 : 19).replace('T', ' ')
