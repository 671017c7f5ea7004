// The text of a delivery receipt (SMPP v3.4 Appendix B), read as tolerantly as carriers write it and written as the
// standard has it, both in well under a microsecond. Which message a receipt belongs to, whether its id is decimal or
// hex, and whether a state is final for us are questions for others. Dates are UTC.
import { readText, writeText } from './octets.js'
import { dateMs, pair } from './time.js'

/** message_state (v3.4 §5.2.28; SCHEDULED and SKIPPED are v5.0's, §4.7.15). */
export const messageState = {
  SCHEDULED: 0,
  ENROUTE: 1,
  DELIVERED: 2,
  EXPIRED: 3,
  DELETED: 4,
  UNDELIVERABLE: 5,
  ACCEPTED: 6,
  UNKNOWN: 7,
  REJECTED: 8,
  SKIPPED: 9,
} as const

export type MessageStateName = keyof typeof messageState

const stateNames = Object.keys(messageState) as MessageStateName[]

/** The state's name in the standard; UNKNOWN for a number that has none. */
export function messageStateName(state: number): MessageStateName {
  return stateNames[state] ?? 'UNKNOWN'
}

/** `stat` of a receipt by message_state, seven characters each. The standard gives SCHEDULED none. */
export const statNames: readonly string[] = [
  'SCHEDLD',
  'ENROUTE',
  'DELIVRD',
  'EXPIRED',
  'DELETED',
  'UNDELIV',
  'ACCEPTD',
  'UNKNOWN',
  'REJECTD',
  'SKIPPED',
]

// What carriers write besides: the names spelled out, Kannel's two spellings of buffered, and words of their own.
const states = new Map<string, number>([
  ...Object.entries(messageState),
  ...statNames.map((stat, state): [string, number] => [stat, state]),
  ['BUFFRED', messageState.ENROUTE],
  ['BUFFERD', messageState.ENROUTE],
  ['BUFFERED', messageState.ENROUTE],
  ['QUEUED', messageState.ENROUTE],
  ['PENDING', messageState.ENROUTE],
  ['SENT', messageState.ENROUTE],
  ['ACKED', messageState.ACCEPTED],
  ['ACCEPT', messageState.ACCEPTED],
  ['SUBMITD', messageState.ACCEPTED],
  ['DELIVERD', messageState.DELIVERED],
  ['EXPIRD', messageState.EXPIRED],
  ['CANCELLED', messageState.DELETED],
  ['CANCELED', messageState.DELETED],
  ['UNDELIVERED', messageState.UNDELIVERABLE],
  ['UNDELIVRD', messageState.UNDELIVERABLE],
  ['UNDELIVD', messageState.UNDELIVERABLE],
  ['FAILED', messageState.UNDELIVERABLE],
  ['REJECT', messageState.REJECTED],
  ['BLOCKED', messageState.REJECTED],
  ['DND_REJECTED', messageState.REJECTED],
])

/** A receipt's text. Strings are '' and numbers -1 for fields that are missing or not numeric. */
export interface Receipt {
  id: string
  /** As written. */
  stat: string
  /** message_state that `stat` stands for; 7 (UNKNOWN) for a word nobody knows. */
  state: number
  /** As written: decimal, hex, one to four characters. */
  err: string
  /** As written; `receiptDate` reads it. */
  submitDate: string
  doneDate: string
  sub: number
  dlvrd: number
  /** Where the message's own text starts in the body, in whatever data_coding it has; -1 without `text:`. */
  textOffset: number
}

const NONE = 0
const ID = 1
const SUB = 2
const DLVRD = 3
const SUBMIT_DATE = 4
const DONE_DATE = 5
const STAT = 6
const ERR = 7
const TEXT = 8

const keyNames: readonly Buffer[] = ['', 'id', 'sub', 'dlvrd', 'submit date', 'done date', 'stat', 'err', 'text'].map(
  name => Buffer.from(name),
)

/**
 * Reads short_message or message_payload of a receipt. Keys may come in any order and case, be missing, or follow
 * the value before them without a blank; values end at a blank or a control character; of a key that comes twice the
 * first counts. Undefined when there is no `stat:` with a value, or nothing besides it. Never throws.
 */
export function parseReceipt(body: Buffer): Receipt | undefined {
  const receipt: Receipt = {
    id: '',
    stat: '',
    state: messageState.UNKNOWN,
    err: '',
    submitDate: '',
    doneDate: '',
    sub: -1,
    dlvrd: -1,
    textOffset: -1,
  }
  let seen = 0
  let key = NONE
  let valueAt = 0
  for (let at = 0; at < body.length; at++) {
    if (body[at] !== 0x3a) continue
    const next = keyBefore(body, at, valueAt, key)
    if (next === NONE || (seen & (1 << next)) !== 0) continue
    if (key !== NONE) take(receipt, key, body, valueAt, at - (keyNames[next] as Buffer).length)
    seen |= 1 << next
    key = next
    valueAt = at + 1
    if (next === TEXT) {
      receipt.textOffset = valueAt
      // The message's own words may look like keys. Only a receipt that has not told its state yet is read on.
      if ((seen & (1 << STAT)) !== 0) break
    }
  }
  if (key !== NONE) take(receipt, key, body, valueAt, body.length)
  return receipt.stat === '' || seen === 1 << STAT ? undefined : receipt
}

/** Which key ends before the colon at `colon`; `valueAt` and `inside` say where the value being read began, and whose. */
function keyBefore(body: Buffer, colon: number, valueAt: number, inside: number): number {
  if (colon < 2) return NONE
  let key = NONE
  // The last letter of the key tells which it may be, with one other letter where two keys end alike.
  switch ((body[colon - 1] as number) | 0x20) {
    case 0x64: // d
      key = ((body[colon - 2] as number) | 0x20) === 0x69 ? ID : DLVRD
      break
    case 0x62: // b
      key = SUB
      break
    case 0x65: // e
      key = ((body[colon - 6] ?? 0) | 0x20) === 0x65 ? DONE_DATE : SUBMIT_DATE
      break
    case 0x74: // t
      key = ((body[colon - 2] as number) | 0x20) === 0x61 ? STAT : TEXT
      break
    case 0x72: // r
      key = ERR
      break
    default:
      return NONE
  }
  const name = keyNames[key] as Buffer
  const start = colon - name.length
  if (start < 0 || !isKey(body, start, name)) return NONE
  if (start === 0 || !isWord(body[start - 1] as number)) return key
  // Glued to what stands before it (`dlvrd:001stat:DELIVRD`): a key only if that is the value of a key.
  if (inside === NONE) return NONE
  for (let at = valueAt; at < start; at++) if ((body[at] as number) <= 0x20) return NONE
  return key
}

function isWord(octet: number): boolean {
  const lower = octet | 0x20
  return (lower >= 0x61 && lower <= 0x7a) || (octet >= 0x30 && octet <= 0x39) || octet === 0x5f
}

/** Whether `name`, lower-case letters and blanks, stands at `start` in either case. */
function isKey(body: Buffer, start: number, name: Buffer): boolean {
  for (let i = 0; i < name.length; i++) {
    const octet = body[start + i] as number
    if (octet !== name[i] && (octet | 0x20) !== name[i]) return false
  }
  return true
}

/** Puts the value in `[start, limit)` into its field. */
function take(receipt: Receipt, key: number, body: Buffer, start: number, limit: number): void {
  while (start < limit && body[start] === 0x20) start++
  let end = start
  while (end < limit && (body[end] as number) > 0x20) end++
  switch (key) {
    case ID:
      receipt.id = readText(body, start, end)
      break
    case SUB:
      receipt.sub = count(body, start, end)
      break
    case DLVRD:
      receipt.dlvrd = count(body, start, end)
      break
    case SUBMIT_DATE:
      receipt.submitDate = readText(body, start, end)
      break
    case DONE_DATE:
      receipt.doneDate = readText(body, start, end)
      break
    case STAT:
      receipt.stat = readText(body, start, end)
      receipt.state = states.get(receipt.stat) ?? states.get(receipt.stat.toUpperCase()) ?? messageState.UNKNOWN
      break
    case ERR:
      receipt.err = readText(body, start, end)
      break
  }
}

function count(body: Buffer, start: number, end: number): number {
  if (start === end || end - start > 9) return -1
  let value = 0
  for (let at = start; at < end; at++) {
    const digit = (body[at] as number) - 0x30
    if (digit < 0 || digit > 9) return -1
    value = value * 10 + digit
  }
  return value
}

/**
 * The moment (ms, read as UTC) that a receipt's date stands for, or NaN: `YYMMDDhhmm`, `YYMMDDhhmmss`,
 * `YYYYMMDDhhmm` or `YYYYMMDDhhmmss`. Twelve digits can be read in two ways: the one nearer to `nearMs`, the moment
 * the message was submitted, is taken.
 */
export function receiptDate(text: string, nearMs: number): number {
  if (!/^\d+$/.test(text)) return Number.NaN
  switch (text.length) {
    case 10:
      return dateAt(text, 0, 2000)
    case 12: {
      const seconds = dateAt(text, 0, 2000)
      const century = dateAt(text, 2, pair(text, 0) * 100)
      if (Number.isNaN(century)) return seconds
      return Math.abs(century - nearMs) < Math.abs(seconds - nearMs) || Number.isNaN(seconds) ? century : seconds
    }
    case 14:
      return dateAt(text, 2, pair(text, 0) * 100)
    default:
      return Number.NaN
  }
}

function dateAt(text: string, at: number, century: number): number {
  const second = text.length - at > 10 ? pair(text, at + 10) : 0
  const year = century + pair(text, at)
  return dateMs(year, pair(text, at + 2), pair(text, at + 4), pair(text, at + 6), pair(text, at + 8), second)
}

/** What a receipt says. `text` is the message's; 20 characters of it are written. */
export interface ReceiptFields {
  id: string
  sub: number
  dlvrd: number
  submitMs: number
  doneMs: number
  state: number
  err: string
  text: string
}

const AFTER_ID = Buffer.from(' sub:000 dlvrd:000 submit date:0000000000 done date:0000000000 stat:UNKNOWN err:')
const TEXT_KEY = ' text:'
const TEXT_MAX = 20

/**
 * The receipt text in the order of Appendix B, dates `YYMMDDhhmm` in UTC, counts in three digits. It goes out with
 * data_coding 0, so that characters of `text` outside printable ASCII become `?`.
 */
export function formatReceipt(fields: ReceiptFields): Buffer {
  const { id, err, text } = fields
  const textLength = Math.min(text.length, TEXT_MAX)
  const buf = Buffer.allocUnsafe(3 + id.length + AFTER_ID.length + err.length + TEXT_KEY.length + textLength)
  const at = writeText(buf, writeText(buf, 0, 'id:'), id)
  // Copied whole and filled in: pieces joined as strings cost more than twice as much.
  buf.set(AFTER_ID, at)
  writeCount(buf, at + 5, fields.sub)
  writeCount(buf, at + 15, fields.dlvrd)
  writeText(buf, at + 31, minuteText(fields.submitMs))
  writeText(buf, at + 52, minuteText(fields.doneMs))
  writeText(buf, at + 68, statNames[fields.state] ?? 'UNKNOWN')
  let off = writeText(buf, writeText(buf, at + AFTER_ID.length, err), TEXT_KEY)
  for (let i = 0; i < textLength; i++) {
    const code = text.charCodeAt(i)
    buf[off++] = code >= 0x20 && code < 0x7f ? code : 0x3f
  }
  return buf
}

/** Where a customer wants it otherwise than Appendix B has it. */
export interface ReceiptStyle {
  /** YYMMDDhhmm, YYMMDDhhmmss or YYYYMMDDhhmmss. */
  dateDigits: 10 | 12 | 14
  /** Words for states, by their names in the standard; those not named have the standard's. */
  states: Readonly<Partial<Record<MessageStateName, string | undefined>>>
}

/** `formatReceipt` in another style. */
export function formatReceiptAs(fields: ReceiptFields, { dateDigits, states }: ReceiptStyle): Buffer {
  const stat = states[messageStateName(fields.state)] ?? statNames[fields.state] ?? 'UNKNOWN'
  const from = dateDigits === 14 ? 0 : 2
  const date = (ms: number): string =>
    new Date(ms)
      .toISOString()
      .replace(/\D/g, '')
      .slice(from, from + dateDigits)
  const [sub, dlvrd] = [fields.sub, fields.dlvrd].map(n => String(Math.min(n, 999)).padStart(3, '0'))
  const text = fields.text.slice(0, TEXT_MAX).replace(/[^\x20-\x7e]/g, '?')
  const head = `id:${fields.id} sub:${sub} dlvrd:${dlvrd} submit date:${date(fields.submitMs)} done date:${date(fields.doneMs)}`
  return Buffer.from(`${head} stat:${stat} err:${fields.err}${TEXT_KEY}${text}`, 'latin1')
}

/** Three digits; 999 stands for more. */
function writeCount(buf: Buffer, at: number, value: number): void {
  const count = Math.min(value, 999)
  buf[at] = 0x30 + count / 100
  buf[at + 1] = 0x30 + ((count / 10) % 10)
  buf[at + 2] = 0x30 + (count % 10)
}

// Receipts of one moment share their minutes: 64 of them are kept, each in the place its number gives.
const minutes: number[] = new Array(64).fill(-1)
const minuteTexts: string[] = new Array(64).fill('')

function minuteText(ms: number): string {
  const minute = Math.floor(ms / 60_000)
  const place = minute & 63
  if (minutes[place] !== minute) {
    minutes[place] = minute
    minuteTexts[place] = new Date(ms).toISOString().replace(/\D/g, '').slice(2, 12)
  }
  return minuteTexts[place] as string
}
