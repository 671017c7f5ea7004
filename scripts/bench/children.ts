// The processes of a benchmark run. Each is known until it has ended, stands in a process group of its own, so that a
// Ctrl-C is ours alone, and is ended when we are. Refuses to know what any of them does.

import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'

export interface ChildOptions {
  /** For messages. */
  readonly name: string
  /** Our own programs take the end of this channel for a stop: so they end even when we are killed. */
  readonly channel: boolean
  /** Gets stdout and stderr; otherwise they are kept in memory. */
  readonly logFile?: string
}

/** A second signal hurries the daemon. */
const HURRY_MS = 300
const LAST_MS = 10_000

const running = new Set<Child>()
let over = false

export class Child {
  readonly name: string
  stdout = ''
  stderr = ''
  ended = false
  /** The exit code, or what else ended it. */
  readonly exited: Promise<number | string>
  private readonly child: ChildProcess

  constructor(program: string, args: readonly string[], options: ChildOptions) {
    if (over) throw new Error('the run is over')
    this.name = options.name
    const log = options.logFile === undefined ? 'pipe' : openSync(options.logFile, 'a')
    const child = spawn(program, args, {
      detached: true,
      stdio: options.channel ? ['ignore', log, log, 'ipc'] : ['ignore', log, log],
      env: Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('TRUNKLINE_'))),
    })
    this.child = child
    if (typeof log === 'number') closeSync(log)
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text
    })
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
    })
    running.add(this)
    this.exited = new Promise(resolve => {
      const end = (how: number | string): void => {
        this.ended = true
        running.delete(this)
        resolve(how)
      }
      child.once('error', error => end(error.message))
      child.once('close', (code, signal) => end(code ?? (signal as string)))
    })
  }

  get pid(): number {
    return this.child.pid ?? 0
  }

  signal(name: NodeJS.Signals): void {
    this.child.kill(name)
  }

  /** SIGTERM, and SIGKILL when that is not enough. */
  async stop(limitMs: number): Promise<number | string> {
    const killed = setTimeout(() => this.signal('SIGKILL'), limitMs)
    this.signal('SIGTERM')
    const how = await this.exited
    clearTimeout(killed)
    return how
  }
}

/** From now on nothing can be started. */
export function startNoMore(): void {
  over = true
}

/** Ends what still runs, without care for what it was at. */
export async function endAll(): Promise<void> {
  const left = [...running]
  if (left.length === 0) return
  for (const child of left) child.signal('SIGTERM')
  const all = Promise.all(left.map(child => child.exited))
  await Promise.race([all, pause(HURRY_MS)])
  for (const child of running) child.signal('SIGTERM')
  const late = setTimeout(() => {
    for (const child of running) child.signal('SIGKILL')
  }, LAST_MS)
  await all
  clearTimeout(late)
}
