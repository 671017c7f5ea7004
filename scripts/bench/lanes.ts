// Figures of who waits for whom: an OTP behind a million bulk messages, traffic beside a carrier that is away, and how
// what waits moves with its route. Each message is timed from submit_sm to the carrier's socket.

import { setTimeout as pause } from 'node:timers/promises'
import { Latencies, type Quantiles } from '../../src/cli/esme/latency.js'
import { count as grouped } from '../../src/cli/print.js'
import type { Gateway } from './gateway.js'
import { Centre, Sender } from './probe.js'
import type { Measure } from './report.js'
import type { Run } from './run.js'
import { ownTools, PASSWORD, SENDER } from './tools.js'

const WAITING = 1_000_000
const DEAD = 100_000
const PACE = 1_000
const OTPS = 300
const OTP_GAP_MS = 23
const OTP_SERIAL = 900_000_000
/** One window of ten on each link, answered so late, is a thousand a second too. */
const WINDOW = 10
const ANSWER_MS = 20
const LINKS = 2
const OTHER_PACE = 2_000
const SLICE_S = 5
const PAIRS = 4
const POLL_MS = 20
const SETTLE_MS = 4_000

const account = (systemId: string, name: string) => ({
  systemId,
  password: PASSWORD,
  throughput: 0,
  maxBinds: 100,
  credit: 'unlimited',
  class: name,
})
const accounts = [account(SENDER, 'bulk'), account('codes', 'otp'), account('other', 'transactional')]

const carrier = (name: string, port: number, more: object = {}) => ({
  name,
  kind: 'smpp',
  host: '127.0.0.1',
  port,
  systemId: 'up',
  password: 'up',
  links: LINKS,
  window: 200,
  throughput: 0,
  reconnectMinMs: 50,
  reconnectMaxMs: 500,
  ...more,
})

/** Figure 7. */
export async function overtaking(run: Run): Promise<Measure[]> {
  const count = run.count(WAITING)
  const [paced, slow, fast] = [await new Centre().open(), await new Centre(ANSWER_MS).open(), await new Centre().open()]
  const carriers = [
    carrier('paced', paced.port, { throughput: PACE }),
    carrier('slow', slow.port, { window: WINDOW }),
    carrier('fast', fast.port),
  ]
  const over = (name: string): object => ({ accounts, carriers, routes: [{ name: 'all', match: {}, to: [name] }] })
  try {
    return await run.inGateway({ gateway: over('paced') }, async gateway => {
      await gateway.linksBound(3 * LINKS)
      run.say(`${grouped(count)} bulk messages for a carrier that takes ${grouped(PACE)} a second`)
      await run.load(gateway, ownTools, { count, receipts: 'none' })
      const codes = await Sender.bind(gateway.smppPort, 'codes')
      const behindPace = await otps(run, codes, paced)
      const moved = await move(gateway, over('slow'), slow)
      const behindWindow = await otps(run, codes, slow)
      codes.close()
      const waiting = (await gateway.status()).queue.waiting
      run.say(`${grouped(waiting)} wait, and their route is edited`)
      const toFast = await move(gateway, over('fast'), fast)
      const from = performance.now()
      await gateway.settled(true)
      const rate = (waiting * 1000) / (performance.now() - from)
      const arrived = paced.arrived + slow.arrived + fast.arrived
      if (arrived !== count + 2 * OTPS) run.fault(`${count + 2 * OTPS} messages were sent and ${arrived} arrived`)
      const what = `an OTP behind ${grouped(count)} bulk messages: submit_sm to carrier`
      return [
        ...quantiles(`${what}, ${grouped(PACE)}/s`, behindPace),
        ...quantiles(`${what}, full windows`, behindWindow),
        { what: 'an edited route: applied to first message over the other carrier', unit: 'ms', value: moved },
        { what: 'the same, once more', unit: 'ms', value: toFast },
        { what: `the same: ${grouped(waiting)} that waited, over the other carrier`, unit: 'msg/s', value: rate },
      ]
    })
  } finally {
    await Promise.all([paced.close(), slow.close(), fast.close()])
  }
}

const quantiles = (what: string, { p50, p99, max }: Quantiles): Measure[] => [
  { what: `${what}, p50`, unit: 'ms', value: p50 },
  { what: `${what}, p99`, unit: 'ms', most: 50, value: p99 },
  { what: `${what}, highest`, unit: 'ms', most: 50, value: max },
]

/** One after the other. */
async function otps(run: Run, codes: Sender, centre: Centre): Promise<Quantiles> {
  run.say(`${OTPS} OTP messages, one by one`)
  const tookMs = new Latencies()
  for (let n = 0; n < OTPS; n++) {
    const serial = OTP_SERIAL + n
    const arrived = new Promise<number>(resolve => {
      centre.onArrival = (one, atMs) => {
        if (one === serial) resolve(atMs)
      }
    })
    await codes.submit({ from: serial, count: 1, rate: 0, to: '4917' })
    tookMs.add((await arrived) - (codes.sentAt[0] as number))
    await pause(OTP_GAP_MS)
  }
  const took = tookMs.quantiles()
  const answer = codes.answerMs.quantiles()
  run.say(`to the carrier ${shown(took)}; the answers of all of them so far ${shown(answer)}`)
  return took
}

const shown = ({ p50, p99, max }: Quantiles): string => `p50 ${p50} ms, p99 ${p99} ms, highest ${max} ms`

/** Milliseconds from the end of `trunkline apply` until something came over the other carrier; 0: it came before, null: nothing waited. */
async function move(gateway: Gateway, to: object, centre: Centre): Promise<number | null> {
  const { waiting } = (await gateway.status()).queue

  const first = new Promise<number>(resolve => {
    centre.onArrival = (_, atMs) => resolve(atMs)
  })
  const appliedAt = await gateway.apply(to)
  if (waiting < PACE) return null
  return Math.max(0, (await first) - appliedAt)
}

/** Figure 8. */
export async function deadCarrier(run: Run): Promise<Measure[]> {
  const count = run.count(DEAD)
  const [dead, live] = [await new Centre().open(), await new Centre().open()]
  const deadPort = dead.port
  await dead.close()
  const carriers = [carrier('dead', deadPort), carrier('live', live.port)]
  const over = (name: string): object => ({
    accounts,
    carriers,
    routes: [
      { name: 'bulk', match: { account: SENDER }, to: [name] },
      { name: 'rest', match: {}, to: ['live'] },
    ],
  })
  try {
    return await run.inGateway({ gateway: over('dead') }, async gateway => {
      await gateway.linksBound(LINKS)
      const other = await Sender.bind(gateway.smppPort, 'other')
      run.say('warming up')
      await traffic(run, gateway, other, live)
      const without: Slice[] = []
      const beside: Slice[] = []
      for (let pair = 0; pair < PAIRS; pair++) {
        without.push(await traffic(run, gateway, other, live))
        await gateway.apply(over('dead'))
        await run.load(gateway, ownTools, { count, receipts: 'none', serialFrom: pair * count })
        await gateway.settled()
        run.say(`${grouped((await gateway.status()).queue.waiting)} wait for a carrier that is away`)
        beside.push(await traffic(run, gateway, other, live))
        // They go over the other one: the next slice has nothing beside it again.
        await gateway.apply(over('live'))
        await gateway.settled(true)
      }
      other.close()
      const what = `${grouped(OTHER_PACE)}/s over another route, submit_sm to carrier`
      const ratio = middle(beside.map(({ p99 }, i) => p99 / (without[i] as Slice).p99))
      return [
        { what: `${what}: p99`, unit: 'ms', value: middle(without.map(({ p99 }) => p99)) },
        {
          what: `the same beside ${grouped(count)} that wait for a carrier that is away`,
          unit: 'ms',
          value: middle(beside.map(({ p99 }) => p99)),
        },
        { what: 'the same: with to without, the middle of pairs', unit: 'of 1', most: 1.2, value: ratio },
        {
          what: 'the same of p50',
          unit: 'of 1',
          value: middle(beside.map(({ p50 }, i) => p50 / (without[i] as Slice).p50)),
        },
        {
          what: 'the same of processor time a message',
          unit: 'of 1',
          value: nullable(middle(beside.map(({ cpuMicros }, i) => cpuMicros / (without[i] as Slice).cpuMicros))),
        },
      ]
    })
  } finally {
    await live.close()
  }
}

const middle = (values: number[]): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const [low, high] = [sorted[(sorted.length - 1) >> 1] as number, sorted[sorted.length >> 1] as number]
  return (low + high) / 2
}

interface Slice extends Quantiles {
  /** Processor time of the daemon a message; NaN where nobody says. */
  readonly cpuMicros: number
}

const nullable = (value: number): number | null => (Number.isNaN(value) ? null : value)

async function traffic(run: Run, gateway: Gateway, sender: Sender, centre: Centre): Promise<Slice> {
  // What the step before has left to do belongs to no slice.
  await pause(SETTLE_MS)
  const before = gateway.cpuMicros() ?? Number.NaN
  const count = OTHER_PACE * SLICE_S
  const arrivedAt = new Float64Array(count)
  let left = count
  centre.onArrival = (serial, atMs) => {
    if (serial < OTP_SERIAL || serial >= OTP_SERIAL + count) return
    arrivedAt[serial - OTP_SERIAL] = atMs
    left--
  }
  await sender.submit({ from: OTP_SERIAL, count, rate: OTHER_PACE, to: '4917' })
  while (left > 0) await pause(POLL_MS)
  const tookMs = new Latencies()
  for (let n = 0; n < count; n++) tookMs.add((arrivedAt[n] as number) - (sender.sentAt[n] as number))
  const took = tookMs.quantiles()
  const cpuMicros = ((gateway.cpuMicros() ?? Number.NaN) - before) / count
  run.say(`${shown(took)}, ${cpuMicros.toFixed(1)} µs of processor time a message`)
  return { ...took, cpuMicros }
}
