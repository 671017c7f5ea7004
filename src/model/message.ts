// The one shape every submission takes: a message to one destination. Names are
// SMPP's where SMPP has one. Knows how to be written to a record and read back;
// knows nothing of queues, carriers or who asks.

import { assert } from '../base/assert.js'
import { idTimeMs } from '../base/ids.js'

export const messageClasses = ['otp', 'transactional', 'bulk'] as const
export type MessageClass = (typeof messageClasses)[number]

/** Index into {@link messageClasses}: a number where the hot path compares. Lower is served first. */
export type ClassRank = 0 | 1 | 2
export const rankOf = (name: MessageClass): ClassRank => messageClasses.indexOf(name) as ClassRank

/** message_state, SMPP v3.4 §5.2.28; SCHEDULED and SKIPPED are v5.0's. */
export const state = {
  SCHEDULED: 0,
  ENROUTE: 1,
  DELIVERED: 2,
  EXPIRED: 3,
  DELETED: 4,
  UNDELIVERABLE: 5,
  ACCEPTED: 6,
  UNKNOWN: 7,
  REJECTED: 8,
  SKIPPED: 9,
} as const
export type MessageState = (typeof state)[keyof typeof state]

export const stateNames = [
  'SCHEDULED',
  'ENROUTE',
  'DELIVERED',
  'EXPIRED',
  'DELETED',
  'UNDELIVERABLE',
  'ACCEPTED',
  'UNKNOWN',
  'REJECTED',
  'SKIPPED',
] as const

/** Is this the last word on a part? SMPP v3.4 §5.2.28: ENROUTE is not; ACCEPTED and SCHEDULED are not the end in the field. */
export const isFinal = (s: MessageState): boolean =>
  s !== state.ENROUTE && s !== state.ACCEPTED && s !== state.SCHEDULED

/** Where a message stands in its life: waiting for a carrier, sent and waiting for receipts, or over. */
export type Standing = 'waiting' | 'sent' | 'ended'

export const EMPTY = Buffer.alloc(0)

/**
 * Marks of ours in the bits of {@link Message.registered_delivery} that the standard reserves (SMPP v3.4 §5.2.17, bits 7
 * to 5): they live as long as the message, and no carrier sees them.
 */
export const mark = {
  /** A receipt for each part. */
  perPart: 0x20,
  /** The customer has had the intermediate notification ENROUTE; ACCEPTED. */
  toldEnroute: 0x40,
  toldAccepted: 0x80,
} as const

/** How {@link Message.extras} begin of a message that came by mail: its sender hears of it by mail, not over a bind. */
const OF_MAIL = '{"mail":'

/** What is kept of a mail for as long as its message lives: whom to tell, and by what its sender knows it. */
export interface MailNote {
  /** MAIL FROM. */
  from: string
  /** RCPT TO. */
  to: string
  envid?: string
  ret?: 'FULL' | 'HDRS'
  notify?: readonly string[]
  orcpt?: string
  /** Of its header, as written: Subject, Date, From. */
  subject?: string
  date?: string
  author?: string
  /** It left as a mail, not as a text message. */
  relay?: true
}

export const extrasOfMail = (mail: MailNote): string => `${OF_MAIL}${JSON.stringify(mail)}}`
export const isOfMail = (m: Message): boolean => m.extras !== '' && m.extras.startsWith(OF_MAIL)

/** How {@link Message.extras} begin of a message that carries a one-time password: of its text nothing stays. */
const OF_OTP = '{"web":{"otp":'
export const isOfOtp = (m: Message): boolean => m.extras !== '' && m.extras.startsWith(OF_OTP)

/** {@link Message.extras} of an answer of ours to a phone's STOP or HELP: nothing that the phone has said holds it back. */
export const EXTRAS_OF_ANSWER = '{"consent":"answer"}'

/** The tags that its sender gave it, in {@link Message.extras}: `{…, "tags": ["spring", "shop-7"]}`. */
export function tagsOf(m: Message): readonly string[] {
  if (m.extras === '' || !m.extras.includes('"tags":[')) return NO_TAGS
  const { tags } = JSON.parse(m.extras) as { tags?: unknown }
  return Array.isArray(tags) ? tags : NO_TAGS
}
const NO_TAGS: readonly string[] = []

/** One part of a message on its way: its carrier's name for it, and what the receipt said. */
export interface PartState {
  /** The carrier took it and named it so; '' until then, and for carriers that give no name. */
  ref: string
  answered: boolean
  /** As {@link Message.unsure}, of this part. */
  unsure: boolean
  /** ENROUTE until a receipt says more. */
  state: MessageState
  /** What the receipt gave as its err, '' until then. */
  err: string
  /** Its network_error_code as in a Receipt; not on disk. */
  network?: number
}

/** What a message has to do with others that were parts of one text: an account may have them joined. The engine's. */
export interface Joined {
  /** It waits for the other parts. */
  waits: boolean
  /** Id of the message that its text has become part of, and whose end is its own; 0 = none. */
  of: number
  /** Ids of those whose text it has, and that end when it does. */
  ids: number[]
}

/**
 * Mutable only until accepted, and afterwards only by the spool (standing, parts,
 * attempts) and by replace_sm (body, validity).
 */
export class Message {
  id = 0
  /** Account's number in the directory. */
  account = 0
  rank: ClassRank = 1
  /** A mail: `body` is the mail itself, `source_addr` its reverse-path and `destination_addr` its recipient. */
  isMail = false
  standing: Standing = 'waiting'

  service_type = ''
  source_addr_ton = 0
  source_addr_npi = 0
  source_addr = ''
  dest_addr_ton = 0
  dest_addr_npi = 0
  destination_addr = ''
  esm_class = 0
  protocol_id = 0
  priority_flag = 0
  registered_delivery = 0
  data_coding = 0
  /** Octets as received, UDH included; UTF-8 when {@link isText}. After `accepted`: the first octets of the text only. */
  body: Buffer = EMPTY
  /** True: `body` is Unicode text, to be encoded for the carrier that takes it; of `data_coding` the message class counts. */
  isText = false
  /** What `body` is, the account's own table of data_coding says, not the standard's. */
  ownCoding = false
  /** TLVs to pass on, as a raw stream; message_payload is not among them. */
  tlvs: Buffer = EMPTY

  /** Not before this moment, ms; 0 = at once. */
  scheduleMs = 0
  /** That is the end of the quiet hours at its destination, and not what its sender said. Not on disk. */
  isPutOff = false
  /** Its sender wants it to stay in the building, whatever its destination. Not on disk: its lane says so then. */
  isSandboxed = false
  /** Not after this moment, ms. */
  validUntilMs = 0
  /** The customer said so: carriers are told. False: it is our own default. */
  validityGiven = false
  /** The carrier that the message names, '' when the route decides. */
  carrierName = ''
  /** The route's number: its lane. */
  lane = 0
  segments = 1
  /** Segments that it does not take because typographic characters were replaced. Not on disk. */
  savedSegments = 0
  priceMicros = 0
  /** Its price was taken from what this node had leased of the account's credit. Not on disk. */
  isHeld = false
  clientRef = ''
  /** Of a submit_multi to several: the id that it was answered, which is that of its first message; 0 = none. */
  multiId = 0
  /** Not null when committed: to be joined with the other parts of its text. */
  joined: Joined | null = null
  /** A later one with the same addresses and service_type may take its place while it waits. */
  replaceable = false
  /** Callback, tags and what else the HTTP door keeps, as JSON; '' when none. */
  extras = ''

  /** Sends that were tried and not accepted. */
  attempts = 0
  /** The carrier's number in the directory that holds its parts; 0 = none yet. */
  carrier = 0
  /** Concatenation reference shared by all parts once cut; 0 = not cut. */
  concatRef = 0
  /** Order of acceptance by carriers: generations of references are cut by it. */
  refSeq = 0
  /** Carrier's reference of a message of one part. */
  ref = ''
  /** Set once the message was cut into more than one part. */
  parts: PartState[] | null = null
  /** It, or a part of it, was sent and never answered, or may have been, to a carrier that must not get it twice. */
  unsure = false

  /** Moment at which a carrier took it, monotonic ms; 0 = not yet, or not since it was read from disk. */
  sentMs = 0

  /** Number of the lane block that lists it; 0 = in no lane (due, sent). The engine's. */
  ready = 0
  /** Moment it is due, ms, while it stands in no lane; 0 otherwise. The engine's. */
  dueMs = 0
  /** The engine's own hold on it: nobody else reads or writes this. */
  hold = 0
  block: { remaining: number } | null = null
}

/** When it could first go, ms: it was accepted, and its schedule reached. */
export const dueSinceMs = ({ id, scheduleMs }: Message): number => Math.max(idTimeMs(id), scheduleMs)

// Record: what a Message is on disk. Fixed head, then counted strings.
//  0 format  1 standing|flags  2 rank|flags  3 attempts
//  4 account u32  8 lane u32  12 carrier u32
//  16 validUntilMs f64  24 scheduleMs f64  32 priceMicros f64  40 refSeq f64
//  48 ready f64  56 dueMs f64  64 ton npi ton npi  68 esm pid prio regdel
//  72 data_coding  73 segments  74 concatRef u16
//  76 …strings (u8 length), body (u16; of a mail u32), tlvs (u16), extras (u16), and only where a flag
//  says so parts, joined (waits u8, of f64, count u16, ids f64), and last of all multiId f64
const FORMAT = 1
const HEAD = 76
const FLAG_SENT = 1
const FLAG_TEXT = 2
const FLAG_PARTS = 4
const FLAG_VALIDITY = 8
const FLAG_MULTI = 16
const FLAG_REPLACEABLE = 32
const FLAG_OWN_CODING = 64
const FLAG_JOINED = 128
/** Of octet 2, beside the rank. */
const RANK = 3
const FLAG_UNSURE = 0x40
const FLAG_MAIL = 0x80
/** Of a part, beside its state. */
const PART_STATE = 0x0f
const PART_UNSURE = 0x40
const PART_ANSWERED = 0x80

export const recordStanding = (record: Buffer): Standing => ((record[1] ?? 0) & FLAG_SENT ? 'sent' : 'waiting')
export const recordAccount = (record: Buffer): number => record.readUInt32LE(4)
export const recordLane = (record: Buffer): number => record.readUInt32LE(8)
export const recordRank = (record: Buffer): ClassRank => ((record[2] as number) & RANK) as ClassRank
export const recordUnsure = (record: Buffer): boolean => ((record[2] as number) & FLAG_UNSURE) !== 0
export const recordValidUntil = (record: Buffer): number => record.readDoubleLE(16)
export const recordReady = (record: Buffer): number => record.readDoubleLE(48)
export const recordReplaceable = (record: Buffer): boolean => ((record[1] ?? 0) & FLAG_REPLACEABLE) !== 0
export const recordIsJoined = (record: Buffer): boolean => ((record[1] ?? 0) & FLAG_JOINED) !== 0
export const recordMultiId = (record: Buffer): number =>
  (record[1] ?? 0) & FLAG_MULTI ? record.readDoubleLE(record.length - 8) : 0
export const recordPriority = (record: Buffer): number => record[70] as number

/** Octets that {@link writeRecord} needs at most. */
export function recordSize(m: Message): number {
  let size =
    HEAD +
    6 +
    m.service_type.length +
    m.source_addr.length +
    m.destination_addr.length +
    m.carrierName.length +
    m.ref.length +
    m.clientRef.length * 3 +
    8 +
    m.body.length +
    m.tlvs.length +
    m.extras.length * 3
  if (m.parts) for (const part of m.parts) size += 4 + part.ref.length + part.err.length
  if (m.joined !== null) size += 11 + m.joined.ids.length * 8
  return size + 10
}

const EXCERPT_CHARACTERS = 20

/**
 * Where the first 20 characters of the body end, in octets from its start: what a
 * receipt quotes (SMPP v3.4 appendix B) and all that stays of a body once a carrier
 * has it. A UDH counts as part of the body here; see {@link excerpt}.
 */
function excerptEnd(m: Message): number {
  const width = (m.data_coding & 0x0c) === 0x08 ? 2 : 1
  const start = m.esm_class & 0x40 ? (m.body[0] ?? 0) + 1 : 0
  if (isOfOtp(m)) return Math.min(m.body.length, start)
  return Math.min(m.body.length, start + EXCERPT_CHARACTERS * (m.isText ? 3 : width))
}

/** The first characters of the message itself, as octets of its coding (UTF-8 when {@link Message.isText}). */
export function excerpt(m: Message): Buffer {
  const start = m.esm_class & 0x40 ? (m.body[0] ?? 0) + 1 : 0
  const end = excerptEnd(m)
  if (start === 0 && end === m.body.length) return m.body
  return start < end ? m.body.subarray(start, end) : EMPTY
}

function putText(to: Buffer, at: number, text: string): number {
  const length = text.length
  to[at++] = length
  if (length === 0) return at
  if (length < 24) {
    for (let i = 0; i < length; i++) to[at + i] = text.charCodeAt(i)
    return at + length
  }
  return at + to.latin1Write(text, at)
}

/** Writes the record at `at` and returns the offset after it. Strings but `extras` and `clientRef` are Latin-1 and shorter than 256. */
export function writeRecord(m: Message, to: Buffer, at: number): number {
  assert(m.standing !== 'ended', 'a message that ended has no record')
  to[at] = FORMAT
  to[at + 1] =
    (m.standing === 'sent' ? FLAG_SENT : 0) |
    (m.isText ? FLAG_TEXT : 0) |
    (m.parts ? FLAG_PARTS : 0) |
    (m.validityGiven ? FLAG_VALIDITY : 0) |
    (m.multiId !== 0 ? FLAG_MULTI : 0) |
    (m.replaceable ? FLAG_REPLACEABLE : 0) |
    (m.ownCoding ? FLAG_OWN_CODING : 0) |
    (m.joined !== null ? FLAG_JOINED : 0)
  to[at + 2] = m.rank | (m.unsure ? FLAG_UNSURE : 0) | (m.isMail ? FLAG_MAIL : 0)
  to[at + 3] = Math.min(m.attempts, 255)
  to.writeUInt32LE(m.account, at + 4)
  to.writeUInt32LE(m.lane, at + 8)
  to.writeUInt32LE(m.carrier, at + 12)
  to.writeDoubleLE(m.validUntilMs, at + 16)
  to.writeDoubleLE(m.scheduleMs, at + 24)
  to.writeDoubleLE(m.priceMicros, at + 32)
  to.writeDoubleLE(m.refSeq, at + 40)
  to.writeDoubleLE(m.ready, at + 48)
  to.writeDoubleLE(m.dueMs, at + 56)
  to[at + 64] = m.source_addr_ton
  to[at + 65] = m.source_addr_npi
  to[at + 66] = m.dest_addr_ton
  to[at + 67] = m.dest_addr_npi
  to[at + 68] = m.esm_class
  to[at + 69] = m.protocol_id
  to[at + 70] = m.priority_flag
  to[at + 71] = m.registered_delivery
  to[at + 72] = m.data_coding
  to[at + 73] = m.segments
  to.writeUInt16LE(m.concatRef, at + 74)
  at = putText(to, at + HEAD, m.service_type)
  at = putText(to, at, m.source_addr)
  at = putText(to, at, m.destination_addr)
  at = putText(to, at, m.carrierName)
  at = putText(to, at, m.ref)
  const refAt = at++
  at += m.clientRef === '' ? 0 : to.utf8Write(m.clientRef, at)
  to[refAt] = at - refAt - 1
  const bodyEnd = m.standing === 'sent' ? excerptEnd(m) : m.body.length
  at = m.isMail ? to.writeUInt32LE(bodyEnd, at) : to.writeUInt16LE(bodyEnd, at)
  if (bodyEnd > 0) at += m.body.copy(to, at, 0, bodyEnd)
  to.writeUInt16LE(m.tlvs.length, at)
  at += 2
  if (m.tlvs.length > 0) at += m.tlvs.copy(to, at)
  const extrasAt = at
  at += 2
  if (m.extras !== '') at += to.utf8Write(m.extras, at)
  to.writeUInt16LE(at - extrasAt - 2, extrasAt)
  if (m.parts) {
    to[at++] = m.parts.length
    for (const part of m.parts) {
      to[at++] = part.state | (part.answered ? PART_ANSWERED : 0) | (part.unsure ? PART_UNSURE : 0)
      at = putText(to, at, part.ref)
      at = putText(to, at, part.err)
    }
  }
  if (m.joined !== null) {
    const { waits, of, ids } = m.joined
    to[at] = waits ? 1 : 0
    to.writeDoubleLE(of, at + 1)
    at = to.writeUInt16LE(ids.length, at + 9)
    for (const id of ids) at = to.writeDoubleLE(id, at)
  }
  if (m.multiId !== 0) at = to.writeDoubleLE(m.multiId, at)
  return at
}

/** Reads what {@link writeRecord} wrote. The message keeps the buffer: give it one of its own. */
export const readRecord = (id: number, from: Buffer): Message => read(id, from, keep)

/** The same from octets that are somebody else's. */
export const readLentRecord = (id: number, from: Buffer): Message => read(id, from, copy)

const keep = (from: Buffer, at: number, end: number): Buffer => from.subarray(at, end)

function copy(from: Buffer, at: number, end: number): Buffer {
  const to = Buffer.allocUnsafe(end - at)
  from.copy(to, 0, at, end)
  return to
}

function read(id: number, from: Buffer, taken: typeof keep): Message {
  assert(from[0] === FORMAT, `message record format ${from[0]}`)
  const m = new Message()
  const flags = from[1] as number
  m.id = id
  m.standing = flags & FLAG_SENT ? 'sent' : 'waiting'
  m.isText = (flags & FLAG_TEXT) !== 0
  m.validityGiven = (flags & FLAG_VALIDITY) !== 0
  m.replaceable = (flags & FLAG_REPLACEABLE) !== 0
  m.ownCoding = (flags & FLAG_OWN_CODING) !== 0
  m.rank = recordRank(from)
  m.unsure = recordUnsure(from)
  m.isMail = ((from[2] as number) & FLAG_MAIL) !== 0
  m.attempts = from[3] as number
  m.account = from.readUInt32LE(4)
  m.lane = from.readUInt32LE(8)
  m.carrier = from.readUInt32LE(12)
  m.validUntilMs = from.readDoubleLE(16)
  m.scheduleMs = from.readDoubleLE(24)
  m.priceMicros = from.readDoubleLE(32)
  m.refSeq = from.readDoubleLE(40)
  m.ready = from.readDoubleLE(48)
  m.dueMs = from.readDoubleLE(56)
  m.source_addr_ton = from[64] as number
  m.source_addr_npi = from[65] as number
  m.dest_addr_ton = from[66] as number
  m.dest_addr_npi = from[67] as number
  m.esm_class = from[68] as number
  m.protocol_id = from[69] as number
  m.priority_flag = from[70] as number
  m.registered_delivery = from[71] as number
  m.data_coding = from[72] as number
  m.segments = from[73] as number
  m.concatRef = from.readUInt16LE(74)
  let at = HEAD
  const text = (): string => {
    const length = from[at++] as number
    at += length
    return length === 0 ? '' : from.latin1Slice(at - length, at)
  }
  m.service_type = text()
  m.source_addr = text()
  m.destination_addr = text()
  m.carrierName = text()
  m.ref = text()
  const clientLength = from[at++] as number
  if (clientLength > 0) m.clientRef = from.utf8Slice(at, at + clientLength)
  at += clientLength
  const bodyLength = m.isMail ? from.readUInt32LE(at) : from.readUInt16LE(at)
  at += m.isMail ? 4 : 2
  if (bodyLength > 0) m.body = taken(from, at, at + bodyLength)
  at += bodyLength
  const tlvLength = from.readUInt16LE(at)
  at += 2
  if (tlvLength > 0) m.tlvs = taken(from, at, at + tlvLength)
  at += tlvLength
  const extrasLength = from.readUInt16LE(at)
  at += 2
  if (extrasLength > 0) m.extras = from.utf8Slice(at, at + extrasLength)
  at += extrasLength
  if (flags & FLAG_PARTS) {
    const count = from[at++] as number
    m.parts = []
    for (let i = 0; i < count; i++) {
      const head = from[at++] as number
      m.parts.push({
        state: (head & PART_STATE) as MessageState,
        answered: (head & PART_ANSWERED) !== 0,
        unsure: (head & PART_UNSURE) !== 0,
        ref: text(),
        err: text(),
      })
    }
  }
  if (flags & FLAG_JOINED) {
    const ids: number[] = []
    const count = from.readUInt16LE(at + 9)
    for (let i = 0; i < count; i++) ids.push(from.readDoubleLE(at + 11 + i * 8))
    m.joined = { waits: from[at] === 1, of: from.readDoubleLE(at + 1), ids }
  }
  m.multiId = recordMultiId(from)
  return m
}
