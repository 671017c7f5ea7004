// What of a mail's text becomes the message: no signature, no quoted mail below it, and no more than may be sent. Pure.

import { countSegmentsOfText } from '../../../protocols/gsm/segment.js'

/** No message has more characters, whatever they are: 20 parts of 153. */
const MOST_CHARACTERS = 20 * 160

/** A line at which somebody else's words, or nobody's, begin. */
const ENDS: readonly RegExp[] = [
  // RFC 3676 §4.3, and those who lose the blank.
  /^-- ?$/,
  /^-{2,}\s*(?:original|forwarded|urspr\S+|weitergeleitete) (?:message|nachricht)\s*-{2,}$/i,
  // Outlook's rule above its quoted header.
  /^_{20,}$/,
  /^(?:On|Am|Le|El|Il) .{5,200} (?:wrote|schrieb .{0,80}|a écrit|escribió|ha scritto) ?:$/,
]

/** No control character but the end of a line: phones show them as they please. */
export function printable(text: string): string {
  return text
    .replace(/\r\n|[\r\u2028\u2029]/g, '\n')
    .replace(/\t/g, ' ')
    .replace(/[^\P{Cc}\n]|\ufeff/gu, '')
}

/** The text up to its signature or the mail that it answers, without blank lines around it and blanks at line ends. */
export function ownWords(text: string): string {
  const lines = text.split('\n').map(line => line.trimEnd())
  let end = lines.length
  for (let i = 0; i < end; i++) {
    const line = lines[i] as string
    // "On ... wrote:" may be broken over two lines.
    const both = /^(?:On|Am|Le|El|Il) /.test(line) && i + 1 < end ? `${line} ${lines[i + 1]}` : line
    if (ENDS.some(one => one.test(line) || one.test(both))) end = i
  }
  // What is quoted at the end is the mail that is answered; above the answer it is what the answer is about.
  while (end > 0 && (lines[end - 1] === '' || (lines[end - 1] as string).startsWith('>'))) end--
  return lines
    .slice(0, end)
    .join('\n')
    .replace(/\n{3,}/g, '\n\n')
    .trim()
}

/** As much of the text as `parts` segments hold, and how many characters were left out. */
export function fitted(text: string, parts: number): { text: string; cut: number } {
  const fits = (length: number): boolean => countSegmentsOfText(text.slice(0, length)) <= parts
  if (text.length <= MOST_CHARACTERS && fits(text.length)) return { text, cut: 0 }
  const length = longest(fits, Math.min(text.length, MOST_CHARACTERS + 1), parts)
  const last = text.charCodeAt(length - 1)
  const kept = text.slice(0, last >= 0xd800 && last < 0xdc00 ? length - 1 : length)
  return { text: kept, cut: charactersIn(text, kept.length) }
}

/** The largest length below `tooLong` that fits: most often as many GSM characters, or units of UCS-2, as parts hold. */
function longest(fits: (length: number) => boolean, tooLong: number, parts: number): number {
  for (const usual of parts === 1 ? [160, 70] : [parts * 153, parts * 67]) {
    if (usual < tooLong && fits(usual) && (usual + 1 >= tooLong || !fits(usual + 1))) return usual
  }
  let low = 0
  let high = tooLong
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if (fits(middle)) low = middle
    else high = middle
  }
  return low
}

function charactersIn(text: string, from: number): number {
  let count = 0
  for (let i = from; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit < 0xdc00 || unit > 0xdfff) count++
  }
  return count
}
