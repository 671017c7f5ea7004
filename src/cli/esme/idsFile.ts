// The ids of a run as lines of a file, `A 123` for a submit_sm_resp's and `R 123` for a receipt's, for whoever compares
// two runs. Octets go from PDU to file without becoming strings.

import { closeSync, openSync, writeSync } from 'node:fs'

export const ACCEPTED = 0x41
export const RECEIPT = 0x52

const BUFFER = 65_536
/** `A `, the longest id a PDU could hold, and the newline. */
const MOST_ID = 1024

export class IdsFile {
  private readonly file: number
  private readonly buffer = Buffer.allocUnsafeSlow(BUFFER)
  private used = 0

  constructor(path: string) {
    this.file = openSync(path, 'w')
  }

  note(letter: typeof ACCEPTED | typeof RECEIPT, ids: Buffer, start: number, end: number): void {
    const last = Math.min(end, start + MOST_ID)
    if (BUFFER - this.used < MOST_ID + 3) this.flush()
    const { buffer } = this
    let at = this.used
    buffer[at++] = letter
    buffer[at++] = 0x20
    for (let from = start; from < last; from++) buffer[at++] = ids[from] as number
    buffer[at++] = 0x0a
    this.used = at
  }

  close(): void {
    this.flush()
    closeSync(this.file)
  }

  private flush(): void {
    writeSync(this.file, this.buffer, 0, this.used)
    this.used = 0
  }
}
