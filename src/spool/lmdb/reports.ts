// The octets of a block of reports. Knows nothing of queues.

import { assert } from '../../base/assert.js'
import { EMPTY, type MessageState } from '../../model/message.js'
import type { Reply } from '../../model/outcome.js'
import type { ReceiptReport, Report } from '../contract.js'
import type { Slabs } from './store.js'

// Block: format u8, count u16, then reports: length u32, kind u8, atMs f64, and
// receipt: id f64, doneMs f64, state parts delivered regdel data_coding and four
// TON/NPI octets, strings service_type source destination err (u8 length), text and tlvs (u16);
// kind 2, the same and then: flags (1 = notice, 2 = vendor) u8, part u8, network u32, where flagged vendor (u16);
// reply: carrier u32, eight octets, strings, body and tlvs (u16).
const FORMAT = 1
const RECEIPT = 0
const REPLY = 1
const RECEIPT_AND_MORE = 2
const NOTICE = 1
const VENDOR = 2

/** How many reports a block has, done ones included. */
export const reportsIn = (block: Buffer): number => block.readUInt16LE(1)

/** When the first report of a block came. */
export const firstAtMs = (block: Buffer): number => block.readDoubleLE(8)

export function writeReports(reports: readonly Report[], slabs: Slabs): Buffer {
  let size = 3
  for (const r of reports) {
    size += 13
    const a = r.receipt ?? r.reply
    if (!a) continue
    size += 54 + a.service_type.length + a.source_addr.length + a.destination_addr.length + a.tlvs.length
    size += r.receipt ? r.receipt.err.length + r.receipt.text.length : (r.reply as Reply).body.length
    if (r.receipt?.more?.vendor) size += 2 + r.receipt.more.vendor.length
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
    to[at + 4] = r.receipt ? (r.receipt.more ? RECEIPT_AND_MORE : RECEIPT) : REPLY
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
        const { notice, part, network, vendor } = c.more
        to[at] = (notice ? NOTICE : 0) | (vendor ? VENDOR : 0)
        to[at + 1] = part
        to.writeUInt32LE(network, at + 2)
        at += 6
        if (vendor) octets(vendor)
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
    }
    to.writeUInt32LE(at - start, start)
  }
  return slabs.take(at)
}

export function readReports(
  from: Buffer,
  each: (atMs: number, receipt: ReceiptReport | null, reply: Reply | null) => void,
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
  for (let i = 0; i < count; i++) {
    const end = at + from.readUInt32LE(at)
    const kind = from[at + 4]
    const atMs = from.readDoubleLE(at + 5)
    at += 13
    if (kind !== REPLY) {
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
      }
      each(atMs, receipt, null)
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
      each(atMs, null, reply)
    }
    at = end
  }
}
