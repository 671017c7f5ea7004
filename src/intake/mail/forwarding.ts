// A mail that leaves as a mail: kept whole while it comes, with a line of ours above it. What it would take of memory and
// spool is bounded, and a mail that goes round in a circle is told by its Received fields. RFC 5321 §4.4, §6.3.

import { type Reply, reply } from '../../../protocols/smtp/replies.js'
import { Message } from '../../model/message.js'
import type { Spool } from '../../spool/contract.js'
import type { Forwarded } from './customer.js'

/** Octets of one mail, and of all its copies. */
const MOST_OCTETS = 32 * 2 ** 20
/** Octets of all mails that come at one time. */
const MOST_HELD = 128 * 2 ** 20
const MOST_RECEIVED = 50

/** What all mails hold that are on their way in, until they are durable. */
export interface Held {
  octets: number
}

export class Forwarding {
  readonly to: readonly Forwarded[]
  private readonly all: Held
  private chunks: Buffer[] = []
  private octets = 0
  private held = 0
  private isHeldUp = false

  constructor(to: readonly Forwarded[], all: Held) {
    this.to = to
    this.all = all
  }

  add(octets: Buffer): void {
    this.octets += octets.length
    if (this.all.octets + octets.length > MOST_HELD) this.isHeldUp = true
    if (this.isHeldUp || this.isTooLarge) {
      this.over()
      return
    }
    this.held += octets.length
    this.all.octets += octets.length
    this.chunks.push(Buffer.from(octets))
  }

  /** It is durable, or will never be: what it held is others'. */
  over(): void {
    this.chunks = []
    this.all.octets -= this.held
    this.held = 0
  }

  private get isTooLarge(): boolean {
    return this.octets * this.to.length > MOST_OCTETS
  }

  /** Of the whole mail; undefined: it may leave. */
  get refusal(): Reply | undefined {
    if (this.isTooLarge) return reply(552, '5.3.4', 'The mail is too long for so many recipients')
    if (this.isHeldUp) return reply(452, '4.3.1', 'Too many mails are coming at this moment')
    const whole = this.whole
    const end = whole.indexOf('\r\n\r\n')
    const header = whole.latin1Slice(0, end < 0 ? whole.length : end)
    const received = header.match(/^Received:/gim)?.length ?? 0
    return received > MOST_RECEIVED ? reply(554, '5.4.6', 'Too many hops') : undefined
  }

  private get whole(): Buffer {
    if (this.chunks.length !== 1) this.chunks = [Buffer.concat(this.chunks)]
    return this.chunks[0] as Buffer
  }

  /** One for each recipient, in their order, with ids. */
  messages(spool: Spool, address: string, hostname: string, nowMs: number): Message[] {
    const ids = spool.takeIds(this.to.length)
    const date = new Date(nowMs).toUTCString().replace(/GMT/, '+0000')
    return this.to.map(({ to }, index) => {
      const m = new Message()
      m.id = ids[index] as number
      m.destination_addr = to
      const trace = `Received: from [${address}] by ${hostname} with ESMTPA id ${m.id};\r\n\t${date}\r\n`
      m.body = Buffer.concat([Buffer.from(trace), this.whole])
      return m
    })
  }
}
