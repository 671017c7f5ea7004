// `trunkline top`: asks the daemon again and again how it is and shows it on the whole terminal, which is left as it was found.
// Knows terminals and keys; what is shown is topFrame's, what it means topView's.

import { type Command, InvalidArgumentError } from 'commander'
import type { Status } from '../admin/status.js'
import { ask } from './ask.js'
import { CommandError } from './exit.js'
import { type GlobalOptions, optionsOf } from './settings.js'
import { frame, type SortBy } from './topFrame.js'
import { type View, viewObject, Watch } from './topView.js'

interface TopOptions extends GlobalOptions {
  /** Given with a unit. */
  interval: number
  once?: boolean
}

/** A daemon that is busier than that is shown as one that does not answer. */
const SILENCE_MS = 5_000
/** Of a frame that nobody's terminal bounds. */
const PLAIN_WIDTH = 100
const ENTER = '\x1b[?1049h\x1b[?25l'
const HOME = '\x1b[H'
const CLEAR_LINE = '\x1b[K'
const CLEAR_BELOW = '\x1b[J'
const LEAVE = '\x1b[?25h\x1b[?1049l'

export function register(program: Command): void {
  program
    .command('top')
    .description('Shows live how the daemon is: rates, what waits, carriers, binds, spool.')
    .option('--interval <time>', 'between two looks: 1s, 500ms', interval, 1_000)
    .option('--once', 'one frame as plain text, after one interval: rates are between two looks')
    .addHelpText(
      'after',
      `
Keys: q or Ctrl-C quits; lists are sorted by rate (r), name (n) or what is waiting and in flight (w).
Not on a terminal it does what --once does. With --json it writes an object a line for each look, until it is ended.

Rates are of the time between two looks, p50 and p99 of the last minute: from a submit_sm to its answer. thrt, defer and refus
are answers since the start of the daemon; dlv% is the share of delivered messages among those that ended in the last minute.

Examples:
  trunkline top
  trunkline top --once
  trunkline top --json --interval 10s >> rates.ndjson
  trunkline top --url http://gw1:8080 --key KEY`,
    )
    .action((_, command: Command) => top(optionsOf<TopOptions>(command)))
}

function interval(word: string): number {
  const [, digits, unit] = /^(\d+(?:\.\d+)?)(ms|s)?$/.exec(word) ?? []
  const ms = Number(digits) * (unit === 'ms' ? 1 : 1_000)
  if (ms >= 100 && ms <= 3_600_000) return ms
  throw new InvalidArgumentError('It must be a time from 100ms to 3600s.')
}

async function top(options: TopOptions): Promise<void> {
  const { json, once } = options
  const watch = new Watch()
  const look = async (): Promise<View> => {
    const status = (await ask(options, { path: '/api/v1/admin/status', silenceMs: SILENCE_MS })) as Status
    return watch.take(status, performance.now())
  }
  // Where nobody answers, that is said before the screen changes.
  const first = await look()
  if (!json && !once && process.stdout.isTTY) {
    await new Terminal(look, options.interval).run(first)
    return
  }
  let isRead = true
  process.stdout.on('error', () => {
    isRead = false
  })
  do {
    await new Promise(resolve => setTimeout(resolve, options.interval))
    const view = await look()
    console.log(json ? JSON.stringify(viewObject(view)) : paper(view))
  } while (json && !once && isRead)
}

function paper(view: View): string {
  const width = process.stdout.isTTY ? process.stdout.columns : PLAIN_WIDTH
  return frame(view, { width, height: Number.POSITIVE_INFINITY, sort: 'rate', fault: null, keys: false }).join('\n')
}

const SORTS: Readonly<Record<string, SortBy>> = { r: 'rate', n: 'name', w: 'waiting' }
const CTRL_C = '\x03'
const CTRL_Z = '\x1a'

/** The whole screen, from `run` to its end, however that comes. */
class Terminal {
  private readonly look: () => Promise<View>
  private readonly intervalMs: number
  private view!: View
  private fault: string | null = null
  private sort: SortBy = 'rate'
  private isOver = false
  private isOn = false
  private wake: () => void = () => {}

  constructor(look: () => Promise<View>, intervalMs: number) {
    this.look = look
    this.intervalMs = intervalMs
  }

  async run(first: View): Promise<void> {
    const { stdin, stdout } = process
    this.view = first
    const quit = (): void => this.quit()
    const keys = (typed: Buffer): void => this.typed(typed.toString('latin1'))
    const leave = (): void => this.leave()
    process.on('SIGINT', quit).on('SIGTERM', quit).on('SIGHUP', quit).on('exit', leave)
    process.on('SIGCONT', () => this.enter())
    stdout.on('resize', () => this.draw()).on('error', quit)
    stdin.on('data', keys).on('error', quit)
    this.enter()
    try {
      await this.untilQuit()
    } finally {
      this.leave()
      process.off('SIGINT', quit).off('SIGTERM', quit).off('SIGHUP', quit).off('exit', leave)
      stdin.off('data', keys).pause()
    }
  }

  private async untilQuit(): Promise<void> {
    while (await this.pause()) {
      try {
        this.view = await this.look()
        this.fault = null
      } catch (error) {
        if (!(error instanceof CommandError)) throw error
        this.fault = error.message
      }
      this.draw()
    }
  }

  /** False when it is over. */
  private async pause(): Promise<boolean> {
    if (this.isOver) return false
    let timer: NodeJS.Timeout | undefined
    await new Promise<void>(resolve => {
      this.wake = resolve
      timer = setTimeout(resolve, this.intervalMs)
    })
    clearTimeout(timer)
    return !this.isOver
  }

  private quit(): void {
    this.isOver = true
    // An answer that is under way is not waited for on the screen.
    this.leave()
    this.wake()
  }

  private typed(text: string): void {
    for (const key of text) {
      if (key === 'q' || key === CTRL_C) {
        this.quit()
        return
      }
      if (key === CTRL_Z) {
        this.leave()
        process.kill(process.pid, 'SIGTSTP')
        return
      }
      this.sort = SORTS[key] ?? this.sort
    }
    this.draw()
  }

  private enter(): void {
    if (this.isOn || this.isOver) return
    this.isOn = true
    if (process.stdin.isTTY) process.stdin.setRawMode(true)
    process.stdout.write(ENTER)
    this.draw()
  }

  private leave(): void {
    if (!this.isOn) return
    this.isOn = false
    if (process.stdin.isTTY) process.stdin.setRawMode(false)
    process.stdout.write(LEAVE)
  }

  private draw(): void {
    if (!this.isOn) return
    const { columns: width, rows: height } = process.stdout
    const lines = frame(this.view, { width, height, sort: this.sort, fault: this.fault, keys: true })
    // Line by line, so that nothing flickers; behind a line that is full a terminal would clear its last character.
    const rest = lines.length < height ? `\n${CLEAR_BELOW}` : ''
    process.stdout.write(`${HOME}${lines.map(line => CLEAR_LINE + line).join('\n')}${rest}`)
  }
}
