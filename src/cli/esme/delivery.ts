// What a load run needs of a deliver_sm: is it a receipt, for which id, and what does it say. The id stays octets.

import { messageState, parseReceipt } from '../../../protocols/smpp/receipt.js'
import { readSm, Sm } from '../../../protocols/smpp/sm.js'
import { findTlv, tlv, tlvBytes, tlvUint } from '../../../protocols/smpp/tlv.js'

/** esm_class bits 5-2 of a delivery receipt, SMPP v3.4 §5.2.12. */
const KIND_MASK = 0x3c
const KIND_RECEIPT = 0x04

export class Delivery {
  isReceipt = false
  /** message_state. */
  state = 0
  /** The id's octets are `[idStart, idEnd)` of `id`: none when it has no id. */
  id: Buffer = Buffer.alloc(65)
  idStart = 0
  idEnd = 0
  private readonly sm = new Sm()
  private readonly scratch = this.id

  get delivered(): boolean {
    return this.state === messageState.DELIVERED
  }

  /** Reads the PDU `[start, end)`; returns 0, or the command_status to answer. */
  read(buf: Buffer, start: number, end: number): number {
    const { sm } = this
    const code = readSm(buf, start, end, sm)
    if (code !== 0) return code
    this.isReceipt = (sm.esm_class & KIND_MASK) === KIND_RECEIPT
    if (!this.isReceipt) return 0
    const { tlvs } = sm
    const payload = findTlv(tlvs, 0, tlvs.length, tlv.message_payload)
    const text = parseReceipt(
      payload >= 0 && sm.short_message.length === 0 ? tlvBytes(tlvs, payload) : sm.short_message,
    )
    const state = findTlv(tlvs, 0, tlvs.length, tlv.message_state)
    this.state = state >= 0 ? tlvUint(tlvs, state) : (text?.state ?? messageState.UNKNOWN)
    if (this.state > messageState.SKIPPED) this.state = messageState.UNKNOWN
    const reference = findTlv(tlvs, 0, tlvs.length, tlv.receipted_message_id)
    this.idStart = 0
    if (reference >= 0) {
      this.id = tlvBytes(tlvs, reference)
      const nul = this.id.indexOf(0)
      this.idEnd = nul < 0 ? this.id.length : nul
    } else {
      this.id = this.scratch
      this.idEnd = this.id.latin1Write(text?.id ?? '')
    }
    return 0
  }
}
