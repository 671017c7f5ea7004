// Certificates for tests, made by the openssl command: small keys of P-256, good for a month. Knows no socket.
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

export interface Certificate {
  /** Paths of PEM files. */
  readonly cert: string
  readonly key: string
  readonly pem: { readonly cert: Buffer; readonly key: Buffer }
}

/** A certificate for `name`, `127.0.0.1` and `::1` in `dir`, signed by itself or by `by`. */
export function certificate(dir: string, name: string, by?: Certificate): Certificate {
  const cert = join(dir, `${name}.crt`)
  const key = join(dir, `${name}.key`)
  const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  const names = `subjectAltName=DNS:${name},IP:127.0.0.1,IP:::1`
  const signer = by === undefined ? [] : ['-CA', by.cert, '-CAkey', by.key]
  const ends = ['-days', '30', '-subj', `/CN=${name}`, '-addext', names, '-keyout', key, '-out', cert]
  execFileSync('openssl', [...request, ...ends, ...signer], { stdio: 'pipe' })
  return { cert, key, pem: { cert: readFileSync(cert), key: readFileSync(key) } }
}
