// `trunkline check`: is this configuration sound, and what in it is not the default? Reads
// settings only; it opens no port, no database and no data directory,
// but looks into certificate files.

import type { Command } from 'commander'
import { differences, faultLine } from '../config/loading.js'
import type { Setting } from '../config.js'
import { EXIT } from './exit.js'
import { optionsOf, readSettings } from './settings.js'

export function register(program: Command): void {
  program
    .command('check')
    .description('Check the configuration: every fault at once, with file, line and setting.')
    .option('--changed', 'print the settings that differ from the defaults')
    .addHelpText(
      'after',
      `
Exit code 0 if it is sound, 2 if it is not.

Examples:
  trunkline check --config /etc/trunkline/trunkline.yaml
  TRUNKLINE_SMPP_LISTEN=0.0.0.0:2775 trunkline check --changed`,
    )
    .action((_, command: Command) => check(optionsOf<{ changed?: boolean }>(command)))
}

function check(options: ReturnType<typeof optionsOf<{ changed?: boolean }>>): void {
  const loaded = readSettings(options, {}, true)
  if (!loaded.ok) {
    if (options.json) console.log(JSON.stringify({ ok: false, faults: loaded.faults }))
    else for (const fault of loaded.faults) console.error(faultLine(fault))
    process.exitCode = EXIT.usage
    return
  }
  const changed = options.changed
    ? differences(loaded.config).map(({ setting, value, was }) => ({
        key: setting.key,
        value: shown(setting, value),
        default: was,
      }))
    : undefined
  if (options.json) console.log(JSON.stringify({ ok: true, ...(changed ? { changed } : {}) }))
  else if (changed === undefined) console.log('the configuration is sound')
  else if (changed.length === 0) console.log('every setting has its default')
  else
    for (const { key, value, default: was } of changed)
      console.log(`${key}: ${inline(value)}  # default ${inline(was)}`)
}

function shown(setting: Setting, value: unknown): unknown {
  return setting.secret && value !== null ? '(set)' : value
}

/** As YAML reads it, on one line. */
function inline(value: unknown): string {
  return typeof value === 'string' && /^[\w./-]+$/.test(value) ? value : JSON.stringify(value)
}
