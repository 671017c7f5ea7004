// `trunkline account`: the customers that the gateway knows.

import type { Command } from 'commander'
import type { AccountEntry } from '../admin/lists.js'
import { ask } from './ask.js'
import { bad, table } from './print.js'
import { type GlobalOptions, optionsOf } from './settings.js'

interface Page {
  accounts: AccountEntry[]
  next: number | null
}

export function register(program: Command): void {
  const account = program.command('account').description('Accounts: who may send.')
  account
    .command('list')
    .description('Lists the accounts with their limits and binds.')
    .addHelpText(
      'after',
      `
Examples:
  trunkline account list
  trunkline account list --json | jq -r '.[] | select(.binds > 0) | .system_id'`,
    )
    .action((_, command: Command) => list(optionsOf(command)))
}

async function list(options: GlobalOptions): Promise<void> {
  const all: AccountEntry[] = []
  for (let after: number | null = 0; after !== null; ) {
    const page = (await ask(options, { path: `/api/v1/admin/accounts?after=${after}` })) as Page
    all.push(...page.accounts)
    after = page.next
  }
  if (options.json) return console.log(JSON.stringify(all, null, 2))
  if (all.length === 0) return console.log("no accounts: 'trunkline apply FILE' makes some")
  const rows = all.map(one => [
    one.system_id,
    one.class,
    one.throughput === 0 ? '-' : one.throughput,
    one.max_binds === 0 ? String(one.binds) : `${one.binds}/${one.max_binds}`,
    one.senders === null ? 'any' : one.senders,
    one.credit_micros === null ? 'unlimited' : (one.credit_micros / 1e6).toFixed(2),
    one.suspended === null ? '' : bad(`suspended: ${one.suspended}`),
  ])
  console.log(table(['account', 'class', '>messages/s', '>binds', '>senders', '>credit', ''], rows))
}
