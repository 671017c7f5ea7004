// Long work that the daemon answers with lines of JSON: reads them as they come, shows how far it is on a terminal, and
// says what it means when the last one is missing. Knows nothing of what is done.

import type { IncomingMessage } from 'node:http'
import { createInterface } from 'node:readline'
import { follow, type Question } from './ask.js'
import { CommandError, EXIT } from './exit.js'
import type { GlobalOptions } from './settings.js'

interface Line {
  end?: boolean
  problem?: { detail: string }
}

/**
 * Asks, hands each line over as it comes, and answers with the last one. Throws a CommandError when the daemon refuses, or
 * the lines end before they should.
 */
export async function work<Last, Each = unknown>(
  options: GlobalOptions,
  question: Question,
  each: (line: Each) => void,
): Promise<Last> {
  const response = await follow(options, question)
  for await (const line of linesOf(response)) {
    const { end, problem, ...rest } = line
    if (problem !== undefined) throw new CommandError(EXIT.failed, problem.detail)
    if (end) return rest as Last
    each(rest as Each)
  }
  throw new CommandError(EXIT.failed, CUT)
}

const CUT = 'the daemon ended the connection before the work was done: what it did stays done, run the command again'

async function* linesOf(response: IncomingMessage): AsyncGenerator<Line> {
  let failed = false
  response.on('error', () => {
    failed = true
  })
  for await (const line of createInterface({ input: response, crlfDelay: Number.POSITIVE_INFINITY })) {
    if (line !== '') yield JSON.parse(line) as Line
  }
  if (failed) throw new CommandError(EXIT.failed, CUT)
}

/** One line on a terminal, written over; nothing elsewhere. */
export class Progress {
  private readonly isShown = process.stderr.isTTY === true
  private width = 0

  show(line: string): void {
    if (!this.isShown) return
    process.stderr.write(`\r${line.padEnd(this.width)}`)
    this.width = line.length
  }

  end(): void {
    if (this.width > 0) process.stderr.write(`\r${' '.repeat(this.width)}\r`)
    this.width = 0
  }
}

/**
 * Whether a person at the terminal says yes. Without one nobody does: then it takes --yes.
 */
export async function confirmed(question: string): Promise<boolean> {
  if (!process.stdin.isTTY) throw new CommandError(EXIT.usage, `${question} There is no terminal to ask on: say --yes`)
  const { confirm } = await import('@inquirer/prompts')
  return asking(confirm({ message: question, default: false }, { output: process.stderr }))
}

/** Ctrl-C at a question ends the command, and is no fault of ours. */
export async function asking<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer
  } catch (error) {
    if ((error as Error).name === 'ExitPromptError') throw new CommandError(EXIT.failed, 'nothing was changed')
    throw error
  }
}
