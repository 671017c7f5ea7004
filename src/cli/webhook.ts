// `trunkline webhook`: where an account is told what happened, whether it is taken there, and what to do when it was not.

import { type Command, InvalidArgumentError, Option } from 'commander'
import type { WebhookEntry, WebhookFailurePage, WebhookReplayed, WebhookTested } from '../admin/api/webhookShapes.js'
import { ago, moment, whole } from './arguments.js'
import { ask, type Question } from './ask.js'
import { CommandError, EXIT } from './exit.js'
import { bad, count, faint, good, table } from './print.js'
import { type GlobalOptions, optionsOf } from './settings.js'
import { confirmed, Progress } from './works.js'

type Options = GlobalOptions & { account: string }
interface AddOptions extends Options {
  events?: string[]
  timeout?: number
  atOnce?: number
  attempts?: number
}
interface ReplayOptions extends Options {
  all?: boolean
  numbers?: number[]
  since?: Date
  from?: Date
  to?: Date
}

/** A webhook may take 120 s. */
const TEST_SILENCE_MS = 130_000
const MOST_SHOWN = 10_000
const PAGE = 200

export function register(program: Command): void {
  const webhook = program
    .command('webhook')
    .description('Webhooks: where accounts are told what happened, over HTTP.')
    .addHelpText(
      'after',
      `
Events are signed as Standard Webhooks has it: webhook-id, webhook-timestamp, webhook-signature. What is not taken is tried
again for hours and days (webhooks.retryMs), then put aside for 30 days; a receiver that has failed for days is switched off.

Examples:
  trunkline webhook add --account shop https://shop.example/hook --events message.delivered message.undelivered
  trunkline webhook test --account shop 3
  trunkline webhook failures --account shop 3
  trunkline webhook replay --account shop 3 --since 6h`,
    )
  const of = (name: string): Command => webhook.command(name).requiredOption('--account <system_id>', 'whose it is')
  of('list')
    .description('Lists the webhooks of an account.')
    .action((_, command: Command) => list(optionsOf<Options>(command)))
  of('add')
    .argument('<url>', 'https, or http within the networks of webhooks.allow')
    .description('Adds a webhook and shows its secret, once.')
    .option('--events <type...>', 'message.delivered, message.*; everything if left out')
    .option('--timeout <ms>', 'for an answer', whole(100, 120_000))
    .option('--at-once <n>', 'events on their way at one time; 1 keeps them in order', whole(1, 64))
    .option('--attempts <n>', 'tries of one event before it is put aside', whole(1, 100))
    .action((url: string, _, command: Command) => add(url, optionsOf<AddOptions>(command)))
  of('test')
    .argument('<id>', 'of the webhook', id)
    .description('Sends webhook.test now and says what came of it. Exit code 1 when it was not taken.')
    .action((id: number, _, command: Command) => test(id, optionsOf<Options>(command)))
  of('rotate')
    .argument('<id>', 'of the webhook', id)
    .description('Gives it a new secret and shows it, once; the old one signs as well for a while.')
    .option('--keep <hours>', 'so long the old one signs', whole(0, 168), 24)
    .action((id: number, _, command: Command) => rotate(id, optionsOf<Options & { keep: number }>(command)))
  of('enable')
    .argument('<id>', 'of the webhook', id)
    .description('Switches a webhook on again, or tries one at once that is left alone for a while.')
    .action((id: number, _, command: Command) => enable(id, optionsOf<Options>(command)))
  of('remove')
    .argument('<id>', 'of the webhook', id)
    .description('Removes a webhook, with what waits for it and what was given up.')
    .option('--yes', 'do not ask')
    .action((id: number, _, command: Command) => remove(id, optionsOf<Options & { yes?: boolean }>(command)))
  of('failures')
    .argument('[id]', 'of the webhook; left out: all of the account, and what no callback_url took', id)
    .description('Shows events that were given up, newest first.')
    .option('--limit <n>', 'so many', whole(1, MOST_SHOWN), 50)
    .action((id: number | undefined, _, command: Command) => {
      return failures(id, optionsOf<Options & { limit: number }>(command))
    })
  of('replay')
    .argument('<id>', 'of the webhook', id)
    .description(
      'Sends events again: what was given up, or the ends of messages of a time, with the ids of the first time.',
    )
    .option('--all', 'all that was given up')
    .option('--numbers <n...>', "what was given up, by its numbers in 'webhook failures'", numbers)
    .addOption(new Option('--since <time>', 'ends of messages since so long ago, such as 90m or 3d').argParser(ago))
    .addOption(new Option('--from <moment>', 'ends since then, ISO 8601').argParser(moment).conflicts('since'))
    .addOption(new Option('--to <moment>', 'and before then; now if left out').argParser(moment))
    .action((id: number, _, command: Command) => replay(id, optionsOf<ReplayOptions>(command)))
}

const id = (word: string): number => whole(1, 2_147_483_647)(word)

function numbers(word: string, before: number[] = []): number[] {
  if (!/^\d{1,15}$/.test(word)) throw new InvalidArgumentError('It must be a number of a failure.')
  return [...before, Number(word)]
}

function asked<T>(options: Options, path: string, more: Omit<Question, 'path'> = {}): Promise<T> {
  const root = `/api/v1/admin/accounts/${encodeURIComponent(options.account)}/webhooks`
  return ask(options, { path: root + path, ...more }) as Promise<T>
}

async function list(options: Options): Promise<void> {
  const { webhooks } = await asked<{ webhooks: WebhookEntry[] }>(options, '')
  if (options.json) return console.log(JSON.stringify(webhooks, null, 2))
  if (webhooks.length === 0) return console.log(`${options.account} has no webhooks`)
  const rows = webhooks.map(one => [
    one.id,
    one.url,
    one.events.length === 0 ? 'everything' : one.events.join(', '),
    one.enabled ? good('on') : bad(`off: ${one.disabled_because}`),
    one.at_once,
  ])
  console.log(table(['>id', 'url', 'events', 'is', '>at once'], rows))
}

async function add(url: string, options: AddOptions): Promise<void> {
  const body = {
    url,
    events: options.events,
    timeout_ms: options.timeout,
    at_once: options.atOnce,
    attempts: options.attempts,
  }
  const added = await asked<WebhookEntry & { secret: string }>(options, '', { method: 'POST', body })
  if (options.json) return console.log(JSON.stringify(added, null, 2))
  console.log(`webhook ${added.id}, secret (shown only now):\n${added.secret}`)
  console.log(faint(`try it: trunkline webhook test --account ${options.account} ${added.id}`))
}

async function test(id: number, options: Options): Promise<void> {
  const tested = await asked<WebhookTested>(options, `/${id}/test`, { method: 'POST', silenceMs: TEST_SILENCE_MS })
  if (options.json) console.log(JSON.stringify(tested, null, 2))
  else if (tested.taken) console.log(good(`taken: HTTP ${tested.status} after ${count(tested.ms)} ms`))
  if (tested.taken) return
  throw new CommandError(EXIT.failed, `not taken: ${tested.reason} after ${count(tested.ms)} ms${advice(tested)}`)
}

const ADVICE: Readonly<Record<string, string>> = {
  OUT_OF_REACH: ': the address is none that webhooks may reach; webhooks.allow names networks of yours',
  TIMEOUT: ': the receiver must answer within timeout_ms, before it works on the event',
  ENOTFOUND: ': there is no such name',
  ECONNREFUSED: ': nobody listens there',
}
const advice = ({ reason }: WebhookTested): string => ADVICE[reason ?? ''] ?? ''

async function rotate(id: number, options: Options & { keep: number }): Promise<void> {
  const body = { keep_hours: options.keep }
  const rotated = await asked<WebhookEntry & { secret: string }>(options, `/${id}/rotate`, { method: 'POST', body })
  if (options.json) return console.log(JSON.stringify(rotated, null, 2))
  console.log(`new secret (shown only now):\n${rotated.secret}`)
  if (options.keep > 0) console.log(`the old one signs as well until ${rotated.old_secret_until}`)
}

async function enable(id: number, options: Options): Promise<void> {
  const entry = await asked<WebhookEntry>(options, `/${id}/enable`, { method: 'POST' })
  console.log(options.json ? JSON.stringify(entry, null, 2) : `webhook ${id} is on`)
}

async function remove(id: number, options: Options & { yes?: boolean }): Promise<void> {
  const one = await asked<WebhookEntry>(options, `/${id}`)
  if (!options.yes && !(await confirmed(`Remove the webhook to ${one.url}?`))) {
    throw new CommandError(EXIT.failed, 'nothing was changed')
  }
  await asked(options, `/${id}`, { method: 'DELETE' })
  console.log(options.json ? JSON.stringify({ removed: id }) : `webhook ${id} is gone`)
}

async function failures(id: number | undefined, options: Options & { limit: number }): Promise<void> {
  const found: WebhookFailurePage['failures'] = []
  const path = id === undefined ? '/failures' : `/${id}/failures`
  for (let before: number | null | undefined; before !== null && found.length < options.limit; ) {
    const limit = Math.min(PAGE, options.limit - found.length)
    const page: WebhookFailurePage = await asked(
      options,
      `${path}?limit=${limit}${before === undefined ? '' : `&before=${before}`}`,
    )
    found.push(...page.failures)
    before = page.next
  }
  if (options.json) return console.log(JSON.stringify(found, null, 2))
  if (found.length === 0) return console.log('nothing was given up')
  const rows = found.map(one => [
    String(one.number),
    one.webhook === null ? 'callback' : String(one.webhook),
    one.given_up_at.slice(0, 19).replace('T', ' '),
    one.event,
    one.attempts,
    one.reason,
  ])
  console.log(table(['>number', '>webhook', 'given up', 'event', '>tries', 'reason'], rows))
}

async function replay(id: number, options: ReplayOptions): Promise<void> {
  const since = options.since ?? options.from
  if ([options.all, options.numbers, since].filter(Boolean).length !== 1) {
    throw new CommandError(EXIT.usage, 'say what: --all or --numbers of what was given up, or --since or --from')
  }
  const what =
    since === undefined
      ? options.all
        ? { all: true }
        : { numbers: options.numbers }
      : { since: since.toISOString(), until: (options.to ?? new Date()).toISOString() }
  const progress = new Progress()
  let total = 0
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const body = cursor === undefined ? what : { ...what, cursor }
    const one: WebhookReplayed = await asked(options, `/${id}/replay`, { method: 'POST', body, silenceMs: 120_000 })
    total += one.replayed
    cursor = one.next_cursor
    progress.show(`${count(total)} events`)
  }
  progress.end()
  console.log(options.json ? JSON.stringify({ replayed: total }) : `${count(total)} events are on their way again`)
}
