// Turns at what many want and few may have at a time: so many in all, and one for each who asks. Who comes later waits a little,
// in order, past those who wait for a turn of their own to end. Knows numbers of whoever asks, and nothing of what they do.

/** There is no turn, and none came. */
export class Busy extends Error {
  /** Who asks has one already. */
  readonly isOwn: boolean

  constructor(isOwn: boolean) {
    super(isOwn ? 'it has a turn already' : 'others have all turns')
    this.isOwn = isOwn
  }
}

/** Longer lines are for nothing: nobody at their end gets a turn in time. */
const LONGEST = 100
/** Of one in it: there is room for others. */
const OWN_LONGEST = 10

type Leave = () => void

interface Waiting {
  readonly who: number | null
  go(leave: Leave): void
}

export class Turns {
  private readonly most: number
  private readonly waitMs: number
  private taken = 0
  private readonly own = new Set<number>()
  private readonly line: Waiting[] = []

  constructor({ most, waitMs }: { most: number; waitMs: number }) {
    this.most = most
    this.waitMs = waitMs
  }

  /** A turn at this moment, for nobody in particular if null; call what it returns when it is over. Throws {@link Busy}. */
  take(who: number | null): Leave {
    if (!this.isFree(who)) throw this.busy(who)
    return this.enter(who)
  }

  /** Does it in a turn, as soon as there is one. Rejects with {@link Busy} when none comes in time, or with what `work` throws. */
  async run<T>(who: number | null, work: () => Promise<T>): Promise<T> {
    const leave = this.isFree(who) ? this.enter(who) : await this.comes(who)
    try {
      return await work()
    } finally {
      leave()
    }
  }

  private isFree(who: number | null): boolean {
    return this.taken < this.most && (who === null || !this.own.has(who))
  }

  private busy(who: number | null): Busy {
    return new Busy(who !== null && this.own.has(who))
  }

  private enter(who: number | null): Leave {
    this.taken++
    if (who !== null) this.own.add(who)
    let isOver = false
    return () => {
      if (isOver) return
      isOver = true
      this.taken--
      if (who !== null) this.own.delete(who)
      this.next()
    }
  }

  private comes(who: number | null): Promise<Leave> {
    const { line } = this
    const own = who === null ? 0 : line.reduce((count, one) => count + (one.who === who ? 1 : 0), 0)
    if (own >= OWN_LONGEST) return Promise.reject(new Busy(true))
    if (line.length >= LONGEST) return Promise.reject(this.busy(who))
    return new Promise((resolve, reject) => {
      const one: Waiting = {
        who,
        go: leave => {
          clearTimeout(timer)
          resolve(leave)
        },
      }
      const timer = setTimeout(() => {
        line.splice(line.indexOf(one), 1)
        reject(this.busy(who))
      }, this.waitMs)
      line.push(one)
    })
  }

  private next(): void {
    const at = this.line.findIndex(({ who }) => this.isFree(who))
    const [one] = at < 0 ? [] : this.line.splice(at, 1)
    one?.go(this.enter(one.who))
  }
}
