// `trunkline queue`: what waits, for which route, in which class, and for how long.

import type { Command } from 'commander'
import type { QueueStatus } from '../admin/status.js'
import { ask } from './ask.js'
import { count, duration, faint, table } from './print.js'
import { type GlobalOptions, optionsOf } from './settings.js'

export function register(program: Command): void {
  program
    .command('queue')
    .description('Shows what waits, by route and class, with the age of the oldest.')
    .addHelpText(
      'after',
      `
Examples:
  trunkline queue
  trunkline queue --json | jq '[.lanes[] | select(.class == "otp") | .oldest_s] | max'`,
    )
    .action((_, command: Command) => queue(optionsOf(command)))
}

async function queue(options: GlobalOptions): Promise<void> {
  const now = (await ask(options, { path: '/api/v1/admin/queue' })) as QueueStatus
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
