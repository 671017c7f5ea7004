// Figures of messages that wait because no carrier takes them: how fast they come in, what a million of them costs in
// memory and at a restart, and how fast they leave when the carrier comes.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { count as grouped } from '../../src/cli/print.js'
import type { Measure } from './report.js'
import type { Run } from './run.js'
import { collect, type Tools } from './tools.js'

const MESSAGES = 400_000
const WAITING = 1_000_000
/** The tool waits so long for receipts that nobody can send. */
const ASKED_DRAIN_S = 10
const MEMORY_POLL_MS = 200
/** The collector must outlive the drain; it is told when to end. */
const LINGER_S = 600

/** Figure 3. */
export async function intake(run: Run, tools: Tools): Promise<Measure[]> {
  const count = run.count(MESSAGES)
  return run.inGateway({}, async gateway => {
    const serialFrom = await run.warmUp(gateway, tools, 'none')
    run.say(`${grouped(count)} messages, the carrier down (${tools.name})`)
    const { rate } = await run.load(gateway, tools, { count, receipts: 'none', serialFrom })
    return [{ what: 'intake alone, carrier down: submit_sm_resp', unit: 'msg/s', least: 60_000, value: rate }]
  })
}

/** Figure 5. */
export async function backlog(run: Run, tools: Tools): Promise<Measure[]> {
  const count = run.count(WAITING)
  return run.inGateway({}, async gateway => {
    run.say(`${grouped(count)} messages, the carrier down (${tools.name})`)
    let highest = 0
    const watch = setInterval(() => {
      highest = Math.max(highest, gateway.anonMb() ?? 0)
    }, MEMORY_POLL_MS)
    const accepted = join(gateway.dir, 'accepted')
    await run.load(gateway, tools, { count, receipts: 'asked', drainS: ASKED_DRAIN_S, ids: accepted })
    await gateway.settled()
    clearInterval(watch)
    const waitingMb = gateway.anonMb()

    run.say('restarting')
    const stopMs = await gateway.stop()
    const readyMs = await gateway.start()
    await gateway.settled()
    const restartedMb = gateway.anonMb()

    run.say('the carrier comes')
    const received = join(gateway.dir, 'received')
    // Always ours: what it does is little, and another's may not be made for a million receipts of another run.
    const collector = collect(gateway.smppPort, received, LINGER_S)
    const carrier = await run.carrier(gateway, tools)
    await gateway.settled(true)
    await collector.stop()
    const rate = await run.stopCarrier(carrier, count)
    run.say(`${grouped(rate)} msg/s`)
    const { missing, doubled } = compare(accepted, received)
    if (missing > 0) run.fault(`${missing} messages that waited over the restart have no receipt`)
    if (doubled > 0) run.fault(`${doubled} receipts came twice, or for nothing that was accepted`)

    const what = `${grouped(count)} waiting`
    return [
      { what: `${what}: RssAnon`, unit: 'MB', most: 250, value: waitingMb },
      { what: 'the same: highest while they came', unit: 'MB', value: highest === 0 ? null : highest },
      { what: 'the same: after the restart', unit: 'MB', most: 250, value: restartedMb },
      { what: `${what}: SIGTERM to exit`, unit: 's', most: 10, value: stopMs / 1000 },
      { what: `${what}: start to ready`, unit: 's', most: 3, value: readyMs / 1000 },
      { what: `${what}: drained, receipts delivered`, unit: 'msg/s', least: 25_000, value: rate },
    ]
  })
}

/** Lines of "A id" against lines of "R id". */
function compare(accepted: string, received: string): { missing: number; doubled: number } {
  const open = new Set(idsOf(accepted, 'A '))
  let doubled = 0
  for (const id of idsOf(received, 'R ')) if (!open.delete(id)) doubled++
  return { missing: open.size, doubled }
}

function idsOf(file: string, mark: string): string[] {
  const lines = readFileSync(file, 'latin1').split('\n')
  return lines.filter(line => line.startsWith(mark)).map(line => line.slice(mark.length))
}
