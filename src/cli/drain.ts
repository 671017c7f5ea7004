// `trunkline drain`: asks the daemon to stop in order and waits until it is gone. How it stops
// is the daemon's; here is only the asking and the watching.

import { connect } from 'node:net'
import type { Command } from 'commander'
import type { Status } from '../admin/status.js'
import { adminSocketPath } from '../config/adminSocket.js'
import { ask } from './ask.js'
import { CommandError, EXIT } from './exit.js'
import { count, duration } from './print.js'
import { type GlobalOptions, optionsOf, requireSettings } from './settings.js'

interface DrainOptions extends GlobalOptions {
  wait: string
}

const LOOK_MS = 100

export function register(program: Command): void {
  program
    .command('drain')
    .description('Stops the daemon in order: no new work, open windows empty, nothing is lost; waits until it is gone.')
    .option('--wait <seconds>', 'how long to wait for its end', '60')
    .addHelpText(
      'after',
      `
Exit code 0 when the daemon is gone, 1 when it still answers after that time or did not answer at all.

Examples:
  trunkline drain
  trunkline drain --config /etc/trunkline/trunkline.yaml --wait 120`,
    )
    .action((_, command: Command) => drain(optionsOf<DrainOptions>(command)))
}

async function drain(options: DrainOptions): Promise<void> {
  const waitMs = Number(options.wait) * 1000
  if (!(waitMs > 0)) throw new CommandError(EXIT.usage, `--wait must be a number of seconds, not ${options.wait}`)
  const where = placeOf(options)
  const { pid } = (await ask(options, { method: 'POST', path: '/api/v1/admin/drain' })) as { pid: number }
  const startedMs = performance.now()
  const progress = new Progress(options.json === true || !process.stderr.isTTY)
  while ((await answers(where)) && (await isStill(options, pid, progress, startedMs))) {
    if (performance.now() - startedMs > waitMs) {
      progress.end()
      throw new CommandError(EXIT.failed, `the daemon (pid ${pid}) still runs after ${options.wait} s`)
    }
    await new Promise(resolve => setTimeout(resolve, LOOK_MS))
  }
  progress.end()
  const seconds = (performance.now() - startedMs) / 1000
  console.log(
    options.json
      ? JSON.stringify({ stopped: true, pid, after_s: Number(seconds.toFixed(3)) })
      : `the daemon (pid ${pid}) has stopped after ${seconds.toFixed(1)} s`,
  )
}

type Place = { path: string } | { host: string; port: number }

function placeOf(options: GlobalOptions): Place {
  if (options.url !== undefined && URL.canParse(options.url)) {
    const { hostname, port, protocol } = new URL(options.url)
    return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) || (protocol === 'https:' ? 443 : 80) }
  }
  const { dataDir } = requireSettings(options)
  try {
    return { path: adminSocketPath(dataDir) }
  } catch {
    // The directory is not there: asking says so in better words.
    return { path: dataDir }
  }
}

/** Whether anybody takes a connection there. */
function answers(place: Place): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(place, () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', () => resolve(false))
  })
}

/** False when another daemon has taken its place, as under a supervisor that starts it again. */
async function isStill(options: GlobalOptions, pid: number, progress: Progress, startedMs: number): Promise<boolean> {
  try {
    const now = (await ask(options, { path: '/api/v1/admin/status' })) as Status
    if (now.pid !== pid) return false
    const carriers = now.carriers.flatMap(carrier => carrier.links).reduce((sum, link) => sum + link.in_flight, 0)
    const { tx, rx, trx } = now.binds
    progress.show(
      `stopping: ${count(carriers)} in flight, ${count(tx + rx + trx)} binds, ` +
        `${count(now.history.waiting_rows)} history rows (${duration((performance.now() - startedMs) / 1000)})`,
    )
  } catch (error) {
    // It closes: between the last answer and its end, requests fail in several ways.
    if (!(error instanceof CommandError)) throw error
  }
  return true
}

/** One line on a terminal, written over; nothing elsewhere. */
class Progress {
  private readonly silent: boolean
  private width = 0

  constructor(silent: boolean) {
    this.silent = silent
  }

  show(line: string): void {
    if (this.silent) return
    process.stderr.write(`\r${line.padEnd(this.width)}`)
    this.width = line.length
  }

  end(): void {
    if (this.width > 0) process.stderr.write(`\r${' '.repeat(this.width)}\r`)
  }
}
