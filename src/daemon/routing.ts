// The directory's routes, networks, prices and blocked prefixes as those who route ask for them, and what is learned of
// carriers. Replaced as the rows change; decides nothing that routing could decide.

import type { Account } from '../accounts/account.js'
import type { CarrierRow } from '../accounts/carrier.js'
import type { Directory, DirectoryPart } from '../accounts/directory.js'
import type { Clock } from '../base/clock.js'
import type { Counters } from '../base/figures.js'
import type { Log } from '../base/log.js'
import { Quiet } from '../base/quiet.js'
import type { Part } from '../carriers/driver.js'
import type { Config } from '../config.js'
import { digitsOf } from '../model/digits.js'
import { dueSinceMs, type Message, type MessageState, state } from '../model/message.js'
import { isCarriersFault, type Outcome } from '../model/outcome.js'
import { readQuiet, readQuietCountry } from '../model/quiet.js'
import { Blocked } from '../routing/blocked.js'
import { Chooser, type Merits } from '../routing/choose.js'
import { type LoopLimits, Loops } from '../routing/loops.js'
import { PriceTable } from '../routing/prices.js'
import { Quality, type Standing } from '../routing/quality.js'
import { offsetAt, QuietHours } from '../routing/quietHours.js'
import { type RouteRule, RouteTable, type Sender } from '../routing/table.js'

/** Log lines a minute about guarded messages, of one account and of all. */
const LINES = 5
const LINES_IN_ALL = 60
const NOBODY: Sender = { systemId: '', group: '' }
const RECEIPTS = 3

export interface RoutingHost {
  readonly directory: Directory
  readonly clock: Clock
  readonly counters: Counters
  readonly log: Log
  readonly limits: LoopLimits
  readonly quietHours: QuietHours
}

/** When phones are asleep, as the settings have it. */
export function quietHoursOf({ hours, countries }: Config['quietHours'], counters: Counters): QuietHours {
  const settings = {
    everywhere: readQuiet(hours) ?? null,
    countries: new Map(countries.map(readQuietCountry).filter(one => one !== undefined)),
  }
  return new QuietHours(settings, counters)
}

export class Routing implements Merits {
  table: RouteTable
  blocked: Blocked
  readonly loops: Loops
  readonly quality = new Quality()
  private prices = new Map<string, PriceTable>()
  /** Of carriers that are gone: what they had may still end, and costs what it did. */
  private readonly lastPrices = new Map<string, PriceTable>()
  private readonly chooser = new Chooser(this)
  private readonly quiet: Quiet
  private readonly host: RoutingHost

  constructor(host: RoutingHost) {
    this.host = host
    this.loops = new Loops(host.limits)
    this.quiet = new Quiet(LINES, LINES_IN_ALL, host.clock.mono)
    this.table = this.tableNow()
    this.blocked = new Blocked(host.directory.blocked())
    this.priceCarriers(host.directory.carriers())
  }

  /** Reads what has changed. */
  follow(part: DirectoryPart): void {
    const { directory } = this.host
    if (part === 'routes') this.table = this.tableNow()
    else if (part === 'blocked') this.blocked = new Blocked(directory.blocked())
    else if (part === 'carriers') this.priceCarriers(directory.carriers())
  }

  private tableNow(): RouteTable {
    const { directory, clock } = this.host
    const table = new RouteTable(directory.routes(), directory.networks())
    // The first look at a zone is slow: not when a message waits.
    for (const { times } of table.rules) for (const { zone } of times) offsetAt(zone, clock.now())
    return table
  }

  private priceCarriers(rows: readonly CarrierRow[]): void {
    for (const [name, table] of this.prices) {
      if (rows.some(row => row.name === name)) continue
      this.quality.forget(name)
      this.lastPrices.set(name, table)
    }
    for (const { name } of rows) this.lastPrices.delete(name)
    this.prices = new Map(
      rows.map(({ name, settings }) => [name, new PriceTable('prices' in settings ? settings.prices : {})]),
    )
  }

  // -- asked by the door

  guarded(code: 'destination_blocked' | 'loop_suspected', { systemId }: Account): void {
    const { counters, log } = this.host
    counters.add(code)
    if (code === 'loop_suspected')
      this.quiet.warn(log, systemId, { account: systemId }, 'the same message comes again and again: it goes round')
  }

  quietUntil(account: Account, digits: string, atMs: number): number {
    return this.host.quietHours.until(digits, atMs, account.quietHours)
  }

  // -- asked by dispatch

  /** The lane of a message whose route is gone; undefined when no route takes it now. */
  rematch(m: Message): number | undefined {
    const { directory, clock } = this.host
    const sender = directory.account(m.account) ?? NOBODY
    return this.table.match(sender, m, digitsOf(m.destination_addr), m.scheduleMs || clock.now())?.id
  }

  choose(rule: RouteRule, m: Message, isUp: (carrier: string) => boolean, hasPlace = isUp): string | undefined {
    return this.chooser.choose(rule, m, isUp, this.host.clock.mono(), hasPlace)
  }

  priceMicros(carrier: string, digits: string): number | undefined {
    return this.prices.get(carrier)?.micros(digits)
  }

  /** Of a part that a carrier took, also one that is gone since; undefined: it names no price. */
  costMicros(carrier: string, digits: string): number | undefined {
    return (this.prices.get(carrier) ?? this.lastPrices.get(carrier))?.micros(digits)
  }

  areaOf(digits: string): string {
    return this.table.areaOf(digits)
  }

  standing(carrier: string, area: string, nowMs = this.host.clock.mono()): Standing {
    return this.quality.standing(carrier, area, nowMs)
  }

  // -- told by carriers and the spool

  /** A carrier answered a part. */
  answered(carrier: string, part: Part, outcome: Outcome): void {
    // One of a message's parts stands for it. Where success is not heard of, failure alone would mislead.
    if (part.index !== 0 || (part.registered_delivery & RECEIPTS) === 0) return
    const { message: m } = part
    if (outcome.kind === 'accepted') {
      if (outcome.ref === '') return
      m.sentMs = this.host.clock.mono()
      this.observe(carrier, m, { kind: 'sent' })
    } else if (m.attempts === 0 && isCarriersFault(outcome)) this.observe(carrier, m, { kind: 'refused' })
  }

  /** A message ended that the carrier had. */
  ended(carrier: string, m: Message, ending: MessageState): void {
    if (ending === state.ACCEPTED || ending === state.DELETED || !wasTaken(m)) return
    const { clock } = this.host
    // In memory since it was sent, or else since a restart or for long on disk: then it went about when it came.
    const afterMs = m.sentMs > 0 ? clock.mono() - m.sentMs : clock.now() - dueSinceMs(m)
    this.observe(carrier, m, { kind: ending === state.DELIVERED ? 'delivered' : 'failed', afterMs })
  }

  /**
   * A code in a message was entered before any receipt said that it was delivered; or, `isUnused`, never, though one did.
   * `afterMs`: so long ago it was sent.
   */
  learned(carrier: string, account: number, destination: string, isUnused: boolean, afterMs: number): void {
    const digits = digitsOf(destination)
    const area = this.table.learns ? this.table.areaOf(digits) : ''
    const event = { kind: isUnused ? ('failed' as const) : ('delivered' as const), afterMs }
    this.quality.observe(carrier, area, event, this.host.clock.mono(), account)
  }

  private observe(carrier: string, m: Message, event: Parameters<Quality['observe']>[2]): void {
    const area = this.table.learns ? this.table.areaOf(digitsOf(m.destination_addr)) : ''
    this.quality.observe(carrier, area, event, this.host.clock.mono(), m.account)
  }
}

/** A carrier took it, or a part of it, and gave it a name: what it ended with is that carrier's. */
const wasTaken = (m: Message): boolean =>
  m.sentMs > 0 || m.ref !== '' || (m.parts?.some(part => part.ref !== '') ?? false)
