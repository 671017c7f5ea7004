// The small things that a spool keeps beside its messages, in memory: for services that are tried without one. Ends are kept
// to as the spool does, and what is written is counted.

import type { ManualClock } from '../../src/base/clock.js'

export class KeptThings {
  readonly things = new Map<string, { octets: Buffer; untilMs: number }>()
  readonly clock: ManualClock
  writes = 0

  constructor(clock: ManualClock) {
    this.clock = clock
  }

  keep(key: string, octets: Buffer, untilMs: number): boolean {
    this.writes++
    this.things.set(key, { octets, untilMs })
    return true
  }

  kept(key: string): Buffer | undefined {
    const found = this.things.get(key)
    return found !== undefined && found.untilMs > this.clock.now() ? found.octets : undefined
  }

  keptAfter(prefix: string, after: string, count: number): [string, Buffer][] {
    return [...this.things]
      .filter(([key, { untilMs }]) => key.startsWith(prefix) && key > after && untilMs > this.clock.now())
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .slice(0, count)
      .map(([key, { octets }]) => [key, octets])
  }

  dropKept(key: string): void {
    this.things.delete(key)
  }
}
