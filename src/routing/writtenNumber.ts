// A phone number as people and files write it: with blanks, brackets and dashes, with + or 00, or in the form of one
// country. Pure.

import { countryOf } from './countries.js'

const SHORTEST = 7
/** E.164. */
const LONGEST = 15

/**
 * The digits, international; undefined when it is none that any country has.
 * @param countryCode of what is written without + or 00; '' takes that for international too
 */
export function writtenNumber(text: string, countryCode = ''): string | undefined {
  const written = text.trim()
  if (!/^\+?[0-9 ().\-/\u00a0\u2010-\u2015]+$/.test(written)) return undefined
  let digits = written.replace(/[^0-9]/g, '')
  if (written[0] !== '+') {
    if (digits.startsWith('00')) digits = digits.slice(2)
    else if (countryCode !== '') digits = countryCode + digits.replace(/^0/, '')
  }
  if (digits.length < SHORTEST || digits.length > LONGEST || countryOf(digits) === '') return undefined
  return digits
}
