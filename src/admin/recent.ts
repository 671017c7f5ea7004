// What the last minute was like: rates, latencies and how late the event loop was. Takes a
// sample of the running totals now and then; what happens costs nothing here.

import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks'
import type { Histogram } from '../base/figures.js'
import type { Line } from '../dispatch/line.js'
import type { ClassRank } from '../model/message.js'
import type { EndedOver } from '../model/tally.js'
import type { AdminSubject } from './subject.js'

const STEP_MS = 5_000
/** A minute, and the sample before it. */
const SAMPLES = 13
/** Rates are over this long at least. */
const RATE_MS = 10_000
const LOOP_RESOLUTION_MS = 10

interface LineSample extends EndedOver {
  readonly sent: number
  readonly latency: readonly Float64Array[]
}

interface Sample {
  readonly monoMs: number
  readonly accepted: number
  readonly ended: number
  readonly sync: Float64Array
  readonly lines: ReadonlyMap<Line, LineSample>
  /** Of the step that ended with this sample. */
  readonly lag: Lag
}

/** How late the event loop came to what was due. */
export interface Lag {
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
}

export interface Latency {
  readonly count: number
  /** null when there was nothing to measure. */
  readonly p50Ms: number | null
  readonly p99Ms: number | null
}

type Watched = Pick<AdminSubject, 'clock' | 'tally' | 'lines' | 'syncMs'>

export class Recent {
  private readonly subject: Watched
  private readonly loop: IntervalHistogram
  private readonly timer: NodeJS.Timeout
  private samples: Sample[] = []

  constructor(subject: Watched) {
    this.subject = subject
    this.loop = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS })
    this.loop.enable()
    this.timer = setInterval(() => this.sample(), STEP_MS)
    this.timer.unref()
    this.sample()
  }

  stop(): void {
    clearInterval(this.timer)
    this.loop.disable()
  }

  /** Called by the timer. */
  sample(): void {
    const { clock, tally, syncMs } = this.subject
    const lines = new Map<Line, LineSample>()
    for (const { line } of this.subject.lines.running.values()) {
      const latency = line.latency.map(one => one.counts.slice())
      lines.set(line, { sent: line.accepted, latency, ...tally.endedOver(line.id) })
    }
    this.samples.push({
      monoMs: clock.mono(),
      accepted: tally.acceptedInAll,
      ended: tally.endedInAll,
      sync: syncMs.counts.slice(),
      lines,
      lag: this.lagNow(),
    })
    if (this.samples.length > SAMPLES) this.samples.shift()
    this.loop.reset()
  }

  /** Messages a second: accepted by us, accepted by carriers, ended. */
  rates(): { in: number; out: number; ended: number } {
    const { tally, lines } = this.subject
    const then = this.sampleForRates()
    let out = 0
    for (const { line } of lines.running.values()) out += this.lineRate(line)
    return {
      in: this.perSecond(tally.acceptedInAll - then.accepted, then),
      out,
      ended: this.perSecond(tally.endedInAll - then.ended, then),
    }
  }

  /** Parts a second that the carrier accepts. */
  lineRate(line: Line): number {
    const then = this.sampleForRates()
    return this.perSecond(line.accepted - (then.lines.get(line)?.sent ?? 0), then)
  }

  /** From submit_sm to its answer. */
  latency(line: Line, rank: ClassRank): Latency {
    return since(line.latency[rank], this.samples[0]?.lines.get(line)?.latency[rank])
  }

  /** Of the messages that ended over the carrier, the share that was delivered, 0 to 1; null when none ended. */
  deliveredShare(line: Line): number | null {
    const now = this.subject.tally.endedOver(line.id)
    // A carrier that was made anew goes on counting.
    const then = this.samples.find(({ lines }) => lines.has(line))?.lines.get(line)
    const ended = then === undefined ? 0 : now.ended - then.ended
    return then === undefined || ended <= 0 ? null : (now.delivered - then.delivered) / ended
  }

  /** From the first put of a commit to its sync. */
  sync(): Latency {
    return since(this.subject.syncMs, this.samples[0]?.sync)
  }

  /** Of the worst five seconds in the last minute. */
  lag(): Lag {
    const lags = [...this.samples.slice(1).map(sample => sample.lag), this.lagNow()]
    return {
      p50Ms: Math.max(...lags.map(lag => lag.p50Ms)),
      p99Ms: Math.max(...lags.map(lag => lag.p99Ms)),
      maxMs: Math.max(...lags.map(lag => lag.maxMs)),
    }
  }

  private lagNow(): Lag {
    const { loop } = this
    return { p50Ms: lateMs(loop.percentile(50)), p99Ms: lateMs(loop.percentile(99)), maxMs: lateMs(loop.max) }
  }

  private sampleForRates(): Sample {
    const now = this.subject.clock.mono()
    const old = this.samples.findLast(sample => now - sample.monoMs >= RATE_MS)
    return old ?? (this.samples[0] as Sample)
  }

  private perSecond(count: number, then: Sample): number {
    const ms = this.subject.clock.mono() - then.monoMs
    return ms <= 0 ? 0 : (count * 1000) / ms
  }
}

/** The histogram holds the whole time between two looks, in ns; before its first look it holds 0. */
const lateMs = (betweenNs: number): number => Math.max(0, betweenNs / 1e6 - LOOP_RESOLUTION_MS)

function since({ bounds, counts: now }: Histogram, then: Float64Array | undefined): Latency {
  const counts = then === undefined ? now : now.map((count, i) => count - (then[i] as number))
  return {
    count: counts.reduce((all, count) => all + count, 0),
    p50Ms: quantile(bounds, counts, 0.5),
    p99Ms: quantile(bounds, counts, 0.99),
  }
}

/**
 * The value that the share `q` of all observations does not exceed, by a straight line through
 * its bucket. What is above the last bound counts as it. null when there are none.
 */
function quantile(bounds: readonly number[], counts: ArrayLike<number>, q: number): number | null {
  let all = 0
  for (let i = 0; i < counts.length; i++) all += counts[i] as number
  if (all <= 0) return null
  const rank = q * all
  let below = 0
  for (let i = 0; i < bounds.length; i++) {
    const count = counts[i] as number
    if (count > 0 && below + count >= rank) {
      const low = i === 0 ? 0 : (bounds[i - 1] as number)
      const high = bounds[i] as number
      return low + ((high - low) * (rank - below)) / count
    }
    below += count
  }
  return bounds.at(-1) ?? null
}
