// Codes themselves: which symbols they are made of, how many there must be, how they are shown, and what of that a phone's
// owner may write differently. Knows no session and no secret.

import { randomInt } from 'node:crypto'
import { words } from './words.js'

export const codeFormats = ['digits', 'letters', 'words'] as const
export type CodeFormat = (typeof codeFormats)[number]

/** Symbols of a code, of each format: 20 bits or near. Of fewer digits than six an account must say that it wants them. */
export const LENGTHS: Readonly<
  Record<CodeFormat, { readonly min: number; readonly max: number; readonly usual: number }>
> = {
  digits: { min: 6, max: 10, usual: 6 },
  letters: { min: 4, max: 10, usual: 6 },
  words: { min: 2, max: 4, usual: 2 },
}
/** With `shortCodes`: 13 bits. */
export const FEWEST_DIGITS = 4

const DIGITS = '0123456789'
/** Crockford's base 32: without I, L, O and U. */
const LETTERS = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

/** As it is shown: `042917`, `7K3QX9`, `amber tiger`. Each symbol is drawn by itself, so none is likelier. */
export function newCode(format: CodeFormat, length: number): string {
  if (format === 'words') return Array.from({ length }, () => words[randomInt(words.length)] as string).join(' ')
  const symbols = format === 'digits' ? DIGITS : LETTERS
  let code = ''
  for (let i = 0; i < length; i++) code += symbols[randomInt(symbols.length)]
  return code
}

/**
 * The same for all ways of writing a code: case, blanks, dashes and what nobody sees do not matter, nor whose digits they
 * are, nor O for 0, I and L for 1.
 */
export function plainCode(written: string, format: CodeFormat): string {
  const bare = /^[0-9A-Za-z]*$/.test(written) ? written : bareOf(written)
  if (format === 'digits') return bare
  if (format === 'words') return bare.toLowerCase()
  return bare.toUpperCase().replace(/O/g, '0').replace(/[IL]/g, '1')
}

const bareOf = (written: string): string =>
  written
    .normalize('NFKC')
    .replace(/[\s\p{Pd}\p{Cf}_.]+/gu, '')
    .replace(/[^\P{Nd}0-9]/gu, digitOf)

/** Unicode has them by tens, from 0 on; of some scripts one ten follows the other. */
function digitOf(digit: string): string {
  const point = digit.codePointAt(0) as number
  let zero = point
  while (/\p{Nd}/u.test(String.fromCodePoint(zero - 1))) zero--
  return String((point - zero) % 10)
}

/** Without blanks, for programs that read it out of a message. */
export const joinedCode = (code: string): string => code.replaceAll(' ', '')
