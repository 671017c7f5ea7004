// One run of the benchmarks: what every figure needs to be taken - its scale, a fresh gateway in a folder of the disk
// where the clone is, a voice for progress and a list of what went wrong. Knows no figure.

import { mkdirSync, readdirSync, rmdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { endAll, startNoMore } from './children.js'
import { Gateway, type GatewayOptions } from './gateway.js'
import type { Carrier, LoadFigures, LoadOrder, Tools } from './tools.js'

/** On the disk of the clone: a temporary folder may be memory. */
const ROOT = fileURLToPath(new URL('../../../.bench', import.meta.url))
const MOST_ERRORS = 3
/** Messages that make a daemon's code warm before anything is measured. */
const WARM_UP = 20_000

/** What ESMEs offer if nothing else is said. */
export const OFFER = { binds: 4, window: 500, rate: 0, serialFrom: 0, drainS: 30 } as const

export class Run {
  /** What was lost or doubled, or failed otherwise. */
  readonly faults: string[] = []
  readonly dir = join(ROOT, `run-${process.pid}`)
  private readonly scale: number
  private readonly from = performance.now()
  private gateways = 0
  private figure = ''
  private open: Gateway | undefined
  private isOver = false

  constructor(scale: number) {
    this.scale = scale
    removeDead()
    mkdirSync(this.dir, { recursive: true, mode: 0o711 })
  }

  count(whole: number): number {
    return Math.max(1, Math.round(whole * this.scale))
  }

  /** What is said and found wrong from now on belongs to it. */
  begin(figure: string): void {
    this.figure = figure
    this.say('begins')
  }

  say(text: string): void {
    if (this.isOver) return
    const seconds = ((performance.now() - this.from) / 1000).toFixed(0).padStart(4)
    process.stderr.write(`${seconds} s  ${this.figure}: ${text}\n`)
  }

  fault(text: string): void {
    this.faults.push(`${this.figure}: ${text}`)
    this.say(`FAILED: ${text}`)
  }

  /** Starts a daemon in a fresh folder, and stops and removes it when `work` is done. */
  async inGateway<T>(
    options: GatewayOptions,
    work: (gateway: Gateway) => Promise<T>,
    after: (gateway: Gateway) => void = () => {},
  ): Promise<T> {
    const gateway = await Gateway.open(join(this.dir, String(++this.gateways)), options)
    this.open = gateway
    try {
      await gateway.start()
      const result = await work(gateway)
      await gateway.stop()
      after(gateway)
      return result
    } catch (error) {
      // Its end is the cause of whatever else has failed.
      throw (await gateway.death()) ?? error
    } finally {
      for (const line of gateway.errors().slice(0, MOST_ERRORS)) this.fault(line)
      await this.clear()
    }
  }

  /** Ends every process and removes what they have written. */
  async clear(): Promise<void> {
    await endAll()
    const gateway = this.open
    this.open = undefined
    await gateway?.remove()
  }

  /** The last call; what is under way fails. */
  async close(): Promise<void> {
    this.isOver = true
    startNoMore()
    await this.clear()
    rmSync(this.dir, { recursive: true, force: true })
    try {
      rmdirSync(ROOT)
    } catch {
      // Another run is under way.
    }
  }

  /** Offers load; what was lost or doubled is a fault of this run. */
  async load(
    gateway: Gateway,
    tools: Tools,
    order: Pick<LoadOrder, 'count' | 'receipts'> & Partial<LoadOrder>,
  ): Promise<LoadFigures> {
    const figures = await tools.load({ ...OFFER, port: gateway.smppPort, ...order })
    for (const fault of figures.faults) this.fault(`${tools.name} load: ${fault}`)
    return figures
  }

  /** Messages 0 and up; returns the serial number of the next one. History has caught up when it resolves. */
  async warmUp(gateway: Gateway, tools: Tools, receipts: LoadOrder['receipts']): Promise<number> {
    this.say('warming up')
    await this.load(gateway, tools, { count: WARM_UP, receipts })
    await gateway.settled()
    return WARM_UP
  }

  async carrier(gateway: Gateway, tools: Tools, receiptDelayMs = 0, randomIds = false): Promise<Carrier> {
    const carrier = tools.carrier({ port: gateway.carrierPort, randomIds, receiptDelayMs })
    await gateway.carrierBound()
    return carrier
  }

  /** Stops the carrier; `expected` messages must have reached it, each once. Resolves with messages a second. */
  async stopCarrier(carrier: Carrier, expected: number): Promise<number> {
    const { unique, doubled, rate } = await carrier.stop()
    if (unique !== expected) this.fault(`${expected} messages were sent and ${unique} reached the carrier`)
    if (doubled > 0) this.fault(`${doubled} messages reached the carrier twice`)
    return rate
  }
}

/** Folders of runs that were killed. */
function removeDead(): void {
  mkdirSync(ROOT, { recursive: true, mode: 0o755 })
  for (const name of readdirSync(ROOT)) {
    const pid = Number(/^run-(\d+)$/.exec(name)?.[1])
    if (pid > 0 && !isAlive(pid)) rmSync(join(ROOT, name), { recursive: true, force: true })
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
