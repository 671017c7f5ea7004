// Mutated PDUs and streams, drawn from a seed; and what a stream is to whoever frames it by the standard: its requests,
// and where it falls out of step. Frames in its own way, not with our framer. Knows octets, no sockets.
import { type CommandName, command, isResponse, responseTo } from '../../protocols/smpp/commands.js'
import { decodePdu, encodePdu } from '../../protocols/smpp/pdu.js'
import { status } from '../../protocols/smpp/status.js'

const HEADER = 16
export const MAX_PDU = 70_000

/** Whole numbers from 0 to n - 1. */
export type Below = (n: number) => number

/** mulberry32. */
export function dice(seed: number): Below {
  let state = seed | 0
  return n => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * n)
  }
}

const hex = (text: string): Buffer => Buffer.from(text.replace(/\s/g, ''), 'hex')
const text = { source_addr: '1000', destination_addr: '12025550123', short_message: Buffer.from('hello') }
const udh = { ...text, esm_class: 0x40, short_message: hex('05 0003 07 02 01 616263') }
const to = { dest_flag: 1, dest_addr_ton: 1, dest_addr_npi: 1, destination_addr: '12025550123' } as const
const tlvs = hex('020c00020007 020e000102 020f000101 02040002beef 140000020102')
const payload = hex('0424000568656c6c6f')
const receipt = Buffer.from(
  'id:1 sub:001 dlvrd:001 submit date:2611201200 done date:2611201200 stat:DELIVRD err:000 text:',
)
const times = { schedule_delivery_time: '000000000001000R', validity_period: '000001000000000R' }
const id = { message_id: '1234567890123456', source_addr: '1000' }

/** What an ESME sends an SMSC, and what an SMSC sends an ESME: sound PDUs to begin with. */
const fromEsme: Buffer[] = [
  encodePdu(command.submit_sm, 0, 1, text),
  encodePdu(command.submit_sm, 0, 1, { ...text, registered_delivery: 1 }, tlvs),
  encodePdu(command.submit_sm, 0, 1, udh),
  encodePdu(command.submit_sm, 0, 1, { ...text, ...times, data_coding: 8, short_message: hex('00480069') }),
  encodePdu(command.submit_sm, 0, 1, { ...text, short_message: Buffer.alloc(0) }, payload),
  encodePdu(command.submit_multi, 0, 1, { ...text, dest_address: [to, to, { dest_flag: 2, dl_name: 'all' }] }),
  encodePdu(command.data_sm, 0, 1, { source_addr: '1000', destination_addr: '12025550123' }, payload),
  encodePdu(command.query_sm, 0, 1, id),
  encodePdu(command.cancel_sm, 0, 1, { ...id, destination_addr: '12025550123' }),
  encodePdu(command.cancel_sm, 0, 1, { source_addr: '9', destination_addr: '9' }),
  encodePdu(command.replace_sm, 0, 1, { ...id, short_message: Buffer.from('new') }),
  encodePdu(command.deliver_sm_resp, 0, 1, { message_id: '' }),
]
const fromSmsc: Buffer[] = [
  encodePdu(command.deliver_sm, 0, 1, text),
  encodePdu(
    command.deliver_sm,
    0,
    1,
    { ...text, esm_class: 4, short_message: receipt },
    hex('001e00023100 0427000102'),
  ),
  encodePdu(command.deliver_sm, 0, 1, udh, tlvs),
  encodePdu(command.deliver_sm, 0, 1, { ...text, esm_class: 0x20, short_message: receipt }),
  encodePdu(command.data_sm, 0, 1, { source_addr: '1000', destination_addr: '9' }, payload),
  encodePdu(command.alert_notification, 0, 1, { source_addr: '9', esme_addr: '8' }),
  encodePdu(command.outbind, 0, 1, { system_id: 'x', password: 'y' }),
  encodePdu(command.submit_sm_resp, 0, 1, { message_id: 'abc' }),
  encodePdu(command.submit_sm_resp, 8, 1),
]
const fromBoth: Buffer[] = [
  encodePdu(command.enquire_link, 0, 1),
  encodePdu(command.enquire_link_resp, 0, 1),
  encodePdu(command.generic_nack, 3, 1),
  encodePdu(command.unbind, 0, 1),
  encodePdu(command.unbind_resp, 0, 1),
  encodePdu(command.bind_transceiver, 0, 1, { system_id: 'mutant', password: 'secret', interface_version: 0x34 }),
]
const names = Object.keys(command) as CommandName[]

/** So many PDUs one after the other, each of them mutated or not, and then all of them together. */
export function mutated(side: 'esme' | 'smsc', pdus: number, below: Below): Buffer {
  const corpus = [...(side === 'esme' ? fromEsme : fromSmsc), ...fromBoth]
  const pieces: Buffer[] = []
  for (let n = 0; n < pdus; n++) {
    let one = Buffer.from(corpus[below(corpus.length)] as Buffer)
    one.writeUInt32BE(1 + below(50_000), 12)
    if (below(8) > 0) one = mutate(one, below)
    pieces.push(one)
  }
  if (below(300) === 0) return Buffer.concat(Array<Buffer>(500).fill(pieces[0] as Buffer))
  if (below(10) === 0) pieces.splice(below(pieces.length), 0, Buffer.alloc(1 + below(40), below(256)))
  return Buffer.concat(pieces)
}

const lengths = [0, 4, 15, 16, 17, 4096, MAX_PDU, MAX_PDU + 1, 0x7fffffff, 0xffffffff]

function mutate(octets: Buffer, below: Below): Buffer<ArrayBuffer> {
  let one: Buffer = octets
  for (let n = 1 + below(3); n > 0; n--) {
    const at = below(one.length)
    const other = below(one.length)
    const bytes = 1 + below(12)
    switch (below(9)) {
      case 0:
        one[at] = below(256)
        break
      case 1:
        one[at] = (one[at] as number) ^ (1 << below(8))
        break
      case 2:
        one = one.subarray(0, at)
        break
      case 3:
        one = Buffer.concat([one.subarray(0, at), one.subarray(at + bytes)])
        break
      case 4:
        one = Buffer.concat([one.subarray(0, at + bytes), one.subarray(at)])
        break
      case 5:
        one = Buffer.concat([one.subarray(0, at), Buffer.alloc(bytes, below(256)), one.subarray(at)])
        break
      case 6: {
        const piece = Buffer.from(one.subarray(at, at + bytes))
        one.copy(one, at, other, other + bytes)
        piece.copy(one, other)
        break
      }
      case 7:
        if (one.length >= HEADER) one.writeUInt32BE(command[names[below(names.length)] as CommandName], 4)
        break
      case 8:
        if (one.length >= 4 && below(4) === 0) one.writeUInt32BE(lengths[below(lengths.length)] as number, 0)
    }
    if (one.length === 0) break
  }
  // Most go past the framing, to where the fields are read.
  if (one.length >= HEADER && below(10) < 8) one.writeUInt32BE(one.length, 0)
  return Buffer.from(one)
}

const unanswered = new Set<number>([command.alert_notification, command.outbind])

function isTransaction(octets: Buffer, start: number, end: number): boolean {
  const pdu = decodePdu(octets, start, end)
  return pdu.ok && (((pdu.fields as { esm_class?: number }).esm_class ?? 0) & 3) === 2
}

export interface Request {
  readonly id: number
  readonly sequence: number
  /** May be left without an answer, or answered when its message has ended: transaction mode. */
  readonly mayBeSilent: boolean
}

export interface Framed {
  /** Requests in their order. */
  readonly requests: Request[]
  /** The stream falls out of step: no PDU has such a length. */
  readonly isBroken: boolean
  /** Octets that its last PDU still wants. */
  readonly missing: number
}

export function framed(octets: Buffer, from: 'esme' | 'smsc'): Framed {
  const requests: Request[] = []
  let at = 0
  while (at < octets.length) {
    if (octets.length - at < 4) return { requests, isBroken: false, missing: 4 - (octets.length - at) }
    const length = octets.readUInt32BE(at)
    if (length < HEADER || length > MAX_PDU) return { requests, isBroken: true, missing: 0 }
    if (at + length > octets.length) return { requests, isBroken: false, missing: at + length - octets.length }
    const id = octets.readUInt32BE(at + 4)
    if (!isResponse(id)) {
      const mayBeSilent = unanswered.has(id) || (from === 'esme' && isTransaction(octets, at, at + length))
      requests.push({ id, sequence: octets.readUInt32BE(at + 12), mayBeSilent })
    }
    at += length
  }
  return { requests, isBroken: false, missing: 0 }
}

/** The stream, filled up with NULs until its last PDU ends, or it falls out of step. */
export function whole(octets: Buffer): Buffer {
  let all = octets
  for (let { missing } = framed(all, 'smsc'); missing > 0; { missing } = framed(all, 'smsc')) {
    all = Buffer.concat([all, Buffer.alloc(missing)])
  }
  return all
}

const known = new Set<number>(Object.values(status))
const broadcast = new Set<number>([command.broadcast_sm, command.query_broadcast_sm, command.cancel_broadcast_sm])

/** Requests that we answer by generic_nack only: unknown, without a response of their own, or never offered. */
export const isOnlyNacked = (request: number): boolean =>
  responseTo(request) === command.generic_nack || broadcast.has(request)

/** What the standard forbids in this answer to that request; '' when nothing. */
export function objection(answer: Buffer, request: number): string {
  const [length, id, code] = [answer.length, answer.readUInt32BE(4), answer.readUInt32BE(8)]
  if (!known.has(code)) return `a status that no standard has: ${code}`
  if (id === command.generic_nack) {
    if (length !== HEADER) return 'a generic_nack with a body'
    const isFit = code === status.ESME_RINVCMDID || code === status.ESME_RINVBNDSTS
    return isFit ? '' : `a generic_nack of ${code}`
  }
  if (id !== responseTo(request)) return `answered by ${id.toString(16)}`
  if (code !== 0) return length === HEADER || id === command.submit_multi_resp ? '' : 'a refusal with a body'
  const pdu = decodePdu(answer, 0, length)
  if (!pdu.ok) return `not to be read at ${pdu.field}`
  const again = encodePdu(pdu.command, 0, pdu.sequence, pdu.fields as object, pdu.tlvs)
  if (!again.equals(answer)) return 'more in it than the standard has'
  // Ours: 16 digits, for peers of v3.3 8 hexadecimal ones; none for what a carrier delivers.
  const { message_id: ours } = pdu.fields as { message_id?: string }
  if (id === command.data_sm_resp && ours === '') return ''
  const gives = id === command.submit_sm_resp || id === command.submit_multi_resp || id === command.data_sm_resp
  return gives && !/^(\d{16}|[0-9A-F]{8})$/.test(ours ?? '') ? `the id ${ours}` : ''
}
