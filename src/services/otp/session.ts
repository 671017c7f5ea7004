// A session: one code for one destination and purpose, from its making to its end. Knows how it stands among the small things
// that the spool keeps, so that it is written with the messages of the same turn; and how its code is compared. Nothing of
// a session is in memory: what is read here is what a crash leaves.

import { randomFillSync, timingSafeEqual } from 'node:crypto'
import type { Spool } from '../../spool/contract.js'
import type { CodeFormat } from './codes.js'
import { plainCode } from './codes.js'
import type { Pepper } from './peppers.js'
import type { Wording } from './texts.js'

export const channels = ['sms', 'email', 'voice'] as const
export type Channel = (typeof channels)[number]

export type SessionStatus = 'pending' | 'verified' | 'blocked' | 'expired' | 'canceled' | 'superseded'

export interface Step {
  readonly channel: Channel
  /** Number or mail address. */
  readonly to: string
  /** Without a receipt for so long the next step begins. */
  readonly timeoutMs: number
}

/** A message that carried the code. */
export interface Try {
  readonly step: number
  readonly channel: Channel
  /** 0: it was refused at the door, or never left. */
  readonly message: number
  atMs: number
  status: 'sent' | 'delivered' | 'failed'
  /** Why it failed; '' otherwise. */
  error: string
  /** Once it is over. */
  carrier?: number
  lane?: number
}

/** Which template says the code. `version`: once the first message was written, for all that follow. */
export interface Template {
  readonly id: string
  readonly version?: number
  readonly variables: Readonly<Record<string, string>>
}

export interface Session {
  readonly id: string
  readonly account: number
  /** It was asked for with a test key, and is known to test keys alone. */
  readonly isTest: boolean
  /** Nothing of it leaves the building. */
  readonly isSandboxed: boolean
  /** Of the first step: what limits and carried attempts are counted by. */
  readonly destination: string
  readonly purpose: string
  readonly format: CodeFormat
  readonly kid: number
  /** base64 */
  readonly tag: string
  /** The code under the pepper, for the next message; '' once the session is over. */
  sealed: string
  readonly wording: Wording
  readonly source: string
  template: Template | null
  readonly metadata: Readonly<Record<string, unknown>> | null
  readonly steps: readonly Step[]
  step: number
  /** When the next step begins if nothing is heard; 0: never. */
  nextMs: number
  readonly tries: Try[]
  readonly attempts: number
  /** Wrong codes, those of sessions before it included. */
  failed: number
  /** Until then they count for the next session too; 0: none. */
  failedUntilMs: number
  readonly createdMs: number
  readonly expiresMs: number
  lastSentMs: number
  status: SessionStatus
  endedMs: number
  /** SHA-256 of the token that its verification was answered with, base64; '' = none, or it was redeemed. */
  token: string
  tokenUntilMs: number
}

/** What of a session's purpose whoever verifies must name as it was. */
export interface Binding {
  readonly destination: string
  readonly purpose: string
  readonly payee: string
  readonly amount: string
}

/** What stands for a destination and purpose over sessions. */
export interface Standing {
  readonly session: string
  readonly failed: number
  readonly failedUntilMs: number
}

/** After its end a session can be looked at for so long. */
const SHOWN_MS = 3_600_000
/** Timers that nobody fired, the daemon being down, are known for so long. */
const LATE_MS = 86_400_000
const ID_OCTETS = 16
const ID_TIME = 9
const POOL_OCTETS = 4_096
const MS_DIGITS = 13

/** Asking the system for each would be dearer than all else about it. */
const pool = Buffer.alloc(POOL_OCTETS)
let used = POOL_OCTETS

/** So many octets that nobody can guess, base64url. */
export function secretText(octets: number): string {
  if (used + octets > POOL_OCTETS) {
    randomFillSync(pool)
    used = 0
  }
  const text = pool.toString('base64url', used, used + octets)
  pool.fill(0, used, used + octets)
  used += octets
  return text
}

/** Of later sessions they are greater, which keeps what is written together on disk together. */
export const newSessionId = (nowMs: number): string =>
  `otp_${Math.floor(nowMs).toString(36).padStart(ID_TIME, '0')}${secretText(ID_OCTETS)}`

/** 32 octets. */
export const tagOf = (
  pepper: Pepper,
  { account, id }: Pick<Session, 'account' | 'id'>,
  { destination, purpose, payee, amount }: Binding,
  plain: string,
): Buffer => pepper.tag(JSON.stringify([account, id, destination, purpose, payee, amount, plain]))

export const sealOwner = ({ account, id }: Pick<Session, 'account' | 'id'>): string => `${account}|${id}`

const went = ({ message, status }: Try): boolean => message !== 0 || status !== 'failed'

/** The step of the last message that went; while none did, the one that is tried. */
export const lastStep = ({ step, tries }: Pick<Session, 'step' | 'tries'>): number => tries.findLast(went)?.step ?? step

/** Where a code went. */
export interface Carried {
  readonly channel: Channel
  readonly to: string
  /** delivered, if any message there was; else of the last. */
  readonly status: Try['status']
}

/** Channels and addresses that a session's code went to: whoever enters it has proven one of them. */
export function carriedBy({ steps, tries }: Pick<Session, 'steps' | 'tries'>): Carried[] {
  const found = new Map<string, Carried>()
  for (const { step, channel, status } of tries.filter(went)) {
    const { to } = steps[step] as Step
    const key = `${channel} ${to}`
    if (found.get(key)?.status !== 'delivered') found.set(key, { channel, to, status })
  }
  return [...found.values()]
}

/** In constant time, whatever of it is wrong. */
export function isCode(session: Session, pepper: Pepper, binding: Binding, written: string): boolean {
  const made = tagOf(pepper, session, binding, plainCode(written, session.format))
  return timingSafeEqual(made, Buffer.from(session.tag, 'base64'))
}

export class Sessions {
  private readonly spool: Pick<Spool, 'keep' | 'kept' | 'keptAfter' | 'dropKept'>
  /** Read and written in the place of a session that there is not, so that it takes as long. */
  private readonly decoy: string

  constructor(spool: Sessions['spool'], decoy: Session) {
    this.spool = spool
    this.decoy = JSON.stringify(decoy)
  }

  read(account: number, id: string): Session | undefined {
    const kept = this.spool.kept(sessionKey(account, id))
    return kept === undefined ? undefined : (JSON.parse(kept.toString()) as Session)
  }

  /** Of the account, and nobody's. */
  decoyOf(account: number, id: string): Session {
    return { ...(JSON.parse(this.decoy) as Session), account, id }
  }

  /** False when the disk is full: not written. */
  write(session: Session): boolean {
    const key = sessionKey(session.account, session.id)
    return this.spool.keep(key, octets(session), session.expiresMs + SHOWN_MS)
  }

  writeDecoy(session: Session, untilMs: number): boolean {
    return (
      this.spool.keep(`otp x ${session.account}`, octets(session), untilMs) &&
      this.keepStanding(`otp y ${session.account}`, session)
    )
  }

  standing(account: number, destination: string, purpose: string): Standing | undefined {
    const kept = this.spool.kept(standingKey(account, destination, purpose))
    return kept === undefined ? undefined : (JSON.parse(kept.toString()) as Standing)
  }

  /** What the next session of this one's destination and purpose is to know of it. */
  writeStanding(session: Session): boolean {
    return this.keepStanding(standingKey(session.account, session.destination, session.purpose), session)
  }

  private keepStanding(key: string, { id, failed, failedUntilMs, expiresMs }: Session): boolean {
    const standing: Standing = { session: id, failed, failedUntilMs }
    return this.spool.keep(key, octets(standing), Math.max(expiresMs, failedUntilMs))
  }

  // -- timers: one a session, in the order of their moments, on disk alone

  setTimer({ account, id }: Pick<Session, 'account' | 'id'>, atMs: number): void {
    this.spool.keep(timerKey(atMs, account, id), NOTHING, atMs + LATE_MS)
  }

  /** Those whose moment has come, the oldest first, `count` at most, above `after`. They stay until they are dropped. */
  due(nowMs: number, after: string, count: number): { key: string; account: number; id: string }[] {
    const found: { key: string; account: number; id: string }[] = []
    for (const [key] of this.spool.keptAfter('otp t ', after, count)) {
      const [, , at, account, id] = key.split(' ')
      if (Number(at) > nowMs) break
      found.push({ key, account: Number(account), id: id as string })
    }
    return found
  }

  dropTimer(key: string): void {
    this.spool.dropKept(key)
  }
}

const NOTHING = Buffer.of(1)
const octets = (what: object): Buffer => Buffer.from(JSON.stringify(what))
// The account stands in every key: nobody comes upon another's.
const sessionKey = (account: number, id: string): string => `otp s ${account} ${id}`
const standingKey = (account: number, destination: string, purpose: string): string =>
  `otp p ${account} ${purpose} ${destination}`
const timerKey = (atMs: number, account: number, id: string): string =>
  `otp t ${String(Math.ceil(atMs)).padStart(MS_DIGITS, '0')} ${account} ${id}`
