// The alphabets a short message is written in: the GSM 7-bit default alphabet with its extension table
// (3GPP TS 23.038 §6.2.1), Latin-1 and UCS-2, each between a string and octets, and the packing of septets.
// It knows nothing of data_coding, user data headers or the length of a part.

export const ESC = 0x1b
const CR = 0x0d
const NOT_IN_ALPHABET = 0xffff
const REPLACEMENT = 0xfffd
const EURO = 0x20ac
export const EURO_CODE = 0x65

export const DEFAULT_TABLE =
  '@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\u001bÆæßÉ' +
  ' !"#¤%&\'()*+,-./0123456789:;<=>?' +
  '¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§' +
  '¿abcdefghijklmnopqrstuvwxyzäöñüà'

/** Without the euro sign, 0x65. */
export const EXTENSION_TABLE: readonly (readonly [code: number, character: string])[] = [
  [0x0a, '\f'],
  [0x14, '^'],
  [0x28, '{'],
  [0x29, '}'],
  [0x2f, '\\'],
  [0x3c, '['],
  [0x3d, '~'],
  [0x3e, ']'],
  [0x40, '|'],
]

// UTF-16 unit -> septet, or ESC << 8 | septet for the extension table. The euro sign is the one character above it.
const SEPTET_OF = new Uint16Array(0x400).fill(NOT_IN_ALPHABET)
const EURO_SEPTETS = (ESC << 8) | EURO_CODE

// Octet -> UTF-16 unit; the upper half of each table is what no septet can be.
const PLAIN = new Uint16Array(256).fill(REPLACEMENT)
const ESCAPED = new Uint16Array(256).fill(REPLACEMENT)

for (let code = 0; code < 128; code++) {
  const unit = DEFAULT_TABLE.charCodeAt(code)
  PLAIN[code] = unit
  ESCAPED[code] = unit // a code the extension table leaves open shows the default table's character
  SEPTET_OF[unit] = code
}
// ESC stands for no character of its own: a reader shows a space for it, a writer has nothing to write it for.
PLAIN[ESC] = 0x20
ESCAPED[ESC] = 0x20
SEPTET_OF[ESC] = NOT_IN_ALPHABET
for (const [code, character] of EXTENSION_TABLE) {
  ESCAPED[code] = character.charCodeAt(0)
  SEPTET_OF[character.charCodeAt(0)] = (ESC << 8) | code
}
ESCAPED[EURO_CODE] = EURO

function lookUp(unit: number): number {
  return unit < 0x400 ? (SEPTET_OF[unit] as number) : unit === EURO ? EURO_SEPTETS : NOT_IN_ALPHABET
}

/** Septets that one UTF-16 unit takes: 1, 2 (extension table), or 0 when the alphabet does not hold it. */
export function septetsOf(unit: number): 0 | 1 | 2 {
  const septet = lookUp(unit)
  return septet < 0x80 ? 1 : septet === NOT_IN_ALPHABET ? 0 : 2
}

/** Septets the text takes in the GSM alphabet, or -1 when it holds a character the alphabet does not. */
export function gsmLength(text: string): number {
  const units = text.length
  let septets = units
  for (let i = 0; i < units; i++) {
    const septet = lookUp(text.charCodeAt(i))
    if (septet > 0x7f) {
      if (septet === NOT_IN_ALPHABET) return -1
      septets++
    }
  }
  return septets
}

export function isGsm(text: string): boolean {
  return gsmLength(text) >= 0
}

/** One septet an octet, as SMPP carries it; undefined when a character is not representable. */
export function encodeGsm(text: string): Buffer | undefined {
  const units = text.length
  const octets = Buffer.allocUnsafe(units)
  for (let i = 0; i < units; i++) {
    const septet = lookUp(text.charCodeAt(i))
    if (septet > 0x7f) return septet === NOT_IN_ALPHABET ? undefined : encodeEscaped(text)
    octets[i] = septet
  }
  return octets
}

function encodeEscaped(text: string): Buffer | undefined {
  const septets = gsmLength(text)
  if (septets < 0) return undefined
  const octets = Buffer.allocUnsafe(septets)
  let at = 0
  for (let i = 0; at < septets; i++) {
    const septet = lookUp(text.charCodeAt(i))
    if (septet > 0x7f) octets[at++] = ESC
    octets[at++] = septet & 0x7f
  }
  return octets
}

// Units wait here to become a string in one call; nothing below awaits, so one area serves every caller. (Hosts are
// little-endian.)
const SCRATCH = 1024
const scratch = new Uint16Array(SCRATCH)
const scratchOctets = Buffer.from(scratch.buffer)

/**
 * Reads unpacked septets. ESC and a code the extension table leaves open give the default table's character, ESC ESC
 * and a last lone ESC a space (TS 23.038 §6.2.1.1); an octet above 0x7F is no septet and gives U+FFFD.
 */
export function decodeGsm(octets: Buffer): string {
  const length = octets.length
  let same = 0
  while (same < length && PLAIN[octets[same] as number] === octets[same]) same++
  return same === length ? octets.toString('latin1') : decodeTranslated(octets)
}

function decodeTranslated(octets: Buffer): string {
  const length = octets.length
  let text = ''
  let units = 0
  for (let i = 0; i < length; i++) {
    const octet = octets[i] as number
    const escaped = octet === ESC && i + 1 < length
    scratch[units] = (escaped ? ESCAPED[octets[++i] as number] : PLAIN[octet]) as number
    if (++units === SCRATCH) {
      text += scratchOctets.toString('utf16le')
      units = 0
    }
  }
  return text + scratchOctets.toString('utf16le', 0, units * 2)
}

/** One octet a character; undefined when a character lies above U+00FF. */
export function encodeLatin1(text: string): Buffer | undefined {
  const units = text.length
  for (let i = 0; i < units; i++) if (text.charCodeAt(i) > 0xff) return undefined
  return Buffer.from(text, 'latin1')
}

export function decodeLatin1(octets: Buffer): string {
  return octets.toString('latin1')
}

/** UTF-16 units, most significant octet first. Surrogates are written as they stand, alone or in pairs. */
export function encodeUcs2(text: string): Buffer {
  const units = text.length
  const octets = Buffer.allocUnsafe(units * 2)
  for (let i = 0, at = 0; i < units; i++) {
    const unit = text.charCodeAt(i)
    octets[at++] = unit >> 8
    octets[at++] = unit & 0xff
  }
  return octets
}

/** Reads UTF-16 units, most significant octet first. Half a unit at the end is left out. */
export function decodeUcs2(octets: Buffer): string {
  const length = octets.length & ~1
  let text = ''
  let units = 0
  for (let at = 0; at < length; at += 2) {
    scratch[units] = ((octets[at] as number) << 8) | (octets[at + 1] as number)
    if (++units === SCRATCH) {
      text += scratchOctets.toString('utf16le')
      units = 0
    }
  }
  return text + scratchOctets.toString('utf16le', 0, units * 2)
}

// Septets after a header start on a septet boundary counted from the header's first bit (TS 23.040 §9.2.3.24).
function fillBits(headerOctets: number): number {
  return (7 - ((headerOctets * 8) % 7)) % 7
}

const USER_DATA_OCTETS = 140

/**
 * Packs septets (one an octet) eight to seven octets, after a user data header of `headerOctets` (UDHL included, 0 for
 * none), which is not part of the result. SMPP carries no count of septets, so the rule for messages without one holds
 * (TS 23.038 §6.1.2.3.1): seven spare bits at the end hold CR, that nobody reads them as '@'; and a text ending in CR
 * on an octet boundary gets a second CR while 140 octets have room for it.
 */
export function pack7(septets: Buffer, headerOctets = 0): Buffer {
  const count = septets.length
  if (count === 0) return Buffer.alloc(0)
  const fill = fillBits(headerOctets)
  const bits = fill + count * 7
  const second = bits % 8 === 0 && septets[count - 1] === CR && headerOctets + bits / 8 < USER_DATA_OCTETS
  const packed = Buffer.allocUnsafe(Math.ceil(bits / 8) + (second ? 1 : 0))
  let held = 0
  let heldBits = fill
  let at = 0
  for (let i = 0; i < count; i++) {
    held |= ((septets[i] as number) & 0x7f) << heldBits
    heldBits += 7
    if (heldBits >= 8) {
      packed[at++] = held & 0xff
      held >>= 8
      heldBits -= 8
    }
  }
  if (heldBits > 0) packed[at++] = heldBits === 1 ? held | (CR << 1) : held
  if (second) packed[at] = CR
  return packed
}

/**
 * The septets, one an octet, of packed text that stood behind a header of `headerOctets`. With `count` (TP-UDL) as many
 * as it says or there are; without it a last CR that ends on the octet boundary is padding and left out.
 */
export function unpack7(packed: Buffer, headerOctets = 0, count?: number): Buffer {
  const fill = fillBits(headerOctets)
  const bits = Math.max(0, packed.length * 8 - fill)
  const there = Math.floor(bits / 7)
  const septets = Buffer.allocUnsafe(count === undefined ? there : Math.min(there, Math.max(0, count)))
  let held = fill > 0 && packed.length > 0 ? (packed[0] as number) >> fill : 0
  let heldBits = fill > 0 ? 8 - fill : 0
  let from = fill > 0 ? 1 : 0
  for (let i = 0; i < septets.length; i++) {
    if (heldBits < 7) {
      held |= (packed[from++] as number) << heldBits
      heldBits += 8
    }
    septets[i] = held & 0x7f
    held >>= 7
    heldBits -= 7
  }
  const padded = count === undefined && there > 0 && bits === there * 7 && septets[there - 1] === CR
  return padded ? septets.subarray(0, there - 1) : septets
}
