// Latencies as a log-linear histogram: every power of two of microseconds in 128 steps, so that a quantile is within
// 0.4 %, the memory is fixed and an entry costs a few nanoseconds.

const STEPS = 128
const MOST_US = 0x7fffffff

/** Milliseconds. */
export interface Quantiles {
  p50: number
  p90: number
  p99: number
  p999: number
  max: number
}

export class Latencies {
  count = 0
  private max = 0
  // 24 powers of two above the first 128 microseconds.
  private readonly counts = new Uint32Array(25 * STEPS)

  add(ms: number): void {
    if (ms > this.max) this.max = ms
    const us = ms <= 0 ? 0 : Math.min(ms * 1000, MOST_US) | 0
    const shift = us < STEPS ? 0 : 24 - Math.clz32(us)
    const at = shift * STEPS + (us >>> shift)
    ;(this.counts[at] as number)++
    this.count++
  }

  quantiles(): Quantiles {
    return {
      p50: this.quantile(0.5),
      p90: this.quantile(0.9),
      p99: this.quantile(0.99),
      p999: this.quantile(0.999),
      max: round(this.max),
    }
  }

  private quantile(share: number): number {
    let left = Math.ceil(this.count * share)
    if (left === 0) return 0
    for (let at = 0; ; at++) {
      left -= this.counts[at] as number
      if (left > 0) continue
      const shift = Math.max((at >>> 7) - 1, 0)
      const middle = ((at - shift * STEPS) * 2 ** shift + (2 ** shift - 1) / 2) / 1000
      return round(Math.min(middle, this.max))
    }
  }
}

function round(ms: number): number {
  return Math.round(ms * 1000) / 1000
}
