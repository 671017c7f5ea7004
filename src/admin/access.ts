// Who may administer: whoever reaches the unix socket, and over TCP whoever has the admin key.
// Knows one key and compares it in constant time; what is asked for, it does not know.

import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Clock } from '../base/clock.js'
import type { Log } from '../base/log.js'
import { Problem } from './problem.js'

/** Refused keys are logged this often at most, with their number. */
const WARN_EVERY_MS = 10_000

export interface AccessOptions {
  key: string | null
  clock: Clock
  log: Log
  /** A key was refused. */
  refused(): void
}

export class Access {
  private readonly options: AccessOptions
  /** Digests under a secret of this process have one length, whatever the keys' lengths. */
  private readonly secret = randomBytes(32)
  private readonly wanted: Buffer | null
  private readonly local = new WeakSet<IncomingMessage>()
  private refusedSince = 0
  private warnedMs = Number.NEGATIVE_INFINITY

  constructor(options: AccessOptions) {
    this.options = options
    this.wanted = options.key === null ? null : this.digest(options.key)
  }

  /** The request came over the unix socket, whose file says who may connect. */
  trust(request: IncomingMessage): void {
    this.local.add(request)
  }

  /** For log lines: where a request came from. */
  from(request: IncomingMessage): string {
    const { remoteAddress, remotePort } = request.socket
    return this.local.has(request) ? 'admin.sock' : `${remoteAddress ?? ''}:${remotePort ?? ''}`
  }

  /** Why this request may not administer; undefined when it may. */
  refusal(request: IncomingMessage): Problem | undefined {
    if (this.local.has(request)) return undefined
    if (this.wanted === null) return noKeyConfigured()
    const given = keyIn(request)
    if (given === undefined) {
      return new Problem(
        401,
        'key_missing',
        'A key is needed',
        'send the admin key as Authorization: Bearer or X-API-Key',
      )
    }
    if (timingSafeEqual(this.digest(given), this.wanted)) return undefined
    this.note(request)
    return new Problem(401, 'key_refused', 'The key is refused', 'this is not the admin key of this gateway')
  }

  private digest(key: string): Buffer {
    return createHmac('sha256', this.secret).update(key).digest()
  }

  private note(request: IncomingMessage): void {
    const { clock, log, refused } = this.options
    refused()
    this.refusedSince++
    if (clock.mono() - this.warnedMs < WARN_EVERY_MS) return
    log.warn({ from: this.from(request), refused: this.refusedSince }, 'admin key refused')
    this.warnedMs = clock.mono()
    this.refusedSince = 0
  }
}

const noKeyConfigured = (): Problem =>
  new Problem(
    403,
    'no_admin_key',
    'Administration over the network is off',
    'set admin.key (TRUNKLINE_ADMIN_KEY) to allow it, or use the trunkline command on the machine itself, which needs no key',
  )

/** The key of a request: `Authorization: Bearer`, or X-API-Key. */
export function keyIn({ headers }: IncomingMessage): string | undefined {
  const bearer = /^Bearer +(\S.*)$/i.exec(headers.authorization ?? '')?.[1]
  const plain = headers['x-api-key']
  return bearer ?? (typeof plain === 'string' ? plain : undefined)
}
