// How long a stop waits: each piece of its work has a time of its own, and somebody in a hurry ends them all. Knows no
// work.

/** A stop that was hurried gives peers and carriers this long. */
const HURRIED_MS = 100

export class Patience {
  /** Ends the waiting. */
  hurry: () => void = () => {}
  private readonly hurried = new Promise<void>(resolve => {
    this.hurry = resolve
  })

  /** Resolves when the work is done, when its time is over, or soon after somebody hurried; rejects as the work does. */
  async atMost(work: Promise<unknown>, ms: number): Promise<void> {
    const time = new Promise(resolve => setTimeout(resolve, ms).unref())
    const soon = this.hurried.then(() => new Promise(resolve => setTimeout(resolve, HURRIED_MS)))
    await Promise.race([work, time, soon])
  }
}
