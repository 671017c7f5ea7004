// `trunkline unclaimed`: messages from phones that belong to no account: shown, given to one, dropped.

import type { Command } from 'commander'
import type { UnclaimedEntry } from '../admin/inbound.js'
import { whole } from './arguments.js'
import { ask } from './ask.js'
import { CommandError, EXIT } from './exit.js'
import { count, faint, table } from './print.js'
import { type GlobalOptions, optionsOf } from './settings.js'

interface SettleOptions extends GlobalOptions {
  to?: string
  count?: number
  all?: boolean
}

const PATH = '/api/v1/admin/unclaimed'
const AT_ONCE = 200

export function register(program: Command): void {
  const unclaimed = program
    .command('unclaimed')
    .description('Messages from phones that belong to no account.')
    .addHelpText(
      'after',
      `
Examples:
  trunkline unclaimed list
  trunkline unclaimed give --to shop --all
  trunkline unclaimed drop --count 10`,
    )
  unclaimed
    .command('list')
    .description('Shows the oldest of them.')
    .option('--limit <n>', 'so many at most', whole(1, 100), 20)
    .action((_, command: Command) => list(optionsOf<GlobalOptions & { limit: number }>(command)))
  const many = (command: Command): Command =>
    command.option('--count <n>', 'so many of the oldest', whole(1, 1_000_000)).option('--all', 'all of them')
  many(
    unclaimed
      .command('give')
      .description('Makes them an account’s, as if they had been sent to a number of its.')
      .requiredOption('--to <systemId>', 'the account'),
  ).action((_, command: Command) => settle(optionsOf<SettleOptions>(command)))
  many(unclaimed.command('drop').description('Drops them for good.')).action((_, command: Command) =>
    settle(optionsOf<SettleOptions>(command)),
  )
}

async function list(options: GlobalOptions & { limit: number }): Promise<void> {
  const shown = (await ask(options, { path: `${PATH}?limit=${options.limit}` })) as {
    unclaimed: UnclaimedEntry[]
    count: number
  }
  if (options.json) return console.log(JSON.stringify(shown, null, 2))
  if (shown.count === 0) return console.log('every message from a phone has an owner')
  const rows = shown.unclaimed.map(one => [one.at, one.from, one.number, one.carrier, one.text.replace(/\s+/g, ' ')])
  console.log(table(['came', 'from', 'number called', 'carrier', 'text'], rows))
  const more = shown.count - shown.unclaimed.length
  if (more > 0) console.log(faint(`and ${count(more)} more`))
}

async function settle(options: SettleOptions): Promise<void> {
  const { to = null } = options
  if (options.count === undefined && options.all !== true) {
    throw new CommandError(EXIT.usage, 'say how many with --count, or --all')
  }
  let total = 0
  for (let left = options.count ?? Number.POSITIVE_INFINITY; left > 0; ) {
    const body = { to, count: Math.min(left, AT_ONCE) }
    const { settled } = (await ask(options, { method: 'POST', path: PATH, body })) as { settled: number }
    total += settled
    left -= settled
    if (settled < body.count) break
  }
  if (options.json) return console.log(JSON.stringify({ to, settled: total }))
  console.log(to === null ? `${count(total)} dropped` : `${count(total)} are ${to}'s now`)
}
