// A CSV file of any length into a table of SQL, by COPY: in memory there is a piece of it at a time, and no piece holds the
// event loop for long. Knows records and the lines they begin in; what a record means, and which are refused, its reader
// knows.

import { setImmediate as turn } from 'node:timers/promises'
import { parse } from 'csv-parse'
import { from as copyFrom } from 'pg-copy-streams'
import type { SqlClient } from './postgres.js'

/** Octets. */
const MAX_RECORD = 65_536
/** Octets that are parsed in one turn of the event loop: some 2 ms. */
const PIECE = 16_384

export interface CsvCopy {
  /** `copy ... from stdin`, in the text format. */
  readonly statement: string
  /** A quote within a bare cell is a character like others; otherwise the file is no CSV. */
  readonly allowsBareQuotes: boolean
  /** Text for COPY, '' = none of it; `line`: the first of the record, from 1. What it throws ends the whole. */
  rows(cells: readonly string[], line: number): string
  /** Octets of the file that were read until now. */
  progress(octets: number): void
}

/** The file cannot be read on from the record that begins in `line`. */
export class NoCsv extends Error {
  readonly line: number

  constructor(message: string, line: number) {
    super(message)
    this.line = line
  }
}

/** Throws {@link NoCsv}, or what `rows`, the octets or SQL throw: the transaction is good for nothing then. */
export async function copyCsv(client: SqlClient, octets: AsyncIterable<Buffer>, how: CsvCopy): Promise<void> {
  let text = ''
  const parser = parse({
    bom: true,
    relax_column_count: true,
    relax_quotes: how.allowsBareQuotes,
    max_record_size: MAX_RECORD,
  })
  // The parser's own count of lines would double what a record costs.
  let line = 1
  parser.on('data', (cells: string[]) => {
    try {
      text += how.rows(cells, line)
    } catch (error) {
      parser.destroy(error as Error)
    }
    line++
    for (const cell of cells) if (cell.includes('\n')) line += cell.split('\n').length - 1
  })
  const ended = new Promise<void>((resolve, reject) => {
    parser.on('end', resolve)
    parser.on('error', (error: Error & { code?: string }) =>
      reject(error.code?.startsWith('CSV_') ? new NoCsv(error.message, line) : error),
    )
  })
  ended.catch(() => {})
  const stream = client.query(copyFrom(how.statement))
  const copied = new Promise<void>((resolve, reject) => {
    stream.on('finish', resolve)
    stream.on('error', reject)
  })
  copied.catch(() => {})
  const flush = async (): Promise<void> => {
    const piece = text
    text = ''
    if (piece !== '') await Promise.race([new Promise(taken => stream.write(piece, taken)), copied])
  }
  let read = 0
  try {
    for await (const chunk of octets) {
      for (let from = 0; from < chunk.length; from += PIECE) {
        const piece = chunk.subarray(from, from + PIECE)
        await Promise.race([new Promise(taken => parser.write(piece, taken)), ended])
        await flush()
        await turn()
      }
      read += chunk.length
      how.progress(read)
    }
    parser.end()
    await ended
    await flush()
    stream.end()
    await copied
  } catch (error) {
    stream.destroy(error as Error)
    throw error
  }
}
