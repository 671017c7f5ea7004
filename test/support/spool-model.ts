// The spool as a plain list, and random stories told to both: whatever is committed, claimed, settled, put off, ended,
// restarted and killed, in whatever order, engine and list must agree. Knows the contract only.

import fc from 'fast-check'
import type { Test } from 'tap'
import { ManualClock } from '../../src/base/clock.js'
import { type ClassRank, Message, type MessageState, state } from '../../src/model/message.js'
import type { Claimer, Ending, Report, Spool } from '../../src/spool/contract.js'
import type { OpenSpool, Scope } from './spool-contract.js'

const START_MS = Date.UTC(2026, 0, 5, 9)
const MINUTE_MS = 60_000
const PARK_MS = 10 * MINUTE_MS
const GRACE_MS = 60 * MINUTE_MS
const RUNS = process.env.LONG ? 3_000 : 100
/** Then it ends, be it telling stories or making one that failed shorter. */
const LIMIT_MS = process.env.LONG ? 120_000 : 10_000
/** Texts that a spool with small memory waits for. */
const PIECED = 4
const PIECES_MS = 5 * MINUTE_MS
const LANES = [
  [1, 2],
  [2, 3],
] as const

type Place = 'fresh' | 'waiting' | 'due' | 'claimed' | 'sent' | 'followed' | 'ended'

interface Part {
  ref: string
  answered: boolean
  unsure: boolean
  final: MessageState | 0
}

/** A message as the list sees it. */
interface Entry {
  id: number
  account: number
  rank: ClassRank
  priority: number
  lane: number
  asked: boolean
  /** A receipt from the carrier is awaited. */
  awaited: boolean
  text: string
  validUntilMs: number
  place: Place
  /** Number of the commit that made it ready; those of one commit have no order. */
  ready: number
  dueMs: number
  scheduleMs: number
  attempts: number
  carrier: number
  ref: string
  /** Of a message that was not cut: it is being sent. */
  unsure: boolean
  parts: Part[] | null
  /** Of a part that waits for others: `seq` of two of the text `key`. */
  piece: { key: string; seq: number } | null
  /** The message that has its text, while it is `followed`. */
  of: number
  endedAs: MessageState | -1
}

interface Row {
  kind: 'accepted' | 'ended'
  id: number
  state: MessageState
}

interface Notice {
  key: string
  account: number
  commit: number
  held: boolean
}

/** All that a kill may take back. */
interface World {
  entries: Map<number, Entry>
  rows: Row[]
  notices: Notice[]
  parked: Map<string, { state: MessageState; atMs: number }>
}

const copyOf = (world: World): World => structuredClone(world)
/** Something of it was sent, and may not be sent again. */
const isMarked = ({ unsure, parts }: Entry): boolean => parts?.some(part => part.unsure) ?? unsure
/** That, and there is nothing else of it to be sent. */
const isGone = (entry: Entry): boolean =>
  isMarked(entry) && !entry.parts?.some(({ answered, unsure }) => !answered && !unsure)
const isFinal = (s: MessageState): boolean => s !== state.ENROUTE && s !== state.ACCEPTED && s !== state.SCHEDULED
const refKey = (carrier: number, ref: string): string => `${carrier}:${ref}`

type Op =
  | {
      op: 'commit'
      n: number
      account: number
      rank: ClassRank
      priority: number
      lane: number
      later: number
      brief: boolean
      asked: boolean
    }
  | { op: 'piece'; account: number; ref: number; seq: number; text: string; later: boolean; asked: boolean }
  | { op: 'claim'; who: number; n: number }
  | { op: 'giveBack' | 'cancel' | 'late'; pick: number }
  | { op: 'replace'; pick: number; when: 'as it was' | 'later' | 'now' }
  | { op: 'accept'; pick: number; named: boolean }
  | { op: 'sending' | 'unsent' | 'unsure'; pick: number }
  | { op: 'cut'; pick: number; parts: number }
  | { op: 'defer'; pick: number; ms: number }
  | { op: 'end'; pick: number; state: MessageState }
  | { op: 'receipt'; pick: number; early: boolean; state: MessageState }
  | { op: 'reports'; account: number; n: number }
  | { op: 'reportDone' | 'reportBack'; pick: number }
  | { op: 'rematch'; from: number; to: number }
  | { op: 'move'; pick: number; to: number }
  | { op: 'retry'; pick: number }
  | { op: 'readLog'; n: number; drop: boolean }
  | { op: 'time'; ms: number }
  | { op: 'sync' | 'turn' | 'pause' | 'reopen' | 'kill' }

const pick = fc.nat(1_000)
const anyState = fc.constantFrom<MessageState>(state.DELIVERED, state.UNDELIVERABLE, state.ENROUTE)
const anyOp = (): fc.Arbitrary<Op> =>
  fc.oneof(
    {
      weight: 12,
      arbitrary: fc.record({
        op: fc.constant('commit' as const),
        n: fc.integer({ min: 1, max: 7 }),
        account: fc.integer({ min: 1, max: 3 }),
        rank: fc.constantFrom<ClassRank>(0, 1, 2),
        priority: fc.constantFrom(0, 0, 0, 1, 3),
        lane: fc.integer({ min: 1, max: 3 }),
        later: fc.constantFrom(0, 0, 0, 0, MINUTE_MS, 30 * MINUTE_MS),
        brief: fc.boolean(),
        asked: fc.boolean(),
      }),
    },
    {
      weight: 8,
      arbitrary: fc.record({
        op: fc.constant('piece' as const),
        account: fc.integer({ min: 1, max: 3 }),
        ref: fc.integer({ min: 1, max: 2 }),
        seq: fc.integer({ min: 1, max: 2 }),
        text: fc.constantFrom('a', 'a', 'a', 'b'),
        later: fc.constantFrom(false, false, false, true),
        asked: fc.boolean(),
      }),
    },
    {
      weight: 12,
      arbitrary: fc.record({ op: fc.constant('claim' as const), who: fc.nat(1), n: fc.integer({ min: 1, max: 9 }) }),
    },
    {
      weight: 3,
      arbitrary: fc.record({ op: fc.constant('cut' as const), pick, parts: fc.integer({ min: 2, max: 3 }) }),
    },
    {
      weight: 9,
      arbitrary: fc.record({
        op: fc.constant('accept' as const),
        pick,
        named: fc.constantFrom(true, true, true, false),
      }),
    },
    {
      weight: 9,
      arbitrary: fc.record({
        op: fc.constantFrom('giveBack' as const, 'giveBack' as const, 'cancel' as const, 'late' as const),
        pick,
      }),
    },
    {
      weight: 9,
      arbitrary: fc.record({
        op: fc.constantFrom('sending' as const, 'sending' as const, 'unsent' as const, 'unsure' as const),
        pick,
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        op: fc.constant('replace' as const),
        pick,
        when: fc.constantFrom<'as it was' | 'later' | 'now'>('as it was', 'later', 'now'),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        op: fc.constant('defer' as const),
        pick,
        ms: fc.constantFrom(0, 1, MINUTE_MS, 40 * MINUTE_MS),
      }),
    },
    { weight: 3, arbitrary: fc.record({ op: fc.constant('end' as const), pick, state: anyState }) },
    {
      weight: 9,
      arbitrary: fc.record({ op: fc.constant('receipt' as const), pick, early: fc.boolean(), state: anyState }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        op: fc.constant('reports' as const),
        account: fc.integer({ min: 1, max: 3 }),
        n: fc.integer({ min: 1, max: 9 }),
      }),
    },
    { weight: 6, arbitrary: fc.record({ op: fc.constantFrom('reportDone' as const, 'reportBack' as const), pick }) },
    {
      weight: 1,
      arbitrary: fc.record({
        op: fc.constant('rematch' as const),
        from: fc.integer({ min: 1, max: 3 }),
        to: fc.integer({ min: 1, max: 3 }),
      }),
    },
    {
      weight: 5,
      arbitrary: fc.record({ op: fc.constant('move' as const), pick, to: fc.integer({ min: 1, max: 3 }) }),
    },
    { weight: 4, arbitrary: fc.record({ op: fc.constant('retry' as const), pick }) },
    {
      weight: 2,
      arbitrary: fc.record({
        op: fc.constant('readLog' as const),
        n: fc.integer({ min: 1, max: 20 }),
        drop: fc.boolean(),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        op: fc.constant('time' as const),
        ms: fc.constantFrom(0, 1, MINUTE_MS, 11 * MINUTE_MS, 70 * MINUTE_MS),
      }),
    },
    {
      weight: 14,
      arbitrary: fc.record({
        op: fc.constantFrom<'sync' | 'turn' | 'pause'>('sync', 'sync', 'sync', 'turn', 'turn', 'turn', 'pause'),
      }),
    },
    { weight: 2, arbitrary: fc.record({ op: fc.constantFrom('reopen' as const, 'kill' as const) }) },
  )

export async function spoolProperty(t: Test, open: OpenSpool): Promise<void> {
  let run = 0
  const property = fc.asyncProperty(fc.array(anyOp(), { maxLength: 150, size: 'max' }), async ops => {
    const cleans: (() => unknown)[] = []
    const scope = { fullname: `story ${++run}`, teardown: (clean: () => unknown) => cleans.push(clean) }
    const story = new Story(scope, open)
    try {
      await story.start()
      for (const op of ops) await story.tell(op)
      await story.finish()
    } finally {
      for (const clean of cleans) await clean()
    }
  })
  const { failed, errorInstance, counterexample, seed, counterexamplePath } = await fc.check(property, {
    numRuns: RUNS,
    interruptAfterTimeLimit: LIMIT_MS,
  })
  const told = (counterexample?.[0] ?? []).map(op => JSON.stringify(op)).join('\n')
  if (failed) t.fail(`${errorInstance}\nseed ${seed}, path ${counterexamplePath}:\n${told}`)
  else t.pass(`${run} stories`)
}

function must(truth: boolean, sentence: string): asserts truth {
  if (!truth) throw new Error(sentence)
}

function same(found: unknown, wanted: unknown, what: string): void {
  const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)]
  if (a !== b) throw new Error(`${what}: ${a}, not ${b}`)
}

class Story {
  private readonly scope: Scope
  private readonly open: OpenSpool
  private readonly clock = new ManualClock(START_MS)
  private spool!: Spool
  private claimers: Claimer[] = []
  private world: World = { entries: new Map(), rows: [], notices: [], parked: new Map() }
  /** The world as each commit found it at its end, by number, until it is known to be durable. */
  private snapshots = new Map<number, World>()
  private gathering = 0
  private durable = 0
  /** Commits of earlier lives of the store. */
  private epoch = 0
  /** Objects that dispatch holds, or held: answers may still come for them. */
  private hands = new Map<number, Message>()
  private reports: { report: Report; notice: Notice }[] = []
  private refs = 0
  private position = 0
  private rowsRead = 0
  /** Ends that a verb must bring about at once. */
  private wanted: { ids: Set<number>; state: MessageState } | null = null

  constructor(scope: Scope, open: OpenSpool) {
    this.scope = scope
    this.open = open
  }

  async start(killed = false): Promise<void> {
    this.spool = await this.open(this.scope, { store: 'story', clock: this.clock, small: true, killed })
    this.epoch += 1_000_000
    this.gathering = this.spool.gathering
    this.durable = this.gathering - 1
    this.snapshots.clear()
    this.snapshots.set(this.durable, copyOf(this.world))
    this.claimers = LANES.map((lanes, i) => this.spool.claimer(`${i}`, lanes, account => account))
    this.spool.events = {
      ready() {},
      report() {},
      logged() {},
      ended: (m, ending) => this.ended(m, ending),
      unmatched: (carrier, receipt) => {
        const key = refKey(carrier, receipt.ref)
        const early = this.world.parked.get(key)
        must(early !== undefined && early.atMs + PARK_MS <= this.clock.now(), `${key} was given up too early`)
        this.world.parked.delete(key)
      },
      apart() {},
      reportsDropped() {
        throw new Error('a report was dropped')
      },
      synced() {},
      failed(error) {
        throw error
      },
    }
  }

  /** Everything from here on belongs to this commit. */
  private get commit(): number {
    return this.epoch + this.spool.gathering
  }

  /** To be called before anything changes: a new commit means that the last one is complete as it stands. */
  private mark(): void {
    const { gathering } = this.spool
    if (gathering !== this.gathering) {
      this.snapshots.set(this.gathering, copyOf(this.world))
      this.gathering = gathering
    }
  }

  /** The commit being gathered will make ready what is fresh now. */
  private promise(entries: readonly Entry[]): void {
    const number = this.spool.gathering
    const { epoch } = this
    for (const entry of entries) {
      entry.place = 'fresh'
      entry.ready = this.commit
    }
    this.spool.afterSync(() => {
      if (this.epoch !== epoch) return
      this.durable = Math.max(this.durable, number)
      // A snapshot has its own copies: the world may have been replaced by one.
      for (const { id } of entries) {
        const entry = this.world.entries.get(id)
        if (entry?.place === 'fresh' && entry.ready === this.epoch + number) entry.place = 'waiting'
      }
    })
  }

  private watch(): void {
    this.promise([])
  }

  private inPlace(...places: Place[]): Entry[] {
    return [...this.world.entries.values()].filter(({ place }) => places.includes(place))
  }

  private ended(m: Message, ending: Ending): void {
    const entry = this.world.entries.get(m.id)
    must(entry !== undefined && entry.place !== 'ended', `${m.id} ended twice`)
    const now = this.clock.now()
    if (this.wanted?.ids.delete(m.id)) {
      same(ending.state, this.wanted.state, 'end')
      if (this.wanted.ids.size === 0) this.wanted = null
    } else if (entry.place === 'followed') {
      same(ending.state, this.world.entries.get(entry.of)?.endedAs, 'the end of what has its text')
    } else if (ending.state === state.EXPIRED) {
      must(
        entry.validUntilMs <= now && entry.place !== 'claimed' && entry.place !== 'sent',
        `${m.id} expired as ${entry.place}`,
      )
    } else {
      same(ending.state, state.UNKNOWN, 'an end by itself')
      const graceMs = isMarked(entry) ? 0 : GRACE_MS
      same(ending.error, isMarked(entry) ? 'unsure' : 'no_receipt', 'why')
      must(entry.place === 'sent' && entry.validUntilMs + graceMs <= now, `${m.id} was given up early`)
    }
    entry.place = 'ended'
    entry.endedAs = ending.state
    this.world.rows.push({ kind: 'ended', id: m.id, state: ending.state })
    if (entry.asked) {
      const key = `${m.id} ${ending.state}`
      this.world.notices.push({ key, account: entry.account, commit: this.commit, held: false })
    }
  }

  private ending<T>(entry: Entry, wanted: MessageState, verb: () => T, also: readonly Entry[] = []): T {
    this.wanted = { ids: new Set([entry, ...also].map(({ id }) => id)), state: wanted }
    const result = verb()
    must(this.wanted === null, `${entry.id} did not end as ${wanted}`)
    return result
  }

  async tell(op: Op): Promise<void> {
    this.mark()
    switch (op.op) {
      case 'commit':
        return this.commitSome(op)
      case 'piece':
        return this.piece(op)
      case 'claim':
        return this.claim(this.claimers[op.who] as Claimer, LANES[op.who] as readonly number[], op.n)
      case 'giveBack': {
        const entry = at(this.unsettled(), op.pick)
        if (!entry) return
        this.spool.giveBack(this.hand(entry))
        entry.place = 'waiting'
        return
      }
      case 'cut': {
        const entry = at(
          this.inPlace('claimed').filter(one => !isMarked(one) && !one.parts?.some(part => part.answered)),
          op.pick,
        )
        if (!entry) return
        entry.carrier = 1 + (op.pick % 2)
        entry.parts = Array.from({ length: op.parts }, newPart)
        this.spool.cut(this.hand(entry), entry.carrier, op.parts, 9)
        return
      }
      case 'accept': {
        const entry = at(this.inPlace('claimed'), op.pick)
        if (entry) this.accept(entry, op.named)
        return
      }
      case 'sending':
        return this.sending(op.pick)
      case 'unsent': {
        const entry = at(this.inPlace('claimed').filter(isMarked), op.pick)
        if (!entry) return
        const index = entry.parts?.findIndex(part => part.unsure) ?? 0
        this.spool.unsent(this.hand(entry), index)
        ;(entry.parts?.[index] ?? entry).unsure = false
        this.watch()
        return
      }
      case 'unsure': {
        const entry = at(this.inPlace('claimed').filter(isGone), op.pick)
        if (!entry) return
        this.spool.unsure(this.hand(entry))
        entry.place = 'sent'
        this.watch()
        return
      }
      case 'late': {
        const entry = at(
          this.inPlace('due', 'fresh', 'waiting').filter(one => this.hands.has(one.id) && !one.parts),
          op.pick,
        )
        if (entry) this.accept(entry, true)
        return
      }
      case 'defer': {
        const entry = at(this.unsettled(), op.pick)
        if (!entry) return
        const m = this.hand(entry)
        entry.attempts = ++m.attempts
        entry.place = 'due'
        entry.dueMs = this.clock.now() + op.ms
        this.spool.defer(m, entry.dueMs)
        this.watch()
        return
      }
      case 'end': {
        const entry = at(this.inPlace('claimed'), op.pick)
        if (!entry || op.state === state.ENROUTE) return
        const ending = { state: op.state, error: 'x', doneMs: this.clock.now() }
        this.ending(entry, op.state, () => this.spool.end(this.hand(entry), ending))
        this.watch()
        return
      }
      case 'cancel': {
        const named = at([...this.world.entries.values()], op.pick)
        if (!named) return
        const entry = this.wholeOf(named)
        if (['fresh', 'waiting', 'due'].includes(entry.place)) {
          const { piece } = entry
          const also = piece ? this.pieces(piece.key).filter(one => one !== entry) : []
          same(
            this.ending(entry, state.DELETED, () => this.spool.cancel(named.id), also),
            true,
            'cancelled',
          )
          this.watch()
        } else same(this.spool.cancel(named.id), false, 'cancelled')
        return
      }
      case 'replace': {
        const named = at([...this.world.entries.values()], op.pick)
        if (!named) return
        const entry = this.wholeOf(named)
        const isOnItsWay = isMarked(entry) || entry.parts?.some(part => part.answered)
        const may = ['fresh', 'waiting', 'due'].includes(entry.place) && !isOnItsWay
        const text = `new ${op.pick}`
        const now = this.clock.now()
        let changed: Message | undefined
        const done = this.spool.replace(named.id, m => {
          m.body = Buffer.from(text)
          if (op.when !== 'as it was') m.scheduleMs = op.when === 'later' ? now + MINUTE_MS + op.pick : op.pick % 2
          changed = m
        })
        same(done, may, `replaced while ${entry.place}`)
        if (may) {
          entry.text = text
          entry.parts = null
          const isPiece = entry.piece !== null
          entry.piece = null
          // What was due and goes now is ready with this commit, or due at once.
          if ((op.when !== 'as it was' || isPiece) && changed) {
            const { dueMs } = changed
            if (dueMs > 0) {
              entry.place = 'due'
              entry.dueMs = dueMs
            } else if (entry.place === 'due') this.promise([entry])
          }
          this.watch()
        }
        return
      }
      case 'receipt':
        return this.receipt(op)
      case 'reports':
        return this.claimReports(op.account, op.n)
      case 'reportDone':
      case 'reportBack': {
        const [one] = this.reports.splice(op.pick % Math.max(1, this.reports.length), 1)
        if (!one) return
        one.notice.held = false
        if (op.op === 'reportBack') this.spool.giveBackReport(one.report)
        else {
          this.world.notices = this.world.notices.filter(notice => notice !== one.notice)
          this.spool.reportDone(one.report)
          this.watch()
        }
        return
      }
      case 'rematch':
        return this.rematch(op.from, op.to)
      case 'move':
      case 'retry':
        return this.elsewhere(op)
      case 'readLog':
        return this.readLog(op.n, op.drop)
      case 'time':
        this.clock.advance(op.ms)
        return this.tickAll()
      case 'sync':
        return this.sync()
      case 'turn':
        await new Promise(resolve => setImmediate(resolve))
        return
      case 'pause':
        // A commit under way may end meanwhile; the spool does not hear of it before the next turn.
        for (let i = 0; i < 8; i++) copyOf(this.world)
        return
      case 'reopen':
        await this.sync()
        await this.spool.close()
        await this.again(this.world, false)
        return
      case 'kill':
        return this.kill()
    }
  }

  private hand(entry: Entry): Message {
    return this.hands.get(entry.id) as Message
  }

  private commitSome(op: Op & { op: 'commit' }): void {
    const now = this.clock.now()
    const entries: Entry[] = []
    for (let i = 0; i < op.n; i++) {
      const m = new Message()
      m.account = op.account
      m.rank = op.rank
      m.priority_flag = op.priority
      m.lane = op.lane
      m.body = Buffer.from(`text ${this.world.entries.size}`)
      m.registered_delivery = op.asked ? 1 : 0
      m.validUntilMs = now + (op.brief ? 50 : 600) * MINUTE_MS
      m.replaceable = op.account === 2
      if (op.later > 0) m.scheduleMs = now + op.later
      this.spool.commit(m)
      const entry: Entry = {
        id: m.id,
        account: m.account,
        rank: m.rank,
        priority: m.priority_flag,
        lane: m.lane,
        asked: op.asked,
        awaited: op.asked || m.id % 2 === 0,
        text: m.body.toString(),
        validUntilMs: m.validUntilMs,
        place: op.later > 0 ? 'due' : 'fresh',
        ready: 0,
        dueMs: m.scheduleMs,
        scheduleMs: m.scheduleMs,
        attempts: 0,
        carrier: 0,
        ref: '',
        unsure: false,
        parts: null,
        piece: null,
        of: 0,
        endedAs: -1,
      }
      must(!this.world.entries.has(m.id), `id ${m.id} was given twice`)
      this.world.entries.set(m.id, entry)
      this.world.rows.push({ kind: 'accepted', id: m.id, state: state.ENROUTE })
      entries.push(entry)
    }
    this.promise(op.later > 0 ? [] : entries)
  }

  /** A part of a text of two, the header of which is spelled out as far as it counts. */
  private piece(op: Op & { op: 'piece' }): void {
    const now = this.clock.now()
    const m = new Message()
    const bodyOf = (seq: number): string => `\x05\0\x03${String.fromCharCode(op.ref)}\x02${String.fromCharCode(seq)}`
    m.account = op.account
    m.lane = 1
    m.esm_class = 0x40
    m.body = Buffer.from(bodyOf(op.seq) + op.text)
    m.registered_delivery = op.asked ? 1 : 0
    m.validUntilMs = now + 50 * MINUTE_MS
    m.replaceable = op.account === 2
    m.joined = { waits: false, of: 0, ids: [] }
    if (op.later) m.scheduleMs = now + 7 * MINUTE_MS
    const text = m.body.toString()
    this.spool.commit(m)
    const key = `${op.account} ${op.ref}`
    const entry: Entry = {
      id: m.id,
      account: m.account,
      rank: m.rank,
      priority: 0,
      lane: 1,
      asked: op.asked,
      awaited: op.asked,
      text,
      validUntilMs: m.validUntilMs,
      place: 'due',
      ready: 0,
      dueMs: 0,
      scheduleMs: m.scheduleMs,
      attempts: 0,
      carrier: 0,
      ref: '',
      unsure: false,
      parts: null,
      piece: { key, seq: op.seq },
      of: 0,
      endedAs: -1,
    }
    this.world.entries.set(m.id, entry)
    this.world.rows.push({ kind: 'accepted', id: m.id, state: state.ENROUTE })
    this.watch()
    const before = this.pieces(key).filter(one => one !== entry)
    const same = before.find(one => one.piece?.seq === op.seq)
    if (same?.text === entry.text) {
      this.follow(entry, same)
      return
    }
    if (same) this.goAsTheyAre(before)
    const others = new Set(this.inPlace('due').flatMap(one => (one.piece && one !== entry ? [one.piece.key] : [])))
    if (!others.has(key) && others.size >= PIECED) {
      this.goAsTheyAre([entry])
      return
    }
    if (same || before.length === 0) {
      entry.dueMs = Math.max(now + PIECES_MS, m.scheduleMs)
      return
    }
    const both = [...before, entry].sort((a, b) => (a.piece?.seq ?? 0) - (b.piece?.seq ?? 0))
    const [one, two] = both as [Entry, Entry]
    const whole = one.asked || !two.asked ? one : two
    whole.text = one.text.slice(6) + two.text.slice(6)
    this.follow(whole === one ? two : one, whole)
    this.goAsTheyAre([whole])
  }

  private follow(entry: Entry, other: Entry): void {
    entry.place = 'followed'
    entry.piece = null
    entry.of = other.id
  }

  /** Parts that wait for others of the same text. */
  private pieces(key: string): Entry[] {
    return this.inPlace('due').filter(({ piece }) => piece?.key === key)
  }

  private goAsTheyAre(entries: readonly Entry[]): void {
    const now = this.clock.now()
    for (const entry of entries) {
      entry.piece = null
      entry.dueMs = entry.scheduleMs
    }
    this.promise(entries.filter(({ scheduleMs }) => scheduleMs <= now))
  }

  /** What an id means: the message that has its text. */
  private wholeOf(entry: Entry): Entry {
    let whole = entry
    while (whole.of !== 0 && whole.place === 'followed') whole = this.world.entries.get(whole.of) as Entry
    return whole
  }

  private claim(claimer: Claimer, lanes: readonly number[], n: number): void {
    const claimed = claimer.claim(n)
    const now = this.clock.now()
    const usable = (entry: Entry): boolean =>
      entry.place === 'waiting' && lanes.includes(entry.lane) && entry.validUntilMs > now
    for (const m of claimed) {
      const entry = this.world.entries.get(m.id)
      must(entry !== undefined && usable(entry), `${m.id} was handed out as ${entry?.place}`)
      for (const other of this.world.entries.values()) {
        if (other.account !== entry.account || other.rank !== entry.rank || !usable(other)) continue
        const first =
          other.priority > entry.priority || (other.priority === entry.priority && other.ready < entry.ready)
        must(!first, `${m.id} was handed out before ${other.id}`)
      }
      same(m.body.toString(), entry.text, 'text')
      same(m.attempts, entry.attempts, 'attempts')
      if (entry.parts?.some(part => part.answered || part.unsure)) {
        same(
          m.parts?.map(part => [part.answered, part.unsure, part.ref]),
          entry.parts.map(part => [part.answered, part.unsure, part.ref]),
          'parts',
        )
      }
      same(m.unsure, isMarked(entry), 'unsure')
      entry.place = 'claimed'
      this.hands.set(m.id, m)
    }
    if (claimed.length < n) {
      const left = [...this.world.entries.values()].filter(usable)
      same(
        left.map(({ id }) => id),
        [],
        `left after a claim of ${claimed.length} of ${n}`,
      )
    }
  }

  /** In somebody's hands, and not all of it may be at a carrier. */
  private unsettled(): Entry[] {
    return this.inPlace('claimed').filter(one => !isGone(one))
  }

  /** A cut is not written until a part of it was sent with a mark, answered or put off. */
  private learnCut(entry: Entry): void {
    if (isMarked(entry) || entry.parts?.some(part => part.answered)) return
    const { parts, carrier } = this.spool.find(entry.id) as Message
    entry.parts = parts ? parts.map(newPart) : null
    if (parts) entry.carrier = carrier
  }

  private sending(pick: number): void {
    const entry = at(this.unsettled(), pick)
    if (!entry) return
    this.learnCut(entry)
    const index = entry.parts?.findIndex(part => !part.answered && !part.unsure) ?? 0
    this.spool.sending(this.hand(entry), index, entry.parts ? entry.carrier : 1)
    ;(entry.parts?.[index] ?? entry).unsure = true
    this.watch()
  }

  private accept(entry: Entry, named: boolean): void {
    const m = this.hand(entry)
    const { awaited } = entry
    this.learnCut(entry)
    if (!entry.parts) entry.carrier = 1
    // A carrier counts its references up, so an early receipt can be foretold.
    const ref = named ? `R${this.refs++}` : ''
    const early = awaited && ref !== '' ? this.world.parked.get(refKey(entry.carrier, ref)) : undefined
    const { carrier } = entry
    let index = 0
    let whole = true
    if (entry.parts) {
      index = entry.parts.findIndex(part => !part.answered)
      const part = entry.parts[index] as Part
      part.answered = true
      part.unsure = false
      part.ref = ref
      whole = entry.parts.every(({ answered }) => answered)
    } else {
      entry.ref = ref
      entry.unsure = false
    }
    if (early) this.world.parked.delete(refKey(carrier, ref))
    const wanted = this.afterAccept(entry, whole, ref, early?.state)
    if (wanted !== null) this.ending(entry, wanted, () => this.spool.accepted(m, index, carrier, ref, awaited))
    else {
      this.spool.accepted(m, index, carrier, ref, awaited)
      if (whole) entry.place = 'sent'
    }
    this.watch()
  }

  /** How a message ends with an answer, if it does. */
  private afterAccept(entry: Entry, whole: boolean, ref: string, early: MessageState | undefined): MessageState | null {
    const { parts, awaited } = entry
    const named = parts ? parts.some(part => part.ref !== '') : ref !== ''
    if (whole && !(awaited && named)) return state.ACCEPTED
    if (!parts) return early !== undefined && isFinal(early) ? early : null
    if (early !== undefined && isFinal(early)) (parts.find(part => part.ref === ref) as Part).final = early
    return whole ? wholeOf(parts) : null
  }

  private receipt(op: Op & { op: 'receipt' }): void {
    const refs: { entry: Entry; ref: string }[] = []
    for (const entry of this.world.entries.values()) {
      if (entry.place === 'ended' || !entry.awaited) continue
      if (entry.parts) for (const { ref } of entry.parts) ref !== '' && refs.push({ entry, ref })
      else if (entry.ref !== '') refs.push({ entry, ref: entry.ref })
    }
    const found = op.early ? undefined : at(refs, op.pick)
    const receipt = {
      ref: found?.ref ?? `R${this.refs + (op.pick % 3)}`,
      state: op.state,
      err: '',
      doneMs: this.clock.now(),
    }
    if (!found) {
      const carrier = 1 + (op.pick % 2)
      const key = refKey(carrier, receipt.ref)
      // After a kill nobody could tell which of two was the one on disk.
      if (this.world.parked.has(key)) return
      same(this.spool.findRef(carrier, receipt.ref), undefined, `found by ${key}`)
      same(this.spool.receipt(carrier, receipt), 'parked', key)
      this.world.parked.set(key, { state: op.state, atMs: this.clock.now() })
      this.watch()
      return
    }
    const { entry, ref } = found
    same(this.spool.findRef(entry.carrier, ref)?.id, entry.id, `found by ${ref}`)
    let wanted: MessageState | null = isFinal(op.state) ? op.state : null
    if (entry.parts) {
      const part = entry.parts.find(one => one.ref === ref) as Part
      if (isFinal(op.state) && part.final === 0) part.final = op.state
      wanted = isFinal(op.state) ? wholeOf(entry.parts) : null
    }
    const match =
      wanted === null
        ? this.spool.receipt(entry.carrier, receipt)
        : this.ending(entry, wanted, () => this.spool.receipt(entry.carrier, receipt))
    same(match, 'matched', ref)
    this.watch()
  }

  private claimReports(account: number, n: number): void {
    const waiting = this.world.notices.filter(notice => notice.account === account && !notice.held)
    const visible = waiting.filter(notice => notice.commit <= this.epoch + this.durable).length
    const reports = this.spool.claimReports(account, n)
    must(reports.length >= Math.min(n, visible), `${reports.length} of ${visible} reports for ${n}`)
    for (const [i, report] of reports.entries()) {
      const notice = waiting[i]
      must(notice !== undefined, 'a report too many')
      // What is being gathered is not on any disk.
      must(notice.commit < this.commit, `${notice.key} was told before it was durable`)
      same(`${report.receipt?.id} ${report.receipt?.state}`, notice.key, 'report')
      notice.held = true
      this.reports.push({ report, notice })
    }
  }

  private async rematch(from: number, to: number): Promise<void> {
    await this.sync()
    if (from === to) return
    const moved = this.inPlace('waiting').filter(({ lane }) => lane === from)
    const { commit } = this
    for (let more = true; more; ) {
      this.mark()
      more = this.spool.rematch(from, () => to)
      await this.spool.synced()
    }
    for (const entry of moved) {
      if (entry.place !== 'waiting') continue
      entry.lane = to
      entry.ready = commit
    }
    await this.sync()
  }

  /** Into another lane, or to its carrier at once: what stands in a lane gets a new place at its end. */
  private elsewhere(op: Op & { op: 'move' | 'retry' }): void {
    const named = at([...this.world.entries.values()], op.pick)
    if (!named) return
    const entry = this.wholeOf(named)
    const isDue = entry.place === 'due'
    let done: boolean
    if (op.op === 'move') {
      const may = ['fresh', 'waiting', 'due'].includes(entry.place) && entry.lane !== op.to
      done = this.spool.move(named.id, op.to)
      same(done, may, `moved while ${entry.place}`)
      if (done) entry.lane = op.to
    } else {
      const { scheduleMs = 0 } = this.spool.find(named.id) ?? {}
      done = this.spool.retry(named.id)
      same(done, isDue && entry.piece === null && scheduleMs <= this.clock.now(), `tried again while ${entry.place}`)
    }
    if (!done) return
    const { dueMs } = this.spool.find(named.id) as Message
    if (dueMs > 0) {
      entry.place = 'due'
      entry.dueMs = dueMs
    } else if (!isDue || op.op === 'retry') this.promise([entry])
    this.watch()
  }

  private readLog(n: number, drop: boolean): void {
    const slice = this.spool.readLog(this.position, n)
    if (!slice) return
    must(slice.position > this.position, 'positions grow')
    this.position = slice.position
    same(
      slice.rows.map(({ kind, id, state }) => ({ kind, id, state })),
      this.world.rows.slice(this.rowsRead, this.rowsRead + slice.rows.length),
      'history',
    )
    this.rowsRead += slice.rows.length
    if (drop) this.spool.dropLog(this.position)
  }

  private async tickAll(): Promise<void> {
    const now = this.clock.now()
    const { commit } = this
    for (let round = 0; round < 50; round++) {
      this.mark()
      const more = this.spool.tick()
      this.watch()
      await this.spool.synced()
      if (!more) this.goLate()
      for (const entry of this.inPlace('due')) {
        // Which of them each tick took is not told: they are of one readiness here.
        if (more || entry.dueMs > now) continue
        entry.place = 'waiting'
        entry.ready = commit
      }
      this.mark()
      // What was put off in the commit that was under way is due with the next round.
      if (!more && round > 1) break
    }
    this.check()
  }

  /** Who has waited long enough takes all with it that wait for the same text. */
  private goLate(): void {
    const now = this.clock.now()
    for (const entry of this.inPlace('due')) {
      if (!entry.piece || entry.dueMs > now) continue
      for (const one of this.pieces(entry.piece.key)) {
        one.piece = null
        one.dueMs = one.scheduleMs
      }
    }
  }

  private async sync(): Promise<void> {
    this.watch()
    await this.spool.synced()
    this.mark()
    this.durable = this.spool.gathering - 1
    this.check()
    await this.walk()
  }

  /** What an account has waiting, and what of it may be replaced, is what the list says. */
  private async walk(): Promise<void> {
    for (const account of [1, 2, 3]) {
      const found = new Set<number>()
      for await (const slice of this.spool.waitingOf(account)) for (const { id } of slice) found.add(id)
      const wanted = this.inPlace('waiting', 'due').filter(one => one.account === account)
      same(
        [...found].sort().join(),
        wanted
          .map(({ id }) => id)
          .sort()
          .join(),
        `walked of account ${account}`,
      )
    }
    const all: number[] = []
    for await (const { messages } of this.spool.walk({}, 0)) all.push(...messages.map(({ id }) => id))
    same(all.join(), this.unended().join(), 'walked of all')
    const like = Object.assign(new Message(), { account: 2 })
    const wanted = this.inPlace('waiting', 'due', 'claimed').filter(one => one.account === 2)
    same(
      [...this.spool.present(like)].sort().join(),
      wanted
        .map(({ id }) => id)
        .sort()
        .join(),
      'replaceable',
    )
  }

  private unended(): number[] {
    return [...this.world.entries.values()]
      .filter(({ place }) => place !== 'ended')
      .map(({ id }) => id)
      .sort((a, b) => a - b)
  }

  /** With nothing under way, the figures are those of the list. */
  private check(): void {
    const figures = this.spool.figures()
    const count = (...places: Place[]): number => this.inPlace(...places).length
    same(count('fresh'), 0, 'fresh after a sync')
    same(figures.waiting, count('waiting', 'due', 'claimed'), 'waiting')
    same(figures.claimed, count('claimed'), 'claimed')
    same(figures.due, count('due'), 'due')
    same(figures.sent, count('sent', 'followed'), 'sent')
    same(figures.outbox, this.world.notices.length, 'outbox')
    same(figures.parked, this.world.parked.size, 'parked')
    for (const lane of [1, 2, 3]) {
      for (const rank of [0, 1, 2]) {
        const found = figures.lanes.filter(one => one.lane === lane && one.rank === rank)
        const wanted = this.inPlace('waiting').filter(one => one.lane === lane && one.rank === rank)
        same(
          found.reduce((n, one) => n + one.waiting, 0),
          wanted.length,
          `lane ${lane} class ${rank}`,
        )
      }
    }
  }

  private async kill(): Promise<void> {
    const settled = this.snapshotOf(this.durable)
    // A commit that is under way is on disk whole, or not at all.
    await this.again(this.snapshotOf(this.gathering - 1), true, settled)
  }

  private snapshotOf(commit: number): World {
    let number = commit
    while (!this.snapshots.has(number)) number--
    return this.snapshots.get(number) as World
  }

  private async again(world: World, killed: boolean, or?: World): Promise<void> {
    const known = [...this.world.entries.keys()]
    await this.start(killed)
    this.hands.clear()
    this.reports = []
    const chosen = or && this.difference(world, known) !== '' ? or : world
    same(this.difference(chosen, known), '', `after a ${killed ? 'kill' : 'restart'}`)
    this.world = chosen
    for (const entry of chosen.entries.values()) {
      if (entry.place === 'claimed' && isGone(entry)) entry.place = 'sent'
      if (entry.place === 'claimed' || entry.place === 'fresh') entry.place = 'waiting'
    }
    for (const notice of chosen.notices) notice.held = false
    this.snapshots.set(this.durable, copyOf(chosen))
    this.check()
  }

  /** What the store says of the messages it may know, of the log and the outbox, that the world does not. */
  private difference(world: World, known: readonly number[]): string {
    for (const known of world.entries.values()) {
      const m = this.spool.find(known.id)
      let entry = known
      while (entry.place === 'followed') entry = world.entries.get(entry.of) as Entry
      if (m && m.id !== entry.id) return `${m.id} is found by ${known.id}`
      const standing = m ? m.standing : 'ended'
      const isSent = entry.place === 'sent' || (entry.place === 'claimed' && isGone(entry))
      const wanted = entry.place === 'ended' ? 'ended' : isSent ? 'sent' : 'waiting'
      if (standing !== wanted) return `${entry.id} is ${standing}, not ${wanted}`
      if (!m || wanted !== 'waiting') continue
      const answered = m.parts?.filter(part => part.answered).map(part => part.ref) ?? []
      const due = entry.place === 'due' ? entry.dueMs : 0
      const found = [m.body.toString(), m.lane, m.dueMs, ...answered]
      const told = [
        entry.text,
        entry.lane,
        due,
        ...(entry.parts?.filter(part => part.answered).map(part => part.ref) ?? []),
      ]
      if (found.join() !== told.join()) return `${entry.id} is ${found}, not ${told}`
    }
    for (const id of known) {
      if (!world.entries.has(id) && this.spool.find(id)) return `${id} is there`
    }
    const slice = this.spool.readLog(this.position, 1_000_000)
    const rows = world.rows.length - this.rowsRead
    if ((slice?.rows.length ?? 0) !== rows) return `${slice?.rows.length ?? 0} rows of history, not ${rows}`
    const { outbox, parked } = this.spool.figures()
    if (outbox !== world.notices.length) return `${outbox} reports`
    if (parked !== world.parked.size) return `${parked} parked`
    return ''
  }

  /** Everything comes to its end, once. */
  async finish(): Promise<void> {
    await this.sync()
    for (const [i, claimer] of this.claimers.entries()) {
      const lanes = LANES[i] as readonly number[]
      for (let left = true; left; ) {
        const before = this.inPlace('claimed').length
        this.claim(claimer, lanes, 1_000)
        left = this.inPlace('claimed').length > before
      }
    }
    for (const entry of this.inPlace('claimed'))
      await this.tell({ op: 'end', pick: this.inPlace('claimed').indexOf(entry), state: state.DELIVERED })
    await this.sync()
    for (let round = 0; round < 80 && this.inPlace('waiting', 'due', 'sent').length > 0; round++) {
      this.clock.advance(100 * MINUTE_MS)
      await this.tickAll()
    }
    same(
      this.inPlace('waiting', 'due', 'sent', 'claimed').map(({ id, place }) => `${id} ${place}`),
      [],
      'not ended',
    )
    for (const account of [1, 2, 3]) this.claimReports(account, 1_000)
    for (const { report } of this.reports) this.spool.reportDone(report)
    this.world.notices = []
    await this.sync()
    this.readLog(1_000_000, false)
    this.spool.dropLog(this.position)
    same(this.rowsRead, this.world.rows.length, 'rows of history')
    same(this.spool.figures().logRows, 0, 'rows left')
  }
}

const newPart = (): Part => ({ ref: '', answered: false, unsure: false, final: 0 })

function at<T>(list: readonly T[], pick: number): T | undefined {
  return list[pick % Math.max(1, list.length)]
}

function wholeOf(parts: readonly Part[]): MessageState | null {
  let whole: MessageState = state.DELIVERED
  for (const { answered, ref, final } of parts) {
    if (!answered || (ref !== '' && final === 0)) return null
    if (final !== 0 && final !== state.DELIVERED) whole = final
  }
  return whole
}
