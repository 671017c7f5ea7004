// Cutting a message into the parts a handset takes, and counting them. It knows how much a part holds in each coding
// and where it must not be cut; it knows neither PDU fields nor who asks. A body that already carries a user data
// header was cut by its sender and does not belong here.

import { ESC, gsmLength, septetsOf } from './alphabet.js'
import type { Coding } from './coding.js'
import { encodeShifted, type Shifts, shiftElements, shiftsFor } from './shift.js'
import { concatUdhOctets, writeConcatUdh } from './udh.js'

/** `udh8`, `udh16`: a header in each part. `sar`: the sar_* TLVs. `payload`: uncut, the message centre cuts it. */
export type How = 'udh8' | 'udh16' | 'sar' | 'payload'

export interface Sar {
  readonly ref: number
  readonly total: number
  readonly seq: number
}

export interface Segment {
  /** What goes into short_message (message_payload where `payload` is set), the header included. */
  readonly octets: Buffer
  readonly udhi: boolean
  readonly sar?: Sar | undefined
  readonly payload?: true | undefined
}

const USER_DATA_OCTETS = 140
const MOST_PARTS = 255
const UDH8 = concatUdhOctets(8)
const UDH16 = concatUdhOctets(16)
const NO_ELEMENTS = Buffer.alloc(0)

/**
 * Cuts `body`, encoded octets without a header: unpacked septets for `gsm`, UTF-16 BE for `ucs2`, else as they are. A
 * body that fits one message gives one segment, the body itself, whatever `how` says. Parts of `sar` and `payload` are
 * views of the body.
 *
 * @param ref reference of the message; its low 8 (udh8) or 16 bits are used. The message centre turns sar_* into a
 *   header, so a `sar` reference above 255 makes parts as short as udh16's.
 * @param maxOctets octets of user data on the radio, header included: 140 (160 septets) unless the link takes less.
 * @param elements information elements for the header of every part, a single one's too (`shiftElements`). They go with
 *   `udh8` and `udh16`, and with a body that fits one message; nobody joins them with sar_*.
 * @returns undefined when it would take more than 255 parts, for `payload` too, or `maxOctets` holds no character.
 */
export function segment(
  body: Buffer,
  coding: Coding,
  how: How,
  ref: number,
  maxOctets = USER_DATA_OCTETS,
  elements: Buffer = NO_ELEMENTS,
): Segment[] | undefined {
  const alone = elements.length === 0 ? 0 : 1 + elements.length
  if (partEnd(body, 0, capacity(coding, maxOctets - alone), coding) === body.length) {
    return [alone === 0 ? single(body, false) : { ...single(withElements(body, elements), false), udhi: true }]
  }
  const wideRef = how === 'udh16' || (how === 'sar' && (ref & 0xffff) > 0xff)
  const room = capacity(coding, maxOctets - (wideRef ? UDH16 : UDH8) - elements.length)
  if (room < 4 || (alone > 0 && (how === 'sar' || how === 'payload'))) return undefined
  const total = countParts(body, coding, room)
  if (total > MOST_PARTS) return undefined
  if (how === 'payload') return [single(body, true)]
  const segments: Segment[] = []
  for (let start = 0, seq = 1; seq <= total; seq++) {
    const end = partEnd(body, start, room, coding)
    segments.push(
      how === 'sar'
        ? { octets: body.subarray(start, end), udhi: false, sar: { ref: ref & 0xffff, total, seq }, payload: undefined }
        : {
            octets: withUdh(body, start, end, ref, total, seq, how, elements),
            udhi: true,
            sar: undefined,
            payload: undefined,
          },
    )
    start = end
  }
  return segments
}

/** Standard parts (140 octets, 8-bit reference) of an encoded body: what a message costs, whoever carries it. */
export function countSegments(body: Buffer, coding: Coding): number {
  const whole = partEnd(body, 0, capacity(coding, USER_DATA_OCTETS), coding) === body.length
  return whole ? 1 : countParts(body, coding, capacity(coding, USER_DATA_OCTETS - UDH8))
}

/** Does a body fit one message behind a header of so many octets (0 for none)? */
export function fitsOne(body: Buffer, coding: Coding, headerOctets: number, maxOctets = USER_DATA_OCTETS): boolean {
  return partEnd(body, 0, capacity(coding, maxOctets - headerOctets), coding) === body.length
}

export interface National {
  readonly shifts: Shifts
  /** Unpacked septets. */
  readonly octets: Buffer
  readonly parts: number
}

/**
 * The national tables of `languages` in which the whole text takes fewest parts; undefined when it has characters that
 * none of them holds. `how` and `maxOctets` as for {@link segment}.
 */
export function chooseShifts(
  text: string,
  languages: readonly number[],
  how: 'udh8' | 'udh16',
  maxOctets = USER_DATA_OCTETS,
): National | undefined {
  const roomsOf = (shifts: Shifts): [alone: number, part: number] => {
    const elements = shiftElements(shifts).length
    const alone = maxOctets - (elements === 0 ? 0 : elements + 1)
    return [capacity('gsm', alone), capacity('gsm', maxOctets - (how === 'udh8' ? UDH8 : UDH16) - elements)]
  }
  const candidates = shiftsFor(text, languages).map(({ shifts, septets }) => {
    const [alone, part] = roomsOf(shifts)
    return { shifts, alone, part, atLeast: septets <= alone ? 1 : Math.ceil(septets / part) }
  })
  candidates.sort((a, b) => a.atLeast - b.atLeast)
  let best: National | undefined
  for (const { shifts, alone, part, atLeast } of candidates) {
    // Pairs that do not fit a part's end may cost one more than the septets say, never one less.
    if (best !== undefined && best.parts <= atLeast) break
    const octets = encodeShifted(text, shifts) as Buffer
    const parts = octets.length <= alone ? 1 : countParts(octets, 'gsm', part)
    if (best === undefined || parts < best.parts) best = { shifts, octets, parts }
  }
  return best
}

/** {@link countSegments} for text, in the coding `chooseCoding` gives it. */
export function countSegmentsOfText(text: string): number {
  const septets = gsmLength(text)
  return septets < 0 ? countUcs2Parts(text) : septets <= 160 ? 1 : countGsmParts(text)
}

function countGsmParts(text: string): number {
  const room = capacity('gsm', USER_DATA_OCTETS - UDH8)
  let parts = 1
  let used = 0
  for (let i = 0; i < text.length; i++) {
    const septets = septetsOf(text.charCodeAt(i))
    used += septets
    if (used > room) {
      parts++
      used = septets
    }
  }
  return parts
}

function countUcs2Parts(text: string): number {
  const units = text.length
  if (units * 2 <= USER_DATA_OCTETS) return 1
  const room = capacity('ucs2', USER_DATA_OCTETS - UDH8) / 2
  let parts = 1
  for (let end = room; end < units; end += room) {
    if (isHigh(text.charCodeAt(end - 1) >> 8) && isLow(text.charCodeAt(end) >> 8)) end--
    parts++
  }
  return parts
}

function single(octets: Buffer, payload: boolean): Segment {
  return { octets, udhi: false, sar: undefined, payload: payload ? true : undefined }
}

function withUdh(
  body: Buffer,
  start: number,
  end: number,
  ref: number,
  total: number,
  seq: number,
  how: 'udh8' | 'udh16',
  elements: Buffer,
): Buffer {
  const bits = how === 'udh8' ? 8 : 16
  const octets = Buffer.allocUnsafe(concatUdhOctets(bits) + elements.length + end - start)
  let at = writeConcatUdh(octets, ref, total, seq, bits)
  if (elements.length > 0) {
    at += elements.copy(octets, at)
    octets[0] = at - 1
  }
  body.copy(octets, at, start, end)
  return octets
}

function withElements(body: Buffer, elements: Buffer): Buffer {
  return Buffer.concat([Buffer.from([elements.length]), elements, body])
}

/** What `octets` of user data hold: septets for the 7-bit codings, else octets, an even number for UCS-2. */
function capacity(coding: Coding, octets: number): number {
  switch (coding) {
    case 'gsm':
    case 'ascii':
      return Math.floor((octets * 8) / 7)
    case 'ucs2':
      return octets & ~1
    default:
      return octets
  }
}

function countParts(body: Buffer, coding: Coding, room: number): number {
  let parts = 0
  for (let start = 0; start < body.length; start = partEnd(body, start, room, coding)) parts++
  return parts
}

/** Where the part that begins at `start`, a character's first octet, ends when it may hold `room` (see `capacity`). */
function partEnd(body: Buffer, start: number, room: number, coding: Coding): number {
  if (coding === 'ascii') return asciiPartEnd(body, start, room)
  const end = start + room
  if (end >= body.length) return body.length
  if (coding === 'gsm') return opensEscape(body, start, end - 1) ? end - 1 : end
  if (coding === 'ucs2') return isHigh(body[end - 2] as number) && isLow(body[end] as number) ? end - 2 : end
  return end
}

// An ESC opens a pair unless it is itself the second half of one: of a run of them every other one does. The octet
// before the run, or `start`, ends a character either way.
function opensEscape(body: Buffer, start: number, at: number): boolean {
  let first = at
  while (first >= start && body[first] === ESC) first--
  return ((at - first) & 1) === 1
}

// The message centre writes IA5 in septets: a character of the extension table is one octet here and two on the radio.
// 0x80 is no IA5, but the euro sign of those who write windows-1252 by that name.
function asciiPartEnd(body: Buffer, start: number, room: number): number {
  let used = 0
  for (let at = start; at < body.length; at++) {
    const octet = body[at] as number
    used += octet === 0x80 || septetsOf(octet) === 2 ? 2 : 1
    if (used > room) return at
  }
  return body.length
}

// By the upper octet of a UTF-16 unit.
function isHigh(octet: number): boolean {
  return octet >= 0xd8 && octet <= 0xdb
}

function isLow(octet: number): boolean {
  return octet >= 0xdc && octet <= 0xdf
}
