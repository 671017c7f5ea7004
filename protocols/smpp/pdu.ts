// The whole codec over the tables of layout.ts: any octets to fields or to the command_status to answer, fields to
// octets, and a line for a trace. Every PDU goes through here but the busy ones (sm.ts reads and writes those).
// Where a PDU starts and ends is the framer's; command_length is not looked at again. Nothing here throws on input.
import { command, commandName, isResponse } from './commands.js'
import { type DestAddress, type Field, layoutOf, type Pdu, type PduFields, type UnsuccessSme } from './layout.js'
import { EMPTY, readText, terminator, writeCString } from './octets.js'
import { HEADER, writeHeader } from './sm.js'
import { status, statusName } from './status.js'
import { checkTlvLengths, eachTlv, tlvPrefix, tlvStream, tlvString, tlvType, tlvUint } from './tlv.js'

export type { DestAddress, Pdu, PduFields, UnsuccessSme } from './layout.js'

type DecodedOk = {
  [C in Pdu]: { ok: true; command: C; status: number; sequence: number; fields: PduFields[C]; tlvs: Buffer }
}[Pdu]

/** `status` is the PDU's own command_status when `ok`, the one to answer otherwise; `field` is where reading stopped. */
export type Decoded = DecodedOk | { ok: false; command: number; status: number; sequence: number; field: string }

type Value = number | string | Buffer | DestAddress[] | UnsuccessSme[]

/**
 * Reads the PDU `[start, end)`, header included.
 *
 * A request is read strictly: the first field that is too long, or in which the PDU ends, gives its own command_status
 * (v5.0 §2.8), a broken TLV stream ESME_RINVTLVSTREAM, a known TLV of a wrong length ESME_RINVTLVLEN. What only an MC
 * sends keeps every whole TLV instead, of any length: receipts with broken ones are real, and refusing them loses them.
 * data_sm goes both ways; only the lengths of its TLVs are left to the reader (`checkTlvLengths`).
 *
 * A response is never refused, since nothing may answer it: missing fields are empty or 0, a string without its NUL
 * ends with the PDU, and TLVs are kept while they are whole.
 */
export function decodePdu(buf: Buffer, start: number, end: number): Decoded {
  if (end - start < HEADER) {
    return { ok: false, command: 0, status: status.ESME_RINVCMDLEN, sequence: 0, field: 'command_length' }
  }
  const id = buf.readUInt32BE(start + 4)
  const sequence = buf.readUInt32BE(start + 12)
  const layout = layoutOf(id)
  if (layout === undefined) {
    return { ok: false, command: id, status: status.ESME_RINVCMDID, sequence, field: 'command_id' }
  }
  const reader = new Reader(buf, start + HEADER, end, isResponse(id))
  const fields: Record<string, Value> = {}
  for (const field of layout) {
    fields[field.name] = reader.field(field)
    if (reader.fault !== 0) return { ok: false, command: id, status: reader.fault, sequence, field: field.name }
  }
  const tlvs = reader.tlvs(id)
  if (tlvs === undefined) return { ok: false, command: id, status: reader.fault, sequence, field: 'tlvs' }
  return { ok: true, command: id, status: buf.readUInt32BE(start + 8), sequence, fields, tlvs } as unknown as DecodedOk
}

class Reader {
  /** 0, or the command_status of the first fault; never set when lenient. */
  fault = 0
  readonly #buf: Buffer
  readonly #end: number
  readonly #lenient: boolean
  #at: number

  constructor(buf: Buffer, start: number, end: number, lenient: boolean) {
    this.#buf = buf
    this.#at = start
    this.#end = end
    this.#lenient = lenient
  }

  field(field: Field): Value {
    switch (field.kind) {
      case 'uint8':
        return this.#uint8(field.status)
      case 'cstring':
        return this.#cstring(field.max, field.status)
      case 'time': {
        const text = this.#cstring(field.max, field.status)
        if (text !== '' && text.length !== 16 && !this.#lenient) this.#fail(field.status)
        return text
      }
      case 'octets':
        return this.#octets(field.status)
      case 'dest_address':
        return this.#destinations(field.status)
      case 'unsuccess_sme':
        return this.#unsuccessful(field.status)
    }
  }

  tlvs(id: number): Buffer | undefined {
    if (this.#lenient) return tlvPrefix(this.#buf, this.#at, this.#end)
    const stream = tlvStream(this.#buf, this.#at, this.#end)
    if (fromMc(id)) return stream ?? tlvPrefix(this.#buf, this.#at, this.#end)
    if (stream === undefined) this.#fail(status.ESME_RINVTLVSTREAM)
    else if (id !== command.data_sm) this.fault = checkTlvLengths(stream)
    return this.fault === 0 ? stream : undefined
  }

  #fail(code: number): void {
    if (this.fault === 0 && !this.#lenient) this.fault = code
  }

  #uint8(code: number): number {
    if (this.#at < this.#end) return this.#buf[this.#at++] as number
    this.#fail(code)
    return 0
  }

  #cstring(max: number, code: number): string {
    const limit = this.#lenient ? this.#end : Math.min(this.#at + max, this.#end)
    let nul = terminator(this.#buf, this.#at, limit)
    if (nul < 0) {
      this.#fail(code)
      nul = limit
    }
    const text = readText(this.#buf, this.#at, nul)
    this.#at = Math.min(nul + 1, this.#end)
    return text
  }

  #octets(code: number): Buffer {
    const length = this.#uint8(code)
    if (length > this.#end - this.#at) {
      this.#fail(code)
      return EMPTY
    }
    if (length === 0) return EMPTY
    this.#at += length
    return this.#buf.subarray(this.#at - length, this.#at)
  }

  #destinations(code: number): DestAddress[] {
    const list: DestAddress[] = []
    const count = this.#uint8(code)
    if (count === 0) this.#fail(code)
    while (list.length < count && this.fault === 0) {
      const flag = this.#uint8(code)
      if (flag === 1) {
        list.push({
          dest_flag: 1,
          dest_addr_ton: this.#uint8(status.ESME_RINVDSTTON),
          dest_addr_npi: this.#uint8(status.ESME_RINVDSTNPI),
          destination_addr: this.#cstring(21, status.ESME_RINVDSTADR),
        })
      } else if (flag === 2) list.push({ dest_flag: 2, dl_name: this.#cstring(21, status.ESME_RINVDLNAME) })
      else this.#fail(status.ESME_RINVDESTFLAG)
    }
    return list
  }

  /** Entries that are whole: a list cut short tells what it can. */
  #unsuccessful(code: number): UnsuccessSme[] {
    const list: UnsuccessSme[] = []
    const count = this.#uint8(code)
    while (list.length < count) {
      const dest_addr_ton = this.#uint8(code)
      const dest_addr_npi = this.#uint8(code)
      const destination_addr = this.#cstring(21, code)
      if (this.#end - this.#at < 4) break
      list.push({ dest_addr_ton, dest_addr_npi, destination_addr, error_status_code: this.#buf.readUInt32BE(this.#at) })
      this.#at += 4
    }
    return list
  }
}

/** Requests that only an MC sends. */
function fromMc(id: number): boolean {
  return id === command.deliver_sm || id === command.alert_notification || id === command.outbind
}

/**
 * Writes a PDU; fields not given are empty or 0. `tlvs` is a raw stream, as `writeTlv...` make it. A response with a
 * status other than 0, no fields and no TLVs is a header only (v3.4 §4.4.2, v5.0 §4.2.3). A value that does not fit
 * its field is our own bug and throws RangeError.
 */
export function encodePdu<C extends Pdu>(
  commandId: C,
  commandStatus: number,
  sequence: number,
  fields: Partial<PduFields[C]> = {},
  tlvs: Buffer = EMPTY,
): Buffer {
  const given = fields as Record<string, Value | undefined>
  const bare = commandStatus !== 0 && isResponse(commandId) && tlvs.length === 0 && Object.keys(given).length === 0
  const layout = bare ? [] : (layoutOf(commandId) ?? [])
  let length = HEADER + tlvs.length
  for (const field of layout) length += octetsOf(field, given[field.name])
  const buf = Buffer.alloc(length)
  let off = writeHeader(buf, 0, length, commandId, commandStatus, sequence)
  for (const field of layout) off = writeField(buf, off, field, given[field.name])
  buf.set(tlvs, off)
  return buf
}

/** Octets that a value takes on the wire; throws RangeError for one that the field cannot hold. */
function octetsOf(field: Field, value: Value | undefined): number {
  switch (field.kind) {
    case 'uint8':
      return 1
    case 'cstring':
      return cstringOctets(field.name, field.max, value as string | undefined)
    case 'time': {
      const octets = cstringOctets(field.name, field.max, value as string | undefined)
      return octets === 1 || octets === 17 ? octets : unfit(field.name)
    }
    case 'octets': {
      const { length } = (value as Buffer | undefined) ?? EMPTY
      return length <= field.max ? 1 + length : unfit(field.name)
    }
    case 'dest_address': {
      const list = (value as DestAddress[] | undefined) ?? []
      if (list.length > field.max) return unfit(field.name)
      let octets = 1
      for (const dest of list) {
        octets += dest.dest_flag === 1 ? 3 + cstringOctets('destination_addr', 21, dest.destination_addr) : 1
        if (dest.dest_flag === 2) octets += cstringOctets('dl_name', 21, dest.dl_name)
      }
      return octets
    }
    case 'unsuccess_sme': {
      const list = (value as UnsuccessSme[] | undefined) ?? []
      if (list.length > field.max) return unfit(field.name)
      let octets = 1
      for (const sme of list) octets += 6 + cstringOctets('destination_addr', 21, sme.destination_addr)
      return octets
    }
  }
}

function cstringOctets(name: string, max: number, text = ''): number {
  return text.length < max ? text.length + 1 : unfit(name)
}

function unfit(name: string): never {
  throw new RangeError(`${name} does not fit its field`)
}

function writeField(buf: Buffer, off: number, field: Field, value: Value | undefined): number {
  switch (field.kind) {
    case 'uint8':
      return buf.writeUInt8((value as number | undefined) ?? 0, off)
    case 'cstring':
    case 'time':
      return writeCString(buf, off, (value as string | undefined) ?? '')
    case 'octets': {
      const octets = (value as Buffer | undefined) ?? EMPTY
      buf[off] = octets.length
      buf.set(octets, off + 1)
      return off + 1 + octets.length
    }
    case 'dest_address': {
      const list = (value as DestAddress[] | undefined) ?? []
      off = buf.writeUInt8(list.length, off)
      for (const dest of list) {
        off = buf.writeUInt8(dest.dest_flag, off)
        off = dest.dest_flag === 1 ? writeAddress(buf, off, dest) : writeCString(buf, off, dest.dl_name)
      }
      return off
    }
    case 'unsuccess_sme': {
      const list = (value as UnsuccessSme[] | undefined) ?? []
      off = buf.writeUInt8(list.length, off)
      for (const sme of list) off = buf.writeUInt32BE(sme.error_status_code, writeAddress(buf, off, sme))
      return off
    }
  }
}

function writeAddress(
  buf: Buffer,
  off: number,
  address: { dest_addr_ton: number; dest_addr_npi: number; destination_addr: string },
): number {
  off = buf.writeUInt8(address.dest_addr_ton, off)
  off = buf.writeUInt8(address.dest_addr_npi, off)
  return writeCString(buf, off, address.destination_addr)
}

/**
 * One line for a trace: names, numbers and addresses, fields that are empty or 0 left out. Passwords, message texts and
 * other free octets stand as their length only, and a PDU that does not decode shows none of its octets.
 */
export function describePdu(buf: Buffer, start: number, end: number): string {
  const pdu = decodePdu(buf, start, end)
  const head = `${commandName(pdu.command)} seq=${pdu.sequence} length=${end - start}`
  if (!pdu.ok) return `${head} unreadable at ${pdu.field}, ${statusName(pdu.status)}`
  const parts = [head]
  if (pdu.status !== 0 || isResponse(pdu.command)) parts.push(`status=${statusName(pdu.status)}`)
  for (const [name, value] of Object.entries(pdu.fields as Record<string, Value>)) {
    const shown = describeValue(name, value)
    if (shown !== '') parts.push(`${name}=${shown}`)
  }
  eachTlv(pdu.tlvs, 0, pdu.tlvs.length, (tag, at, length) => {
    const type = tlvType(tag)
    const name = type?.name ?? `0x${tag.toString(16).padStart(4, '0')}`
    if (type?.kind === 'uint') parts.push(`${name}=${tlvUint(pdu.tlvs, at)}`)
    else if (type?.name === 'receipted_message_id') parts.push(`${name}=${JSON.stringify(tlvString(pdu.tlvs, at))}`)
    else parts.push(`${name}=[${length}]`)
  })
  return parts.join(' ')
}

function describeValue(name: string, value: Value): string {
  if (typeof value === 'number') return value === 0 ? '' : String(value)
  if (value.length === 0) return ''
  if (name === 'password' || Buffer.isBuffer(value)) return `[${value.length}]`
  return JSON.stringify(value)
}
