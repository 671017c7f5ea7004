// Messages from phones that came in parts, put together again for customers who want them whole: in whatever order the
// parts came, by UDH (8 or 16 bits) or sar_* TLVs (SMPP v3.4 §5.3.2.22-24). Each part stands in the outbox until the
// whole is delivered; here is memory only, bounded in time and size. What does not fit together goes on as it came.

import { createHash } from 'node:crypto'
import { joinParts, partOf } from '../../protocols/smpp/parts.js'
import type { Reply } from '../model/outcome.js'
import { type Report, way } from '../spool/contract.js'

/** Names of groups and parts that are remembered, oldest forgotten first. */
const REMEMBERED = 10_000
/** Parts that one `tick` gives up, or a message's more. */
const AT_ONCE = 256
/** What message_payload has room for. */
const MOST_OCTETS = 0xffff

export interface RejoinLimits {
  /** From the first part's coming until the others are no longer waited for; so long, too, a part counts as sent again. */
  ms: number
  parts: number
  octets: number
}

export const rejoinLimits: RejoinLimits = { ms: 300_000, parts: 10_000, octets: 8 * 2 ** 20 }

interface PartOf {
  readonly key: string
  readonly total: number
  readonly seq: number
}

interface Group {
  readonly key: string
  readonly deadlineMs: number
  readonly total: number
  readonly bySeq: Map<number, Report>
  /** The same parts again: done with the others. */
  readonly twins: Report[]
  octets: number
}

/** Several reports as the one that is delivered in their place. */
export class Joined implements Report {
  readonly seq: number
  readonly way = way.bind
  readonly account: number
  readonly kind = 'reply'
  readonly atMs: number
  readonly reply: Reply
  readonly key: string
  /** What it was made of: all done when it is, all given back when it is not. */
  readonly parts: readonly Report[]

  constructor(key: string, reply: Reply, parts: readonly Report[]) {
    const { seq, account, atMs } = parts[0] as Report
    this.seq = seq
    this.account = account
    this.atMs = atMs
    this.reply = reply
    this.key = key
    this.parts = parts
  }
}

export interface RejoinHost {
  /** Gets each part that is held no longer, the newest first: it must be claimed again to be delivered. */
  release(report: Report): void
  /** Number of the newest report that waits for any account. */
  newest(): number
  /** Its text is eight septets in seven octets: each part of it has fill bits of its own. */
  isPacked(reply: Reply): boolean
}

export class Rejoiner {
  /** In the order of their first parts' coming here. */
  private readonly groups = new Map<string, Group>()
  /** Groups that were given up, and the number of the newest report of that moment: what came until then goes as it came. */
  private readonly givenUp = new Map<string, number>()
  /** Parts that were delivered within a whole, and when: who sends them again has missed our answer. */
  private readonly delivered = new Map<string, number>()
  private readonly limits: RejoinLimits
  private readonly host: RejoinHost
  held = 0
  octets = 0

  constructor(limits: RejoinLimits, host: RejoinHost) {
    this.limits = limits
    this.host = host
  }

  /**
   * What is to be delivered now: the report itself when it is no part, or is one that waits no more; the whole when it
   * was the last part of it; 'held' when others are awaited; 'again' when it was delivered within a whole before.
   *
   * @param nowMs here and below, of a clock that never runs back
   */
  take(report: Report, nowMs: number): Report | 'held' | 'again' {
    const reply = report.reply as Reply
    const of = partOfReply(report.account, reply)
    if (of === undefined) return report
    if (report.seq <= (this.givenUp.get(of.key) ?? -1)) return report
    if (this.delivered.size > 0) {
      const deliveredMs = this.delivered.get(printOf(of, reply)) ?? Number.NEGATIVE_INFINITY
      if (nowMs - deliveredMs < this.limits.ms) return 'again'
    }
    let group = this.groups.get(of.key)
    const before = group?.bySeq.get(of.seq)
    if (group && before && !before.reply?.body.equals(reply.body)) {
      // The same name for another text: the first is not going to be completed.
      this.giveUp(group, newestOf(group.bySeq.values()))
      group = undefined
    }
    if (!group) {
      group = {
        key: of.key,
        deadlineMs: nowMs + this.limits.ms,
        total: of.total,
        bySeq: new Map(),
        twins: [],
        octets: 0,
      }
      this.groups.set(of.key, group)
    }
    if (before && group.bySeq.has(of.seq)) group.twins.push(report)
    else group.bySeq.set(of.seq, report)
    this.held++
    group.octets += reply.body.length
    this.octets += reply.body.length
    if (group.bySeq.size === of.total) return this.join(group)
    while (this.held > this.limits.parts || this.octets > this.limits.octets) {
      const [oldest] = this.groups.values()
      if (oldest === undefined) break
      this.giveUp(oldest, this.host.newest())
    }
    return 'held'
  }

  private join(group: Group): Report | 'held' {
    const parts = Array.from({ length: group.total }, (_, n) => group.bySeq.get(n + 1) as Report)
    const replies = parts.map(part => part.reply as Reply)
    const whole = joinParts(replies, this.host.isPacked(replies[0] as Reply))
    if (whole === undefined || whole.body.length > MOST_OCTETS) {
      this.giveUp(group, this.host.newest())
      return 'held'
    }
    this.forget(group)
    return new Joined(group.key, { ...(replies[0] as Reply), ...whole }, [...parts, ...group.twins])
  }

  /** The customer has it. */
  done(whole: Joined, nowMs: number): void {
    for (const { account, reply } of whole.parts) {
      const of = partOfReply(account, reply as Reply)
      if (of) this.delivered.set(printOf(of, reply as Reply), nowMs)
    }
    for (const oldest of this.delivered.keys()) {
      if (this.delivered.size <= REMEMBERED) break
      this.delivered.delete(oldest)
    }
  }

  /** It cannot be delivered whole: its parts go as they came. */
  apart(whole: Joined): void {
    this.remember(whole.key, newestOf(whole.parts))
    this.release([...whole.parts])
  }

  /** Gives up what has waited too long, a bounded slice of it: how many messages. */
  tick(nowMs: number): number {
    let n = 0
    const parts: Report[] = []
    for (const group of this.groups.values()) {
      if (group.deadlineMs > nowMs || parts.length >= AT_ONCE) break
      n++
      this.forget(group)
      this.remember(group.key, this.host.newest())
      parts.push(...group.bySeq.values(), ...group.twins)
    }
    this.release(parts)
    return n
  }

  private giveUp(group: Group, until: number): void {
    this.forget(group)
    this.remember(group.key, until)
    this.release([...group.bySeq.values(), ...group.twins])
  }

  private release(parts: Report[]): void {
    for (const part of parts.sort((a, b) => b.seq - a.seq)) this.host.release(part)
  }

  private remember(key: string, until: number): void {
    this.givenUp.delete(key)
    this.givenUp.set(key, until)
    for (const oldest of this.givenUp.keys()) {
      if (this.givenUp.size <= REMEMBERED) break
      this.givenUp.delete(oldest)
    }
  }

  private forget(group: Group): void {
    this.groups.delete(group.key)
    this.held -= group.bySeq.size + group.twins.length
    this.octets -= group.octets
  }
}

function newestOf(parts: Iterable<Report>): number {
  let newest = 0
  for (const { seq } of parts) newest = Math.max(newest, seq)
  return newest
}

/** Of which message it is which part; undefined when it is a whole one. */
function partOfReply(account: number, reply: Reply): PartOf | undefined {
  const name = partOf(reply)
  if (name === undefined) return undefined
  const { how, ref, total, seq } = name
  const { source_addr, destination_addr, data_coding } = reply
  return { key: `${account} ${source_addr} ${destination_addr} ${how} ${ref} ${total} ${data_coding}`, total, seq }
}

const printOf = (of: PartOf, { body }: Reply): string =>
  `${of.key} ${of.seq} ${createHash('sha1').update(body).digest('base64')}`
