// `trunkline route`: which messages go to which carriers, in the order in which they are asked.

import type { Command } from 'commander'
import type { RouteEntry } from '../admin/lists.js'
import { ask } from './ask.js'
import { bad, table } from './print.js'
import { type GlobalOptions, optionsOf } from './settings.js'

export function register(program: Command): void {
  const route = program.command('route').description('Routes: which messages go to which carriers.')
  route
    .command('list')
    .description('Lists the routes in the order in which they are asked; the first that matches takes a message.')
    .addHelpText(
      'after',
      `
Carriers without weights are used in their order: the second when the first is down.

Examples:
  trunkline route list
  trunkline route list --json | jq '.[] | select(.match.destination | index("44"))'`,
    )
    .action((_, command: Command) => list(optionsOf(command)))
}

async function list(options: GlobalOptions): Promise<void> {
  const { routes } = (await ask(options, { path: '/api/v1/admin/routes' })) as { routes: RouteEntry[] }
  if (options.json) return console.log(JSON.stringify(routes, null, 2))
  if (routes.length === 0)
    return console.log("no routes, so every message is refused: 'trunkline apply FILE' makes some")
  const rows = routes.map(({ position, name, match, to }) => [String(position), name, matches(match), targets(to)])
  console.log(table(['>', 'route', 'matches', 'to'], rows))
}

function matches(match: RouteEntry['match']): string {
  const parts = Object.entries(match)
    .filter(([, values]) => values.length > 0)
    .map(([name, values]) => `${name} ${values.slice(0, MOST).join(', ')}${values.length > MOST ? ', ...' : ''}`)
  return parts.length === 0 ? 'everything' : parts.join('; ')
}

/** Prefixes of a match on the screen; --json has all. */
const MOST = 5

function targets(to: RouteEntry['to']): string {
  return to
    .map(({ carrier, weight, up }) => `${carrier}${weight === null ? '' : `:${weight}`}${up ? '' : bad(' (down)')}`)
    .join(', ')
}
