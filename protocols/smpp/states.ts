// Which request is allowed when, and what the other ones are answered: SMPP v3.4 §2.2 and §2.3, v5.0 §2.4, one table a side.
// The two cells where the versions differ: replace_sm is taken in BOUND_TRX (v5.0; every vendor does), data_sm of an
// ESME is not taken in BOUND_RX (v5.0). Knows nothing of sockets; what a request means is the owner's.
import { command, isResponse } from './commands.js'
import { status } from './status.js'

/** Who we are in this session: the message centre (SMSC) or its client (ESME). */
export type Side = 'smsc' | 'esme'

/** `unbound`: one of the two has unbound, answers still owed may go out, then the session closes. */
export type SessionState = 'open' | 'bound_tx' | 'bound_rx' | 'bound_trx' | 'unbound' | 'closed'

/** What happens to a request of the peer. A wrong one costs the peer an answer, never its session. */
export type Cell =
  /** Handed to the owner, who answers it. */
  | 'take'
  /** A bind: handed to the owner, who answers it; until then a second bind is one too many. */
  | 'bind'
  /** Handed to the owner; the standard has no response for it. */
  | 'note'
  /** Answered by the session itself: enquire_link, unbind. */
  | 'self'
  | Refusal

type Refusal =
  /** Its own response with ESME_RALYBND: bound already. */
  | 'RALYBND'
  /** Its own response with ESME_RINVBNDSTS: not in this state, or never from this side. */
  | 'RINVBNDSTS'
  /** generic_nack with ESME_RINVBNDSTS: right side, wrong state, and the PDU has no response of its own. */
  | 'nack RINVBNDSTS'
  /** generic_nack with ESME_RINVCMDID: nothing we know, or nothing this side ever takes. */
  | 'nack RINVCMDID'

/** What a request that is not taken is answered: generic_nack or its own response, and the command_status. */
export const refusals: Readonly<Record<Refusal, { isNack: boolean; code: number }>> = {
  RALYBND: { isNack: false, code: status.ESME_RALYBND },
  RINVBNDSTS: { isNack: false, code: status.ESME_RINVBNDSTS },
  'nack RINVBNDSTS': { isNack: true, code: status.ESME_RINVBNDSTS },
  'nack RINVCMDID': { isNack: true, code: status.ESME_RINVCMDID },
}

const columns = ['open', 'bound_tx', 'bound_rx', 'bound_trx', 'unbound'] as const
type Row = readonly [open: Cell, tx: Cell, rx: Cell, trx: Cell, unbound: Cell]

const everywhere = (cell: Cell): Row => [cell, cell, cell, cell, cell]
const notHere = everywhere('RINVBNDSTS')
const unknown = everywhere('nack RINVCMDID')
// v5.0 §2.4 allows enquire_link in every state in which there is a connection; v3.4 only when bound.
const enquire = everywhere('self')
const unbind: Row = ['RINVBNDSTS', 'self', 'self', 'self', 'RINVBNDSTS']

// biome-ignore format: a table
const fromEsme: ReadonlyMap<number, Row> = new Map<number, Row>([
  //                                 open          bound_tx      bound_rx      bound_trx     unbound
  [command.bind_receiver,           ['bind',       'RALYBND',    'RALYBND',    'RALYBND',    'RINVBNDSTS']],
  [command.bind_transmitter,        ['bind',       'RALYBND',    'RALYBND',    'RALYBND',    'RINVBNDSTS']],
  [command.bind_transceiver,        ['bind',       'RALYBND',    'RALYBND',    'RALYBND',    'RINVBNDSTS']],
  [command.submit_sm,               ['RINVBNDSTS', 'take',       'RINVBNDSTS', 'take',       'RINVBNDSTS']],
  [command.submit_multi,            ['RINVBNDSTS', 'take',       'RINVBNDSTS', 'take',       'RINVBNDSTS']],
  [command.data_sm,                 ['RINVBNDSTS', 'take',       'RINVBNDSTS', 'take',       'RINVBNDSTS']],
  [command.query_sm,                ['RINVBNDSTS', 'take',       'RINVBNDSTS', 'take',       'RINVBNDSTS']],
  [command.cancel_sm,               ['RINVBNDSTS', 'take',       'RINVBNDSTS', 'take',       'RINVBNDSTS']],
  [command.replace_sm,              ['RINVBNDSTS', 'take',       'RINVBNDSTS', 'take',       'RINVBNDSTS']],
  [command.deliver_sm,              notHere],
  [command.unbind,                  unbind],
  [command.enquire_link,            enquire],
  [command.outbind,                 unknown],
  [command.alert_notification,      unknown],
  [command.broadcast_sm,            unknown],
  [command.query_broadcast_sm,      unknown],
  [command.cancel_broadcast_sm,     unknown],
])

// biome-ignore format: a table
const fromSmsc: ReadonlyMap<number, Row> = new Map<number, Row>([
  //                                 open               bound_tx           bound_rx           bound_trx          unbound
  [command.outbind,                 ['note',            'nack RINVBNDSTS', 'nack RINVBNDSTS', 'nack RINVBNDSTS', 'nack RINVBNDSTS']],
  [command.alert_notification,      ['nack RINVBNDSTS', 'nack RINVBNDSTS', 'note',            'note',            'nack RINVBNDSTS']],
  [command.deliver_sm,              ['RINVBNDSTS',      'RINVBNDSTS',      'take',            'take',            'RINVBNDSTS']],
  [command.data_sm,                 ['RINVBNDSTS',      'RINVBNDSTS',      'take',            'take',            'RINVBNDSTS']],
  [command.unbind,                  unbind],
  [command.enquire_link,            enquire],
  [command.bind_receiver,           notHere],
  [command.bind_transmitter,        notHere],
  [command.bind_transceiver,        notHere],
  [command.submit_sm,               notHere],
  [command.submit_multi,            notHere],
  [command.query_sm,                notHere],
  [command.cancel_sm,               notHere],
  [command.replace_sm,              notHere],
  [command.broadcast_sm,            unknown],
  [command.query_broadcast_sm,      unknown],
  [command.cancel_broadcast_sm,     unknown],
])

/** What `side` does with request `id` of its peer in `state`. */
export function cell(side: Side, state: Exclude<SessionState, 'closed'>, id: number): Cell {
  const row = (side === 'smsc' ? fromEsme : fromSmsc).get(id)
  return row?.[columns.indexOf(state)] ?? 'nack RINVCMDID'
}

/** Requests the standard numbers are below this; ids from here on are unknown. */
export const REQUEST_IDS = 0x200

/** The cells of one side and state by command_id: what the session looks up for each PDU. */
export type Cells = readonly Cell[]

function cellsOf(side: Side): Readonly<Record<SessionState, Cells>> {
  const at = (state: Exclude<SessionState, 'closed'>) =>
    Array.from({ length: REQUEST_IDS }, (_, id) => cell(side, state, id))
  return {
    open: at('open'),
    bound_tx: at('bound_tx'),
    bound_rx: at('bound_rx'),
    bound_trx: at('bound_trx'),
    unbound: at('unbound'),
    closed: [],
  }
}

export const cells: Readonly<Record<Side, Readonly<Record<SessionState, Cells>>>> = {
  smsc: cellsOf('smsc'),
  esme: cellsOf('esme'),
}

/** 1 for each response that answers a request in the window, by its id without bit 31; generic_nack is 0. */
export const answersRequest = new Uint8Array(REQUEST_IDS)
for (const id of Object.values(command)) {
  if (isResponse(id) && id !== command.enquire_link_resp && id !== command.unbind_resp)
    answersRequest[id & 0x7fffffff] = 1
}

export function isBind(id: number): boolean {
  return id === command.bind_transceiver || id === command.bind_transmitter || id === command.bind_receiver
}

/** The state that a successful bind with this command_id (request or response) leads to. */
export function boundState(id: number): 'bound_tx' | 'bound_rx' | 'bound_trx' {
  const request = id & 0x7fffffff
  if (!isBind(request)) throw new Error(`not a bind: ${id}`)
  if (request === command.bind_transceiver) return 'bound_trx'
  return request === command.bind_transmitter ? 'bound_tx' : 'bound_rx'
}
