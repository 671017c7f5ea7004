// What the web door must know of templates: where one is found, and what it is then. Knows no rows; services have them.

import type { Fault } from '../../model/fault.js'
import type { TemplateProgram } from '../../model/templateText.js'
import type { SmsType } from './fields.js'

/** A version of a template that may be sent. */
export interface FoundTemplate {
  readonly id: number
  readonly name: string
  readonly version: number
  readonly category: string
  readonly smsType: SmsType
  readonly program: TemplateProgram
}

export interface TemplateSource {
  /**
   * By id or name, an account's own before the gateway's; its newest version, or that one. `evenOff`: switched off too,
   * and by its id when it was removed.
   */
  find(account: number, idOrName: string, version?: number, evenOff?: boolean): FoundTemplate | Fault
  /** So many messages were made of it. */
  used(id: number, count: number): void
  /** So many could not be made of one: values were missing, or not as they must be. */
  refused(count: number): void
}
