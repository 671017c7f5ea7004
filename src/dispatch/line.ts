// A carrier as dispatch sees it: its driver, what waits for it in memory, and what is counted of it. Decides nothing.

import { Counters, Histogram } from '../base/figures.js'
import type { Driver, Part } from '../carriers/driver.js'
import type { ClassRank, Message } from '../model/message.js'
import type { Claimer } from '../spool/contract.js'
import { ConcatRefs } from './concatRefs.js'
import type { CutSettings } from './cut.js'

/** Messages of one class that wait in memory for the carrier that was chosen for them, at most and at least. */
const HANDED = 512
const HANDED_LEAST = 16
const HANDED_LIVE = 384
/** Messages whose ids are kept so that they come back at once when their carrier can take them. */
const REMEMBERED = 4_096

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
  /** The lanes that it serves. */
  lanes: readonly number[] = []
  /** Of those the ones that it serves only for messages which name a carrier. */
  readonly namedOnly = new Set<number>()
  /** Of those the ones that it claims nothing from for a moment: what comes first in them is for carriers that are full. */
  readonly away = new Set<number>()
  /** Claimed by others, chosen for this one; by class. */
  readonly handed: readonly [Message[], Message[], Message[]] = [[], [], []]
  /** So many of each class may be handed over: about what it sends in a second. */
  most = HANDED
  /** Claims since handed ones of a lower class had their share. */
  saved = 0
  /** Messages for it alone that wait on disk until it can take them, by id; not all of them. */
  private readonly putOff = new Set<number>()
  /** Since when it is down, monotonic; null = it is up. */
  downSinceMs: number | null = null
  /** submit_sm to its answer, ms, by class. */
  readonly latency = [new Histogram(), new Histogram(), new Histogram()] as const
  readonly counts = new Counters()
  sent = 0
  private sentBefore = 0
  accepted = 0
  /** Given to the last message that was cut anew. */
  concatRef = 0
  /** The reference of the next message that the line cuts, for its parts to share. */
  readonly newRef: (m: Message) => number
  private refs: ConcatRefs
  private readonly random: () => number
  pumping = false
  /** It was to be pumped while it was. */
  isAsked = false
  /** It is pumped after the commit being gathered. */
  isSoon = false
  /** Claimed in this turn and not for it to send. */
  passed = 0

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

  hasPlace(rank: ClassRank): boolean {
    return this.handed[rank].length < this.most
  }

  /** False: too many are. */
  remember(id: number): boolean {
    if (this.putOff.size >= REMEMBERED) return this.putOff.has(id)
    this.putOff.add(id)
    return true
  }

  /** Messages that wait for it alone, as far as they are known. */
  get remembered(): number {
    return this.putOff.size
  }

  /** So many of those, the first first; they are not remembered any more. */
  recall(n: number): number[] {
    const ids: number[] = []
    for (const id of this.putOff) {
      if (ids.length >= n) break
      ids.push(id)
      this.putOff.delete(id)
    }
    return ids
  }

  /** Once a second: how many may wait for it from now on? */
  measure(): void {
    const perSecond = this.sent - this.sentBefore
    this.sentBefore = this.sent
    // Where nothing waits, the second says nothing of what it takes.
    if (this.firstHanded === undefined) this.most = HANDED
    // Of a burst each has its share: only who takes nothing gives up its own to the others.
    else this.most = perSecond === 0 ? HANDED_LEAST : Math.min(Math.max(perSecond, HANDED_LIVE), HANDED)
  }
}
