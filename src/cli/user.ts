// `trunkline user`: people who log in: listed, added, changed, suspended, removed. Passwords are asked for at the terminal or
// read from a file, or chosen by the user with a token.

import { type Command, Option } from 'commander'
import { type Role, roles, type UserEntry } from '../accounts/peopleRows.js'
import { ask } from './ask.js'
import { passwordOf } from './carrier.js'
import { CommandError, EXIT } from './exit.js'
import { bad, faint, good, strong, table } from './print.js'
import { type GlobalOptions, optionsOf } from './settings.js'
import { confirmed } from './works.js'

const ROOT = '/api/v1/admin/users'
const WHAT = 'the user'

interface AddOptions {
  name?: string
  organisation?: string
  role: Role
  operator?: boolean
  password?: boolean
  passwordFile?: string
}

interface RoleOptions {
  operator?: boolean
  organisation?: string
}

export function register(program: Command): void {
  const user = program.command('user').description('Users: people who log in.')
  user
    .command('list')
    .description('Lists the users.')
    .option('--search <text>', 'with this in their address or name')
    .option('--organisation <name>', 'of this organisation alone')
    .addHelpText('after', '\nExamples:\n  trunkline user list\n  trunkline user list --search example.com --json')
    .action((_, command: Command) => list(optionsOf<{ search?: string; organisation?: string }>(command)))
  user
    .command('add')
    .argument('<email>', 'the address')
    .description('Adds a user. Without a password it takes a token of trunkline user reset to choose one.')
    .option('--name <name>', 'what the user is called')
    .option('--organisation <name>', 'whose accounts are the user’s; made if there is none')
    .addOption(new Option('--role <role>', 'what the user may do there').choices(roles).default('viewer'))
    .option('--operator', 'may administer the gateway itself')
    .option('--password', 'ask for a password')
    .option('--password-file <file>', 'the password, the first line of a file; - is standard input')
    .addHelpText(
      'after',
      `
An account belongs to an organisation by its setting: trunkline account edit shop --set organisation=Acme

Examples:
  trunkline user add ann@acme.example --organisation Acme --role owner
  trunkline user add ops@example.com --operator --password`,
    )
    .action((email: string, _, command: Command) => add(email, optionsOf<AddOptions>(command)))
  user
    .command('role')
    .argument('<email>', 'which user')
    .argument('[role]', roles.join(', '))
    .description('Changes what a user may do; it holds at once.')
    .option('--operator', 'may administer the gateway itself')
    .option('--no-operator', 'may not')
    .option('--organisation <name>', 'whose accounts are the user’s')
    .addHelpText(
      'after',
      '\nExamples:\n  trunkline user role ann@acme.example admin\n  trunkline user role ops@example.com --no-operator',
    )
    .action((email: string, role: string | undefined, _, command: Command) =>
      change(email, role, optionsOf<RoleOptions>(command)),
    )
  user
    .command('suspend')
    .argument('<email>', 'which user')
    .description('Shuts a user out, at once: the sessions end.')
    .requiredOption('--reason <why>', 'for the audit')
    .action((email: string, _, command: Command) => suspend(email, optionsOf<{ reason: string }>(command)))
  user
    .command('resume')
    .argument('<email>', 'which user')
    .description('Lets a suspended user in again.')
    .action((email: string, _, command: Command) => suspend(email, optionsOf<{ reason?: string }>(command)))
  user
    .command('reset')
    .argument('<email>', 'which user')
    .description('Prints a token with which the user chooses another password, within an hour.')
    .action((email: string, _, command: Command) => reset(email, optionsOf(command)))
  user
    .command('remove')
    .argument('<email>', 'which user')
    .description('Removes a user.')
    .option('--reason <why>', 'for the audit')
    .option('--yes', 'do not ask')
    .action((email: string, _, command: Command) =>
      remove(email, optionsOf<{ reason?: string; yes?: boolean }>(command)),
    )
}

const pathOf = (email: string, more = ''): string => `${ROOT}/${encodeURIComponent(email)}${more}`

async function list(options: { search?: string; organisation?: string } & GlobalOptions): Promise<void> {
  const all: UserEntry[] = []
  for (let after: string | null = ''; after !== null; ) {
    const query = new URLSearchParams({ after })
    if (options.search !== undefined) query.set('search', options.search)
    if (options.organisation !== undefined) query.set('organisation', options.organisation)
    const page = (await ask(options, { path: `${ROOT}?${query}` })) as { users: UserEntry[]; next: string | null }
    all.push(...page.users)
    after = page.next
  }
  if (options.json) return console.log(JSON.stringify(all, null, 2))
  if (all.length === 0) return console.log("no users: 'trunkline user add EMAIL' makes one")
  const rows = all.map(one => [
    one.email,
    one.name,
    one.organisation ?? faint('none'),
    one.operator ? `${one.role}, ${strong('operator')}` : one.role,
    one.last_login_at === null ? faint('never') : one.last_login_at.slice(0, 16).replace('T', ' '),
    one.suspended === null ? (one.has_password ? '' : faint('no password yet')) : bad(`suspended: ${one.suspended}`),
  ])
  console.log(table(['user', 'name', 'organisation', 'role', 'last login', ''], rows))
}

async function add(email: string, options: AddOptions & GlobalOptions): Promise<void> {
  const { name, organisation, role, operator = false } = options
  const password = await passwordOf(options, options.password === true, WHAT)
  const body = {
    ...{ email, role, operator },
    ...(name === undefined ? {} : { name }),
    ...(organisation === undefined ? {} : { organisation }),
    ...password,
  }
  const made = (await ask(options, { method: 'POST', path: ROOT, body })) as UserEntry
  if (options.json) return console.log(JSON.stringify(made, null, 2))
  const next = made.has_password
    ? ''
    : `: 'trunkline user reset ${made.email}' prints a token to choose a password with`
  console.log(`${good('added')} ${made.email}${next}`)
}

async function change(email: string, role: string | undefined, options: RoleOptions & GlobalOptions): Promise<void> {
  const { operator, organisation } = options
  const body = {
    ...(role === undefined ? {} : { role }),
    ...(operator === undefined ? {} : { operator }),
    ...(organisation === undefined ? {} : { organisation }),
  }
  if (Object.keys(body).length === 0) {
    throw new CommandError(
      EXIT.usage,
      `nothing to change: give a role (${roles.join(', ')}), --operator or --organisation`,
    )
  }
  const now = (await ask(options, { method: 'PATCH', path: pathOf(email), body })) as UserEntry
  if (options.json) return console.log(JSON.stringify(now, null, 2))
  console.log(
    `${now.email} is ${now.role}${now.operator ? ' and operator' : ''} of ${now.organisation ?? 'no organisation'}`,
  )
}

/** Without a reason the user is resumed. */
async function suspend(email: string, options: { reason?: string } & GlobalOptions): Promise<void> {
  const { reason } = options
  const body = reason === undefined ? {} : { reason }
  const path = pathOf(email, reason === undefined ? '/resume' : '/suspend')
  const now = (await ask(options, { method: 'POST', path, body })) as UserEntry
  if (options.json) return console.log(JSON.stringify(now, null, 2))
  console.log(`${now.email} is ${now.suspended === null ? good('live') : bad('suspended')}`)
}

async function reset(email: string, options: GlobalOptions): Promise<void> {
  const given = (await ask(options, { method: 'POST', path: pathOf(email, '/reset') })) as {
    token: string
    expires_at: string
  }
  if (options.json) return console.log(JSON.stringify(given, null, 2))
  console.log(`for ${email}, good once and until ${given.expires_at}:\n\n  ${given.token}\n`)
}

async function remove(email: string, options: { reason?: string; yes?: boolean } & GlobalOptions): Promise<void> {
  if (!options.yes && !(await confirmed(`Remove the user ${email}?`))) return
  const body = options.reason === undefined ? {} : { reason: options.reason }
  const done = await ask(options, { method: 'DELETE', path: pathOf(email), body })
  if (options.json) return console.log(JSON.stringify(done, null, 2))
  console.log(`removed ${email}`)
}
