// The national language tables of the GSM 7-bit alphabet (3GPP TS 23.038 annex A), from code to character: a locking
// shift table takes the place of the default alphabet, a single shift table that of its extension. Only what the tables
// hold; how text is written with them is shift.ts's.

import { DEFAULT_TABLE, EURO_CODE, EXTENSION_TABLE } from './alphabet.js'

/** Code to UTF-16 unit; 0 where the table has nothing. No table holds a character outside the BMP. */
export type CodeTable = Uint16Array

export const LAST_LANGUAGE = 13
const CODES = 128

const TURKISH =
  '@£$¥€éùıòÇ\nĞğ\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\0ŞşßÉ !"#¤%&\'()*+,-./0123456789:;<=>?' +
  'İABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§çabcdefghijklmnopqrstuvwxyzäöñüà'
const PORTUGUESE =
  '@£$¥êéúíóç\nÔô\rÁáΔ_ªÇÀ∞^\\€Ó|\0ÂâÊÉ !"#º%&\'()*+,-./0123456789:;<=>?' +
  'ÍABCDEFGHIJKLMNOPQRSTUVWXYZÃÕÚÜ§~abcdefghijklmnopqrstuvwxyzãõ`üà'
const HINDI =
  '\u0901\u0902\u0903\u0905\u0906\u0907\u0908\u0909\u090a\u090b\n\u090c\u090d\r\u090e\u090f' +
  '\u0910\u0911\u0912\u0913\u0914\u0915\u0916\u0917\u0918\u0919\u091a\0\u091b\u091c\u091d\u091e' +
  ' !\u091f\u0920\u0921\u0922\u0923\u0924)(\u0925\u0926,\u0927.\u0928' +
  '0123456789:;\u0929\u092a\u092b?' +
  '\u092c\u092d\u092e\u092f\u0930\u0931\u0932\u0933\u0934\u0935\u0936\u0937\u0938\u0939\u093c\u093d' +
  '\u093e\u093f\u0940\u0941\u0942\u0943\u0944\u0945\u0946\u0947\u0948\u0949\u094a\u094b\u094c\u094d' +
  '\u0950abcdefghijklmnopqrstuvwxyz\u0972\u097b\u097c\u097e\u097f'
const URDU =
  '\u0627\u0622\u0628\u067b\u0680\u067e\u06a6\u062a\u06c2\u067f\n\u0679\u067d\r\u067a\u067c' +
  '\u062b\u062c\u0681\u0684\u0683\u0685\u0686\u0687\u062d\u062e\u062f\0\u068c\u0688\u0689\u068a' +
  ' !\u068f\u068d\u0630\u0631\u0691\u0693)(\u0699\u0632,\u0696.\u0698' +
  '0123456789:;\u069a\u0633\u0634?' +
  '\u0635\u0636\u0637\u0638\u0639\u0641\u0642\u06a9\u06aa\u06ab\u06af\u06b3\u06b1\u0644\u0645\u0646' +
  '\u06ba\u06bb\u06bc\u0648\u06c4\u06d5\u06c1\u06be\u0621\u06cc\u06d0\u06d2\u064d\u0650\u064f\u0657' +
  '\u0654abcdefghijklmnopqrstuvwxyz\u0655\u0651\u0653\u0656\u0670'

/** The codes at which Indian tables differ by more than their block: the last row's own six letters and signs. */
const OWN_CODES = [0x60, 0x7b, 0x7c, 0x7d, 0x7e, 0x7f]
const HINDI_BLOCK = 0x0900

/**
 * Indian scripts lie alike in Unicode, a block of 128 each, and so do their locking tables: that of Hindi, moved to the
 * script's block, without the places where the block has no letter (`gaps`), and with six characters of its own.
 */
function indian(block: number, gaps: readonly number[], own: readonly number[]): string {
  const units = Array.from(HINDI, character => {
    const place = character.charCodeAt(0) - HINDI_BLOCK
    return place < 0 ? character : gaps.includes(place) ? '\0' : String.fromCharCode(block + place)
  })
  for (const [i, code] of OWN_CODES.entries()) units[code] = String.fromCharCode(block + (own[i] as number))
  return units.join('')
}

/** By national language identifier (TS 23.038 §6.2.1.2.4); 0 is the default alphabet. Spanish, 2, has no locking table. */
const LOCKING: Readonly<Record<number, () => string>> = {
  0: () => DEFAULT_TABLE.replace('\u001b', '\0'),
  1: () => TURKISH,
  3: () => PORTUGUESE,
  // Bengali
  4: () =>
    indian(
      0x0980,
      [0x0d, 0x0e, 0x11, 0x12, 0x29, 0x31, 0x33, 0x34, 0x35, 0x45, 0x46, 0x49, 0x4a],
      [0x4e, 0x57, 0x5c, 0x5d, 0x70, 0x71],
    ),
  // Gujarati
  5: () => indian(0x0a80, [0x0e, 0x12, 0x29, 0x31, 0x34, 0x46, 0x4a], [0x50, 0x60, 0x61, 0x62, 0x63, 0x71]),
  6: () => HINDI,
  // Kannada
  7: () => indian(0x0c80, [0x01, 0x0d, 0x11, 0x29, 0x34, 0x45, 0x49], [0x55, 0x56, 0x60, 0x61, 0x62, 0x63]),
  // Malayalam
  8: () => indian(0x0d00, [0x01, 0x0d, 0x11, 0x29, 0x3c, 0x45, 0x49], [0x57, 0x60, 0x61, 0x62, 0x63, 0x79]),
  // Oriya
  9: () =>
    indian(
      0x0b00,
      [0x0d, 0x0e, 0x11, 0x12, 0x29, 0x31, 0x34, 0x45, 0x46, 0x49, 0x4a],
      [0x56, 0x57, 0x60, 0x61, 0x62, 0x63],
    ),
  // Punjabi
  10: () =>
    indian(
      0x0a00,
      [0x0b, 0x0c, 0x0d, 0x0e, 0x11, 0x12, 0x29, 0x31, 0x34, 0x37, 0x3d, 0x43, 0x44, 0x45, 0x46, 0x49, 0x4a],
      [0x51, 0x70, 0x71, 0x72, 0x73, 0x74],
    ),
  // Tamil
  11: () =>
    indian(
      0x0b80,
      [
        0x01, 0x0b, 0x0c, 0x0d, 0x11, 0x16, 0x17, 0x18, 0x1b, 0x1d, 0x20, 0x21, 0x22, 0x25, 0x26, 0x27, 0x2b, 0x2c,
        0x2d, 0x3c, 0x3d, 0x43, 0x44, 0x45, 0x49,
      ],
      [0x50, 0x57, 0x70, 0x71, 0x72, 0x79],
    ),
  // Telugu
  12: () => indian(0x0c00, [0x0d, 0x11, 0x29, 0x34, 0x3c, 0x45, 0x49], [0x55, 0x56, 0x60, 0x61, 0x62, 0x63]),
  13: () => URDU,
}

/** By identifier; 0 is the extension table of the default alphabet, which all others hold too (TS 23.038 A.2). */
const EUROPEAN_SINGLE: Readonly<Record<number, readonly (readonly [code: number, character: string])[]>> = {
  0: [],
  1: [
    [0x47, 'Ğ'],
    [0x49, 'İ'],
    [0x53, 'Ş'],
    [0x63, 'ç'],
    [0x67, 'ğ'],
    [0x69, 'ı'],
    [0x73, 'ş'],
  ],
  2: [
    [0x09, 'ç'],
    [0x41, 'Á'],
    [0x49, 'Í'],
    [0x4f, 'Ó'],
    [0x55, 'Ú'],
    [0x61, 'á'],
    [0x69, 'í'],
    [0x6f, 'ó'],
    [0x75, 'ú'],
  ],
  3: [
    [0x05, 'ê'],
    [0x09, 'ç'],
    [0x0b, 'Ô'],
    [0x0c, 'ô'],
    [0x0e, 'Á'],
    [0x0f, 'á'],
    [0x12, 'Φ'],
    [0x13, 'Γ'],
    [0x15, 'Ω'],
    [0x16, 'Π'],
    [0x17, 'Ψ'],
    [0x18, 'Σ'],
    [0x19, 'Θ'],
    [0x1f, 'Ê'],
    [0x41, 'À'],
    [0x49, 'Í'],
    [0x4f, 'Ó'],
    [0x55, 'Ú'],
    [0x5b, 'Ã'],
    [0x5c, 'Õ'],
    [0x61, 'Â'],
    [0x69, 'í'],
    [0x6f, 'ó'],
    [0x75, 'ú'],
    [0x7b, 'ã'],
    [0x7c, 'õ'],
    [0x7f, 'â'],
  ],
}

/** Codes 0x00-0x18, where the single shift tables from 4 on are alike. */
const ASIAN_SINGLE_HEAD = '@£$¥¿"¤%&\'\f*+\0-/<=>¡^¡_#*'
const ASIAN_SINGLE_OWN = [
  0x19, 0x1a, 0x1c, 0x1d, 0x1e, 0x1f, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x2a, 0x2b, 0x2c, 0x2d, 0x2e,
  0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x3b, 0x3f,
]
const LATIN_CAPITALS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'

/** At {@link ASIAN_SINGLE_OWN} in turn: two signs, ten digits, and what else the language has; 0 for nothing. */
const ASIAN_SINGLE: Readonly<Record<number, readonly number[]>> = {
  4: [
    ...digits(0x09e6),
    0x9df,
    0x9e0,
    0x9e1,
    0x9e2,
    0x9e3,
    0x9f2,
    0x9f3,
    0x9f4,
    0x9f5,
    0x9f6,
    0x9f7,
    0x9f8,
    0x9f9,
    0x9fa,
  ],
  5: [0x964, 0x965, ...digits(0x0ae6)],
  6: [
    0x964,
    0x965,
    ...digits(0x0966),
    0x951,
    0x952,
    0x953,
    0x954,
    0x958,
    0x959,
    0x95a,
    0x95b,
    0x95c,
    0x95d,
    0x95e,
    0x95f,
    0x960,
    0x961,
    0x962,
    0x963,
    0x970,
    0x971,
  ],
  7: [0x964, 0x965, ...digits(0x0ce6), 0xcde, 0xcf1, 0xcf2],
  8: [
    0x964,
    0x965,
    ...digits(0x0d66),
    0xd70,
    0xd71,
    0xd72,
    0xd73,
    0xd74,
    0xd75,
    0xd7a,
    0xd7b,
    0xd7c,
    0xd7d,
    0xd7e,
    0xd7f,
  ],
  9: [0x964, 0x965, ...digits(0x0b66), 0xb5c, 0xb5d, 0xb5f, 0xb70, 0xb71],
  10: [0x964, 0x965, ...digits(0x0a66), 0xa59, 0xa5a, 0xa5b, 0xa5c, 0xa5e, 0xa75],
  11: [0x964, 0x965, ...digits(0x0be6), 0xbf3, 0xbf4, 0xbf5, 0xbf6, 0xbf7, 0xbf8, 0xbfa],
  12: [0, 0, ...digits(0x0c66), 0xc58, 0xc59, 0xc78, 0xc79, 0xc7a, 0xc7b, 0xc7c, 0xc7d, 0xc7e, 0xc7f],
  13: [
    0x600,
    0x601,
    ...digits(0x06f0),
    0x60c,
    0x60d,
    0x60e,
    0x60f,
    0x610,
    0x611,
    0x612,
    0x613,
    0x614,
    0x61b,
    0x61f,
    0x640,
    0x652,
    0x658,
    0x66b,
    0x66c,
    0x672,
    0x673,
    0x6cd,
    0x6d4,
  ],
}

function digits(zero: number): number[] {
  return Array.from({ length: 10 }, (_, digit) => zero + digit)
}

/** The locking shift table of a language; undefined for one that has none. */
export function lockingTable(language: number): CodeTable | undefined {
  const text = LOCKING[language]?.()
  if (text === undefined) return undefined
  return Uint16Array.from({ length: CODES }, (_, code) => text.charCodeAt(code))
}

/** The single shift table of a language; undefined for one that has none. */
export function singleTable(language: number): CodeTable | undefined {
  const table = new Uint16Array(CODES)
  const own = EUROPEAN_SINGLE[language]
  if (own !== undefined) for (const [code, character] of own) table[code] = character.charCodeAt(0)
  else {
    const units = ASIAN_SINGLE[language]
    if (units === undefined) return undefined
    for (let code = 0; code < ASIAN_SINGLE_HEAD.length; code++) table[code] = ASIAN_SINGLE_HEAD.charCodeAt(code)
    for (const [i, unit] of units.entries()) table[ASIAN_SINGLE_OWN[i] as number] = unit
    for (let i = 0; i < LATIN_CAPITALS.length; i++) table[0x41 + i] = LATIN_CAPITALS.charCodeAt(i)
  }
  for (const [code, character] of EXTENSION_TABLE) table[code] = character.charCodeAt(0)
  table[EURO_CODE] = '€'.charCodeAt(0)
  return table
}
