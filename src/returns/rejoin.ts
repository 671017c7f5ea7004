// Messages from phones that came in parts, put together again for customers who want them whole: in whatever order the
// parts came, by UDH (8 or 16 bits) or sar_* TLVs (SMPP v3.4 §5.3.2.22-24). Each part stands in the outbox until the
// whole is delivered; here is memory only, bounded in time and size. What does not fit together goes on as it came.

import { createHash } from 'node:crypto'
import { joinParts, partOf } from '../../protocols/smpp/parts.js'
import type { Reply } from '../model/outcome.js'
import type { Report } from '../spool/contract.js'

/** Names of groups and parts that are remembered, oldest forgotten first. */
const REMEMBERED = 10_000

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

export class Rejoiner {
  /** In the order of their first parts' coming here. */
  private readonly groups = new Map<string, Group>()
  /** Groups that were given up, and when: what came until then goes as it came. */
  private readonly givenUp = new Map<string, number>()
  /** Parts that were delivered within a whole, and when: who sends them again has missed our answer. */
  private readonly delivered = new Map<string, number>()
  private readonly limits: RejoinLimits
  private readonly release: (report: Report) => void
  held = 0
  octets = 0

  /** @param release gets each part that is held no longer: it must be claimed again to be delivered */
  constructor(limits: RejoinLimits, release: (report: Report) => void) {
    this.limits = limits
    this.release = release
  }

  /**
   * What is to be delivered now: the report itself when it is no part, or is one that waits no more; the whole when it
   * was the last part of it; 'held' when others are awaited; 'again' when it was delivered within a whole before.
   */
  take(report: Report, nowMs: number): Report | 'held' | 'again' {
    const reply = report.reply as Reply
    const of = partOfReply(report.account, reply)
    if (of === undefined) return report
    if (report.atMs <= (this.givenUp.get(of.key) ?? Number.NEGATIVE_INFINITY)) return report
    if (this.delivered.size > 0) {
      const deliveredMs = this.delivered.get(printOf(of, reply)) ?? Number.NEGATIVE_INFINITY
      if (nowMs - deliveredMs < this.limits.ms) return 'again'
    }
    let group = this.groups.get(of.key)
    const before = group?.bySeq.get(of.seq)
    if (group && before && !before.reply?.body.equals(reply.body)) {
      // The same name for another text: the first is not going to be completed.
      this.giveUp(group, Math.max(...Array.from(group.bySeq.values(), part => part.atMs)))
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
    if (group.bySeq.size === of.total) return this.join(group, nowMs)
    while (this.held > this.limits.parts || this.octets > this.limits.octets) {
      const [oldest] = this.groups.values()
      if (oldest === undefined) break
      this.giveUp(oldest, nowMs)
    }
    return 'held'
  }

  private join(group: Group, nowMs: number): Report | 'held' {
    const parts = Array.from({ length: group.total }, (_, n) => group.bySeq.get(n + 1) as Report)
    const replies = parts.map(part => part.reply as Reply)
    const whole = joinParts(replies)
    if (whole === undefined) {
      this.giveUp(group, nowMs)
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
    this.remember(whole.key, Math.max(...whole.parts.map(part => part.atMs)))
    for (const part of whole.parts) this.release(part)
  }

  /** Gives up what has waited too long: how many messages. */
  tick(nowMs: number): number {
    let n = 0
    for (const group of this.groups.values()) {
      if (group.deadlineMs > nowMs) continue
      n++
      this.giveUp(group, nowMs)
    }
    return n
  }

  private giveUp(group: Group, untilMs: number): void {
    this.forget(group)
    this.remember(group.key, untilMs)
    for (const part of group.bySeq.values()) this.release(part)
    for (const twin of group.twins) this.release(twin)
  }

  private remember(key: string, untilMs: number): void {
    this.givenUp.delete(key)
    this.givenUp.set(key, untilMs)
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
