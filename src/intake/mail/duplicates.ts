// Mails that came a moment ago: whoever got no answer sends again, and the phone must not ring twice. A mail is the same
// when its account, Message-ID, number and text are; one without a Message-ID never is. In memory: a restart forgets.

import { createHash } from 'node:crypto'

const WINDOW_MS = 120_000
const REMEMBERED = 250_000

interface Seen {
  readonly id: number
  readonly atMs: number
}

export class Duplicates {
  private readonly now: () => number
  /** The oldest first. */
  private readonly seen = new Map<string, Seen>()

  /** `now`: milliseconds, monotonic. */
  constructor(now: () => number) {
    this.now = now
  }

  key(account: number, messageId: string, number: string, text: string): string {
    return createHash('sha1').update(`${account}\n${messageId}\n${number}\n${text}`).digest('base64')
  }

  /** The id of the message that this one repeats. */
  find(key: string): number | undefined {
    const found = this.seen.get(key)
    return found !== undefined && this.now() - found.atMs < WINDOW_MS ? found.id : undefined
  }

  add(key: string, id: number): void {
    const now = this.now()
    this.seen.delete(key)
    this.seen.set(key, { id, atMs: now })
    for (const [oldest, { atMs }] of this.seen) {
      if (this.seen.size <= REMEMBERED && now - atMs < WINDOW_MS) break
      this.seen.delete(oldest)
    }
  }
}
