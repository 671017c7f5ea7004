// What a load run came to, in figures: the shape that `trunkline load --json` prints, and the sentences that say why a
// run has failed.

import { type MessageStateName, messageStateName } from '../../../protocols/smpp/receipt.js'
import { statusName } from '../../../protocols/smpp/status.js'
import type { Load } from '../esme.js'
import type { Quantiles } from './latency.js'

export interface LoadResult {
  mode: 'load'
  count: number
  /** Messages submitted at least once; `unanswered` of them have no answer. */
  sent: number
  unsent: number
  accepted: number
  refused: number
  unanswered: number
  /** submit_sm sent again after ESME_RTHROTTLED or ESME_RMSGQFUL. */
  retried: number
  /** From the start to the last answer, and messages accepted a second in that time. */
  seconds: number
  rate: number
  resp_ms: Quantiles
  receipts: {
    received: number
    /** Messages accepted that have none. */
    missing: number
    /** Receipts after a message's first. */
    doubled: number
    /** For ids that no answer has given, or without any id. */
    unexpected: number
    /** Messages whose receipt does not say DELIVERED. */
    undelivered: number
    states: Partial<Record<MessageStateName, number>>
  }
  /** From the start to the last receipt, and messages with a receipt a second in that time. */
  receipt_seconds: number
  end_to_end_rate: number
  receipt_ms: Quantiles
  replies: number
  /** Answers with an id that another message has. */
  ids_reused: number
  lost_connections: number
  lost: Record<string, number>
  errors: Record<string, number>
  /** With a rate: how far behind it the run has been, at most. */
  late_ms: number
  /** Processor time of this process per message accepted. */
  cpu_us: number
  /** Why the run has failed; empty when it has not. */
  faults: string[]
}

export function resultOf(load: Load): LoadResult {
  const { settings, ledger, startedAt } = load
  const { count } = settings
  const seconds = Math.max(load.lastAnswerAt - startedAt, 0) / 1000
  const receiptSeconds = Math.max(load.lastReceiptAt - startedAt, 0) / 1000
  const result: LoadResult = {
    mode: 'load',
    count,
    sent: load.sent,
    unsent: count - load.sent,
    accepted: load.accepted,
    refused: load.refused,
    unanswered: load.sent - load.accepted - load.refused,
    retried: load.retried,
    seconds: round(seconds),
    rate: perSecond(load.accepted, seconds),
    resp_ms: load.answerMs.quantiles(),
    receipts: {
      received: ledger.matched + ledger.doubled + ledger.unexpected + load.unreadable,
      missing: settings.receipts ? load.accepted - ledger.matched : 0,
      doubled: ledger.doubled,
      unexpected: ledger.unexpected + load.unreadable,
      undelivered: ledger.matched - ledger.delivered,
      states: Object.fromEntries(
        Array.from(load.states, (received, state) => [messageStateName(state), received] as const).filter(
          ([, received]) => received > 0,
        ),
      ),
    },
    receipt_seconds: round(receiptSeconds),
    end_to_end_rate: perSecond(ledger.matched, receiptSeconds),
    receipt_ms: load.receiptMs.quantiles(),
    replies: load.replies,
    ids_reused: ledger.reused,
    lost_connections: [...load.lost.values()].reduce((sum, connections) => sum + connections, 0),
    lost: Object.fromEntries(load.lost),
    errors: Object.fromEntries([...load.errors].map(([code, answers]) => [statusName(code), answers])),
    late_ms: round(load.lateMs),
    cpu_us: load.accepted > 0 ? Math.round((load.cpuMicros / load.accepted) * 100) / 100 : 0,
    faults: [],
  }
  result.faults = faultsOf(result)
  return result
}

function faultsOf(result: LoadResult): string[] {
  const { receipts } = result
  const counts: [count: number, one: string, many: string][] = [
    [result.refused, 'message was refused', 'messages were refused'],
    [result.unanswered, 'message was never answered', 'messages were never answered'],
    [result.unsent, 'message was never sent', 'messages were never sent'],
    [receipts.missing, 'receipt is missing', 'receipts are missing'],
    [receipts.doubled, 'receipt came twice', 'receipts came twice'],
    [receipts.undelivered, 'message was not delivered', 'messages were not delivered'],
    [result.ids_reused, 'message_id was given twice', 'message_ids were given twice'],
    [result.lost_connections, 'connection was lost', 'connections were lost'],
  ]
  return counts
    .filter(([count]) => count > 0)
    .map(([count, one, many]) => (count === 1 ? `1 ${one}` : `${count} ${many}`))
}

function perSecond(count: number, seconds: number): number {
  return seconds > 0 ? Math.round(count / seconds) : 0
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000
}
