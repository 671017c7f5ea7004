// Whose slice of long work has the next turn of the event loop: one queue for all, so that many lists, cancels and
// replacements at a time hold up everybody else no longer than one does. Between two commits there are few turns, for one
// commit of all of a list would hold up everybody too. Knows how much work a turn may hold, not what it is.

/** Messages in one turn: some 3 ms. */
export const SLICE = 200
/** Messages between two commits. */
const COMMIT = 600

interface Waiting {
  readonly go: () => void
  readonly messages: number
}

export class Turns {
  /** The commit that is being gathered is durable. */
  private readonly synced: () => Promise<void>
  private waiting: Waiting[] = []
  /** Of `waiting`, those before it have gone. */
  private next = 0
  private isRunning = false
  /** Messages since the last commit that was waited for. */
  private gathered = 0

  constructor(synced: () => Promise<void>) {
    this.synced = synced
  }

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
    if (this.gathered >= COMMIT) {
      this.gathered = 0
      // Where the store has failed the process ends, and whoever waits has nothing to lose.
      this.synced().then(this.run, this.run)
      return
    }
    let left = SLICE
    for (; this.next < this.waiting.length; this.next++) {
      const { go, messages } = this.waiting[this.next] as Waiting
      if (messages > left) break
      left -= messages
      go()
    }
    this.gathered += SLICE - left
    this.isRunning = this.next < this.waiting.length
    if (this.isRunning) setImmediate(this.run)
    if (this.next * 2 < this.waiting.length) return
    this.waiting = this.waiting.slice(this.next)
    this.next = 0
  }
}
