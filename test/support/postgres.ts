// A real PostgreSQL for tests: one embedded cluster a test file, with a migrated template
// that each test clones. A janitor process outlives us and clears up, whatever ends us.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { connect as connectTo, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import type { Log } from '../../src/base/log.js'
import { type Embedded, startEmbedded } from '../../src/store/embedded.js'
import { migrate } from '../../src/store/migrate.js'

export const silent: Log = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  writes: () => false,
  child: () => silent,
}

/** A directory that the server's system user can reach as well. Removed by {@link janitor} or by hand. */
export function temporaryDirectory(): string {
  const dir = mkdtempSync(join(tmpdir(), 'trunkline-test-'))
  chmodSync(dir, 0o711)
  return dir
}

/** When this process ends, by whatever means: ends a server that runs in `dataDir` and removes the directory. */
export function janitor(dataDir: string): void {
  const script = `cat > /dev/null
    read pid < "$0/postgres/cluster/data/postmaster.pid" && kill -QUIT "$pid"
    for i in 1 2 3; do rm -rf "$0" && break; sleep 0.2; done`
  const child = spawn('/bin/sh', ['-c', script, dataDir], { stdio: ['pipe', 'ignore', 'ignore'], detached: true })
  child.unref()
  ;(child.stdin as unknown as { unref(): void }).unref()
}

export interface TestCluster {
  readonly dataDir: string
  /** A fresh clone of the migrated template; its URL. */
  database(): Promise<string>
  /** The directory stays. */
  stop(): Promise<void>
  close(): Promise<void>
}

const TEMPLATE = 'template_trunkline'

/** @param options.fsync as the product has it; without it tests do not wait for the disk */
export async function testCluster(options: { fsync?: boolean } = {}): Promise<TestCluster> {
  const dataDir = temporaryDirectory()
  janitor(dataDir)
  const embedded: Embedded = await startEmbedded({ dataDir, log: silent, role: 'owner' })
  const urlOf = (name: string): string => embedded.url.replace('/trunkline?', `/${name}?`)
  const admin = await connect(embedded.url)
  if (!options.fsync) {
    await admin.query('alter system set fsync = off')
    await admin.query('select pg_reload_conf()')
  }
  await admin.query(`create database ${TEMPLATE}`)
  const template = await connect(urlOf(TEMPLATE))
  await migrate(template, silent)
  await template.end()
  let count = 0
  let running = true
  let last: Promise<unknown> = Promise.resolve()
  const stop = async (): Promise<void> => {
    if (!running) return
    running = false
    await admin.end()
    await embedded.stop()
  }
  return {
    dataDir,
    async database() {
      const name = `test_${++count}`
      // One after the other: a client has one statement at a time, and a template one that copies it.
      const made = last.then(() => admin.query(`create database ${name} template ${TEMPLATE} strategy file_copy`))
      last = made.catch(() => {})
      await made
      return urlOf(name)
    },
    stop,
    async close() {
      await stop()
      rmSync(dataDir, { recursive: true })
    },
  }
}

export async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  return client
}

/** A way to a database that can be closed, opened again, and cut in the middle of a sentence. */
export class Way {
  /** Through this way. */
  readonly url: string
  /** Sees what goes to the server; false = it is passed on, and then the connection is cut before the answer. */
  inspect: (chunk: Buffer) => boolean = () => true
  private readonly target: string
  private readonly port: number
  private server: Server | undefined
  private readonly sockets = new Set<Socket>()

  private constructor(url: string, port: number) {
    const { pathname, searchParams } = new URL(url)
    this.target = `${searchParams.get('host')}/.s.PGSQL.5432`
    this.port = port
    this.url = `postgresql://trunkline@127.0.0.1:${port}${pathname}`
  }

  /** Closed at first: nobody answers. */
  static async to(url: string): Promise<Way> {
    const finder = createServer().listen(0, '127.0.0.1')
    await once(finder, 'listening')
    const { port } = finder.address() as { port: number }
    finder.close()
    await once(finder, 'close')
    return new Way(url, port)
  }

  async open(): Promise<void> {
    this.server = createServer(client => {
      const upstream = connectTo(this.target)
      for (const [socket, other] of [
        [client, upstream],
        [upstream, client],
      ] as const) {
        this.sockets.add(socket)
        socket.on('error', () => {})
        socket.on('close', () => {
          this.sockets.delete(socket)
          other.destroy()
        })
      }
      upstream.on('data', chunk => client.write(chunk))
      client.on('data', chunk => {
        if (this.inspect(chunk)) upstream.write(chunk)
        // Only when the server has closed as well has it done what it was told.
        else upstream.end(chunk, () => client.destroy())
      })
    }).listen(this.port, '127.0.0.1')
    await once(this.server, 'listening')
  }

  close(): void {
    this.server?.close()
    for (const socket of this.sockets) socket.destroy()
  }
}
