// The one form in which a carrier's message id is compared: carriers write the same id
// in hex here and in decimal there, with and without zeros, in either case, and longer
// than a number holds. Pure text.

/**
 * same: as in submit_sm_resp, so in receipts; hex-dec: hexadecimal in submit_sm_resp,
 * decimal in receipts; dec-hex: the other way round; either: now so, now so, each reading is tried.
 */
export type RefRule = 'same' | 'hex-dec' | 'dec-hex' | 'either'

/** Normal form of the id in a submit_sm_resp. */
export const refOfAnswer = (rule: RefRule, id: string): string => (rule === 'hex-dec' ? hexToDecimal(id) : plain(id))

/** Normal form of the id in a receipt. */
export const refOfReceipt = (rule: RefRule, id: string): string => (rule === 'dec-hex' ? hexToDecimal(id) : plain(id))

/**
 * For `either`: what the id of a receipt may stand for besides itself, as {@link refOfAnswer} would have written it.
 * None for what is no number.
 */
export function otherRefs(id: string): string[] {
  const own = plain(id)
  const readings: string[] = []
  if (/^[0-9]+$/.test(own)) readings.push(BigInt(own).toString(16).toUpperCase())
  if (/^[0-9A-F]+$/.test(own)) readings.push(hexToDecimal(own))
  return readings.filter((one, at) => one !== own && readings.indexOf(one) === at)
}

/** Capitals, no blanks around, no leading zeros. The same string when it is so already. */
function plain(id: string): string {
  const length = id.length
  if (length === 0) return id
  let same = id.charCodeAt(0) !== 48 || length === 1
  for (let i = 0; same && i < length; i++) {
    const code = id.charCodeAt(i)
    if (code <= 32 || (code >= 97 && code <= 122)) same = false
  }
  if (same) return id
  return id
    .trim()
    .toUpperCase()
    .replace(/^0+(?=.)/, '')
}

function hexToDecimal(id: string): string {
  const digits = id.trim()
  if (!/^[0-9a-fA-F]+$/.test(digits)) return plain(id)
  return digits.length <= 13 ? String(Number.parseInt(digits, 16)) : BigInt(`0x${digits}`).toString()
}
