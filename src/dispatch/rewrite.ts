// User data that one side means by its data_coding so, as the other side takes it: a message from a phone, or a part
// that its sender cut, which must stay one part. Knows codings and headers; neither messages nor links.

import { pack7, unpack7 } from '../../protocols/gsm/alphabet.js'
import { type Codings, codingOf, decodeUserData } from '../../protocols/gsm/coding.js'
import { onWire } from '../../protocols/gsm/radio.js'
import { fitsOne } from '../../protocols/gsm/segment.js'
import { parseUdh } from '../../protocols/gsm/udh.js'
import { encodeFor } from './encode.js'

/** Elements of a header that say how its text is written: with another text they would be wrong. */
const NATIONAL = new Set([0x24, 0x25])
/** What a part without a header keeps free: the message centre puts one of 8 bits there. */
const SAR_HEADER = 6

export interface Rewritten {
  readonly data_coding: number
  readonly octets: Buffer
  /** It begins with a user data header. */
  readonly udhi: boolean
  /** It has room in one part, on the radio. */
  readonly fits: boolean
}

/**
 * Undefined: both read it alike, or it is no text, or the other side has no coding for it; it passes as it is or not at
 * all. `octets` begin with a header when `udhi`; all of it is kept but what names national tables, where the text is
 * written without them now.
 */
export function rewrite(
  octets: Buffer,
  udhi: boolean,
  data_coding: number,
  from: Codings,
  to: Codings,
): Rewritten | undefined {
  const coding = codingOf(data_coding, from)
  const other = codingOf(data_coding, to)
  if (coding === other || coding === 'binary') return undefined
  const udh = udhi ? parseUdh(octets) : undefined
  // Septets are septets, packed or not: nothing in them is read.
  const packs = coding === 'gsm' && other === 'gsm-packed'
  if (packs || (coding === 'gsm-packed' && other === 'gsm')) {
    const header = udh?.length ?? 0
    const text = octets.subarray(header)
    const septets = packs ? pack7(text, header) : unpack7(text, header)
    return { data_coding, octets: Buffer.concat([octets.subarray(0, header), septets]), udhi, fits: true }
  }
  const text = decodeUserData(octets, udhi, coding)
  const encoded = encodeFor(text, data_coding, {
    codings: to,
    nationalTables: [],
    longMessages: 'udh8',
    maxOctets: 140,
  })
  if (encoded === undefined) return undefined
  const elements = (udh?.elements ?? [])
    .filter(({ iei }) => !NATIONAL.has(iei))
    .flatMap(({ iei, octets }) => [iei, octets.length, ...octets])
  const header = elements.length === 0 ? Buffer.alloc(0) : Buffer.from([elements.length, ...elements])
  return {
    data_coding: encoded.data_coding,
    octets: onWire(Buffer.concat([header, encoded.octets]), header.length > 0, encoded.wire),
    udhi: header.length > 0,
    fits: fitsOne(encoded.octets, encoded.radio, header.length || SAR_HEADER),
  }
}
