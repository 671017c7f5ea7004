// Free space for the spool: on its disk and in its map. LMDB must never meet ENOSPC
// (it aborts the process), so space is asked for each second and what was committed
// since is counted against it. Says how bad it is; others decide what to refuse.

import { statfs } from 'node:fs/promises'

const CHECK_MS = 1_000

export class Reserve {
  /** Less than the reserve is free: no new work. */
  low = false
  /** Less than an eighth of it: nothing that writes. */
  exhausted = false
  private readonly path: string
  private readonly reserveBytes: number
  /** Octets that the store itself can still take. */
  private readonly room: () => number
  private freeBytes = Number.POSITIVE_INFINITY
  private sinceBytes = 0
  private timer: NodeJS.Timeout | undefined
  private stopped = false

  constructor(path: string, reserveMb: number, room: () => number) {
    this.path = path
    this.reserveBytes = reserveMb * 2 ** 20
    this.room = room
  }

  async start(): Promise<void> {
    await this.check()
    this.timer = setInterval(() => void this.check(), CHECK_MS)
    this.timer.unref()
  }

  stop(): void {
    this.stopped = true
    clearInterval(this.timer)
  }

  /** Octets on their way to the disk. A commit touches whole pages: the caller counts generously. */
  spent(bytes: number): void {
    this.sinceBytes += bytes
    this.judge()
  }

  private async check(): Promise<void> {
    const asked = this.sinceBytes
    try {
      const disk = await statfs(this.path)
      if (this.stopped) return
      this.freeBytes = Math.min(disk.bavail * disk.bsize, this.room())
      this.sinceBytes -= asked
    } catch {
      // A disk that does not answer is judged by what it said last.
    }
    this.judge()
  }

  private judge(): void {
    const free = this.freeBytes - this.sinceBytes
    this.low = free < this.reserveBytes
    this.exhausted = free < this.reserveBytes / 8
  }
}
