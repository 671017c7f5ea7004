// Standard Webhooks 1.0.0: secrets, signatures and their headers. Pure; who is told what, and when, it does not know.

import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'

const PREFIX = 'whsec_'
const SECRET_BYTES = 32
/** A receiver must not take what is older, or newer, than this. */
const TOLERANCE_S = 300

export const newWebhookSecret = (): string => webhookSecret(randomBytes(SECRET_BYTES))

/** `octets`, 24 to 64 of them, as a secret is written. */
export const webhookSecret = (octets: Buffer): string => PREFIX + octets.toString('base64')

/** Whether it is one: `whsec_` and 24 to 64 octets in base64. */
export function isWebhookSecret(text: string): boolean {
  if (!/^whsec_[A-Za-z0-9+/]+={0,2}$/.test(text)) return false
  const { length } = keyOf(text)
  return length >= 24 && length <= 64
}

const keyOf = (secret: string): Buffer => Buffer.from(secret.slice(PREFIX.length), 'base64')

/** `webhook-signature` for one attempt: a signature with each secret, `v1,` and HMAC-SHA-256 in base64. */
export function signWebhook(secrets: readonly string[], id: string, timestampS: number, body: string): string {
  const signed = `${id}.${timestampS}.${body}`
  return secrets.map(secret => `v1,${createHmac('sha256', keyOf(secret)).update(signed).digest('base64')}`).join(' ')
}

/** Whether one of the signatures is by `secret` and the moment is within five minutes of now. Header names in lower case. */
export function verifyWebhook(
  secret: string,
  headers: Readonly<Record<string, string | string[] | undefined>>,
  body: string,
  nowS: number,
): boolean {
  const { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signatures } = headers
  if (typeof id !== 'string' || typeof timestamp !== 'string' || typeof signatures !== 'string') return false
  if (!/^\d{1,12}$/.test(timestamp) || Math.abs(nowS - Number(timestamp)) > TOLERANCE_S) return false
  const wanted = Buffer.from(signWebhook([secret], id, Number(timestamp), body))
  return signatures.split(' ').some(one => {
    const given = Buffer.from(one)
    return given.length === wanted.length && timingSafeEqual(given, wanted)
  })
}
