// Messages that come over HTTP, on their way through the door: many at a time, each with its own answer, in slices that
// leave the event loop to others; once for each Idempotency-Key, over a crash too. Knows no HTTP.

import { createHash } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import { isGsm } from '../../../protocols/gsm/alphabet.js'
import type { Account } from '../../accounts/account.js'
import { readProfile } from '../../accounts/smppProfile.js'
import type { Clock } from '../../base/clock.js'
import { idText } from '../../base/ids.js'
import { type Fault, fault } from '../../model/fault.js'
import type { Spool } from '../../spool/contract.js'
import { creditPending, type Door } from '../submit.js'
import { makePlain, segmentsOf } from '../text.js'
import type { MessageFields, Recipient } from './fields.js'
import { batched, bodyFor, type Draft, draftOf, messageFor, numberOf, rankOfType, textOf } from './message.js'
import type { FoundTemplate, TemplateSource } from './templates.js'

/** Messages that one turn of the event loop takes, and the time that it has for them: a text may cost more than another. */
const SLICE = 250
const TURN_MS = 3
const DAY_MS = 86_400_000
/** An Idempotency-Key is good for so long, and what is known of a batch. */
const KEY_MS = DAY_MS
const BATCH_MS = 30 * DAY_MS

export interface SentOne {
  readonly to: string
  /** 0: it was not taken. */
  readonly id: number
  readonly segments: number
  readonly priceMicros: number
  /** Of a dry run what it would say; null where it is of octets, or not known. */
  readonly text: string | null
  readonly fault: Fault | null
}

/** What a template says, as it would leave. */
export interface Composed {
  readonly text: string
  readonly segments: number
  /** In the GSM alphabet; else in UCS-2. */
  readonly isGsm: boolean
}

export interface Sent {
  /** '' of a dry run. */
  readonly batch: string
  readonly template: FoundTemplate | null
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
  /** The ids of a request that a crash may have cut short, and its template; gone once `body` stands. */
  readonly ids?: number[]
  readonly template?: SentTemplate
  readonly status?: number
  readonly body?: string
}

/** What a request was about to be when a crash cut it short. */
export interface CutShort {
  readonly ids: readonly number[]
  readonly template?: SentTemplate | undefined
}
/** Edited or removed since, it goes on as it was begun. */
type SentTemplate = Pick<FoundTemplate, 'id' | 'version'>

export type Once =
  | { readonly kind: 'first'; readonly cutShort?: CutShort }
  | { readonly kind: 'again'; readonly status: number; readonly body: string }
  | { readonly kind: 'running' }
  | { readonly kind: 'other' }

const destinationInvalid = fault('destination_invalid', 'the destination is not a phone number', false)

const anybody = readProfile({})

export interface SenderHost {
  readonly door: Door
  readonly clock: Clock
  readonly templates: TemplateSource
  /** Has a message of this id ended? Asked only after a crash. Rejects when nobody knows now. */
  hasEnded(id: number): Promise<boolean>
}

export class WebSender {
  private readonly host: SenderHost
  private readonly running = new Set<string>()
  /** Messages by account that were let in and are not in the spool yet: others have the turn. */
  private readonly onTheWay = new Map<number, number>()

  constructor(host: SenderHost) {
    this.host = host
  }

  /** Checks and prices; takes nothing. */
  async preview(
    account: Account,
    fields: MessageFields,
    recipients: readonly Recipient[],
    template?: FoundTemplate,
  ): Promise<Sent | Fault> {
    const draft =
      template === undefined ? this.draft(account, fields, recipients) : draftOf(fields, recipients, template)
    if ('code' in draft) return draft
    const messages: SentOne[] = []
    const pace = new Pace(this.host.clock)
    for (const to of recipients) {
      if (pace.isOver()) {
        await turn()
        pace.begin()
      }
      messages.push(this.previewOne(account, to, draft))
    }
    return { batch: '', template: draft.template, messages }
  }

  private previewOne(account: Account, to: Recipient, draft: Draft): SentOne {
    const number = numberOf(to)
    if (number === '') return refused(to, destinationInvalid)
    const body = bodyFor(to, draft)
    if ('code' in body) return refused(to, body)
    const m = messageFor(to, number, body, draft)
    const why = this.host.door.preview(m, account, rankOfType(draft.smsType))
    const text = textOf(m, draft.fields.message_type)
    return { to: number, id: 0, segments: m.segments, priceMicros: m.priceMicros, text, fault: why ?? null }
  }

  /** The text of a template and its segments, for an account or for any; to nobody, or to that one of all. */
  compose(account: Account | null, fields: MessageFields, template: FoundTemplate, to?: Recipient): Composed | Fault {
    const draft = draftOf(fields, to === undefined ? [] : [to], template)
    if ('code' in draft) return draft
    const body = bodyFor(to ?? '', draft)
    if ('code' in body) return body
    const m = messageFor('', '', body, draft)
    const smpp = account?.smpp ?? anybody
    if (smpp.smartReplace) makePlain(m, smpp)
    const text = textOf(m, fields.message_type) ?? ''
    return { text, segments: segmentsOf(m, smpp), isGsm: m.isText && isGsm(text) }
  }

  /** See {@link TemplateSource.find}. */
  template(account: Account, idOrName: string, version?: number): FoundTemplate | Fault {
    return this.host.templates.find(account.id, idOrName, version)
  }

  private draft(
    account: Account,
    fields: MessageFields,
    recipients: readonly Recipient[],
    begun?: SentTemplate,
  ): Draft | Fault {
    const { template_id, template_version } = fields
    if (template_id === undefined) return draftOf(fields, recipients, null)
    const { templates } = this.host
    const found =
      begun === undefined
        ? templates.find(account.id, template_id, template_version)
        : templates.find(account.id, String(begun.id), begun.version, true)
    return 'code' in found ? found : draftOf(fields, recipients, found)
  }

  /**
   * Takes what can be taken of it; durable when it resolves. A Fault: nothing was taken. `cutShort`: of a request that
   * a crash has cut short; what was taken then is not taken again. `part`: of something larger, which notes it.
   */
  async send(
    account: Account,
    fields: MessageFields,
    recipients: readonly Recipient[],
    options: { name?: string; key?: string; cutShort?: CutShort; part?: boolean } = {},
  ): Promise<Sent | Fault> {
    const { door, clock, templates } = this.host
    const { spool } = door
    const { name = '', key, cutShort } = options
    // First: what nobody can be sent costs nothing of the pace.
    const drafted = this.draft(account, fields, recipients, cutShort?.template)
    if ('code' in drafted) {
      if (fields.template_id !== undefined) templates.refused(recipients.length)
      return drafted
    }
    const refusal = door.admit(account, recipients.length, this.onTheWay.get(account.id) ?? 0)
    if (refusal !== undefined) return refusal
    const ids = cutShort?.ids ?? spool.takeIds(recipients.length)
    const batch = idText(ids[0] as number, 'decimal')
    const draft = batched(drafted, batch)
    const { template } = draft
    // Of a request that is more than one commit a crash may take the end: it is known what it was about to be.
    let isBegun = key === undefined
    const begin = (): void => {
      if (!isBegun) this.begin(account, key as string, ids, template)
      isBegun = true
    }
    if (recipients.length > SLICE) begin()
    const messages: SentOne[] = []
    const pace = new Pace(clock)
    let again = 0
    let full: Fault | undefined
    for (const [index, to] of recipients.entries()) {
      if (pace.isOver()) {
        begin()
        await this.away(account, recipients.length - index, turn())
        pace.begin()
      }
      const id = ids[index] as number
      if (cutShort !== undefined && (spool.find(id) !== undefined || (await this.host.hasEnded(id)))) {
        messages.push({ to: numberOf(to), id, segments: 1, priceMicros: 0, text: null, fault: null })
        again++
        continue
      }
      let one = full === undefined ? this.take(account, to, id, draft) : refused(to, full)
      while (one.fault === creditPending) {
        begin()
        const rest = recipients.length - index
        const isKnown = await this.away(account, rest, door.creditKnown(account))
        pace.begin()
        if (!isKnown) break
        // Others have come meanwhile: there is room for the rest of them, or for none.
        full = door.refusal(account, rest + (this.onTheWay.get(account.id) ?? 0))
        one = full === undefined ? this.take(account, to, id, draft) : refused(to, full)
      }
      messages.push(one)
    }
    const accepted = messages.filter(one => one.id !== 0).length
    if (template !== null && accepted > again) templates.used(template.id, accepted - again)
    const note: BatchNote = {
      account: account.id,
      name,
      atMs: clock.now(),
      accepted,
      rejected: messages.length - accepted,
      ids: [[ids[0] as number, ids.at(-1) as number]],
    }
    if (accepted > 0 && !options.part && (messages.length > 1 || name !== '')) this.noteBatch(batch, note)
    return { batch, template, messages }
  }

  /** Leaves the event loop to others until then, who find no room where `rest` of this request are about to be. */
  private async away<T>({ id }: Account, rest: number, until: Promise<T>): Promise<T> {
    this.onTheWay.set(id, (this.onTheWay.get(id) ?? 0) + rest)
    try {
      return await until
    } finally {
      const others = (this.onTheWay.get(id) ?? 0) - rest
      if (others > 0) this.onTheWay.set(id, others)
      else this.onTheWay.delete(id)
    }
  }

  private take(account: Account, to: Recipient, id: number, draft: Draft): SentOne {
    const number = numberOf(to)
    if (number === '') return refused(to, destinationInvalid)
    const body = bodyFor(to, draft)
    if ('code' in body) {
      if (draft.template !== null) this.host.templates.refused(1)
      return refused(to, body)
    }
    const m = messageFor(to, number, body, draft)
    m.id = id
    m.registered_delivery = 1
    const why = this.host.door.submitAdmitted(m, account, rankOfType(draft.smsType))
    const { segments, priceMicros } = m
    return { to: number, id: why === undefined ? id : 0, segments, priceMicros, text: null, fault: why ?? null }
  }

  noteBatch(batch: string, note: BatchNote): void {
    const { door, clock } = this.host
    door.spool.keep(`batch ${batch}`, Buffer.from(JSON.stringify(note)), clock.now() + BATCH_MS)
  }

  batch(account: Account, batch: string): BatchNote | undefined {
    return batchOf(this.host.door.spool, account.id, batch)
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
    if (before?.ids === undefined) return { kind: 'first' }
    return { kind: 'first', cutShort: { ids: before.ids, template: before.template } }
  }
  private readonly prints = new Map<string, string>()

  private begin(account: Account, key: string, ids: readonly number[], template: FoundTemplate | null): void {
    const name = keyName(account, key)
    const begun = template === null ? {} : { template: { id: template.id, version: template.version } }
    this.keepAnswer(name, { print: this.prints.get(name) ?? '', ids: [...ids], ...begun })
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

/** How long one turn of the event loop may go on. */
class Pace {
  private readonly clock: Clock
  private sinceMs: number
  private count = 0

  constructor(clock: Clock) {
    this.clock = clock
    this.sinceMs = clock.mono()
  }

  begin(): void {
    this.sinceMs = this.clock.mono()
    this.count = 1
  }

  /** Asked before each message; after yes the next one is the first of a turn that is begun. */
  isOver(): boolean {
    return this.count++ === SLICE || (this.count > 1 && this.clock.mono() - this.sinceMs >= TURN_MS)
  }
}

const refused = (to: Recipient, why: Fault): SentOne => ({
  to: typeof to === 'string' ? to : to.number,
  id: 0,
  segments: 0,
  priceMicros: 0,
  text: null,
  fault: why,
})

/** What is known of an account's batch; undefined: it has none of this id. */
export function batchOf(spool: Pick<Spool, 'kept'>, account: number, batch: string): BatchNote | undefined {
  const kept = spool.kept(`batch ${batch}`)
  const note = kept === undefined ? undefined : (JSON.parse(kept.toString()) as BatchNote)
  return note?.account === account ? note : undefined
}

/** Of any length and any characters, as a key of the spool. */
const keyName = (account: Account, key: string): string => `once ${account.id} ${printOf(key)}`
const printOf = (text: string): string => createHash('sha256').update(text).digest('base64url')
