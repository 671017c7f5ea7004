// The daemon that is measured: built, a process of its own, with all stores embedded and everything on, in a folder that
// is removed afterwards. Knows its settings, its start and stop, and how to look at it from outside; measures nothing.

import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { Status } from '../../src/admin/status.js'
import { adminSocketPath } from '../../src/config/adminSocket.js'
import { Child } from './children.js'
import { CLI, PASSWORD, SENDER } from './tools.js'

export interface GatewayOptions {
  /** Accounts of one bind each, `idle1` and so on, besides the sender. */
  readonly idleAccounts?: number
  /** Accounts, carriers and routes, if not the sender's over one carrier. */
  readonly gateway?: object
  /** What the sender submits has a price and is taken from its credit, which is large; its carrier has prices too. */
  readonly prepaid?: boolean
  /** Writes a CPU profile to the folder `profile`. */
  readonly profile?: boolean
}

const LINKS = 2
/** As the program's first line, `npm start` and the unit file have it. */
const YOUNG_SPACE = '--max-semi-space-size=32'
const POLL_MS = 10
const READY_MS = 120_000
/** The unit file's TimeoutStopSec and some more. */
const STOP_MS = 30_000
/** As a Prometheus in a hurry would. */
const SCRAPE_MS = 5_000
const REQUEST_MS = 10_000
const SETTLE_POLL_MS = 250
const TICKS_PER_S = 100
const POSTGRES_GONE_MS = 5_000

export class Gateway {
  readonly dir: string
  readonly carrierPort: number
  readonly smppPort: number
  readonly adminPort: number
  private readonly key = randomBytes(16).toString('hex')
  private readonly nodeOptions: readonly string[]
  private child: Child | undefined
  private scraper: NodeJS.Timeout | undefined
  private postgres = { pid: 0, socketDir: '' }

  /** Makes `dir` with everything that the daemon reads. */
  static async open(dir: string, options: GatewayOptions = {}): Promise<Gateway> {
    return new Gateway(dir, options, await freePorts(3))
  }

  private constructor(dir: string, options: GatewayOptions, ports: readonly number[]) {
    this.dir = dir
    const [smppPort = 0, adminPort = 0, carrierPort = 0] = ports
    this.smppPort = smppPort
    this.adminPort = adminPort
    this.carrierPort = carrierPort
    const profileTo = join(dir, 'profile')
    this.nodeOptions = [YOUNG_SPACE, ...(options.profile ? ['--cpu-prof', '--cpu-prof-dir', profileTo] : [])]
    // The user that PostgreSQL runs as has to pass through.
    mkdirSync(this.dataDir, { recursive: true, mode: 0o711 })
    // YAML reads JSON.
    const gatewayFile = join(dir, 'gateway.yaml')
    writeFileSync(gatewayFile, JSON.stringify(options.gateway ?? gatewayOf(carrierPort, options)))
    const settings = {
      dataDir: this.dataDir,
      bootstrap: gatewayFile,
      smpp: { listen: `127.0.0.1:${smppPort}` },
      smtp: { listen: 'off' },
      admin: { listen: `127.0.0.1:${adminPort}`, key: this.key },
    }
    writeFileSync(this.configFile, JSON.stringify(settings))
  }

  get dataDir(): string {
    return join(this.dir, 'data')
  }

  private get configFile(): string {
    return join(this.dir, 'trunkline.yaml')
  }

  private get logFile(): string {
    return join(this.dir, 'log')
  }

  /** Resolves when /ready says so, with the milliseconds that it took. */
  async start(): Promise<number> {
    const from = performance.now()
    const child = new Child(process.execPath, [...this.nodeOptions, CLI, 'serve', '--config', this.configFile], {
      name: 'the daemon',
      channel: true,
      logFile: this.logFile,
    })
    this.child = child
    while ((await this.ask('/ready').catch(() => null))?.code !== 200) {
      const death = await this.death()
      if (death !== null) throw death
      if (performance.now() - from > READY_MS) throw new Error(`the daemon does not become ready\n${this.tail()}`)
    }
    const tookMs = performance.now() - from
    this.postgres = postgresOf(this.dataDir)
    this.scraper = setInterval(() => void this.ask('/metrics').catch(() => {}), SCRAPE_MS)
    return tookMs
  }

  /** Asks it to stop; the milliseconds that it took. Throws when it did not end in order. */
  async stop(): Promise<number> {
    clearInterval(this.scraper)
    const { child } = this
    if (child === undefined) return 0
    this.child = undefined
    const from = performance.now()
    const how = await child.stop(STOP_MS)
    if (how !== 0) throw new Error(`the daemon ended with ${how}\n${this.tail()}`)
    return performance.now() - from
  }

  /** How it ended, if it did without being asked. */
  async death(): Promise<Error | null> {
    const { child } = this
    if (child === undefined) return null
    // Its connections are seen to end before it is.
    await Promise.race([child.exited, pause(POLL_MS)])
    if (!child.ended) return null
    return new Error(`the daemon ended with ${await child.exited}\n${this.tail()}`)
  }

  async status(): Promise<Status> {
    const { code, body } = await this.ask('/api/v1/admin/status')
    if (code !== 200) throw new Error(`the daemon's status: ${code} ${body}`)
    return JSON.parse(body) as Status
  }

  /** Other accounts, carriers and routes from now on: the time at which they were, by the monotonic clock. */
  async apply(gateway: object): Promise<number> {
    const file = join(this.dir, 'applied.yaml')
    writeFileSync(file, JSON.stringify(gateway))
    const child = new Child(process.execPath, [CLI, 'apply', file, '--config', this.configFile], {
      name: 'trunkline apply',
      channel: false,
    })
    const how = await child.exited
    if (how !== 0) throw new Error(`trunkline apply ended with ${how}: ${child.stderr}`)
    return performance.now()
  }

  /** So many links are bound, of all carriers. */
  async linksBound(count: number): Promise<void> {
    await this.until(`${count} links are bound`, ({ carriers }) => {
      const links = carriers.flatMap(one => one.links).filter(({ stand }) => stand === 'ready' || stand === 'full')
      return { done: links.length >= count, left: count - links.length }
    })
  }

  /** Every link to the carrier is bound. */
  async carrierBound(): Promise<void> {
    await this.until('the carrier is bound', ({ carriers }) => {
      const bound = carriers[0]?.links.filter(({ stand }) => stand === 'ready' || stand === 'full') ?? []
      return { done: bound.length === LINKS, left: LINKS - bound.length }
    })
  }

  /** Nothing is left that could be done: history has caught up, and with `empty` no message or report waits either. */
  async settled(empty = false): Promise<void> {
    await this.until('everything is done', ({ queue }) => {
      const messages = empty ? queue.waiting + queue.claimed + queue.sent + queue.due + queue.outbox : 0
      const left = messages + queue.log_rows
      return { done: left === 0, left }
    })
  }

  /** Throws when `left` has not shrunk for a while. */
  private async until(what: string, look: (status: Status) => { done: boolean; left: number }): Promise<void> {
    let [least, at] = [Number.POSITIVE_INFINITY, performance.now()]
    for (;;) {
      const { done, left } = look(await this.status())
      if (done) return
      if (left < least) [least, at] = [left, performance.now()]
      if (performance.now() - at > STOP_MS) throw new Error(`${what}: not so, ${left} are left\n${this.tail()}`)
      await pause(SETTLE_POLL_MS)
    }
  }

  /** Processor time since its start, in microseconds; null where there is no /proc. */
  cpuMicros(): number | null {
    const stat = this.proc('stat')
    if (stat === null) return null
    // utime and stime are fields 14 and 15; the name, field 2, may hold spaces.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return ((Number(fields[11]) + Number(fields[12])) * 1e6) / TICKS_PER_S
  }

  /** Memory of its own in MB, without mapped files; null where there is no /proc. */
  anonMb(): number | null {
    const kilobytes = /^RssAnon:\s+(\d+) kB$/m.exec(this.proc('status') ?? '')?.[1]
    return kilobytes === undefined ? null : (Number(kilobytes) * 1024) / 1e6
  }

  /** Lines of level error in its log. */
  errors(): string[] {
    return this.log().filter(line => line.includes('"level":"error"'))
  }

  /** Removes its folder, and what a daemon that was killed has left outside of it. */
  async remove(): Promise<void> {
    clearInterval(this.scraper)
    // It may have been killed before it was ready.
    const { pid, socketDir } = this.postgres.pid > 0 ? this.postgres : postgresOf(this.dataDir)
    if (pid > 0 && isPostgres(pid)) {
      process.kill(pid, 'SIGQUIT')
      for (let ms = 0; ms < POSTGRES_GONE_MS && isPostgres(pid); ms += POLL_MS) await pause(POLL_MS)
    }
    if (socketDir.startsWith('/tmp/')) rmSync(socketDir, { recursive: true, force: true })
    rmSync(adminSocketPath(this.dataDir), { force: true })
    try {
      // A link, where the folder is closed to PostgreSQL's user.
      rmSync(realpathSync(join(this.dataDir, 'postgres')), { recursive: true, force: true })
    } catch {
      // It never started.
    }
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
  }

  /** The profile that --cpu-prof has left, as text: the main thread's is the largest. */
  profile(): string {
    const folder = join(this.dir, 'profile')
    const texts = readdirSync(folder).map(name => readFileSync(join(folder, name), 'utf8'))
    return texts.reduce((longest, text) => (text.length > longest.length ? text : longest), '')
  }

  private proc(file: string): string | null {
    try {
      return readFileSync(`/proc/${this.child?.pid}/${file}`, 'latin1')
    } catch {
      return null
    }
  }

  private log(): string[] {
    return readFileSync(this.logFile, 'utf8').trimEnd().split('\n')
  }

  private tail(): string {
    return this.log().slice(-10).join('\n')
  }

  private ask(path: string): Promise<{ code: number; body: string }> {
    const headers = { 'x-api-key': this.key }
    const at = { host: '127.0.0.1', port: this.adminPort, path, headers, agent: false, timeout: REQUEST_MS }
    return new Promise((resolve, reject) => {
      const request = get(at, response => {
        let body = ''
        response.setEncoding('utf8').on('data', (text: string) => {
          body += text
        })
        response.once('end', () => resolve({ code: response.statusCode ?? 0, body }))
        response.once('error', reject)
      })
      request.once('timeout', () => request.destroy(new Error(`no answer to ${path}`)))
      request.once('error', reject)
    })
  }
}

/** Units: more than any figure can spend. */
const CREDIT = 1_000_000_000
/** Beside the price that counts, some that make a trie of it. */
const PRICES = { default: 0.05, ...Object.fromEntries(Array.from({ length: 900 }, (_, n) => [String(100 + n), 0.04])) }

function gatewayOf(carrierPort: number, { idleAccounts = 0, prepaid = false }: GatewayOptions): object {
  const account = { password: PASSWORD, throughput: 0, credit: 'unlimited' }
  return {
    ...(prepaid ? { tariffs: [{ name: 'retail', prices: PRICES }] } : {}),
    accounts: [
      { ...account, systemId: SENDER, maxBinds: 100, ...(prepaid ? { tariff: 'retail', credit: CREDIT } : {}) },
      ...Array.from({ length: idleAccounts }, (_, n) => ({ ...account, systemId: `idle${n + 1}`, maxBinds: 1 })),
    ],
    carriers: [
      {
        name: 'up',
        kind: 'smpp',
        host: '127.0.0.1',
        port: carrierPort,
        systemId: 'up',
        password: 'up',
        bind: 'transceiver',
        links: LINKS,
        window: 200,
        throughput: 0,
        ...(prepaid ? { prices: PRICES } : {}),
        reconnectMinMs: 50,
        reconnectMaxMs: 500,
      },
    ],
    routes: [{ match: {}, to: ['up'] }],
  }
}

/** Different ports that nobody listens on. */
async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer()
      await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
      return server
    }),
  )
  const ports = servers.map(server => (server.address() as AddressInfo).port)
  await Promise.all(servers.map(server => new Promise(resolve => server.close(resolve))))
  return ports
}

/** The embedded server of a data directory, as its pid file tells. */
function postgresOf(dataDir: string): { pid: number; socketDir: string } {
  try {
    const lines = readFileSync(join(dataDir, 'postgres', 'cluster', 'data', 'postmaster.pid'), 'utf8').split('\n')
    return { pid: Number(lines[0]), socketDir: (lines[4] ?? '').trim() }
  } catch {
    return { pid: 0, socketDir: '' }
  }
}

function isPostgres(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'postgres'
  } catch {
    return false
  }
}
