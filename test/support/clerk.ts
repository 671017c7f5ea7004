// Runs commands of the CLI in one process, one after the other, each as if it were alone: what a command loads costs more than
// what it does. A child of house.ts, which tells it the arguments and hears code, stdout and stderr.

const CLI = new URL('../../src/cli.js', import.meta.url).href

export interface Ran {
  code: number
  stdout: string
  stderr: string
}

let runs = 0
// Each run listens for the end of the channel, as the program does.
process.setMaxListeners(0)
process.on('message', (args: string[]) => void run(args))

async function run(args: string[]): Promise<void> {
  const heard = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    process[name].write = (octets: Uint8Array | string, ...rest: unknown[]): boolean => {
      heard[name] += typeof octets === 'string' ? octets : Buffer.from(octets).toString()
      const done = rest.at(-1)
      if (typeof done === 'function') process.nextTick(done)
      return true
    }
  }
  process.argv = [process.execPath, CLI, ...args]
  process.exitCode = 0
  try {
    // The program runs when it is loaded: under another name it is loaded again, and what it imports is not.
    await import(`${CLI}?run=${runs++}`)
  } catch (error) {
    heard.stderr += String((error as Error).stack)
    process.exitCode = 1
  }
  process.channel?.ref()
  process.send?.({ code: Number(process.exitCode), ...heard } satisfies Ran)
}
