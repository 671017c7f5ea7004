// `trunkline key`: API keys of accounts, for programs. A new key is printed once, and kept nowhere else.

import { type Command, InvalidArgumentError, Option } from 'commander'
import type { KeyEntry, NewKey } from '../accounts/keyRows.js'
import { keyKinds, scopeWords } from '../accounts/keys.js'
import { whole } from './arguments.js'
import { ask } from './ask.js'
import { bad, faint, good, table } from './print.js'
import { type GlobalOptions, optionsOf } from './settings.js'

const ROOT = '/api/v1/admin/keys'
const DAY_S = 86_400

interface AddOptions {
  name?: string
  scope?: string[]
  kind: string
  expires?: string
  allowFrom?: string[]
}

export function register(program: Command): void {
  const key = program.command('key').description('API keys: how programs send in the name of an account.')
  key
    .command('list')
    .argument('[account]', 'of this account alone')
    .description('Lists the keys: what they may do, until when, and when each was used last.')
    .addHelpText(
      'after',
      `
Examples:
  trunkline key list shop
  trunkline key list --json | jq '.[] | select(.last_used_at == null) | .id'`,
    )
    .action((account: string | undefined, _, command: Command) => list(account, optionsOf(command)))
  key
    .command('add')
    .argument('<account>', 'whose key it is')
    .description('Makes a key and prints it, this once.')
    .option('--name <name>', 'what it is for')
    .addOption(new Option('--scope <scope...>', 'what it may do; none: all that the account may').choices(scopeWords))
    .addOption(new Option('--kind <kind>', 'test: nothing reaches a carrier').choices(keyKinds).default('live'))
    .option('--expires <when>', 'a date, or a time from now like 90d or 12h', moment)
    .option('--allow-from <range...>', 'addresses and ranges that it may be used from; none: any')
    .addHelpText(
      'after',
      `
Examples:
  trunkline key add shop --name website --scope messages:send messages:read
  trunkline key add shop --expires 90d --allow-from 192.0.2.0/24
  trunkline key add ops --scope admin:read          (for the side-port's administration, to read)`,
    )
    .action((account: string, _, command: Command) => add(account, optionsOf<AddOptions>(command)))
  key
    .command('rotate')
    .argument('<id>', 'which key', whole(1, 2_147_483_647))
    .description('Makes a key that may do the same, prints it this once, and lets the old one end.')
    .option('--overlap <time>', 'so long the old one stays good, like 1h or 7d; 0: not at all', span, DAY_S)
    .addHelpText('after', '\nExamples:\n  trunkline key rotate 7\n  trunkline key rotate 7 --overlap 0')
    .action((id: number, _, command: Command) => rotate(id, optionsOf<{ overlap: number }>(command)))
  key
    .command('revoke')
    .argument('<id>', 'which key', whole(1, 2_147_483_647))
    .description('Makes a key good for nothing, at once.')
    .option('--reason <why>', 'for the audit')
    .addHelpText('after', "\nExample:\n  trunkline key revoke 7 --reason 'was in a public repository'")
    .action((id: number, _, command: Command) => revoke(id, optionsOf<{ reason?: string }>(command)))
}

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: DAY_S }

/** `12h` in seconds. */
function span(word: string): number {
  const [, n, unit = 's'] = /^(\d{1,9})([smhd])?$/.exec(word) ?? []
  if (n === undefined) throw new InvalidArgumentError('It must be a time like 30m, 12h or 7d.')
  return Number(n) * (UNITS[unit] as number)
}

/** A date, or a time from now, as ISO 8601. */
function moment(word: string): string {
  const atMs = /^\d+[smhd]$/.test(word) ? Date.now() + span(word) * 1000 : Date.parse(word)
  if (Number.isNaN(atMs)) throw new InvalidArgumentError('It must be a date like 2030-12-31, or a time like 90d.')
  return new Date(atMs).toISOString()
}

async function list(account: string | undefined, options: GlobalOptions): Promise<void> {
  const all: KeyEntry[] = []
  const of = account === undefined ? '' : `&account=${encodeURIComponent(account)}`
  for (let after: number | null = 0; after !== null; ) {
    const page = (await ask(options, { path: `${ROOT}?after=${after}${of}` })) as {
      keys: KeyEntry[]
      next: number | null
    }
    all.push(...page.keys)
    after = page.next
  }
  if (options.json) return console.log(JSON.stringify(all, null, 2))
  if (all.length === 0) return console.log("no keys: 'trunkline key add ACCOUNT' makes one")
  console.log(keyTable(all))
}

export function keyTable(keys: readonly KeyEntry[]): string {
  const rows = keys.map(one => [
    String(one.id),
    one.account,
    `${one.prefix}…`,
    one.name,
    one.kind,
    one.scopes.length === 0 ? 'all' : one.scopes.join(' '),
    one.expires_at === null ? '-' : ended(one.expires_at),
    one.last_used_at === null ? faint('never') : one.last_used_at.slice(0, 16).replace('T', ' '),
  ])
  return table(['>id', 'account', 'key', 'name', 'kind', 'scopes', 'good until', 'used last'], rows)
}

const ended = (at: string): string => {
  const text = at.slice(0, 16).replace('T', ' ')
  return Date.parse(at) <= Date.now() ? bad(text) : text
}

async function add(account: string, options: AddOptions & GlobalOptions): Promise<void> {
  const { name, scope, kind, expires, allowFrom } = options
  const body = {
    account,
    kind,
    ...(name === undefined ? {} : { name }),
    ...(scope === undefined ? {} : { scopes: scope }),
    ...(expires === undefined ? {} : { expires_at: expires }),
    ...(allowFrom === undefined ? {} : { allow_from: allowFrom }),
  }
  const made = (await ask(options, { method: 'POST', path: ROOT, body })) as NewKey
  if (options.json) return console.log(JSON.stringify(made, null, 2))
  console.log(`${good('key')} ${made.id} of ${account}, shown only now:\n\n  ${made.key}\n`)
}

async function rotate(id: number, options: { overlap: number } & GlobalOptions): Promise<void> {
  const body = { overlap_s: options.overlap }
  const done = (await ask(options, { method: 'POST', path: `${ROOT}/${id}/rotate`, body })) as {
    key: NewKey
    old: KeyEntry
  }
  if (options.json) return console.log(JSON.stringify(done, null, 2))
  const { key, old } = done
  console.log(`${good('key')} ${key.id} of ${key.account} in place of ${old.id}, shown only now:\n\n  ${key.key}\n`)
  console.log(`the old one is good until ${old.expires_at}`)
}

async function revoke(id: number, options: { reason?: string } & GlobalOptions): Promise<void> {
  const body = options.reason === undefined ? {} : { reason: options.reason }
  const gone = (await ask(options, { method: 'DELETE', path: `${ROOT}/${id}`, body })) as KeyEntry
  if (options.json) return console.log(JSON.stringify(gone, null, 2))
  console.log(`key ${gone.id} of ${gone.account} is good for nothing any more`)
}
