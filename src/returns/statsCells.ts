// Counts of a slice of history by hour, account, carrier, country and class, in flat arrays: some tens of nanoseconds a row
// and no object. Knows what is counted of a row; knows nothing of SQL.

import { idTimeMs } from '../base/ids.js'
import { digitsOf } from '../model/digits.js'
import { messageClasses, state } from '../model/message.js'
import { countries, countryOf, prefixesOf } from '../routing/countries.js'
import { MAIL_LANE } from '../routing/mail.js'
import { SANDBOX_LANE } from '../routing/sandbox.js'
import type { HistoryRow } from '../spool/contract.js'
import { column, TOOK_S, WIDTH } from './statsColumns.js'

export const HOUR_MS = 3_600_000
const CELLS = 1_024
/** Hour since 1970, account, carrier, country (from 1; 0 = none), rank. */
const KEYS = 5
const DIGITS = 10
const ZERO = 48
const PLUS = 43
/** As digitsOf has it. */
const LEAST_DIGITS = 3
const MOST_DIGITS = 15
const NOBODYS = -0x8000

/** State of an end → column; ends that are none of these count as unknown. */
const columnOf = new Uint8Array(16).fill(column.unknown)
columnOf[state.DELIVERED] = column.delivered
columnOf[state.UNDELIVERABLE] = column.undeliverable
columnOf[state.EXPIRED] = column.expired
columnOf[state.REJECTED] = column.rejected
columnOf[state.DELETED] = column.deleted
columnOf[state.ACCEPTED] = column.unreported

export class StatsCells {
  /** How many cells there are. */
  size = 0
  /** By class, what all deliveries took: it stands in no cell. */
  readonly tookMs = new Float64Array(messageClasses.length)
  /** {@link KEYS} numbers a cell. */
  private keys = new Float64Array(CELLS * KEYS)
  /** {@link WIDTH} numbers a cell. */
  private values = new Float64Array(CELLS * WIDTH)
  /** Cell + 1 by hash; 0 = none. Twice as many places as cells, a power of two. */
  private places = new Int32Array(CELLS * 2)

  clear(): void {
    // What grew in a burst is not kept.
    if (this.places.length > 64 * CELLS) {
      this.keys = new Float64Array(CELLS * KEYS)
      this.values = new Float64Array(CELLS * WIDTH)
      this.places = new Int32Array(CELLS * 2)
    }
    this.keys.fill(0, 0, this.size * KEYS)
    this.values.fill(0, 0, this.size * WIDTH)
    this.places.fill(0)
    this.tookMs.fill(0)
    this.size = 0
  }

  /**
   * What went to the sandbox is nobody's traffic; mails - what we tell by mail, codes, what a postmaster gets - are no messages
   * to phones.
   */
  take(row: HistoryRow): void {
    if (row.route === SANDBOX_LANE || row.route === MAIL_LANE) return
    const isAccepted = row.kind === 'accepted'
    const hour = Math.floor(idTimeMs(row.id) / HOUR_MS)
    // int of PostgreSQL.
    const cell = this.place(
      hour,
      row.account | 0,
      isAccepted ? 0 : row.carrier | 0,
      countryIndex(row.destination),
      row.rank,
    )
    const at = cell * WIDTH
    if (isAccepted) {
      this.add(at + column.accepted, 1)
      this.add(at + column.segments, row.segments)
      this.add(at + column.price, row.priceMicros)
    } else if (row.kind === 'converted') this.add(at + column.converted, 1)
    else {
      this.add(at + (columnOf[row.state & 15] as number), 1)
      this.add(at + column.endedSegments, row.segments)
      this.add(at + column.ended, row.priceMicros + row.backMicros)
      this.add(at + column.back, row.backMicros)
      this.add(at + column.cost, row.costMicros)
      if (row.state === state.DELIVERED) {
        const ms = row.tookMs ?? row.atMs - idTimeMs(row.id)
        this.add(at + column.took + tookBucket(ms), 1)
        if (ms > 0 && row.rank < this.tookMs.length) (this.tookMs[row.rank] as number) += ms
      }
    }
  }

  /** @param hourMs its begin; @param country as in {@link countryNames} */
  addConversions(hourMs: number, account: number, carrier: number, country: string, rank: number, count: number): void {
    const index = Math.max(0, countryNames.indexOf(country))
    this.add(this.place(hourMs / HOUR_MS, account, carrier, index, rank) * WIDTH + column.converted, count)
  }

  /** The cell of a key, made if there is none. */
  private place(hour: number, account: number, carrier: number, country: number, rank: number): number {
    const { keys, places } = this
    const mask = places.length - 1
    let hash = Math.imul(hour | 0, 0x9e3779b1) ^ Math.imul(account, 0x85ebca6b) ^ Math.imul(carrier, 0xc2b2ae35)
    hash ^= Math.imul(country * 4 + rank, 0x27d4eb2f)
    hash ^= hash >>> 15
    for (let i = hash & mask; ; i = (i + 1) & mask) {
      const cell = (places[i] as number) - 1
      if (cell < 0) {
        if (this.size * KEYS === keys.length) {
          this.grow()
          return this.place(hour, account, carrier, country, rank)
        }
        const at = this.size * KEYS
        keys[at] = hour
        keys[at + 1] = account
        keys[at + 2] = carrier
        keys[at + 3] = country
        keys[at + 4] = rank
        places[i] = ++this.size
        return this.size - 1
      }
      const at = cell * KEYS
      if (
        keys[at] === hour &&
        keys[at + 1] === account &&
        keys[at + 2] === carrier &&
        keys[at + 3] === country &&
        keys[at + 4] === rank
      ) {
        return cell
      }
    }
  }

  private grow(): void {
    const { keys, values, size } = this
    this.keys = new Float64Array(keys.length * 2)
    this.values = new Float64Array(values.length * 2)
    this.places = new Int32Array(this.places.length * 2)
    this.size = 0
    for (let cell = 0; cell < size; cell++) {
      const [hour, account, carrier, country, rank] = keys.subarray(cell * KEYS, cell * KEYS + KEYS)
      this.place(hour as number, account as number, carrier as number, country as number, rank as number)
    }
    this.values.set(values)
  }

  private add(at: number, value: number): void {
    ;(this.values[at] as number) += value
  }

  /** Of a cell: hour since 1970, account, carrier, index for {@link countryNames}, rank. */
  key(cell: number, which: 0 | 1 | 2 | 3 | 4): number {
    return this.keys[cell * KEYS + which] as number
  }

  value(cell: number, column: number): number {
    return this.values[cell * WIDTH + column] as number
  }
}

function tookBucket(ms: number): number {
  let i = 0
  // What is no number took longest of all.
  while (i < TOOK_S.length && !(ms <= (TOOK_S[i] as number) * 1_000)) i++
  return i
}

/** By the index of {@link countryIndex}. */
export const countryNames: readonly string[] = ['', ...countries]

/** For each node of a tree of digits ten numbers: below 0 a country, above 0 another node, 0 nobody's. */
const tree = treeOfCountries()

/** Which country an address is in, as {@link countryOf} of its digits, in a fifth of the time: an index; 0 = none. */
export function countryIndex(address: string): number {
  const { length } = address
  let i = 0
  for (;;) {
    if (address.charCodeAt(i) === PLUS) i++
    else if (address.charCodeAt(i) === ZERO && address.charCodeAt(i + 1) === ZERO) i += 2
    else break
  }
  if (length - i < LEAST_DIGITS || length - i > MOST_DIGITS) return 0
  let node = 0
  for (; i < length; i++) {
    const digit = address.charCodeAt(i) - ZERO
    if (digit < 0 || digit > 9) return 0
    // Found, and the rest is looked at all the same: it may be no number.
    if (node < 0) continue
    node = tree[node * DIGITS + digit] as number
    if (node === 0) node = NOBODYS
  }
  if (node > 0) return countryNames.indexOf(countryOf(digitsOf(address)))
  return node === NOBODYS ? 0 : -node
}

function treeOfCountries(): Int16Array {
  const nodes: number[] = new Array(DIGITS).fill(0)
  for (const [index, name] of countries.entries()) {
    for (const prefix of prefixesOf(name)) {
      let node = 0
      for (let i = 0; i < prefix.length; i++) {
        const at = node * DIGITS + prefix.charCodeAt(i) - ZERO
        if (i === prefix.length - 1) nodes[at] = -(index + 1)
        else {
          if (nodes[at] === 0) {
            nodes[at] = nodes.length / DIGITS
            for (let digit = 0; digit < DIGITS; digit++) nodes.push(0)
          }
          node = nodes[at] as number
        }
      }
    }
  }
  return Int16Array.from(nodes)
}
