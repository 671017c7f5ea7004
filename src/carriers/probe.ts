// One bind beside those that run, to see whether a carrier can be reached and takes us: each step with its time, up to the
// first that fails. Takes nothing that is sent to it: receipts and replies are refused as "not now", so that the carrier
// keeps them for the links. Knows one connection and no message's fate.

import { lookup } from 'node:dns/promises'
import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { command, responseTo } from '../../protocols/smpp/commands.js'
import { encodePdu } from '../../protocols/smpp/pdu.js'
import { readMessageId, Sm, smSize, writeHeader, writeSm } from '../../protocols/smpp/sm.js'
import { status, statusName } from '../../protocols/smpp/status.js'
import type { Clock } from '../base/clock.js'
import type { Part } from './driver.js'
import { type BindKind, type LinkSettings, reasonOf, tlsOptions } from './link.js'
import { fillSubmit } from './outbound.js'

export interface ProbeSettings extends LinkSettings {
  readonly host: string
  readonly port: number
  readonly bind: BindKind | 'pair'
}

export interface ProbeStep {
  readonly step: 'dns' | 'connect' | 'tls' | 'bind' | 'enquire_link' | 'submit_sm' | 'unbind'
  readonly ok: boolean
  readonly ms: number
  /** What came of it, or why it failed: an address, a command_status by its name, a message id. */
  readonly detail: string
}

const STEP_MS = 10_000
const HEADER = 16
const MAX_PDU = 70_000
const DAY_MS = 86_400_000

/**
 * True when every step went well. `told` gets each as it ends.
 *
 * @param parts of a message to be sent for real; none = none is
 */
export async function probe(
  settings: ProbeSettings,
  parts: readonly Part[],
  clock: Clock,
  told: (step: ProbeStep) => void,
  signal: AbortSignal,
): Promise<boolean> {
  let socket: Socket | undefined
  const step = async <T>(
    name: ProbeStep['step'],
    work: () => Promise<T>,
    detail: (result: T) => string,
  ): Promise<T> => {
    const startedMs = clock.mono()
    const spent = (): number => Math.round((clock.mono() - startedMs) * 10) / 10
    try {
      const result = await within(work(), settings.responseMs, signal)
      told({ step: name, ok: true, ms: spent(), detail: detail(result) })
      return result
    } catch (error) {
      told({ step: name, ok: false, ms: spent(), detail: wordsOf(error) })
      throw new Failed()
    }
  }
  try {
    const { host, port, tls } = settings
    const address = isIP(host)
      ? host
      : (
          await step(
            'dns',
            () => lookup(host),
            found => found.address,
          )
        ).address
    const tcp = connectTcp({ host: address, port, noDelay: true })
    socket = tcp
    socket.on('error', () => {})
    await step(
      'connect',
      () => once(tcp, 'connect'),
      () => `${address}:${port}`,
    )
    if (tls) {
      const secure = connectTls({ socket: tcp, host, ...tlsOptions(tls, host) })
      socket = secure
      secure.on('error', () => {})
      await step(
        'tls',
        () => once(secure, 'secureConnect'),
        () => certificateWords(secure, clock.now()),
      )
    }
    const talk = new Talk(socket)
    const kind: BindKind = settings.bind === 'pair' ? 'transmitter' : settings.bind
    await step(
      'bind',
      () => talk.ask(bindPdu(settings, kind)),
      () => `${kind}, ESME_ROK`,
    )
    await step(
      'enquire_link',
      () => talk.ask(encodePdu(command.enquire_link, 0, 0, {})),
      () => '',
    )
    for (const part of parts) {
      await step(
        'submit_sm',
        () => talk.ask(submitPdu(part, settings)),
        ({ pdu }) => readMessageId(pdu, 0, pdu.length),
      )
    }
    await step(
      'unbind',
      () => talk.ask(encodePdu(command.unbind, 0, 0, {})),
      () => talk.refusedWords,
    )
    return true
  } catch (error) {
    if (error instanceof Failed) return false
    throw error
  } finally {
    socket?.destroy()
  }
}

/** A step that was told. */
class Failed extends Error {}

const reasons: Readonly<Record<string, string>> = {
  ENOTFOUND: 'no host is known by this name',
  EAI_AGAIN: 'the name server does not answer',
  ECONNREFUSED: 'nothing listens there',
  ECONNRESET: 'the carrier closed the connection',
  ETIMEDOUT: 'nobody answers there',
  EHOSTUNREACH: 'no way leads there',
  ENETUNREACH: 'no way leads there',
}

function wordsOf(error: unknown): string {
  const reason = reasonOf(error)
  const words = reasons[reason]
  return words === undefined ? reason : `${words} (${reason})`
}

function bindPdu(settings: ProbeSettings, kind: BindKind): Buffer {
  return encodePdu(command[`bind_${kind}`], 0, 0, {
    system_id: settings.systemId,
    password: settings.password,
    system_type: settings.systemType,
    interface_version: settings.interfaceVersion,
    address_range: settings.addressRange,
  })
}

function submitPdu(part: Part, settings: ProbeSettings): Buffer {
  const sm = new Sm()
  if (!fillSubmit(sm, part, settings, 0)) throw new Error('no message_payload before SMPP v3.4')
  const pdu = Buffer.alloc(smSize(sm))
  return pdu.subarray(0, writeSm(pdu, 0, command.submit_sm, 0, sm))
}

interface Answer {
  readonly pdu: Buffer
}

/** One request at a time. What the peer asks meanwhile is answered, and what it brings is refused. */
class Talk {
  private readonly socket: Socket
  private sequence = 0
  private unread: Buffer = Buffer.alloc(0)
  private refused = 0
  private lost: Error | null = null
  private awaited: { resolve(answer: Answer): void; reject(error: Error): void } | null = null

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk: Buffer) => this.read(chunk))
    socket.on('error', error => this.fail(error))
    socket.on('close', () => this.fail(new Error('the carrier closed the connection')))
  }

  get refusedWords(): string {
    return this.refused === 0 ? '' : `${this.refused} receipts or replies were left to the other links`
  }

  /** Gives the request its number. Rejects when it is answered with another status than ESME_ROK, or the connection is lost. */
  ask(pdu: Buffer): Promise<Answer> {
    pdu.writeUInt32BE(++this.sequence, 12)
    return new Promise((resolve, reject) => {
      if (this.lost) {
        reject(this.lost)
        return
      }
      this.awaited = { resolve, reject }
      this.socket.write(pdu)
    })
  }

  private fail(error: Error): void {
    this.lost ??= error
    this.awaited?.reject(this.lost)
    this.awaited = null
  }

  private read(chunk: Buffer): void {
    this.unread = this.unread.length === 0 ? chunk : Buffer.concat([this.unread, chunk])
    while (this.unread.length >= HEADER) {
      const length = this.unread.readUInt32BE(0)
      if (length < HEADER || length > MAX_PDU) {
        this.fail(new Error('what answers there does not speak SMPP'))
        this.socket.destroy()
        return
      }
      if (this.unread.length < length) return
      const pdu = this.unread.subarray(0, length)
      this.unread = this.unread.subarray(length)
      this.take(pdu)
    }
  }

  private take(pdu: Buffer): void {
    const id = pdu.readUInt32BE(4)
    const code = pdu.readUInt32BE(8)
    const sequence = pdu.readUInt32BE(12)
    if (id >= 0x80000000) {
      if (sequence !== this.sequence || this.awaited === null) return
      const { resolve, reject } = this.awaited
      this.awaited = null
      if (code === status.ESME_ROK) resolve({ pdu })
      else reject(new Error(statusName(code)))
      return
    }
    if (id === command.alert_notification || id === command.outbind) return
    const isKept = id === command.deliver_sm || id === command.data_sm
    if (isKept) this.refused++
    const answer = Buffer.alloc(isKept ? HEADER + 1 : HEADER)
    const known = isKept ? status.ESME_RX_T_APPN : status.ESME_ROK
    writeHeader(answer, 0, answer.length, responseTo(id), known, sequence)
    this.socket.write(answer)
  }
}

function once(socket: Socket, event: 'connect' | 'secureConnect'): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once(event, () => resolve())
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('the carrier closed the connection')))
  })
}

function within<T>(work: Promise<T>, mostMs: number, signal: AbortSignal): Promise<T> {
  const ms = Math.min(mostMs, STEP_MS)
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no answer within ${ms / 1000} s`)), ms)
    const stop = (): void => reject(new Error('stopped'))
    signal.addEventListener('abort', stop, { once: true })
    void work.then(resolve, reject).finally(() => {
      clearTimeout(late)
      signal.removeEventListener('abort', stop)
    })
  })
}

function certificateWords(socket: TLSSocket, nowMs: number): string {
  const { subject, valid_to } = socket.getPeerCertificate()
  const name = subject?.CN
  const days = Math.floor((Date.parse(valid_to) - nowMs) / DAY_MS)
  const certificate = name === undefined ? [] : [`certificate of ${name}, good for ${days} days`]
  return [socket.getProtocol() ?? '', ...certificate].join(', ')
}
