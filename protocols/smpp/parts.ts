// What says that several messages are parts of one, and one made of them again: a concatenation element in the user data
// header (3GPP TS 23.040 §9.2.3.24) or sar_* TLVs (SMPP v3.4 §5.3.2.22 to 24). Pure; who waits for which parts, and for
// how long, others know.

import { pack7, unpack7 } from '../gsm/alphabet.js'
import { concatOf, parseUdh } from '../gsm/udh.js'
import { findTlv, tlv, tlvUint, withoutTlvs } from './tlv.js'

const UDHI = 0x40
const SAR = [tlv.sar_msg_ref_num, tlv.sar_total_segments, tlv.sar_segment_seqnum]
/** Elements of a header that say how parts belong together. */
const CONCAT = new Set([0x00, 0x08])

/** What of a message says whether it is a part: esm_class, the text with its header, the TLVs. */
export interface Parted {
  readonly esm_class: number
  readonly body: Buffer
  readonly tlvs: Buffer
}

/** Part `seq` of `total`; 2 <= total <= 255, 1 <= seq <= total. */
export interface PartName {
  /** The size of the reference in a header, or that it stands in sar_msg_ref_num. */
  readonly how: 'udh8' | 'udh16' | 'sar'
  readonly ref: number
  readonly total: number
  readonly seq: number
}

/** Of which message it is which part; undefined when it is a whole one. What the header says holds. */
export function partOf({ esm_class, body, tlvs }: Parted): PartName | undefined {
  const concat = esm_class & UDHI ? concatOf(body) : undefined
  if (concat) {
    const { ref, total, seq, bits } = concat
    return total < 2 ? undefined : { how: bits === 8 ? 'udh8' : 'udh16', ref, total, seq }
  }
  if (tlvs.length === 0) return undefined
  const [refAt, totalAt, seqAt] = SAR.map(tag => findTlv(tlvs, 0, tlvs.length, tag)) as [number, number, number]
  if (refAt < 0 || totalAt < 0 || seqAt < 0) return undefined
  const total = tlvUint(tlvs, totalAt)
  const seq = tlvUint(tlvs, seqAt)
  if (total < 2 || total > 255 || seq < 1 || seq > total) return undefined
  return { how: 'sar', ref: tlvUint(tlvs, refAt), total, seq }
}

/** True when its header, if it has one, names nothing but the part: ports and national tables are said of each part alone. */
export function isBare({ esm_class, body }: Parted): boolean {
  return (esm_class & UDHI) === 0 || (parseUdh(body)?.elements.every(({ iei }) => CONCAT.has(iei)) ?? false)
}

/**
 * All parts, in their order, as one message, with the TLVs of the first but sar_*. Undefined when their headers hold more
 * than the parts' numbers, and not the same: what they all say, the whole says once.
 *
 * @param isPacked their texts are eight septets in seven octets, and so is the whole's. Such a part begins on a septet's
 *   boundary after its header (3GPP TS 23.038 §6.1.2), so the octets of two say nothing when put together.
 */
export function joinParts(parts: readonly Parted[], isPacked = false): Parted | undefined {
  const first = parts[0] as Parted
  let rest: Buffer | undefined
  const texts: Buffer[] = []
  for (const { esm_class, body } of parts) {
    const udh = esm_class & UDHI ? parseUdh(body) : undefined
    const others = udh?.elements.filter(({ iei }) => !CONCAT.has(iei)) ?? []
    const head = Buffer.concat(others.map(({ iei, octets }) => Buffer.from([iei, octets.length, ...octets])))
    if (rest !== undefined && !rest.equals(head)) return undefined
    rest = head
    const header = udh?.length ?? 0
    const text = body.subarray(header)
    texts.push(isPacked ? unpack7(text, header) : text)
  }
  const hasHead = rest !== undefined && rest.length > 0
  const head = hasHead ? Buffer.concat([Buffer.from([(rest as Buffer).length]), rest as Buffer]) : Buffer.alloc(0)
  const text = Buffer.concat(texts)
  return {
    esm_class: hasHead ? first.esm_class : first.esm_class & ~UDHI,
    body: Buffer.concat([head, isPacked ? pack7(text, head.length) : text]),
    tlvs: withoutSar(first.tlvs),
  }
}

export const withoutSar = (tlvs: Buffer): Buffer => withoutTlvs(tlvs, SAR)
