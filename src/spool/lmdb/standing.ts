// Where each message stands - in a lane, among the due, in somebody's hands, with a carrier - and how many do: the moves
// from one to the other, each of which marks the record for the next commit. Knows nothing of why a message moves, and of
// no ending but that it takes one out.

import type { Clock } from '../../base/clock.js'
import type { Message } from '../../model/message.js'
import { Blocks } from './blocks.js'
import { Due } from './due.js'
import type { LmdbLimits } from './limits.js'
import { CLAIMED, DIRTY, FRESH, isKept, Live, QUEUED } from './live.js'
import type { Marks } from './marks.js'
import { Present } from './present.js'
import type { Tables } from './store.js'

export interface StandingHost {
  readonly clock: Clock
  /** A record changes with the next commit. */
  note(): void
  /** It is past its validity. */
  expire(m: Message, nowMs: number): void
}

export class Standing {
  /** Messages that must be the same object for everyone who asks. */
  readonly live: Live
  readonly blocks: Blocks
  readonly due: Due
  readonly index = new Present()
  /** Messages whose records change with the next commit. */
  dirty: Message[] = []
  /** The highest id that ever stood anywhere. */
  lastId = 0
  waiting = 0
  claimed = 0
  sent = 0
  private readonly ofAccount = new Map<number, number>()
  private readonly host: StandingHost

  constructor(tables: Tables, limits: LmdbLimits, { lastId, blockSeq }: Marks, host: StandingHost) {
    this.host = host
    this.lastId = lastId
    this.live = new Live(tables.messages)
    this.blocks = new Blocks(tables.lanes, tables.messages, this.live, limits, blockSeq, m => this.usable(m))
    this.due = new Due(tables.due)
  }

  /** Messages of the account that wait. */
  waitingOf(account: number): number {
    return this.ofAccount.get(account) ?? 0
  }

  count(account: number, by: number): void {
    this.waiting += by
    const n = this.waitingOf(account) + by
    if (n > 0) this.ofAccount.set(account, n)
    else this.ofAccount.delete(account)
  }

  /** The record of `m` changes with the next commit. */
  touch(m: Message): void {
    if (m.hold & DIRTY) return
    this.live.keep(m)
    m.hold |= DIRTY
    this.dirty.push(m)
    this.host.note()
  }

  /**
   * The object that stands for a message now. A late answer may come with one that was
   * let go when its message was deferred; undefined when the message is over.
   */
  current(m: Message): Message | undefined {
    return isKept(m) ? m : this.live.message(m.id)
  }

  /** From nowhere to where it waits for nothing but its schedule. */
  place(m: Message, nowMs: number): void {
    if (m.scheduleMs > nowMs) this.due.add(m, m.scheduleMs)
    else this.blocks.add(m)
  }

  /** A part that waited for others goes. */
  go(m: Message): void {
    if (m.dueMs > 0) this.due.remove(m)
    this.place(m, this.host.clock.now())
  }

  /** A part whose text goes in another message. */
  follow(m: Message): void {
    if (m.dueMs > 0) this.due.remove(m)
    this.becomeSent(m)
  }

  /** From among the due to the end of its lane. */
  ready(m: Message): void {
    this.due.remove(m)
    this.queue(m)
  }

  /** To the end of its lane; what has its first place still to come would stand in two, and goes by way of the due. */
  queue(m: Message): void {
    if (m.hold & FRESH) this.due.add(m, this.host.clock.now())
    else this.blocks.add(m)
  }

  /** Just taken from its row: may it be handed out? */
  private usable(m: Message): boolean {
    if ((m.hold & QUEUED) === 0) return false
    const now = this.host.clock.now()
    if (m.validUntilMs <= now) {
      this.host.expire(m, now)
      return false
    }
    m.hold = (m.hold & ~QUEUED) | CLAIMED
    this.claimed++
    return true
  }

  giveBack(m: Message): void {
    if (this.unclaim(m)) this.blocks.giveBack(m)
  }

  /** It is in nobody's hands any more; false: it was in none. */
  unclaim(m: Message): boolean {
    if ((m.hold & CLAIMED) === 0) return false
    m.hold &= ~CLAIMED
    this.claimed--
    return true
  }

  /** Takes it out of wherever it waits. */
  withdraw(m: Message): void {
    if (this.unclaim(m)) this.blocks.leave(m)
    else if (m.dueMs > 0) this.due.remove(m)
    else this.blocks.withdraw(m)
  }

  /** It waits no more, a carrier has it; whoever calls has taken it out of where it waited. */
  becomeSent(m: Message): void {
    this.count(m.account, -1)
    if (m.replaceable) this.index.remove(m)
    m.standing = 'sent'
    this.sent++
  }

  /** It is over. */
  becomeEnded(m: Message): void {
    this.touch(m)
    if (m.standing === 'sent') this.sent--
    else {
      this.withdraw(m)
      this.count(m.account, -1)
      if (m.replaceable) this.index.remove(m)
    }
    m.standing = 'ended'
  }
}
