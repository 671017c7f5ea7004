// The two ends of a measurement: ESMEs that offer load, and a carrier that takes it. Ours are `trunkline load` and
// `trunkline simulate`; another pair may stand in for them if it has smppload's command line. Turns what either prints
// into the same figures, and into sentences for what was lost or doubled.

import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Child } from './children.js'

export const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url))

export interface LoadOrder {
  readonly port: number
  readonly count: number
  readonly binds: number
  readonly window: number
  /** submit_sm a second; 0: as fast as it goes. */
  readonly rate: number
  /** asked: nobody waits for them. */
  readonly receipts: 'awaited' | 'asked' | 'none'
  readonly serialFrom: number
  /** Give up after so long without an answer or a receipt. */
  readonly drainS: number
  /** A file for lines of "A id" and "R id". */
  readonly ids?: string
}

export interface LoadFigures {
  readonly accepted: number
  /** submit_sm_resp a second, from the start to the last. */
  readonly rate: number
  /** Messages with a receipt a second, from the start to the last. */
  readonly endToEndRate: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** What was lost, doubled or refused, a sentence each. */
  readonly faults: readonly string[]
}

export interface CarrierOrder {
  readonly port: number
  readonly randomIds: boolean
  readonly receiptDelayMs: number
}

export interface CarrierFigures {
  /** Different messages that came, and how often one came again. */
  readonly unique: number
  readonly doubled: number
  /** submit_sm a second, from the first to the last. */
  readonly rate: number
}

export interface Carrier {
  stop(): Promise<CarrierFigures>
}

export interface Tools {
  readonly name: string
  load(order: LoadOrder): Promise<LoadFigures>
  /** Returns at once: the gateway's links tell when it is there. */
  carrier(order: CarrierOrder): Carrier
}

/** Of all accounts. */
export const PASSWORD = 'bench'
/** The account that sends. */
export const SENDER = 'bench'
const STOP_MS = 20_000

export const ownTools: Tools = {
  name: 'trunkline',
  async load(order) {
    const json = await ended(own(['load', ...loadArgs(order)]))
    const receipts = json.receipts as Record<string, number>
    const quantiles = json.resp_ms as Record<string, number>
    return {
      accepted: number(json.accepted),
      rate: number(json.rate),
      endToEndRate: number(json.end_to_end_rate),
      p50Ms: number(quantiles.p50),
      p99Ms: number(quantiles.p99),
      faults: faultsOf(order, {
        refused: number(json.refused),
        unanswered: number(json.unanswered) + number(json.unsent),
        missing: number(receipts.missing),
        doubled: number(receipts.doubled) + number(receipts.unexpected),
        lostConnections: number(json.lost_connections),
      }),
    }
  },
  carrier({ port, randomIds, receiptDelayMs }) {
    const format = randomIds ? 'random' : 'hex'
    const delay = String(receiptDelayMs)
    return carrierOf(own(['simulate', '--quiet', '--port', `${port}`, '--id-format', format, '--receipt-delay', delay]))
  },
}

/** Receiver binds that take what waits for the sender, and note the ids; ends by `stop`. */
export function collect(port: number, ids: string, lingerS: number): { stop(): Promise<number> } {
  const order = { port, count: 0, binds: 4, window: 1, rate: 0, receipts: 'awaited', serialFrom: 0, drainS: 1 } as const
  const child = own(['load', ...loadArgs({ ...order, ids }), '--linger', `${lingerS}`])
  return {
    stop: async () => {
      child.signal('SIGTERM')
      const json = await ended(child)
      return number((json.receipts as Record<string, number>).received)
    },
  }
}

function loadArgs(order: LoadOrder): string[] {
  return [
    ...['--port', `${order.port}`, '--system-id', SENDER, '--password', PASSWORD],
    ...['--count', `${order.count}`, '--binds', `${order.binds}`, '--window', `${order.window}`],
    ...['--rate', `${order.rate}`, '--seq-from', `${order.serialFrom}`, '--drain', `${order.drainS}`],
    ...(order.receipts === 'none' ? ['--no-receipts'] : []),
    ...(order.ids === undefined ? [] : ['--ids', order.ids]),
  ]
}

const own = (args: string[]): Child =>
  new Child(process.execPath, [CLI, ...args, '--json'], { name: `trunkline ${args[0]}`, channel: true })

/** @param program with the command line of smppload */
export function peerTools(program: string): Tools {
  const name = basename(program)
  const peer = (args: string[]): Child => new Child(program, args, { name: `${name} ${args[0]}`, channel: false })
  return {
    name,
    async load(order) {
      const json = await ended(
        peer([
          ...['esme', '--port', `${order.port}`, '--user', SENDER, '--pass', PASSWORD],
          ...['--count', `${order.count}`, '--binds', `${order.binds}`, '--window', `${order.window}`],
          ...['--rate', `${order.rate}`, '--seq-from', `${order.serialFrom}`, '--drain', `${order.drainS}`],
          ...['--dlr', order.receipts === 'none' ? '0' : '1'],
          ...(order.ids === undefined ? [] : ['--ids', order.ids]),
        ]),
      )
      const [accepted, refused, doubled] = [number(json.ok), number(json.err), number(json.dlr_dup)]
      const quantiles = json.resp_ms as Record<string, number>
      return {
        accepted,
        rate: number(json.rate),
        endToEndRate: number(json.e2e_rate),
        p50Ms: number(quantiles.p50),
        p99Ms: number(quantiles.p99),
        faults: faultsOf(order, {
          refused,
          unanswered: order.count - accepted - refused,
          missing: accepted - (number(json.dlr) - doubled),
          doubled,
          lostConnections: number(json.lost_conn),
        }),
      }
    },
    carrier({ port, randomIds, receiptDelayMs }) {
      const args = ['smsc', '--port', `${port}`, '--dlr-delay', `${receiptDelayMs}`]
      return carrierOf(peer(randomIds ? [...args, '--random-ids'] : args))
    },
  }
}

function carrierOf(child: Child): Carrier {
  return {
    async stop() {
      const late = setTimeout(() => child.signal('SIGKILL'), STOP_MS)
      child.signal('SIGTERM')
      const json = await ended(child)
      clearTimeout(late)
      return { unique: number(json.unique), doubled: number(json.dups), rate: number(json.rate) }
    },
  }
}

/** The JSON object in the last line that a program has printed. Throws when there is none. */
async function ended(child: Child): Promise<Record<string, unknown>> {
  const how = await child.exited
  const last = child.stdout.trim().split('\n').at(-1) ?? ''
  try {
    return JSON.parse(last) as Record<string, unknown>
  } catch {
    throw new Error(`${child.name} ended with ${how} and without figures: ${child.stderr.trim() || last}`)
  }
}

interface Losses {
  refused: number
  unanswered: number
  missing: number
  doubled: number
  lostConnections: number
}

function faultsOf({ receipts }: LoadOrder, losses: Losses): string[] {
  const counts: [count: number, what: string][] = [
    [losses.refused, 'messages refused'],
    [losses.unanswered, 'messages never answered'],
    [receipts === 'awaited' ? losses.missing : 0, 'receipts missing'],
    [losses.doubled, 'receipts doubled or for nothing that was sent'],
    [losses.lostConnections, 'connections lost'],
  ]
  return counts.filter(([count]) => count !== 0).map(([count, what]) => `${count} ${what}`)
}

/** A figure that a tool must print. */
function number(value: unknown): number {
  if (typeof value === 'number') return value
  throw new Error(`a figure is missing in what a load tool has printed: ${String(value)}`)
}
