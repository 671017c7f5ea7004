// Figures of messages for later: what millions of them cost in memory and at a restart, and how late they leave when many
// are due at one moment.

import { setTimeout as pause } from 'node:timers/promises'
import { formatAbsolute } from '../../protocols/smpp/time.js'
import { Latencies, type Quantiles } from '../../src/cli/esme/latency.js'
import { count as grouped } from '../../src/cli/print.js'
import type { Gateway } from './gateway.js'
import { Centre, Sender } from './probe.js'
import type { Measure } from './report.js'
import type { Run } from './run.js'
import { PASSWORD } from './tools.js'

const SCHEDULED = 2_000_000
const AT_ONCE = 200_000
/** What is due a second, and for so long, in the third part. */
const RATE = 5_000
const RATE_S = 10
const SLOT_MS = 100
const SENDERS = 4
const DAY_MS = 86_400_000
const POLL_MS = 20
/** A slow machine submits that many a second. */
const SLOWEST = 8_000
const LEAD_MS = 5_000
/** The daemon's figures of its event loop are those of the last minute: what came before must not be in them. */
const MINUTE_MS = 62_000
/** They are taken this often. */
const SAMPLED_MS = 6_000

/** Figure 9. */
export async function scheduled(run: Run): Promise<Measure[]> {
  const count = run.count(SCHEDULED)
  const centre = await new Centre().open()
  const account = { systemId: 'later', password: PASSWORD, throughput: 0, maxBinds: 100, credit: 'unlimited' }
  const carrier = { name: 'up', kind: 'smpp', host: '127.0.0.1', port: centre.port, systemId: 'up', password: 'up' }
  const gateway = {
    accounts: [{ ...account, maxWaiting: 10_000_000 }],
    carriers: [{ ...carrier, links: 2, window: 200, throughput: 0, reconnectMinMs: 50, reconnectMaxMs: 500 }],
    routes: [{ match: {}, to: ['up'] }],
  }
  try {
    return await run.inGateway({ gateway }, async gateway => {
      await gateway.linksBound(2)
      const before = await offer(run, gateway, 0, run.count(100_000), tomorrow)
      const firstMb = gateway.anonMb()
      const highest = { mb: 0 }
      const watch = setInterval(() => {
        highest.mb = Math.max(highest.mb, gateway.anonMb() ?? 0)
      }, 200)
      const rate = await offer(run, gateway, 0, count, tomorrow)
      clearInterval(watch)
      const allMb = gateway.anonMb()
      run.say('restarting')
      await gateway.stop()
      const readyMs = await gateway.start()
      await gateway.settled()
      await gateway.linksBound(2)
      const restartedMb = gateway.anonMb()
      const due = (await gateway.status()).queue.due
      if (due !== count + run.count(100_000)) run.fault(`${due} are scheduled after the restart`)

      const atOnce = await burst(run, gateway, centre, run.count(AT_ONCE), () => 0, MINUTE_MS)
      const seconds = Math.max(2, run.count(RATE_S))
      const slot = (index: number): number => Math.floor((index * 1000) / RATE / SLOT_MS) * SLOT_MS
      const steady = await burst(run, gateway, centre, RATE * seconds, slot)
      const what = `${grouped(count)} scheduled`
      const grew = firstMb === null || allMb === null ? null : allMb - firstMb
      run.say(`${grouped(before)} and ${grouped(rate)} submitted a second`)
      return [
        { what: `${what}: submit_sm_resp`, unit: 'msg/s', value: rate },
        { what: 'the same: RssAnon with a twentieth of them', unit: 'MB', value: firstMb },
        { what: 'the same: more with all of them', unit: 'MB', value: grew },
        { what: 'the same: highest while they came', unit: 'MB', value: highest.mb === 0 ? null : highest.mb },
        { what: 'the same: after a restart', unit: 'MB', most: 250, value: restartedMb },
        { what: `${what}: start to ready`, unit: 's', value: readyMs / 1000 },
        ...lateness(`${grouped(run.count(AT_ONCE))} due at one moment`, atOnce),
        ...lateness(`${grouped(RATE)} due a second`, steady, 1_000),
      ]
    })
  } finally {
    await centre.close()
  }
}

interface Burst {
  readonly late: Quantiles
  readonly early: number
  /** Processor time of the daemon a message, from their moment on; null where nobody says. */
  readonly cpuMicros: number | null
  /** The event loop was held so long, at most. */
  readonly lagMs: number
  /** Messages a second, from the first to the last. */
  readonly rate: number
}

const lateness = (what: string, { late, lagMs, rate, cpuMicros }: Burst, most?: number): Measure[] => [
  { what: `${what}: late, p50`, unit: 'ms', value: late.p50 },
  { what: 'the same: p99', unit: 'ms', value: late.p99, ...(most === undefined ? {} : { most }) },
  { what: 'the same: the last', unit: 'ms', value: late.max },
  { what: 'the same: at the carrier', unit: 'msg/s', value: rate },
  { what: 'the same: processor time of the daemon a message', unit: 'µs', value: cpuMicros },
  { what: 'the same: event loop held, at most in a minute', unit: 'ms', value: lagMs },
]

const tomorrow = (): ((index: number) => string) => {
  const fromMs = Date.now() + DAY_MS
  // Over a day, each minute its own.
  const texts = Array.from({ length: 1_440 }, (_, n) => formatAbsolute(fromMs + n * 60_000))
  return index => texts[index % texts.length] as string
}

/** Submits them over several binds; messages a second. */
async function offer(
  run: Run,
  gateway: Gateway,
  from: number,
  count: number,
  schedule: () => (index: number) => string,
): Promise<number> {
  run.say(`${grouped(count)} messages for later`)
  const senders = await Promise.all(Array.from({ length: SENDERS }, () => Sender.bind(gateway.smppPort, 'later')))
  const each = Math.ceil(count / SENDERS)
  const at = performance.now()
  const text = schedule()
  await Promise.all(
    senders.map((sender, n) => {
      const mine = Math.min(each, count - n * each)
      return sender.submit({
        from: from + n * each,
        count: mine,
        rate: 0,
        to: '4917',
        schedule: index => text(n * each + index),
      })
    }),
  )
  const rate = (count * 1000) / (performance.now() - at)
  const refused = senders.reduce((sum, sender) => sum + sender.refused, 0)
  if (refused > 0) run.fault(`${refused} messages were refused`)
  for (const sender of senders) sender.close()
  await gateway.settled()
  return rate
}

/** Messages due at one moment and so many milliseconds after it, by index. */
async function burst(
  run: Run,
  gateway: Gateway,
  centre: Centre,
  count: number,
  afterMs: (index: number) => number,
  leadMs = LEAD_MS,
): Promise<Burst> {
  // To the tenth of a second, as SMPP has it.
  const dueMs = Math.ceil((Date.now() + leadMs + (count * 1000) / SLOWEST) / 1000) * 1000
  const late = new Latencies()
  let [left, early, first, last] = [count, 0, 0, 0]
  const offset = Date.now() - performance.now()
  centre.onArrival = (serial, atMs) => {
    const by = atMs + offset - dueMs - afterMs(serial)
    if (by < 0) early++
    late.add(Math.max(0, by))
    if (first === 0) first = atMs
    last = atMs
    left--
  }
  const texts = new Map<number, string>()
  await offer(run, gateway, 0, count, () => index => {
    const ms = afterMs(index)
    let text = texts.get(ms)
    if (text === undefined) {
      text = formatAbsolute(dueMs + ms)
      texts.set(ms, text)
    }
    return text
  })
  const lead = dueMs - Date.now()
  if (lead < 0) run.fault('this machine is too slow: their moment came before all were submitted')
  run.say(`their moment comes in ${(lead / 1000).toFixed(1)} s`)
  await pause(lead - POLL_MS)
  const before = gateway.cpuMicros()
  while (left > 0) await pause(POLL_MS)
  if (early > 0) run.fault(`${early} messages were early`)
  await gateway.settled()
  const after = gateway.cpuMicros()
  await pause(SAMPLED_MS)
  const { loop_lag_max_ms } = (await gateway.status()).process
  const cpuMicros = before === null || after === null ? null : (after - before) / count
  return {
    late: late.quantiles(),
    early,
    cpuMicros,
    lagMs: loop_lag_max_ms,
    rate: (count * 1000) / Math.max(1, last - first),
  }
}
