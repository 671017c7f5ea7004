// From the spool to the carriers: claims what there is room for, sends it, settles what
// comes back, decides when to try again. Knows lanes, carriers and outcomes; knows no
// protocol, and never why a message was accepted.

import { type Codings, standardCodings } from '../../protocols/gsm/coding.js'
import type { Clock } from '../base/clock.js'
import { Counters, Histogram } from '../base/figures.js'
import type { Driver, Part } from '../carriers/driver.js'
import { type ClassRank, type Message, rankOf, state } from '../model/message.js'
import type { Outcome } from '../model/outcome.js'
import { Trail } from '../model/trail.js'
import { serving } from '../routing/choose.js'
import { MAIL_LANE } from '../routing/mail.js'
import type { RouteRule, RouteTable } from '../routing/table.js'
import type { Claimer, Spool } from '../spool/contract.js'
import { ConcatRefs } from './concatRefs.js'
import { type CutSettings, cut } from './cut.js'
import { type RetryRules, retryAt } from './retry.js'

/** A claim at a time: what is handed out is in nobody's queue, so not too much of it. */
const CLAIM = 256
/** Messages of one class that wait for the carrier that was chosen for them. */
const HANDED = 512
/** What was handed over of a lower class than what waits in the lanes goes once in so many claims: 5 %. */
const LOWER_EVERY = 20
/** The class that may be told to wait for the end of quiet hours. */
const BULK = rankOf('bulk')
const NAMED_CARRIER_DOWN_MS = 1_000
/** What no route takes is looked at again this often, and at once when the routes change. */
const REMATCH_MS = 30_000
const LOOKED_MS = 5_000

/** A carrier as dispatch sees it. */
export class Line {
  readonly id: number
  readonly name: string
  readonly driver: Driver
  settings: CutSettings
  paused: boolean
  /** What was sent and not answered is not sent again: each part is marked on disk before it goes. */
  waits = false
  /** Parts whose marks are not durable yet: they use up room, and go when they are. */
  marking = 0
  /** Those of the commit `markedIn`. */
  marked: Part[] = []
  markedIn = 0
  readonly claimer: Claimer
  /** Claimed by others, weighed to this one; by class. */
  readonly handed: readonly [Message[], Message[], Message[]] = [[], [], []]
  /** Claims since handed ones of a lower class had their share. */
  saved = 0
  /** submit_sm to its answer, ms, by class. */
  readonly latency = [new Histogram(), new Histogram(), new Histogram()] as const
  readonly counts = new Counters()
  sent = 0
  accepted = 0
  /** Given to the last message that was cut anew. */
  concatRef = 0
  /** The reference of the next message that the line cuts, for its parts to share. */
  readonly newRef: (m: Message) => number
  private refs: ConcatRefs
  private readonly random: () => number
  pumping = false
  /** It is pumped after the commit being gathered. */
  isSoon = false

  constructor(
    id: number,
    name: string,
    driver: Driver,
    settings: CutSettings,
    paused: boolean,
    claimer: Claimer,
    random: () => number,
  ) {
    this.id = id
    this.name = name
    this.driver = driver
    this.settings = settings
    this.paused = paused
    this.claimer = claimer
    this.random = random
    this.refs = this.refsFor(settings)
    this.newRef = m => {
      this.concatRef = this.refs.next(m.source_addr, m.destination_addr)
      return this.concatRef
    }
  }

  /** A reference above 255 in sar_* would make parts shorter: the message centre has to write it in 16 bits. */
  private refsFor(settings: CutSettings): ConcatRefs {
    return new ConcatRefs(settings.longMessages === 'udh16', this.random)
  }

  /** Other settings: what is cut from now on is cut by them. */
  use(settings: CutSettings): void {
    if (settings.longMessages !== this.settings.longMessages) this.refs = this.refsFor(settings)
    this.settings = settings
  }

  get up(): boolean {
    return !this.paused && this.driver.up
  }

  /** The highest class of which something was handed over. */
  get firstHanded(): ClassRank | undefined {
    const { handed } = this
    return handed[0].length > 0 ? 0 : handed[1].length > 0 ? 1 : handed[2].length > 0 ? 2 : undefined
  }
}

/** What keeps a part from being the carrier's. */
type Failure = Exclude<Outcome, { kind: 'accepted' }>

/** A message of several parts on its way: what its parts have said so far. */
interface Whole {
  left: number
  worst: Outcome | null
}

export interface DispatchHost {
  readonly spool: Spool
  readonly clock: Clock
  /** [0, 1) */
  random(): number
  /** By class. */
  readonly retry: readonly RetryRules[]
  weightOf(account: number): number
  /** The lane of a message whose route is gone; undefined when no route takes it now. */
  rematch(message: Message): number | undefined
  /** Of a route's carriers that are up, and have room, the one for the message; undefined when there is none. */
  choose(rule: RouteRule, message: Message, isUp: (carrier: string) => boolean): string | undefined
  /** When the quiet hours end that keep a bulk message from its destination now, ms; 0: it may go. */
  quietUntil(message: Message): number
  /** What was said about its destination while it waited, as the code that it ends with; undefined: nothing. */
  unwanted(message: Message): string | undefined
  /** What data_coding means to an account that has said so. */
  codingsOf(account: number): Codings
  /** Something of ours threw. */
  fault(error: unknown): void
}

export class Dispatch {
  routes: RouteTable
  readonly lines = new Map<number, Line>()
  /** What carriers answered last. */
  readonly trail = new Trail()
  private readonly byName = new Map<string, Line>()
  private mailCarriers: readonly string[] = []
  private readonly host: DispatchHost
  private readonly wholes = new Map<Message, Whole>()
  /** Lines that name a lane. */
  private readonly byLane = new Map<number, Line[]>()
  private stopping = false
  /** The routes for which everything in lanes without a route was looked at, and when. */
  private rematchedFor: RouteTable | null = null
  private rematchedMs = 0
  /** A slice of what lanes without a route hold is on its way to disk. */
  private isMoving = false
  /** The disk was full when something could have been sent. */
  private isHeldUp = false
  /** Messages that were in flight when the last run was killed and may be sent twice: at most this many. */
  resentAfterCrash = 0
  private resendable = 0

  constructor(host: DispatchHost, routes: RouteTable) {
    this.host = host
    this.routes = routes
    if (host.spool.crashed) this.resendable = Number.POSITIVE_INFINITY
  }

  add(id: number, name: string, driver: Driver, settings: CutSettings, paused: boolean): Line {
    const claimer = this.host.spool.claimer(name, [], account => this.host.weightOf(account))
    const line = new Line(id, name, driver, settings, paused, claimer, () => this.host.random())
    this.lines.set(id, line)
    this.byName.set(name, line)
    this.align()
    return line
  }

  /** Takes no more for the carrier; what is in flight is answered by its driver's stop. */
  remove(line: Line): void {
    line.paused = true
    this.byName.delete(line.name)
    this.align()
    line.claimer.close()
    this.lines.delete(line.id)
  }

  useRoutes(routes: RouteTable): void {
    this.routes = routes
    this.align()
  }

  /** The carriers of mail, in the order in which they are for one another. */
  useMailCarriers(names: readonly string[]): void {
    this.mailCarriers = names
    this.align()
  }

  /** Which lanes does each carrier serve now? Asked when routes change, and when links come up or go down. */
  align(): void {
    const lanes = new Map<Line, number[]>()
    this.byLane.clear()
    for (const rule of this.routes.rules) {
      const lines: Line[] = []
      for (const name of serving(rule, this.isUp)) {
        const line = this.byName.get(name)
        if (!line) continue
        lines.push(line)
        const list = lanes.get(line)
        if (list) list.push(rule.id)
        else lanes.set(line, [rule.id])
      }
      this.byLane.set(rule.id, lines)
    }
    // Mails have no other route than the first of their carriers that is up.
    const mail = this.byName.get(this.mailCarriers.find(this.isUp) ?? '')
    if (mail !== undefined) {
      lanes.set(mail, [...(lanes.get(mail) ?? []), MAIL_LANE])
      this.byLane.set(MAIL_LANE, [mail])
    }
    for (const line of this.lines.values()) {
      line.claimer.serve(lanes.get(line) ?? [])
      if (!line.up) this.giveBackHanded(line)
    }
    for (const line of this.lines.values()) this.pump(line)
  }

  private giveBackHanded(line: Line): void {
    for (const handed of line.handed) for (const m of handed.splice(0)) this.host.spool.giveBack(m)
  }

  /** A lane got something to claim. */
  ready(lane: number): void {
    const lines = this.byLane.get(lane)
    if (lines) for (const line of lines) this.pump(line)
    // Its route went while it was scheduled. What comes soon after a look is what that look has put back.
    else if (this.host.clock.mono() - this.rematchedMs > LOOKED_MS) this.rematchedFor = null
  }

  /** Sends as much as the carrier has room for. */
  pump(line: Line): void {
    if (line.pumping || this.stopping || !line.up) return
    // Each answer is written down: with no disk left, what was not sent needs none.
    if (this.host.spool.exhausted) {
      this.isHeldUp = true
      return
    }
    // A driver that answers within send() would come back here before its message is on its way.
    line.pumping = true
    try {
      for (;;) {
        const room = line.driver.room() - line.marking
        if (room <= 0) break
        const messages = this.next(line, room)
        if (messages.length === 0) break
        for (const m of messages) this.sendOrEnd(line, m)
      }
    } finally {
      line.pumping = false
    }
  }

  /** What was handed over stood in a lane before what stands there now, and never goes before a higher class all the same. */
  private next(line: Line, room: number): Message[] {
    const rank = line.firstHanded
    if (rank === undefined) return this.claim(line, room)
    const { first } = line.claimer
    if (first !== undefined && first < rank && ++line.saved < LOWER_EVERY) return this.claim(line, room)
    line.saved = 0
    return line.handed[rank].splice(0, Math.min(room, CLAIM))
  }

  /** A message that we cannot even send is a fault of ours: it ends, and harms no other. */
  private sendOrEnd(line: Line, m: Message): void {
    try {
      this.send(line, m)
    } catch (error) {
      this.failed(m, error)
    }
  }

  private failed(m: Message, error: unknown): void {
    this.wholes.delete(m)
    this.end(m, 'internal_fault')
    this.host.fault(error)
  }

  private claim(line: Line, room: number): Message[] {
    if (line.claimer.first === undefined) return []
    const claimed = line.claimer.claim(Math.min(room, CLAIM))
    const count = claimed.length
    if (this.resendable > 0 && !line.waits) this.countResent(line, count)
    let handedAny = false
    let deferredAny = false
    let kept = 0
    for (const m of claimed) {
      const unwanted = isBegun(m) ? undefined : this.host.unwanted(m)
      if (unwanted !== undefined) {
        this.end(m, unwanted)
        continue
      }
      const untilMs = m.rank === BULK && !isBegun(m) ? this.host.quietUntil(m) : 0
      if (untilMs > 0) {
        this.host.spool.defer(m, untilMs)
        deferredAny = true
        continue
      }
      const target = this.target(line, m)
      if (target === line) {
        claimed[kept++] = m
        continue
      }
      if (target === undefined) {
        this.host.spool.defer(m, this.host.clock.now() + NAMED_CARRIER_DOWN_MS)
        deferredAny = true
      } else {
        target.handed[m.rank].push(m)
        handedAny = true
      }
    }
    claimed.length = kept
    if (handedAny) {
      for (const other of this.lines.values()) if (other !== line && other.firstHanded !== undefined) this.pump(other)
    }
    if (kept > 0 || count === 0) return claimed
    // All of this claim was for others, or for later: there may be more for us behind it. What is put off goes a claim a
    // commit, for there may be a million of them; what is handed over has an end.
    if (!deferredAny) return this.claim(line, room)
    this.pumpSoon(line)
    return claimed
  }

  private readonly isUp = (name: string): boolean => this.byName.get(name)?.up ?? false

  private hasPlace(name: string, rank: ClassRank): boolean {
    return (this.byName.get(name)?.handed[rank].length ?? HANDED) < HANDED
  }

  private pumpSoon(line: Line): void {
    if (line.isSoon) return
    line.isSoon = true
    this.host.spool.afterSync(() => {
      line.isSoon = false
      this.pump(line)
    })
  }

  /** Who sends `m`, that `line` has claimed. Undefined: the one carrier that may is down. */
  private target(line: Line, m: Message): Line | undefined {
    if (m.carrier !== line.id && isBegun(m)) {
      // Its other parts went over that carrier: the phone joins parts of one reference only.
      const first = this.lines.get(m.carrier)
      return first?.up ? first : undefined
    }
    if (m.carrierName !== '') {
      const named = this.byName.get(m.carrierName)
      return named?.up ? named : undefined
    }
    const rule = this.routes.route(m.lane)
    if (rule === undefined || rule.to.length < 2 || rule.by === 'order') return line
    const best = this.byName.get(this.host.choose(rule, m, this.isUp) ?? '')
    if (best === undefined || best.handed[m.rank].length < HANDED) return best ?? line
    const next = this.host.choose(rule, m, name => this.isUp(name) && this.hasPlace(name, m.rank))
    return this.byName.get(next ?? '') ?? line
  }

  /** After a kill, whatever a link's window may have held is among the first that it claims. */
  private countResent(line: Line, claimed: number): void {
    if (this.resendable === Number.POSITIVE_INFINITY) {
      this.resendable = 0
      for (const one of this.lines.values()) {
        if (one.waits) continue
        for (const link of one.driver.figures().links) this.resendable += link.window
      }
    }
    const n = Math.min(claimed, this.resendable)
    this.resendable -= n
    this.resentAfterCrash += n
    line.counts.add('resent_after_crash', n)
  }

  private send(line: Line, m: Message): void {
    if (!line.up) {
      this.host.spool.giveBack(m)
      return
    }
    // Cut for another carrier and none of it taken there: cut anew, by this one's rules.
    const isCut = m.parts !== null && m.carrier === line.id
    const theirs = m.ownCoding ? this.host.codingsOf(m.account) : standardCodings
    const parts = cut(m, line.settings, theirs, isCut ? sameRef : line.newRef)
    if (typeof parts === 'string') {
      line.counts.add(`cut_${parts}`)
      this.end(m, parts)
      return
    }
    const isCutSo = isCut && m.parts?.length === parts.length
    if (m.unsure && !isCutSo) {
      // What was sent of it would be sent again.
      this.leaveUnsure(line, m)
      return
    }
    if (parts.length === 1 && m.parts === null) {
      this.sendPart(line, parts[0] as Part)
      return
    }
    if (!isCutSo) {
      this.host.spool.cut(m, line.id, parts.length, isCut ? m.concatRef : line.concatRef)
    }
    const states = m.parts
    const open = parts.filter(({ index }) => !states?.[index]?.answered && !states?.[index]?.unsure)
    this.wholes.set(m, { left: open.length, worst: null })
    for (const part of open) this.sendPart(line, part)
  }

  private sendPart(line: Line, part: Part): void {
    if (line.waits) this.markPart(line, part)
    else {
      line.sent++
      line.driver.send(part)
    }
  }

  /** It goes when its mark is durable; those of a turn share one sync. */
  private markPart(line: Line, part: Part): void {
    const { spool } = this.host
    spool.sending(part.message, part.index, line.id)
    line.marking++
    if (line.markedIn !== spool.gathering) {
      const marked: Part[] = []
      line.markedIn = spool.gathering
      line.marked = marked
      spool.afterSync(() => this.sendMarked(line, marked))
    }
    line.marked.push(part)
  }

  private sendMarked(line: Line, parts: readonly Part[]): void {
    line.marking -= parts.length
    for (const part of parts) {
      if (!line.up || this.stopping) {
        this.notAccepted(line, part, unsent)
        continue
      }
      line.sent++
      try {
        line.driver.send(part)
      } catch (error) {
        this.failed(part.message, error)
      }
    }
    this.pump(line)
  }

  /** A driver's answer to a part. */
  answered(line: Line, part: Part, outcome: Outcome): void {
    const { message: m } = part
    const { spool } = this.host
    if (outcome.kind === 'accepted') {
      line.accepted++
      this.trail.accepted(m.id, part.index, line.id, this.host.clock.now())
      const whole = m.parts === null ? undefined : this.wholes.get(m)
      spool.accepted(m, part.index, line.id, outcome.ref, (part.registered_delivery & 3) !== 0)
      if (whole) this.partDone(line, m, whole, null)
      return
    }
    line.counts.add(`${outcome.kind}:${outcome.code}`)
    this.notAccepted(line, part, outcome)
  }

  private notAccepted(line: Line, part: Part, outcome: Failure): void {
    const { message: m } = part
    this.trail.failed(m.id, part.index, line.id, outcome.kind, outcome.code, this.host.clock.now())
    if (m.unsure && (outcome.kind !== 'unsure' || outcome === unsent)) this.host.spool.unsent(m, part.index)
    const whole = m.parts === null ? undefined : this.wholes.get(m)
    if (whole) this.partDone(line, m, whole, outcome)
    else this.settle(line, m, outcome)
  }

  private partDone(line: Line, m: Message, whole: Whole, outcome: Outcome | null): void {
    if (outcome && (whole.worst === null || severity(outcome) > severity(whole.worst))) whole.worst = outcome
    if (--whole.left > 0) return
    this.wholes.delete(m)
    if (whole.worst !== null) this.settle(line, m, whole.worst)
    // Other parts of it went before, and were never answered.
    else if (m.unsure) this.leaveUnsure(line, m)
  }

  private leaveUnsure(line: Line, m: Message): void {
    line.counts.add('unsure_waits')
    this.host.spool.unsure(m)
  }

  /** What becomes of a message that was not accepted. */
  private settle(line: Line, m: Message, outcome: Outcome): void {
    const { spool } = this.host
    switch (outcome.kind) {
      case 'refused':
        this.end(m, outcome.code)
        break
      case 'deferred': {
        m.attempts++
        const dueMs = this.again(line, m, outcome.code)
        if (dueMs !== null) spool.defer(m, dueMs)
        break
      }
      // The link's fault, or nobody's: the message keeps its place. But some carriers mean by it that it will never be.
      case 'throttled':
        if (this.again(line, m, outcome.code) !== null) spool.giveBack(m)
        break
      // At least once is the promise, where the carrier was not said to want it otherwise when it was sent.
      case 'unsure':
        if (m.unsure && !hasMore(m)) this.leaveUnsure(line, m)
        // Each try may reach a person once more: not one after the other.
        else if (m.isMail) this.settle(line, m, { kind: 'deferred', code: outcome.code, reason: outcome.code })
        else spool.giveBack(m)
    }
  }

  /** When to try again; null: it is too old for another try, and has ended. */
  private again(line: Line, m: Message, code: string): number | null {
    const { spool, clock } = this.host
    const dueMs = retryAt(m, this.host.retry[m.rank] as RetryRules, clock.now(), this.host.random())
    if (dueMs !== null) return dueMs
    line.counts.add('gave_up')
    spool.end(m, { state: state.UNDELIVERABLE, error: code, doneMs: clock.now() })
    return null
  }

  private end(m: Message, code: string): void {
    const { spool, clock } = this.host
    spool.end(m, { state: state.REJECTED, error: code, doneMs: clock.now() })
  }

  /** Once a second: lanes of routes that are gone get another, and what a full disk has held up goes on. */
  tick(): void {
    const { spool } = this.host
    if (this.isHeldUp && !spool.exhausted) {
      this.isHeldUp = false
      for (const line of this.lines.values()) this.pump(line)
    }
    const now = this.host.clock.mono()
    if (this.isMoving) return
    if (this.rematchedFor === this.routes && now - this.rematchedMs < REMATCH_MS) return
    let more = false
    for (const { lane } of spool.figures().lanes) {
      if (lane === MAIL_LANE || this.routes.route(lane) !== undefined) continue
      let moved = false
      const again = spool.rematch(lane, m => {
        const to = this.host.rematch(m)
        if (to !== undefined && to !== lane) moved = true
        return to ?? lane
      })
      // A slice of which nothing found a route says enough for now.
      if (again && moved) more = true
    }
    if (more) {
      this.isMoving = true
      // A slice a commit, as with all that goes through many.
      spool.afterSync(() => {
        this.isMoving = false
        this.tick()
      })
      return
    }
    this.rematchedFor = this.routes
    this.rematchedMs = now
  }

  /** Claims nothing more. */
  stop(): void {
    this.stopping = true
    for (const line of this.lines.values()) this.giveBackHanded(line)
  }
}

const sameRef = (m: Message): number => m.concatRef

/** It was marked to be sent, and then the carrier was gone: it never left. */
const unsent: Failure = { kind: 'unsure', code: 'unsent' }

/** Parts of it have gone, or may have. */
const isBegun = (m: Message): boolean => m.parts?.some(part => part.answered || part.unsure) ?? false

/** Parts of it are still to be sent. */
const hasMore = (m: Message): boolean => m.parts?.some(part => !part.answered && !part.unsure) ?? false

/** Of a message's parts, the outcome that decides for the whole. */
function severity(outcome: Outcome): number {
  switch (outcome.kind) {
    case 'refused':
      return 4
    case 'deferred':
      return 3
    case 'unsure':
      return 2
    case 'throttled':
      return 1
    default:
      return 0
  }
}
