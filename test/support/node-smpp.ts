// The npm package smpp, an implementation of the protocol that is not ours, as either end of a connection. Knows the
// package's traps: its filters, which lose octets, are taken off; its errors are listened for; it keeps callbacks for
// ever, so every wait has an end here. Knows nothing of what a test wants to see.
import { type EventEmitter, once } from 'node:events'
import { createRequire } from 'node:module'
import type { AddressInfo, Server, Socket } from 'node:net'
import { type Cleaner, Waiting, within } from './peer.js'

/** A PDU as the package reads it: each field and each TLV it knows by name, the others by number. */
export interface NodePdu {
  command: string
  command_status: number
  sequence_number: number
  response(fields?: Fields): NodePdu
  [field: string]: unknown
}

export type Fields = Record<string, unknown>

interface NodeSession extends EventEmitter {
  readonly socket: Socket
  send(pdu: NodePdu, answered?: (pdu: NodePdu) => void): boolean
  close(): void
  destroy(): void
}

interface Definition {
  params?: Record<string, { filter?: unknown }>
}

interface NodeSmpp {
  readonly commands: Record<string, Definition>
  readonly tlvs: Record<string, { filter?: unknown }>
  readonly errors: Record<string, number>
  readonly PDU: new (command: string, fields?: Fields) => NodePdu
  addCommand(name: string, definition: { id: number } & Definition): void
  connect(options: { host: string; port: number }): NodeSession
  createServer(listener: (session: NodeSession) => void): Server
}

const smpp = createRequire(import.meta.url)('smpp') as NodeSmpp
for (const { params } of Object.values(smpp.commands))
  for (const field of Object.values(params ?? {})) delete field.filter
for (const tlv of Object.values(smpp.tlvs)) delete tlv.filter
// Of no version of the standard.
smpp.addCommand('unheard_of', { id: 0x0000_0042 })

const names = new Map(Object.entries(smpp.errors).map(([name, code]) => [code, name]))
export const statusOf = (pdu: NodePdu): string => names.get(pdu.command_status) ?? String(pdu.command_status)

/** One end of a connection. It answers enquire_link and unbind by itself, and everything else as it is told. */
export class NodePeer {
  readonly session: NodeSession
  /** Every request that came but enquire_link, in the order in which it came. */
  readonly requests: NodePdu[] = []
  readonly enquiries: NodePdu[] = []
  /** What the package could not read, and what became of the socket. */
  readonly faults: Error[] = []
  readonly closed: Promise<void>
  isClosed = false
  answer: (pdu: NodePdu) => Fields | undefined
  readonly waiting = new Waiting()
  private taken = 0

  /** `answer` gives the fields of the response; undefined is none. */
  constructor(session: NodeSession, answer: NodePeer['answer']) {
    this.session = session
    this.answer = answer
    this.closed = new Promise(resolve => {
      session.on('close', () => {
        this.isClosed = true
        this.waiting.look()
        resolve()
      })
    })
    // After one of its own errors the package reads nothing more.
    session.on('error', (error: Error) => {
      this.faults.push(error)
      session.destroy()
    })
    session.on('pdu', (pdu: NodePdu) => this.heard(pdu))
  }

  private heard(pdu: NodePdu): void {
    if (pdu.command.endsWith('_resp') || pdu.command === 'generic_nack') return
    if (pdu.command === 'enquire_link') {
      this.enquiries.push(pdu)
      this.session.send(pdu.response())
    } else {
      this.requests.push(pdu)
      if (pdu.command === 'unbind') {
        this.session.send(pdu.response())
        this.session.close()
      } else {
        const fields = this.answer(pdu)
        if (fields !== undefined) this.respond(pdu, fields)
      }
    }
    this.waiting.look()
  }

  respond(pdu: NodePdu, fields: Fields = {}): void {
    this.session.send(pdu.response(fields))
  }

  /** Sends a request; resolves with its answer, whatever that is. */
  request(command: string, fields: Fields = {}): Promise<NodePdu> {
    return within(
      new Promise((resolve, reject) => {
        if (!this.session.send(new smpp.PDU(command, fields), resolve)) reject(new Error(`closed before ${command}`))
      }),
      () => `the answer to ${command}${this.isClosed ? ', and the connection is closed' : ''}`,
    )
  }

  /** The next request that no one has taken so. */
  async next(): Promise<NodePdu> {
    const pdu = await this.waiting.until(
      () => this.requests[this.taken],
      () => `request ${this.taken + 1}${this.isClosed ? ', and the connection is closed' : ''}`,
    )
    this.taken++
    return pdu
  }

  async take(count: number): Promise<NodePdu[]> {
    const all: NodePdu[] = []
    while (all.length < count) all.push(await this.next())
    return all
  }
}

/** An ESME that has connected; it takes every deliver_sm. */
export async function nodeEsme(t: Cleaner, port: number): Promise<NodePeer> {
  const session = smpp.connect({ host: '127.0.0.1', port })
  t.teardown(() => session.destroy())
  const peer = new NodePeer(session, () => ({}))
  await within(once(session, 'connect'), `a connection to port ${port}`)
  return peer
}

/** An SMSC that takes every bind and answers each submit_sm with an id of its own. */
export class NodeSmsc {
  /** Connections, the oldest first; `bound` those that have bound and not gone. */
  readonly links: NodePeer[] = []
  readonly bound = new Set<NodePeer>()
  readonly submitted: { link: NodePeer; pdu: NodePdu }[] = []
  /** The fields of a bind's answer. */
  bind: (pdu: NodePdu) => Fields = () => ({ system_id: 'node-smpp', sc_interface_version: 0x34 })
  /** The same for a submit_sm; undefined: it is answered later, or never. */
  submit: (pdu: NodePdu, link: NodePeer) => Fields | undefined = () => ({ message_id: `n-${++this.serial}` })
  readonly server: Server
  readonly waiting = new Waiting()
  private serial = 0
  private taken = 0

  constructor() {
    this.server = smpp.createServer(session => {
      const link: NodePeer = new NodePeer(session, pdu => this.request(link, pdu))
      this.links.push(link)
      void link.closed.then(() => {
        this.bound.delete(link)
        this.waiting.look()
      })
    })
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port
  }

  private request(link: NodePeer, pdu: NodePdu): Fields | undefined {
    let fields: Fields | undefined
    if (pdu.command === 'submit_sm') {
      this.submitted.push({ link, pdu })
      fields = this.submit(pdu, link)
    } else if (pdu.command.startsWith('bind_')) {
      fields = this.bind(pdu)
      if (!fields.command_status) this.bound.add(link)
    } else fields = {}
    setImmediate(() => this.waiting.look())
    return fields
  }

  /** The oldest link that is bound, once there is one. */
  link(): Promise<NodePeer> {
    return this.waiting.until(() => [...this.bound][0], 'a bound link')
  }

  /** The next submit_sm that no one has taken so. */
  async next(): Promise<{ link: NodePeer; pdu: NodePdu }> {
    const one = await this.waiting.until(() => this.submitted[this.taken], `submit_sm ${this.taken + 1}`)
    this.taken++
    return one
  }
}

export async function nodeSmsc(t: Cleaner): Promise<NodeSmsc> {
  const smsc = new NodeSmsc()
  await once(smsc.server.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => {
    smsc.server.close()
    for (const link of smsc.links) link.session.destroy()
  })
  return smsc
}
