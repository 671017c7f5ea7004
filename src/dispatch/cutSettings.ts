// What of a carrier's settings says how messages are cut for it. Pure.

import { codingsWith } from '../../protocols/gsm/coding.js'
import type { SmppFields } from '../accounts/carrier.js'
import type { CutSettings } from './cut.js'

export const cutOf = (settings: SmppFields): CutSettings => ({
  receipts: settings.receipts,
  tlvs: settings.interfaceVersion >= 0x34,
  longMessages: wayFor(settings),
  codings: codingsWith(settings.codings),
  nationalTables: settings.nationalTables,
  maxOctets: settings.maxOctets,
})

/** A carrier of SMPP v3.3 is sent no TLVs: long messages leave with a UDH, as it has always been. */
const wayFor = ({ longMessages, interfaceVersion }: SmppFields): CutSettings['longMessages'] =>
  interfaceVersion < 0x34 && (longMessages === 'sar' || longMessages === 'payload') ? 'udh8' : longMessages
