// What a TLS listener shows and asks for: reads certificate, key and CA files, and says in one sentence each what is wrong with
// them. Knows files and OpenSSL's opinion; never logs a key, nor its path's content.
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'

/**
 * none: no client certificate is asked for. ask: one may be shown, and then must be good. require: no connection without a
 * good one.
 */
export type ClientCert = 'none' | 'ask' | 'require'

/** Paths of PEM files. */
export interface TlsFiles {
  /** The certificate and its chain; null: no TLS. */
  readonly cert: string | null
  readonly key: string | null
  /** Who signs clients' certificates. */
  readonly clientCa: string | null
  readonly clientCert: ClientCert
}

export interface TlsMaterial {
  readonly cert: Buffer
  readonly key: Buffer
  readonly ca: Buffer | undefined
  readonly clientCert: ClientCert
  /** The day the certificate ends, as it says so itself. */
  readonly validTo: string
}

export interface TlsFault {
  readonly setting: 'cert' | 'key' | 'clientCa' | 'clientCert'
  readonly message: string
}

/** All faults at once; null when there is to be no TLS. */
export function readTls(files: TlsFiles): TlsMaterial | null | readonly TlsFault[] {
  const faults: TlsFault[] = []
  const add = (setting: TlsFault['setting'], message: string): undefined => {
    faults.push({ setting, message })
    return undefined
  }
  const read = (setting: 'cert' | 'key' | 'clientCa'): Buffer | undefined => {
    const file = files[setting]
    if (file === null) return undefined
    try {
      return readFileSync(file)
    } catch (error) {
      return add(setting, `${file} cannot be read: ${(error as NodeJS.ErrnoException).code}`)
    }
  }
  const certificateIn = (setting: 'cert' | 'clientCa', pem: Buffer | undefined): X509Certificate | undefined => {
    if (pem === undefined) return undefined
    try {
      return new X509Certificate(pem)
    } catch {
      return add(setting, `${files[setting]} holds no certificate in PEM`)
    }
  }
  if (files.cert !== null && files.key === null) add('key', 'must be given where there is a certificate')
  if (files.cert === null && files.key !== null) add('cert', 'must be given where there is a key')
  if (files.clientCert !== 'none' && files.clientCa === null) {
    add('clientCa', `must be given where client certificates are to be checked (clientCert ${files.clientCert})`)
  }
  const cert = read('cert')
  const key = read('key')
  const ca = read('clientCa')
  const own = certificateIn('cert', cert)
  certificateIn('clientCa', ca)
  if (cert === undefined || key === undefined || own === undefined) return faults.length > 0 ? faults : null
  try {
    createSecureContext({ cert, key })
  } catch (error) {
    const isMismatch = (error as NodeJS.ErrnoException).code === 'ERR_OSSL_X509_KEY_VALUES_MISMATCH'
    if (isMismatch) add('key', `${files.key} is not the key of the certificate`)
    else add('key', `${files.key} and the certificate cannot be used: ${(error as Error).message}`)
  }
  if (faults.length > 0) return faults
  return { cert, key, ca, clientCert: files.clientCert, validTo: own.validTo }
}

/** What `readTls` found wrong. */
export const isFaulty = (read: ReturnType<typeof readTls>): read is readonly TlsFault[] => Array.isArray(read)
