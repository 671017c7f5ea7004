// `trunkline serve`: the daemon as a process. Knows signals, exit codes, systemd and what
// a first-time user wants to read; everything else is daemon.ts's.

import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { createLog } from '../base/log.js'
import type { ConfigInput } from '../config.js'
import type { Daemon } from '../daemon.js'
import { CommandError, EXIT } from './exit.js'
import { type GlobalOptions, optionsOf, readSettings, requireSettings } from './settings.js'

interface ServeOptions extends GlobalOptions {
  catch?: boolean
  demo?: boolean
  workers: string
  dataDir?: string
}

const ROOT = new URL('../../../', import.meta.url)

export function register(program: Command): void {
  program
    .command('serve')
    .description(
      'Runs the daemon until SIGTERM or SIGINT; a second signal hurries. SIGHUP reloads what may change live.',
    )
    .option('--demo', 'begin with a demo account and the built-in carrier, if the database is empty')
    .option('--catch', 'deliver no mail, and keep it for /catch on the side-port (setting smtp.catch)')
    .option('--data-dir <dir>', 'the folder that holds everything (setting dataDir)')
    .option('--workers <n>', 'nodes on this machine; above 1 needs redis.url', '1')
    .addHelpText(
      'after',
      `
Examples:
  trunkline serve --config /etc/trunkline/trunkline.yaml
  trunkline serve --demo --data-dir /tmp/trunkline`,
    )
    .action(async (_options, command: Command) => serve(optionsOf<ServeOptions>(command)))
}

async function serve(options: ServeOptions): Promise<void> {
  if (options.workers !== '1') {
    throw new CommandError(EXIT.usage, '--workers above 1 needs Redis, and this release stores in LMDB only')
  }
  const overrides: ConfigInput = {}
  if (options.dataDir !== undefined) overrides.dataDir = options.dataDir
  if (options.catch === true) overrides.smtp = { catch: true }
  if (options.demo === true) overrides.sandbox = { enabled: true }
  let config = requireSettings(options, overrides, true)
  makeDataDir(config.dataDir)
  let demoKey: string | undefined
  if (options.demo && config.bootstrap === null) {
    const { file, apiKey } = demoGateway(config.dataDir)
    demoKey = apiKey
    config = { ...config, bootstrap: file }
  }
  // Who tries it out on a terminal reads the log by eye.
  const pretty = config.log.pretty || (options.demo === true && process.stdout.isTTY)
  const log = createLog({ level: config.log.level, pretty })
  let daemon: Daemon | undefined
  const early: string[] = []
  const onSignal = (signal: NodeJS.Signals): void => {
    log.info({ signal }, 'signal')
    if (daemon) void daemon.stop()
    else early.push(signal)
  }
  process.on('SIGTERM', onSignal)
  process.on('SIGINT', onSignal)
  process.on('SIGHUP', () => {
    const loaded = readSettings(options, overrides, true)
    if (loaded.ok) daemon?.reload(loaded.config)
    else log.error({ faults: loaded.faults }, 'settings not reloaded: they are faulty')
  })
  process.on('uncaughtException', error => {
    log.error({ err: error }, 'a fault of ours: ending')
    process.exit(70)
  })
  // Only now: faulty settings are told of, and help is shown, without the 400 files of the daemon.
  const { BootstrapFaulty, startDaemon } = await import('../daemon.js')
  const { DirectoryOwned } = await import('../admin/lock.js')
  try {
    daemon = await startDaemon({ config, log, version: versionOf(), fatal: code => process.exit(code) })
  } catch (error) {
    if (error instanceof DirectoryOwned) throw new CommandError(EXIT.owned, error.message)
    const isFaulty = error instanceof BootstrapFaulty
    const { message } = error as Error
    console.error(isFaulty ? message : `cannot start: ${message}`)
    process.exit(isFaulty ? EXIT.usage : EXIT.failed)
  }
  notify('--ready')
  if (options.demo) welcome(daemon, demoKey)
  if (options.demo && config.smtp.catch)
    console.log(`No mail is delivered: see it at http://127.0.0.1:${daemon.ports.admin}/catch\n`)
  if (early.length > 0) void daemon.stop()
  await daemon.stopped
  process.exit(EXIT.ok)
}

/** Others may pass through it: under root the embedded PostgreSQL runs as another user. */
function makeDataDir(dataDir: string): void {
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o711 })
  } catch (error) {
    throw new CommandError(EXIT.usage, `dataDir ${dataDir} cannot be made: ${(error as NodeJS.ErrnoException).code}`)
  }
}

/** The demo's gateway file with an API key of its own, written once beside the data. */
function demoGateway(dataDir: string): { file: string; apiKey: string | undefined } {
  const file = join(dataDir, 'demo.yaml')
  try {
    return { file, apiKey: /apiKey: (\S+)/.exec(readFileSync(file, 'utf8'))?.[1] }
  } catch {
    const apiKey = `tl_demo_${randomBytes(16).toString('hex')}`
    const preset = readFileSync(new URL('config/demo.yaml', ROOT), 'utf8')
    writeFileSync(file, preset.replace('    maxBinds: 32\n', `    maxBinds: 32\n    apiKey: ${apiKey}\n`), {
      mode: 0o600,
    })
    return { file, apiKey }
  }
}

function welcome(daemon: Daemon, apiKey: string | undefined): void {
  const { smpp, smtp, admin } = daemon.ports
  console.log(`
Trunkline is running.
  SMPP    127.0.0.1:${smpp}   system_id demo, password demo1234
  SMTP    127.0.0.1:${smtp}   mail to NUMBER@sms.localhost, the same name and password
  admin   http://127.0.0.1:${admin}/health  /metrics${apiKey ? `\n  API key ${apiKey}` : ''}

Send the first message, from another terminal:
  npx trunkline send --to 15550001111 --text "Hello from Trunkline"

Ctrl-C stops it, and loses nothing.
`)
}

/** sd_notify through systemd's own tool: Node cannot open the datagram socket. */
function notify(what: string): void {
  if (process.env.NOTIFY_SOCKET === undefined) return
  execFile('systemd-notify', [what, `--pid=${process.pid}`], () => {})
}

function versionOf(): string {
  const described: unknown = JSON.parse(readFileSync(fileURLToPath(new URL('package.json', ROOT)), 'utf8'))
  return (described as { version: string }).version
}
