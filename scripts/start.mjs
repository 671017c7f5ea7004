// `npm start`: installs and builds what is missing, then stands between the terminal
// and the daemon, so that one Ctrl-C is one signal to it. Knows no setting of the daemon;
// arguments go through. --build-only stops after the build.

import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { build, install, root } from './prepare.mjs'

/** npm passes on a signal that the terminal has already sent: within this time it is the same one. */
const SAME_SIGNAL_MS = 300
/** A message lives for milliseconds: room for more of them to die young saves a tenth of the daemon's CPU. */
const YOUNG_SPACE = '--max-semi-space-size=32'

const args = process.argv.slice(2)

const obstacle = install()
if (obstacle !== null) {
  console.error(obstacle)
  process.exit(1)
}
const outcome = build()
if (!outcome.ok) {
  console.error(`${outcome.output.trimEnd()}\nthe sources do not compile`)
  process.exit(1)
}
if (!args.includes('--build-only')) serve()

function serve() {
  // A process group of its own keeps the terminal's signals away from the daemon; the channel tells it if
  // this process is killed.
  const daemon = spawn(process.execPath, [YOUNG_SPACE, 'dist/src/cli.js', 'serve', '--demo', ...args], {
    cwd: root,
    detached: true,
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
  })
  const sentAt = new Map()
  const pass = signal => {
    const now = performance.now()
    if (now - (sentAt.get(signal) ?? -Infinity) < SAME_SIGNAL_MS) return
    sentAt.set(signal, now)
    daemon.kill(signal)
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGQUIT', 'SIGUSR2']) process.on(signal, () => pass(signal))
  // A closed terminal ends the daemon; without a terminal the same signal is an operator's reload.
  process.on('SIGHUP', () => pass(process.stdout.isTTY ? 'SIGTERM' : 'SIGHUP'))
  daemon.on('error', error => {
    console.error(`the daemon could not be started: ${error.message}`)
    process.exit(1)
  })
  daemon.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]))
}
