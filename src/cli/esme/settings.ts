// What a load run is told: where, as whom, how much and how fast. Values and their defaults; the words for them on a
// command line are load.ts's.

import type { TemplateSettings } from './template.js'

export interface LoadSettings extends TemplateSettings {
  readonly host: string
  readonly port: number
  readonly systemId: string
  readonly password: string
  /** With 'transmitter+receiver', `binds` of each. */
  readonly bind: 'transceiver' | 'transmitter+receiver'
  readonly binds: number
  readonly window: number
  /** Messages; with 0 and `lingerMs` it only collects receipts. */
  readonly count: number
  /** submit_sm a second over all binds; 0: as fast as the windows allow. */
  readonly rate: number
  /** Whether ESME_RTHROTTLED and ESME_RMSGQFUL are submitted again. */
  readonly retry: boolean
  /** So long without an answer or a receipt, and the run gives up. */
  readonly drainMs: number
  /** So long it listens on after the last answer or receipt although nothing is missing. */
  readonly lingerMs: number
  /** The serial number in the first message's text. */
  readonly serialFrom: number
  /** A file for the ids, see IdsFile. */
  readonly ids: string | null
  /** A file for one byte a message: 0 never sent, 1 sent and not answered, 2 accepted, 3 refused. */
  readonly dump: string | null
}

export const loadDefaults: LoadSettings = {
  host: '127.0.0.1',
  port: 2775,
  systemId: 'bench',
  password: 'bench',
  bind: 'transceiver',
  binds: 1,
  window: 100,
  count: 10_000,
  rate: 0,
  textLength: 60,
  ucs2: false,
  from: '12345',
  to: '1555',
  receipts: true,
  retry: false,
  drainMs: 30_000,
  lingerMs: 0,
  serialFrom: 0,
  ids: null,
  dump: null,
}
