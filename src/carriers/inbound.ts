// What a carrier's deliver_sm or data_sm is: the receipt of a message of ours, or a message from a phone. Receipts are
// read as carriers write them, in bits, TLVs or words, and whatever disagrees is settled here. Pure; whose receipt it is
// others find out.

import { parseReceipt, receiptDate, type Receipt as Words } from '../../protocols/smpp/receipt.js'
import type { Sm } from '../../protocols/smpp/sm.js'
import { status } from '../../protocols/smpp/status.js'
import { findTlv, tlv, tlvBytes, tlvLength, tlvString, tlvUint, withoutTlvs } from '../../protocols/smpp/tlv.js'
import { EMPTY, isFinal, type MessageState, state } from '../model/message.js'
import type { Receipt, Reply } from '../model/outcome.js'
import { type AddressSteps, rewriteAddress } from '../routing/addresses.js'
import { otherRefs, type RefRule, refOfReceipt } from './refs.js'

/** What a carrier's settings say of its receipts. */
export interface InboundRules {
  readonly refs: RefRule
  /** A text that reads like a receipt is one, though no bit and no TLV says so. */
  readonly textReceipts: boolean
}

/** esm_class, SMPP v3.4 §5.2.12: what kind of message it is, and whether a UDH stands before its text. */
const KIND = 0x3c
const RECEIPT = 0x04
const NOTICE = 0x20
const UDHI = 0x40
/** The standard has 64 octets for a message id and 3 for err; carriers have more, but not without end. */
const MAX_REF = 128
const MAX_ERR = 16
/** Octets of an address in a deliver_sm. */
const MAX_ADDRESS = 20
/** First octet of the tags that the standard leaves to vendors, 0x1400 to 0x3fff (§5.3.1); octets of them that a receipt keeps. */
const VENDOR_FIRST = 0x14
const VENDOR_LAST = 0x3f
const MAX_VENDOR = 255
/** network_type of network_error_code (§5.3.2.31) for carriers that give the code alone. */
const GSM = 3

/** Text of the message: short_message, or message_payload where that is empty. A view of what was read. */
function bodyOf({ short_message, tlvs }: Sm): Buffer {
  if (short_message.length > 0 || tlvs.length === 0) return short_message
  const payload = findTlv(tlvs, 0, tlvs.length, tlv.message_payload)
  return payload >= 0 ? tlvBytes(tlvs, payload) : short_message
}

/**
 * The receipt in a deliver_sm or data_sm; undefined: it is none, but a message from a phone; null: a receipt that names
 * no message. `nowMs` stands in for a done date that is missing or unreadable.
 */
export function readReceipt(sm: Sm, rules: InboundRules, nowMs: number): Receipt | null | undefined {
  const { tlvs } = sm
  const kind = sm.esm_class & KIND
  // Kinds that the standard reserves say nothing: what has them is a receipt only if it reads like one.
  const said = kind === RECEIPT || kind === NOTICE || kind === (RECEIPT | NOTICE)
  if (tlvs.length === 0) {
    // An SME's own acknowledgement (0x08, 0x10) may be the carrier's receipt in disguise: its words tell.
    if (!said && kind === 0 && !rules.textReceipts) return undefined
    const words = wordsOf(sm, sm.short_message)
    if (words === undefined || words.id === '') return said ? null : undefined
    const own = atMost(words.id, MAX_REF)
    return {
      ref: refOfReceipt(rules.refs, own),
      state: noticed(kind, words.state as MessageState),
      err: atMost(words.err, MAX_ERR),
      doneMs: doneMs(words, nowMs),
      network: 0,
      others: rules.refs === 'either' ? otherRefs(own) : null,
    }
  }
  return readWithTlvs(sm, rules, nowMs, kind, said)
}

function readWithTlvs(
  sm: Sm,
  rules: InboundRules,
  nowMs: number,
  kind: number,
  said: boolean,
): Receipt | null | undefined {
  const { tlvs } = sm
  const idAt = findTlv(tlvs, 0, tlvs.length, tlv.receipted_message_id)
  const stateAt = findTlv(tlvs, 0, tlvs.length, tlv.message_state)
  const named = idAt >= 0 && (kind === 0 || stateAt >= 0)
  if (!said && !named && kind === 0 && !rules.textReceipts) return undefined
  const words = wordsOf(sm, bodyOf(sm))
  const wordsId = words?.id ?? ''
  const tlvId = idAt >= 0 ? tlvString(tlvs, idAt).trim() : ''
  if (!said && !named && wordsId === '') return undefined
  const id = atMost(tlvId !== '' ? tlvId : wordsId, MAX_REF)
  if (id === '') return said ? null : undefined
  const ref = refOfReceipt(rules.refs, id)
  const told = stateAt >= 0 ? tlvUint(tlvs, stateAt) : -1
  const codeAt = findTlv(tlvs, 0, tlvs.length, tlv.network_error_code)
  const network = codeAt >= 0 ? networkOf(tlvs, codeAt) : 0
  const err = atMost(words?.err ?? '', MAX_ERR)
  const receipt: Receipt = {
    ref,
    state: noticed(kind, stateOf(told, words)),
    err: network !== 0 && /^0*$/.test(err) ? String(network & 0xffff).padStart(3, '0') : err,
    doneMs: words === undefined ? nowMs : doneMs(words, nowMs),
    network,
    others: others(rules.refs, ref, id, wordsId),
  }
  const vendor = vendorTlvs(tlvs)
  if (vendor !== undefined) receipt.vendor = vendor
  return receipt
}

/** The carrier's own TLVs, those that fit into what is kept of them, copied: the receipt outlives what was read. */
function vendorTlvs(tlvs: Buffer): Buffer | undefined {
  let kept: Buffer[] | undefined
  let room = MAX_VENDOR
  for (let at = 0; at + 4 <= tlvs.length; ) {
    const next = at + 4 + (((tlvs[at + 2] as number) << 8) | (tlvs[at + 3] as number))
    const high = tlvs[at] as number
    if (high >= VENDOR_FIRST && high <= VENDOR_LAST && next - at <= room) {
      room -= next - at
      kept ??= []
      kept.push(tlvs.subarray(at, next))
    }
    at = next
  }
  return kept === undefined ? undefined : Buffer.concat(kept)
}

/** Other names that the message may have: the one in the text where the TLV has another, and both in the other base. */
function others(rule: RefRule, ref: string, id: string, wordsId: string): readonly string[] | null {
  if (rule !== 'either' && (wordsId === '' || wordsId === id)) return null
  const all = new Set<string>()
  if (wordsId !== '') all.add(refOfReceipt(rule, atMost(wordsId, MAX_REF)))
  if (rule === 'either') {
    for (const one of otherRefs(id)) all.add(one)
    if (wordsId !== id) for (const one of otherRefs(atMost(wordsId, MAX_REF))) all.add(one)
  }
  all.delete(ref)
  return all.size === 0 ? null : [...all]
}

/** The words of a receipt, in whatever octets they came: behind a UDH, or each in two octets. */
function wordsOf(sm: Sm, body: Buffer): Words | undefined {
  const { length } = body
  if (length < 2) return undefined
  if (sm.esm_class & UDHI) {
    const head = (body[0] as number) + 1
    // The bit is set, and no header is there: carriers do that.
    const words = head < length ? parseReceipt(narrow(body.subarray(head))) : undefined
    if (words !== undefined) return words
  }
  return parseReceipt(body[0] === 0 || body[1] === 0 || (body[0] as number) >= 0xfe ? narrow(body) : body)
}

/** UCS-2 in either order as one octet a character, `?` for what has none; what is no UCS-2 stays as it is. */
function narrow(body: Buffer): Buffer {
  const marked = (body[0] === 0xfe && body[1] === 0xff) || (body[0] === 0xff && body[1] === 0xfe)
  const from = marked ? 2 : 0
  const high = body[from] === 0 ? 0 : body[from + 1] === 0 ? 1 : -1
  if (high < 0) return body
  const out = Buffer.allocUnsafe((body.length - from) >>> 1)
  for (let i = 0; i < out.length; i++) {
    const at = from + i * 2
    out[i] = body[at + high] === 0 ? (body[at + 1 - high] as number) : 0x3f
  }
  return out
}

/**
 * Where TLV and text disagree, the TLV is the standard's word (§5.3.2.35). But a state that is the end is believed
 * against one that is not, for receipts come at the end; and any against UNKNOWN.
 */
function stateOf(told: number, words: Words | undefined): MessageState {
  const written = words === undefined ? state.UNKNOWN : (words.state as MessageState)
  if (told < 0 || told > state.SKIPPED || told === state.UNKNOWN) return written
  return !isFinal(told as MessageState) && isFinal(written) && written !== state.UNKNOWN
    ? written
    : (told as MessageState)
}

/** An intermediate notification (§2.11) tells of a try that failed, and more will come; only DELIVERED cannot be undone. */
function noticed(kind: number, s: MessageState): MessageState {
  return (kind & (NOTICE | RECEIPT)) === NOTICE && isFinal(s) && s !== state.DELIVERED ? state.ENROUTE : s
}

function doneMs(words: Words, nowMs: number): number {
  if (words.doneDate === '') return nowMs
  const ms = receiptDate(words.doneDate, nowMs)
  return Number.isNaN(ms) ? nowMs : ms
}

/** Network type and code as one number. Three octets by the standard; in the field also digits, or the code alone. */
function networkOf(tlvs: Buffer, at: number): number {
  const length = tlvLength(tlvs, at)
  if (length === 0 || length > 5) return 0
  const digits = tlvs.latin1Slice(at, at + length)
  if (/^[0-9]+$/.test(digits)) return (GSM << 16) | (Number(digits) & 0xffff)
  if (length === 3) return ((tlvs[at] as number) << 16) | tlvs.readUInt16BE(at + 1)
  return length < 3 ? (GSM << 16) | tlvs.readUIntBE(at, length) : 0
}

const atMost = (text: string, length: number): string => (text.length <= length ? text : text.slice(0, length))

/**
 * command_status for a message from a phone that has no room in a deliver_sm, 0 for all others: data_sm has addresses of
 * 64 octets, deliver_sm of 20 (SMPP v3.4 §4.7.1, §4.6.1).
 */
export function replyFault({ source_addr, destination_addr }: Sm): number {
  if (source_addr.length > MAX_ADDRESS) return status.ESME_RINVSRCADR
  return destination_addr.length > MAX_ADDRESS ? status.ESME_RINVDSTADR : 0
}

/**
 * A message from a phone, octet for octet, its addresses as they are written here; a copy, for it may wait long, and what
 * was read is much larger than it is.
 */
export function readReply(sm: Sm, carrier: number, { replySource, replyDestination }: AddressSteps): Reply {
  const from = replySource.length === 0 ? undefined : rewriteAddress(replySource, sm.source_addr)
  const to = replyDestination.length === 0 ? undefined : rewriteAddress(replyDestination, sm.destination_addr)
  const text = bodyOf(sm)
  const rest = sm.tlvs.length > 0 ? withoutTlvs(sm.tlvs, [tlv.message_payload]) : EMPTY
  // Not of the pool, of which each would keep 8 KB.
  const copy = Buffer.allocUnsafeSlow(text.length + rest.length)
  text.copy(copy)
  if (rest.length > 0) rest.copy(copy, text.length)
  return {
    carrier,
    service_type: sm.service_type,
    source_addr_ton: from?.ton ?? sm.source_addr_ton,
    source_addr_npi: from?.npi ?? sm.source_addr_npi,
    source_addr: from?.address ?? sm.source_addr,
    dest_addr_ton: to?.ton ?? sm.dest_addr_ton,
    dest_addr_npi: to?.npi ?? sm.dest_addr_npi,
    destination_addr: to?.address ?? sm.destination_addr,
    esm_class: sm.esm_class,
    protocol_id: sm.protocol_id,
    priority_flag: sm.priority_flag,
    data_coding: sm.data_coding,
    body: copy.subarray(0, text.length),
    tlvs: rest.length > 0 ? copy.subarray(text.length) : EMPTY,
  }
}
