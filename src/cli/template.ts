// `trunkline template`: texts that messages are made of, the gateway's own or those of an account: listed, shown, tried,
// made, changed, many at once from a file. Knows words; what a template may be the daemon says.

import { type Command, InvalidArgumentError, Option } from 'commander'
import { parse } from 'yaml'
import type { TemplateDetails, TemplateEntry, TemplatePageOf, TemplatePreview } from '../admin/api/templateShapes.js'
import { smsTypes } from '../intake/web/fields.js'
import { whole } from './arguments.js'
import { ask } from './ask.js'
import { CommandError, EXIT } from './exit.js'
import { bad, count, faint, good, table } from './print.js'
import { type GlobalOptions, optionsOf } from './settings.js'
import { readFile, templatesIn } from './templateFile.js'
import { confirmed, Progress } from './works.js'

type Options = GlobalOptions & { account?: string }
type Pairs = Record<string, string>

interface Written extends Options {
  name?: string
  text?: string
  file?: string
  locale?: Pairs
  variable?: unknown[]
  category?: string
  type?: string
  inactive?: boolean
}
interface ListOptions extends Options {
  category?: string
  type?: string
  active?: boolean
  inactive?: boolean
}
interface PreviewOptions extends Options {
  set?: Pairs
  to?: string[]
  atVersion?: number
  locale?: string
  from?: string
  type?: string
}

const PAGE = 200
const TEXT_SHOWN = 60

export function register(program: Command): void {
  const template = program
    .command('template')
    .description(
      'Templates: texts that messages are made of. Those of the gateway, or with --account an account’s own.',
    )
    .addHelpText(
      'after',
      `
A text has {{name}} where a value goes; every value that a text needs must be given, unless it has a default. Another text
makes a new version; messages keep the one that they were made of. Every account may use the gateway's templates.

Examples:
  trunkline template create order-sent --account shop --text 'Hi {{name}}, order {{order}} is on its way.' --category orders
  trunkline template edit order-sent --account shop --locale de='Hallo {{name}}, Bestellung {{order}} ist unterwegs.'
  trunkline template preview order-sent --account shop --set name=Ann --set order=1001 --to +4915112345678
  trunkline template import templates.csv --account shop`,
    )
  const of = (name: string): Command =>
    template.command(name).option('--account <system_id>', 'whose; left out: the gateway’s own, for everybody')
  of('list')
    .description('Lists templates.')
    .option('--category <word>', 'only those')
    .addOption(new Option('--type <type>', 'only those').choices(smsTypes))
    .option('--active', 'only those that are on')
    .option('--inactive', 'only those that are off')
    .action((_, command: Command) => list(optionsOf<ListOptions>(command)))
  of('show')
    .argument('<template>', 'id or name')
    .description('Shows a template with its variables and versions.')
    .option('--at-version <n>', 'as it was then', whole(1, 1_000_000))
    .action((id: string, _, command: Command) => show(id, optionsOf<Options & { atVersion?: number }>(command)))
  writing(of('create').argument('<name>', 'what it is called').description('Makes a template.'))
    .option('--inactive', 'it cannot be sent yet')
    .action((name: string, _, command: Command) => create(name, optionsOf<Written>(command)))
  writing(
    of('edit').argument('<template>', 'id or name').description('Changes a template; another text is a new version.'),
  )
    .option('--name <name>', 'another name')
    .action((id: string, _, command: Command) => edit(id, optionsOf<Written>(command)))
  of('preview')
    .argument('<template>', 'id or name')
    .description('Shows what it would say, in how many segments, and what it would cost.')
    .addOption(pairs('--set <name=value...>', 'a value'))
    .option('--to <number...>', 'what it would cost to these; for templates of an account')
    .option('--at-version <n>', 'not the newest', whole(1, 1_000_000))
    .option('--locale <tag>', 'in this language')
    .option('--from <sender>', 'the sender')
    .addOption(new Option('--type <type>', 'as messages of this type').choices(smsTypes))
    .action((id: string, _, command: Command) => preview(id, optionsOf<PreviewOptions>(command)))
  of('restore')
    .argument('<template>', 'id or name')
    .argument('<version>', 'whose text it is to have again', whole(1, 1_000_000))
    .description('Goes back to an older version: its text becomes the newest version.')
    .action((id: string, version: number, _, command: Command) => restore(id, version, optionsOf<Options>(command)))
  of('activate')
    .argument('<template>', 'id or name')
    .description('Lets it be sent.')
    .action((id: string, _, command: Command) => turn(id, true, optionsOf<Options>(command)))
  of('deactivate')
    .argument('<template>', 'id or name')
    .description('Lets nothing be sent of it; what waits goes out.')
    .action((id: string, _, command: Command) => turn(id, false, optionsOf<Options>(command)))
  of('remove')
    .argument('<template>', 'id or name')
    .description('Removes a template; its versions can be read by its id.')
    .option('--yes', 'do not ask')
    .action((id: string, _, command: Command) => remove(id, optionsOf<Options & { yes?: boolean }>(command)))
  of('import')
    .argument('<file>', 'CSV or YAML; - is standard input')
    .description('Makes templates, and changes those that are there by name. Exit code 1 when one was refused.')
    .addOption(new Option('--format <format>', 'of the file').choices(['csv', 'yaml']))
    .addHelpText(
      'after',
      `
A CSV has a header row: name, content, and where wanted category, sms_type, is_active, variables (names with spaces
between), and content.de and the like for languages. A YAML file is a list, with the same names as over HTTP.

Example:
  trunkline template import templates.yaml`,
    )
    .action((file: string, _, command: Command) => importFile(file, optionsOf<Options & { format?: string }>(command)))
}

const writing = (command: Command): Command =>
  command
    .option('--text <text>', 'what it says, with {{name}} where a value goes')
    .option('--file <file>', 'the text is in this file; - is standard input')
    .addOption(pairs('--locale <tag=text...>', 'the text in another language'))
    .addOption(
      new Option('--variable <yaml...>', 'what is known of a value: a name, or {name: code, max_length: 8}').argParser(
        (word: string, before: unknown[] | undefined) => [...(before ?? []), yamlOf(word)],
      ),
    )
    .option('--category <word>', 'to find it by')
    .addOption(new Option('--type <type>', 'of messages that say nothing else').choices(smsTypes))

function yamlOf(word: string): unknown {
  try {
    return parse(word)
  } catch (error) {
    // The first line says what, those after it show where.
    const [what = ''] = (error as Error).message.split('\n')
    throw new InvalidArgumentError(`It must be YAML: ${what.replace(/:$/, '')}.`)
  }
}

const pairs = (flags: string, description: string): Option =>
  new Option(flags, description).argParser((word: string, before: Pairs | undefined): Pairs => {
    const at = word.indexOf('=')
    if (at < 1) throw new InvalidArgumentError('It must be like name=value.')
    return { ...before, [word.slice(0, at)]: word.slice(at + 1) }
  })

const rootOf = ({ account }: Options): string =>
  `/api/v1/admin${account === undefined ? '' : `/accounts/${encodeURIComponent(account)}`}/templates`
const pathOf = (id: string, options: Options, more = ''): string =>
  `${rootOf(options)}/${encodeURIComponent(id)}${more}`

async function all(options: Options, query: Record<string, string> = {}): Promise<TemplateEntry[]> {
  const found: TemplateEntry[] = []
  for (let cursor: string | null = '0'; cursor !== null; ) {
    const asked = new URLSearchParams({ ...query, limit: String(PAGE), cursor })
    const page = (await ask(options, { path: `${rootOf(options)}?${asked}` })) as TemplatePageOf
    found.push(...page.templates)
    cursor = page.next_cursor
  }
  return found
}

async function list(options: ListOptions): Promise<void> {
  const { category, type, active, inactive } = options
  const found = await all(options, {
    ...(category === undefined ? {} : { category }),
    ...(type === undefined ? {} : { sms_type: type }),
    ...(active || inactive ? { is_active: String(!inactive) } : {}),
  })
  if (options.json) return console.log(JSON.stringify(found, null, 2))
  if (found.length === 0) return console.log("no templates: 'trunkline template create' makes one")
  const rows = found.map(one => [
    one.id,
    one.name,
    one.category,
    one.sms_type,
    one.version,
    one.uses ?? '',
    one.is_active ? (one.shared && options.account !== undefined ? faint('the gateway’s') : '') : bad('off'),
    short(one.content),
  ])
  console.log(table(['>id', 'name', 'category', 'type', '>version', '>uses', '', 'text'], rows))
}

const short = (text: string): string => {
  const line = text.replaceAll('\n', ' ')
  return line.length > TEXT_SHOWN ? `${line.slice(0, TEXT_SHOWN - 1)}…` : line
}

async function show(id: string, options: Options & { atVersion?: number }): Promise<void> {
  const query = options.atVersion === undefined ? '' : `?version=${options.atVersion}`
  const one = (await ask(options, { path: pathOf(id, options, query) })) as TemplateDetails
  if (options.json) return console.log(JSON.stringify(one, null, 2))
  const state = one.deleted_at !== null ? bad('removed') : one.is_active ? good('on') : bad('off')
  const uses = one.uses === null ? 'the gateway’s' : `${count(one.uses)} uses`
  console.log(`${one.name}  ${state}  id ${one.id}  version ${one.version}  ${one.sms_type}  ${uses}\n`)
  console.log(one.content)
  for (const [tag, text] of Object.entries(one.locales)) console.log(`\n${faint(`${tag}:`)} ${text}`)
  if (one.variables.length > 0) {
    const rows = one.variables.map(({ name, required, default: preset, max_length, pattern }) => [
      name,
      required ? 'needed' : '',
      preset ?? '',
      max_length === null ? '' : String(max_length),
      pattern ?? '',
    ])
    console.log(`\n${table(['variable', '', 'default', '>at most', 'pattern'], rows)}`)
  }
  const rows = one.versions.map(({ version, created_at, created_by, content }) => [
    version,
    created_at.slice(0, 16).replace('T', ' '),
    created_by,
    short(content),
  ])
  console.log(`\n${table(['>version', 'made', 'by', 'text'], rows)}`)
}

function bodyOf(options: Written): Record<string, unknown> {
  const { name, text, file, locale, variable, category, type } = options
  if (text !== undefined && file !== undefined) throw new CommandError(EXIT.usage, 'give --text or --file, not both')
  const content = text ?? (file === undefined ? undefined : readFile(file).replace(/\r?\n$/, ''))
  return {
    ...(name === undefined ? {} : { name }),
    ...(content === undefined ? {} : { content }),
    ...(locale === undefined ? {} : { locales: locale }),
    ...(variable === undefined ? {} : { variables: variable }),
    ...(category === undefined ? {} : { category }),
    ...(type === undefined ? {} : { sms_type: type }),
  }
}

async function create(name: string, options: Written): Promise<void> {
  const body = { ...bodyOf(options), name, is_active: !options.inactive }
  if (!('content' in body)) throw new CommandError(EXIT.usage, 'what does it say? Give --text or --file')
  const made = (await ask(options, { method: 'POST', path: rootOf(options), body })) as TemplateEntry
  if (options.json) return console.log(JSON.stringify(made, null, 2))
  console.log(`${good('made')} ${made.name}, id ${made.id}${namesOf(made)}`)
}

const namesOf = ({ variables }: TemplateEntry): string =>
  variables.length === 0 ? '' : `: takes ${variables.map(({ name }) => name).join(', ')}`

async function edit(id: string, options: Written): Promise<void> {
  const body = bodyOf(options)
  if (Object.keys(body).length === 0) throw new CommandError(EXIT.usage, 'nothing to change: give --text, --locale, …')
  const before = (await ask(options, { path: pathOf(id, options) })) as TemplateEntry
  // A language more leaves the others; and what somebody else has written meanwhile.
  if (options.locale !== undefined) {
    Object.assign(body, { locales: { ...before.locales, ...options.locale }, version: before.version })
  }
  const done = (await ask(options, { method: 'PATCH', path: pathOf(id, options), body })) as TemplateEntry
  if (options.json) return console.log(JSON.stringify(done, null, 2))
  const what = done.version === before.version ? `version ${done.version} stays` : `version ${done.version} from now on`
  console.log(`${good('changed')} ${done.name}: ${what}`)
}

async function restore(id: string, version: number, options: Options): Promise<void> {
  const path = pathOf(id, options, `/versions/${version}/restore`)
  const done = (await ask(options, { method: 'POST', path })) as TemplateEntry
  if (options.json) return console.log(JSON.stringify(done, null, 2))
  console.log(`${good('restored')} ${done.name}: version ${done.version} says what ${version} did`)
}

async function preview(id: string, options: PreviewOptions): Promise<void> {
  const { set, to, atVersion, locale, from, type } = options
  const body = {
    ...(set === undefined ? {} : { variables: set }),
    ...(to === undefined ? {} : { to }),
    ...(atVersion === undefined ? {} : { version: atVersion }),
    ...(locale === undefined ? {} : { locale }),
    ...(from === undefined ? {} : { from_number: from }),
    ...(type === undefined ? {} : { sms_type: type }),
  }
  const seen = (await ask(options, { method: 'POST', path: pathOf(id, options, '/preview'), body })) as TemplatePreview
  if (options.json) return console.log(JSON.stringify(seen, null, 2))
  console.log(`${seen.text}\n`)
  const why = seen.ucs2_characters.length > 0 ? ` for ${seen.ucs2_characters.join(' ')}` : ''
  console.log(
    `version ${seen.version}, ${seen.characters} characters, ${seen.encoding}${why}: ${count(seen.segments)} segments`,
  )
  if (seen.recipients.length === 0) return
  const rows = seen.recipients.map(one => [
    one.to,
    one.segments,
    one.error === null ? `${one.price} ${seen.currency}` : '',
    one.error === null ? good('valid') : bad(one.error.detail),
  ])
  console.log(`\n${table(['to', '>segments', '>price', ''], rows)}`)
  if (rows.length > 1) console.log(`\n${seen.price} ${seen.currency} in all`)
}

async function turn(id: string, isOn: boolean, options: Options): Promise<void> {
  const body = { is_active: isOn }
  const done = (await ask(options, { method: 'PATCH', path: pathOf(id, options), body })) as TemplateEntry
  if (options.json) return console.log(JSON.stringify(done, null, 2))
  console.log(`${done.name} is ${isOn ? good('on') : bad('off')}`)
}

async function remove(id: string, options: Options & { yes?: boolean }): Promise<void> {
  const one = (await ask(options, { path: pathOf(id, options) })) as TemplateEntry
  if (!options.yes && !(await confirmed(`Remove the template ${one.name}?`))) {
    throw new CommandError(EXIT.failed, 'nothing was changed')
  }
  const done = (await ask(options, { method: 'DELETE', path: pathOf(one.id, options) })) as TemplateEntry
  if (options.json) return console.log(JSON.stringify(done, null, 2))
  console.log(`${done.name} is gone; 'trunkline template show ${done.id}' still reads it`)
}

async function importFile(file: string, options: Options & { format?: string }): Promise<void> {
  const given = await templatesIn(file, options.format)
  const isOwn = (one: TemplateEntry): boolean => one.shared === (options.account === undefined)
  const there = new Map((await all(options)).filter(isOwn).map(one => [one.name, one]))
  const progress = new Progress()
  const done = { made: 0, changed: 0, unchanged: 0, refused: [] as { at: string; name: string; detail: string }[] }
  for (const [index, { at, fields }] of given.entries()) {
    const name = typeof fields.name === 'string' ? fields.name : ''
    const before = there.get(name)
    const question =
      before === undefined
        ? { method: 'POST' as const, path: rootOf(options), body: fields }
        : { method: 'PATCH' as const, path: pathOf(before.id, options), body: fields }
    try {
      const after = (await ask(options, question)) as TemplateEntry
      if (before === undefined) done.made++
      else if (after.updated_at === before.updated_at) done.unchanged++
      else done.changed++
      there.set(after.name, after)
    } catch (error) {
      if (!(error instanceof CommandError)) throw error
      done.refused.push({ at, name, detail: error.message })
    }
    progress.show(`${count(index + 1)} of ${count(given.length)} templates`)
  }
  progress.end()
  if (options.json) console.log(JSON.stringify(done, null, 2))
  else {
    for (const { at, name, detail } of done.refused) console.log(`${at} ${name}: ${bad(detail)}`)
    const { made, changed, unchanged } = done
    console.log(`${count(made)} made, ${count(changed)} changed, ${count(unchanged)} as they were`)
  }
  if (done.refused.length > 0) throw new CommandError(EXIT.failed, `${count(done.refused.length)} were refused`)
}
