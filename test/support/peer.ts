// One end of an SMPP connection that does what a test says: cuts PDUs in its own way, not with our framer, gives each
// request its promise, and answers enquire_link, unless told otherwise. Knows nothing of ESMEs and carriers. Every wait
// has an end and says what it waited for.
import net from 'node:net'
import { type CommandName, command, commandName, isResponse, responseTo } from '../../protocols/smpp/commands.js'
import { decodePdu, encodePdu, type Pdu, type PduFields } from '../../protocols/smpp/pdu.js'

/** What a test registers its cleaning with. */
export interface Cleaner {
  teardown(clean: () => unknown): unknown
}

/** How long a test waits for what must come. */
export const PATIENCE_MS = 15_000

/** `promise`, or after `ms` an error that names what was waited for. */
export function within<T>(promise: Promise<T>, what: string | (() => string), ms = PATIENCE_MS): Promise<T> {
  // Made here: its stack names the test that waits.
  const error = new Error()
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      error.message = `waited ${ms} ms in vain for ${typeof what === 'string' ? what : what()}`
      reject(error)
    }, ms)
    promise.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}

/** Those who wait until something holds; it is looked at after each `look`. */
export class Waiting {
  private readonly all = new Set<() => void>()

  look(): void {
    for (const one of [...this.all]) one()
  }

  /** Resolves with the first value of `find` that is not undefined. */
  until<T>(find: () => T | undefined, what: string | (() => string), ms = PATIENCE_MS): Promise<T> {
    const found = find()
    if (found !== undefined) return Promise.resolve(found)
    let mine = (): void => {}
    const promise = new Promise<T>(resolve => {
      mine = () => {
        const value = find()
        if (value !== undefined) resolve(value)
      }
      this.all.add(mine)
    })
    return within(promise, what, ms).finally(() => this.all.delete(mine))
  }
}

/** A PDU that came. */
export interface Heard {
  readonly name: CommandName
  readonly status: number
  readonly sequence: number
  readonly fields: object
  readonly tlvs: Buffer
  /** The whole PDU, header included. */
  readonly octets: Buffer
}

export class Peer {
  readonly socket: net.Socket
  /** Resolves when the connection is gone, in whatever way. */
  readonly closed: Promise<void>
  isClosed = false
  /** Octets that came, in all. */
  bytes = 0
  /** False: enquire_link is left to `onRequest`. */
  answersEnquiries = true
  onRequest: (pdu: Heard) => void = () => {}
  /** Responses to what `request` did not ask. */
  readonly stray: Heard[] = []
  private partial: Buffer = Buffer.alloc(0)
  private sequence = 0
  private readonly asked = new Map<number, { resolve(pdu: Heard): void; reject(error: Error): void }>()
  private queue: Buffer[] = []

  constructor(socket: net.Socket) {
    this.socket = socket
    socket.setNoDelay(true)
    socket.on('error', () => {})
    socket.on('data', chunk => this.take(chunk))
    this.closed = new Promise(resolve => {
      socket.on('close', () => {
        this.isClosed = true
        for (const [sequence, { reject }] of this.asked) reject(new Error(`closed before the answer to ${sequence}`))
        this.asked.clear()
        resolve()
      })
    })
  }

  static async connect(t: Cleaner, port: number, host = '127.0.0.1'): Promise<Peer> {
    const socket = net.connect(port, host)
    const peer = new Peer(socket)
    t.teardown(() => socket.destroy())
    await within(
      new Promise<void>((resolve, reject) => {
        socket.once('connect', resolve)
        socket.once('error', reject)
      }),
      `a connection to ${host}:${port}`,
    )
    return peer
  }

  private take(chunk: Buffer): void {
    this.bytes += chunk.length
    let rest = this.partial.length === 0 ? chunk : Buffer.concat([this.partial, chunk])
    while (rest.length >= 4) {
      const length = rest.readUInt32BE(0)
      if (length < 16 || length > 100_000) throw new Error(`not framed: ${rest.subarray(0, 32).toString('hex')}`)
      if (rest.length < length) break
      this.heard(rest.subarray(0, length))
      rest = rest.subarray(length)
    }
    this.partial = rest
  }

  private heard(octets: Buffer): void {
    const pdu = decodePdu(octets, 0, octets.length)
    if (!pdu.ok) throw new Error(`not to be read: ${octets.toString('hex')}`)
    const { status, sequence, fields, tlvs } = pdu
    const heard: Heard = { name: commandName(pdu.command) as CommandName, status, sequence, fields, tlvs, octets }
    if (!isResponse(pdu.command)) {
      if (pdu.command === command.enquire_link && this.answersEnquiries) this.respond(heard)
      else this.onRequest(heard)
      return
    }
    const asked = this.asked.get(sequence)
    if (asked === undefined) this.stray.push(heard)
    else {
      this.asked.delete(sequence)
      asked.resolve(heard)
    }
  }

  nextSequence(): number {
    return ++this.sequence
  }

  /** Octets as they are, at the end of this turn in one write with all others of it. */
  write(octets: Buffer | string): void {
    if (this.queue.length === 0) setImmediate(() => this.flush())
    this.queue.push(typeof octets === 'string' ? Buffer.from(octets.replace(/\s/g, ''), 'hex') : octets)
  }

  /** All that was written goes to the socket now. */
  flush(): void {
    if (this.queue.length > 0 && !this.socket.destroyed) this.socket.write(Buffer.concat(this.queue))
    this.queue = []
  }

  /** Sends a request; its answer, or an error when the connection goes first. */
  request<C extends Pdu>(id: C, fields: Partial<PduFields[C]> = {}, tlvs?: Buffer): Promise<Heard> {
    const sequence = this.nextSequence()
    return this.send(sequence, encodePdu(id, 0, sequence, fields, tlvs))
  }

  /** Sends octets that are a request with that number; its answer. */
  send(sequence: number, octets: Buffer): Promise<Heard> {
    const answer = new Promise<Heard>((resolve, reject) => {
      if (this.isClosed) reject(new Error('closed'))
      else this.asked.set(sequence, { resolve, reject })
    })
    answer.catch(() => {})
    this.write(octets)
    return answer
  }

  /** Answers a request that came. */
  respond(pdu: Heard, status = 0, fields: object = {}): void {
    const id = responseTo(command[pdu.name]) as Pdu
    this.write(encodePdu(id, status, pdu.sequence, fields as Partial<PduFields[Pdu]>))
  }

  /** Reads nothing more: TCP holds the other side back. */
  stall(): void {
    this.socket.pause()
  }

  readAgain(): void {
    this.socket.resume()
  }

  /** Hangs up as a pulled cable would, with what has been written before. */
  drop(): void {
    this.flush()
    this.socket.resetAndDestroy()
  }
}
