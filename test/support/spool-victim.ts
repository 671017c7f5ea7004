// A process that works on a spool until it is killed. Before each commit it prints what the commit will change, as one
// line of JSON, and `ok` once it is durable. Arguments: the spool's folder, a seed.

import { writeSync } from 'node:fs'
import { systemClock } from '../../src/base/clock.js'
import { Message, state } from '../../src/model/message.js'
import { LmdbSpool } from '../../src/spool/lmdb/spool.js'
import type { SpoolChange } from './spool-contract.js'

const [, , path, seedText] = process.argv as [string, string, string, string]
let seed = Number(seedText)
/** A number below `n`, the same for the same seed. */
function random(n: number): number {
  seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0
  return Math.floor((seed / 2 ** 32) * n)
}

const spool = await LmdbSpool.open({
  path,
  node: 1,
  clock: systemClock,
  mapGb: 0.25,
  reserveMb: 1,
  maxWaiting: 1_000_000,
  maxWaitingPerAccount: 1_000_000,
  keepReportsMs: 3_600_000,
  keepReportsPerAccount: 1_000_000,
  receiptGraceMs: 3_600_000,
  limits: { heads: 50, refill: 10, references: 100, recent: 20, reports: 100, gatherMs: 0 },
})
const claimer = spool.claimer('victim', [1], () => 1)
const open: string[] = []
let refs = 0

for (;;) {
  const change: SpoolChange = { waiting: [], sent: [], ended: [], told: [] }
  spool.events.ended = m => change.ended.push(m.id)
  for (let n = 5 + random(40); n > 0; n--) {
    const m = new Message()
    m.account = 1 + random(3)
    m.lane = 1
    m.body = Buffer.alloc(random(300), 'x')
    m.registered_delivery = 1
    m.validUntilMs = Date.now() + 3_600_000
    if (random(10) === 0) m.scheduleMs = Date.now() + 3_600_000
    spool.commit(m)
    change.waiting.push(m.id)
  }
  const now = Date.now()
  for (const m of claimer.claim(random(60))) {
    const fate = random(10)
    if (fate === 0) spool.giveBack(m)
    else if (fate === 1) spool.defer(m, now + 3_600_000)
    else if (fate === 2) spool.end(m, { state: state.REJECTED, error: '11', doneMs: now })
    else {
      const ref = `${seedText}-${refs++}`
      spool.accepted(m, 0, 1, ref, true)
      change.sent.push([m.id, ref])
      open.push(ref)
    }
  }
  for (let n = random(40); n > 0 && open.length > 0; n--) {
    const [ref] = open.splice(random(open.length), 1)
    spool.receipt(1, { ref: ref as string, state: state.DELIVERED, err: '000', doneMs: now })
  }
  for (const account of [1, 2, 3]) {
    for (const report of spool.claimReports(account, random(30))) {
      if (random(4) === 0) spool.giveBackReport(report)
      else {
        spool.reportDone(report)
        change.told.push(report.receipt?.id as number)
      }
    }
  }
  spool.tick()
  writeSync(1, `${JSON.stringify(change)}\n`)
  await spool.synced()
  writeSync(1, 'ok\n')
}
