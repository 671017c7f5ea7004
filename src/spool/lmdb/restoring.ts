// What a spool knows of its messages when it starts, from one pass over their records: where each stands, who may be
// replaced, which parts wait for others, whose receipts are awaited, and until when. What was on its way when the last run
// was killed is in doubt. Changes nothing else, and keeps no message in memory that it need not.

import {
  type Message,
  readRecord,
  recordAccount,
  recordIsJoined,
  recordLane,
  recordPriority,
  recordRank,
  recordReady,
  recordReplaceable,
  recordStanding,
  recordUnsure,
  recordValidUntil,
} from '../../model/message.js'
import type { Joins } from './joins.js'
import { STORED } from './live.js'
import type { Refs } from './refs.js'
import type { Standing } from './standing.js'
import type { Tables } from './store.js'
import type { Sweep } from './sweep.js'

export interface RestoringHost {
  readonly standing: Standing
  readonly sweep: Sweep
  readonly joins: Joins
  readonly refs: Refs
}

/** @returns messages that a carrier may have or not, and that now wait as unsure: their records change with the first commit */
export function restore(messages: Tables['messages'], { standing, sweep, joins, refs }: RestoringHost): number {
  const awaitedUntil = (validUntilMs: number): number => sweep.lastMsOf('sent', validUntilMs)
  let inDoubt = 0
  for (const { key: id, value } of messages.getRange({})) {
    if (id > standing.lastId) standing.lastId = id
    const stood = recordStanding(value)
    const isUnsure = recordUnsure(value)
    sweep.note(sweep.lastMsOf(stood, recordValidUntil(value), isUnsure))
    // Parts of a waiting message that a carrier has taken may report before the rest is sent.
    refs.restore(id, value, awaitedUntil)
    if (stood === 'sent') {
      standing.sent++
      continue
    }
    const account = recordAccount(value)
    standing.count(account, 1)
    if (isUnsure && restoreUnsure(standing, readRecord(id, value))) {
      inDoubt++
      continue
    }
    if (recordReplaceable(value)) standing.index.add(readRecord(id, value))
    if (recordIsJoined(value)) {
      const m = readRecord(id, value)
      if (m.joined?.waits) joins.restore(m)
    }
    if (recordReady(value) === 0) standing.due.restore(account)
    else standing.blocks.restore(recordLane(value), recordRank(value), account, recordPriority(value), id)
  }
  return inDoubt
}

/** It was on its way when the last run was killed: it goes into no lane, unless there is more of it to be sent. */
function restoreUnsure(standing: Standing, m: Message): boolean {
  if (m.parts?.some(part => !part.answered && !part.unsure)) return false
  m.hold = STORED
  standing.touch(m)
  m.ready = 0
  m.dueMs = 0
  standing.becomeSent(m)
  return true
}
