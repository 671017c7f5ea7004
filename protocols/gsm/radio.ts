// The forms in which message centres take what goes over the radio as septets or as UTF-16: packed, turned round, or as
// UTF-8. What is cut is cut in the radio's form, and put into the message centre's afterwards. Knows no data_coding.

import { decodeUcs2, encodeUcs2, pack7, unpack7 } from './alphabet.js'
import { type Coding, decodeAs, turned } from './coding.js'

export interface Radio {
  readonly octets: Buffer
  readonly coding: Coding
}

/** Octets of a text, without a header, as the radio has them: unpacked septets, UTF-16 BE, or as they are. */
export function onRadio(octets: Buffer, coding: Coding): Radio {
  switch (coding) {
    case 'gsm-packed':
      return { octets: unpack7(octets), coding: 'gsm' }
    case 'utf16le':
      return { octets: turned(octets), coding: 'ucs2' }
    case 'utf8':
      return { octets: encodeUcs2(decodeAs(octets, coding)), coding: 'ucs2' }
    default:
      return { octets, coding }
  }
}

/** A part in the radio's form, its header included where it has one (`udhi`), in the form of `coding`. */
export function onWire(part: Buffer, udhi: boolean, coding: Coding): Buffer {
  if (coding !== 'gsm-packed' && coding !== 'utf16le' && coding !== 'utf8') return part
  const header = udhi ? (part[0] as number) + 1 : 0
  const text = part.subarray(header)
  const wire =
    coding === 'gsm-packed' ? pack7(text, header) : coding === 'utf16le' ? turned(text) : Buffer.from(decodeUcs2(text))
  return header === 0 ? wire : Buffer.concat([part.subarray(0, header), wire])
}
