// A text in the coding that one carrier takes it in, and in which it takes fewest segments. Knows alphabets, tables and
// a carrier's settings; neither messages nor links.

import { encodeGsm, encodeUcs2, isGsm } from '../../protocols/gsm/alphabet.js'
import {
  type Coding,
  type Codings,
  codingOf,
  encodeText,
  sameClass,
  standardCodings,
} from '../../protocols/gsm/coding.js'
import { chooseShifts, countSegmentsOfText, type How } from '../../protocols/gsm/segment.js'
import { shiftElements } from '../../protocols/gsm/shift.js'

export interface TextSettings {
  readonly longMessages: How
  /** What data_coding means to the carrier. */
  readonly codings: Codings
  /** National language tables it takes. */
  readonly nationalTables: readonly number[]
  /** Octets of user data in one part. */
  readonly maxOctets: number
}

export interface Encoded {
  readonly data_coding: number
  /** As the radio has it: what is cut is cut in this coding. */
  readonly octets: Buffer
  readonly radio: Coding
  /** As the carrier has it. */
  readonly wire: Coding
  /** For the header of every part: which national tables. */
  readonly elements: Buffer
}

const NO_ELEMENTS = Buffer.alloc(0)
/** Values without a class, UCS-2's first. */
const SMPP_OWN = [8, 0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15]

/** How a body under this data_coding goes over the radio: what message centres turn into septets is counted as septets. */
export function radioOf(coding: Coding, data_coding: number): Coding {
  if (coding !== 'latin1' && coding !== 'windows-1252') return coding
  const standard = standardCodings[data_coding]
  return standard === 'gsm' || standard === 'ascii' ? 'ascii' : coding
}

/**
 * GSM where that holds the whole text, in the carrier's form of it. Else a national table, where the carrier takes one
 * and it saves segments. Else UCS-2, which holds everything. Eight-bit alphabets only for text that GSM holds too:
 * message centres turn it into GSM on the way and drop what does not fit.
 *
 * @param data_coding whose message class, or waiting indication, the text is to keep
 * @returns undefined for a text that GSM does not hold, where the carrier takes Unicode under none of its values
 */
export function encodeFor(text: string, data_coding: number, settings: TextSettings): Encoded | undefined {
  const codes = sameClass(data_coding)
  if (isGsm(text)) {
    const plain = inSevenBits(text, codes.sevenBit, settings.codings)
    if (plain !== undefined) return plain
  }
  return inNational(text, codes.sevenBit, settings) ?? inUnicode(text, codes.ucs2, settings.codings)
}

function inSevenBits(text: string, codes: readonly number[], codings: Codings): Encoded | undefined {
  for (const data_coding of codes) {
    const wire = codingOf(data_coding, codings)
    if (wire === 'gsm' || wire === 'gsm-packed') {
      return { data_coding, octets: encodeGsm(text) as Buffer, radio: 'gsm', wire, elements: NO_ELEMENTS }
    }
    if (wire !== 'ascii' && wire !== 'latin1' && wire !== 'windows-1252') continue
    const octets = encodeText(text, wire)
    if (octets !== undefined) {
      return { data_coding, octets, radio: radioOf(wire, data_coding), wire, elements: NO_ELEMENTS }
    }
  }
  return undefined
}

/** On a tie UCS-2 is the better: every phone reads it. */
function inNational(text: string, codes: readonly number[], settings: TextSettings): Encoded | undefined {
  const { nationalTables, longMessages, codings, maxOctets } = settings
  if (nationalTables.length === 0) return undefined
  for (const data_coding of codes) {
    const wire = codingOf(data_coding, codings)
    if (wire !== 'gsm' && wire !== 'gsm-packed') continue
    const best = chooseShifts(text, nationalTables, longMessages === 'udh16' ? 'udh16' : 'udh8', maxOctets)
    if (best === undefined || best.parts >= countSegmentsOfText(text)) return undefined
    // The header stands in each part, and sar_* do not go with a header.
    if (best.parts > 1 && longMessages !== 'udh8' && longMessages !== 'udh16') return undefined
    return { data_coding, octets: best.octets, radio: 'gsm', wire, elements: shiftElements(best.shifts) }
  }
  return undefined
}

function inUnicode(text: string, code: number, codings: Codings): Encoded | undefined {
  // A class is given up before the text is.
  for (const data_coding of [code, ...SMPP_OWN]) {
    const wire = codingOf(data_coding, codings)
    if (wire === 'ucs2' || wire === 'utf16le' || wire === 'utf8') {
      return { data_coding, octets: encodeUcs2(text), radio: 'ucs2', wire, elements: NO_ELEMENTS }
    }
  }
  return undefined
}
