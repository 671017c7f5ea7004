// What a carrier's command_status means for us. Numbers and names: SMPP v3.4 table 5-2, v5.0 table 4-45; the right
// column is our reading, not the standard's. A carrier's settings may know better.

import { status, statusName } from '../../protocols/smpp/status.js'
import type { Outcome } from '../model/outcome.js'

export type Meaning = 'throttled' | 'deferred' | 'refused'

const {
  ESME_RTHROTTLED,
  ESME_RMSGQFUL,
  ESME_RSYSERR,
  ESME_RINVBNDSTS,
  ESME_RALYBND,
  ESME_RBINDFAIL,
  ESME_RSUBMITFAIL,
  ESME_RX_T_APPN,
  ESME_RUNKNOWNERR,
  ESME_RSERTYPUNAVAIL,
} = status

/** Some carriers say RMSGQFUL for an account without credit: waiting is right there too, and validity ends it. */
const throttled: readonly number[] = [ESME_RTHROTTLED, ESME_RMSGQFUL]
const deferred: readonly number[] = [
  ESME_RSYSERR,
  ESME_RINVBNDSTS,
  ESME_RALYBND,
  ESME_RBINDFAIL,
  ESME_RSUBMITFAIL,
  ESME_RX_T_APPN,
  ESME_RUNKNOWNERR,
  ESME_RSERTYPUNAVAIL,
  // What the carrier thinks of our bind, not of the message.
  status.ESME_RINVPASWD,
  status.ESME_RINVSYSID,
  status.ESME_RINVSYSTYP,
]

/** Every other code of the standard names a fault of the message or of a field: it will not get better. */
const meanings = new Map<number, Meaning>(Object.values(status).map(code => [code, 'refused']))
for (const code of throttled) meanings.set(code, 'throttled')
for (const code of deferred) meanings.set(code, 'deferred')

const NONE: ReadonlyMap<number, Meaning> = new Map()

/** A carrier's own `statuses`, as settings have them: hexadecimal text to meaning. */
export function ownMeanings(statuses: Readonly<Record<string, Meaning>>): ReadonlyMap<number, Meaning> {
  const all = Object.entries(statuses)
  return all.length === 0 ? NONE : new Map(all.map(([code, meaning]) => [Number(code), meaning]))
}

/**
 * For a status that is not ESME_ROK. Unknown codes (vendors' 0x400 to 0x4FF, reserved ones) defer: a wrong retry costs
 * one submit, a wrong refusal costs a message.
 */
export function outcomeOf(code: number, own: ReadonlyMap<number, Meaning> = NONE): Outcome {
  const name = statusName(code)
  const meaning = own.get(code) ?? meanings.get(code) ?? 'deferred'
  return meaning === 'throttled' ? { kind: meaning, code: name } : { kind: meaning, code: name, reason: name }
}
