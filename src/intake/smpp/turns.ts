// Whose slice of long work has the next turn of the event loop: one queue for all, so that many lists, cancels and
// replacements at a time hold up everybody else no longer than one does. Knows how much work a turn may hold, not what it is.

/** Messages in one turn: some 3 ms. */
export const SLICE = 200

export class Turns {
  private waiting: { go: () => void; messages: number }[] = []
  /** Of `waiting`, those before it have gone. */
  private next = 0
  private isRunning = false

  /** Resolves in the turn in which so many messages, {@link SLICE} at most, may be worked on. */
  take(messages: number): Promise<void> {
    return new Promise(go => {
      this.waiting.push({ go, messages })
      if (this.isRunning) return
      this.isRunning = true
      setImmediate(this.run)
    })
  }

  private readonly run = (): void => {
    let left = SLICE
    for (; this.next < this.waiting.length; this.next++) {
      const { go, messages } = this.waiting[this.next] as { go: () => void; messages: number }
      if (messages > left) break
      left -= messages
      go()
    }
    this.isRunning = this.next < this.waiting.length
    if (this.isRunning) setImmediate(this.run)
    if (this.next * 2 < this.waiting.length) return
    this.waiting = this.waiting.slice(this.next)
    this.next = 0
  }
}
