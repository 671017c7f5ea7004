// A carrier's answer to one part, and what its receipts say. Every driver maps its
// own codes onto these; nothing upstream of carriers/ sees a command_status.

import type { MessageState } from './message.js'

export type Outcome =
  /** The carrier took responsibility. `ref` is the name it will use in receipts, in the carrier's normal form; '' when it gave none. */
  | { kind: 'accepted'; ref: string }
  /** The message is fine; we are sending too fast. Slows the link, not the message. */
  | { kind: 'throttled'; code: string }
  /** Not now. Try again later or over another carrier. */
  | { kind: 'deferred'; code: string; reason: string }
  /** Never. Retrying cannot help. */
  | { kind: 'refused'; code: string; reason: string }
  /** Sent, but the answer never came. May be on its way: a blind retry may send twice. */
  | { kind: 'unsure'; code: string }

/** Why a part is unsure whose answer did not come, over a link that is up. */
export const NO_ANSWER = 'no_answer'

/**
 * It speaks against the carrier: what others sent there at that moment would have fared alike. A refusal speaks of the
 * message, and a link that was lost of the link.
 */
export const isCarriersFault = (outcome: Outcome): boolean =>
  outcome.kind === 'deferred' || (outcome.kind === 'unsure' && outcome.code === NO_ANSWER)

/** What a carrier reports about a part it accepted. */
export interface Receipt {
  /** In the carrier's normal form. */
  ref: string
  state: MessageState
  /** Up to 3 characters by the standard, more in the field. */
  err: string
  doneMs: number
  /** network_error_code (SMPP v3.4 §5.3.2.31) as one number, network type << 16 | code; 0: the carrier gave none. */
  network?: number
  /** The carrier's own TLVs (tags 0x1400 to 0x3fff, SMPP v3.4 §5.3.1), whole ones, of 255 octets together at most; none: left out. */
  vendor?: Buffer
  /** Other names that it may mean by its carrier's rules, tried in this order where `ref` names no message. */
  others?: readonly string[] | null
}

/** A message from a phone: a deliver_sm that is no receipt. Octets as received. */
export interface Reply {
  carrier: number
  service_type: string
  source_addr_ton: number
  source_addr_npi: number
  source_addr: string
  dest_addr_ton: number
  dest_addr_npi: number
  destination_addr: string
  esm_class: number
  protocol_id: number
  priority_flag: number
  data_coding: number
  body: Buffer
  tlvs: Buffer
  /** What whoever is told of it must know besides, as JSON; not for binds. */
  extras?: string
}
