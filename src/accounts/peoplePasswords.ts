// Passwords of people: argon2id, one hash at a time, for each takes 20 MB and a while. Knows hashes, not whose they are; the
// library is loaded when the first person comes.

const OPTIONS = { memoryCost: 19_456, timeCost: 2, parallelism: 1 } as const
/** Who comes when so many wait is asked to come again. */
const MAX_WAITING = 50

/** Too many passwords are being checked. */
export class Busy extends Error {}

export class PeoplePasswords {
  private last: Promise<unknown> = Promise.resolve()
  private waiting = 0
  /** Of no password: who is unknown takes as long as who is known. */
  private nobody: Promise<string> | undefined

  hash(password: string): Promise<string> {
    return this.inTurn(async () => (await import('@node-rs/argon2')).hash(password, OPTIONS))
  }

  /** Takes as long without a hash as with one. */
  async verify(password: string, hash: string | null): Promise<boolean> {
    this.nobody ??= this.hash('nobody has this password').catch(error => {
      this.nobody = undefined
      throw error
    })
    // Waited for with a hash too: the very first tells no more than the others.
    const nobody = await this.nobody
    const isRight = await this.inTurn(async () => (await import('@node-rs/argon2')).verify(hash ?? nobody, password))
    return isRight && hash !== null
  }

  /** Throws {@link Busy}. */
  private async inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.waiting >= MAX_WAITING) throw new Busy('too many people at a time')
    this.waiting++
    const mine = this.last.then(work)
    this.last = mine.catch(() => {})
    try {
      return await mine
    } finally {
      this.waiting--
    }
  }
}
