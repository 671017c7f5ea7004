// The real daemon as a child process, for whole stories: its own data directory, a database of its own, free ports. Its
// log lines are events to wait for. At the end of the test it must stop in order and leave nothing behind: no process (and
// so no listener), no socket, and no line in its log that tells of a fault of ours.
import { type ChildProcess, execFile, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { adminSocketPath } from '../../src/config/adminSocket.js'
import type { ConfigInput } from '../../src/config.js'
import type { Ran } from './clerk.js'
import { PATIENCE_MS, Waiting, within } from './peer.js'
import { connect, type Databases, janitor, silent, someDatabases, temporaryDirectory } from './postgres.js'
import type { Smsc } from './smsc.js'

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url))
const CLERK = fileURLToPath(new URL('clerk.js', import.meta.url))
/** Stops are graceful and take 10 s at most. */
const STOP_MS = 10_000
/** With a database of its own to make, on a machine that is busy with other tests. */
const START_MS = 60_000

/** Sections of the gateway file; accounts have the password `secret` and carriers' names are their keys. */
export interface Gateway {
  accounts?: Record<string, object>
  carriers?: Record<string, Smsc | ({ at?: Smsc } & Record<string, unknown>)>
  /** All to the carriers in their order, if not given. */
  routes?: object[]
  networks?: object[]
  blocked?: object[]
  inbound?: object[]
  tariffs?: object[]
}

export interface HouseOptions extends Gateway {
  config?: ConfigInput
  /** `shared` is a database of its own on a cluster for many; `embedded` is the daemon's own cluster. */
  database?: 'shared' | 'embedded' | { url: string; direct: string }
  /** For the daemon, besides ours. */
  env?: Record<string, string>
  /** Lines of level error that the story is about. */
  expected?: RegExp
}

export interface LogLine {
  level: 'debug' | 'info' | 'warn' | 'error'
  msg: string
  pid: number
  [field: string]: unknown
}

export interface HistoryRow {
  id: string
  kind: 'a' | 'e'
  state: number
  source: string
  destination: string
  error: string
  segments: number
  carrier: number
  account: number
}

let databases: Promise<Databases> | undefined
t.teardown(async () => (await databases)?.close())

const houses = new WeakMap<Test, House[]>()

/** A test whose houses are left in order while its customers and carriers are still there. */
export function story(title: string, tell: (t: Test) => Promise<void>): void {
  void t.test(title, { buffered: true }, async t => {
    const mine: House[] = []
    houses.set(t, mine)
    let isTold = false
    try {
      await tell(t)
      isTold = t.passing()
    } finally {
      for (const one of mine) {
        if (!isTold) t.comment(`the daemon's last lines:\n${one.tail(40)}`)
        t.same(await one.leave(), [], 'the house is left in order')
      }
    }
  })
}

/** A fresh database on the cluster that this file shares. */
export async function freshDatabase(): Promise<string> {
  databases ??= someDatabases()
  return (await databases).database()
}

/** Commands that go on until something happens, or that are the daemon. */
const LONG_LIVED = ['serve', 'simulate', 'load', 'top', 'trace']
let clerk: ChildProcess | undefined
let clerkGone: Promise<never> | undefined
let lastRun: Promise<unknown> | undefined
t.teardown(() => clerk?.disconnect())

/**
 * Runs a command of the CLI to its end: the first of a file in a process of its own, those after it in one for them all,
 * but for those that read standard input.
 */
export function trunkline(args: string[], input?: string): Promise<Ran> {
  if (input !== undefined || args.some(arg => LONG_LIVED.includes(arg))) return ranAlone(args, input)
  const ran = lastRun === undefined ? ranAlone(args) : lastRun.then(() => ranByClerk(args))
  lastRun = ran.catch(() => {})
  return ran
}

async function ranByClerk(args: string[]): Promise<Ran> {
  if (clerk === undefined) {
    clerk = fork(CLERK, { env: environment(), stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    clerkGone = once(clerk, 'exit').then(([code]) => {
      throw new Error(`whoever runs commands ended with ${code}`)
    })
    clerkGone.catch(() => {})
  }
  const answer = once(clerk, 'message')
  clerk.send(args)
  const [ran] = await Promise.race([answer, clerkGone as Promise<never>])
  return ran as Ran
}

function ranAlone(args: string[], input?: string): Promise<Ran> {
  return new Promise(resolve => {
    const child = execFile(process.execPath, [CLI, ...args], { env: environment() }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr })
    })
    if (input !== undefined) child.stdin?.end(input)
  })
}

/** Ours without settings for the daemon. */
const environment = (): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('TRUNKLINE_')))

export class House {
  readonly dir: string
  readonly dataDir: string
  readonly configFile: string
  /** Lines of all its lives. */
  readonly log: LogLine[] = []
  /** Of the running daemon; 0 before it was ready. */
  smpp = 0
  admin = 0
  private isReady = false
  private readonly options: HouseOptions
  private databaseUrl: string | null = null
  private child: ChildProcess | undefined
  private exited: Promise<number | string> = Promise.resolve(0)
  private stderr = ''
  private readonly cleaning: (() => void)[] = []
  private readonly waiting = new Waiting()
  private noticing: Promise<unknown> | undefined

  constructor(options: HouseOptions) {
    this.options = options
    this.dir = temporaryDirectory()
    this.dataDir = join(this.dir, 'data')
    this.configFile = join(this.dir, 'trunkline.yaml')
  }

  /** Everything but the start. */
  async furnish(): Promise<void> {
    const { database = 'shared', config = {} } = this.options
    mkdirSync(this.dataDir, { mode: 0o711 })
    if (database === 'embedded') janitor(this.dataDir)
    else this.databaseUrl = database === 'shared' ? await freshDatabase() : database.url
    const gatewayFile = this.gatewayFile(this.options)
    const settings = {
      dataDir: this.dataDir,
      bootstrap: gatewayFile,
      ...config,
      smpp: { listen: '127.0.0.1:0', ...config.smpp },
      smtp: { listen: 'off', ...config.smtp },
      admin: { listen: 'off', ...config.admin },
      database: { url: this.databaseUrl, pool: 2, ...config.database },
      spool: { mapGb: 1, reserveMb: 64, ...config.spool },
      stop: { drainMs: 2_000, ...config.stop },
    }
    // YAML reads JSON.
    writeFileSync(this.configFile, JSON.stringify(settings))
  }

  private gatewayFile(gateway: Gateway): string {
    const file = join(this.dir, 'gateway.yaml')
    writeFileSync(file, JSON.stringify(written(gateway)))
    return file
  }

  get pid(): number {
    return this.child?.pid ?? 0
  }

  /** Starts it; resolves when it is ready. */
  async start(): Promise<void> {
    const from = this.log.length
    const child = this.spawn()
    const ready = this.line('ready', from, START_MS)
    const early = this.exited.then(code => {
      throw new Error(`the daemon ended before it was ready: ${code}\n${this.tail()}`)
    })
    const { smpp, admin } = await Promise.race([ready, early])
    early.catch(() => {})
    if (child !== this.child) throw new Error('started twice')
    this.smpp = smpp as number
    this.admin = admin as number
    this.isReady = true
    this.waiting.look()
  }

  /** Resolves when it is running; at once when it is. */
  up(): Promise<true> {
    return this.waiting.until(
      () => this.isReady || undefined,
      () => `the daemon to be ready\n${this.tail()}`,
      START_MS,
    )
  }

  private spawn(): ChildProcess {
    // The channel: should we be killed, its end stops the daemon.
    const child = spawn(process.execPath, [CLI, 'serve', '--config', this.configFile], {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      env: { ...environment(), ...this.options.env },
    })
    this.child = child
    let partial = ''
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      const lines = (partial + text).split('\n')
      partial = lines.pop() as string
      for (const line of lines) this.log.push(JSON.parse(line) as LogLine)
      this.waiting.look()
    })
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
    })
    this.exited = new Promise(resolve => {
      child.once('close', (code, signal) => {
        if (this.child === child) this.child = undefined
        this.isReady = false
        resolve(code ?? (signal as string))
      })
    })
    return child
  }

  /** The first log line from index `from` on that has this message, or that `match` takes. */
  line(match: string | ((line: LogLine) => boolean), from = 0, ms = PATIENCE_MS): Promise<LogLine> {
    const takes = typeof match === 'string' ? (line: LogLine) => line.msg === match : match
    return this.waiting.until(
      () => this.log.slice(from).find(takes),
      () => `the log line ${match}; the last lines are\n${this.tail()}`,
      ms,
    )
  }

  /** Lines with this message. */
  lines(message: string, from = 0): LogLine[] {
    return this.log.slice(from).filter(line => line.msg === message)
  }

  tail(lines = 15): string {
    return `${this.log
      .slice(-lines)
      .map(line => JSON.stringify(line))
      .join('\n')}\n${this.stderr}`
  }

  /** As a power failure would end it. */
  async kill9(): Promise<void> {
    this.child?.kill('SIGKILL')
    await this.exited
  }

  /** Resolves with the exit code, or with the signal that ended it. */
  exit(ms = STOP_MS): Promise<number | string> {
    return within(this.exited, () => `the daemon's end\n${this.tail()}`, ms)
  }

  signal(name: NodeJS.Signals): void {
    this.child?.kill(name)
  }

  /** Asks it to stop and waits until it has. */
  stop(): Promise<number | string> {
    this.signal('SIGTERM')
    return this.exit()
  }

  async restart(): Promise<void> {
    await this.stop()
    await this.start()
  }

  /** Makes the running daemon's accounts, carriers and routes those, as the command of the CLI does. */
  async apply(gateway: Gateway): Promise<void> {
    // Most files change nothing so: they do without the schemas of all that a gateway file may hold.
    const [{ parseGateway }, { applyGateway }, { Secrets, serverKey }, { openStore }] = await Promise.all([
      import('../../src/accounts/gatewayFile.js'),
      import('../../src/accounts/gatewayApply.js'),
      import('../../src/accounts/secrets.js'),
      import('../../src/store/postgres.js'),
    ])
    const parsed = parseGateway(JSON.stringify(written(gateway)))
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.faults))
    const store = openStore({ url: this.directUrl, dataDir: this.dataDir, log: silent, pool: 1 })
    try {
      await store.firstTry
      const applied = await applyGateway(store, new Secrets(await serverKey(this.dataDir)), parsed.file)
      if (!applied.ok) throw new Error(JSON.stringify(applied.faults))
    } finally {
      await store.close()
    }
  }

  /** Over the socket of its data directory. */
  get(path: string): Promise<{ status: number; body: string }> {
    return this.ask('GET', path)
  }

  /** `body` goes as JSON. */
  async ask(method: string, path: string, body?: unknown): Promise<{ status: number; body: string }> {
    const headers = body === undefined ? {} : { 'content-type': 'application/json' }
    return within(
      new Promise((resolve, reject) => {
        const asked = request(
          { socketPath: adminSocketPath(this.dataDir), method, path, headers, agent: false },
          response => {
            let text = ''
            response.setEncoding('utf8').on('data', (piece: string) => {
              text += piece
            })
            response.on('end', () => resolve({ status: response.statusCode ?? 0, body: text }))
          },
        )
        asked.on('error', reject)
        asked.end(body === undefined ? undefined : JSON.stringify(body))
      }),
      path,
    )
  }

  /** A sample of /metrics, summed over its labels but those given. */
  async metric(name: string, labels: Record<string, string> = {}): Promise<number> {
    const { body } = await this.get('/metrics')
    if (!body.includes(`# TYPE ${name} `)) throw new Error(`there is no metric ${name}`)
    let sum = 0
    for (const line of body.split('\n')) {
      const [, found, set = '', value] = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? []
      if (found !== name) continue
      if (Object.entries(labels).every(([label, wanted]) => set.includes(`${label}="${wanted}"`))) sum += Number(value)
    }
    return sum
  }

  get directUrl(): string {
    const { database } = this.options
    if (typeof database === 'object') return database.direct
    if (this.databaseUrl !== null) return this.databaseUrl
    const socketDir = readFileSync(join(this.dataDir, 'postgres', 'cluster', 'data', 'postmaster.pid'), 'utf8')
    return `postgresql:///trunkline?host=${encodeURIComponent((socketDir.split('\n')[4] ?? '').trim())}&user=trunkline`
  }

  /** What the daemon's database answers. */
  async query<Row extends object>(sql: string): Promise<Row[]> {
    const client = await connect(this.directUrl)
    try {
      return (await client.query<Row>(sql)).rows
    } finally {
      await client.end()
    }
  }

  /** The history's rows, by message and kind, once `enough` of them are there. */
  async history(enough: number | ((rows: HistoryRow[]) => boolean), ms = PATIENCE_MS): Promise<HistoryRow[]> {
    const takes = typeof enough === 'number' ? (rows: HistoryRow[]) => rows.length >= enough : enough
    const client = await connect(this.directUrl)
    try {
      let changed = (): void => {}
      let rows: HistoryRow[] = []
      this.noticing ??= client.query(NOTICE)
      await this.noticing
      await client.query('listen story')
      client.on('notification', () => changed())
      const all = async (): Promise<HistoryRow[]> => {
        for (;;) {
          const next = new Promise<void>(resolve => {
            changed = resolve
          })
          // Read again and again, all rows would cost more than what is tested.
          const isThere =
            typeof enough !== 'number' ||
            ((await client.query<{ n: number }>(COUNT)).rows[0] as { n: number }).n >= enough
          if (isThere) rows = (await client.query<HistoryRow>(HISTORY)).rows
          if (isThere && takes(rows)) return rows
          await next
        }
      }
      return await within(all(), () => `rows of history; ${rows.length} are there\n${this.tail()}`, ms)
    } finally {
      await client.end()
    }
  }

  /** Done when the daemon has ended, before its directory goes. */
  onLeft(clean: () => void): void {
    this.cleaning.push(clean)
  }

  /** Ends it, in order if it runs, and looks for what it has left: what was wrong. */
  async leave(): Promise<string[]> {
    const faults: string[] = []
    if (this.child) {
      const code = await this.stop().catch(async (error: Error) => {
        await this.kill9()
        return error.message
      })
      if (code !== 0) faults.push(`it ended with ${code}`)
    }
    for (const left of processesOf(this.dir)) faults.push(`left running: ${left}`)
    if (existsSync(adminSocketPath(this.dataDir))) faults.push('admin.sock is left')
    const { expected } = this.options
    const wrong = this.log.filter(line => line.level === 'error' && !expected?.test(line.msg))
    for (const line of wrong) faults.push(JSON.stringify(line))
    if (this.stderr !== '') faults.push(this.stderr)
    for (const clean of this.cleaning.reverse()) clean()
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
    return faults
  }
}

const NOTICE = `
  create or replace function story_notice() returns trigger language plpgsql as $$ begin notify story; return null; end $$;
  create or replace trigger story after insert on history for each statement execute function story_notice()`
const COUNT = 'select count(*)::int as n from history'
const HISTORY = `
  select id::text, kind::text, state, source, destination, error, segments, carrier, account from history order by id, kind`

/** The gateway file. */
function written({ accounts = { shop: {} }, carriers = {}, routes, ...rest }: Gateway): object {
  const { networks = [], blocked = [], inbound = [], tariffs = [] } = rest
  return {
    tariffs,
    networks,
    blocked,
    inbound,
    accounts: Object.entries(accounts).map(([systemId, rest]) => ({ systemId, password: 'secret', ...rest })),
    carriers: Object.entries(carriers).map(([name, given]) => {
      const { at, ...rest } = 'port' in given && 'links' in given && 'script' in given ? { at: given as Smsc } : given
      if (at === undefined) return { name, ...rest }
      const place = { kind: 'smpp', host: '127.0.0.1', port: (at as Smsc).port, systemId: 'up', password: 'up' }
      return { name, ...place, reconnectMinMs: 20, reconnectMaxMs: 100, ...rest }
    }),
    routes: routes ?? (Object.keys(carriers).length > 0 ? [{ match: {}, to: Object.keys(carriers) }] : []),
  }
}

/** Processes that name the directory or stand in it. */
function processesOf(dir: string): string[] {
  const found: string[] = []
  for (const entry of existsSync('/proc') ? readdirSync('/proc') : []) {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) continue
    try {
      const command = readFileSync(`/proc/${entry}/cmdline`, 'latin1').replaceAll('\0', ' ')
      // The janitor waits for our own end.
      if (command.startsWith('/bin/sh -c cat') || command === '') continue
      if (command.includes(dir) || readlinkSync(`/proc/${entry}/cwd`).startsWith(dir)) found.push(`${entry} ${command}`)
    } catch {
      // It ended while we looked.
    }
  }
  return found
}

/** A daemon that is not started, and with it a clean end. */
export async function emptyHouse(t: Test, options: HouseOptions = {}): Promise<House> {
  const one = new House(options)
  const mine = houses.get(t)
  if (mine === undefined) throw new Error('a house stands in a story')
  mine.push(one)
  await one.furnish()
  return one
}

/** A running daemon, and with it a clean end. */
export async function house(t: Test, options: HouseOptions = {}): Promise<House> {
  const one = await emptyHouse(t, options)
  await one.start()
  return one
}
