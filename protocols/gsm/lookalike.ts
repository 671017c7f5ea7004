// Typographic characters that word processors write where people typed plain ones, and the plain ones of the GSM
// alphabet for them. One curly quote makes a text of 160 characters two messages of UCS-2. Knows no more than that.

import { isGsm } from './alphabet.js'

/** Each character of the key becomes the value. What changes the meaning, or a letter, is not here. */
const PLAIN: readonly (readonly [characters: string, plain: string])[] = [
  ['\u2018\u2019\u201a\u201b\u2032\u2035\u00b4`\u02bb\u02bc\u02b9\u02bd\u2039\u203a\uff07', "'"],
  ['\u201c\u201d\u201e\u201f\u2033\u2036\u00ab\u00bb\u301d\u301e\u301f\uff02', '"'],
  ['\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2043\u02d7\ufe58\ufe63\uff0d', '-'],
  ['\u2026', '...'],
  ['\u2022\u2023\u2219\u00b7\u25cf\u25e6\u25aa\u25ab\u25a0\u25a1\u2027', '*'],
  ['\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000\t', ' '],
  // Widths of nothing: soft hyphen, zero-width blanks and joiners, marks of direction and of byte order.
  ['\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff', ''],
  ['\u2028\u2029\u0085\u000b', '\n'],
  ['\u2044\u2215', '/'],
  ['\u2217', '*'],
  ['\u02c6', '^'],
  ['\u02dc\u223c', '~'],
  ['\u2016', '||'],
  ['\u203c', '!!'],
]

const PLAIN_OF: ReadonlyMap<string, string> = new Map(
  PLAIN.flatMap(([characters, plain]) => Array.from(characters, character => [character, plain] as const)),
)

/**
 * The text in the GSM alphabet, typographic characters as their plain likes and letters with their accents joined
 * (Unicode NFC); undefined when it is in that alphabet as it stands, or cannot be brought into it so.
 */
export function plainText(text: string): string | undefined {
  if (isGsm(text)) return undefined
  let plain = ''
  for (const character of text.normalize('NFC')) plain += PLAIN_OF.get(character) ?? character
  return isGsm(plain) ? plain : undefined
}
