// The way of messages that must not leave the building: no rule of the directory leads there, and none of it to a carrier
// that does. Knows its number, and which numbers of phones play what part.

import { type MessageState, state } from '../model/message.js'

/** Lane of all messages to the sandbox; no row of routes gets so far. */
export const SANDBOX_LANE = 0x7fff_fffe
/** Number of its carrier, which runs where the sandbox is on; no row of carriers gets so far. */
export const SANDBOX_CARRIER = 0x7fff_fffe

/** +999 000 0001xx: country code 999 is given to nobody (ITU-T E.164). */
const PREFIX = '9990000001'
const DIGITS = 12

export interface PlayedReceipt {
  readonly state: MessageState
  readonly err: string
  readonly afterMs: number
}

/** What becomes of a message to a number of the sandbox. */
export interface Play {
  readonly what: string
  /** To a try: `throttle` twice and `defer` once, then it is accepted; `invalid`: the door refuses it. */
  readonly answer: 'accept' | 'throttle' | 'defer' | 'refuse' | 'invalid'
  readonly receipts: readonly PlayedReceipt[]
}

const receipt = (s: MessageState, err = '000', afterMs = 0): PlayedReceipt => ({ state: s, err, afterMs })
const delivered: Play = { what: 'delivered at once', answer: 'accept', receipts: [receipt(state.DELIVERED)] }

/** By the last two digits; whatever is not here is delivered at once. */
export const plays: Readonly<Record<string, Play>> = {
  '00': delivered,
  '01': { what: 'delivered after 10 s', answer: 'accept', receipts: [receipt(state.DELIVERED, '000', 10_000)] },
  '02': { what: 'delivered after 60 s', answer: 'accept', receipts: [receipt(state.DELIVERED, '000', 60_000)] },
  '10': { what: 'undelivered', answer: 'accept', receipts: [receipt(state.UNDELIVERABLE, '001')] },
  '11': { what: 'expired', answer: 'accept', receipts: [receipt(state.EXPIRED, '027')] },
  '12': { what: 'rejected by the network', answer: 'accept', receipts: [receipt(state.REJECTED, '011')] },
  '13': { what: 'fate unknown', answer: 'accept', receipts: [receipt(state.UNKNOWN, '255')] },
  '20': { what: 'accepted, and no receipt ever comes', answer: 'accept', receipts: [] },
  '21': {
    what: 'delivered, and the receipt comes twice',
    answer: 'accept',
    receipts: [receipt(state.DELIVERED), receipt(state.DELIVERED, '000', 1_000)],
  },
  '22': {
    what: 'delivered, though undelivered is reported a second later',
    answer: 'accept',
    receipts: [receipt(state.DELIVERED), receipt(state.UNDELIVERABLE, '001', 1_000)],
  },
  '30': { ...delivered, what: 'two tries are too fast (throttled), then delivered', answer: 'throttle' },
  '31': { ...delivered, what: 'one try fails for now, then delivered', answer: 'defer' },
  '40': { what: 'refused at once: no valid number', answer: 'invalid', receipts: [] },
  '41': { what: 'rejected: refused by the carrier', answer: 'refuse', receipts: [] },
}

/** `digits` as for routing. */
export const isMagic = (digits: string): boolean => digits.length === DIGITS && digits.startsWith(PREFIX)

export const playOf = (digits: string): Play => (isMagic(digits) ? plays[digits.slice(-2)] : undefined) ?? delivered

/** All of them as numbers, for people. */
export const magicNumbers = (): { number: string; what: string }[] =>
  Object.keys(plays)
    .sort()
    .map(digits => ({ number: `+${PREFIX}${digits}`, what: (plays[digits] as Play).what }))
