// The phone number in a recipient: `+1-555-123-4567@`, `"+1 555 1234567"@`, `00...@`, `sms-...@`, national with the
// account's country code. Pure.

const SHORTEST = 7
/** E.164. */
const LONGEST = 15

/** Digits with the country code; null when it is no number. `local`: unquoted. */
export function numberOf(local: string, countryCode: string): string | null {
  const written = local.replace(/^sms[-.+ ]?(?=[+(0-9])/i, '')
  if (!/^\+?[0-9 ().\-/]+$/.test(written)) return null
  let digits = written.replace(/[^0-9]/g, '')
  if (written[0] !== '+') {
    if (digits.startsWith('00')) digits = digits.slice(2)
    else if (digits[0] === '0') {
      if (countryCode === '') return null
      digits = countryCode + digits.slice(1)
    }
  }
  return digits.length >= SHORTEST && digits.length <= LONGEST && digits[0] !== '0' ? digits : null
}
