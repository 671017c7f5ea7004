// Lines of the log about what a peer does wrong, each a minute apart however often it does so: nobody can fill the disk
// with them. Knows when a line was written last; neither peers nor what they did.

import type { Log, LogFields } from '../base/log.js'

const PAUSE_MS = 60_000

interface Said {
  /** Monotonic. */
  atMs: number
  /** Since the last line. */
  count: number
}

export class Complaints {
  private readonly said = new Map<string, Said>()

  /**
   * A warning with `fields` and how often there was reason for it since the last one, or nothing but the count.
   * @param message one of few: each is remembered for good
   */
  warn(log: Log, nowMs: number, fields: LogFields, message: string): void {
    let said = this.said.get(message)
    if (said === undefined) {
      said = { atMs: Number.NEGATIVE_INFINITY, count: 0 }
      this.said.set(message, said)
    }
    said.count++
    if (nowMs - said.atMs < PAUSE_MS) return
    log.warn({ ...fields, count: said.count }, message)
    said.atMs = nowMs
    said.count = 0
  }
}
