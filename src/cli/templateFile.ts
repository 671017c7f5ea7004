// Templates as they stand in a file, CSV or YAML, in the shape in which HTTP takes them. Knows columns and lists; whether a
// template may be so the daemon says.

import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import { CommandError, EXIT } from './exit.js'

/** `-`: standard input. `format`: left out, by the name of the file. Throws a CommandError for what is no such file. */
export async function templatesIn(file: string, format = /\.csv$/i.test(file) ? 'csv' : 'yaml'): Promise<Given[]> {
  const text = readFile(file)
  return format === 'csv' ? csvTemplates(text, file) : yamlTemplates(text, file)
}

interface Given {
  /** Where in the file. */
  at: string
  fields: Record<string, unknown>
}

function yamlTemplates(text: string, file: string): Given[] {
  let read: unknown
  try {
    read = parse(text)
  } catch (error) {
    throw new CommandError(EXIT.usage, `${file}: ${(error as Error).message}`)
  }
  const list = Array.isArray(read) ? read : (read as { templates?: unknown } | null)?.templates
  if (!Array.isArray(list)) throw new CommandError(EXIT.usage, `${file} is no list of templates`)
  return list.map((fields, i) => ({ at: `template ${i + 1}`, fields: fields as Record<string, unknown> }))
}

async function csvTemplates(text: string, file: string): Promise<Given[]> {
  const { parse: parseCsv } = await import('csv-parse/sync')
  let rows: { record: Record<string, string>; info: { lines: number } }[]
  try {
    rows = parseCsv(text, { columns: true, info: true, bom: true, skip_empty_lines: true }) as never
  } catch (error) {
    throw new CommandError(EXIT.usage, `${file}: ${(error as Error).message}`)
  }
  return rows.map(({ record, info }) => ({ at: `line ${info.lines}`, fields: csvFields(record) }))
}

/** Empty cells say nothing; columns of another name, and words that are neither yes nor no, the daemon refuses. */
function csvFields(record: Record<string, string>): Record<string, unknown> {
  const fields: Record<string, unknown> = {}
  const locales: Record<string, string> = {}
  for (const [column, value] of Object.entries(record)) {
    const name = column.trim()
    if (value === '') continue
    if (name.startsWith('content.')) locales[name.slice('content.'.length)] = value
    else if (name === 'is_active') fields[name] = truthOf(value.trim()) ?? value
    else if (name === 'variables') fields[name] = value.split(/[\s,;]+/).filter(word => word !== '')
    else fields[name] = value
  }
  return Object.keys(locales).length === 0 ? fields : { ...fields, locales }
}

const truthOf = (word: string): boolean | undefined =>
  /^(true|yes|1|on)$/i.test(word) ? true : /^(false|no|0|off)$/i.test(word) ? false : undefined

/** `-`: standard input. */
export function readFile(file: string): string {
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8')
  } catch (error) {
    throw new CommandError(EXIT.usage, `${file} cannot be read: ${(error as NodeJS.ErrnoException).code}`)
  }
}
