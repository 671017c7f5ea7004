// The octets of a block of reports. Knows nothing of queues.

import { assert } from '../../base/assert.js'
import { EMPTY, type MessageState } from '../../model/message.js'
import type { Reply } from '../../model/outcome.js'
import type { EventReport, ReceiptReport, Report } from '../contract.js'
import type { Slabs } from './store.js'

// Block: format u8, count u16, then reports: length u32, kind u8, atMs f64, and
// receipt: id f64, doneMs f64, state parts delivered regdel data_coding and four
// TON/NPI octets, strings service_type source destination err (u8 length), text and tlvs (u16);
// kind 2, the same and then: flags (1 = notice, 2 = vendor, 4 = message) u8, part u8, network u32, where flagged vendor
// (u16), and of the message segments u8, carrier u32, priceMicros f64, clientRef and extras (u16, UTF-8);
// reply: carrier u32, eight octets, strings, body and tlvs (u16); kind 3, the same and then extras (u16, UTF-8);
// event: atMs f64, id, type and data (u16, UTF-8).
const FORMAT = 1
const RECEIPT = 0
const REPLY = 1
const RECEIPT_AND_MORE = 2
const REPLY_AND_MORE = 3
const EVENT = 4
const NOTICE = 1
const VENDOR = 2
const OF_MESSAGE = 4

/** How many reports a block has, done ones included. */
export const reportsIn = (block: Buffer): number => block.readUInt16LE(1)

/** When the first report of a block came. */
export const firstAtMs = (block: Buffer): number => block.readDoubleLE(8)

export function writeReports(reports: readonly Report[], slabs: Slabs): Buffer {
  let size = 3
  for (const r of reports) {
    size += 13
    const a = r.receipt ?? r.reply
    if (!a) {
      const { id, type, data } = r.event as EventReport
      size += 14 + (id.length + type.length + data.length) * 3
      continue
    }
    size += 54 + a.service_type.length + a.source_addr.length + a.destination_addr.length + a.tlvs.length
    size += r.receipt ? r.receipt.err.length + r.receipt.text.length : (r.reply as Reply).body.length
    if (r.receipt?.more?.vendor) size += 2 + r.receipt.more.vendor.length
    const about = r.receipt?.more?.message
    if (about) size += 17 + (about.clientRef.length + about.extras.length) * 3
    if (r.reply?.extras) size += 2 + r.reply.extras.length * 3
  }
  slabs.reserve(size)
  const to = slabs.buffer
  let at = slabs.at
  to[at] = FORMAT
  to.writeUInt16LE(reports.length, at + 1)
  at += 3
  const text = (s: string): void => {
    const length = Math.min(s.length, 0xff)
    to[at++] = length
    at += to.latin1Write(s, at, length)
  }
  const octets = (b: Buffer): void => {
    to.writeUInt16LE(b.length, at)
    at += 2 + b.copy(to, at + 2)
  }
  const utf8 = (s: string): void => {
    const length = to.utf8Write(s, at + 2)
    to.writeUInt16LE(length, at)
    at += 2 + length
  }
  const addresses = (c: ReceiptReport | Reply): void => {
    to[at++] = c.source_addr_ton
    to[at++] = c.source_addr_npi
    to[at++] = c.dest_addr_ton
    to[at++] = c.dest_addr_npi
    text(c.service_type)
    text(c.source_addr)
    text(c.destination_addr)
  }
  for (const r of reports) {
    const start = at
    to[at + 4] = kindOf(r)
    to.writeDoubleLE(r.atMs, at + 5)
    at += 13
    if (r.receipt) {
      const c = r.receipt
      to.writeDoubleLE(c.id, at)
      to.writeDoubleLE(c.doneMs, at + 8)
      at += 16
      to[at++] = c.state
      to[at++] = c.parts
      to[at++] = c.delivered
      to[at++] = c.registered_delivery
      to[at++] = c.data_coding
      addresses(c)
      text(c.err)
      octets(c.text)
      octets(c.tlvs)
      if (c.more) {
        const { notice, part, network, vendor, message } = c.more
        to[at] = (notice ? NOTICE : 0) | (vendor ? VENDOR : 0) | (message ? OF_MESSAGE : 0)
        to[at + 1] = part
        to.writeUInt32LE(network, at + 2)
        at += 6
        if (vendor) octets(vendor)
        if (message) {
          to[at] = message.segments
          to.writeUInt32LE(message.carrier, at + 1)
          to.writeDoubleLE(message.priceMicros, at + 5)
          at += 13
          utf8(message.clientRef)
          utf8(message.extras)
        }
      }
    } else if (r.reply) {
      const c = r.reply
      to.writeUInt32LE(c.carrier, at)
      at += 4
      to[at++] = c.esm_class
      to[at++] = c.protocol_id
      to[at++] = c.priority_flag
      to[at++] = c.data_coding
      addresses(c)
      octets(c.body)
      octets(c.tlvs)
      if (c.extras) utf8(c.extras)
    } else if (r.event) {
      at = to.writeDoubleLE(r.event.atMs, at)
      utf8(r.event.id)
      utf8(r.event.type)
      utf8(r.event.data)
    }
    to.writeUInt32LE(at - start, start)
  }
  return slabs.take(at)
}

function kindOf(r: Report): number {
  if (r.receipt) return r.receipt.more ? RECEIPT_AND_MORE : RECEIPT
  if (r.reply) return r.reply.extras ? REPLY_AND_MORE : REPLY
  return EVENT
}

export function readReports(
  from: Buffer,
  each: (atMs: number, receipt: ReceiptReport | null, reply: Reply | null, event: EventReport | null) => void,
): void {
  assert(from[0] === FORMAT, `report format ${from[0]}`)
  const count = reportsIn(from)
  let at = 3
  const octet = (): number => from[at++] as number
  const text = (): string => {
    const length = octet()
    at += length
    return length === 0 ? '' : from.latin1Slice(at - length, at)
  }
  const octets = (): Buffer => {
    const length = from.readUInt16LE(at)
    at += 2 + length
    return length === 0 ? EMPTY : from.subarray(at - length, at)
  }
  const utf8 = (): string => {
    const length = from.readUInt16LE(at)
    at += 2 + length
    return from.utf8Slice(at - length, at)
  }
  for (let i = 0; i < count; i++) {
    const end = at + from.readUInt32LE(at)
    const kind = from[at + 4]
    const atMs = from.readDoubleLE(at + 5)
    at += 13
    if (kind === EVENT) {
      const happenedMs = from.readDoubleLE(at)
      at += 8
      each(atMs, null, null, { atMs: happenedMs, id: utf8(), type: utf8(), data: utf8() })
    } else if (kind === RECEIPT || kind === RECEIPT_AND_MORE) {
      const id = from.readDoubleLE(at)
      const doneMs = from.readDoubleLE(at + 8)
      at += 16
      const [stateOf, parts, delivered, registered_delivery, data_coding] = [
        octet(),
        octet(),
        octet(),
        octet(),
        octet(),
      ]
      const [source_addr_ton, source_addr_npi, dest_addr_ton, dest_addr_npi] = [octet(), octet(), octet(), octet()]
      const receipt: ReceiptReport = {
        id,
        doneMs,
        state: stateOf as MessageState,
        parts,
        delivered,
        registered_delivery,
        data_coding,
        source_addr_ton,
        source_addr_npi,
        dest_addr_ton,
        dest_addr_npi,
        service_type: text(),
        source_addr: text(),
        destination_addr: text(),
        err: text(),
        text: octets(),
        tlvs: octets(),
      }
      if (kind === RECEIPT_AND_MORE) {
        const flags = octet()
        receipt.more = { notice: (flags & NOTICE) !== 0, part: octet(), network: from.readUInt32LE(at) }
        at += 4
        if (flags & VENDOR) receipt.more.vendor = octets()
        if (flags & OF_MESSAGE) {
          const segments = octet()
          const carrier = from.readUInt32LE(at)
          const priceMicros = from.readDoubleLE(at + 4)
          at += 12
          receipt.more.message = { segments, carrier, priceMicros, clientRef: utf8(), extras: utf8() }
        }
      }
      each(atMs, receipt, null, null)
    } else {
      const carrier = from.readUInt32LE(at)
      at += 4
      const [esm_class, protocol_id, priority_flag, data_coding] = [octet(), octet(), octet(), octet()]
      const [source_addr_ton, source_addr_npi, dest_addr_ton, dest_addr_npi] = [octet(), octet(), octet(), octet()]
      const reply: Reply = {
        carrier,
        esm_class,
        protocol_id,
        priority_flag,
        data_coding,
        source_addr_ton,
        source_addr_npi,
        dest_addr_ton,
        dest_addr_npi,
        service_type: text(),
        source_addr: text(),
        destination_addr: text(),
        body: octets(),
        tlvs: octets(),
      }
      if (kind === REPLY_AND_MORE) reply.extras = utf8()
      each(atMs, null, reply, null)
    }
    at = end
  }
}
