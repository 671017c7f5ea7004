// Text in the national language tables (3GPP TS 23.038 §6.2.1.2): septets written and read with a locking and a single
// shift table, the elements of the user data header that say so, and which tables make a text shortest. It knows what
// a table costs; whether a carrier takes it is told by the caller.

import { ESC } from './alphabet.js'
import { type CodeTable, lockingTable, singleTable } from './national.js'

/** National language identifiers; 0 = the default alphabet, or its extension table. */
export interface Shifts {
  readonly locking: number
  readonly single: number
}

interface Table {
  readonly units: CodeTable
  readonly codeOf: ReadonlyMap<number, number>
}

const NATIONAL_SINGLE_SHIFT = 0x24
const NATIONAL_LOCKING_SHIFT = 0x25
const SPACE = 0x20
const REPLACEMENT = 0xfffd

const tables = new Map<number, Table | undefined>()
const keep = (key: number, units: CodeTable | undefined): Table | undefined => {
  let table: Table | undefined
  if (units !== undefined) {
    const codeOf = new Map<number, number>()
    // Where a character stands twice, its first code is written.
    for (let code = units.length - 1; code >= 0; code--) if (units[code] !== 0) codeOf.set(units[code] as number, code)
    table = { units, codeOf }
  }
  tables.set(key, table)
  return table
}

function locking(language: number): Table | undefined {
  return tables.has(language) ? tables.get(language) : keep(language, lockingTable(language))
}

function single(language: number): Table | undefined {
  const key = language | 0x100
  return tables.has(key) ? tables.get(key) : keep(key, singleTable(language))
}

/** The information elements that name the tables: 0, 3 or 6 octets, to stand in the header of every part. */
export function shiftElements({ single, locking }: Shifts): Buffer {
  const octets: number[] = []
  if (single !== 0) octets.push(NATIONAL_SINGLE_SHIFT, 1, single)
  if (locking !== 0) octets.push(NATIONAL_LOCKING_SHIFT, 1, locking)
  return Buffer.from(octets)
}

/** One septet an octet; undefined when a character is in neither table, or there is no such table. */
export function encodeShifted(text: string, shifts: Shifts): Buffer | undefined {
  const plain = locking(shifts.locking)?.codeOf
  const escaped = single(shifts.single)?.codeOf
  if (plain === undefined || escaped === undefined) return undefined
  const octets = Buffer.allocUnsafe(text.length * 2)
  let at = 0
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    let code = plain.get(unit)
    if (code === undefined) {
      code = escaped.get(unit)
      if (code === undefined) return undefined
      octets[at++] = ESC
    }
    octets[at++] = code
  }
  return octets.subarray(0, at)
}

/**
 * Reads unpacked septets. A table that is not known is read as the default one; ESC before a code that the single shift
 * table leaves open gives the locking table's character, ESC ESC and a last ESC a space (TS 23.038 §6.2.1.2.2). A code
 * that the locking table leaves open gives a space, an octet above 0x7F U+FFFD.
 */
export function decodeShifted(octets: Buffer, shifts: Shifts): string {
  const plain = (locking(shifts.locking) ?? (locking(0) as Table)).units
  const escaped = (single(shifts.single) ?? (single(0) as Table)).units
  let text = ''
  for (let i = 0; i < octets.length; i++) {
    let code = octets[i] as number
    let unit = 0
    if (code === ESC && i + 1 < octets.length) {
      code = octets[++i] as number
      unit = escaped[code] ?? 0
    }
    if (unit === 0) unit = code > 0x7f ? REPLACEMENT : (plain[code] as number) || SPACE
    text += String.fromCharCode(unit)
  }
  return text
}

export interface Shifted {
  readonly shifts: Shifts
  /** Each of the text's characters, so many septets. */
  readonly septets: number
}

/**
 * Every pair of tables of `languages` (the default ones are always among them) in which the whole text can be written,
 * the one that takes fewest septets and elements first.
 */
export function shiftsFor(text: string, languages: readonly number[]): Shifted[] {
  const counts = new Map<number, number>()
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    counts.set(unit, (counts.get(unit) ?? 0) + 1)
  }
  const all = [0, ...languages]
  const found: Shifted[] = []
  for (const first of all) {
    const plain = locking(first)?.codeOf
    if (plain === undefined) continue
    // A pass for the characters that this table lacks, and one for each single shift table that may hold them.
    const others = [...counts].filter(([unit]) => !plain.has(unit))
    const septets = others.reduce((sum, [, count]) => sum + count, text.length)
    for (const second of all) {
      const escaped = single(second)?.codeOf
      if (escaped === undefined || !others.every(([unit]) => escaped.has(unit))) continue
      found.push({ shifts: { locking: first, single: second }, septets })
    }
  }
  const elements = ({ shifts }: Shifted): number => Math.sign(shifts.locking) + Math.sign(shifts.single)
  return found.sort((a, b) => elements(a) * 4 + a.septets - (elements(b) * 4 + b.septets) || elements(a) - elements(b))
}
