// A phone number as one number, exact: its digits behind a 1, so that leading zeros count. Pure.

/** `digits`: 1 to 15 of them. */
export function phoneKey(digits: string): number {
  let key = 1
  for (let i = 0; i < digits.length; i++) key = key * 10 + digits.charCodeAt(i) - 48
  return key
}

export const digitsOfKey = (key: number): string => String(key).slice(1)
