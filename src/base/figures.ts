// Figures that the hot path writes and nobody reads but the side-port: plain arrays, no
// labels, no look-up. Turned into Prometheus text by admin/metrics.

/** Upper bounds in ms; what is above the last falls into +Inf. */
const latencyBoundsMs = [
  0.5, 1, 2, 3, 5, 7.5, 10, 15, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 3_600_000,
] as const

export class Histogram {
  readonly bounds: readonly number[]
  /** Observations per bucket, not cumulative; one more than there are bounds. */
  readonly counts: Float64Array
  sum = 0
  count = 0

  constructor(bounds: readonly number[] = latencyBoundsMs) {
    this.bounds = bounds
    this.counts = new Float64Array(bounds.length + 1)
  }

  observe(value: number): void {
    const bounds = this.bounds
    let i = 0
    while (i < bounds.length && value > (bounds[i] as number)) i++
    ;(this.counts[i] as number)++
    this.sum += value
    this.count++
  }
}

/** Counters by name, made when first counted. For what happens per event of the world, not per message. */
export class Counters {
  private readonly counts = new Map<string, number>()

  add(name: string, by = 1): void {
    this.counts.set(name, (this.counts.get(name) ?? 0) + by)
  }

  get(name: string): number {
    return this.counts.get(name) ?? 0
  }

  entries(): IterableIterator<[string, number]> {
    return this.counts.entries()
  }
}
