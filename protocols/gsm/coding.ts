// What a data_coding value says about the octets beside it (SMPP v3.4 §5.2.19, 3GPP TS 23.038 §4), and such octets as
// text and back. It knows no carrier and no customer: where one of them means something else by a data_coding, the
// caller brings a table of its own.

import {
  decodeGsm,
  decodeLatin1,
  decodeUcs2,
  encodeGsm,
  encodeLatin1,
  encodeUcs2,
  isGsm,
  pack7,
  unpack7,
} from './alphabet.js'
import { decodeShifted, type Shifts } from './shift.js'
import { parseUdh } from './udh.js'

/**
 * What octets are. gsm: a septet of the GSM alphabet to the octet; gsm-packed: eight septets in seven octets; ucs2: UTF-16,
 * most significant octet first; binary: no text, compressed, or in a coding that nobody here can name.
 */
export type Coding =
  | 'gsm'
  | 'gsm-packed'
  | 'ascii'
  | 'latin1'
  | 'windows-1252'
  | 'iso-8859-5'
  | 'iso-8859-8'
  | 'ucs2'
  | 'utf16le'
  | 'utf8'
  | 'binary'
  | 'shift-jis'
  | 'iso-2022-jp'
  | 'euc-jp'
  | 'euc-kr'

/** By data_coding: 256 of them. */
export type Codings = readonly Coding[]

/** A coding that text can be written in. */
export type TextCoding = Exclude<Coding, 'binary' | 'shift-jis' | 'iso-2022-jp' | 'euc-jp' | 'euc-kr'>

const SMPP_CODINGS: readonly Coding[] = [
  'gsm',
  'ascii',
  'binary',
  'latin1',
  'binary',
  'shift-jis',
  'iso-8859-5',
  'iso-8859-8',
  'ucs2',
  'binary', // pictograms
  'iso-2022-jp',
  'binary',
  'binary',
  'euc-jp',
  'euc-kr',
  'binary',
]

/**
 * 0x00-0x0F are SMPP's own values. From 0x10 on senders use the groups of TS 23.038: 0x10-0x7F general (0x10 flash GSM,
 * 0x14 flash 8-bit, 0x18 flash UCS-2), 0xC0-0xEF message waiting, 0xF0-0xFF message class. What that standard reserves
 * is read as its default alphabet, as it asks of receivers.
 */
export const standardCodings: Codings = Object.freeze(
  Array.from({ length: 256 }, (_, data_coding): Coding => {
    if (data_coding < 0x10) return SMPP_CODINGS[data_coding] as Coding
    if (data_coding < 0x80) {
      const compressed = (data_coding & 0x20) !== 0
      const alphabet = data_coding & 0x0c
      return compressed || alphabet === 0x04 ? 'binary' : alphabet === 0x08 ? 'ucs2' : 'gsm'
    }
    if (data_coding >= 0xf0) return (data_coding & 0x04) !== 0 ? 'binary' : 'gsm'
    return data_coding >= 0xe0 ? 'ucs2' : 'gsm'
  }),
)

const made = new WeakMap<object, Codings>()

/**
 * The standard's table with somebody's own readings in it, data_coding (decimal) to coding. The standard's itself where
 * there are none, and the same object for the same object of changes.
 */
export function codingsWith(changes: Readonly<Record<string, Coding>>): Codings {
  const known = made.get(changes)
  if (known !== undefined) return known
  const all = [...standardCodings]
  for (const [data_coding, coding] of Object.entries(changes)) all[Number(data_coding)] = coding
  const codings = all.every((coding, i) => coding === standardCodings[i]) ? standardCodings : Object.freeze(all)
  made.set(changes, codings)
  return codings
}

/** The coding a data_coding octet names. Never undefined: what nobody defines is `binary`. */
export function codingOf(data_coding: number, codings: Codings = standardCodings): Coding {
  return codings[data_coding] ?? 'binary'
}

// Made at load, so that a Node without these tables fails at the start and not at somebody's message.
const DECODERS = {
  'shift-jis': new TextDecoder('shift_jis'),
  'iso-8859-5': new TextDecoder('iso-8859-5'),
  'iso-8859-8': new TextDecoder('iso-8859-8'),
  'iso-2022-jp': new TextDecoder('iso-2022-jp'),
  'euc-jp': new TextDecoder('euc-jp'),
  'euc-kr': new TextDecoder('euc-kr'),
  utf8: new TextDecoder('utf-8'),
}

const OCTETS = Buffer.from(Array.from({ length: 256 }, (_, octet) => octet))
const REPLACEMENT = '\ufffd'

/** Unit to octet, of an alphabet of one octet a character. */
function backwards(text: string): ReadonlyMap<number, number> {
  const octetOf = new Map<number, number>()
  for (let octet = 0; octet < 256; octet++) {
    if (text.charAt(octet) !== REPLACEMENT) octetOf.set(text.charCodeAt(octet), octet)
  }
  return octetOf
}

// windows-1252 where it differs from Latin-1, 0x80-0x9F. TextDecoder is no help: some releases of Node read Latin-1 by
// this name.
const WINDOWS_80_9F = '€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ'

function decodeWindows1252(octets: Buffer): string {
  let text = ''
  let copied = 0
  for (let i = 0; i < octets.length; i++) {
    const octet = octets[i] as number
    if (octet < 0x80 || octet > 0x9f) continue
    text += octets.toString('latin1', copied, i) + WINDOWS_80_9F.charAt(octet - 0x80)
    copied = i + 1
  }
  return text + octets.toString('latin1', copied)
}

const OCTET_OF = {
  'windows-1252': backwards(decodeWindows1252(OCTETS)),
  'iso-8859-5': backwards(DECODERS['iso-8859-5'].decode(OCTETS)),
  'iso-8859-8': backwards(DECODERS['iso-8859-8'].decode(OCTETS)),
}

function encodeSingle(text: string, octetOf: ReadonlyMap<number, number>): Buffer | undefined {
  const octets = Buffer.allocUnsafe(text.length)
  for (let i = 0; i < text.length; i++) {
    const octet = octetOf.get(text.charCodeAt(i))
    if (octet === undefined) return undefined
    octets[i] = octet
  }
  return octets
}

/** Octets of UTF-16 with each pair turned round, a copy. Half a unit at the end is left out. */
export function turned(octets: Buffer): Buffer {
  return Buffer.from(octets.subarray(0, octets.length & ~1)).swap16()
}

// U+FFFE is no character, so a mark that reads as one can only come from a writer of the other order.
function decodeMarked(octets: Buffer, otherwise: 'ucs2' | 'utf16le'): string {
  const mark = octets.length < 2 ? 0 : octets.readUInt16BE(0)
  if (mark === 0xfffe) return octets.toString('utf16le', 2, octets.length & ~1)
  if (mark === 0xfeff) return decodeUcs2(octets.subarray(2))
  return otherwise === 'ucs2' ? decodeUcs2(octets) : octets.toString('utf16le', 0, octets.length & ~1)
}

const DEFAULT: Shifts = Object.freeze({ locking: 0, single: 0 })

/**
 * The text of octets in a coding, without a user data header. What cannot be read gives U+FFFD, octets of no known coding
 * read as Latin-1, so nothing is lost and ASCII shows. A byte order mark is obeyed and left out. Never throws.
 *
 * @param headerOctets of the header that was cut off: packed septets begin at a bit that depends on it
 * @param shifts the national tables which that header named
 */
export function decodeAs(octets: Buffer, coding: Coding, headerOctets = 0, shifts: Shifts = DEFAULT): string {
  switch (coding) {
    case 'gsm':
      return shifts.locking === 0 && shifts.single === 0 ? decodeGsm(octets) : decodeShifted(octets, shifts)
    case 'gsm-packed':
      return decodeAs(unpack7(octets, headerOctets), 'gsm', 0, shifts)
    case 'ucs2':
    case 'utf16le':
      return decodeMarked(octets, coding)
    case 'windows-1252':
      return decodeWindows1252(octets)
    case 'ascii': // octets above 0x7f under this name are Latin-1 in practice, and reading them so alters no other
    case 'latin1':
    case 'binary':
      return decodeLatin1(octets)
    default:
      return DECODERS[coding].decode(octets)
  }
}

/** The text of a message's octets, without its user data header: {@link decodeAs} by the data_coding. */
export function decodeText(octets: Buffer, data_coding: number, codings: Codings = standardCodings): string {
  return decodeAs(octets, codingOf(data_coding, codings))
}

/**
 * The text of octets that may begin with a user data header (`udhi`), read with the national tables which it names. A
 * header that is not sound is text like the rest.
 */
export function decodeUserData(octets: Buffer, udhi: boolean, coding: Coding): string {
  const udh = udhi ? parseUdh(octets) : undefined
  if (udh === undefined) return decodeAs(octets, coding)
  const shifts = { locking: udh.lockingShift ?? 0, single: udh.singleShift ?? 0 }
  return decodeAs(octets.subarray(udh.length), coding, udh.length, shifts)
}

/** The octets of a text in a coding; undefined when the coding does not hold all of it. */
export function encodeText(text: string, coding: TextCoding, headerOctets = 0): Buffer | undefined {
  switch (coding) {
    case 'gsm':
      return encodeGsm(text)
    case 'gsm-packed': {
      const septets = encodeGsm(text)
      return septets && pack7(septets, headerOctets)
    }
    case 'ucs2':
      return encodeUcs2(text)
    case 'utf16le':
      return Buffer.from(text, 'utf16le')
    case 'utf8':
      return Buffer.from(text)
    case 'latin1':
      return encodeLatin1(text)
    case 'ascii':
      return isAscii(text) ? Buffer.from(text, 'latin1') : undefined
    default:
      return encodeSingle(text, OCTET_OF[coding])
  }
}

function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7f) return false
  return true
}

/** The message class that a data_coding gives, 0 (flash) to 3; undefined where it gives none (TS 23.038 §4). */
export function classOf(data_coding: number): number | undefined {
  const general = data_coding >= 0x10 && data_coding < 0x80 && (data_coding & 0x10) !== 0
  return general || data_coding >= 0xf0 ? data_coding & 3 : undefined
}

/** The values of data_coding for a text that is to have the class, or the waiting indication, that another value has. */
export interface SameClass {
  /** For the default alphabet of the message centre, the likeliest first. */
  readonly sevenBit: readonly number[]
  readonly ucs2: number
}

/** SMPP's own: no class. Some message centres take GSM text under 1 or 3, whatever their 0 is. */
const NO_CLASS: SameClass = Object.freeze({ sevenBit: [0, 1, 3], ucs2: 8 })

/**
 * Message class and waiting indication are kept when a text changes its coding. (A waiting indication that is to be
 * discarded has no UCS-2 of its own: it becomes one that is stored.)
 */
export function sameClass(data_coding: number): SameClass {
  if (data_coding >= 0xc0 && data_coding < 0xf0) {
    const indication = data_coding & 0x0f
    return { sevenBit: [data_coding < 0xe0 ? data_coding : 0xd0 | indication], ucs2: 0xe0 | indication }
  }
  const messageClass = classOf(data_coding)
  if (messageClass === undefined) return NO_CLASS
  const general = 0x10 | messageClass
  const classes = 0xf0 | messageClass
  return { sevenBit: data_coding >= 0xf0 ? [classes, general] : [general, classes], ucs2: 0x18 | messageClass }
}

export interface Choice {
  readonly data_coding: 0 | 3 | 8
  readonly coding: 'gsm' | 'latin1' | 'ucs2'
}

const GSM: Choice = Object.freeze({ data_coding: 0, coding: 'gsm' })
const LATIN1: Choice = Object.freeze({ data_coding: 3, coding: 'latin1' })
const UCS2: Choice = Object.freeze({ data_coding: 8, coding: 'ucs2' })

/**
 * GSM where the text can be written in it, else UCS-2. Latin-1 only when asked for, and only for text that GSM holds
 * too: message centres turn Latin-1 into GSM on the way and drop what does not fit.
 */
export function chooseCoding(text: string, prefer: 'gsm' | 'latin1' = 'gsm'): Choice {
  if (!isGsm(text)) return UCS2
  return prefer === 'latin1' && isLatin1(text) ? LATIN1 : GSM
}

function isLatin1(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0xff) return false
  return true
}
