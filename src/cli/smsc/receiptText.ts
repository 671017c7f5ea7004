// The text of a simulator's receipts: the same but for the id and the minute, so only those are written anew.

import { formatReceipt, messageState } from '../../../protocols/smpp/receipt.js'
import { type IdFormat, writeId } from './ids.js'

const ID_AT = 3

export class ReceiptText {
  private readonly format: IdFormat
  private readonly state: number
  private readonly buf: Buffer = Buffer.allocUnsafeSlow(256)
  private text: Buffer = this.buf
  private tail: Buffer = this.buf
  private second = -1

  /** `state` is a message_state. */
  constructor(format: IdFormat, state: number) {
    this.format = format
    this.state = state
    this.buf.write('id:')
  }

  /** The receipt's octets, valid until the next call. Times are milliseconds since 1970. */
  of(serial: number, submitMs: number, doneMs: number): Buffer {
    const second = Math.floor(doneMs / 1000)
    if (second !== this.second) {
      this.second = second
      this.tail = this.tailOf(submitMs, doneMs)
    }
    const at = writeId(this.buf, ID_AT, this.format, serial)
    this.buf.set(this.tail, at)
    const end = at + this.tail.length
    // A view costs more than the copy: one serves as long as the ids keep their length.
    if (this.text.length !== end) this.text = this.buf.subarray(0, end)
    return this.text
  }

  private tailOf(submitMs: number, doneMs: number): Buffer {
    const delivered = this.state === messageState.DELIVERED
    return formatReceipt({
      id: '',
      sub: 1,
      dlvrd: delivered ? 1 : 0,
      submitMs,
      doneMs,
      state: this.state,
      err: delivered ? '000' : '001',
      text: '',
    }).subarray(ID_AT)
  }
}
