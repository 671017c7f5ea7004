// Figures of messages that flow: from ESME to carrier and their receipts back, as fast as it goes, with two million
// receipts outstanding, and at a moderate pace.

import { setTimeout as pause } from 'node:timers/promises'
import { count as grouped } from '../../src/cli/print.js'
import type { Gateway, GatewayOptions } from './gateway.js'
import { monotonicMicros, type Span } from './profile.js'
import type { Measure } from './report.js'
import type { Run } from './run.js'
import { ownTools, SENDER, type Tools } from './tools.js'

const MESSAGES = 400_000
const OUTSTANDING = 2_000_000
/** A window of measurement at least so long. */
const LEAST_S = 5
const SAMPLE_MS = 500
const PROGRESS_MS = 5_000

/** Floors in messages a second: a fast tool beside the daemon leaves it more of the machine. */
const leastEndToEnd = (tools: Tools): number => (tools === ownTools ? 20_000 : 40_000)

/** Gets the daemon's CPU profile, and when it was measured. */
export type Profiled = (text: string, span: Span) => void

/** Figure 1. Without `profiled` no profile is made. */
export async function endToEnd(
  run: Run,
  tools: Tools,
  profiled?: Profiled,
  options: Pick<GatewayOptions, 'prepaid'> = {},
): Promise<Measure[]> {
  const messages = run.count(MESSAGES)
  let span: Span = { from: 0, to: 0 }
  return run.inGateway(
    { ...options, profile: profiled !== undefined },
    async gateway => {
      const carrier = await run.carrier(gateway, tools)
      const serialFrom = await run.warmUp(gateway, tools, 'awaited')
      const from = monotonicMicros()
      const { rate, cpuMicros } = await flow(run, gateway, tools, messages, serialFrom)
      span = { from, to: monotonicMicros() }
      await run.stopCarrier(carrier, serialFrom + messages)
      return [
        {
          what: 'end to end with receipt',
          unit: 'msg/s',
          least: leastEndToEnd(tools),
          value: rate,
        },
        {
          what: 'the same: processor time of the daemon a message',
          unit: 'µs',
          most: 25,
          value: cpuMicros,
        },
      ]
    },
    gateway => profiled?.(gateway.profile(), span),
  )
}

/** Figure 13: figure 1, and once more with each message priced, held, posted and booked. */
export async function prepaid(run: Run, tools: Tools, profiled?: Profiled): Promise<Measure[]> {
  const [free, freeCpu] = (await endToEnd(run, tools)).map(({ value }) => value)
  const [paid, paidCpu] = (await endToEnd(run, tools, profiled, { prepaid: true })).map(({ value }) => value)
  const ratio = (a: number | null | undefined, b: number | null | undefined): number | null => (a && b ? a / b : null)
  return [
    {
      what: 'end to end with prepaid billing: of the rate without it',
      unit: 'of 1',
      least: 0.9,
      value: ratio(paid, free),
    },
    { what: 'the same: rate without it', unit: 'msg/s', value: free ?? null },
    { what: 'the same: rate with it', unit: 'msg/s', value: paid ?? null },
    { what: 'the same: processor time of the daemon a message without it', unit: 'µs', value: freeCpu ?? null },
    { what: 'the same: processor time of the daemon a message with it', unit: 'µs', value: paidCpu ?? null },
  ]
}

interface Flow {
  /** Messages with a receipt a second. */
  readonly rate: number
  /** Of the daemon, a message. */
  readonly cpuMicros: number | null
}

async function flow(run: Run, gateway: Gateway, tools: Tools, count: number, serialFrom: number): Promise<Flow> {
  run.say(`${grouped(count)} messages with receipts, as fast as they go (${tools.name})`)
  const before = gateway.cpuMicros()
  const { endToEndRate } = await run.load(gateway, tools, { count, receipts: 'awaited', serialFrom })
  // History is written a little behind: its share is counted too.
  await gateway.settled()
  const after = gateway.cpuMicros()
  run.say(`${grouped(endToEndRate)} msg/s end to end`)
  return { rate: endToEndRate, cpuMicros: before === null || after === null ? null : (after - before) / count }
}

/**
 * Figure 2. First figure 1 in the same daemon, then messages offered at exactly that rate to a carrier that reports each
 * so late that two million wait for their receipts. From then on as many receipts come as messages go, for references
 * that were given long ago: how much of the rate is kept is the figure.
 */
export async function outstanding(run: Run, tools: Tools, profiled?: Profiled): Promise<Measure[]> {
  const waiting = run.count(OUTSTANDING)
  let span: Span = { from: 0, to: 0 }
  const take = async (gateway: Gateway): Promise<Measure[]> => {
    let carrier = await run.carrier(gateway, tools)
    const serialFrom = await run.warmUp(gateway, tools, 'awaited')
    const first = run.count(MESSAGES)
    const { rate, cpuMicros: cpuWithout } = await flow(run, gateway, tools, first, serialFrom)
    await run.stopCarrier(carrier, serialFrom + first)

    const delayMs = Math.round((waiting / rate) * 1000)
    const count = waiting + Math.max(first, LEAST_S * rate)
    run.say(`${grouped(count)} messages at ${grouped(rate)}/s, their receipts after ${(delayMs / 1000).toFixed(0)} s`)
    carrier = await run.carrier(gateway, tools, delayMs, true)
    const sampler = new Sampler(run, gateway)
    await run.load(gateway, tools, { count, receipts: 'awaited', rate, drainS: 60 })
    await sampler.stop()
    await run.stopCarrier(carrier, count)
    const { kept, cpuMicros, within } = sampler.between(count)
    span = within
    const what = `${grouped(waiting)} receipts outstanding, random references`
    return [
      {
        what: `${what}: of the rate without them`,
        unit: 'of 1',
        least: 0.8,
        value: kept === null ? null : kept / rate,
      },
      { what: 'the same: rate without them', unit: 'msg/s', value: rate },
      { what: 'the same: rate with them', unit: 'msg/s', value: kept },
      { what: 'the same: processor time of the daemon a message without them', unit: 'µs', value: cpuWithout },
      { what: 'the same: processor time of the daemon a message with them', unit: 'µs', value: cpuMicros },
    ]
  }
  return run.inGateway({ profile: profiled !== undefined }, take, gateway => profiled?.(gateway.profile(), span))
}

interface Sample {
  readonly atMs: number
  readonly atMicros: number
  readonly submitted: number
  readonly delivered: number
  readonly cpuMicros: number | null
}

/** Looks at what the sender's binds have submitted and been delivered, until it is stopped. */
class Sampler {
  private readonly samples: Sample[] = []
  private readonly looking: Promise<void>
  private stopped = false

  constructor(run: Run, gateway: Gateway) {
    this.looking = this.look(run, gateway)
    // Met by `stop`.
    this.looking.catch(() => {})
  }

  private async look(run: Run, gateway: Gateway): Promise<void> {
    let saidAt = performance.now()
    while (!this.stopped) {
      const { binds } = await gateway.status()
      const { submitted = 0, delivered = 0 } = binds.accounts.find(one => one.system_id === SENDER) ?? {}
      const atMs = performance.now()
      const cpuMicros = gateway.cpuMicros()
      this.samples.push({ atMs, atMicros: monotonicMicros(), submitted, delivered, cpuMicros })
      if (atMs - saidAt >= PROGRESS_MS) {
        saidAt = atMs
        run.say(`${grouped(submitted)} submitted, ${grouped(delivered)} receipts delivered`)
      }
      await pause(SAMPLE_MS)
    }
  }

  async stop(): Promise<void> {
    this.stopped = true
    await this.looking
  }

  /** While receipts came and messages still went: the slower of the two a second, and processor time a message. */
  between(count: number): { kept: number | null; cpuMicros: number | null; within: Span } {
    const both = this.samples.filter(({ submitted, delivered }) => delivered > 0 && submitted < count)
    // The first second is the way into it.
    const [from, to] = [both[both.length > 6 ? 2 : 0], both.at(-1)]
    if (from === undefined || to === undefined || from === to)
      return { kept: null, cpuMicros: null, within: { from: 0, to: 0 } }
    const submitted = to.submitted - from.submitted
    const delivered = to.delivered - from.delivered
    const cpu = to.cpuMicros === null || from.cpuMicros === null ? null : to.cpuMicros - from.cpuMicros
    return {
      kept: (Math.min(submitted, delivered) * 1000) / (to.atMs - from.atMs),
      cpuMicros: cpu === null ? null : (cpu * 2) / (submitted + delivered),
      within: { from: from.atMicros, to: to.atMicros },
    }
  }
}

const PACE = 5_000
const PACE_S = 60

/** Figure 4. */
export async function latency(run: Run, tools: Tools): Promise<Measure[]> {
  const seconds = Math.max(LEAST_S, run.count(PACE_S))
  return run.inGateway({}, async gateway => {
    const carrier = await run.carrier(gateway, tools)
    const serialFrom = await run.warmUp(gateway, tools, 'awaited')
    run.say(`${seconds} s at ${grouped(PACE)} msg/s (${tools.name})`)
    const count = PACE * seconds
    const figures = await run.load(gateway, tools, { count, rate: PACE, receipts: 'awaited', serialFrom })
    await run.stopCarrier(carrier, serialFrom + count)
    const what = `at ${grouped(PACE)} msg/s: submit_sm_resp`
    return [
      { what: `${what} p50`, unit: 'ms', most: 2, value: figures.p50Ms },
      { what: `${what} p99`, unit: 'ms', most: 10, value: figures.p99Ms },
      { what: 'the same: accepted', unit: 'msg/s', value: figures.rate },
    ]
  })
}
