// `trunkline audit`: who changed what, when and why.

import type { Command } from 'commander'
import type { AuditEntry } from '../accounts/audit.js'
import { whole } from './arguments.js'
import { ask } from './ask.js'
import { faint, table } from './print.js'
import { type GlobalOptions, optionsOf } from './settings.js'

interface ListOptions {
  subject?: string
  action?: string
  who?: string
  since?: string
  limit: number
}

export function register(program: Command): void {
  const audit = program.command('audit').description('The audit: who changed accounts, keys and users.')
  audit
    .command('list')
    .description('Lists what was changed, the newest first.')
    .option('--subject <name>', 'of this account or user alone')
    .option('--action <action>', 'of this kind alone: account.suspend; `account.` for all that begin so')
    .option('--who <who>', 'by this one alone')
    .option('--since <date>', 'not before, like 2030-12-31T00:00:00Z')
    .option('--limit <n>', 'so many at most', whole(1, 200), 50)
    .addHelpText(
      'after',
      `
Examples:
  trunkline audit list --subject shop
  trunkline audit list --action key. --json | jq -r '.[].who'`,
    )
    .action((_, command: Command) => list(optionsOf<ListOptions>(command)))
}

async function list(options: ListOptions & GlobalOptions): Promise<void> {
  const query = new URLSearchParams({ limit: String(options.limit) })
  for (const name of ['subject', 'action', 'who', 'since'] as const) {
    const value = options[name]
    if (value !== undefined) query.set(name, value)
  }
  const { audit } = (await ask(options, { path: `/api/v1/admin/audit?${query}` })) as { audit: AuditEntry[] }
  if (options.json) return console.log(JSON.stringify(audit, null, 2))
  if (audit.length === 0) return console.log('nothing was changed')
  const rows = audit.map(({ at, who, from, action, subject, reason, changes }) => [
    at.slice(0, 19).replace('T', ' '),
    from === who ? who : `${who} ${faint(from)}`,
    action,
    subject,
    reason === '' ? shown(changes) : reason,
  ])
  console.log(table(['at', 'who', 'action', 'of', ''], rows))
}

function shown(changes: Record<string, unknown>): string {
  const text = JSON.stringify(changes)
  return text === '{}' ? '' : text.slice(0, 80)
}
