// The options that stand before every command, and the configuration they point to. The
// only place where a command meets the environment.

import type { Command } from 'commander'
import { faultLine, type LoadedConfig, loadConfig } from '../config/loading.js'
import type { Config, ConfigInput } from '../config.js'
import { CommandError, EXIT } from './exit.js'

/** Options of the program itself, understood before and after the command's name. */
export interface GlobalOptions {
  config?: string
  json?: boolean
  url?: string
  key?: string
}

/** A command's own options and the global ones. */
export function optionsOf<Own extends object = object>(command: Command): Own & GlobalOptions {
  return command.optsWithGlobals<Own & GlobalOptions>()
}

/**
 * Reads the configuration that the options name: their file if any, then the environment, then `overrides`. With `files`
 * it looks into the files that settings name too.
 */
export function readSettings(options: GlobalOptions, overrides: ConfigInput = {}, files = false): LoadedConfig {
  return loadConfig({ file: options.config, env: process.env, overrides, files })
}

/** The same for a command that cannot go on without: all faults in one CommandError, exit 2. */
export function requireSettings(options: GlobalOptions, overrides: ConfigInput = {}, files = false): Config {
  const loaded = readSettings(options, overrides, files)
  if (loaded.ok) return loaded.config
  throw new CommandError(EXIT.usage, loaded.faults.map(faultLine).join('\n'))
}
