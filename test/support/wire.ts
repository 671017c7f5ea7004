// What went over the wire, as Wireshark sees it: a relay that keeps every PDU of both directions, written as a capture
// file and read by tshark. Knows TCP, the capture's format and the length of a PDU; the rest is tshark's word.
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Cleaner } from './peer.js'

const TSHARK = '/usr/bin/tshark'
export const hasTshark = existsSync(TSHARK)

/** The port that all captures show as the server's. */
const SERVER_PORT = 2775
/** LINKTYPE_IPV4: packets begin with their IP header. */
const LINKTYPE_IPV4 = 228
const IP_HEADER = 20
const TCP_HEADER = 20

interface Recorded {
  readonly connection: number
  readonly fromServer: boolean
  readonly pdu: Buffer
}

export class Wire {
  /** Whole PDUs in the order in which they ended; Wireshark joins no header that two packets share. */
  readonly pdus: Recorded[] = []
  private connections = 0
  private readonly server = net.createServer({ allowHalfOpen: true }, client => this.relay(client))
  private readonly sockets = new Set<net.Socket>()
  private readonly target: () => number

  constructor(target: () => number) {
    this.target = target
  }

  get port(): number {
    return (this.server.address() as net.AddressInfo).port
  }

  async open(): Promise<void> {
    await once(this.server.listen(0, '127.0.0.1'), 'listening')
  }

  close(): void {
    this.server.close()
    for (const socket of this.sockets) socket.destroy()
  }

  private relay(client: net.Socket): void {
    const connection = this.connections++
    const server = net.connect({ port: this.target(), host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    client.setNoDelay(true)
    for (const [from, to, fromServer] of [
      [client, server, false],
      [server, client, true],
    ] as const) {
      this.sockets.add(from)
      let rest = Buffer.alloc(0) as Buffer
      from.on('data', (octets: Buffer) => {
        to.write(octets)
        rest = Buffer.concat([rest, octets])
        for (let length = lengthOf(rest); length <= rest.length; length = lengthOf(rest)) {
          this.pdus.push({ connection, fromServer, pdu: rest.subarray(0, length) })
          rest = rest.subarray(length)
        }
      })
      from.on('end', () => to.end())
      from.on('error', () => to.destroy())
      from.on('close', () => {
        this.sockets.delete(from)
        if (from.destroyed && !from.readableEnded) to.destroy()
      })
    }
  }

  /** A capture in libpcap's format: one TCP connection for each that was relayed, one packet for each PDU. */
  capture(): Buffer {
    const header = Buffer.alloc(24)
    header.writeUInt32LE(0xa1b2c3d4, 0)
    header.writeUInt16LE(2, 4)
    header.writeUInt16LE(4, 6)
    header.writeUInt32LE(0x40000, 16)
    header.writeUInt32LE(LINKTYPE_IPV4, 20)
    const written: Buffer[] = [header]
    const sequences = new Map<string, number>()
    for (const { connection, fromServer, pdu } of this.pdus) {
      const [ours, theirs] = [`${connection}${fromServer}`, `${connection}${!fromServer}`]
      const sequence = sequences.get(ours) ?? 1
      sequences.set(ours, sequence + pdu.length)
      const client = 40_000 + connection
      const [from, to] = fromServer ? [SERVER_PORT, client] : [client, SERVER_PORT]
      written.push(packet(written.length, from, to, sequence, sequences.get(theirs) ?? 1, pdu))
    }
    return Buffer.concat(written)
  }
}

const lengthOf = (octets: Buffer): number => (octets.length < 4 ? 16 : Math.max(16, octets.readUInt32BE(0)))

function packet(serial: number, from: number, to: number, sequence: number, ack: number, payload: Buffer): Buffer {
  const length = IP_HEADER + TCP_HEADER + payload.length
  const head = Buffer.alloc(16 + IP_HEADER + TCP_HEADER)
  head.writeUInt32LE(serial, 0)
  head.writeUInt32LE(length, 8)
  head.writeUInt32LE(length, 12)
  const ip = head.subarray(16)
  ip[0] = 0x45
  ip.writeUInt16BE(length, 2)
  ip.writeUInt16BE(serial & 0xffff, 4)
  ip.set([64, 6], 8)
  ip.set([10, 0, 0, from === SERVER_PORT ? 2 : 1, 10, 0, 0, to === SERVER_PORT ? 2 : 1], 12)
  const tcp = ip.subarray(IP_HEADER)
  tcp.writeUInt16BE(from, 0)
  tcp.writeUInt16BE(to, 2)
  tcp.writeUInt32BE(sequence, 4)
  tcp.writeUInt32BE(ack, 8)
  tcp.set([0x50, 0x18], 12)
  tcp.writeUInt16BE(0xffff, 14)
  return Buffer.concat([head, payload])
}

/** A relay to that port. */
export async function wire(t: Cleaner, target: () => number): Promise<Wire> {
  const one = new Wire(target)
  await one.open()
  t.teardown(() => one.close())
  return one
}

/** What tshark reads in a PDU. */
export interface Dissected {
  /** As 0x and eight digits; '' when it sees none. */
  readonly command: string
  /** Malformed octets, and what the expert of Wireshark warns of; '' when nothing is wrong. */
  readonly complaint: string
}

/** All that went over this wire, read by Wireshark's dissector. */
export async function dissect(one: Wire): Promise<Dissected[]> {
  const dir = mkdtempSync(join(tmpdir(), 'wire-'))
  const file = join(dir, 'smpp.pcap')
  writeFileSync(file, one.capture())
  const fields = ['smpp.command_id', '_ws.malformed', '_ws.expert.severity', '_ws.expert.message']
  const asFields = ['-T', 'fields', ...fields.flatMap(name => ['-e', name])]
  const asSmpp = ['-d', `tcp.port==${SERVER_PORT},smpp`]
  const { stdout } = await promisify(execFile)(TSHARK, ['-n', '-r', file, ...asSmpp, ...asFields], {
    maxBuffer: 2 ** 26,
  }).finally(() => rmSync(dir, { recursive: true }))
  return stdout
    .split('\n')
    .slice(0, -1)
    .map(line => {
      const [command = '', ...complaint] = line.split('\t')
      return { command, complaint: complaint.join(' ').trim() }
    })
}
