// Access tokens: short-lived JWTs (RFC 7519), signed by HS256 under a key derived from the server key, that point to a
// session of a person or to an API key. What those may do is looked up at each use: a token says no more than whose it is.

import { webcrypto } from 'node:crypto'
import type { Clock } from '../base/clock.js'

const ISSUER = 'trunkline'
/** Seconds. */
export const TOKEN_LIFE_S = 600

/** Whose a token is. */
export type Bearer =
  | { readonly kind: 'person'; readonly session: string }
  /** `hash`: of the key, in hex. `scopes`: what was asked for; none: all that the key may. */
  | { readonly kind: 'key'; readonly hash: string; readonly scopes: readonly string[] }

interface Claims {
  sid?: string
  kh?: string
  scope?: string
}

export const looksLikeToken = (text: string): boolean => /^eyJ[\w-]+\.[\w-]+\.[\w-]+$/.test(text)

export class PeopleTokens {
  private readonly octets: Buffer
  private readonly kid: string
  private readonly clock: Clock
  private imported: Promise<webcrypto.CryptoKey> | undefined

  constructor(signing: { key: Buffer; id: string }, clock: Clock) {
    this.octets = signing.key
    this.kid = signing.id
    this.clock = clock
  }

  async sign(bearer: Bearer): Promise<string> {
    const { SignJWT } = await import('jose')
    const claims: Claims =
      bearer.kind === 'person' ? { sid: bearer.session } : { kh: bearer.hash, scope: bearer.scopes.join(' ') }
    const nowS = Math.floor(this.clock.now() / 1000)
    return new SignJWT({ ...claims })
      .setProtectedHeader({ alg: 'HS256', typ: 'JWT', kid: this.kid })
      .setIssuer(ISSUER)
      .setAudience(ISSUER)
      .setIssuedAt(nowS)
      .setExpirationTime(nowS + TOKEN_LIFE_S)
      .sign(await this.key())
  }

  /** Undefined: it is not ours, or its time is over. */
  async read(token: string): Promise<Bearer | undefined> {
    const { jwtVerify } = await import('jose')
    const wanted = {
      algorithms: ['HS256'],
      issuer: ISSUER,
      audience: ISSUER,
      requiredClaims: ['exp'],
      currentDate: new Date(this.clock.now()),
    }
    try {
      const { payload, protectedHeader } = await jwtVerify<Claims>(token, await this.key(), wanted)
      if (protectedHeader.kid !== this.kid) return undefined
      const { sid, kh, scope = '' } = payload
      if (typeof sid === 'string') return { kind: 'person', session: sid }
      return typeof kh === 'string'
        ? { kind: 'key', hash: kh, scopes: scope === '' ? [] : scope.split(' ') }
        : undefined
    } catch {
      return undefined
    }
  }

  private key(): Promise<webcrypto.CryptoKey> {
    this.imported ??= webcrypto.subtle.importKey('raw', this.octets, { name: 'HMAC', hash: 'SHA-256' }, false, [
      'sign',
      'verify',
    ])
    return this.imported
  }
}
