// A capture file that Wireshark opens (pcapng, draft-ietf-opsawg-pcapng), written from what two ends said to each other: IP
// and TCP headers are made up around the octets, with the ends' own addresses, numbers that follow each other, and checksums
// that are right. Pure: knows no file, and not what is spoken.
import { isIP } from 'node:net'
import { plainAddress } from './address.js'

export interface End {
  readonly address: string
  readonly port: number
}

/** Packets are bare IP, of either version. */
const LINKTYPE_RAW = 101
const SECTION = 0x0a0d0d0a
const INTERFACE = 1
const STATISTICS = 5
const PACKET = 6
const COMMENT = 1
const IF_NAME = 2
const IF_TIME_RESOLUTION = 9
const USER_APPLICATION = 4
const RECEIVED = 4
const DROPPED = 5

const TCP = 6
const TCP_HEADER = 20
const MTU = 1500
const FIN = 0x01
const SYN = 0x02
const PUSH = 0x08
const ACK = 0x10
const NONE = Buffer.alloc(0)
/** Window scale 14 (RFC 7323 §2.2): ends that send much before they are answered fill no window. */
const SCALE = [1, 3, 3, 14]

/** What a file begins with. */
export function captureHead(): Buffer {
  const section = Buffer.alloc(16)
  section.writeUInt32LE(0x1a2b3c4d, 0)
  section.writeUInt16LE(1, 4)
  section.fill(0xff, 8)
  const link = Buffer.alloc(8)
  link.writeUInt16LE(LINKTYPE_RAW, 0)
  return Buffer.concat([
    block(SECTION, section, [[USER_APPLICATION, Buffer.from('trunkline')]]),
    block(INTERFACE, link, [
      [IF_NAME, Buffer.from('trunkline')],
      [IF_TIME_RESOLUTION, Buffer.from([3])],
    ]),
  ])
}

/** What it may end with: how many messages were seen, and how many are not in it. */
export function captureTail(received: number, dropped: number, atMs: number): Buffer {
  const head = Buffer.alloc(12)
  writeTime(head, 4, atMs)
  return block(STATISTICS, head, [
    [RECEIVED, count(received)],
    [DROPPED, count(dropped)],
  ])
}

/** One connection of the file. */
export class CapturedFlow {
  private readonly client: Side
  private readonly server: Side
  private readonly headerOctets: number
  private packets = 0

  /** @param serial another one for each connection of the file: a port that comes again is not taken for the same */
  constructor(client: End, server: End, serial: number) {
    const wide = octetsOf(client.address).length === 16 || octetsOf(server.address).length === 16
    this.headerOctets = wide ? 40 : 20
    this.client = { octets: octetsOf(client.address, wide), port: client.port, next: Math.imul(serial, 64_007) >>> 0 }
    this.server = {
      octets: octetsOf(server.address, wide),
      port: server.port,
      next: Math.imul(serial, 86_028_121) >>> 0,
    }
  }

  /** The handshake. `comment` stands at its first packet. */
  open(atMs: number, comment: string): Buffer {
    const { client, server } = this
    const options = Buffer.from([2, 4, this.most >> 8, this.most & 0xff, ...SCALE])
    return Buffer.concat([
      this.packet(client, server, SYN, options, NONE, atMs, comment),
      this.packet(server, client, SYN | ACK, options, NONE, atMs),
      this.packet(client, server, ACK, NONE, NONE, atMs),
    ])
  }

  /** Octets of any number, in as many packets as they need. */
  data(from: 'client' | 'server', octets: Buffer, atMs: number): Buffer {
    const [sender, receiver] = from === 'client' ? [this.client, this.server] : [this.server, this.client]
    const { most } = this
    const packets: Buffer[] = []
    for (let at = 0; at < octets.length; at += most) {
      const payload = octets.subarray(at, at + most)
      const flags = at + most < octets.length ? ACK : ACK | PUSH
      packets.push(this.packet(sender, receiver, flags, NONE, payload, atMs))
    }
    return packets.length === 1 ? (packets[0] as Buffer) : Buffer.concat(packets)
  }

  close(atMs: number): Buffer {
    const { client, server } = this
    return Buffer.concat([
      this.packet(server, client, FIN | ACK, NONE, NONE, atMs),
      this.packet(client, server, FIN | ACK, NONE, NONE, atMs),
      this.packet(server, client, ACK, NONE, NONE, atMs),
    ])
  }

  /** Octets of a segment. */
  private get most(): number {
    return MTU - this.headerOctets - TCP_HEADER
  }

  private packet(
    from: Side,
    to: Side,
    flags: number,
    options: Buffer,
    payload: Buffer,
    atMs: number,
    comment?: string,
  ): Buffer {
    const length = TCP_HEADER + options.length + payload.length
    const packet = Buffer.alloc(this.headerOctets + length)
    const tcp = packet.subarray(this.headerOctets)
    this.writeIp(packet, from, to, length)
    tcp.writeUInt16BE(from.port, 0)
    tcp.writeUInt16BE(to.port, 2)
    tcp.writeUInt32BE(from.next, 4)
    if (flags & ACK) tcp.writeUInt32BE(to.next, 8)
    tcp[12] = ((TCP_HEADER + options.length) / 4) << 4
    tcp[13] = flags
    tcp.writeUInt16BE(0xffff, 14)
    options.copy(tcp, TCP_HEADER)
    payload.copy(tcp, TCP_HEADER + options.length)
    tcp.writeUInt16BE(checksum(tcp, sum(from.octets) + sum(to.octets) + TCP + length), 16)
    // SYN and FIN take a number each.
    from.next = (from.next + payload.length + (flags & (SYN | FIN) ? 1 : 0)) >>> 0
    return enhanced(packet, atMs, comment)
  }

  private writeIp(packet: Buffer, from: Side, to: Side, length: number): void {
    if (this.headerOctets === 40) {
      packet[0] = 0x60
      packet.writeUInt16BE(length, 4)
      packet[6] = TCP
      packet[7] = 64
      from.octets.copy(packet, 8)
      to.octets.copy(packet, 24)
      return
    }
    packet[0] = 0x45
    packet.writeUInt16BE(packet.length, 2)
    packet.writeUInt16BE(this.packets++ & 0xffff, 4)
    packet[6] = 0x40
    packet[8] = 64
    packet[9] = TCP
    from.octets.copy(packet, 12)
    to.octets.copy(packet, 16)
    packet.writeUInt16BE(checksum(packet.subarray(0, 20), 0), 10)
  }
}

interface Side {
  readonly octets: Buffer
  readonly port: number
  /** The sequence number of its next octet. */
  next: number
}

function enhanced(packet: Buffer, atMs: number, comment: string | undefined): Buffer {
  const head = Buffer.alloc(20)
  writeTime(head, 4, atMs)
  head.writeUInt32LE(packet.length, 12)
  head.writeUInt32LE(packet.length, 16)
  const body = Buffer.concat([head, padded(packet)])
  return block(PACKET, body, comment === undefined ? [] : [[COMMENT, Buffer.from(comment)]])
}

function block(type: number, body: Buffer, options: readonly (readonly [code: number, value: Buffer])[]): Buffer {
  const parts = [body]
  for (const [code, value] of options) {
    const head = Buffer.alloc(4)
    head.writeUInt16LE(code, 0)
    head.writeUInt16LE(value.length, 2)
    parts.push(head, padded(value))
  }
  if (options.length > 0) parts.push(Buffer.alloc(4))
  const length = parts.reduce((octets, part) => octets + part.length, 12)
  const head = Buffer.alloc(8)
  head.writeUInt32LE(type, 0)
  head.writeUInt32LE(length, 4)
  return Buffer.concat([head, ...parts, head.subarray(4)], length)
}

/** To whole words of four octets. */
function padded(octets: Buffer): Buffer {
  const over = octets.length % 4
  return over === 0 ? octets : Buffer.concat([octets, Buffer.alloc(4 - over)])
}

/** 64 bits, the high word first. */
function writeTime(buf: Buffer, at: number, ms: number): void {
  buf.writeUInt32LE(Math.floor(ms / 2 ** 32), at)
  buf.writeUInt32LE(Math.floor(ms) % 2 ** 32, at + 4)
}

function count(value: number): Buffer {
  const octets = Buffer.alloc(8)
  octets.writeBigUInt64LE(BigInt(value))
  return octets
}

/** RFC 1071, with what else belongs under it. */
function checksum(octets: Buffer, more: number): number {
  let total = sum(octets) + more
  while (total > 0xffff) total = (total & 0xffff) + Math.floor(total / 0x10000)
  return ~total & 0xffff
}

function sum(octets: Buffer): number {
  let total = 0
  for (let i = 0; i + 1 < octets.length; i += 2) total += ((octets[i] as number) << 8) | (octets[i + 1] as number)
  return octets.length % 2 === 0 ? total : total + ((octets.at(-1) as number) << 8)
}

/** Of IPv4 4 and of IPv6 16; `wide`: always 16. Zeros for what is no address. */
function octetsOf(address: string, wide = false): Buffer {
  const plain = plainAddress(address)
  if (isIP(plain) === 6) return groupsOf(plain)
  const four = Buffer.from(isIP(plain) === 4 ? plain.split('.').map(Number) : [0, 0, 0, 0])
  if (!wide) return four
  return Buffer.concat([Buffer.alloc(10), Buffer.from([0xff, 0xff]), four])
}

function groupsOf(address: string): Buffer {
  // Dotted digits at the end stand for two groups.
  const dotted = /(\d+)\.(\d+)\.(\d+)\.(\d+)$/
  const hex = (a: string, b: string): string => (Number(a) * 256 + Number(b)).toString(16)
  const [head = '', tail] = address
    .replace(dotted, (_, a: string, b: string, c: string, d: string) => `${hex(a, b)}:${hex(c, d)}`)
    .split('::')
  const octets = Buffer.alloc(16)
  const write = (groups: string[], at: number): void => {
    for (const group of groups) at = octets.writeUInt16BE(Number.parseInt(group, 16), at)
  }
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  write(head === '' ? [] : head.split(':'), 0)
  write(after, 16 - 2 * after.length)
  return octets
}
