// Everything that depends on the server key: hashes of machines' passwords and API keys,
// and the sealing of carriers' passwords. Nodes over one database share the key; without
// it the rows are of no use to who reads them.

import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto'
import { link, mkdir, open, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { webhookSecret } from '../../protocols/http/webhook.js'

const KEY_BYTES = 32
const IV_BYTES = 12
const TAG_BYTES = 16
/** First octet of what is sealed. */
const SEAL_FORMAT = 1

/**
 * The key of this node: `given` (64 hex digits) if there is one, else the file `server.key` in
 * `dataDir`, made at the first start. Throws when either is no key.
 */
export async function serverKey(dataDir: string, given: string | null = null): Promise<Buffer> {
  if (given !== null) return parseKey(given, 'the given server key')
  const file = join(dataDir, 'server.key')
  const known = await readFile(file, 'utf8').catch(() => undefined)
  if (known !== undefined) return parseKey(known, file)
  await mkdir(dataDir, { recursive: true, mode: 0o711 })
  const half = `${file}.${randomBytes(4).toString('hex')}`
  const handle = await open(half, 'w', 0o600)
  await handle.writeFile(`${randomBytes(KEY_BYTES).toString('hex')}\n`)
  await handle.sync()
  await handle.close()
  // Of two who make one at the same time, the first wins and both use it.
  await link(half, file).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
  await rm(half)
  return parseKey(await readFile(file, 'utf8'), file)
}

function parseKey(text: string, where: string): Buffer {
  const trimmed = text.trim()
  if (!/^[0-9a-f]{64}$/i.test(trimmed)) throw new Error(`${where} is not a server key: 64 hex digits`)
  return Buffer.from(trimmed, 'hex')
}

export class Secrets {
  /** Equal for equal server keys, and tells nothing about them. */
  readonly check: Buffer
  private readonly passwords: Buffer
  private readonly keys: Buffer
  private readonly seals: Buffer
  private readonly callbacks: Buffer
  private readonly tokens: Buffer
  /** What signs access tokens, and its name. */
  readonly signing: { readonly key: Buffer; readonly id: string }

  constructor(key: Buffer) {
    const derived = (use: string): Buffer => Buffer.from(hkdfSync('sha256', key, '', `trunkline ${use}`, KEY_BYTES))
    this.check = derived('check')
    this.passwords = derived('passwords')
    this.keys = derived('api keys')
    this.seals = derived('seals')
    this.callbacks = derived('callbacks')
    this.tokens = derived('tokens')
    const signing = derived('access tokens')
    this.signing = { key: signing, id: createHmac('sha256', signing).update('id').digest('hex').slice(0, 16) }
  }

  /** HMAC-SHA-256, 32 octets. The system id is part of it: equal passwords do not show as such, and a hash is good for one account only. */
  passwordHash(systemId: string, password: string): Buffer {
    return createHmac('sha256', this.passwords).update(`${systemId}\0${password}`).digest()
  }

  /** In constant time, whether or not there is a hash. */
  verifyPassword(systemId: string, password: string, hash: Buffer | null): boolean {
    const made = this.passwordHash(systemId, password)
    return timingSafeEqual(made, hash ?? this.check) && hash !== null
  }

  /** What signs events for URLs that messages themselves name: one secret an account, `whsec_…`, never stored. */
  callbackSecret(systemId: string): string {
    return webhookSecret(createHmac('sha256', this.callbacks).update(systemId).digest())
  }

  /** HMAC-SHA-256 of an API key: what it is looked up by. */
  keyHash(apiKey: string): Buffer {
    return createHmac('sha256', this.keys).update(apiKey).digest()
  }

  /** HMAC-SHA-256 of a token that is good once. */
  tokenHash(token: string): Buffer {
    return createHmac('sha256', this.tokens).update(token).digest()
  }

  /** AES-256-GCM under the server key, for `owner` alone: format, IV, tag, ciphertext. */
  seal(owner: string, text: string): Buffer {
    const iv = randomBytes(IV_BYTES)
    const cipher = createCipheriv('aes-256-gcm', this.seals, iv).setAAD(Buffer.from(owner))
    const sealed = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()])
    return Buffer.concat([Buffer.of(SEAL_FORMAT), iv, cipher.getAuthTag(), sealed])
  }

  /** What was sealed for `owner`; undefined when it was sealed under another key, for another owner, or changed. */
  unseal(owner: string, sealed: Buffer): string | undefined {
    const textAt = 1 + IV_BYTES + TAG_BYTES
    if (sealed[0] !== SEAL_FORMAT || sealed.length < textAt) return undefined
    const decipher = createDecipheriv('aes-256-gcm', this.seals, sealed.subarray(1, 1 + IV_BYTES))
      .setAAD(Buffer.from(owner))
      .setAuthTag(sealed.subarray(1 + IV_BYTES, textAt))
    try {
      return decipher.update(sealed.subarray(textAt), undefined, 'utf8') + decipher.final('utf8')
    } catch {
      return undefined
    }
  }
}

/** A new API key. What stands before its random part tells people whose it is, and whether it is for tests only. */
export const newApiKey = (systemId: string, kind: 'live' | 'test' = 'live'): string =>
  `tl_${kind === 'test' ? 'test_' : ''}${systemId}_${randomBytes(16).toString('hex')}`

const SECRET_CHARACTERS = 16
const SHOWN_OF_RANDOM = 4

/** The part of an API key that may be shown: at least 16 characters stay secret. */
export function shownPrefix(apiKey: string): string {
  const random = apiKey.lastIndexOf('_') + 1
  return apiKey.slice(0, Math.max(0, Math.min(random + SHOWN_OF_RANDOM, apiKey.length - SECRET_CHARACTERS)))
}
