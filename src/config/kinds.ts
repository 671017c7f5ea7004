// Kinds of settings that several sections have: what a value may be, in the schema and in words, and how one that names a
// listener is read. Knows no single setting.

import { z } from 'zod'
import { isRange } from '../../protocols/net/address.js'

export const whole = (preset: number, min: number, max: number, description: string) =>
  z.int().min(min).max(max).default(preset).meta({ description })

export const flag = (preset: boolean, description: string) => z.boolean().default(preset).meta({ description })

export const text = (preset: string, pattern: RegExp, expects: string, description: string) =>
  z.string().regex(pattern).default(preset).meta({ description, expects })

export const listen = (preset: string, description: string) =>
  z
    .string()
    .refine(value => parseListen(value) !== undefined)
    .default(preset)
    .meta({ description, expects: "'host:port', '[v6]:port' or off" })

export const names = (preset: string[], pattern: RegExp, expects: string, description: string) =>
  z.array(z.string().regex(pattern)).default(preset).meta({ description, expects })

const path = (description: string) =>
  z.string().min(1).nullable().default(null).meta({ description, expects: 'a path or null' })

/** A listener that speaks TLS: the same settings wherever there is one. */
export const tls = (preset: string, who: string) =>
  z
    .strictObject({
      listen: listen(preset, `Where ${who} over TLS; nobody listens there without a certificate.`),
      cert: path(
        'The certificate and its chain, a PEM file; SIGHUP reads it again, and bad files leave what is in use.',
      ),
      key: path('The key of the certificate, a PEM file.'),
      clientCa: path('The authorities that sign certificates of clients, a PEM file.'),
      clientCert: z
        .enum(['none', 'ask', 'require'])
        .default('none')
        .meta({ description: 'Whether a client must show a good certificate; ask: it may, and then it must be good.' }),
    })
    .prefault({})

export const ranges = (description: string) =>
  z
    .array(z.string().refine(isRange))
    .default([])
    .meta({ description, expects: 'a list of IP addresses and ranges like 192.0.2.0/24' })

export const ANY_NAME = /^\S{1,64}$/
export const DOMAIN = /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/
export const DAY_MS = 86_400_000

/** What a group made by {@link tls} holds of files. */
export const tlsFiles = tls('off', '').unwrap().omit({ listen: true }).strip()

/** Host and port of a listen setting; null for `off`; undefined when it is neither. Port 0 is any free one. */
export function parseListen(value: string): { host: string; port: number } | null | undefined {
  if (value === 'off') return null
  const parts = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]/]+)):([0-9]{1,5})$/.exec(value)
  const host = parts?.[1] ?? parts?.[2]
  const port = Number(parts?.[3])
  return host === undefined || port > 65_535 ? undefined : { host, port }
}

/** Whether nobody but this machine reaches it. */
export function isLoopback(value: string): boolean {
  const { host = 'localhost' } = parseListen(value) ?? {}
  return host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host)
}
