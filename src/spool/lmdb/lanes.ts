// Who is served next. A row is one account's waiting messages of one class in one
// lane; a claimer serves the rows of the lanes that name its carrier. Pure memory
// and order: what stands on disk is read through the host it is given.

import { assert } from '../../base/assert.js'
import { idTimeMs } from '../../base/ids.js'
import type { ClassRank, Message } from '../../model/message.js'
import type { Claimer, QueueFigures } from '../contract.js'
import type { Opened } from './blocks.js'

const RANKS = [0, 1, 2] as const
/** Each lower class keeps one message in this many of a carrier's pace while a higher one has messages: 5 %. */
const LOWER_EVERY = 20
/** priority_flag is 0-3 in SMPP v3.4 and 0-4 in v5.0. */
const PRIORITIES = 5
/** Messages that a claim finds unusable before it returns with what it has: ending them takes time too. */
const PATIENCE = 500

/** Messages that a row reads from disk at first; each time twice as many. */
const FIRST_READ = 8

export interface LaneHost {
  /** Reads messages of a queue that follow `queue.read` from disk into its head. False when there are none left. */
  refill(row: Row, queue: Queue): boolean
  /** The message may be handed out now; false when it ended, expired or left in the meantime. */
  usable(message: Message): boolean
  /** A claim over the lane gave up early: it must be announced again. */
  unfinished(lane: number): void
}

/** One priority of a row: what was given back, a head in memory and, when `behind`, more on disk after block `read`. */
export class Queue {
  readonly priority: number
  /** Given back, the next one last: all of them are older than the head. */
  readonly returned: Message[] = []
  head: Message[] = []
  headAt = 0
  behind = false
  read = 0
  /** The block that was read last, while it is read in part only. */
  opened: Opened | null = null
  /** How many to read from disk the next time. */
  want = FIRST_READ
  /** The oldest id that stood on disk only, when `behind` began: nothing there is older. */
  behindId = 0

  constructor(priority: number) {
    this.priority = priority
  }

  get inMemory(): number {
    return this.returned.length + this.head.length - this.headAt
  }

  /** Nothing in it is older than this id; 0 = empty. */
  get oldestId(): number {
    const next = this.returned.at(-1) ?? this.head[this.headAt]
    return next ? next.id : this.behind ? this.behindId : 0
  }

  /** Back to where it stood: by the moment of readiness, whatever the order of giving back. */
  giveBack(m: Message): void {
    const { returned } = this
    let at = returned.length
    while (at > 0 && isBefore(returned[at - 1] as Message, m)) at--
    returned.splice(at, 0, m)
  }

  /** Everything in it has ended. */
  clear(): void {
    this.returned.length = 0
    this.head = []
    this.headAt = 0
    this.behind = false
    this.opened = null
  }
}

const isBefore = (a: Message, b: Message): boolean => a.ready < b.ready || (a.ready === b.ready && a.id < b.id)

export class Row {
  readonly lane: number
  readonly rank: ClassRank
  readonly account: number
  /** By priority; the highest is served first. */
  readonly queues: (Queue | undefined)[] = new Array(PRIORITIES).fill(undefined)
  /** Messages that stand in the row, in memory or on disk, and are not handed out. */
  waiting = 0
  /** Member of its claimers' rings. */
  listed = false

  constructor(lane: number, rank: ClassRank, account: number) {
    this.lane = lane
    this.rank = rank
    this.account = account
  }

  queue(priority: number): Queue {
    const at = priority < PRIORITIES ? priority : PRIORITIES - 1
    let queue = this.queues[at]
    if (!queue) {
      queue = new Queue(at)
      this.queues[at] = queue
    }
    return queue
  }
}

/** An account's turn in a ring. */
interface Turn {
  readonly account: number
  readonly rows: Row[]
  readonly weight: number
  left: number
  /** Index in the ring. */
  place: number
}

/** The accounts of one class that wait for one carrier, served in turn. */
class Ring {
  turns: Turn[] = []
  private readonly byAccount = new Map<number, Turn>()
  at = 0

  add(row: Row, weight: number): void {
    const turn = this.byAccount.get(row.account)
    if (turn) {
      if (!turn.rows.includes(row)) turn.rows.push(row)
      return
    }
    const made: Turn = {
      account: row.account,
      rows: [row],
      weight: Math.max(1, Math.round(weight)),
      left: 0,
      place: this.turns.length,
    }
    made.left = made.weight
    this.byAccount.set(row.account, made)
    this.turns.push(made)
  }

  remove(row: Row): void {
    const turn = this.byAccount.get(row.account)
    if (!turn) return
    const index = turn.rows.indexOf(row)
    if (index >= 0) turn.rows.splice(index, 1)
    if (turn.rows.length > 0) return
    this.byAccount.delete(row.account)
    // The last takes the empty place: with 100,000 accounts a splice would cost more than the message.
    const last = this.turns.pop() as Turn
    if (last === turn) return
    last.place = turn.place
    this.turns[turn.place] = last
  }
}

export class Lanes {
  private readonly host: LaneHost
  private readonly rows = new Map<number, Map<number, Row>>()
  private readonly claimers = new Map<number, Set<LaneClaimer>>()
  /** Messages that all heads hold in memory. */
  inMemory = 0
  /** What {@link take} may still find unusable. */
  patience = PATIENCE

  constructor(host: LaneHost) {
    this.host = host
  }

  row(lane: number, rank: ClassRank, account: number): Row {
    let ofLane = this.rows.get(lane)
    if (!ofLane) {
      ofLane = new Map()
      this.rows.set(lane, ofLane)
    }
    const key = account * 4 + rank
    let row = ofLane.get(key)
    if (!row) {
      row = new Row(lane, rank, account)
      ofLane.set(key, row)
    }
    return row
  }

  ofLane(lane: number): Iterable<Row> {
    return this.rows.get(lane)?.values() ?? []
  }

  /** The rows of an account, as lane and class. */
  of(account: number): [lane: number, rank: ClassRank][] {
    const found: [number, ClassRank][] = []
    for (const [lane, rows] of this.rows) {
      for (const rank of RANKS) if (rows.has(account * 4 + rank)) found.push([lane, rank])
    }
    return found
  }

  /** More messages stand in the row. */
  grew(row: Row, by: number): void {
    row.waiting += by
    if (!row.listed && row.waiting > 0) {
      row.listed = true
      const claimers = this.claimers.get(row.lane)
      if (claimers) for (const claimer of claimers) claimer.list(row)
    }
  }

  /** Messages left the row by another way than a claim. */
  shrank(row: Row, by: number): void {
    row.waiting -= by
    if (row.waiting === 0) this.empty(row)
  }

  /** The row leaves until something new stands in it. */
  empty(row: Row): void {
    assert(row.waiting === 0, 'a lane loses no message')
    if (row.listed) {
      row.listed = false
      const claimers = this.claimers.get(row.lane)
      if (claimers) for (const claimer of claimers) claimer.unlist(row)
    }
    for (const queue of row.queues) {
      if (!queue) continue
      this.inMemory -= queue.inMemory
      queue.clear()
    }
    const ofLane = this.rows.get(row.lane)
    const key = row.account * 4 + row.rank
    if (ofLane?.get(key) !== row) return
    ofLane.delete(key)
    if (ofLane.size === 0) this.rows.delete(row.lane)
  }

  /** Takes what is to stand elsewhere out of the memory of its row: from there it would be handed out again. */
  forget(m: Message): void {
    const row = this.rows.get(m.lane)?.get(m.account * 4 + m.rank)
    const queue = row?.queues[Math.min(m.priority_flag, PRIORITIES - 1)]
    if (!queue) return
    for (const [among, from] of [
      [queue.head, queue.headAt],
      [queue.returned, 0],
    ] as const) {
      for (let at = among.indexOf(m, from); at >= 0; at = among.indexOf(m, at)) {
        among.splice(at, 1)
        this.inMemory--
      }
    }
  }

  unfinished(lane: number): void {
    this.host.unfinished(lane)
  }

  /** How many wait in each lane and class, and since when. */
  figures(): QueueFigures['lanes'] {
    const lanes = new Map<number, QueueFigures['lanes'][number]>()
    for (const ofLane of this.rows.values()) {
      for (const { lane, rank, waiting, queues } of ofLane.values()) {
        let one = lanes.get(lane * 4 + rank)
        if (!one) {
          one = { lane, rank, waiting: 0, oldestMs: 0 }
          lanes.set(lane * 4 + rank, one)
        }
        one.waiting += waiting
        for (const queue of queues) {
          const id = queue?.oldestId ?? 0
          if (id !== 0 && (one.oldestMs === 0 || idTimeMs(id) < one.oldestMs)) one.oldestMs = idTimeMs(id)
        }
      }
    }
    return [...lanes.values()]
  }

  claimer(name: string, lanes: readonly number[], weightOf: (account: number) => number): Claimer {
    const claimer = new LaneClaimer(this, name, weightOf)
    claimer.serve(lanes)
    return claimer
  }

  join(lane: number, claimer: LaneClaimer): void {
    let set = this.claimers.get(lane)
    if (!set) {
      set = new Set()
      this.claimers.set(lane, set)
    }
    set.add(claimer)
    for (const row of this.ofLane(lane)) if (row.listed) claimer.list(row)
  }

  leave(lane: number, claimer: LaneClaimer): void {
    this.claimers.get(lane)?.delete(claimer)
  }

  /**
   * The next message of a row: highest priority first, then the order of readiness.
   * Undefined when it turned out unusable: the next may stand in another row.
   */
  take(row: Row): Message | undefined {
    for (let priority = PRIORITIES - 1; priority >= 0; priority--) {
      const queue = row.queues[priority]
      const m = queue && this.front(row, queue)
      if (!m) continue
      this.drop(queue)
      if (this.host.usable(m)) {
        row.waiting--
        return m
      }
      this.patience--
      return undefined
    }
    this.empty(row)
    return undefined
  }

  /** The first of a queue, read from disk if need be. It stays where it is. */
  private front(row: Row, queue: Queue): Message | undefined {
    for (;;) {
      const { returned } = queue
      let m: Message
      if (returned.length > 0) m = returned[returned.length - 1] as Message
      else {
        if (queue.headAt === queue.head.length) {
          queue.head.length = 0
          queue.headAt = 0
          if (!queue.behind || !this.host.refill(row, queue)) return undefined
          this.inMemory += queue.head.length
        }
        m = queue.head[queue.headAt] as Message
      }
      if (m.ready !== 0) return m
      // It ended while it waited.
      this.drop(queue)
    }
  }

  private drop(queue: Queue): void {
    this.inMemory--
    if (queue.returned.length > 0) {
      queue.returned.pop()
      return
    }
    if (++queue.headAt < 1024) return
    queue.head = queue.head.slice(queue.headAt)
    queue.headAt = 0
  }

  /** Of an account's rows in several lanes: the one whose next message comes first, by priority and readiness. */
  first(rows: readonly Row[]): Row {
    let best = rows[0] as Row
    if (rows.length === 1) return best
    let bestPriority = 0
    let bestMessage: Message | undefined
    for (const row of rows) {
      for (let priority = PRIORITIES - 1; priority >= bestPriority; priority--) {
        const queue = row.queues[priority]
        const m = queue && this.front(row, queue)
        if (!m) continue
        if (!bestMessage || priority > bestPriority || isBefore(m, bestMessage)) {
          best = row
          bestPriority = priority
          bestMessage = m
        }
        break
      }
    }
    return best
  }
}

class LaneClaimer implements Claimer {
  readonly name: string
  private readonly lanes: Lanes
  private readonly weightOf: (account: number) => number
  private readonly rings = [new Ring(), new Ring(), new Ring()] as const
  /** Messages claimed since a lower class had its share. */
  private readonly saved = [0, 0, 0]
  private served: readonly number[] = []

  constructor(lanes: Lanes, name: string, weightOf: (account: number) => number) {
    this.lanes = lanes
    this.name = name
    this.weightOf = weightOf
  }

  get waiting(): boolean {
    return this.first !== undefined
  }

  get first(): ClassRank | undefined {
    const { rings } = this
    return rings[0].turns.length > 0 ? 0 : rings[1].turns.length > 0 ? 1 : rings[2].turns.length > 0 ? 2 : undefined
  }

  serve(lanes: readonly number[]): void {
    const before = this.served
    this.served = [...lanes]
    for (const lane of before) {
      if (lanes.includes(lane)) continue
      this.lanes.leave(lane, this)
      for (const row of this.lanes.ofLane(lane)) this.unlist(row)
    }
    for (const lane of lanes) if (!before.includes(lane)) this.lanes.join(lane, this)
  }

  close(): void {
    this.serve([])
  }

  list(row: Row): void {
    this.rings[row.rank].add(row, this.weightOf(row.account))
  }

  unlist(row: Row): void {
    this.rings[row.rank].remove(row)
  }

  claim(n: number): Message[] {
    const out: Message[] = []
    this.lanes.patience = PATIENCE
    while (out.length < n && this.lanes.patience > 0) {
      const rank = this.nextRank()
      if (rank === undefined) break
      const message = this.take(this.rings[rank])
      if (message) out.push(message)
    }
    // Who got less than it asked for would wait for news of the lane.
    if (out.length < n && this.waiting) for (const lane of this.served) this.lanes.unfinished(lane)
    return out
  }

  /** Highest class first, unless a lower one has saved up a whole message. */
  private nextRank(): ClassRank | undefined {
    let first: ClassRank | undefined
    let due: ClassRank | undefined
    for (const rank of RANKS) {
      if (this.rings[rank].turns.length === 0) this.saved[rank] = 0
      else if (first === undefined) first = rank
      else {
        const saved = (this.saved[rank] as number) + 1
        this.saved[rank] = saved
        if (saved >= LOWER_EVERY && due === undefined) due = rank
      }
    }
    if (due === undefined) return first
    this.saved[due] = (this.saved[due] as number) - LOWER_EVERY
    return due
  }

  /** One message of the account whose turn it is. Undefined when it turned out unusable. */
  private take(ring: Ring): Message | undefined {
    if (ring.at >= ring.turns.length) ring.at = 0
    const turn = ring.turns[ring.at] as Turn
    const row = this.lanes.first(turn.rows)
    const message = this.lanes.take(row)
    if (!message) return undefined
    if (row.waiting === 0) this.lanes.empty(row)
    if (--turn.left <= 0) {
      turn.left = turn.weight
      // The account may have left the ring with its last message; then `at` already points at the next.
      if (ring.turns[ring.at] === turn) ring.at++
    }
    return message
  }
}
