// The gateway file: accounts, carriers and routes as people write them in YAML. Knows its
// keys, their bounds and all faults of a text at once; what becomes of it in SQL is apply's.

import type { Document } from 'yaml'
import { z } from 'zod'
import { writtenAsJson, yaml } from '../base/yaml.js'
import { digitsOf } from '../model/digits.js'
import { messageClasses } from '../model/message.js'
import { MICROS } from '../model/money.js'
import { readQuiet } from '../model/quiet.js'
import { isMailKind, simulatorSettings, smppSettings, smtpSettings } from './carrier.js'
import { consentProfile } from './consentProfile.js'
import { hookFields, MAX_HOOKS } from './hooks.js'
import { fileInbound } from './inbound.js'
import { keyAllowFrom, keyScopes } from './keyRows.js'
import { keyKinds } from './keys.js'
import { mailProfile } from './mailProfile.js'
import { otpProfile } from './otpProfile.js'
import { quota } from './quota.js'
import { fileBlocked, fileNetwork, fileRoute } from './route.js'
import { smppProfile } from './smppProfile.js'
import { twicePriced } from './tariffSection.js'
import { fileTariff } from './tariffs.js'
import { yamlText } from './yamlText.js'

/** HMACs and seals in a file: what they are, then base64url. */
const HASH = /^hmac-sha256:[A-Za-z0-9_-]{43}$/
const SEALED = /^aes-256-gcm:[A-Za-z0-9_-]+$/

const text = (max: number) => yamlText.min(1).max(max)

const hash = text(60)
  .regex(HASH, 'must be hmac-sha256: and 43 characters')
  .transform(value => Buffer.from(value.slice(value.indexOf(':') + 1), 'base64url'))
const sealed = text(1000)
  .regex(SEALED, 'must be aes-256-gcm: and base64url')
  .transform(value => Buffer.from(value.slice(value.indexOf(':') + 1), 'base64url'))

export const writtenHash = (value: Buffer): string => `hmac-sha256:${value.toString('base64url')}`
export const writtenSeal = (value: Buffer): string => `aes-256-gcm:${value.toString('base64url')}`

const MAX_CREDIT = 9_000_000_000

const account = z.strictObject({
  systemId: text(63).regex(/^[\x21-\x7e]+$/, 'must be printable ASCII without spaces'),
  /** One of the two, or none: then the present one stays. */
  password: text(64).optional(),
  passwordHash: hash.optional(),
  /** The account's only API key; without both the present keys stay. */
  apiKey: text(128)
    .regex(/^[\x21-\x7e]{20,}$/, 'must be at least 20 printable ASCII characters')
    .optional(),
  apiKeys: z
    .array(
      z.strictObject({
        prefix: z.string().max(64),
        hash,
        name: z.string().max(64).default(''),
        /** None = everything that an account may do. */
        scopes: keyScopes.default([]),
        kind: z.enum(keyKinds).default('live'),
        expires: z.iso.datetime({ offset: true }).nullable().default(null),
        allowFrom: keyAllowFrom.default([]),
      }),
    )
    .optional(),
  /** Why it is; null = it is not. Left out: as it is. */
  suspended: text(200).nullable().optional(),
  throughput: z.int().min(0).max(1_000_000).default(0),
  maxBinds: z.int().min(0).max(10_000).default(16),
  class: z.enum(messageClasses).default('transactional'),
  /** What routes may call it and others by. */
  group: yamlText.max(64).default(''),
  /** Whose people may look after it. */
  organisation: yamlText.max(100).default(''),
  limits: quota.prefault({}),
  weight: z.int().min(1).max(1000).default(1),
  maxWaiting: z.int().min(0).max(1_000_000_000).nullable().default(null),
  serviceTypes: z.record(z.string().regex(/^.{1,5}$/, 'must be 1 to 5 characters'), z.enum(messageClasses)).default({}),
  /** What its messages are priced by; null: they cost nothing and need no credit. */
  tariff: text(63).nullable().default(null),
  /** How far below zero its balance may go: `unlimited`, or units of the currency with up to 6 decimals. */
  credit: z
    .union(
      [
        z.literal('unlimited').transform(() => null),
        z
          .number()
          .min(-MAX_CREDIT)
          .max(MAX_CREDIT)
          .transform(units => Math.round(units * MICROS)),
      ],
      { error: `must be unlimited or a number up to ${MAX_CREDIT}` },
    )
    .default(null),
  /** In which its bulk messages reach no phone, by the clocks where the phone is; null = as the gateway's settings say. */
  quietHours: z
    .string()
    .refine(value => readQuiet(value) !== undefined, 'must be off or hours like 21:00-08:00')
    .nullable()
    .default(null),
  /** Whose messages from phones it gets: digits, where it is a number. */
  numbers: z.array(text(21).transform(number => digitsOf(number) || number)).default([]),
  /** Source addresses it may use; none = any. */
  senders: z.array(text(21)).default([]),
  smpp: smppProfile.prefault({}),
  mail: mailProfile.prefault({}),
  consent: consentProfile.prefault({}),
  otp: otpProfile.prefault({}),
  /** Where it is told what happened, over HTTP; left out: the present ones stay. */
  webhooks: z
    .array(hookFields.extend({ sealed: sealed.optional() }))
    .max(MAX_HOOKS)
    .optional(),
})

const LOOPBACK = /^(?:localhost|127\.[0-9.]+|::1)$/

const carrierHead = {
  name: text(64),
  /** Left out: as it is. */
  paused: z.boolean().optional(),
}

const carrier = z.discriminatedUnion('kind', [
  smppSettings.extend({
    ...carrierHead,
    kind: z.literal('smpp'),
    systemId: yamlText.max(15),
    /** One of the two, or none: then the present one stays. */
    password: yamlText.max(64).optional(),
    sealed: sealed.optional(),
  }),
  simulatorSettings.extend({ ...carrierHead, kind: z.literal('simulator') }),
  smtpSettings.extend({
    ...carrierHead,
    kind: z.literal('smtp'),
    user: yamlText.max(320).default(''),
    password: yamlText.max(256).optional(),
    sealed: sealed.optional(),
  }),
])

const gateway = z.strictObject({
  tariffs: z.array(fileTariff).optional(),
  accounts: z.array(account).optional(),
  carriers: z.array(carrier).optional(),
  routes: z.array(fileRoute).optional(),
  networks: z.array(fileNetwork).optional(),
  blocked: z.array(fileBlocked).optional(),
  inbound: z.array(fileInbound).optional(),
})

export type GatewayFile = z.output<typeof gateway>
export type FileAccount = z.output<typeof account>
export type FileCarrier = z.output<typeof carrier>

export interface GatewayFault {
  /** `accounts[0].maxBinds`; '' for the file as a whole. */
  readonly path: string
  readonly text: string
  readonly line?: number
}

export type ParsedGateway = { ok: true; file: GatewayFile } | { ok: false; faults: GatewayFault[] }

/** Reads a gateway file; all faults at once. An unknown key is one. */
export function parseGateway(written: string): ParsedGateway {
  const json = writtenAsJson(written)
  if (json !== undefined) {
    const read = readGateway(json)
    if (read.ok) return read
    // Only the other way knows where a fault stands.
  }
  const { LineCounter, parseDocument } = yaml()
  const lines = new LineCounter()
  const document = parseDocument(written, { lineCounter: lines, prettyErrors: false })
  if (document.errors.length > 0) {
    const faults = document.errors.map(error => ({
      path: '',
      text: `is not YAML: ${error.message}`,
      line: lines.linePos(error.pos[0]).line,
    }))
    return { ok: false, faults }
  }
  let tree: unknown
  try {
    tree = document.toJS() ?? {}
  } catch (error) {
    return { ok: false, faults: [{ path: '', text: `is not YAML: ${(error as Error).message}` }] }
  }
  const read = readGateway(tree)
  if (read.ok) return read
  const faults = read.faults.map(({ path, text }): GatewayFault => {
    const range = nearest(document, path)
    return { path: pathText(path), text, ...(range === undefined ? {} : { line: lines.linePos(range).line }) }
  })
  return { ok: false, faults: faults.sort((a, b) => (a.line ?? 0) - (b.line ?? 0)) }
}

export interface TreeFault {
  readonly path: readonly PropertyKey[]
  readonly text: string
}

/** What a gateway file says, as the tree that its YAML is; all faults at once. */
export function readGateway(tree: unknown): { ok: true; file: GatewayFile } | { ok: false; faults: TreeFault[] } {
  const read = gateway.safeParse(tree, { error: words })
  const faults: TreeFault[] = []
  for (const { path, ...issue } of read.error?.issues ?? []) {
    if (issue.code === 'unrecognized_keys') {
      for (const key of issue.keys) faults.push({ path: [...path, key], text: 'is no such key' })
    } else faults.push({ path, text: issue.message })
  }
  if (read.success) for (const [path, text] of contradictions(read.data)) faults.push({ path, text })
  return read.success && faults.length === 0 ? { ok: true, file: read.data } : { ok: false, faults }
}

const KINDS: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a group of keys',
  record: 'a group of keys',
}

/** What is wrong with a value, where its schema has no words of its own: completes the path. */
function words(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case 'invalid_type':
      return issue.input === undefined ? 'is missing' : `must be ${KINDS[issue.expected] ?? issue.expected}`
    case 'invalid_value':
      return `must be ${issue.values.length > 1 ? 'one of ' : ''}${issue.values.join(', ')}`
    case 'invalid_union':
      return `must be one of ${(issue as { options?: unknown[] }).options?.join(', ') ?? 'the allowed forms'}`
    case 'too_small':
      return `must be at least ${issue.minimum}${unit(issue.origin)}`
    case 'too_big':
      return `must be at most ${issue.maximum}${unit(issue.origin)}`
    case 'invalid_key':
      return issue.issues[0]?.message
    default:
      return undefined
  }
}

const unit = (origin: string): string => (origin === 'string' ? ' characters' : '')

/** A fault as one line for people. */
export const gatewayFaultLine = (name: string, fault: GatewayFault): string =>
  `${name}${fault.line === undefined ? '' : `:${fault.line}`}: ${fault.path === '' ? '' : `${fault.path} `}${fault.text}`

/** What each key alone does not show. */
function* contradictions(file: GatewayFile): Generator<[path: PropertyKey[], sentence: string]> {
  const unique = (what: string) => {
    const seen = new Set<string>()
    return (value: string): string | undefined => {
      if (seen.has(value)) return `is a second time the ${what} ${value}`
      seen.add(value)
      return undefined
    }
  }
  const tariffs = unique('tariff')
  for (const [i, { name, prices }] of (file.tariffs ?? []).entries()) {
    const twice = tariffs(name)
    if (twice) yield [['tariffs', i, 'name'], twice]
    const again = twicePriced(prices)
    if (again !== undefined)
      yield [['tariffs', i, 'prices', again], 'is a second price of its prefix, class and moment']
  }
  const systemIds = unique('systemId')
  const numbers = unique('number')
  const keys = unique('key')
  for (const [i, one] of (file.accounts ?? []).entries()) {
    const twice = systemIds(one.systemId)
    if (twice) yield [['accounts', i, 'systemId'], twice]
    if (one.password !== undefined && one.passwordHash !== undefined)
      yield [['accounts', i, 'passwordHash'], 'stands beside password: give one of them']
    if (one.apiKey !== undefined && one.apiKeys !== undefined)
      yield [['accounts', i, 'apiKeys'], 'stands beside apiKey: give one of them']
    if (one.apiKey !== undefined && keys(one.apiKey))
      yield [['accounts', i, 'apiKey'], 'is the key of another account as well']
    for (const [j, key] of (one.apiKeys ?? []).entries())
      if (keys(key.hash.toString('hex'))) yield [['accounts', i, 'apiKeys', j], 'stands here a second time']
    if (file.tariffs && one.tariff !== null && !file.tariffs.some(({ name }) => name === one.tariff))
      yield [['accounts', i, 'tariff'], `names no tariff: ${one.tariff}`]
    const urls = unique('url')
    for (const [j, hook] of (one.webhooks ?? []).entries()) {
      const again = urls(hook.url)
      if (again) yield [['accounts', i, 'webhooks', j], again]
      if (hook.secret !== undefined && hook.sealed !== undefined)
        yield [['accounts', i, 'webhooks', j, 'sealed'], 'stands beside secret: give one of them']
    }
    for (const [j, number] of one.numbers.entries()) {
      const again = numbers(number)
      if (again) yield [['accounts', i, 'numbers', j], again]
    }
  }
  const names = unique('carrier')
  for (const [i, one] of (file.carriers ?? []).entries()) {
    const twice = names(one.name)
    if (twice) yield [['carriers', i, 'name'], twice]
    if (one.kind !== 'simulator' && one.password !== undefined && one.sealed !== undefined)
      yield [['carriers', i, 'sealed'], 'stands beside password: give one of them']
    if (one.kind !== 'simulator' && one.reconnectMinMs > one.reconnectMaxMs)
      yield [['carriers', i, 'reconnectMinMs'], 'is more than reconnectMaxMs']
    if (one.kind === 'smtp' && one.user !== '' && one.secure === 'none' && !LOOPBACK.test(one.host))
      yield [['carriers', i, 'secure'], 'would send the password in clear: give starttls or tls']
  }
  const routeNames = unique('route')
  const carriers = new Set(file.carriers?.map(one => one.name))
  const mailCarriers = new Set(file.carriers?.filter(one => isMailKind(one.kind)).map(one => one.name))
  for (const [i, one] of (file.routes ?? []).entries()) {
    const twice = one.name === undefined ? undefined : routeNames(one.name)
    if (twice) yield [['routes', i, 'name'], twice]
    if (file.carriers === undefined) continue
    for (const [j, target] of one.to.entries())
      if (!carriers.has(target.carrier)) yield [['routes', i, 'to', j], `names no carrier: ${target.carrier}`]
      else if (mailCarriers.has(target.carrier))
        yield [['routes', i, 'to', j], `names a carrier of mail: text messages cannot go to ${target.carrier}`]
  }
  const mccmncs = unique('network')
  const prefixes = unique('prefix')
  for (const [i, one] of (file.networks ?? []).entries()) {
    const twice = mccmncs(one.mccmnc)
    if (twice) yield [['networks', i, 'mccmnc'], twice]
    for (const [j, prefix] of one.prefixes.entries()) {
      const again = prefixes(prefix)
      if (again) yield [['networks', i, 'prefixes', j], again]
    }
  }
  const ruleNames = unique('rule')
  for (const [i, { name }] of (file.inbound ?? []).entries()) {
    const twice = name === undefined ? undefined : ruleNames(name)
    if (twice) yield [['inbound', i, 'name'], twice]
  }
  const blocked = unique('blocked prefix')
  for (const [i, { account, prefix }] of (file.blocked ?? []).entries()) {
    const twice = blocked(account === undefined ? prefix : `${prefix} of ${account}`)
    if (twice) yield [['blocked', i, 'prefix'], twice]
  }
}

export const pathText = (path: readonly PropertyKey[]): string =>
  path
    .map(step => (typeof step === 'number' ? `[${step}]` : `.${String(step)}`))
    .join('')
    .replace(/^\./, '')

/** Offset of what stands at `path`, or at the nearest part of it that is there. */
function nearest(document: Document, path: readonly PropertyKey[]): number | undefined {
  for (let depth = path.length; depth > 0; depth--) {
    const found = document.getIn(path.slice(0, depth), true) as { range?: readonly number[] } | undefined
    if (found?.range?.[0] !== undefined) return found.range[0]
  }
  return undefined
}
