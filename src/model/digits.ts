// The digits of a phone number, however it is written in an address: what routing, consent and the owners of numbers
// compare. Pure; knows no country: a number in its national form stays as it is.

const PLUS = 43
const ZERO = 48
const NINE = 57

/**
 * The digits of an address, without + and 00 before them, however often those stand there; a single 0 stays, it begins a
 * national number. '' when the address is no number: other characters, or not 3 to 15 digits (ITU-T E.164; short
 * codes from 3).
 */
export function digitsOf(address: string): string {
  let start = 0
  for (;;) {
    if (address.charCodeAt(start) === PLUS) start++
    else if (address.charCodeAt(start) === ZERO && address.charCodeAt(start + 1) === ZERO) start += 2
    else break
  }
  const length = address.length - start
  if (length < 3 || length > 15) return ''
  for (let i = start; i < address.length; i++) {
    const code = address.charCodeAt(i)
    if (code < ZERO || code > NINE) return ''
  }
  return start === 0 ? address : address.slice(start)
}
