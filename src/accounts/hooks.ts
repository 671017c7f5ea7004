// Webhooks of an account as the directory has them: where to, of what, how. Knows what may stand there; what is sent is
// returns/webhook's.

import { z } from 'zod'
import { isWebhookSecret } from '../../protocols/http/webhook.js'

/** Webhooks of one account: their slots are 0 to 31. */
export const MAX_HOOKS = 32

const SETTINGS = {
  /** For an answer. */
  timeoutMs: z.int().min(100).max(120_000).default(15_000),
  /** Events on their way at one time; 1 keeps them in order. */
  atOnce: z.int().min(1).max(64).default(8),
  /** How often one event is tried before it is put aside; null = until it is too old. */
  attempts: z.int().min(1).max(100).nullable().default(null),
}
export const hookSettings = z.strictObject(SETTINGS)
export type HookSettings = Readonly<z.output<typeof hookSettings>>

export const eventType = z
  .string()
  .max(64)
  .regex(/^(?:[a-z][a-z0-9_]*\.)*(?:[a-z][a-z0-9_]*|\*)$/, 'must be like message.delivered or message.*')

export const hookUrl = z.string().max(2_000).refine(isHookUrl, 'must be an http or https URL without a user name')

/** A webhook in a gateway file, or as it comes over HTTP. */
export const hookFields = z.strictObject({
  url: hookUrl,
  /** `message.delivered`, `message.*`; none = everything. */
  events: z.array(eventType).max(64).default([]),
  secret: z.string().refine(isWebhookSecret, 'must be whsec_ and 24 to 64 octets in base64').optional(),
  ...SETTINGS,
})
export type HookFields = z.output<typeof hookFields>

export function isHookUrl(text: string): boolean {
  if (!URL.canParse(text)) return false
  const { protocol, username, password } = new URL(text)
  return (protocol === 'https:' || protocol === 'http:') && username === '' && password === ''
}

export interface Hook {
  readonly id: number
  readonly account: number
  /** Number of its queue in the outbox: account and slot. */
  readonly of: number
  readonly url: string
  readonly events: readonly string[]
  /** Sealed for {@link hookOwner}. */
  readonly secret: Buffer
  readonly oldSecret: Buffer | null
  /** Until then both sign, ms. */
  readonly oldUntilMs: number
  /** Why nothing is sent there; null = it is. */
  readonly disabled: string | null
  readonly settings: HookSettings
}

/** As stored with its account in a node's copy. */
export interface StoredHook {
  id: number
  slot: number
  url: string
  events: string[]
  /** base64 */
  secret: string
  oldSecret: string | null
  oldUntilMs: number | null
  disabled: string | null
  settings: Record<string, unknown>
}

const NO_HOOKS: readonly Hook[] = []
const preset: HookSettings = hookSettings.parse({})

export const hookQueue = (account: number, slot: number): number => account * MAX_HOOKS + slot
export const accountOfHook = (of: number): number => Math.floor(of / MAX_HOOKS)
/** For whom secrets of an account's webhooks are sealed. */
export const hookOwner = (systemId: string): string => `webhooks of ${systemId}`

export function readHooks(account: number, stored: readonly StoredHook[]): readonly Hook[] {
  if (stored.length === 0) return NO_HOOKS
  return stored.map(({ id, slot, url, events, secret, oldSecret, oldUntilMs, disabled, settings }) => ({
    id,
    account,
    of: hookQueue(account, slot),
    url,
    events,
    secret: Buffer.from(secret, 'base64'),
    oldSecret: oldSecret === null ? null : Buffer.from(oldSecret, 'base64'),
    oldUntilMs: oldUntilMs ?? 0,
    disabled,
    settings: Object.keys(settings).length === 0 ? preset : hookSettings.parse(settings),
  }))
}

/** What is stored and exported: the settings that differ from their defaults. */
export function storedHookSettings({ timeoutMs, atOnce, attempts }: HookSettings): Record<string, unknown> {
  const given = Object.entries({ timeoutMs, atOnce, attempts })
  return Object.fromEntries(given.filter(([name, value]) => value !== preset[name as keyof HookSettings]))
}

/** Whether it is told of events of this type. */
export const wants = (hook: Hook, type: string): boolean => hook.disabled === null && asksFor(hook, type)

export function asksFor({ events }: Pick<Hook, 'events'>, type: string): boolean {
  return events.length === 0 || events.some(one => one === type || one === '*' || covers(one, type))
}

const covers = (pattern: string, type: string): boolean =>
  pattern.endsWith('.*') && type.startsWith(pattern.slice(0, -1))
