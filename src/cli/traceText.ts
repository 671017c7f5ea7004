// A traced PDU as people and programs read it: a line, or an object. Shows a text only when it is asked to and then only what
// the daemon has let through. Nothing that a peer wrote may steer the terminal.

import { type Coding, codingOf, codingsWith, decodeUserData } from '../../protocols/gsm/coding.js'
import { command, commandName, isResponse } from '../../protocols/smpp/commands.js'
import { decodePdu, describePdu } from '../../protocols/smpp/pdu.js'
import { statusName } from '../../protocols/smpp/status.js'
import { eachTlv, findTlv, tlv, tlvBytes, tlvString, tlvType, tlvUint } from '../../protocols/smpp/tlv.js'
import type { SessionTold, TraceRecord } from '../admin/traceRecords.js'
import { bad, faint, strong } from './print.js'

export type TracedPdu = Extract<TraceRecord, { kind: 'pdu' }>

const UDHI = 0x40
/** esm_class bits 5-2: a delivery receipt, an intermediate notification. SMPP v3.4 §5.2.12. */
const TYPE = 0x3c
const RECEIPT = 0x04
const NOTIFICATION = 0x20

/** `14:03:05.123 <- demo 127.0.0.1:40112 #3 submit_sm seq=2 …`: an arrow to the right is what we sent. */
export function pduLine(session: SessionTold, { atMs, direction, octets }: TracedPdu, texts: boolean): string {
  const described = describePdu(octets, 0, octets.length)
  const space = `${described} `.indexOf(' ')
  const failed = isResponse(octets.readUInt32BE(4)) && octets.readUInt32BE(8) !== 0
  const name = strong(plain(described.slice(0, space)))
  const words = textOf(octets, session)
  const told =
    words === undefined ? '' : words.isReceipt || texts ? ` ${label(words)}=${JSON.stringify(words.text)}` : ''
  const rest = plain(described.slice(space) + told)
  const arrow = direction === 'sent' ? '→' : '←'
  return `${faint(clockOf(atMs))} ${arrow} ${whose(session)} ${name}${failed ? bad(rest) : rest}`
}

const label = ({ isReceipt }: Words): string => (isReceipt ? 'receipt' : 'text')

/** `demo 127.0.0.1:40112 #3` */
export const whose = ({ name, peer, serial }: SessionTold): string => `${plain(name) || '-'} ${plain(peer)} #${serial}`

/** For --json, in snake_case. */
export function pduObject(session: SessionTold, { atMs, direction, octets }: TracedPdu, texts: boolean): object {
  const pdu = decodePdu(octets, 0, octets.length)
  const { serial, kind, name, peer } = session
  const head = {
    time: new Date(atMs).toISOString(),
    session: serial,
    kind,
    name,
    peer,
    direction,
    command: commandName(pdu.command),
    sequence: pdu.sequence,
    length: octets.length,
  }
  if (!pdu.ok) return { ...head, unreadable: pdu.field }
  const fields: Record<string, unknown> = {}
  for (const [field, value] of Object.entries(pdu.fields as object)) {
    if (field !== 'password') fields[field] = Buffer.isBuffer(value) ? { length: value.length } : value
  }
  const tlvs: Record<string, unknown> = {}
  eachTlv(pdu.tlvs, 0, pdu.tlvs.length, (tag, at, length) => {
    const type = tlvType(tag)
    const name = type?.name ?? `0x${tag.toString(16).padStart(4, '0')}`
    tlvs[name] =
      type?.kind === 'uint' ? tlvUint(pdu.tlvs, at) : type?.kind === 'cstring' ? tlvString(pdu.tlvs, at) : { length }
  })
  const words = textOf(octets, session)
  return {
    ...head,
    status: statusName(pdu.status),
    fields,
    tlvs,
    ...(words !== undefined && (words.isReceipt || texts) ? { [label(words)]: words.text } : {}),
  }
}

interface Words {
  readonly text: string
  /** The words of a receipt; the text that it quotes stands in it only when texts are told. */
  readonly isReceipt: boolean
}

/** undefined when the PDU has no text. */
function textOf(octets: Buffer, { codings }: SessionTold): Words | undefined {
  const pdu = decodePdu(octets, 0, octets.length)
  if (!pdu.ok || isResponse(pdu.command)) return undefined
  const fields = pdu.fields as { short_message?: Buffer; esm_class?: number; data_coding?: number }
  const payload = findTlv(pdu.tlvs, 0, pdu.tlvs.length, tlv.message_payload)
  const body = payload < 0 ? fields.short_message : tlvBytes(pdu.tlvs, payload)
  if (body === undefined || body.length === 0) return undefined
  const { esm_class = 0, data_coding = 0 } = fields
  const coding = codingOf(data_coding, codingsWith(codings as Record<string, Coding>))
  const text = decodeUserData(body, (esm_class & UDHI) !== 0, coding)
  const type = esm_class & TYPE
  const isReceipt =
    (pdu.command === command.deliver_sm || pdu.command === command.data_sm) &&
    (type === RECEIPT || type === NOTIFICATION)
  return { text: isReceipt ? text.replace(/\*+$/, '').trimEnd() : text, isReceipt }
}

/** Of the day, where the terminal stands. */
function clockOf(ms: number): string {
  const at = new Date(ms)
  const two = (n: number): string => String(n).padStart(2, '0')
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, '0')}`
}

/** What steers a terminal, or turns its text round, as an escape. */
const plain = (text: string): string =>
  text.replace(
    /[\p{Cc}\u2028-\u202e\u2066-\u2069]/gu,
    found => `\\u${(found.codePointAt(0) as number).toString(16).padStart(4, '0')}`,
  )
