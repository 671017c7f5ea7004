// What a line sends next: of what it claims, what is its own, what another line sends, what may not go now, and what has
// to wait because the carrier that it is for is full or down. Little of that stays in memory: it goes back to where it
// stood, or waits on disk. Sends nothing.

import { type ClassRank, type Message, rankOf, state } from '../model/message.js'
import type { RouteTable } from '../routing/table.js'
import type { DispatchHost } from './dispatch.js'
import type { Line } from './line.js'
import { type RetryRules, retryAt } from './retry.js'

/** A claim at a time: what is handed out is in nobody's queue, so not too much of it. */
const CLAIM = 256
/** Claimed for others or for later in one turn: there may be a million of them. */
const PASSED = 256
/** What was handed over of a lower class than what waits in the lanes goes once in so many claims: 5 %. */
const LOWER_EVERY = 20
/** The class that may be told to wait for the end of quiet hours. */
const BULK = rankOf('bulk')
/** What waits for one carrier alone is looked at again after this, by class at most; sooner when that one can take it. */
const PUT_OFF_MS = 1_000
const PUT_OFF_MOST_MS = [5_000, 30_000, 30_000] as const
/** Messages that wait for full carriers and are looked at in vain, and how long a line then leaves their lanes alone. */
const IN_VAIN = 16
const AWAY_MS = 50
/** Carriers may be taken away and made anew at once. */
const SETTLED_MS = 60_000

const NONE: Message[] = []

/** What those who claim know of the others. */
export interface ClaimsHost {
  readonly routes: RouteTable
  readonly lines: ReadonlyMap<number, Line>
  named(carrier: string): Line | undefined
  readonly isUp: (carrier: string) => boolean
  /** When the last carrier was added or removed, monotonic. */
  readonly madeMs: number
  pump(line: Line): void
  /** Once what was asked of the spool is durable. */
  pumpSoon(line: Line): void
  end(m: Message, code: string): void
}

/** Who sends a message: a line; or nobody now, and it waits `later` on disk, or goes `back` to its place. */
type Target = Line | 'later' | 'back'

export class Claims {
  private readonly host: DispatchHost
  private readonly others: ClaimsHost
  /** Messages that were claimed after a kill and may be sent twice: at most this many. */
  resentAfterCrash = 0
  private resendable = 0
  /** Who claims now, and the class of what: that one has a place in any case. */
  private claiming: Line | undefined
  private rank: ClassRank = 0

  constructor(host: DispatchHost, others: ClaimsHost) {
    this.host = host
    this.others = others
    if (host.spool.crashed) this.resendable = Number.POSITIVE_INFINITY
  }

  /** What was handed over stood in a lane before what stands there now, and never goes before a higher class all the same. */
  next(line: Line, room: number): Message[] {
    for (;;) {
      const rank = line.firstHanded
      if (rank === undefined) return this.claim(line, room)
      const { first } = line.claimer
      if (first !== undefined && first < rank && ++line.saved < LOWER_EVERY) {
        const claimed = this.claim(line, room)
        if (claimed.length > 0 || line.firstHanded === undefined) return claimed
      }
      line.saved = 0
      const messages = this.unhand(line, room)
      if (messages.length > 0) return messages
    }
  }

  /** Of what was handed over, what may still go: it has waited since it was claimed. */
  private unhand(line: Line, room: number): Message[] {
    const { firstHanded } = line
    if (firstHanded === undefined) return []
    const messages = line.handed[firstHanded].splice(0, Math.min(room, CLAIM))
    const now = this.host.clock.now()
    let kept = 0
    for (const m of messages) {
      // The next claim of its lane ends it.
      if (m.validUntilMs <= now) this.host.spool.giveBack(m)
      else if (this.mayGo(m)) messages[kept++] = m
    }
    messages.length = kept
    return messages
  }

  /** False: it was ended, or put off until quiet hours are over. */
  private mayGo(m: Message): boolean {
    if (isBegun(m)) return true
    const unwanted = this.host.unwanted(m)
    if (unwanted !== undefined) {
      this.others.end(m, unwanted)
      return false
    }
    const untilMs = m.rank === BULK ? this.host.quietUntil(m) : 0
    if (untilMs > 0) this.host.spool.defer(m, untilMs)
    return untilMs <= 0
  }

  private claim(line: Line, room: number): Message[] {
    let stuck = NONE
    let claimed: Message[] = []
    let handedAny = false
    this.claiming = line
    while (claimed.length === 0 && line.claimer.first !== undefined) {
      if (line.passed >= PASSED) {
        this.others.pumpSoon(line)
        break
      }
      claimed = line.claimer.claim(Math.min(room, CLAIM))
      const count = claimed.length
      if (count === 0) break
      if (this.resendable > 0 && !line.waits) this.countResent(line, count)
      let kept = 0
      for (const m of claimed) {
        if (!this.mayGo(m)) continue
        const target = this.target(line, m)
        if (target === line) claimed[kept++] = m
        else if (target === 'back') {
          if (stuck === NONE) stuck = []
          stuck.push(m)
        } else if (target !== 'later') {
          target.handed[m.rank].push(m)
          handedAny = true
        }
      }
      line.passed += count - kept
      claimed.length = kept
      if (kept === 0 && stuck.length > IN_VAIN) {
        this.goBack(line, stuck, true)
        stuck = NONE
      }
    }
    this.claiming = undefined
    if (stuck.length > 0) this.goBack(line, stuck, claimed.length === 0 || stuck.length > IN_VAIN)
    if (handedAny) {
      for (const other of this.others.lines.values()) {
        if (other !== line && other.firstHanded !== undefined) this.others.pump(other)
      }
    }
    return claimed
  }

  private readonly hasPlace = (carrier: string): boolean => {
    const line = this.others.named(carrier)
    return line !== undefined && (line === this.claiming || line.hasPlace(this.rank))
  }

  private target(line: Line, m: Message): Target {
    const { others } = this
    if (m.carrier !== line.id && isBegun(m)) {
      // Its other parts went over that carrier: the phone joins parts of one reference only.
      return this.only(line, others.lines.get(m.carrier), m)
    }
    if (m.carrierName !== '') return this.only(line, others.named(m.carrierName), m)
    const rule = others.routes.route(m.lane)
    if (line.namedOnly.size > 0 && line.namedOnly.has(m.lane)) {
      this.putOff(m, others.named(rule?.to[0]?.carrier ?? ''))
      return 'later'
    }
    if (rule === undefined || rule.to.length < 2 || rule.by === 'order') return line
    this.rank = m.rank
    const best = others.named(this.host.choose(rule, m, others.isUp, this.hasPlace) ?? '')
    if (best === undefined || best === line) return line
    return best.hasPlace(m.rank) ? best : 'back'
  }

  /** For a message that no other may send. */
  private only(line: Line, one: Line | undefined, m: Message): Target {
    if (one === line) return one
    if (one?.up && one.hasPlace(m.rank)) return one
    if (one === undefined) this.leftAlone(line, m)
    else this.putOff(m, one)
    return 'later'
  }

  /** Its carrier was taken away, or never was: until it is too old to be tried, that one may be made again. */
  private leftAlone(line: Line, m: Message): void {
    const { spool, clock, retry } = this.host
    const isOld = retryAt(m, retry[m.rank] as RetryRules, clock.now(), 0) === null
    if (!isOld || clock.mono() - this.others.madeMs < SETTLED_MS) {
      this.putOff(m, undefined)
      return
    }
    line.counts.add('carrier_gone')
    spool.end(m, { state: state.UNDELIVERABLE, error: 'carrier_gone', doneMs: clock.now() })
  }

  /** It waits on disk: the longer, the longer the carrier is down, or the more wait for it. */
  private putOff(m: Message, one: Line | undefined): void {
    const { clock, spool } = this.host
    const most = PUT_OFF_MOST_MS[m.rank]
    let waitMs: number = most
    if (one !== undefined) {
      const isKnown = one.remember(m.id)
      if (one.downSinceMs === null) waitMs = (1_000 * one.remembered) / one.most
      else if (isKnown) waitMs = (clock.mono() - one.downSinceMs) / 2
    }
    const spread = 0.75 + this.host.random() / 2
    spool.defer(m, clock.now() + Math.min(Math.max(waitMs, PUT_OFF_MS), most) * spread)
  }

  /** What waits for a line alone comes back: as much as it has place for. */
  recall(line: Line): void {
    if (!line.up || line.remembered === 0) return
    const { handed, most } = line
    const place = most - handed[0].length - handed[1].length - handed[2].length
    if (place > 0) for (const id of line.recall(Math.min(place, CLAIM))) this.host.spool.retry(id)
  }

  /** To where they stood, for the carriers that are full to claim them. Who finds little else there looks elsewhere for a moment. */
  private goBack(line: Line, stuck: readonly Message[], leaves: boolean): void {
    for (let i = stuck.length - 1; i >= 0; i--) this.host.spool.giveBack(stuck[i] as Message)
    if (!leaves) return
    if (line.away.size === 0) setTimeout(() => this.comeBack(line), AWAY_MS).unref()
    for (const { lane } of stuck) line.away.add(lane)
    line.claimer.serve(line.lanes.filter(lane => !line.away.has(lane)))
  }

  private comeBack(line: Line): void {
    if (line.away.size === 0) return
    line.away.clear()
    line.claimer.serve(line.lanes)
    this.others.pump(line)
  }

  /** Other lanes from now on. */
  serve(line: Line, lanes: readonly number[]): void {
    line.lanes = lanes
    line.away.clear()
    line.claimer.serve(lanes)
  }

  /** All that was handed to a line but the first `left` of each class, back to where it stood; true when there was any. */
  giveBackHanded(line: Line, left = 0): boolean {
    let any = false
    for (const handed of line.handed) {
      for (const m of handed.splice(left).reverse()) {
        this.host.spool.giveBack(m)
        any = true
      }
    }
    return any
  }

  /** After a kill, whatever a link's window may have held is among the first that it claims. */
  private countResent(line: Line, claimed: number): void {
    if (this.resendable === Number.POSITIVE_INFINITY) {
      this.resendable = 0
      for (const one of this.others.lines.values()) {
        if (one.waits) continue
        for (const link of one.driver.figures().links) this.resendable += link.window
      }
    }
    const n = Math.min(claimed, this.resendable)
    this.resendable -= n
    this.resentAfterCrash += n
    line.counts.add('resent_after_crash', n)
  }
}

/** Parts of it have gone, or may have. */
const isBegun = (m: Message): boolean => m.parts?.some(part => part.answered || part.unsure) ?? false
