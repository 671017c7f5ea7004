// The serial number that a load message carries in its text, `seq=000000042`: by it the far end of a gateway tells what
// arrived, and what arrived twice. Knows how it is written and found; who counts what is esme.ts's and smsc.ts's.

import { writeFileSync } from 'node:fs'

export const MAX_SERIAL = 999_999_999
/** What a text begins with; the digits are written over. */
export const SERIAL_TEXT = 'seq=000000000'
export const SERIAL_DIGITS_AT = 4
export const SERIAL_DIGITS = 9

/** Writes `value` (below 2^31) as `digits` decimal digits from `at` on, an octet every `step`. */
export function writeDigits(buf: Buffer, at: number, digits: number, step: number, value: number): void {
  for (let to = at + (digits - 1) * step; to >= at; to -= step) {
    const tenth = (value / 10) | 0
    buf[to] = 0x30 + value - tenth * 10
    value = tenth
  }
}

/** The serial number in a text, one octet or (UCS-2) two a character; -1 when it has none. */
export function readSerial(text: Buffer, ucs2: boolean): number {
  const step = ucs2 ? 2 : 1
  const last = text.length - 4 * step
  for (let at = step - 1; at < last; at += step) {
    if (
      text[at] === 0x73 && // seq=
      text[at + step] === 0x65 &&
      text[at + 2 * step] === 0x71 &&
      text[at + 3 * step] === 0x3d
    )
      return number(text, at + 4 * step, step)
  }
  return -1
}

function number(text: Buffer, at: number, step: number): number {
  let value = -1
  for (let digits = 0; digits < SERIAL_DIGITS && at < text.length; digits++, at += step) {
    const digit = (text[at] as number) - 0x30
    if (digit < 0 || digit > 9) break
    value = (value < 0 ? 0 : value * 10) + digit
  }
  return value
}

const PAGE_BITS = 16
const PAGE = 1 << PAGE_BITS

/** Which serial numbers have arrived: a byte for each, in pages made when first touched. */
export class Arrivals {
  unique = 0
  doubled = 0
  /** Texts without a serial number. */
  unnumbered = 0
  private readonly pages: (Uint8Array | undefined)[] = []
  private highest = -1

  /** `serial` as `readSerial` gives it. */
  note(serial: number): void {
    if (serial < 0) {
      this.unnumbered++
      return
    }
    const number = serial >>> PAGE_BITS
    let page = this.pages[number]
    if (page === undefined) {
      page = new Uint8Array(PAGE)
      while (this.pages.length < number) this.pages.push(undefined)
      this.pages[number] = page
    }
    const at = serial & (PAGE - 1)
    if (page[at] !== 0) {
      this.doubled++
      return
    }
    page[at] = 1
    this.unique++
    if (serial > this.highest) this.highest = serial
  }

  has(serial: number): boolean {
    return this.pages[serial >>> PAGE_BITS]?.[serial & (PAGE - 1)] === 1
  }

  /** One byte a serial number from 0 on: 1 for what arrived. */
  write(file: string): void {
    const bytes = Buffer.alloc(this.highest + 1)
    for (const [number, page] of this.pages.entries()) {
      const room = bytes.length - number * PAGE
      if (page !== undefined) bytes.set(room < PAGE ? page.subarray(0, room) : page, number * PAGE)
    }
    writeFileSync(file, bytes)
  }
}
