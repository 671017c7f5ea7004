// What a live trace is on its way from the daemon to whoever watches: records, each led by its length. Written here and read
// here, and nowhere else. Knows octets; what is traced and who may see it, others know.

export const TRACE_TYPE = 'application/vnd.trunkline.trace'

/** All numbers are big-endian: u32 octets that follow, u8 kind, and then by kind. */
const KIND = { tally: 0, session: 1, pdu: 2, ended: 3 } as const
const HEAD = 5
/** f64 ms since 1970, u32 session, u8 1 = sent. */
const PDU_HEAD = HEAD + 13
/** Far above any PDU: what is longer is no trace. */
const MOST = 1 << 20

/** A connection, told before its first PDU, and again when its name has changed. */
export interface SessionTold {
  /** Counted from the daemon's start. */
  serial: number
  kind: 'account' | 'carrier'
  /** '' while nobody has bound. */
  name: string
  /** `192.0.2.1:2775` */
  peer: string
  local: string
  /** Readings of data_coding that differ from the standard's. */
  codings: Record<string, string>
}

export type TraceRecord =
  /** From the beginning of this trace: PDUs that it has left out. Comes after each gap, and now and then. */
  | { kind: 'tally'; dropped: number }
  | { kind: 'session'; session: SessionTold }
  /** `octets` are valid until the next chunk is read. */
  | { kind: 'pdu'; serial: number; direction: 'received' | 'sent'; atMs: number; octets: Buffer }
  | { kind: 'ended'; serial: number }

export const TALLY_OCTETS = HEAD + 8
export const ENDED_OCTETS = HEAD + 4

export function writeTally(buf: Buffer, at: number, dropped: number): number {
  return buf.writeDoubleBE(dropped, writeHead(buf, at, TALLY_OCTETS, KIND.tally))
}

export function writeEnded(buf: Buffer, at: number, serial: number): number {
  return buf.writeUInt32BE(serial, writeHead(buf, at, ENDED_OCTETS, KIND.ended))
}

export function sessionRecord(told: SessionTold): Buffer {
  const json = Buffer.from(JSON.stringify(told))
  const head = Buffer.alloc(HEAD)
  writeHead(head, 0, HEAD + json.length, KIND.session)
  return Buffer.concat([head, json])
}

/** Of a PDU of so many octets. */
export const pduRecordOctets = (octets: number): number => PDU_HEAD + octets

/** Returns where the PDU's own octets, which are still to be written, begin. */
export function writePduHead(buf: Buffer, at: number, octets: number, atMs: number, serial: number, sent: boolean) {
  at = writeHead(buf, at, PDU_HEAD + octets, KIND.pdu)
  at = buf.writeDoubleBE(atMs, at)
  at = buf.writeUInt32BE(serial, at)
  return buf.writeUInt8(sent ? 1 : 0, at)
}

function writeHead(buf: Buffer, at: number, octets: number, kind: number): number {
  return buf.writeUInt8(kind, buf.writeUInt32BE(octets - 4, at))
}

/** Records out of chunks, wherever those are cut. */
export class TraceReader {
  private rest: Buffer = Buffer.alloc(0)

  /** Throws on what is no trace. Kinds that are not known are passed over: a newer daemon may have more. */
  read(chunk: Buffer): TraceRecord[] {
    const records: TraceRecord[] = []
    const buf = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk])
    let at = 0
    while (buf.length - at >= HEAD) {
      const length = buf.readUInt32BE(at)
      if (length < 1 || length > MOST) throw new RangeError('this is no trace')
      const end = at + 4 + length
      if (end > buf.length) break
      const record = recordOf(buf, at + 4, end)
      if (record !== undefined) records.push(record)
      at = end
    }
    this.rest = Buffer.from(buf.subarray(at))
    return records
  }
}

function recordOf(buf: Buffer, at: number, end: number): TraceRecord | undefined {
  const from = at + 1
  switch (buf[at]) {
    case KIND.tally:
      return { kind: 'tally', dropped: buf.readDoubleBE(from) }
    case KIND.session:
      return { kind: 'session', session: JSON.parse(buf.toString('utf8', from, end)) as SessionTold }
    case KIND.pdu:
      return {
        kind: 'pdu',
        atMs: buf.readDoubleBE(from),
        serial: buf.readUInt32BE(from + 8),
        direction: buf[from + 12] === 1 ? 'sent' : 'received',
        octets: buf.subarray(from + 13, end),
      }
    case KIND.ended:
      return { kind: 'ended', serial: buf.readUInt32BE(from) }
    default:
      return undefined
  }
}
