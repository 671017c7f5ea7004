// `trunkline dnd`: do-not-disturb lists, of any length. Import and export work on the database itself; the rest asks the
// daemon.

import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { SingleBar } from 'cli-progress'
import type { Command } from 'commander'
import { type DndImported, FileFaulty, importDnd } from '../accounts/dndImport.js'
import { type DndEntry, exportDnd } from '../accounts/dndLists.js'
import { digitsOfKey } from '../accounts/phoneKey.js'
import type { ConsentShown, DndChanged } from '../admin/consent.js'
import { writtenNumber } from '../routing/writtenNumber.js'
import type { Store } from '../store/postgres.js'
import { ask } from './ask.js'
import { withDatabase } from './database.js'
import { CommandError, EXIT } from './exit.js'
import { count, table } from './print.js'
import { type GlobalOptions, optionsOf } from './settings.js'

interface ListOptions extends GlobalOptions {
  list: string
  account?: string
}

interface ImportOptions extends ListOptions {
  replace?: boolean
  column: string
  country?: string
}

const PATH = '/api/v1/admin/dnd'
const CHUNK = 2 ** 18

export function register(program: Command): void {
  const dnd = program
    .command('dnd')
    .description('Do-not-disturb lists: numbers that get no advertising (class bulk).')
    .addHelpText(
      'after',
      `
Examples:
  trunkline dnd import numbers.csv --list national --replace
  trunkline dnd import members.csv --list own --account shop --column phone --country 49
  trunkline dnd show +4917112345678
  trunkline dnd count`,
    )
  const named = (command: Command): Command =>
    command
      .requiredOption('--list <name>', 'the list')
      .option('--account <systemId>', 'of this account only; left out: for all accounts')
  named(
    dnd
      .command('import')
      .argument('<file>', 'CSV, one number a line; - is standard input')
      .description('Puts the numbers of a file into a list: all of them at once.'),
  )
    .option('--replace', 'what is in the list and not in the file goes')
    .option('--column <name>', 'by its heading, or by its place from 1', '1')
    .option('--country <code>', 'numbers without + or 00 are of this country, like 49')
    .addHelpText(
      'after',
      `
Lines that are no phone numbers are left out and reported. Interrupted, it has changed nothing.`,
    )
    .action((file: string, _, command: Command) => importFile(file, optionsOf<ImportOptions>(command)))
  for (const verb of ['add', 'remove'] as const) {
    named(
      dnd
        .command(verb)
        .argument('<number...>', 'international, like +4917112345678')
        .description(verb === 'add' ? 'Puts numbers into a list.' : 'Takes numbers out of a list.'),
    ).action((numbers: string[], _, command: Command) => change(verb, numbers, optionsOf<ListOptions>(command)))
  }
  dnd
    .command('show')
    .argument('<number>', 'the phone, international')
    .description('Shows which lists a number is in.')
    .action((number: string, _, command: Command) => show(number, optionsOf(command)))
  dnd
    .command('count')
    .description('Lists the lists, with how many numbers each has.')
    .action((_, command: Command) => counts(optionsOf(command)))
  named(dnd.command('export').description('Writes the numbers of a list, one a line.')).action((_, command: Command) =>
    exportList(optionsOf<ListOptions>(command)),
  )
  named(dnd.command('drop').description('Removes a list and all its numbers.')).action((_, command: Command) =>
    drop(optionsOf<ListOptions>(command)),
  )
}

async function importFile(path: string, options: ImportOptions): Promise<void> {
  const { country = '', list } = options
  if (!/^(?:[1-9]\d{0,2})?$/.test(country))
    throw new CommandError(EXIT.usage, '--country must be a country code like 49')
  const place = /^[1-9]\d{0,3}$/.test(options.column) ? Number(options.column) - 1 : options.column
  const size = path === '-' ? null : await sizeOf(path)
  const bar = new SingleBar({
    format: '{what} [{bar}] {percentage}% | {eta_formatted} left',
    noTTYOutput: false,
    hideCursor: true,
  })
  let shown: string | undefined
  const progress = (what: 'read' | 'written', n: number, of: number | null): void => {
    const total = of ?? size
    if (total === null || !process.stderr.isTTY) return
    if (shown !== what) {
      bar.stop()
      bar.start(total, 0, { what: what === 'read' ? 'reading' : 'writing' })
      shown = what
    }
    bar.update(Math.min(n, total))
  }
  const imported = await withDatabase(options, async store => {
    const octets = path === '-' ? process.stdin : createReadStream(path, { highWaterMark: CHUNK })
    try {
      return await importDnd(store, octets as AsyncIterable<Buffer>, {
        list: { account: await accountOf(store, options.account), name: list },
        replaces: options.replace === true,
        column: place,
        number: text => writtenNumber(text, country),
        progress,
      })
    } catch (error) {
      if (error instanceof FileFaulty) throw new CommandError(EXIT.usage, error.message)
      throw error
    } finally {
      bar.stop()
    }
  })
  if (options.json) return console.log(JSON.stringify({ list, ...imported }))
  for (const line of summary(list, imported)) console.log(line)
}

function summary(list: string, done: DndImported): string[] {
  const lines = done.bad.map(({ line, text }) => `line ${line}: no phone number: ${text}`)
  if (done.badLines > done.bad.length) lines.push(`and ${count(done.badLines - done.bad.length)} more like these`)
  const also = [
    done.unchanged > 0 ? `${count(done.unchanged)} were there` : '',
    done.repeated > 0 ? `${count(done.repeated)} came twice` : '',
    done.badLines > 0 ? `${count(done.badLines)} lines are no numbers` : '',
  ].filter(words => words !== '')
  lines.push(`${count(done.changed)} numbers added to ${list}${also.length > 0 ? `; ${also.join(', ')}` : ''}`)
  lines.push(`${count(done.total)} in the list now`)
  return lines
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size
  } catch (error) {
    throw new CommandError(EXIT.usage, `${path} cannot be read: ${(error as NodeJS.ErrnoException).code}`)
  }
}

async function accountOf(store: Store, systemId: string | undefined): Promise<number> {
  if (systemId === undefined) return 0
  const { rows } = await store.query<{ id: number }>('select id from accounts where system_id = $1', [systemId])
  if (rows[0] !== undefined) return rows[0].id
  throw new CommandError(EXIT.failed, `no account is called ${systemId}`)
}

async function change(verb: 'add' | 'remove', numbers: string[], options: ListOptions): Promise<void> {
  const { list, account = null } = options
  const body = { list, account, [verb]: numbers }
  const { added, removed } = (await ask(options, { method: 'POST', path: PATH, body })) as DndChanged
  if (options.json) return console.log(JSON.stringify({ list, added, removed }))
  const done = (added ?? removed) as NonNullable<typeof added>
  const words = verb === 'add' ? 'added to' : 'removed from'
  console.log(`${count(done.changed)} numbers ${words} ${list}: ${count(done.total)} in it now`)
}

async function show(number: string, options: GlobalOptions): Promise<void> {
  const path = `/api/v1/admin/consent/${encodeURIComponent(number)}`
  const shown = (await ask(options, { path })) as ConsentShown
  if (options.json) return console.log(JSON.stringify({ number: shown.number, lists: shown.lists }))
  if (shown.lists.length === 0) return console.log(`${shown.number} is on no list`)
  console.log(
    table(
      ['list', 'account'],
      shown.lists.map(({ name, account }) => [name, account ?? 'all']),
    ),
  )
}

async function counts(options: GlobalOptions): Promise<void> {
  const { lists } = (await ask(options, { path: PATH })) as { lists: DndEntry[] }
  if (options.json) return console.log(JSON.stringify(lists, null, 2))
  if (lists.length === 0) return console.log("no lists: 'trunkline dnd import FILE --list NAME' makes one")
  const rows = lists.map(one => [one.name, one.account ?? 'all', one.numbers, one.updated_at])
  console.log(table(['list', 'account', '>numbers', 'changed'], rows))
}

async function exportList(options: ListOptions): Promise<void> {
  const name = options.list
  const written = await withDatabase(options, async store =>
    exportDnd(store, { account: await accountOf(store, options.account), name }, numbers => {
      const text = `${numbers.map(key => `+${digitsOfKey(key)}`).join('\n')}\n`
      return new Promise(resolve => process.stdout.write(text, resolve))
    }),
  )
  if (written === undefined) throw new CommandError(EXIT.failed, `no do-not-disturb list is called ${name}`)
}

async function drop(options: ListOptions): Promise<void> {
  const query = options.account === undefined ? '' : `?account=${encodeURIComponent(options.account)}`
  await ask(options, { method: 'DELETE', path: `${PATH}/${encodeURIComponent(options.list)}${query}` })
  console.log(options.json ? JSON.stringify({ dropped: options.list }) : `${options.list} is gone`)
}
