// What a data_coding value says about the octets beside it (SMPP v3.4 §5.2.19, 3GPP TS 23.038 §4), how such octets
// read as text, and which coding a text is sent in. It knows no carrier: what 0 stands for there is told by the caller.

import { decodeGsm, decodeLatin1, decodeUcs2, encodeGsm, encodeLatin1, encodeUcs2, isGsm } from './alphabet.js'

/** `octets`: binary, compressed, or in a coding nobody here can name. */
export type Coding =
  | 'gsm'
  | 'ascii'
  | 'latin1'
  | 'windows1252'
  | 'ucs2'
  | 'octets'
  | 'jis'
  | 'cyrillic'
  | 'hebrew'
  | 'iso2022jp'
  | 'kanji'
  | 'korean'

/** What a message centre may mean by data_coding 0. */
export type ZeroMeans = 'gsm' | 'ascii' | 'latin1' | 'windows1252'

/** A coding that text can be written in. */
export type TextCoding = 'gsm' | 'latin1' | 'ucs2'

const SMPP_CODINGS: readonly Coding[] = [
  'gsm',
  'ascii',
  'octets',
  'latin1',
  'octets',
  'jis',
  'cyrillic',
  'hebrew',
  'ucs2',
  'octets', // pictograms
  'iso2022jp',
  'octets',
  'octets',
  'kanji',
  'korean',
  'octets',
]

/**
 * 0x00-0x0F are SMPP's own values. From 0x10 on senders use the groups of TS 23.038: 0x10-0x7F general (0x10 flash GSM,
 * 0x14 flash 8-bit, 0x18 flash UCS-2), 0xC0-0xEF message waiting, 0xF0-0xFF message class. What that standard reserves
 * is read as its default alphabet, as it asks of receivers.
 */
const CODINGS: readonly Coding[] = Array.from({ length: 256 }, (_, data_coding): Coding => {
  if (data_coding < 0x10) return SMPP_CODINGS[data_coding] as Coding
  if (data_coding < 0x80) {
    const compressed = (data_coding & 0x20) !== 0
    const alphabet = data_coding & 0x0c
    return compressed || alphabet === 0x04 ? 'octets' : alphabet === 0x08 ? 'ucs2' : 'gsm'
  }
  if (data_coding >= 0xf0) return (data_coding & 0x04) !== 0 ? 'octets' : 'gsm'
  return data_coding >= 0xe0 ? 'ucs2' : 'gsm'
})

/** The coding a data_coding octet names. Never undefined: what nobody defines is `octets`. */
export function codingOf(data_coding: number, zeroMeans: ZeroMeans = 'gsm'): Coding {
  return data_coding === 0 ? zeroMeans : (CODINGS[data_coding] ?? 'octets')
}

// Made at load, so that a Node without these tables fails at the start and not at somebody's message.
const JIS = new TextDecoder('shift_jis')
const CYRILLIC = new TextDecoder('iso-8859-5')
const HEBREW = new TextDecoder('iso-8859-8')
const ISO2022JP = new TextDecoder('iso-2022-jp')
const KANJI = new TextDecoder('euc-jp')
const KOREAN = new TextDecoder('euc-kr')

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

// U+FFFE is no character, so octets FF FE at the start can only be the mark of a little-endian writer.
function decodeMarkedUcs2(octets: Buffer): string {
  const mark = octets.length < 2 ? 0 : octets.readUInt16BE(0)
  if (mark === 0xfffe) return octets.toString('utf16le', 2)
  return decodeUcs2(mark === 0xfeff ? octets.subarray(2) : octets)
}

/**
 * The text of a message's octets, without its user data header (cut that off first, `parseUdh`). For people to read:
 * what cannot be read gives U+FFFD, octets of no known coding read as Latin-1, so nothing is lost and ASCII shows. A
 * byte order mark of UCS-2 is obeyed and left out. Never throws.
 */
export function decodeText(octets: Buffer, data_coding: number, zeroMeans: ZeroMeans = 'gsm'): string {
  switch (codingOf(data_coding, zeroMeans)) {
    case 'gsm':
      return decodeGsm(octets)
    case 'ucs2':
      return decodeMarkedUcs2(octets)
    case 'windows1252':
      return decodeWindows1252(octets)
    case 'jis':
      return JIS.decode(octets)
    case 'cyrillic':
      return CYRILLIC.decode(octets)
    case 'hebrew':
      return HEBREW.decode(octets)
    case 'iso2022jp':
      return ISO2022JP.decode(octets)
    case 'kanji':
      return KANJI.decode(octets)
    case 'korean':
      return KOREAN.decode(octets)
    case 'ascii': // octets above 0x7F under this name are Latin-1 in practice, and reading them so alters no other
    case 'latin1':
    case 'octets':
      return decodeLatin1(octets)
  }
}

export interface Choice {
  readonly data_coding: 0 | 3 | 8
  readonly coding: TextCoding
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

/** The octets of a text in a chosen coding; undefined when the coding does not hold it. */
export function encodeText(text: string, coding: TextCoding): Buffer | undefined {
  return coding === 'gsm' ? encodeGsm(text) : coding === 'ucs2' ? encodeUcs2(text) : encodeLatin1(text)
}
