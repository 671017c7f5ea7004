// `trunkline carrier`: the ways out. Adds, changes, pauses, tries and removes them, and shows what their links do. Passwords
// are asked for at the terminal or read from a file: they stand on no command line and in no output.

import { readFile } from 'node:fs/promises'
import { text as textOf } from 'node:stream/consumers'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { parse } from 'yaml'
import { carrierKinds } from '../accounts/carrier.js'
import type { LinkEntry, LinksEntry } from '../admin/carriers.js'
import type { CarrierEntry } from '../admin/lists.js'
import type { ProbeStep } from '../carriers/probe.js'
import { port } from './arguments.js'
import { ask } from './ask.js'
import { CommandError, EXIT } from './exit.js'
import { bad, count, duration, faint, good, ms, table } from './print.js'
import { type GlobalOptions, optionsOf } from './settings.js'
import { asking, confirmed, work } from './works.js'

interface PasswordOptions {
  password?: boolean
  passwordFile?: string
}

interface AddOptions extends PasswordOptions {
  kind: string
  host?: string
  port?: number
  systemId?: string
  set?: Record<string, unknown>
  paused?: boolean
}

interface EditOptions extends PasswordOptions {
  set?: Record<string, unknown>
  unset?: string[]
}

interface TestOptions extends AddOptions {
  to?: string
  text?: string
  from?: string
}

const ROOT = '/api/v1/admin/carriers'
const PACE_MS = 1_000

export function register(program: Command): void {
  const carrier = program.command('carrier').description('Carriers: who takes messages from us.')
  carrier
    .command('list')
    .description('Lists the carriers with their settings and links; trunkline status shows their traffic.')
    .addHelpText(
      'after',
      `
Examples:
  trunkline carrier list
  trunkline carrier list --json | jq '.[] | select(.up | not) | .name'`,
    )
    .action((_, command: Command) => list(optionsOf(command)))

  withSettings(carrier.command('add').argument('<name>', 'what it is called'))
    .description('Adds a carrier; its links bind at once. Messages reach it when a route names it.')
    .option('--paused', 'add it, and send nothing to it yet')
    .addHelpText(
      'after',
      `
Every setting of a carrier in the gateway file can be given with --set, under the same name; one within another has a
point between them. Values are read as YAML. The password is asked for at the terminal; elsewhere give --password-file,
or --no-password for a carrier that wants none.

Examples:
  trunkline carrier add acme --host smpp.acme.example --port 2775 --system-id us --set window=50 --set links=2
  trunkline carrier add acme --host smpp.acme.example --system-id us --password-file - < acme.password
  trunkline carrier add acme --host smpp.acme.example --system-id us --set tls.verify=true --set 'statuses={"0x400": refused}'`,
    )
    .action((name: string, _, command: Command) => add(name, optionsOf<AddOptions>(command)))

  const edit = carrier
    .command('edit')
    .argument('<name>', 'which carrier')
    .description('Changes settings of a carrier while it runs; only what must binds anew.')
    .addOption(setOption())
    .option('--unset <key...>', 'back to its default')
    .option('--password', 'ask for another password')
    .option('--password-file <file>', 'another password, the first line of a file; - is standard input')
  edit
    .addHelpText(
      'after',
      `
Examples:
  trunkline carrier edit acme --set throughput=100 --unset serviceType
  trunkline carrier edit acme --set 'hosts=[{host: b.acme.example}]'
  trunkline carrier edit acme --password`,
    )
    .action((name: string, _, command: Command) => change(name, optionsOf<EditOptions>(command)))

  for (const verb of ['pause', 'resume'] as const) {
    carrier
      .command(verb)
      .argument('<name>', 'which carrier')
      .description(
        verb === 'pause'
          ? 'Sends nothing more to a carrier, at once and over restarts; its links stay, and receipts come in.'
          : 'Sends to a carrier again, and tries links at once that had stopped trying.',
      )
      .addHelpText('after', `\nExample:\n  trunkline carrier ${verb} acme`)
      .action((name: string, _, command: Command) => halt(name, verb, optionsOf(command)))
  }

  carrier
    .command('remove')
    .argument('<name>', 'which carrier')
    .description('Removes a carrier that no route names. What it has is answered first.')
    .option('--yes', 'do not ask')
    .addHelpText('after', '\nExample:\n  trunkline carrier remove acme')
    .action((name: string, _, command: Command) => remove(name, optionsOf<{ yes?: boolean }>(command)))

  withSettings(carrier.command('test').argument('[name]', 'which carrier; none: the one that the options describe'))
    .description('Tries one bind beside those that stand, from the machine of the daemon, and shows each step.')
    .option('--to <number>', 'send a message there, for real')
    .option('--text <text>', 'what to say in it')
    .option('--from <address>', 'source address of it')
    .addHelpText(
      'after',
      `
Exit code 0 when every step went well, 1 otherwise. Receipts that a carrier brings to this bind are refused as "not now":
it keeps them for the links.

Examples:
  trunkline carrier test acme
  trunkline carrier test acme --to 254700000001 --text 'Hello' --from 12345
  trunkline carrier test --host smpp.acme.example --system-id us --set tls.verify=true`,
    )
    .action((name: string | undefined, _, command: Command) => test(name, optionsOf<TestOptions>(command)))

  carrier
    .command('links')
    .argument('<name>', 'which carrier')
    .description('Shows the links of a carrier, anew each second on a terminal.')
    .option('--once', 'show them once')
    .addHelpText(
      'after',
      `
Examples:
  trunkline carrier links acme
  trunkline carrier links acme --json | jq '[.links[].in_flight] | add'`,
    )
    .action((name: string, _, command: Command) => links(name, optionsOf<{ once?: boolean }>(command)))
}

function withSettings(command: Command): Command {
  return command
    .option('--host <host>', 'its host')
    .option('--port <port>', 'its port', port)
    .option('--system-id <id>', 'as whom to bind')
    .addOption(new Option('--kind <kind>', 'what it speaks').choices(carrierKinds).default('smpp'))
    .addOption(setOption())
    .option('--password-file <file>', 'its password, the first line of a file; - is standard input')
    .option('--no-password', 'it wants none')
}

export const setOption = (): Option =>
  new Option('--set <key=value>', 'a setting, named as in the gateway file; may be given again').argParser(assignment)

function assignment(word: string, before: Record<string, unknown> = {}): Record<string, unknown> {
  const at = word.indexOf('=')
  if (at < 1) throw new InvalidArgumentError('It must be KEY=VALUE.')
  const key = word.slice(0, at)
  try {
    return { ...before, [key]: parse(word.slice(at + 1)) as unknown }
  } catch (error) {
    throw new InvalidArgumentError(`The value of ${key} is not YAML: ${(error as Error).message.split('\n', 1)[0]}`)
  }
}

function settingsOf({ host, port, systemId, set = {} }: AddOptions): Record<string, unknown> {
  return {
    ...(host === undefined ? {} : { host }),
    ...(port === undefined ? {} : { port }),
    ...(systemId === undefined ? {} : { systemId }),
    ...set,
  }
}

/** undefined: none is given. `wanted`: then it is asked for. */
export async function passwordOf(
  { password, passwordFile }: PasswordOptions,
  wanted: boolean,
  whose = 'the carrier',
): Promise<{ password?: string }> {
  if (passwordFile !== undefined) {
    const written = passwordFile === '-' ? await textOf(process.stdin) : await fileOf(passwordFile)
    return { password: written.split(/\r?\n/, 1)[0] as string }
  }
  if (password === false || !wanted) return {}
  if (!process.stdin.isTTY) {
    throw new CommandError(
      EXIT.usage,
      'there is no terminal to ask for the password: give --password-file FILE, - for standard input, or --no-password',
    )
  }
  const prompts = await import('@inquirer/prompts')
  const given = await asking(
    prompts.password({ message: `The password of ${whose}:`, mask: true }, { output: process.stderr }),
  )
  return { password: given }
}

async function fileOf(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw new CommandError(EXIT.usage, `${path} cannot be read: ${(error as NodeJS.ErrnoException).code}`)
  }
}

const pathOf = (name: string, more = ''): string => `${ROOT}/${encodeURIComponent(name)}${more}`

async function list(options: GlobalOptions): Promise<void> {
  const { carriers } = (await ask(options, { path: ROOT })) as { carriers: CarrierEntry[] }
  if (options.json) return console.log(JSON.stringify(carriers, null, 2))
  if (carriers.length === 0) return console.log("no carriers: 'trunkline carrier add' makes one")
  const rows = carriers.map(({ name, kind, paused, up, links_ready, links, quality, settings }) => [
    name,
    kind,
    paused ? bad('paused') : up ? good('up') : bad('down'),
    `${links_ready}/${links}`,
    shown(settings.window),
    settings.throughput === 0 ? '-' : shown(settings.throughput),
    quality === null ? '-' : `${(quality.delivery_rate * 100).toFixed(1)} %`,
    placeOf(settings),
  ])
  console.log(table(['carrier', 'kind', '', '>links', '>window', '>parts/s', '>delivered', 'where'], rows))
}

function placeOf({ host, port, systemId }: Record<string, unknown>): string {
  if (host === undefined) return ''
  return `${typeof systemId === 'string' ? `${systemId}@` : ''}${host}:${port}`
}

/** Kinds that have no such setting have nothing to show. */
const shown = (setting: unknown): string | number => (typeof setting === 'number' ? setting : '-')

async function add(name: string, options: AddOptions & GlobalOptions): Promise<void> {
  const body = {
    name,
    kind: options.kind,
    paused: options.paused ?? false,
    settings: settingsOf(options),
    ...(await passwordOf(options, options.kind === 'smpp')),
  }
  const made = (await ask(options, { method: 'POST', path: ROOT, body })) as CarrierEntry
  if (options.json) return console.log(JSON.stringify(made))
  console.log(`added ${name}${made.paused ? ', paused' : ''}; 'trunkline carrier links ${name}' shows how it binds`)
}

async function change(name: string, options: EditOptions & GlobalOptions): Promise<void> {
  const { set = {}, unset = [] } = options
  const body = { set, unset, ...(await passwordOf(options, options.password === true)) }
  if (Object.keys(set).length + unset.length === 0 && !('password' in body)) {
    throw new CommandError(EXIT.usage, 'nothing to change: give --set KEY=VALUE, --unset KEY, or another password')
  }
  const now = (await ask(options, { method: 'PATCH', path: pathOf(name), body })) as CarrierEntry & { changed: boolean }
  if (options.json) return console.log(JSON.stringify(now))
  console.log(now.changed ? `${name} is changed` : `${name} was so already`)
}

async function halt(name: string, verb: 'pause' | 'resume', options: GlobalOptions): Promise<void> {
  const now = (await ask(options, { method: 'POST', path: pathOf(name, `/${verb}`) })) as CarrierEntry & {
    changed: boolean
    waiting: number
    only_here: number
  }
  if (options.json) return console.log(JSON.stringify(now))
  const was = now.changed ? '' : ' already'
  console.log(
    `${name} is ${now.paused ? 'paused' : 'running'}${was}: ${count(now.waiting)} messages wait on its routes, ` +
      `${count(now.only_here)} of them have no other carrier now`,
  )
}

async function remove(name: string, options: { yes?: boolean } & GlobalOptions): Promise<void> {
  if (!options.yes && !(await confirmed(`Remove the carrier ${name} with its settings and its password?`))) return
  await ask(options, { method: 'DELETE', path: pathOf(name) })
  console.log(options.json ? JSON.stringify({ removed: name }) : `${name} is removed`)
}

async function test(name: string | undefined, options: TestOptions & GlobalOptions): Promise<void> {
  const { to, text, from } = options
  const sample = {
    ...(to === undefined ? {} : { to }),
    ...(text === undefined ? {} : { text }),
    ...(from === undefined ? {} : { from }),
  }
  const settings = settingsOf(options)
  if (name !== undefined && Object.keys(settings).length > 0) {
    throw new CommandError(EXIT.usage, `give a name or settings: ${name} is tried with its own`)
  }
  if (name === undefined && options.host === undefined) throw new CommandError(EXIT.usage, 'give a name, or --host')
  const question =
    name === undefined
      ? { path: '/api/v1/admin/carrier-test', body: { ...sample, settings, ...(await passwordOf(options, true)) } }
      : { path: pathOf(name, '/test'), body: sample }
  const steps: ProbeStep[] = []
  const result = await work<{ ok: boolean; hint?: string }, ProbeStep>(
    options,
    { method: 'POST', ...question },
    step => {
      steps.push(step)
      if (options.json) return
      const mark = step.ok ? good('ok    ') : bad('failed')
      console.log(`${step.step.padEnd(14)}${mark}  ${ms(step.ms).padStart(8)} ms  ${step.detail}`.trimEnd())
    },
  )
  if (options.json) console.log(JSON.stringify({ ...result, steps }))
  else if (result.hint !== undefined) console.log(faint(result.hint))
  if (!result.ok) process.exitCode = EXIT.failed
}

async function links(name: string, options: { once?: boolean } & GlobalOptions): Promise<void> {
  const look = async (): Promise<LinksEntry> => (await ask(options, { path: pathOf(name, '/links') })) as LinksEntry
  let before = await look()
  if (options.json) return console.log(JSON.stringify(before, null, 2))
  const isLive = process.stdout.isTTY && !options.once
  for (;;) {
    const fromMs = performance.now()
    await new Promise(resolve => setTimeout(resolve, PACE_MS))
    const now = await look()
    const screen = screenOf(now, before, (performance.now() - fromMs) / 1000)
    if (!isLive) return console.log(screen)
    process.stdout.write(`\x1b[H\x1b[J${screen}\n`)
    before = now
  }
}

function screenOf(now: LinksEntry, before: LinksEntry, seconds: number): string {
  const state = now.paused ? bad('paused') : now.up ? good('up') : bad('down')
  const pace = now.pace_per_s === 0 ? '' : `, its pace allows ${count(now.pace_per_s)}`
  const rows = now.links.map((link, i) => {
    const then = before.links[i]
    const submits = link.submits ?? 0
    const isSame = then?.peer === link.peer && (then.submits ?? 0) <= submits
    return [
      link.peer,
      link.stand === 'closed' ? bad(link.stand) : link.stand === 'ready' ? good(link.stand) : link.stand,
      duration(link.since_s),
      link.window === 0 ? '-' : `${count(link.in_flight)}/${count(link.window)}`,
      isSame && link.submits !== null ? (submits - (then.submits ?? 0)) / seconds : '-',
      link.submits ?? '-',
      link.throttled ?? '-',
      link.delivers ?? '-',
      troubleOf(link),
    ]
  })
  const columns = ['link', '', '>since', '>in flight', '>parts/s', '>sent', '>throttled', '>received', 'last closed by']
  return `${now.name}  ${state}  ${count(now.rate_per_s)} parts/s accepted${pace}\n\n${table(columns, rows)}`
}

function troubleOf({ last_reason, next_try_s, stand }: LinkEntry): string {
  if (stand !== 'closed') return last_reason
  if (next_try_s !== null)
    return `${last_reason}${last_reason === '' ? '' : ', '}next try in ${next_try_s.toFixed(1)} s`
  return last_reason
}
