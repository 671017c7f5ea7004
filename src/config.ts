// Every setting: its default, its bounds, one sentence, in one schema; the sections stand in config/. Knows what a setting
// is, not what it is for, and not where it is written: that is config/loading.ts's. Only cli and daemon import it.

import { z } from 'zod'
import { admin, smpp, smtp } from './config/doors.js'
import { ANY_NAME, flag, names, text, whole } from './config/kinds.js'
import { history, lifetimes, loops, quietHours, retries, spool } from './config/messages.js'
import { analytics, audit, billing, otp, people, sandbox, webhooks } from './config/services.js'

export { trustedFrom } from './config/doors.js'
export { isLoopback, parseListen, tlsFiles } from './config/kinds.js'

export const schema = z.strictObject({
  dataDir: text('data', /^[^\0]+$/, 'a path', 'The folder that holds everything this node must not lose.'),
  node: whole(0, 0, 63, 'Number of this node in message ids; no two nodes over the same database share one.'),
  bootstrap: z.string().min(1).nullable().default(null).meta({
    description: 'A gateway file to apply on the first start with an empty database.',
    expects: 'a path or null',
  }),
  smpp,
  smtp,
  admin,
  database: z
    .strictObject({
      url: z
        .string()
        .regex(/^postgres(?:ql)?:\/\//)
        .nullable()
        .default(null)
        .meta({
          description: 'PostgreSQL 14 or later; null starts the embedded one in dataDir.',
          expects: "null or 'postgres://...'",
          secret: true,
        }),
      pool: whole(10, 1, 200, 'Connections to the database at most.'),
    })
    .prefault({}),
  redis: z
    .strictObject({
      url: z.null().default(null).meta({
        description: 'Messages are stored in LMDB in dataDir, the only engine of this release.',
        expects: 'null: this release stores in LMDB only',
        secret: true,
      }),
      mayLose: flag(false, 'Start even if Redis is set up so that it may lose what it acknowledged.'),
    })
    .prefault({}),
  people,
  audit,
  webhooks,
  otp,
  sandbox,
  spool,
  lifetimes,
  quietHours,
  loops,
  retry: retries,
  history,
  analytics,
  billing,
  stop: z
    .strictObject({
      drainMs: whole(8_000, 0, 600_000, 'What open windows may take to empty when the daemon stops.'),
    })
    .prefault({}),
  log: z
    .strictObject({
      level: z
        .enum(['debug', 'info', 'warn', 'error'])
        .default('info')
        .meta({ description: 'The least that is logged.' }),
      pretty: flag(false, 'Lines for people instead of JSON.'),
      trace: names([], ANY_NAME, 'a list of names', 'Accounts and carriers whose PDUs are logged at debug.'),
    })
    .prefault({}),
})

/** Groups made by `tls`. */
export const TLS_GROUPS = ['smpp.tls', 'smtp.tls']

export type Config = z.output<typeof schema>
/** A part of a configuration, as a file or the command line gives it. */
export type ConfigInput = z.input<typeof schema>

/** Settings that SIGHUP applies to a running daemon; the others need a restart. */
export const LIVE_KEYS: readonly string[] = [
  'log.level',
  'log.trace',
  'smpp.tls.cert',
  'smpp.tls.key',
  'smpp.tls.clientCa',
  'smtp.tls.cert',
  'smtp.tls.key',
  'smtp.tls.clientCa',
]

export interface Setting {
  /** `smpp.enquireLinkMs` */
  key: string
  /** `TRUNKLINE_SMPP_ENQUIRE_LINK_MS` */
  env: string
  kind: 'number' | 'boolean' | 'string' | 'list'
  nullable: boolean
  preset: unknown
  sentence: string
  /** What a value must be, in words: completes `must be ...`. */
  expects: string
  /** Never printed. */
  secret: boolean
}

let all: readonly Setting[] | undefined

/** All settings in the order of the schema. Made at the first call: what has neither variables nor faults asks for none. */
export function settings(): readonly Setting[] {
  all ??= settingsOf(z.toJSONSchema(schema) as JsonSchema, '')
  return all
}

interface JsonSchema {
  type?: string
  anyOf?: JsonSchema[]
  properties?: Record<string, JsonSchema>
  enum?: string[]
  minimum?: number
  maximum?: number
  default?: unknown
  description?: string
  expects?: string
  secret?: boolean
}

function settingsOf(node: JsonSchema, prefix: string): Setting[] {
  return Object.entries(node.properties ?? {}).flatMap(([name, child]) => {
    const key = prefix + name
    return child.properties === undefined ? [settingOf(child, key)] : settingsOf(child, `${key}.`)
  })
}

function settingOf(node: JsonSchema, key: string): Setting {
  const types = (node.anyOf ?? [node]).map(branch => branch.type ?? '')
  const type = types.find(name => name !== 'null')
  const kind = type === 'integer' ? 'number' : type === 'boolean' ? 'boolean' : type === 'array' ? 'list' : 'string'
  return {
    key,
    env: `TRUNKLINE_${key.replaceAll('.', '_').replace(/[A-Z]/g, '_$&').toUpperCase()}`,
    kind,
    nullable: types.includes('null'),
    preset: node.default,
    sentence: node.description ?? '',
    expects: node.expects ?? expectation(node, kind),
    secret: node.secret === true,
  }
}

function expectation(node: JsonSchema, kind: Setting['kind']): string {
  if (node.enum !== undefined) return `one of ${node.enum.join(', ')}`
  return kind === 'boolean' ? 'true or false' : `a whole number from ${node.minimum} to ${node.maximum}`
}
