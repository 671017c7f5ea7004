// One event to one URL, signed (Standard Webhooks 1.0.0), and what was said to it; also as a test, past all queues. Knows
// bodies, signatures and answers; when it is tried again webhook.ts knows.

import { randomUUID } from 'node:crypto'
import { signWebhook } from '../../protocols/http/webhook.js'
import type { Reach } from '../../protocols/net/reach.js'
import type { HookSettings } from '../accounts/hooks.js'
import type { Clock } from '../base/clock.js'
import { Histogram } from '../base/figures.js'
import type { Event } from './events.js'
import { WebhookClient } from './webhookClient.js'

/** What a receiver may ask for with Retry-After. */
const MAX_ASKED_MS = 3_600_000
/** Tests at a time. */
const MAX_TESTS = 16

/** Where an event goes, and how. */
export interface Addressee {
  readonly url: string
  /** Newest first; all of them sign. */
  readonly secrets: readonly string[]
  readonly settings: HookSettings
}

export interface Said {
  readonly status: number
  /** Not before so many ms, it asks; 0: it does not. */
  readonly waitMs: number
}

/** What came of a test. */
export interface Tested {
  /** null: no answer came. */
  readonly status: number | null
  readonly ms: number
  /** Why it was not taken; null: it was. */
  readonly reason: string | null
}

export class WebhookPost {
  /** First octet sent to the answer, ms. */
  readonly latency = new Histogram()
  private readonly clock: Clock
  private readonly client: WebhookClient
  private tests = 0

  constructor(clock: Clock, reach: Reach) {
    this.clock = clock
    this.client = new WebhookClient(reach)
  }

  /** Rejects when no answer came in time: see {@link reasonOf}. */
  async send({ url, secrets, settings }: Addressee, event: Event): Promise<Said> {
    const { clock } = this
    const body = `{"type":${JSON.stringify(event.type)},"timestamp":"${new Date(event.atMs).toISOString()}","data":${event.data}}`
    const timestampS = Math.floor(clock.now() / 1_000)
    const fromMs = clock.mono()
    const headers = {
      'content-type': 'application/json',
      'user-agent': 'Trunkline',
      'webhook-id': event.id,
      'webhook-timestamp': String(timestampS),
      'webhook-signature': signWebhook(secrets, event.id, timestampS, body),
    }
    const answer = await this.client.post(url, headers, body, settings.timeoutMs)
    this.latency.observe(clock.mono() - fromMs)
    return { status: answer.status, waitMs: waitMs(answer.headers['retry-after'], clock.now()) }
  }

  /** Sends `webhook.test` and says what came of it; undefined: too many tests run already. */
  async test(to: Addressee, facts: object): Promise<Tested | undefined> {
    if (this.tests >= MAX_TESTS) return undefined
    this.tests++
    const { clock } = this
    const fromMs = clock.mono()
    const since = (): number => Math.round(clock.mono() - fromMs)
    const event = { id: `test_${randomUUID()}`, type: 'webhook.test', atMs: clock.now(), data: JSON.stringify(facts) }
    try {
      const { status } = await this.send(to, event)
      return { status, ms: since(), reason: isGood(status) ? null : `HTTP ${status}` }
    } catch (error) {
      return { status: null, ms: since(), reason: reasonOf(error) }
    } finally {
      this.tests--
    }
  }

  /** Hangs up on whoever has not answered. */
  close(): void {
    this.client.close()
  }
}

export const isGood = (status: number): boolean => status >= 200 && status < 300

/** Why no answer came, in a word: TIMEOUT, OUT_OF_REACH, ECONNREFUSED. */
export function reasonOf(error: unknown): string {
  const { code, name } = error as NodeJS.ErrnoException
  return code ?? name
}

/** Retry-After, RFC 9110 §10.2.3: seconds or a date; 0 when there is none. */
function waitMs(header: string | undefined, nowMs: number): number {
  if (header === undefined) return 0
  const ms = /^\d{1,9}$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - nowMs
  return ms > 0 ? Math.min(ms, MAX_ASKED_MS) : 0
}
