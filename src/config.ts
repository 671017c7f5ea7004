// Every setting: its default, its bounds, one sentence, in one schema. Knows what a setting is, not what it is for, and
// not where it is written: that is config/loading.ts's. Only cli and daemon import it.

import { z } from 'zod'
import { isRange } from '../protocols/net/address.js'
import { readQuiet, readQuietCountry } from './model/quiet.js'

const whole = (preset: number, min: number, max: number, description: string) =>
  z.int().min(min).max(max).default(preset).meta({ description })

const flag = (preset: boolean, description: string) => z.boolean().default(preset).meta({ description })

const text = (preset: string, pattern: RegExp, expects: string, description: string) =>
  z.string().regex(pattern).default(preset).meta({ description, expects })

const listen = (preset: string, description: string) =>
  z
    .string()
    .refine(value => parseListen(value) !== undefined)
    .default(preset)
    .meta({ description, expects: "'host:port', '[v6]:port' or off" })

const names = (preset: string[], pattern: RegExp, expects: string, description: string) =>
  z.array(z.string().regex(pattern)).default(preset).meta({ description, expects })

const path = (description: string) =>
  z.string().min(1).nullable().default(null).meta({ description, expects: 'a path or null' })

/** A listener that speaks TLS: the same settings wherever there is one. */
const tls = (preset: string, who: string) =>
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

const ranges = (description: string) =>
  z
    .array(z.string().refine(isRange))
    .default([])
    .meta({ description, expects: 'a list of IP addresses and ranges like 192.0.2.0/24' })

const ANY_NAME = /^\S{1,64}$/
const DOMAIN = /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/
const DAY_MS = 86_400_000

/** How often a class of messages is tried. */
const retry = (what: string, firstMs: number, capMs: number, maxAgeMs: number) =>
  z
    .strictObject({
      firstMs: whole(firstMs, 100, DAY_MS, `The first wait before ${what} is tried again; it doubles.`),
      capMs: whole(capMs, 100, DAY_MS, 'The longest wait.'),
      maxAgeMs: whole(maxAgeMs, 1_000, 30 * DAY_MS, 'One older than this is not tried again, and ends as UNDELIV.'),
    })
    .prefault({})

export const schema = z.strictObject({
  dataDir: text('data', /^[^\0]+$/, 'a path', 'The folder that holds everything this node must not lose.'),
  node: whole(0, 0, 63, 'Number of this node in message ids; no two nodes over the same database share one.'),
  bootstrap: z.string().min(1).nullable().default(null).meta({
    description: 'A gateway file to apply on the first start with an empty database.',
    expects: 'a path or null',
  }),
  smpp: z
    .strictObject({
      listen: listen('127.0.0.1:2775', 'Where ESMEs bind.'),
      systemId: text('trunkline', /^[\x21-\x7e]{1,15}$/, '1 to 15 ASCII characters', 'Our name in bind responses.'),
      sessionInitMs: whole(10_000, 100, 600_000, 'A connection that has not bound by then is closed.'),
      enquireLinkMs: whole(30_000, 100, 3_600_000, 'After this silence we ask the peer whether it is there.'),
      responseMs: whole(
        60_000,
        100,
        3_600_000,
        'A request of ours unanswered for this long has failed; an enquire_link ends the session.',
      ),
      inactivityMs: whole(0, 0, DAY_MS, 'A bind that carries no message for this long is closed; 0 is never.'),
      window: whole(500, 1, 100_000, 'Requests of ours (deliver_sm) that may be unanswered on one bind.'),
      peerWindow: whole(5_000, 1, 1_000_000, 'Requests of a peer held unanswered before its socket is not read.'),
      maxPduBytes: whole(70_000, 1_024, 16_777_216, 'A longer PDU closes the session.'),
      sendBytes: whole(
        1_048_576,
        65_536,
        1_073_741_824,
        'Bytes waiting for a slow peer before we stop reading from it.',
      ),
      stallMs: whole(
        30_000,
        100,
        3_600_000,
        'A peer that takes none of the bytes waiting for it for this long is closed.',
      ),
      maxConnections: whole(10_000, 1, 1_000_000, 'Connections at one time, bound or not.'),
      maxConnectionsPerAddress: whole(
        2_000,
        0,
        1_000_000,
        'The same of one address (IPv6: of one /64); 0 is no limit of its own.',
      ),
      connectionsPerSecond: whole(
        2_000,
        0,
        1_000_000,
        'New connections a second of one address (IPv6: of one /64); 0 is no limit.',
      ),
      legacyBindCodes: flag(
        false,
        'A failed bind tells an unknown system_id from a wrong password, instead of ESME_RBINDFAIL for both.',
      ),
      congestion: flag(false, 'Answers to peers of SMPP v5.0 tell how full the queue is: congestion_state.'),
      failedBindDelayMs: whole(
        4_000,
        0,
        60_000,
        'The answer to failed binds of one address waits longer and longer, up to this; 0 never waits.',
      ),
      failedBinds: whole(
        100,
        0,
        1_000_000,
        'After so many failed binds of one address it is barred for a while; a good bind makes up for those of its name; 0 is never.',
      ),
      barredMs: whole(60_000, 1_000, DAY_MS, 'A barred address finds its connections closed for this long.'),
      proxy: ranges(
        'Proxies, which must put a PROXY header (v1, v2) before each connection; then nobody else may connect.',
      ),
      tls: tls('127.0.0.1:3550', 'ESMEs bind'),
    })
    .prefault({}),
  smtp: z
    .strictObject({
      listen: listen(
        '127.0.0.1:2525',
        'Where applications submit mail; beyond the machine itself they authenticate after STARTTLS only.',
      ),
      hostname: text('localhost', DOMAIN, 'a domain name in lower case', 'Our name in the greeting.'),
      smsDomains: names(
        ['sms.localhost'],
        DOMAIN,
        'a list of domain names in lower case',
        'Mail to NUMBER@ one of these domains becomes a text message.',
      ),
      catch: flag(
        false,
        'For developers: no mail is delivered; all that would leave, and mail to any address that is no phone number, is kept for the side-port to show at /catch.',
      ),
      postmaster: z
        .string()
        .regex(/^[^\s@<>]+@[^\s@<>]+$/)
        .nullable()
        .default(null)
        .meta({
          description: 'Who reads the mail to postmaster@ our domains, and whose name notifications bear.',
          expects: 'a mail address or null',
        }),
      trusted: z
        .array(z.string().refine(value => trustedFrom(value) !== undefined))
        .default([])
        .meta({
          description: 'Addresses whose mail needs no authentication, and whose it is.',
          expects: 'a list of ADDRESS=SYSTEMID or RANGE=SYSTEMID, like 192.0.2.7=shop',
        }),
      maxBytes: whole(20_971_520, 65_536, 1_073_741_824, 'Octets of one mail; of attachments nothing is kept.'),
      maxRecipients: whole(1_000, 100, 100_000, 'Recipients of one mail.'),
      idleMs: whole(300_000, 1_000, 3_600_000, 'From one whole command to the next; then the connection is closed.'),
      handshakeMs: whole(10_000, 100, 600_000, 'What a TLS handshake or a PROXY header may take.'),
      maxConnections: whole(10_000, 1, 1_000_000, 'Connections at one time.'),
      maxConnectionsPerAddress: whole(
        5_000,
        0,
        1_000_000,
        'The same of one address (IPv6: of one /64); 0 is no limit of its own.',
      ),
      connectionsPerSecond: whole(
        5_000,
        0,
        1_000_000,
        'New connections a second of one address (IPv6: of one /64); 0 is no limit.',
      ),
      proxy: ranges(
        'Proxies, which must put a PROXY header (v1, v2) before each connection; then nobody else may connect.',
      ),
      tls: tls('127.0.0.1:2465', 'applications submit mail'),
    })
    .prefault({}),
  admin: z
    .strictObject({
      listen: listen('127.0.0.1:8080', 'The HTTP side-port: API, health, metrics.'),
      key: z.string().min(16).max(256).nullable().default(null).meta({
        description: 'The key that administration over the network needs; without one it is refused there.',
        expects: 'null or at least 16 characters',
        secret: true,
      }),
      allowedOrigins: names(
        [],
        /^https?:\/\/[^\s/?#@]+$/,
        'a list of origins like https://app.example',
        'Pages from these origins may call the API from a browser (CORS).',
      ),
      trustedProxies: ranges(
        'Reverse proxies whose Forwarded or X-Forwarded-For is believed; of all others the connection alone says who asks.',
      ),
      apiKeyRequired: flag(
        true,
        'Without it a request without a key acts for admin.openAccount; only while nobody else can reach admin.listen.',
      ),
      openAccount: text('demo', ANY_NAME, 'a system_id', 'The account of requests without a key.'),
      metricsAccounts: names(
        [],
        ANY_NAME,
        'a list of system_ids',
        'Accounts that have a label of their own in /metrics.',
      ),
    })
    .prefault({}),
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
      pool: whole(5, 1, 200, 'Connections to the database at most.'),
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
  people: z
    .strictObject({
      register: z
        .enum(['closed', 'open'])
        .default('closed')
        .meta({ description: 'Whether anybody may register over HTTP; closed: administrators add users.' }),
      resetUrl: z
        .string()
        .refine(value => /^https?:\/\//.test(value) && value.includes('{token}') && URL.canParse(value))
        .nullable()
        .default(null)
        .meta({
          description:
            'The page where users choose another password, for the mail that they get; null: the mail has the token alone.',
          expects: 'null or a URL with {token}, like https://app.example/reset?token={token}',
        }),
    })
    .prefault({}),
  audit: z
    .strictObject({
      retentionDays: whole(0, 0, 36_500, 'What was changed by whom is told for so many days; 0 is for ever.'),
    })
    .prefault({}),
  webhooks: z
    .strictObject({
      allow: ranges(
        'Networks of ours that webhooks may reach, also over plain http; others must be public, and https.',
      ),
      retryMs: z
        .array(
          z
            .int()
            .min(100)
            .max(7 * DAY_MS),
        )
        .min(1)
        .max(32)
        .default([5_000, 300_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 50_400_000, 72_000_000, 86_400_000])
        .meta({
          description: 'Waits after the first try of an event, the second and so on; the last is for all others.',
          expects: 'a list of milliseconds, 100 to 604800000',
        }),
      disableAfterHours: whole(120, 1, 8_760, 'A webhook that has failed for so long is switched off.'),
    })
    .prefault({}),
  otp: z
    .strictObject({
      length: whole(6, 6, 10, 'Digits of a one-time password, where neither account nor request say.'),
      expiryMs: whole(300_000, 60_000, 600_000, 'It is good for so long.'),
      attempts: whole(3, 1, 5, 'Wrong codes that a session takes.'),
      attemptsMs: whole(
        600_000,
        60_000,
        DAY_MS,
        'Wrong codes count for the next session of the same number and purpose for so long after the first.',
      ),
      cooldownMs: whole(60_000, 0, 3_600_000, 'From one code to the next for a number.'),
      perHour: whole(5, 1, 1_000, 'Codes for a number in an hour.'),
      perDay: whole(10, 1, 10_000, 'The same in a day.'),
      perAddressHour: whole(
        10,
        0,
        1_000_000,
        'Codes in an hour for one IP address of a client, where it is told; 0 is no limit.',
      ),
      pepperHours: whole(24, 1, 8_760, 'Codes are hashed under a new secret after so long.'),
      guardPercent: whole(
        35,
        0,
        100,
        'Numbers of one account that begin alike get no codes for a while when fewer of theirs are entered; 0 is never.',
      ),
      guardFrom: whole(50, 5, 1_000_000, 'So many codes must have been sent there in an hour before that is judged.'),
      guardGraceMs: whole(180_000, 0, 600_000, 'A code that was sent later than this is not judged yet.'),
      guardHours: whole(12, 1, 8_760, 'For so long they get none.'),
    })
    .prefault({}),
  sandbox: z
    .strictObject({
      enabled: flag(
        false,
        'Messages to +999 000 0001xx, and all that come with test keys, go to a carrier in the daemon that plays every outcome, and never to another.',
      ),
    })
    .prefault({}),
  spool: z
    .strictObject({
      reserveMb: whole(512, 1, 1_048_576, 'Below this much free disk, new messages are refused for now.'),
      maxWaiting: whole(10_000_000, 1, 1_000_000_000, 'Messages that may wait in all.'),
      maxWaitingPerAccount: whole(5_000_000, 1, 1_000_000_000, 'Messages of one account that may wait.'),
      mapGb: whole(64, 1, 16_384, 'The size to which the message store may grow.'),
      keepReceiptsHours: whole(72, 1, 8_760, 'Receipts and replies that nobody takes are kept this long.'),
      keepReceiptsPerAccount: whole(1_000_000, 1, 1_000_000_000, 'Receipts and replies kept for one account.'),
      receiptGraceMs: whole(
        3_600_000,
        0,
        30 * DAY_MS,
        'What a carrier took and has not reported this long after its validity ends as UNKNOWN.',
      ),
    })
    .prefault({}),
  lifetimes: z
    .strictObject({
      otpMs: whole(600_000, 1_000, 30 * DAY_MS, 'An otp message without a validity period ends after this.'),
      transactionalMs: whole(DAY_MS, 1_000, 30 * DAY_MS, 'The same for a transactional message.'),
      bulkMs: whole(2 * DAY_MS, 1_000, 30 * DAY_MS, 'The same for a bulk message.'),
    })
    .prefault({}),
  quietHours: z
    .strictObject({
      hours: z
        .string()
        .refine(value => readQuiet(value) !== undefined)
        .default('off')
        .meta({
          description: 'Hours in which no bulk message is sent to a phone, by the clocks where the phone is.',
          expects: 'off or hours like 21:00-08:00',
        }),
      countries: z
        .array(z.string().refine(value => readQuietCountry(value) !== undefined))
        .default([])
        .meta({
          description: 'The same for the numbers of single countries.',
          expects: 'a list of COUNTRY=HOURS or COUNTRY=off, like FR=20:00-10:00',
        }),
    })
    .prefault({}),
  loops: z
    .strictObject({
      returns: whole(
        10,
        0,
        60_000,
        'A message that comes again over another account than at first, the same in addresses and text, is refused after so many times a minute; 0 is never.',
      ),
      repeats: whole(0, 0, 60_000, 'The same over whichever account, the first one too; 0 is never.'),
    })
    .prefault({}),
  retry: z
    .strictObject({
      otp: retry('an otp message', 1_000, 15_000, 300_000),
      transactional: retry('a transactional message', 5_000, 600_000, DAY_MS),
      bulk: retry('a bulk message', 30_000, 1_800_000, 2 * DAY_MS),
    })
    .prefault({}),
  history: z
    .strictObject({
      retentionDays: whole(90, 1, 3_650, 'History older than this is dropped, a day at a time.'),
    })
    .prefault({}),
  analytics: z
    .strictObject({
      hoursDays: whole(
        100,
        2,
        3_650,
        'Counts by the hour are kept for so many days; what is older is told by days of UTC.',
      ),
      days: whole(1_830, 2, 36_500, 'Counts by the day are kept for so many days.'),
      showCarriers: flag(false, 'Accounts are told by which carriers their messages went.'),
    })
    .prefault({}),
  billing: z
    .strictObject({
      currency: text('EUR', /^[A-Z]{3}$/, 'an ISO 4217 code like EUR', 'The one currency of all prices and balances.'),
      // Text, so that 8.1 stays 8.1.
      taxPercent: z.coerce
        .string()
        .regex(/^(?:\d{1,2}(?:\.\d{1,4})?|100)$/)
        .default('0')
        .meta({
          description: 'Tax in percent that invoices add to what messages cost.',
          expects: 'a percentage from 0 to 100 with up to 4 decimals',
        }),
      seller: z.string().max(1_000).default('').meta({
        description: 'Who bills: name, address and tax number as invoices show them, in lines.',
        expects: 'a text',
      }),
    })
    .prefault({}),
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

/** Groups made by `tls`, and what they hold of files. */
export const TLS_GROUPS = ['smpp.tls', 'smtp.tls']
export const tlsFiles = tls('off', '').unwrap().omit({ listen: true }).strip()

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

/** `192.0.2.7=shop`, `10.0.0.0/8=shop`: a range, and whose mail comes from there; undefined when it is neither. */
export function trustedFrom(value: string): { range: string; systemId: string } | undefined {
  const parts = /^([^=]+)=(\S{1,64})$/.exec(value)
  const [, range = '', systemId = ''] = parts ?? []
  return isRange(range) ? { range, systemId } : undefined
}
