// Prices of a tariff as files of the command line: one that is sent to the daemon, with a bar and its faults by line, and one
// that comes back. What stands in such a file the daemon knows.

import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { FileFault, TariffImported } from '../accounts/tariffImport.js'
import { follow } from './ask.js'
import { CommandError, EXIT } from './exit.js'
import { count } from './print.js'
import type { GlobalOptions } from './settings.js'
import { confirmed, Progress, work } from './works.js'

export interface ImportOptions extends GlobalOptions {
  replace?: boolean
  dryRun?: boolean
  yes?: boolean
}

const CHUNK = 2 ** 16
const pathOf = (name: string, more: string): string => `/api/v1/admin/tariffs/${encodeURIComponent(name)}${more}`

/** Asks before it takes most of the prices away. */
export async function importFile(name: string, file: string, options: ImportOptions): Promise<void> {
  const { dryRun = false, yes = false } = options
  let done = await sent(name, file, options, yes)
  if (done.would_remove !== undefined) {
    const question = `${count(done.would_remove)} of the ${count(done.of ?? 0)} prices of ${name} are not in ${file}. Remove them?`
    // What came over standard input is gone.
    if (file === '-') throw new CommandError(EXIT.usage, `${question} Nothing was changed: say --yes`)
    if (!(await confirmed(question))) return
    done = await sent(name, file, options, true)
  }
  if (options.json) console.log(JSON.stringify(done))
  if (done.faults.length > 0) {
    if (!options.json) for (const { line, text } of done.faults) console.error(`line ${line} ${text}`)
    const more = done.count > done.faults.length ? `, of which the first ${count(done.faults.length)} are shown` : ''
    throw new CommandError(EXIT.failed, `${file} has faults: ${count(done.count)}${more}; nothing was changed`)
  }
  if (options.json) return
  const counts = `${count(done.added)} added, ${count(done.changed)} changed, ${count(done.unchanged)} as they were, ${count(done.removed)} removed`
  console.log(dryRun ? `nothing was changed; it would be: ${counts}` : `${name}: ${counts}`)
}

interface Sent extends TariffImported {
  faults: FileFault[]
  count: number
  /** So many `of` all would be gone, and nothing was changed. */
  would_remove?: number
  of?: number
}

/** The file, from its beginning. */
async function sent(name: string, file: string, options: ImportOptions, removesAny: boolean): Promise<Sent> {
  const { replace = false, dryRun = false } = options
  const size = file === '-' ? null : await sizeOf(file)
  const from = file === '-' ? process.stdin : createReadStream(file, { highWaterMark: CHUNK })
  const query = `?mode=${replace ? 'replace' : 'merge'}&removes=${removesAny ? 'any' : 'half'}&dry_run=${dryRun}`
  const bar = new Progress()
  const octets = { type: 'text/csv', from: from as Readable }
  const question = { method: 'POST', path: pathOf(name, `/import${query}`), octets } as const
  return work<Sent, { read?: number; written?: number; of: number | null }>(
    options,
    question,
    ({ read, written, of }) => {
      if (read !== undefined)
        bar.show(
          `read ${size === null || size === 0 ? `${count(read)} octets` : `${Math.floor((read / size) * 100)} %`}`,
        )
      if (written !== undefined) bar.show(`written ${count(written)} of ${count(of ?? written)}`)
    },
  ).finally(() => {
    bar.end()
    from.destroy()
  })
}

async function sizeOf(file: string): Promise<number> {
  try {
    return (await stat(file)).size
  } catch (error) {
    throw new CommandError(EXIT.usage, `${file} cannot be read: ${(error as NodeJS.ErrnoException).code}`)
  }
}

export async function exportPrices(name: string, options: GlobalOptions): Promise<void> {
  const response = await follow(options, { path: pathOf(name, '/export') })
  try {
    await pipeline(response, process.stdout, { end: false })
  } catch (error) {
    throw new CommandError(EXIT.failed, `the export broke off: ${(error as Error).message}`)
  }
}
