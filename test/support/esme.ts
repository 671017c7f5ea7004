// A scripted customer: an ESME over a real connection, with a promise for each thing it does. Takes every deliver_sm
// unless told otherwise, and keeps it.
import { setTimeout as delay } from 'node:timers/promises'
import { command } from '../../protocols/smpp/commands.js'
import type { PduFields } from '../../protocols/smpp/pdu.js'
import { status, statusName } from '../../protocols/smpp/status.js'
import { type Cleaner, type Heard, PATIENCE_MS, Peer, Waiting, within } from './peer.js'

type SubmitSm = PduFields[typeof command.submit_sm]
type DeliverSm = PduFields[typeof command.deliver_sm]

export interface EsmeOptions {
  systemId?: string
  password?: string
  bind?: 'transceiver' | 'transmitter' | 'receiver'
  interfaceVersion?: number
  /** command_status of the answer to a deliver_sm; undefined: none. */
  answer?: (delivered: Delivered) => number | undefined
}

/** A receipt's words, in the order of SMPP v3.4 appendix B. */
export interface ReceiptText {
  id: string
  sub: string
  dlvrd: string
  stat: string
  err: string
  text: string
}

const RECEIPT =
  /^id:(\S+) sub:(\d{3}) dlvrd:(\d{3}) submit date:\d{10} done date:\d{10} stat:(\S{7}) err:(\S+) text:(.*)$/s

/** A deliver_sm that came. */
export class Delivered {
  readonly pdu: Heard
  readonly fields: DeliverSm

  constructor(pdu: Heard) {
    this.pdu = pdu
    this.fields = pdu.fields as DeliverSm
  }

  /** Throws when it is no receipt in the form of the standard. */
  get receipt(): ReceiptText {
    const text = this.fields.short_message.toString('latin1')
    const parts = RECEIPT.exec(text)
    if (parts === null || this.fields.esm_class !== 0x04) throw new Error(`no receipt: ${text}`)
    const [, id = '', sub = '', dlvrd = '', stat = '', err = '', quoted = ''] = parts
    return { id, sub, dlvrd, stat, err, text: quoted }
  }
}

/** What a submit_sm is answered: ESME_ROK and an id, or a name of the standard. */
export interface Submission {
  status: string
  message_id: string
}

export class Esme {
  readonly peer: Peer
  /** Every deliver_sm, in the order in which it came. */
  readonly delivered: Delivered[] = []
  answer: (delivered: Delivered) => number | undefined
  /** Resolves when the daemon has unbound us. */
  readonly unbound: Promise<void>
  private taken = 0
  private readonly waiting = new Waiting()

  constructor(peer: Peer, answer: EsmeOptions['answer'] = () => status.ESME_ROK) {
    this.peer = peer
    this.answer = answer
    this.unbound = new Promise(resolve => {
      peer.onRequest = pdu => {
        if (pdu.name === 'unbind') {
          peer.respond(pdu)
          resolve()
        } else this.deliver(pdu)
      }
    })
  }

  private deliver(pdu: Heard): void {
    const delivered = new Delivered(pdu)
    this.delivered.push(delivered)
    const code = this.answer(delivered)
    if (code !== undefined) this.peer.respond(pdu, code, code === 0 ? { message_id: '' } : {})
    this.waiting.look()
  }

  /** The name of the bind's status. */
  async bind({ systemId = 'shop', password = 'secret', bind = 'transceiver', interfaceVersion = 0x34 }: EsmeOptions) {
    const answer = await within(
      this.peer.request(command[`bind_${bind}`], {
        system_id: systemId,
        password,
        interface_version: interfaceVersion,
      }),
      `the answer to bind_${bind}`,
    )
    return statusName(answer.status)
  }

  async submit(fields: Partial<SubmitSm> = {}, tlvs?: Buffer): Promise<Submission> {
    const asked = this.peer.request(
      command.submit_sm,
      {
        source_addr: '1000',
        destination_addr: '12025550123',
        registered_delivery: 1,
        short_message: Buffer.from('hello'),
        ...fields,
      },
      tlvs,
    )
    return submission(await within(asked, 'submit_sm_resp'))
  }

  /** Numbered texts, all at once. */
  submitAll(count: number, fields: Partial<SubmitSm> = {}): Promise<Submission[]> {
    return Promise.all(
      Array.from({ length: count }, (_, n) => this.submit({ ...fields, short_message: Buffer.from(String(n)) })),
    )
  }

  /** The next deliver_sm that no one has taken so. */
  async next(ms = PATIENCE_MS): Promise<Delivered> {
    const delivered = await this.waiting.until(
      () => this.delivered[this.taken],
      `deliver_sm ${this.taken + 1}${this.peer.isClosed ? ', and the connection is closed' : ''}`,
      ms,
    )
    this.taken++
    return delivered
  }

  async take(count: number): Promise<Delivered[]> {
    const all: Delivered[] = []
    while (all.length < count) all.push(await this.next())
    return all
  }

  /** Unbinds in order. */
  async unbind(): Promise<void> {
    await within(this.peer.request(command.unbind), 'unbind_resp')
    this.peer.socket.end()
    await within(this.peer.closed, 'the end of the connection')
  }

  /** Resolves when the connection is gone. */
  closed(): Promise<void> {
    return within(this.peer.closed, 'the end of the connection')
  }
}

export const submission = (pdu: Heard): Submission => ({
  status: statusName(pdu.status),
  message_id: (pdu.fields as { message_id?: string }).message_id ?? '',
})

/** A connection that has not bound. */
export async function stranger(t: Cleaner, port: number, answer?: EsmeOptions['answer']): Promise<Esme> {
  return new Esme(await Peer.connect(t, port), answer)
}

/** A bound ESME: account `shop` with password `secret` unless told otherwise. */
export async function esme(t: Cleaner, port: number, options: EsmeOptions = {}): Promise<Esme> {
  const one = await stranger(t, port, options.answer)
  const name = await one.bind(options)
  if (name !== 'ESME_ROK') throw new Error(`bind refused: ${name}`)
  return one
}

/** The pace of a {@link worker}: as fast as it can, it would keep the machine busy. */
const PACE_MS = 4

/** A customer who sends one message after the other, each when the receipt of the one before is there. */
export async function worker(
  t: Cleaner,
  port: number,
): Promise<{
  readonly ids: readonly string[]
  /** Ends it; throws when it was ever refused, or has done nothing. */
  stop(): Promise<{ slowestMs: number }>
}> {
  const one = await esme(t, port)
  const ids: string[] = []
  let slowestMs = 0
  let isWorking = true
  const work = (async () => {
    while (isWorking) {
      const from = performance.now()
      // The same to the same again and again goes round.
      const { status, message_id } = await one.submit({ short_message: Buffer.from(`hello ${ids.length}`) })
      if (status !== 'ESME_ROK') throw new Error(status)
      ids.push(message_id)
      const { receipt } = await one.next()
      if (receipt.id !== message_id) throw new Error(`the receipt of ${receipt.id}, not of ${message_id}`)
      slowestMs = Math.max(slowestMs, performance.now() - from)
      await delay(PACE_MS)
    }
    await one.unbind()
  })()
  work.catch(() => {})
  return {
    ids,
    async stop() {
      isWorking = false
      await work
      if (ids.length === 0) throw new Error('it has done nothing')
      return { slowestMs }
    },
  }
}
