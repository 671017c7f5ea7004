// The command_ids of SMPP v3.4 (§5.1.2.1) and v5.0 (§4.7.5) and their names.
// Ids are unsigned, as readUInt32BE gives them. Which PDU is allowed when, and from whom, is the session's.

export const command = {
  generic_nack: 0x80000000,
  bind_receiver: 0x00000001,
  bind_receiver_resp: 0x80000001,
  bind_transmitter: 0x00000002,
  bind_transmitter_resp: 0x80000002,
  query_sm: 0x00000003,
  query_sm_resp: 0x80000003,
  submit_sm: 0x00000004,
  submit_sm_resp: 0x80000004,
  deliver_sm: 0x00000005,
  deliver_sm_resp: 0x80000005,
  unbind: 0x00000006,
  unbind_resp: 0x80000006,
  replace_sm: 0x00000007,
  replace_sm_resp: 0x80000007,
  cancel_sm: 0x00000008,
  cancel_sm_resp: 0x80000008,
  bind_transceiver: 0x00000009,
  bind_transceiver_resp: 0x80000009,
  outbind: 0x0000000b,
  enquire_link: 0x00000015,
  enquire_link_resp: 0x80000015,
  submit_multi: 0x00000021,
  submit_multi_resp: 0x80000021,
  alert_notification: 0x00000102,
  data_sm: 0x00000103,
  data_sm_resp: 0x80000103,
  broadcast_sm: 0x00000111,
  broadcast_sm_resp: 0x80000111,
  query_broadcast_sm: 0x00000112,
  query_broadcast_sm_resp: 0x80000112,
  cancel_broadcast_sm: 0x00000113,
  cancel_broadcast_sm_resp: 0x80000113,
} as const

export type CommandName = keyof typeof command

const names = new Map<number, string>(Object.entries(command).map(([name, id]) => [id, name]))

/** The standard's name, or the id as `0x0000abcd`. */
export function commandName(id: number): string {
  return names.get(id) ?? hex32(id)
}

/** True for every id with bit 31 set, known or not, generic_nack included: what must never be answered. */
export function isResponse(id: number): boolean {
  return (id & 0x80000000) !== 0
}

/** The command_id that answers request `id`: its own response, or generic_nack where the standard has none. */
export function responseTo(id: number): number {
  const response = (id | 0x80000000) >>> 0
  return names.has(response) ? response : command.generic_nack
}

/** A 32-bit number as the traces write it: `0x0000abcd`. */
export function hex32(value: number): string {
  return `0x${(value >>> 0).toString(16).padStart(8, '0')}`
}
