// `trunkline account`: the customers that the gateway knows: shown, added, changed, suspended, removed. Passwords are asked
// for at the terminal or read from a file: they stand on no command line and in no output.

import type { Command } from 'commander'
import { stringify } from 'yaml'
import type { AccountShown } from '../admin/api/accounts.js'
import type { AccountEntry } from '../admin/lists.js'
import { ask } from './ask.js'
import { passwordOf, setOption } from './carrier.js'
import { CommandError, EXIT } from './exit.js'
import { keyTable } from './key.js'
import { bad, faint, good, table } from './print.js'
import { type GlobalOptions, optionsOf } from './settings.js'
import { confirmed } from './works.js'

interface PasswordOptions {
  password?: boolean
  passwordFile?: string
}

interface AddOptions extends PasswordOptions {
  set?: Record<string, unknown>
}

interface EditOptions extends AddOptions {
  unset?: string[]
}

interface Page {
  accounts: AccountEntry[]
  next: number | null
}

const ROOT = '/api/v1/admin/accounts'
const WHAT = 'the account'

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
  account
    .command('show')
    .argument('<account>', 'which account')
    .description('Shows the settings and keys of an account.')
    .addHelpText('after', '\nExample:\n  trunkline account show shop')
    .action((name: string, _, command: Command) => show(name, optionsOf(command)))
  account
    .command('add')
    .argument('<account>', 'its system_id')
    .description('Adds an account.')
    .addOption(setOption())
    .option('--password-file <file>', 'its password, the first line of a file; - is standard input')
    .option('--no-password', 'it has none: it sends with API keys alone')
    .addHelpText(
      'after',
      `
Every setting of an account in the gateway file can be given with --set, under the same name; one within another has a
point between them. Values are read as YAML. The password is asked for at the terminal.

Examples:
  trunkline account add shop --set throughput=50 --set class=otp --set 'senders=[Shop, "12345"]'
  trunkline account add shop --no-password --set smpp.allowFrom=[192.0.2.0/24]`,
    )
    .action((name: string, _, command: Command) => add(name, optionsOf<AddOptions>(command)))
  account
    .command('edit')
    .argument('<account>', 'which account')
    .description('Changes settings of an account; they hold at once.')
    .addOption(setOption())
    .option('--unset <key...>', 'back to its default')
    .option('--password', 'ask for another password')
    .option('--password-file <file>', 'another password, the first line of a file; - is standard input')
    .addHelpText(
      'after',
      `
Examples:
  trunkline account edit shop --set throughput=100 --unset maxWaiting
  trunkline account edit shop --password`,
    )
    .action((name: string, _, command: Command) => edit(name, optionsOf<EditOptions>(command)))
  account
    .command('suspend')
    .argument('<account>', 'which account')
    .description('Shuts an account out of every port, at once: its binds are closed and it is refused.')
    .requiredOption('--reason <why>', 'for the audit')
    .addHelpText('after', "\nExample:\n  trunkline account suspend shop --reason 'sends spam'")
    .action((name: string, _, command: Command) => suspend(name, optionsOf<{ reason: string }>(command)))
  account
    .command('resume')
    .argument('<account>', 'which account')
    .description('Lets a suspended account in again.')
    .addHelpText('after', '\nExample:\n  trunkline account resume shop')
    .action((name: string, _, command: Command) => suspend(name, optionsOf<{ reason?: string }>(command)))
  account
    .command('remove')
    .argument('<account>', 'which account')
    .description('Removes an account with its keys, numbers, senders and webhooks.')
    .option('--reason <why>', 'for the audit')
    .option('--yes', 'do not ask')
    .addHelpText(
      'after',
      `
One that has money or owes some is not removed: bring its balance to 0 first, with credit take or credit adjust.

Example:
  trunkline account remove shop`,
    )
    .action((name: string, _, command: Command) => remove(name, optionsOf<{ reason?: string; yes?: boolean }>(command)))
}

const pathOf = (name: string, more = ''): string => `${ROOT}/${encodeURIComponent(name)}${more}`

async function list(options: GlobalOptions): Promise<void> {
  const all: AccountEntry[] = []
  for (let after: number | null = 0; after !== null; ) {
    const page = (await ask(options, { path: `${ROOT}?after=${after}` })) as Page
    all.push(...page.accounts)
    after = page.next
  }
  if (options.json) return console.log(JSON.stringify(all, null, 2))
  if (all.length === 0) return console.log("no accounts: 'trunkline account add' makes one")
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

async function show(name: string, options: GlobalOptions): Promise<void> {
  const shown = (await ask(options, { path: pathOf(name) })) as AccountShown
  if (options.json) return console.log(JSON.stringify(shown, null, 2))
  const { system_id, suspended, binds, has_password, settings, quota, keys } = shown
  const state = suspended === null ? good('live') : bad(`suspended: ${suspended}`)
  console.log(`${system_id}  ${state}  ${binds} binds  ${has_password ? 'a password' : faint('no password')}\n`)
  console.log(stringify(settings, { lineWidth: 0 }).trimEnd())
  if (quota.length > 0) {
    const rows = quota.map(one => [one.span, one.used, one.limit, one.resets_at.slice(0, 16).replace('T', ' ')])
    console.log(`\n${table(['quota', '>used', '>of', 'until'], rows)}`)
  }
  if (keys.length > 0) console.log(`\n${keyTable(keys)}`)
}

async function add(name: string, options: AddOptions & GlobalOptions): Promise<void> {
  const password = await passwordOf(options, true, WHAT)
  const body = { system_id: name, settings: options.set ?? {}, ...password }
  const made = (await ask(options, { method: 'POST', path: ROOT, body })) as AccountEntry
  if (options.json) return console.log(JSON.stringify(made, null, 2))
  console.log(`${good('added')} ${made.system_id}: 'trunkline key add ${made.system_id}' makes it an API key`)
}

async function edit(name: string, options: EditOptions & GlobalOptions): Promise<void> {
  const password = await passwordOf(options, options.password === true, WHAT)
  const body = { set: options.set ?? {}, unset: options.unset ?? [], ...password }
  if (Object.keys(body.set).length + body.unset.length === 0 && password.password === undefined) {
    throw new CommandError(EXIT.usage, 'nothing to change: give --set, --unset or --password')
  }
  const done = (await ask(options, { method: 'PATCH', path: pathOf(name), body })) as AccountEntry & {
    changed: boolean
  }
  if (options.json) return console.log(JSON.stringify(done, null, 2))
  console.log(done.changed ? `${good('changed')} ${name}` : `${name} was so already`)
}

/** Without a reason it is resumed. */
async function suspend(name: string, options: { reason?: string } & GlobalOptions): Promise<void> {
  const { reason } = options
  const way = reason === undefined ? '/resume' : '/suspend'
  const body = reason === undefined ? {} : { reason }
  const done = (await ask(options, { method: 'POST', path: pathOf(name, way), body })) as { changed: boolean }
  if (options.json) return console.log(JSON.stringify(done, null, 2))
  const state = reason === undefined ? good('live') : bad('suspended')
  console.log(`${name} ${done.changed ? 'is' : 'was already'} ${state}`)
}

async function remove(name: string, options: { reason?: string; yes?: boolean } & GlobalOptions): Promise<void> {
  const question = `Remove the account ${name} with its keys, numbers, senders and webhooks?`
  if (!options.yes && !(await confirmed(question))) return
  const body = options.reason === undefined ? {} : { reason: options.reason }
  const done = await ask(options, { method: 'DELETE', path: pathOf(name), body })
  if (options.json) return console.log(JSON.stringify(done, null, 2))
  console.log(`removed ${name}`)
}
