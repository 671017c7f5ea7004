// The secrets that codes are hashed and sealed under. They stand in a file beside the stores, never in one: who reads a
// store cannot try codes out. The newest is used; older ones are good until the last session under them is over, then they
// are destroyed. Knows keys and their numbers; what is hashed others say.

import { createHmac, hkdfSync, randomBytes } from 'node:crypto'
import { open, readFile, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { assert } from '../../base/assert.js'
import type { Clock } from '../../base/clock.js'

const KEY_OCTETS = 32
/** Longer than any session lives. */
const KEEP_MS = 3_600_000

export class Pepper {
  readonly kid: number
  readonly sinceMs: number
  readonly secret: Buffer
  private readonly tags: Buffer
  private readonly seals: Buffer

  constructor(kid: number, sinceMs: number, secret: Buffer) {
    this.kid = kid
    this.sinceMs = sinceMs
    this.secret = secret
    const derived = (use: string): Buffer =>
      Buffer.from(hkdfSync('sha256', secret, '', `trunkline otp ${use}`, KEY_OCTETS))
    this.tags = derived('tags')
    this.seals = derived('seals')
  }

  /** HMAC-SHA-256, 32 octets. */
  tag(text: string): Buffer {
    return createHmac('sha256', this.tags).update(text).digest()
  }

  /**
   * A text of 64 octets at most under a pad that is `owner`'s alone: HMAC-SHA-512 of it. For one text of each owner, and
   * for texts that a tag stands for, base64.
   */
  seal(owner: string, text: string): string {
    return this.padded(owner, Buffer.from(text)).toString('base64')
  }

  unseal(owner: string, sealed: string): string {
    return this.padded(owner, Buffer.from(sealed, 'base64')).toString()
  }

  private padded(owner: string, octets: Buffer): Buffer {
    const pad = createHmac('sha512', this.seals).update(owner).digest()
    assert(octets.length <= pad.length, 'a pad is used once')
    for (let i = 0; i < octets.length; i++) octets[i] = (octets[i] as number) ^ (pad[i] as number)
    return octets
  }
}

export class Peppers {
  private readonly file: string
  private readonly clock: Clock
  private all: readonly Pepper[]
  private rotating: Promise<void> = Promise.resolve()

  private constructor(file: string, clock: Clock, all: readonly Pepper[]) {
    this.file = file
    this.clock = clock
    this.all = all
  }

  /** Reads the file, or makes it. Throws when it is no such file. */
  static async open(file: string, clock: Clock): Promise<Peppers> {
    const written = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return ''
      throw error
    })
    const peppers = new Peppers(
      file,
      clock,
      written.split('\n').flatMap(line => (line === '' ? [] : read(line, file))),
    )
    if (peppers.all.length === 0) await peppers.rotate()
    return peppers
  }

  get current(): Pepper {
    return this.all[0] as Pepper
  }

  /** undefined: it was destroyed, and nothing is good under it. */
  of(kid: number): Pepper | undefined {
    const { current } = this
    return current.kid === kid ? current : this.all.find(one => one.kid === kid)
  }

  /** A new one from now on, once it is durable. Those that nothing can stand under any more go. */
  rotate(): Promise<void> {
    this.rotating = this.rotating.then(
      () => this.add(),
      () => this.add(),
    )
    return this.rotating
  }

  private async add(): Promise<void> {
    const nowMs = this.clock.now()
    // By the clock, for the file may have been lost: no session is to come upon another secret under the number it knows.
    const kid = Math.max((this.all[0]?.kid ?? 0) + 1, Math.floor(nowMs / 1_000))
    const fresh = new Pepper(kid, nowMs, randomBytes(KEY_OCTETS))
    // One is in use until the next begins.
    const kept = this.all.filter((_, i) => i === 0 || nowMs - (this.all[i - 1] as Pepper).sinceMs < KEEP_MS)
    const all = [fresh, ...kept]
    const half = `${this.file}.new`
    const handle = await open(half, 'w', 0o600)
    try {
      await handle.writeFile(
        all.map(({ kid, sinceMs, secret }) => `${kid} ${sinceMs} ${secret.toString('hex')}\n`).join(''),
      )
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(half, this.file)
    const folder = await open(dirname(this.file))
    try {
      await folder.sync()
    } finally {
      await folder.close()
    }
    this.all = all
  }
}

function read(line: string, file: string): Pepper {
  const [, kid, sinceMs, secret] = /^(\d{1,15}) (\d{1,15}) ([0-9a-f]{64})$/.exec(line) ?? []
  if (secret === undefined)
    throw new Error(`${file} holds no peppers: each line must have a number, a moment and 64 hex digits`)
  return new Pepper(Number(kid), Number(sinceMs), Buffer.from(secret, 'hex'))
}
