// Messages that come over HTTP, on their way through the door: many at a time, each with its own answer, in slices that
// leave the event loop to others; once for each Idempotency-Key, over a crash too. Knows no HTTP.

import { createHash } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import type { Account } from '../../accounts/account.js'
import type { Clock } from '../../base/clock.js'
import { idText } from '../../base/ids.js'
import { type Fault, fault } from '../../model/fault.js'
import type { Door } from '../submit.js'
import type { MessageFields, Recipient } from './fields.js'
import { messageFor, numberOf, rankOfType, type Template, templateOf } from './message.js'

/** Messages that one turn of the event loop takes. */
const SLICE = 250
const DAY_MS = 86_400_000
/** An Idempotency-Key is good for so long, and what is known of a batch. */
const KEY_MS = DAY_MS
const BATCH_MS = 30 * DAY_MS

export interface SentOne {
  readonly to: string
  /** 0: it was not taken. */
  readonly id: number
  readonly segments: number
  readonly fault: Fault | null
}

export interface Sent {
  /** '' of a dry run. */
  readonly batch: string
  readonly messages: readonly SentOne[]
}

/** What is known of a batch: where its ids are. Nobody else's stand between them. */
export interface BatchNote {
  readonly account: number
  readonly name: string
  readonly atMs: number
  readonly accepted: number
  readonly rejected: number
  /** From the first id to the last. */
  readonly ids: readonly (readonly [number, number])[]
}

/** An answer that is given again to whoever asks again with its key. */
interface Answered {
  readonly print: string
  /** The ids of a request that a crash may have cut short; gone once `body` stands. */
  readonly ids?: number[]
  readonly status?: number
  readonly body?: string
}

export type Once =
  | { readonly kind: 'first'; readonly ids?: readonly number[] }
  | { readonly kind: 'again'; readonly status: number; readonly body: string }
  | { readonly kind: 'running' }
  | { readonly kind: 'other' }

const destinationInvalid = fault('destination_invalid', 'the destination is not a phone number', false)
const notBase64 = fault('body_invalid', 'message must be base64 when message_type is binary', false)

export interface SenderHost {
  readonly door: Door
  readonly clock: Clock
  /** Has a message of this id ended? Asked only after a crash. Rejects when nobody knows now. */
  hasEnded(id: number): Promise<boolean>
}

export class WebSender {
  private readonly host: SenderHost
  private readonly running = new Set<string>()

  constructor(host: SenderHost) {
    this.host = host
  }

  /** Checks and prices; takes nothing. */
  preview(account: Account, fields: MessageFields, recipients: readonly Recipient[]): Sent | Fault {
    const template = templateOf(fields, '')
    if (template === undefined) return notBase64
    const messages = recipients.map(to => {
      const number = numberOf(to)
      if (number === '') return refused(to, destinationInvalid)
      const m = messageFor(to, number, template)
      const why = this.host.door.preview(m, account, rankOfType(fields.sms_type))
      return { to: number, id: 0, segments: m.segments, fault: why ?? null }
    })
    return { batch: '', messages }
  }

  /**
   * Takes what can be taken of it; durable when it resolves. A Fault: nothing was taken. `ids` are those of a request that
   * a crash has cut short: what was taken then is not taken again. `part`: of something larger, which notes it.
   */
  async send(
    account: Account,
    fields: MessageFields,
    recipients: readonly Recipient[],
    options: { name?: string; key?: string; ids?: readonly number[]; part?: boolean } = {},
  ): Promise<Sent | Fault> {
    const { door, clock } = this.host
    const { spool } = door
    const { name = '', key } = options
    const refusal = door.admit(account, recipients.length, 0)
    if (refusal !== undefined) return refusal
    const ids = options.ids ?? spool.takeIds(recipients.length)
    const batch = idText(ids[0] as number, 'decimal')
    const template = templateOf(fields, batch)
    if (template === undefined) return notBase64
    // Of a request that is more than one commit a crash may take the end: it is known what it was about to be.
    if (key !== undefined && recipients.length > SLICE) this.begin(account, key, ids)
    const messages: SentOne[] = []
    for (const [index, to] of recipients.entries()) {
      if (index > 0 && index % SLICE === 0) await turn()
      const id = ids[index] as number
      const isThere = options.ids !== undefined && (spool.find(id) !== undefined || (await this.host.hasEnded(id)))
      messages.push(isThere ? { to: numberOf(to), id, segments: 1, fault: null } : this.take(account, to, id, template))
    }
    const accepted = messages.filter(one => one.id !== 0).length
    const note: BatchNote = {
      account: account.id,
      name,
      atMs: clock.now(),
      accepted,
      rejected: messages.length - accepted,
      ids: [[ids[0] as number, ids.at(-1) as number]],
    }
    if (accepted > 0 && !options.part && (messages.length > 1 || name !== '')) this.noteBatch(batch, note)
    return { batch, messages }
  }

  private take(account: Account, to: Recipient, id: number, template: Template): SentOne {
    const number = numberOf(to)
    if (number === '') return refused(to, destinationInvalid)
    const m = messageFor(to, number, template)
    m.id = id
    m.registered_delivery = 1
    const why = this.host.door.submitAdmitted(m, account, rankOfType(template.fields.sms_type))
    return { to: number, id: why === undefined ? id : 0, segments: m.segments, fault: why ?? null }
  }

  noteBatch(batch: string, note: BatchNote): void {
    const { door, clock } = this.host
    door.spool.keep(`batch ${batch}`, Buffer.from(JSON.stringify(note)), clock.now() + BATCH_MS)
  }

  batch(account: Account, batch: string): BatchNote | undefined {
    const kept = this.host.door.spool.kept(`batch ${batch}`)
    const note = kept === undefined ? undefined : (JSON.parse(kept.toString()) as BatchNote)
    return note?.account === account.id ? note : undefined
  }

  // -- Idempotency-Key (draft-ietf-httpapi-idempotency-key-header) ------------------------------------------------

  /** Whether a request with this key was made before; the caller of a `first` one says `settle` or `giveUp` in the end. */
  once(account: Account, key: string, request: string): Once {
    const name = keyName(account, key)
    if (this.running.has(name)) return { kind: 'running' }
    const kept = this.host.door.spool.kept(name)
    const before = kept === undefined ? undefined : (JSON.parse(kept.toString()) as Answered)
    if (before !== undefined && before.print !== printOf(request)) return { kind: 'other' }
    if (before?.body !== undefined) return { kind: 'again', status: before.status ?? 200, body: before.body }
    this.running.add(name)
    this.prints.set(name, printOf(request))
    return before?.ids === undefined ? { kind: 'first' } : { kind: 'first', ids: before.ids }
  }
  private readonly prints = new Map<string, string>()

  private begin(account: Account, key: string, ids: readonly number[]): void {
    const name = keyName(account, key)
    this.keepAnswer(name, { print: this.prints.get(name) ?? '', ids: [...ids] })
  }

  /** Its answer, durable with what the request has taken. */
  settle(account: Account, key: string, status: number, body: string): void {
    const name = keyName(account, key)
    this.keepAnswer(name, { print: this.prints.get(name) ?? '', status, body })
    this.giveUp(account, key)
  }

  /** It was not answered for good: the key is free again. */
  giveUp(account: Account, key: string): void {
    const name = keyName(account, key)
    this.running.delete(name)
    this.prints.delete(name)
  }

  private keepAnswer(name: string, answer: Answered): void {
    const { door, clock } = this.host
    door.spool.keep(name, Buffer.from(JSON.stringify(answer)), clock.now() + KEY_MS)
  }
}

const refused = (to: Recipient, why: Fault): SentOne => ({
  to: typeof to === 'string' ? to : to.number,
  id: 0,
  segments: 0,
  fault: why,
})

/** Of any length and any characters, as a key of the spool. */
const keyName = (account: Account, key: string): string => `once ${account.id} ${printOf(key)}`
const printOf = (text: string): string => createHash('sha256').update(text).digest('base64url')
