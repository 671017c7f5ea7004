#!/usr/bin/env -S node --max-semi-space-size=32
// The program's entry: its name, its global options, and the table of commands. A command's
// file is loaded only when it is called, so that --help is quick. Turns how a command ended
// into an exit code; knows nothing of what it does.

import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { CommandError, EXIT } from './cli/exit.js'

interface CommandFile {
  /** Adds the command, under the name it has in the table. `whole` answers with the program and all its commands. */
  register(program: Command, whole: () => Promise<Command>): void
}

const COMMANDS: readonly [name: string, summary: string, load: () => Promise<CommandFile>][] = [
  ['serve', 'run the daemon', () => import('./cli/serve.js')],
  ['check', 'check the configuration', () => import('./cli/check.js')],
  ['simulate', 'run a message centre to send to', () => import('./cli/simulate.js')],
  ['load', 'offer load and account for every message', () => import('./cli/load.js')],
  ['send', 'send one message', () => import('./cli/send.js')],
  ['apply', 'make the accounts, carriers and routes those of a gateway file', () => import('./cli/apply.js')],
  ['export', 'write the gateway file of what there is', () => import('./cli/export.js')],
  ['status', 'show how the daemon is', () => import('./cli/status.js')],
  ['queue', 'show what waits, try it again, end it or move it', () => import('./cli/queue.js')],
  ['message', 'show what became of a message, or list them', () => import('./cli/message.js')],
  ['stats', 'show what messages came to, by account, carrier, country', () => import('./cli/stats.js')],
  ['trace', 'show PDUs live, or capture them', () => import('./cli/trace.js')],
  ['top', 'watch rates, lanes, carriers and binds', () => import('./cli/top.js')],
  ['account', 'list, add, change, suspend or remove accounts', () => import('./cli/account.js')],
  ['key', 'list, add, rotate or revoke API keys', () => import('./cli/key.js')],
  ['user', 'list, add, change or remove people who log in', () => import('./cli/user.js')],
  ['audit', 'show who changed what', () => import('./cli/audit.js')],
  ['carrier', 'list, add, change, pause, try or remove carriers', () => import('./cli/carrier.js')],
  ['route', 'list, change and explain routes', () => import('./cli/route.js')],
  ['inbound', 'show whose messages from phones are', () => import('./cli/inbound.js')],
  ['unclaimed', 'show messages from phones that are nobody’s', () => import('./cli/unclaimed.js')],
  ['webhook', 'list, add, try and change webhooks, and send events again', () => import('./cli/webhook.js')],
  ['template', 'list, make, change, try and import templates of texts', () => import('./cli/template.js')],
  ['consent', 'show and change who may be written to', () => import('./cli/consent.js')],
  ['dnd', 'import and change do-not-disturb lists', () => import('./cli/dnd.js')],
  ['tariff', 'list, change, import and export what messages cost', () => import('./cli/tariff.js')],
  ['credit', 'show and book accounts’ money', () => import('./cli/credit.js')],
  ['invoice', 'make, show, settle and void invoices', () => import('./cli/invoice.js')],
  ['otp', 'send and check codes, and see what keeps them back', () => import('./cli/otp.js')],
  ['drain', 'stop the daemon in order', () => import('./cli/drain.js')],
  ['completion', 'print a script for the completion of a shell', () => import('./cli/completion.js')],
]

// Whoever started us over a channel and is gone cannot stop us any more: that is a stop.
process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'))
process.channel?.unref()

await run(process.argv.slice(2))

async function run(args: string[]): Promise<void> {
  const program = new Command('trunkline')
    .description('An SMPP and SMTP server: accepts messages, makes them durable, sends them through carriers.')
    .version(version())
    .showHelpAfterError("('trunkline --help' lists commands and options)")
    .addHelpText(
      'after',
      `
Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 3 another daemon owns the data directory.

Examples:
  trunkline check --config trunkline.yaml
  trunkline help check`,
    )
    .exitOverride()
  globals(program)
  try {
    await addCommands(program, args)
    await program.parseAsync(args, { from: 'user' })
  } catch (error) {
    if (error instanceof CommanderError) {
      // commander has printed its own words; help and version are no failure.
      process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage
    } else if (error instanceof CommandError) {
      const { json } = program.opts<{ json?: boolean }>()
      console.error(json ? JSON.stringify({ error: error.message }) : error.message)
      process.exitCode = error.exit
    } else throw error
  }
}

/** The command that is called as a whole, the others by name and summary. */
async function addCommands(program: Command, args: string[]): Promise<void> {
  const [called, asked] = program.parseOptions(args).operands
  const wanted = called === 'help' ? asked : called
  for (const [name, summary, load] of COMMANDS) {
    if (name === wanted) {
      const { register } = await load()
      register(program, whole)
      program.commands.find(command => command.name() === name)?.summary(summary)
    } else program.command(name).description(summary)
  }
}

async function whole(): Promise<Command> {
  const program = globals(new Command('trunkline'))
  for (const [name, summary, load] of COMMANDS) {
    const { register } = await load()
    register(program, whole)
    program.commands.find(command => command.name() === name)?.summary(summary)
  }
  return program
}

function globals(program: Command): Command {
  return program
    .option('--config <file>', 'settings as YAML (see config/trunkline.yaml)')
    .option('--json', 'print results as JSON')
    .option('--url <url>', 'ask the daemon over the network, not the one on this machine')
    .option('--key <key>', 'the admin key that goes with --url')
}

function version(): string {
  const described: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  return (described as { version: string }).version
}
