// `trunkline export`: writes accounts, carriers and routes as the gateway file that apply
// reads. Reads the database itself; needs no daemon.

import { createWriteStream, type WriteStream } from 'node:fs'
import { rename } from 'node:fs/promises'
import type { Command } from 'commander'
import { exportGateway } from '../accounts/gatewayExport.js'
import { withDatabase } from './database.js'
import { CommandError, EXIT } from './exit.js'
import { type GlobalOptions, optionsOf } from './settings.js'

export function register(program: Command): void {
  program
    .command('export')
    .argument('[file]', 'where to; standard output if not given')
    .description('Write accounts, carriers and routes as a file that apply reads.')
    .addHelpText(
      'after',
      `
Passwords and API keys are written as hashes, carriers' passwords sealed: the file is good under this gateway's server
key only. Applying it to the same rows changes nothing.

Examples:
  trunkline export > gateway.yaml
  trunkline export /var/backups/gateway.yaml`,
    )
    .action((file: string | undefined, _, command: Command) => run(file, optionsOf(command)))
}

async function run(file: string | undefined, options: GlobalOptions): Promise<void> {
  if (file === undefined) {
    await withDatabase(options, store => exportGateway(store, piece => send(process.stdout, piece)))
    return
  }
  // A half-written file never stands under the name.
  const half = `${file}.${process.pid}`
  const out = createWriteStream(half, { mode: 0o600 })
  // Also told to whoever writes.
  out.on('error', () => {})
  try {
    await withDatabase(options, store => exportGateway(store, piece => send(out, piece)))
    await new Promise<void>((resolve, reject) => out.end((error?: Error | null) => (error ? reject(error) : resolve())))
    await rename(half, file)
  } catch (error) {
    if (error instanceof CommandError) throw error
    throw new CommandError(EXIT.failed, `${file} cannot be written: ${(error as Error).message}`)
  }
  if (options.json) console.log(JSON.stringify({ file }))
  else console.log(`written to ${file}`)
}

const send = (out: WriteStream | NodeJS.WriteStream, piece: string): Promise<void> =>
  new Promise((resolve, reject) => out.write(piece, error => (error ? reject(error) : resolve())))
