// A real PostgreSQL for tests: the cluster that `npm test` lends to one file after the other, or
// one of the file's own, with a migrated template that each test clones. A janitor process outlives
// us and clears up what is ours, whatever ends us.

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
import { freePorts } from './ports.js'

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

/** Where databases come from. */
export interface Databases {
  /** A fresh clone of the migrated template; its URL. */
  database(): Promise<string>
  close(): Promise<void>
}

export interface TestCluster extends Databases {
  readonly dataDir: string
  /** The directory stays. */
  stop(): Promise<void>
}

const TEMPLATE = 'template_trunkline'
/** The folder that `npm test` lends: the first file to need it starts its server, whose end is `npm test`'s. */
const { LENT_CLUSTER } = process.env

/** For a test that does nothing to the server itself. */
export async function someDatabases(): Promise<Databases> {
  if (LENT_CLUSTER === undefined) return testCluster()
  const { url } = await startEmbedded({ dataDir: LENT_CLUSTER, log: silent, role: 'visitor' })
  const admin = await connect(url)
  await hasten(admin)
  await makeTemplate(admin, url)
  const { database, made } = clones(admin, url, `file_${process.pid}`)
  return {
    database,
    async close() {
      for (const name of made) await admin.query(`drop database ${name} with (force)`)
      await admin.end()
    },
  }
}

/**
 * A cluster of the file's own.
 * @param options.fsync as the product has it; without it tests do not wait for the disk
 */
export async function testCluster(options: { fsync?: boolean } = {}): Promise<TestCluster> {
  const dataDir = temporaryDirectory()
  janitor(dataDir)
  const embedded: Embedded = await startEmbedded({ dataDir, log: silent, role: 'owner' })
  const admin = await connect(embedded.url)
  if (!options.fsync) await hasten(admin)
  await makeTemplate(admin, embedded.url)
  let running = true
  const stop = async (): Promise<void> => {
    if (!running) return
    running = false
    await admin.end()
    await embedded.stop()
  }
  return {
    dataDir,
    database: clones(admin, embedded.url, 'test').database,
    stop,
    async close() {
      await stop()
      rmSync(dataDir, { recursive: true })
    },
  }
}

const urlOf = (url: string, database: string): string => url.replace('/trunkline?', `/${database}?`)

/** What a crash of the machine would lose is no loss here. */
async function hasten(admin: pg.Client): Promise<void> {
  for (const what of ['fsync', 'full_page_writes', 'autovacuum']) await admin.query(`alter system set ${what} = off`)
  await admin.query('select pg_reload_conf()')
}

async function makeTemplate(admin: pg.Client, url: string): Promise<void> {
  const { rowCount } = await admin.query('select from pg_database where datname = $1', [TEMPLATE])
  if (rowCount !== 0) return
  // Whoever is killed at this leaves none that looks whole.
  const half = `${TEMPLATE}_half`
  await admin.query(`drop database if exists ${half} with (force)`)
  await admin.query(`create database ${half}`)
  const template = await connect(urlOf(url, half))
  await migrate(template, silent)
  await template.end()
  await admin.query(`alter database ${half} rename to ${TEMPLATE}`)
}

function clones(admin: pg.Client, url: string, prefix: string): Pick<Databases, 'database'> & { made: string[] } {
  const made: string[] = []
  let last: Promise<unknown> = Promise.resolve()
  return {
    made,
    async database() {
      const name = `${prefix}_${made.length + 1}`
      made.push(name)
      // One after the other: a client has one statement at a time, and a template one that copies it.
      const done = last.then(() => admin.query(`create database ${name} template ${TEMPLATE} strategy file_copy`))
      last = done.catch(() => {})
      await done
      return urlOf(url, name)
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
    const [port] = await freePorts(1)
    return new Way(url, port as number)
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
