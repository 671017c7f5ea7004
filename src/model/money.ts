// Money: whole micros of the gateway's one currency, and how people write them: decimals of a unit. Text becomes micros
// and micros text digit by digit, never through a fraction in floating point. Knows no prices and no accounts.

export const MICROS = 1_000_000
/** Of a unit. */
const DECIMALS = 6
const WRITTEN = /^([+-]?)([0-9]{1,10})(?:\.([0-9]{1,6}))?$/

/**
 * Micros of an amount as people write it: units with up to six decimals, "12.5", "-0.000001". Undefined where it is none,
 * or beyond what is exact (2^53 micros, some nine thousand million units). A number is read by the digits that it is shown with.
 */
export function microsOf(text: string | number): number | undefined {
  const written = WRITTEN.exec(typeof text === 'number' ? String(text) : text.trim())
  if (written === null) return undefined
  const [, sign, units, decimals = ''] = written
  const micros = Number(units + decimals.padEnd(DECIMALS, '0'))
  if (!Number.isSafeInteger(micros)) return undefined
  return sign === '-' && micros !== 0 ? -micros : micros
}

/** An amount as people write it, without zeros that say nothing: "12.5", "-0.000001". */
export function unitsText(micros: number): string {
  const digits = String(Math.abs(micros)).padStart(DECIMALS + 1, '0')
  const decimals = digits.slice(-DECIMALS).replace(/0+$/, '')
  const units = digits.slice(0, -DECIMALS)
  return `${micros < 0 ? '-' : ''}${units}${decimals === '' ? '' : `.${decimals}`}`
}
