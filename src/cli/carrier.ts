// `trunkline carrier`: the ways out.

import type { Command } from 'commander'
import type { CarrierEntry } from '../admin/lists.js'
import { ask } from './ask.js'
import { bad, good, table } from './print.js'
import { type GlobalOptions, optionsOf } from './settings.js'

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
}

async function list(options: GlobalOptions): Promise<void> {
  const { carriers } = (await ask(options, { path: '/api/v1/admin/carriers' })) as { carriers: CarrierEntry[] }
  if (options.json) return console.log(JSON.stringify(carriers, null, 2))
  if (carriers.length === 0) return console.log("no carriers: 'trunkline apply FILE' makes some")
  const rows = carriers.map(({ name, kind, paused, up, links_ready, links, settings }) => [
    name,
    kind,
    paused ? bad('paused') : up ? good('up') : bad('down'),
    `${links_ready}/${links}`,
    shown(settings.window),
    settings.throughput === 0 ? '-' : shown(settings.throughput),
    settings.host === undefined ? '' : `${settings.systemId}@${settings.host}:${settings.port}`,
  ])
  console.log(table(['carrier', 'kind', '', '>links', '>window', '>parts/s', 'where'], rows))
}

/** Kinds that have no such setting have nothing to show. */
const shown = (setting: unknown): string | number => (typeof setting === 'number' ? setting : '-')
