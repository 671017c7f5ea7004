// A carrier as the directory has it: the settings of each kind, with defaults and bounds.
// Knows what may stand there; what a setting does is the driver's.

import { z } from 'zod'
import { carrierRouting } from './carrierRouting.js'
import { codings } from './smppProfile.js'

const ms = (preset: number, min: number, max: number) => z.int().min(min).max(max).default(preset)
const octet = z.int().min(0).max(255).nullable().default(null)
const DAY_MS = 86_400_000

const tls = z.strictObject({
  /** PEM files. Without `ca`, the authorities of Node. */
  ca: z.string().min(1).optional(),
  cert: z.string().min(1).optional(),
  key: z.string().min(1).optional(),
  /** Name in the certificate, if it is not `host`. */
  servername: z.string().min(1).optional(),
  /** False: any certificate is good. */
  verify: z.boolean().default(true),
})

/** An SMSC we bind to. */
export const smppSettings = z.strictObject({
  host: z.string().min(1).max(253),
  port: z.int().min(1).max(65_535).default(2775),
  /** More hosts, tried in this order while those before them cannot be bound to. */
  hosts: z
    .array(z.strictObject({ host: z.string().min(1).max(253), port: z.int().min(1).max(65_535).default(2775) }))
    .max(16)
    .default([]),
  systemId: z.string().max(15),
  systemType: z.string().max(12).default(''),
  /** pair: a transmitter and a receiver for each of `links`, for carriers that know no transceiver. */
  bind: z.enum(['transceiver', 'transmitter', 'receiver', 'pair']).default('transceiver'),
  /** Binds at one time. */
  links: z.int().min(1).max(64).default(1),
  /** Requests of ours that may be unanswered, a link. */
  window: z.int().min(1).max(10_000).default(10),
  /** Parts per second over all links, 0 = no limit. */
  throughput: z.int().min(0).max(1_000_000).default(0),
  /** The same over each link. */
  linkThroughput: z.int().min(0).max(1_000_000).default(0),
  enquireLinkMs: ms(30_000, 100, DAY_MS),
  /** enquire_link into silence only, or each enquireLinkMs: some carriers take no other traffic for life. */
  enquire: z.enum(['silence', 'always']).default('silence'),
  responseMs: ms(60_000, 100, DAY_MS),
  reconnectMinMs: ms(500, 10, DAY_MS),
  reconnectMaxMs: ms(60_000, 10, DAY_MS),
  /** Refusals of our credentials in a row, a minute apart, after which no bind is tried until the carrier is changed or resumed. */
  refusedBinds: z.int().min(1).max(1_000).default(5),
  /** How long a lost bind may still stand at the carrier, which then refuses another: no bind is tried before. */
  staleBindMs: ms(65_000, 10, DAY_MS),
  /** 0x33, 0x34 or 0x50. */
  interfaceVersion: z.literal([0x33, 0x34, 0x50]).default(0x34),
  /** Ask the carrier for a receipt for every message, or only where the customer asked. */
  receipts: z.enum(['always', 'asked']).default('always'),
  /**
   * How the carrier writes its message ids. same: as in submit_sm_resp, so in receipts;
   * hex-dec: hexadecimal in submit_sm_resp, decimal in receipts; dec-hex: the other way;
   * either: now so, now so, and each reading of a receipt's id is tried.
   */
  refs: z.enum(['same', 'hex-dec', 'dec-hex', 'either']).default('same'),
  /** What it may be asked for besides receipts: bits of registered_delivery, 4 and 8 SME acknowledgements, 16 intermediate notifications. */
  registeredDelivery: z.int().min(0).max(0x1f).default(0x1f),
  /** service_type of everything; null = as the customer gave it. */
  serviceType: z.string().max(5).nullable().default(null),
  /** What its own command_status mean, where we cannot know: `{"0x400": refused}`. */
  statuses: z
    .record(
      z.string().regex(/^0x[0-9a-f]{1,8}$/i, 'must be a command_status like 0x400'),
      z.enum(['throttled', 'deferred', 'refused']),
    )
    .default({}),
  /**
   * How a long message leaves: in parts with a UDH of an 8-bit or a 16-bit reference, in parts with
   * sar TLVs, or whole as message_payload. What the customer cut stays as it was cut.
   */
  longMessages: z.enum(['udh8', 'udh16', 'sar', 'payload']).default('udh8'),
  /**
   * null = as the customer gave it. sourceTon auto: type of number and numbering plan by what stands in source_addr: a name,
   * a short code, or a number with its country code.
   */
  sourceTon: z
    .union([z.int().min(0).max(255), z.literal('auto')])
    .nullable()
    .default(null),
  sourceNpi: octet,
  destTon: octet,
  destNpi: octet,
  /** What data_coding means there, where that is not the standard's: `{"0": latin1}`. */
  codings: codings.default({}),
  /** National language tables (3GPP TS 23.038 annex A) it takes, by their numbers: 1 Turkish to 13 Urdu. */
  nationalTables: z.array(z.int().min(1).max(13)).default([]),
  /** Octets of one part, its UDH included. */
  maxOctets: z.int().min(40).max(140).default(140),
  /** The validity_period a customer gave: as a relative time, an absolute one, or kept from the carrier. */
  validity: z.enum(['relative', 'absolute', 'never']).default('relative'),
  /** Its receipts come with esm_class 0 and no TLV: a text that reads like one is one. */
  textReceipts: z.boolean().default(false),
  addressRange: z.string().max(40).default(''),
  /** How long an answer that did not come in time may still come, on a link that lives. */
  unsureMs: ms(600_000, 1000, DAY_MS),
  /**
   * What becomes of a message that was sent and never answered. resend: it is sent again, and may reach the phone twice;
   * wait: it is not, whatever happens, and ends as UNKNOWN with its validity. Costs a write to disk before each send.
   */
  unsure: z.enum(['resend', 'wait']).default('resend'),
  tls: tls.nullable().default(null),
  ...carrierRouting,
})

/** The carrier in our own process, for demonstrations. */
export const simulatorSettings = z.strictObject({
  receiptDelayMs: ms(0, 0, DAY_MS),
  /** Its answer to every part. */
  answer: z.enum(['accept', 'throttle', 'defer', 'refuse']).default('accept'),
  ...carrierRouting,
})

/** A server that takes mail from us: a smarthost. */
export const smtpSettings = z.strictObject({
  host: z.string().min(1).max(253),
  port: z.int().min(1).max(65_535).default(587),
  /** starttls: TLS, or nothing is sent; tls: from the first octet; none: in clear. */
  secure: z.enum(['starttls', 'tls', 'none']).default('starttls'),
  /** '' = no authentication. */
  user: z.string().max(320).default(''),
  /** At one time; they come with work and go when idle. */
  connections: z.int().min(1).max(100).default(5),
  /** Mails over one connection. */
  messagesPerConnection: z.int().min(1).max(1_000_000).default(100),
  /** Mails a second over all connections, 0 = no limit. */
  throughput: z.int().min(0).max(100_000).default(0),
  /** From the first packet to the end of authentication. */
  connectMs: ms(30_000, 100, DAY_MS),
  /** What one mail may take, its last answer included (RFC 5321 §4.5.3.2.6). */
  answerMs: ms(600_000, 100, DAY_MS),
  idleMs: ms(30_000, 0, DAY_MS),
  reconnectMinMs: ms(500, 10, DAY_MS),
  reconnectMaxMs: ms(60_000, 10, DAY_MS),
  tls: tls.nullable().default(null),
})

/** All but the password, which stands sealed in a column of its own. */
export type SmppFields = z.output<typeof smppSettings>
export type SmppSettings = Readonly<SmppFields & { password: string }>
export type SimulatorSettings = Readonly<z.output<typeof simulatorSettings>>
export type SmtpFields = z.output<typeof smtpSettings>
export type SmtpSettings = Readonly<SmtpFields & { password: string }>
export type CarrierKind = 'smpp' | 'simulator' | 'smtp'
export type CarrierFields = SmppFields | SimulatorSettings | SmtpFields

/** Carriers of mail take no text message, and the others no mail. */
export const isMailKind = (kind: CarrierKind): boolean => kind === 'smtp'

interface CarrierHead {
  readonly id: number
  readonly name: string
  readonly paused: boolean
}
export type CarrierRow =
  | (CarrierHead & { readonly kind: 'smpp'; readonly settings: SmppSettings })
  | (CarrierHead & { readonly kind: 'simulator'; readonly settings: SimulatorSettings })
  | (CarrierHead & { readonly kind: 'smtp'; readonly settings: SmtpSettings })

/** Settings of a row, defaults filled in. Throws on what no release of ours wrote. */
export function readFields(kind: CarrierKind, stored: unknown): CarrierFields {
  return schemas[kind].parse(stored)
}

const schemas = { smpp: smppSettings, simulator: simulatorSettings, smtp: smtpSettings } as const

export const carrierKinds = Object.keys(schemas) as [CarrierKind, ...CarrierKind[]]

/** The keys that settings of this kind have. */
export const settingsShape = (kind: CarrierKind): object => schemas[kind].shape

/** What has no default, and what is written though it may have one. */
const least = { smpp: { host: '-', systemId: '' }, simulator: {}, smtp: { host: '-' } } as const
const written: Readonly<Record<CarrierKind, readonly string[]>> = {
  smpp: ['host', 'port', 'systemId', 'bind'],
  simulator: [],
  smtp: ['host', 'port', 'secure'],
}

/** What is stored and exported: the settings that differ from their defaults. */
export function storedFields(kind: CarrierKind, fields: CarrierFields): Record<string, unknown> {
  const presets: Record<string, unknown> = schemas[kind].parse(least[kind])
  const required = written[kind]
  return Object.fromEntries(
    Object.entries(fields).filter(
      ([name, value]) => required.includes(name) || JSON.stringify(value) !== JSON.stringify(presets[name]),
    ),
  )
}
