// A message as the parts that a carrier takes: octets as they came where the carrier reads them as the customer meant
// them, text encoded for the carrier, long ones cut. Pure; knows alphabets and sizes, not links.

import { unpack7 } from '../../protocols/gsm/alphabet.js'
import { type Coding, type Codings, codingOf, decodeUserData, standardCodings } from '../../protocols/gsm/coding.js'
import { onRadio, onWire } from '../../protocols/gsm/radio.js'
import { fitsOne, segment } from '../../protocols/gsm/segment.js'
import { buildConcatUdh, parseUdh } from '../../protocols/gsm/udh.js'
import { type PartName, partOf, withoutSar } from '../../protocols/smpp/parts.js'
import { findTlv, tlv, writeTlvUint } from '../../protocols/smpp/tlv.js'
import type { Part } from '../carriers/driver.js'
import { EMPTY, type Message } from '../model/message.js'
import { encodeFor, radioOf, type TextSettings } from './encode.js'
import { rewrite } from './rewrite.js'

export interface CutSettings extends TextSettings {
  readonly receipts: 'always' | 'asked'
  /** It takes TLVs: they came with SMPP v3.4. */
  readonly tlvs: boolean
}

/** For a carrier of whom nothing is said. */
export const plainCut: CutSettings = Object.freeze({
  receipts: 'always',
  tlvs: true,
  longMessages: 'udh8',
  codings: standardCodings,
  nationalTables: [],
  maxOctets: 140,
})

/** A mail is what it is, and nobody reports on it. */
const noReceipts: CutSettings = Object.freeze({ ...plainCut, receipts: 'asked' })

/**
 * Why a message cannot be sent at all. coding_unsupported: the carrier takes its text in no coding, or in one in which a
 * part that the customer cut is longer than a part can be.
 */
export type Uncuttable = 'too_long' | 'coding_unsupported'

const UDHI = 0x40
/** Message mode, SMPP v3.4 §5.2.12: ours to keep, not the carrier's. */
const MODE = 0x03
const TRANSACTION = 0x02
/** What a carrier does anyway. */
const STORE_AND_FORWARD = 0x03
/** Octets of IA5 that are as many septets or, all of them of the extension table, twice as many. */
const ASCII_SURELY_SHORT = 80
/** Elements that name national tables, 3GPP TS 23.040 §9.2.3.24. */
const SINGLE_SHIFT = 0x24
const LOCKING_SHIFT = 0x25

/**
 * The parts of `m` for a carrier, or why there are none.
 *
 * @param theirs what data_coding means to the account, see {@link Message.ownCoding}
 * @param concatRef gives the reference that several parts share; asked only for a message of several
 */
export function cut(
  m: Message,
  settings: CutSettings,
  theirs: Codings,
  concatRef: (m: Message) => number,
): readonly Part[] | Uncuttable {
  const { data_coding, body } = m
  if (m.isMail) return [part(m, 0, 0, 0, body, false, EMPTY, noReceipts)]
  if (m.isText) return cutText(m, body.toString('utf8'), settings, concatRef)
  const coding = codingOf(data_coding, theirs)
  const carriers = codingOf(data_coding, settings.codings)
  if (coding === carriers || coding === 'binary') {
    if (isShort(m, coding, settings) || wasCut(m)) return asItWas(m, m.esm_class, data_coding, body, coding, settings)
  } else {
    // Septets are septets, packed or not: nothing in them is read.
    const septets = isSeptets(coding) && isSeptets(carriers)
    if (wasCut(m) && (septets || !namesTablesOnly(m))) return cutAgain(m, theirs, settings)
    if (!septets) return cutText(m, decodeUserData(body, (m.esm_class & UDHI) !== 0, coding), settings, concatRef)
  }
  const { octets, coding: radio } = onRadio(body, coding)
  const wire = coding === 'binary' ? coding : carriers
  return cutOctets(m, data_coding, octets, radioOf(radio, data_coding), wire, undefined, settings, concatRef)
}

function isShort({ body, data_coding }: Message, coding: Coding, { maxOctets }: CutSettings): boolean {
  const { length } = body
  // What message centres turn into septets may become more octets than it was.
  return length <= maxOctets && (length <= ASCII_SURELY_SHORT || radioOf(coding, data_coding) !== 'ascii')
}

function isSeptets(coding: Coding): boolean {
  return coding === 'gsm' || coding === 'gsm-packed'
}

/** By the customer, who has said so in the message: it stays as it was cut. */
function wasCut(m: Message): boolean {
  return (m.esm_class & UDHI) !== 0 || sarOf(m) !== undefined
}

/** Which part it is, where sar_* say so. One part of one is none. */
function sarOf(m: Message): PartName | undefined {
  const { tlvs } = m
  if (tlvs.length === 0 || findTlv(tlvs, 0, tlvs.length, tlv.sar_msg_ref_num) < 0) return undefined
  const name = partOf(m)
  return name?.how === 'sar' ? name : undefined
}

/** A header that says how the text is written, and of nothing that it is a part of. */
function namesTablesOnly(m: Message): boolean {
  if ((m.esm_class & UDHI) === 0 || sarOf(m) !== undefined) return false
  return parseUdh(m.body)?.elements.every(({ iei }) => iei === SINGLE_SHIFT || iei === LOCKING_SHIFT) ?? false
}

/** One part in another coding, because the carrier reads the customer's as something else. */
function cutAgain(m: Message, theirs: Codings, settings: CutSettings): readonly Part[] | Uncuttable {
  const udhi = (m.esm_class & UDHI) !== 0
  const one = rewrite(m.body, udhi, m.data_coding, theirs, settings.codings)
  if (!one?.fits) return 'coding_unsupported'
  const esm_class = one.udhi ? m.esm_class : m.esm_class & ~UDHI
  return asItWas(m, esm_class, one.data_coding, one.octets, codingOf(one.data_coding, settings.codings), settings)
}

/** One part, as one; `octets` are in `wire`, the carrier's coding, behind a header where `esm_class` says so. */
function asItWas(
  m: Message,
  esm_class: number,
  data_coding: number,
  octets: Buffer,
  wire: Coding,
  settings: CutSettings,
): readonly Part[] | Uncuttable {
  const sar = settings.tlvs ? undefined : sarOf(m)
  if (sar === undefined) return [part(m, 0, esm_class, data_coding, octets, false, m.tlvs, settings)]
  const head = esm_class & UDHI ? (octets[0] as number) + 1 : 0
  const text = octets.subarray(head)
  const { octets: radio, coding } =
    wire === 'gsm-packed' ? { octets: unpack7(text, head), coding: 'gsm' as const } : onRadio(text, wire)
  const header = numbered(sar, octets.subarray(1, head))
  if (!fitsOne(radio, radioOf(coding, data_coding), header.length, settings.maxOctets)) return 'too_long'
  const short_message = onWire(Buffer.concat([header, radio]), true, wire)
  return [part(m, 0, esm_class | UDHI, data_coding, short_message, false, EMPTY, settings)]
}

/**
 * A header that says of which message it is which part, for a carrier that does not read sar_*. Of 8 bits whatever the
 * reference: who cuts by sar_* leaves room for no more, and all parts must have the same.
 */
function numbered({ ref, total, seq }: PartName, elements: Buffer): Buffer {
  const header = Buffer.concat([buildConcatUdh(ref, total, seq, 8), elements])
  header[0] = header.length - 1
  return header
}

function cutText(
  m: Message,
  text: string,
  settings: CutSettings,
  concatRef: (m: Message) => number,
): readonly Part[] | Uncuttable {
  const encoded = encodeFor(text, m.data_coding, settings)
  if (encoded === undefined) return 'coding_unsupported'
  const { data_coding, octets, radio, wire, elements } = encoded
  return cutOctets(m, data_coding, octets, radio, wire, elements, settings, concatRef)
}

function cutOctets(
  m: Message,
  data_coding: number,
  octets: Buffer,
  radio: Coding,
  wire: Coding,
  elements: Buffer | undefined,
  settings: CutSettings,
  concatRef: (m: Message) => number,
): readonly Part[] | Uncuttable {
  const { longMessages, maxOctets } = settings
  const isOne = fitsOne(octets, radio, elements?.length ? elements.length + 1 : 0, maxOctets)
  const segments = segment(octets, radio, longMessages, isOne ? 0 : concatRef(m), maxOctets, elements)
  if (segments === undefined) return 'too_long'
  // What says that it is the only part would be wrong of several.
  const kept = segments.length > 1 && m.tlvs.length > 0 ? withoutSar(m.tlvs) : m.tlvs
  return segments.map((one, index) => {
    const esm_class = one.udhi ? m.esm_class | UDHI : m.esm_class & ~UDHI
    const onTheWire = onWire(one.octets, one.udhi, wire)
    const tlvs = one.sar ? withSar(kept, one.sar.ref, one.sar.total, one.sar.seq) : kept
    return part(m, index, esm_class, data_coding, onTheWire, one.payload === true, tlvs, settings)
  })
}

function withSar(tlvs: Buffer, ref: number, total: number, seq: number): Buffer {
  const all = Buffer.allocUnsafe(tlvs.length + 16)
  let at = tlvs.copy(all)
  at = writeTlvUint(all, at, tlv.sar_msg_ref_num, ref, 2)
  at = writeTlvUint(all, at, tlv.sar_total_segments, total, 1)
  at = writeTlvUint(all, at, tlv.sar_segment_seqnum, seq, 1)
  return all.subarray(0, at)
}

function part(
  message: Message,
  index: number,
  esm_class: number,
  data_coding: number,
  short_message: Buffer,
  payload: boolean,
  tlvs: Buffer,
  { receipts }: CutSettings,
): Part {
  const asked = message.registered_delivery
  // Who is answered at the message's end must hear of it.
  const always = receipts === 'always' || (message.esm_class & MODE) === TRANSACTION
  // For whoever wants to hear of failures only, or of success, we must know both.
  const registered_delivery = always || (asked & 3) !== 0 ? (asked & ~3) | 1 : asked
  const theirs = (esm_class & MODE) === STORE_AND_FORWARD ? esm_class : esm_class & ~MODE
  return {
    message,
    index,
    esm_class: theirs,
    data_coding,
    short_message,
    payload,
    registered_delivery,
    tlvs,
    sentMs: 0,
  }
}
