// What customers are told over HTTP: types of events and their data as JSON. Knows reports and the words for them; knows
// no endpoint, and nothing of delivery.

import { idText, idTimeMs } from '../base/ids.js'
import { type MessageState, state } from '../model/message.js'
import { readExtras } from '../model/webExtras.js'
import type { HistoryRow, ReceiptReport, Report } from '../spool/contract.js'

/** Statuses as applications know them, of a message that is over. */
const statuses: Readonly<Partial<Record<MessageState, string>>> = {
  [state.DELIVERED]: 'delivered',
  [state.UNDELIVERABLE]: 'undelivered',
  [state.EXPIRED]: 'expired',
  [state.REJECTED]: 'rejected',
  [state.DELETED]: 'canceled',
  [state.ACCEPTED]: 'sent',
  [state.UNKNOWN]: 'unknown',
  [state.SKIPPED]: 'skipped',
}

export const statusOf = (s: MessageState): string => statuses[s] ?? 'unknown'

/** The type of event that tells of a message's end: `message.delivered`. */
export const endType = (s: MessageState): string => types[s] as string
const types = Array.from({ length: 10 }, (_, s) => `message.${statusOf(s as MessageState)}`)

/** A message from a phone has come. */
export const RECEIVED = 'message.received'

/** One event, as it is sent and signed. */
export interface Event {
  /** Equal for all tries, and for no other event of the same receiver. */
  readonly id: string
  readonly type: string
  readonly atMs: number
  readonly data: string
}

export interface EventHost {
  /** Names this queue's numbers among those of other nodes. */
  readonly identity: string
  /** The text of a message from a phone; null: it is no text. */
  textOf(report: Report): string | null
}

/** What a report is as an event. */
export function eventOf(report: Report, host: EventHost): Event {
  const { receipt, reply, event, atMs } = report
  if (receipt) {
    const id = idText(receipt.id, 'decimal')
    return {
      id: `msg_${id}_${statusOf(receipt.state)}`,
      type: endType(receipt.state),
      atMs,
      data: endData(receipt, id),
    }
  }
  const place = `${host.identity}_${report.way}_${report.account}_${report.seq}`
  if (event) return { ...event, id: event.id === '' ? `evt_${place}` : event.id }
  const text = host.textOf(report)
  const data = {
    from: reply?.source_addr,
    to: reply?.destination_addr,
    text,
    ...(text === null ? { octets: reply?.body.toString('hex') } : {}),
    received_at: isoTime(atMs),
    ...(reply?.extras ? JSON.parse(reply.extras) : {}),
  }
  return { id: `mo_${place}`, type: RECEIVED, atMs, data: JSON.stringify(data) }
}

function endData(receipt: ReceiptReport, id: string): string {
  const { message } = receipt.more ?? {}
  const { web, tags } = readExtras(message?.extras ?? '')
  const data = {
    id,
    status: statusOf(receipt.state),
    to: receipt.destination_addr,
    from: receipt.source_addr,
    custom_id: message?.clientRef || null,
    segments: message?.segments ?? receipt.parts,
    price_micros: message?.priceMicros ?? 0,
    error_code: errorOf(receipt.err),
    submitted_at: isoTime(idTimeMs(receipt.id)),
    done_at: isoTime(receipt.doneMs),
    ...(web.batch === undefined ? {} : { batch_id: web.batch }),
    ...(web.sms_type === undefined ? {} : { sms_type: web.sms_type }),
    ...(web.template === undefined ? {} : { template_id: web.template, template_version: web.template_version }),
    ...(tags.length === 0 ? {} : { tags }),
    ...(web.metadata === undefined ? {} : { metadata: web.metadata }),
  }
  return JSON.stringify(data)
}

/**
 * The event of an end that only history knows any more: what its sender gave with the message besides custom_id is gone, and
 * the event says so, for its receiver has had it with all that.
 */
export function pastEvent(ended: HistoryRow): Event {
  const id = idText(ended.id, 'decimal')
  const status = statusOf(ended.state)
  const data = {
    id,
    status,
    to: ended.destination,
    from: ended.source,
    custom_id: ended.clientRef || null,
    segments: ended.segments,
    price_micros: ended.priceMicros,
    error_code: errorOf(ended.error),
    submitted_at: isoTime(idTimeMs(ended.id)),
    done_at: isoTime(ended.atMs),
    replayed: true,
  }
  return { id: `msg_${id}_${status}`, type: endType(ended.state), atMs: ended.atMs, data: JSON.stringify(data) }
}

const errorOf = (error: string): string | null => (error === '' || /^0+$/.test(error) ? null : error)

export const isoTime = (ms: number): string => new Date(ms).toISOString()
