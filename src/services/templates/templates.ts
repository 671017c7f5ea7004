// Templates as everyone else sees them: an account's own and those of the gateway, found by id or name, put together with
// values, counted. Answers from this node's copy, without SQL. Knows no HTTP; how they are kept and edited is rows.ts's.

import type { Clock } from '../../base/clock.js'
import type { Counters } from '../../base/figures.js'
import type { Log } from '../../base/log.js'
import type { SmsType } from '../../intake/web/fields.js'
import type { FoundTemplate, TemplateSource } from '../../intake/web/templates.js'
import { type Fault, fault } from '../../model/fault.js'
import type { Store } from '../../store/postgres.js'
import { TemplateCopy } from './copy.js'
import { TemplateFollower } from './follower.js'
import { TemplateRetention } from './retention.js'
import { TemplateRows } from './rows.js'
import { TemplateUses } from './uses.js'

export interface Rendered {
  readonly text: string
  readonly templateId: string
  readonly version: number
  readonly category: string
  readonly sms_type: SmsType
}

const unknown = fault('template_unknown', 'there is no such template', false)
const noVersion = fault('template_unknown', 'the template has no such version', false)
const inactive = fault('template_inactive', 'the template is switched off', false)
const MAX_ID = 2 ** 31 - 1

export interface TemplatesOptions {
  /** Folder of the copy; this process's alone. */
  readonly path: string
  readonly store: Store
  readonly clock: Clock
  readonly log: Log
  readonly counters: Counters
  /** Days that a message is told of once it is over: so long removed templates can be read. */
  readonly keepDays: number
}

export class Templates implements TemplateSource {
  readonly rows: TemplateRows
  private readonly copy: TemplateCopy
  private readonly follower: TemplateFollower
  private readonly uses: TemplateUses
  private readonly retention: TemplateRetention
  private readonly clock: Clock
  private readonly counters: Counters

  constructor({ path, store, clock, log, counters, keepDays }: TemplatesOptions) {
    this.clock = clock
    this.counters = counters
    this.rows = new TemplateRows(store)
    this.copy = new TemplateCopy(path)
    this.follower = new TemplateFollower(this.copy, this.rows, store, log)
    this.uses = new TemplateUses(this.rows, store, log)
    this.retention = new TemplateRetention({ copy: this.copy, rows: this.rows, store, clock, log, keepDays })
  }

  /**
   * The text of a template of the account or of the gateway (`id`: its id or name) in its newest version, or `version`.
   * Fault: template_unknown, template_inactive, variable_missing, variable_unknown, variable_invalid or too_long, with a
   * pointer to the variable within `variables`. Never waits for SQL. Counts nothing: say {@link used} once it is sent, or
   * {@link refused}.
   */
  async render(
    account: number,
    id: string,
    variables: Readonly<Record<string, string>>,
    version?: number,
    locale?: string,
  ): Promise<Rendered | Fault> {
    const found = this.find(account, id, version)
    if ('code' in found) return found
    const text = found.program.render(variables, undefined, locale)
    if (typeof text !== 'string') return text
    const { category, smsType } = found
    return { text, templateId: String(found.id), version: found.version, category, sms_type: smsType }
  }

  /** As {@link TemplateSource} has it. @param account null: the gateway */
  find(account: number | null, idOrName: string, version?: number, evenOff = false): FoundTemplate | Fault {
    const id = this.idOf(account, idOrName)
    const head = id === undefined ? undefined : this.copy.head(id)
    if (head === undefined || (head.deleted && !evenOff)) return unknown
    if (head.account !== null && head.account !== account) return unknown
    if (!head.active && !evenOff) return inactive
    const wanted = version ?? head.version
    const program = this.copy.program(head.id, wanted)
    if (program === undefined) return noVersion
    const { name, category, smsType } = head
    return { id: head.id, name, version: wanted, category, smsType, program }
  }

  /** To be looked at: own ones also when they are off, and by their id when they were removed; the gateway's when they are on. */
  seen(account: number | null, idOrName: string, version?: number): FoundTemplate | Fault {
    const id = this.idOf(account, idOrName)
    const isOwn = id !== undefined && this.copy.head(id)?.account === account
    const found = this.find(account, idOrName, version, isOwn)
    return found === inactive ? unknown : found
  }

  /** An account's own goes before the gateway's; `account` null: the gateway's alone. */
  idOf(account: number | null, idOrName: string): number | undefined {
    if (!/^\d{1,10}$/.test(idOrName)) {
      const own = account === null ? undefined : this.copy.idOf(account, idOrName)
      return own ?? this.copy.idOf(null, idOrName)
    }
    const id = Number(idOrName)
    return id > 0 && id <= MAX_ID ? id : undefined
  }

  used(id: number | string, count = 1): void {
    this.uses.note(Number(id), count, this.clock.now())
  }

  refused(count = 1): void {
    this.counters.add('templates_not_filled', count)
  }

  /** Begins to follow SQL. Look-ups work before that. */
  start(): void {
    this.follower.start()
    this.uses.start()
    this.retention.start()
  }

  /** Resolves when everything committed in SQL until now holds here; rejects when SQL is away. */
  refresh(): Promise<void> {
    return this.follower.refresh()
  }

  /** Takes away what was removed long ago; a daily matter. How many templates went. Throws what SQL throws. */
  forget(): Promise<number> {
    return this.retention.forget()
  }

  async close(): Promise<void> {
    await this.retention.stop()
    await this.uses.stop()
    await this.follower.close()
    await this.copy.close()
  }
}
