// The body of every PDU of SMPP v3.4 (§4) and v5.0 (§4.1-4.6) as tables: which fields, in which order, how long, and
// the command_status to answer when a field is too long or the PDU ends inside it. Types of fields derive from here.
// TLVs are in tlv.ts; values (a priority of 9, a schedule in the past) are judged by whoever acts on them.
import { command } from './commands.js'
import { status } from './status.js'

/** One destination of a submit_multi: an address (`dest_flag` 1) or the name of a distribution list (2). */
export type DestAddress =
  | { dest_flag: 1; dest_addr_ton: number; dest_addr_npi: number; destination_addr: string }
  | { dest_flag: 2; dl_name: string }

/** One destination that a submit_multi did not reach, and its own command_status. */
export interface UnsuccessSme {
  dest_addr_ton: number
  dest_addr_npi: number
  destination_addr: string
  error_status_code: number
}

interface Values {
  uint8: number
  cstring: string
  time: string
  octets: Buffer
  dest_address: DestAddress[]
  unsuccess_sme: UnsuccessSme[]
}

/**
 * `uint8`; `cstring`: up to `max` octets with the NUL; `time`: a C-octet string of 1 or 17 octets; `octets`: sm_length
 * and as many octets; `dest_address` and `unsuccess_sme`: a count and as many entries.
 */
export interface Field {
  readonly name: string
  readonly kind: keyof Values
  readonly max: number
  readonly status: number
}

const field = <const N extends string, const K extends keyof Values>(name: N, kind: K, max: number, status: number) =>
  ({ name, kind, max, status }) as const

/** Fields that the standard gives no code of their own answer ESME_RINVCMDLEN: the PDU is too short for its kind. */
const uint8 = <const N extends string>(name: N, code: number = status.ESME_RINVCMDLEN) => field(name, 'uint8', 1, code)
const cstring = <const N extends string>(name: N, max: number, code: number) => field(name, 'cstring', max, code)
const time = <const N extends string>(name: N, code: number) => field(name, 'time', 17, code)

/** The standard's limit of an address, and the wider one of data_sm and alert_notification. */
const ADDRESS = 21
const LONG_ADDRESS = 65

const serviceType = cstring('service_type', 6, status.ESME_RINVSERTYP)
const messageId = cstring('message_id', 65, status.ESME_RINVMSGID)
const source = (max: number) =>
  [
    uint8('source_addr_ton', status.ESME_RINVSRCTON),
    uint8('source_addr_npi', status.ESME_RINVSRCNPI),
    cstring('source_addr', max, status.ESME_RINVSRCADR),
  ] as const
const destination = (max: number) =>
  [
    uint8('dest_addr_ton', status.ESME_RINVDSTTON),
    uint8('dest_addr_npi', status.ESME_RINVDSTNPI),
    cstring('destination_addr', max, status.ESME_RINVDSTADR),
  ] as const

const esmClass = uint8('esm_class', status.ESME_RINVESMCLASS)
const priorityFlag = uint8('priority_flag', status.ESME_RINVPRTFLG)
const schedule = time('schedule_delivery_time', status.ESME_RINVSCHED)
const validity = time('validity_period', status.ESME_RINVEXPIRY)
const registeredDelivery = uint8('registered_delivery', status.ESME_RINVREGDLVFLG)
const replaceIfPresent = uint8('replace_if_present_flag', status.ESME_RINVREPFLAG)
const dataCoding = uint8('data_coding')
const defaultMessage = uint8('sm_default_msg_id', status.ESME_RINVDFTMSGID)
const shortMessage = field('short_message', 'octets', 255, status.ESME_RINVMSGLEN)

// Passwords past eight characters and system_ids past fifteen are in daily use (providers document them), so both are
// read and written up to 65 octets; whoever keeps accounts decides how long one may be.
const systemId = cstring('system_id', 65, status.ESME_RINVSYSID)
const password = cstring('password', 65, status.ESME_RINVPASWD)

const bind = [
  systemId,
  password,
  cstring('system_type', 13, status.ESME_RINVSYSTYP),
  uint8('interface_version'),
  uint8('addr_ton'),
  uint8('addr_npi'),
  cstring('address_range', 41, status.ESME_RINVSRCADR),
] as const

const settings = [esmClass, uint8('protocol_id'), priorityFlag] as const
const message = [registeredDelivery, replaceIfPresent, dataCoding, defaultMessage, shortMessage] as const

export const layouts = {
  [command.generic_nack]: [],
  [command.bind_receiver]: bind,
  [command.bind_receiver_resp]: [systemId],
  [command.bind_transmitter]: bind,
  [command.bind_transmitter_resp]: [systemId],
  [command.bind_transceiver]: bind,
  [command.bind_transceiver_resp]: [systemId],
  [command.outbind]: [systemId, password],
  [command.unbind]: [],
  [command.unbind_resp]: [],
  [command.enquire_link]: [],
  [command.enquire_link_resp]: [],
  [command.submit_sm]: [
    serviceType,
    ...source(ADDRESS),
    ...destination(ADDRESS),
    ...settings,
    schedule,
    validity,
    ...message,
  ],
  [command.submit_sm_resp]: [messageId],
  // Both times are NULL in a v3.4 deliver_sm, and carriers that fill them do not all keep to 16 characters: no reply
  // or receipt is worth losing over it.
  [command.deliver_sm]: [
    serviceType,
    ...source(ADDRESS),
    ...destination(ADDRESS),
    ...settings,
    cstring('schedule_delivery_time', 17, status.ESME_RINVSCHED),
    cstring('validity_period', 17, status.ESME_RINVEXPIRY),
    ...message,
  ],
  [command.deliver_sm_resp]: [messageId],
  [command.submit_multi]: [
    serviceType,
    ...source(ADDRESS),
    field('dest_address', 'dest_address', 255, status.ESME_RINVNUMDESTS),
    ...settings,
    schedule,
    validity,
    ...message,
  ],
  [command.submit_multi_resp]: [messageId, field('unsuccess_sme', 'unsuccess_sme', 255, status.ESME_RINVNUMDESTS)],
  [command.data_sm]: [
    serviceType,
    ...source(LONG_ADDRESS),
    ...destination(LONG_ADDRESS),
    esmClass,
    registeredDelivery,
    dataCoding,
  ],
  [command.data_sm_resp]: [messageId],
  [command.query_sm]: [messageId, ...source(ADDRESS)],
  [command.query_sm_resp]: [
    messageId,
    time('final_date', status.ESME_RQUERYFAIL),
    uint8('message_state'),
    uint8('error_code'),
  ],
  [command.cancel_sm]: [serviceType, messageId, ...source(ADDRESS), ...destination(ADDRESS)],
  [command.cancel_sm_resp]: [],
  [command.replace_sm]: [
    messageId,
    ...source(ADDRESS),
    schedule,
    validity,
    registeredDelivery,
    defaultMessage,
    shortMessage,
  ],
  [command.replace_sm_resp]: [],
  [command.alert_notification]: [
    ...source(LONG_ADDRESS),
    uint8('esme_addr_ton', status.ESME_RINVDSTTON),
    uint8('esme_addr_npi', status.ESME_RINVDSTNPI),
    cstring('esme_addr', LONG_ADDRESS, status.ESME_RINVDSTADR),
  ],
  [command.broadcast_sm]: [
    serviceType,
    ...source(ADDRESS),
    messageId,
    priorityFlag,
    schedule,
    validity,
    replaceIfPresent,
    dataCoding,
    defaultMessage,
  ],
  [command.broadcast_sm_resp]: [messageId],
  [command.query_broadcast_sm]: [messageId, ...source(ADDRESS)],
  [command.query_broadcast_sm_resp]: [messageId],
  [command.cancel_broadcast_sm]: [serviceType, messageId, ...source(ADDRESS)],
  [command.cancel_broadcast_sm_resp]: [],
} as const satisfies Record<number, readonly Field[]>

type FieldsOf<L extends readonly Field[]> = { [F in L[number] as F['name']]: Values[F['kind']] }

/** The fields of each PDU by command_id: `PduFields[typeof command.submit_sm]`. */
export type PduFields = { [C in keyof typeof layouts]: FieldsOf<(typeof layouts)[C]> }

export type Pdu = keyof PduFields

const byCommand = new Map<number, readonly Field[]>(Object.entries(layouts).map(([id, fields]) => [Number(id), fields]))

/** The mandatory fields of a PDU in their order; undefined for a command_id that the standard does not have. */
export function layoutOf(commandId: number): readonly Field[] | undefined {
  return byCommand.get(commandId)
}
