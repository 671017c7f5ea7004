// A part as the submit_sm that its carrier takes: the customer's fields, the carrier's settings over them. Pure; which
// link carries it, and what its answer means, others know.

import type { Sm } from '../../protocols/smpp/sm.js'
import { formatAbsolute, formatRelative } from '../../protocols/smpp/time.js'
import { tlv, writeTlvBytes } from '../../protocols/smpp/tlv.js'
import { EMPTY, type Message } from '../model/message.js'
import { type AddressSteps, rewriteAddress } from '../routing/addresses.js'
import type { Part } from './driver.js'

/** What a carrier's settings say of the fields it is sent; null = as the customer gave it. */
export interface OutboundRules {
  readonly interfaceVersion: number
  readonly serviceType: string | null
  /** auto: TON and NPI by the address itself. */
  readonly sourceTon: number | 'auto' | null
  readonly sourceNpi: number | null
  readonly destTon: number | null
  readonly destNpi: number | null
  /** Bits of registered_delivery that it may see besides those for receipts. */
  readonly registeredDelivery: number
  readonly validity: 'relative' | 'absolute' | 'never'
  /** How addresses are written for it; what a step says of type and plan goes before all of the above. */
  readonly rewrite: AddressSteps
}

const SHORT_MESSAGE_MAX = 254
const SHORT_CODE = /^[0-9]{1,6}$/
const NUMBER = /^\+?[0-9]+$/
const UNKNOWN = [0, 0] as const
const INTERNATIONAL = [1, 1] as const
const NETWORK_SPECIFIC = [3, 0] as const
const ALPHANUMERIC = [5, 0] as const
/** TLVs came with v3.4. */
const V34 = 0x34
/** Bits of registered_delivery that ask for receipts, SMPP v3.4 §5.2.17. */
const RECEIPTS = 0x03
/** The shortest validity that is said: what zero means the standard leaves open. */
const LEAST_VALIDITY_MS = 1_000

export type Addresses = Pick<
  Sm,
  'source_addr_ton' | 'source_addr_npi' | 'source_addr' | 'dest_addr_ton' | 'dest_addr_npi' | 'destination_addr'
>

/** Fills in `sm`, which keeps views of the part; false: the carrier's version of SMPP has no room for so long a text. */
export function fillSubmit(sm: Sm, part: Part, rules: OutboundRules, nowMs: number): boolean {
  const { message: m, short_message } = part
  const isLong = part.payload || short_message.length > SHORT_MESSAGE_MAX
  if (isLong && rules.interfaceVersion < V34) return false
  sm.service_type = rules.serviceType ?? m.service_type
  fillAddresses(sm, m, rules)
  sm.esm_class = part.esm_class
  sm.protocol_id = m.protocol_id
  sm.priority_flag = m.priority_flag
  sm.schedule_delivery_time = ''
  sm.validity_period = m.validityGiven ? validityOf(m, rules.validity, nowMs) : ''
  sm.registered_delivery = part.registered_delivery & (rules.registeredDelivery | RECEIPTS)
  sm.replace_if_present_flag = 0
  sm.data_coding = part.data_coding
  sm.sm_default_msg_id = 0
  if (isLong) {
    sm.short_message = EMPTY
    sm.tlvs = withPayload(part.tlvs, short_message)
  } else {
    sm.short_message = short_message
    sm.tlvs = rules.interfaceVersion >= V34 ? part.tlvs : EMPTY
  }
  return true
}

/** The fields that say from whom and to whom, as the carrier is told. */
export function fillAddresses(sm: Addresses, m: Message, rules: OutboundRules): void {
  const { source, destination } = rules.rewrite
  const from = source.length === 0 ? undefined : rewriteAddress(source, m.source_addr)
  sm.source_addr = from?.address ?? m.source_addr
  if (rules.sourceTon === 'auto') [sm.source_addr_ton, sm.source_addr_npi] = kindOf(sm.source_addr)
  else {
    sm.source_addr_ton = rules.sourceTon ?? m.source_addr_ton
    sm.source_addr_npi = m.source_addr_npi
  }
  if (rules.sourceNpi !== null) sm.source_addr_npi = rules.sourceNpi
  if (from?.ton !== undefined) sm.source_addr_ton = from.ton
  if (from?.npi !== undefined) sm.source_addr_npi = from.npi
  const to = destination.length === 0 ? undefined : rewriteAddress(destination, m.destination_addr)
  sm.destination_addr = to?.address ?? m.destination_addr
  sm.dest_addr_ton = to?.ton ?? rules.destTon ?? m.dest_addr_ton
  sm.dest_addr_npi = to?.npi ?? rules.destNpi ?? m.dest_addr_npi
}

/**
 * Type of number and numbering plan of a source address (SMPP v3.4 §5.2.5, §5.2.6) as carriers mostly want them: a name is
 * alphanumeric, up to six digits are a short code of the network's own, more are a number with its country code.
 */
function kindOf(address: string): readonly [ton: number, npi: number] {
  if (address === '') return UNKNOWN
  if (SHORT_CODE.test(address)) return NETWORK_SPECIFIC
  return NUMBER.test(address) ? INTERNATIONAL : ALPHANUMERIC
}

/** What the customer gave, as the carrier is told it. */
function validityOf(m: Message, how: OutboundRules['validity'], nowMs: number): string {
  if (how === 'never') return ''
  if (how === 'absolute') return formatAbsolute(m.validUntilMs)
  return formatRelative(Math.max(m.validUntilMs - nowMs, LEAST_VALIDITY_MS))
}

function withPayload(tlvs: Buffer, body: Buffer): Buffer {
  const all = Buffer.allocUnsafe(tlvs.length + 4 + body.length)
  writeTlvBytes(all, tlvs.copy(all), tlv.message_payload, body)
  return all
}
