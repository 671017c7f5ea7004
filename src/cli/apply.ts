// `trunkline apply FILE`: makes accounts, carriers and routes match a gateway file. Writes to
// the database itself; a daemon that runs notices.

import { readFile } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import type { Command } from 'commander'
import { applyGateway, type GatewayReport } from '../accounts/gatewayApply.js'
import { type GatewayFault, gatewayFaultLine, parseGateway } from '../accounts/gatewayFile.js'
import { withDatabase } from './database.js'
import { CommandError, EXIT } from './exit.js'
import { type GlobalOptions, optionsOf } from './settings.js'

interface Options extends GlobalOptions {
  dryRun?: boolean
}

export function register(program: Command): void {
  program
    .command('apply')
    .argument('<file>', 'accounts, carriers and routes as YAML; - is standard input')
    .description('Make accounts, carriers and routes match a file: all of it or nothing.')
    .option('--dry-run', 'say what would change and change nothing')
    .addHelpText(
      'after',
      `
What a section of the file leaves out is removed; a section that the file does not have is left alone. Passwords, API
keys, 'paused' and 'suspended' stay as they are where the file does not give them.

Exit code 0 if the rows match now, 1 if the database cannot be reached, 2 if the file has faults.

Examples:
  trunkline apply gateway.yaml --dry-run
  trunkline export | ssh other trunkline apply -`,
    )
    .action((file: string, _, command: Command) => apply(file, optionsOf<Options>(command)))
}

async function apply(path: string, options: Options): Promise<void> {
  const parsed = parseGateway(await textOf(path))
  if (!parsed.ok) throw refused(path, parsed.faults)
  const applied = await withDatabase(options, (store, secrets) =>
    applyGateway(store, secrets, parsed.file, { dryRun: options.dryRun === true }),
  )
  if (!applied.ok) throw refused(path, applied.faults)
  if (options.json) console.log(JSON.stringify({ dryRun: options.dryRun === true, ...applied.report }))
  else for (const line of summary(applied.report, options.dryRun === true)) console.log(line)
}

async function textOf(path: string): Promise<string> {
  try {
    return path === '-' ? await text(process.stdin) : await readFile(path, 'utf8')
  } catch (error) {
    throw new CommandError(EXIT.usage, `${path} cannot be read: ${(error as NodeJS.ErrnoException).code}`)
  }
}

const refused = (path: string, faults: readonly GatewayFault[]): CommandError =>
  new CommandError(EXIT.usage, faults.map(fault => gatewayFaultLine(path, fault)).join('\n'))

function summary(report: GatewayReport, isDryRun: boolean): string[] {
  const lines = Object.entries(report).map(
    ([section, { created, updated, removed, unchanged }]) =>
      `${section.padEnd(9)} ${created} created, ${updated} updated, ${removed} removed, ${unchanged} unchanged`,
  )
  if (lines.length === 0) return ['the file is empty: nothing to do']
  return isDryRun ? [...lines, 'nothing was changed: a dry run'] : lines
}
