// Parts of long messages whose account wants them joined: which wait for which, and what becomes of them when the last has
// come, or has not come in time. Memory holds names and ids only, bounded; the parts themselves are records like any
// other, and stand among the due. Knows how parts become one; the log and reports are its caller's.

import { joinParts, type PartName, partOf, withoutSar } from '../../../protocols/smpp/parts.js'
import { type Joined, type Message, mark } from '../../model/message.js'
import type { Spool } from '../contract.js'
import type { Standing } from './standing.js'

/** So long a part waits for the others; and no longer than half of its validity, for then it must still be sent. */
const WAIT_MS = 300_000
/** What every carrier gets in the 255 parts that there can be, though it takes fewer octets in each than the sender's had. */
const MOST_OCTETS = 0x8000
/** Parts that wait at a time, for each text that may. */
const PARTS = 4
/** The same part again, so often. */
const MOST_TWINS = 255

interface Group {
  readonly key: string
  readonly total: number
  /** Ids by the parts' numbers. */
  readonly bySeq: Map<number, number>
}

export interface JoinsHost {
  readonly standing: Standing
  /** Whose events tell of parts that go as they came: they may be replaced while it runs. */
  readonly spool: Pick<Spool, 'events'>
}

export class Joins {
  private readonly groups = new Map<string, Group>()
  private readonly byId = new Map<number, Group>()
  private readonly standing: Standing
  private readonly spool: Pick<Spool, 'events'>
  private readonly most: number

  /** @param most texts of which parts are waited for at a time, and a quarter of those parts */
  constructor({ standing, spool }: JoinsHost, most: number) {
    this.standing = standing
    this.spool = spool
    this.most = most
  }

  /** A part as found at start. */
  restore(m: Message): void {
    const name = partOf(m)
    if (name !== undefined) this.add(m, name)
  }

  /** A new part, or a new text for one; its record is touched. False: it is none, or cannot be waited for, and goes as it is. */
  take(m: Message, nowMs: number): boolean {
    const { standing } = this
    const joined = m.joined as Joined
    const name = partOf(m)
    if (name === undefined) {
      release(m)
      return false
    }
    const group = this.groups.get(keyOf(m, name))
    const before = standing.live.message(group?.bySeq.get(name.seq) ?? 0)
    if (group && before?.joined) {
      if (before.body.equals(m.body) && before.joined.ids.length < MOST_TWINS) {
        // Sent again because our answer was missed: the phone gets it once.
        this.follow(m, before)
        return true
      }
      // The same name for another text: the first is not going to be completed.
      this.giveUp(group)
    }
    const now = this.add(m, name)
    if (now === undefined) {
      release(m)
      this.spool.events.apart(1)
      return false
    }
    joined.waits = true
    if (now.bySeq.size === now.total) this.join(now)
    else standing.due.add(m, Math.max(nowMs + Math.min(WAIT_MS, (m.validUntilMs - nowMs) / 2), m.scheduleMs))
    return true
  }

  private add(m: Message, name: PartName): Group | undefined {
    const key = keyOf(m, name)
    let group = this.groups.get(key)
    // The last part of a text makes room; any other needs it.
    if ((group?.bySeq.size ?? 0) + 1 < name.total && this.byId.size >= this.most * PARTS) return undefined
    if (!group) {
      if (this.groups.size >= this.most) return undefined
      group = { key, total: name.total, bySeq: new Map() }
      this.groups.set(key, group)
    }
    group.bySeq.set(name.seq, m.id)
    this.byId.set(m.id, group)
    return group
  }

  private follow(m: Message, other: Message): void {
    const { standing } = this
    standing.touch(other)
    standing.touch(m)
    const joined = m.joined as Joined
    joined.waits = false
    joined.of = other.id
    other.joined?.ids.push(m.id)
    standing.follow(m)
  }

  private join(group: Group): void {
    const { standing } = this
    const parts = this.partsOf(group)
    const whole = joinParts(parts)
    if (parts.length < group.total || whole === undefined || whole.body.length > MOST_OCTETS) {
      this.giveUp(group)
      return
    }
    this.forget(group)
    // The one that asks for a receipt has the carrier asked for one.
    const first = parts.find(m => (m.registered_delivery & 3) !== 0) ?? (parts[0] as Message)
    for (const m of parts) if (m !== first) this.follow(m, first)
    standing.touch(first)
    release(first)
    first.esm_class = whole.esm_class
    first.body = whole.body
    first.tlvs = withoutSar(first.tlvs)
    // What the customer knows as one part has one receipt, in however many the carrier gets it.
    first.registered_delivery &= ~mark.perPart
    standing.go(first)
  }

  /** In the order of their numbers. */
  private partsOf({ bySeq }: Group): Message[] {
    const parts: Message[] = []
    for (const seq of [...bySeq.keys()].sort((a, b) => a - b)) {
      const m = this.standing.live.message(bySeq.get(seq) as number)
      if (m?.standing === 'waiting' && m.joined?.waits) parts.push(m)
    }
    return parts
  }

  private forget(group: Group): void {
    this.groups.delete(group.key)
    for (const id of group.bySeq.values()) this.byId.delete(id)
  }

  private giveUp(group: Group): void {
    this.forget(group)
    const parts = this.partsOf(group)
    for (const m of parts) {
      this.standing.touch(m)
      release(m)
      this.standing.go(m)
    }
    this.spool.events.apart(parts.length)
  }

  /** It has waited long enough: all parts that are there go as they came. */
  late(m: Message): void {
    const group = this.byId.get(m.id)
    if (group) this.giveUp(group)
    else {
      this.standing.touch(m)
      release(m)
      this.standing.go(m)
    }
  }

  /** It ends, or is to have another text: the others wait on without it. */
  leave(m: Message): void {
    const group = this.byId.get(m.id)
    if (!group) return
    this.byId.delete(m.id)
    for (const [seq, id] of group.bySeq) if (id === m.id) group.bySeq.delete(seq)
    if (group.bySeq.size === 0) this.groups.delete(group.key)
  }

  /** Ids of all that wait for the same text. */
  with(m: Message): readonly number[] {
    return [...(this.byId.get(m.id)?.bySeq.values() ?? [m.id])]
  }
}

/** It waits for no other part any more. */
function release(m: Message): void {
  const { ids } = m.joined as Joined
  m.joined = ids.length > 0 ? { waits: false, of: 0, ids } : null
}

function keyOf(m: Message, { how, ref, total }: PartName): string {
  const coding = `${m.data_coding}${m.ownCoding ? '!' : ''}`
  return `${m.account}\0${m.source_addr}\0${m.destination_addr}\0${how} ${ref} ${total} ${coding}`
}
