// A message on its way over a line: cut into parts, marked where that is wanted, sent; and what becomes of it by what the
// carrier answers. Knows outcomes and when to try again; not who was chosen, nor why.

import { standardCodings } from '../../protocols/gsm/coding.js'
import type { Part } from '../carriers/driver.js'
import { type Message, state } from '../model/message.js'
import type { Outcome } from '../model/outcome.js'
import { Trail } from '../model/trail.js'
import { cut } from './cut.js'
import type { DispatchHost } from './dispatch.js'
import type { Line } from './line.js'
import { type RetryRules, retryAt } from './retry.js'

/** What keeps a part from being the carrier's. */
type Failure = Exclude<Outcome, { kind: 'accepted' }>

/** A message of several parts on its way: what its parts have said so far. */
interface Whole {
  left: number
  worst: Outcome | null
}

export class Sending {
  /** What carriers answered last. */
  readonly trail = new Trail()
  private readonly host: DispatchHost
  private readonly pump: (line: Line) => void
  private readonly wholes = new Map<Message, Whole>()
  private stopping = false

  constructor(host: DispatchHost, pump: (line: Line) => void) {
    this.host = host
    this.pump = pump
  }

  /** A message that we cannot even send is a fault of ours: it ends, and harms no other. */
  sendOrEnd(line: Line, m: Message): void {
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

  /** Before any carrier had it. */
  end(m: Message, code: string): void {
    const { spool, clock } = this.host
    spool.end(m, { state: state.REJECTED, error: code, doneMs: clock.now() })
  }

  /** What is not on its way yet stays here. */
  stop(): void {
    this.stopping = true
  }
}

const sameRef = (m: Message): number => m.concatRef

/** It was marked to be sent, and then the carrier was gone: it never left. */
const unsent: Failure = { kind: 'unsure', code: 'unsent' }

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
