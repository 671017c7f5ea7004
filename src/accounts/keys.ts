// API keys as they are looked up: whose a key is, what it may do, from where and until when. Knows the fixed list of scopes
// and what they cover; rows are keyRows', and who asks with a key is each door's.

import { isRangeWithin, mayComeFrom } from '../../protocols/net/address.js'

/** What a route may ask for. */
export const scopes = [
  'messages:send',
  'messages:read',
  'webhooks:read',
  'webhooks:write',
  'otp:write',
  'templates:read',
  'templates:write',
  'billing:read',
  'account:read',
  'account:write',
  'admin:read',
  'admin:write',
] as const
export type Scope = (typeof scopes)[number]

/** What may be given to a key: scopes, and `messages:*` for all of a kind. */
export const scopeWords = [...scopes, 'messages:*', 'webhooks:*', 'templates:*', 'account:*', 'admin:*'] as const

/** Scopes as a set of bits. */
export type ScopeSet = number

const covers = (word: string, scope: Scope): boolean =>
  word === scope || (word.endsWith(':*') && scope.startsWith(word.slice(0, -1)))

/** No words: all that an account itself may do. Words of a later release cover nothing. */
export function scopeSet(words: readonly string[]): ScopeSet {
  if (words.length === 0) return OF_ACCOUNTS
  return scopes.reduce((set, scope, bit) => (words.some(word => covers(word, scope)) ? set | (1 << bit) : set), 0)
}

export const hasScope = (set: ScopeSet, scope: Scope): boolean => (set & (1 << scopes.indexOf(scope))) !== 0
/** Whether `set` has all of `wanted`: who gives a key gives no more than it has. */
export const hasScopes = (set: ScopeSet, wanted: ScopeSet): boolean => (wanted & ~set) === 0
export const scopesOf = (set: ScopeSet): Scope[] => scopes.filter(scope => hasScope(set, scope))

const OF_ADMINS: ScopeSet = scopeSet(['admin:*'])
const OF_ACCOUNTS: ScopeSet = ((1 << scopes.length) - 1) & ~OF_ADMINS
/** Without administration. */
export const ofAccounts = (set: ScopeSet): ScopeSet => set & OF_ACCOUNTS
export const isOfAdmins = (set: ScopeSet): boolean => (set & OF_ADMINS) !== 0

export const keyKinds = ['live', 'test'] as const
export type KeyKind = (typeof keyKinds)[number]

/** Until when a key is good, and from where. */
export interface KeyBounds {
  /** 0 = it has no end. */
  readonly expiresMs: number
  readonly allowFrom: readonly string[]
}

/** Those of a key that lacks none of what `by` is bound by; undefined: it outlives that one, or reaches further. */
export function boundsWithin(asked: KeyBounds, by: KeyBounds): KeyBounds | undefined {
  const expiresMs = asked.expiresMs === 0 ? by.expiresMs : asked.expiresMs
  const allowFrom = asked.allowFrom.length === 0 ? by.allowFrom : asked.allowFrom
  const isWithin = by.expiresMs === 0 || expiresMs <= by.expiresMs
  const isNear = by.allowFrom.length === 0 || allowFrom.every(range => isRangeWithin(by.allowFrom, range))
  return isWithin && isNear ? { expiresMs, allowFrom } : undefined
}

/** A key as a look-up answers it. Objects never change. */
export interface KeyGrant extends KeyBounds {
  readonly id: number
  readonly account: number
  readonly scopes: ScopeSet
  readonly kind: KeyKind
}

/** The same as it stands in a node's copy. */
export type StoredGrant = [account: number, id: number, scopes: string[], kind: KeyKind, expiresMs: number, string[]]

const ANYWHERE: readonly string[] = []

export const readGrant = ([account, id, words, kind, expiresMs, allowFrom]: StoredGrant): KeyGrant => ({
  id,
  account,
  scopes: scopeSet(words),
  kind,
  expiresMs,
  allowFrom: allowFrom.length === 0 ? ANYWHERE : allowFrom,
})

/** Why a key is no good now and from there; undefined: it is. */
export function objectionTo(
  { expiresMs, allowFrom }: KeyGrant,
  nowMs: number,
  address: string,
): 'expired' | 'address' | undefined {
  if (expiresMs !== 0 && expiresMs <= nowMs) return 'expired'
  return mayComeFrom(allowFrom, address) ? undefined : 'address'
}
