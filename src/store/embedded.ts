// The private PostgreSQL: makes a cluster for a data directory, starts it as a process of
// its own or adopts the one that runs there, and stops it in order. Our SIGKILL leaves it
// running and the next start adopts it. Knows pg_ctl and postmaster.pid; holds no pool.

import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { open, readdir, readFile, readlink, realpath, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import './navigator.js'
import pg from 'pg'
import type { Log } from '../base/log.js'
import { type Binaries, copyBinaries, dropOldCopies, findBinaries, linkLibraries } from './binaries.js'
import { findPlace, type Place, strayClusters } from './place.js'

export interface Embedded {
  /** Over the Unix socket, database `trunkline`. */
  readonly url: string
  /** It was running when we came. */
  readonly adopted: boolean
  /** Stops the server, if it is ours to stop. */
  stop(): Promise<void>
}

export interface EmbeddedOptions {
  dataDir: string
  log: Log
  /**
   * An owner stops the server at its end, also when it found it running. A visitor (a
   * command) stops it only when it had to start it and no owner has come since.
   */
  role: 'owner' | 'visitor'
}

/** The only role in the cluster. Everyone who reaches the socket is it: the socket's directory is the lock. */
const ROLE = 'trunkline'
const DATABASE = 'trunkline'

/**
 * Small, and durable: fsync, full_page_writes and synchronous_commit stay on. Nobody
 * replicates from this server, so the WAL is minimal; with `io_method = sync` and no parallel
 * workers it is five processes.
 */
const SETTINGS: Readonly<Record<string, string>> = {
  listen_addresses: '',
  unix_socket_permissions: '0700',
  max_connections: '20',
  superuser_reserved_connections: '2',
  shared_buffers: '32MB',
  maintenance_work_mem: '32MB',
  work_mem: '4MB',
  wal_level: 'minimal',
  max_wal_senders: '0',
  min_wal_size: '64MB',
  max_wal_size: '512MB',
  checkpoint_timeout: '15min',
  io_method: 'sync',
  max_worker_processes: '2',
  max_parallel_workers: '0',
  max_logical_replication_workers: '0',
  max_parallel_workers_per_gather: '0',
  autovacuum_max_workers: '1',
  max_locks_per_transaction: '256',
  jit: 'off',
  log_checkpoints: 'off',
  log_line_prefix: '%m [%p] ',
  timezone: 'UTC',
  log_timezone: 'UTC',
}

/** How long a server may take to replay its log after a crash. */
const START_S = 300
/** Below systemd's TimeoutStopSec of 20 s. */
const STOP_S = 10
const POLL_MS = 50
const LOG_TAIL_BYTES = 2000
const LOG_KEEP_BYTES = 1_000_000

/** Starts or adopts the server of `dataDir`. Throws, with the end of the server's log, when it will not start. */
export async function startEmbedded(options: EmbeddedOptions): Promise<Embedded> {
  const { dataDir, log, role } = options
  if (process.platform === 'win32') {
    throw new Error('the embedded PostgreSQL needs Unix sockets: name a server of your own in database.url')
  }
  const place = await findPlace(dataDir)
  const binaries = await reachableBinaries(place)
  const { started, socketDir } = await startOrAdopt(place, binaries, log)
  if (started) {
    await dropOldCopies(place.base, binaries)
    for (const stray of await strayClusters(dataDir, place.base)) {
      log.warn(
        { directory: stray },
        'a cluster of an earlier data directory of this path; remove it if nobody needs it',
      )
    }
  }
  await ensureDatabase(socketDir)
  const ownerFile = join(place.base, 'owner')
  // Not the pid: in a container the next process may well have the same one.
  const name = randomUUID()
  if (role === 'owner' || started) await writeFile(ownerFile, name)
  return {
    url: urlOf(socketDir, DATABASE),
    adopted: !started,
    async stop() {
      if ((await readFile(ownerFile, 'utf8').catch(() => '')) !== name) return
      await rm(ownerFile, { force: true })
      await stop(place, binaries, log)
    },
  }
}

const urlOf = (socketDir: string, database: string): string =>
  `postgresql:///${database}?host=${encodeURIComponent(socketDir)}&user=${ROLE}`

/** Under root always a copy: node_modules may be closed to the server's user, and `npm ci` would empty it under a running server. */
async function reachableBinaries(place: Place): Promise<Binaries> {
  const found = await findBinaries()
  if (place.user) return copyBinaries(found, place.base)
  try {
    await linkLibraries(found.dir)
    return found
  } catch {
    return copyBinaries(found, place.base)
  }
}

async function startOrAdopt(
  place: Place,
  binaries: Binaries,
  log: Log,
): Promise<{ started: boolean; socketDir: string }> {
  for (let round = 0; round < 3; round++) {
    const running = await settledPostmaster(place)
    if (running) {
      log.info({ postmaster: running.pid, data: place.data }, 'adopted the running embedded PostgreSQL')
      return { started: false, socketDir: running.socketDir }
    }
    await ensureCluster(place, binaries, log)
    await dropSocketLock(place)
    const logStart = await turnOverLog(place.logFile)
    const result = await pgCtl(place, binaries, [
      'start',
      '-w',
      '-t',
      `${START_S}`,
      '-l',
      place.logFile,
      '-o',
      serverOptions(place),
    ])
    if (result.code === 0) {
      const pid = (await readPidFile(place.data))?.pid
      log.info({ postmaster: pid, data: place.data, version: binaries.version }, 'started the embedded PostgreSQL')
      return { started: true, socketDir: place.socketDir }
    }
    // Somebody else started it between our look and our start: look again.
    if (await findPostmaster(place)) continue
    throw new Error(
      `the embedded PostgreSQL did not start (${place.data}): ${result.output.trim()}\n${await tail(place.logFile, logStart)}`,
    )
  }
  throw new Error(`the embedded PostgreSQL in ${place.data} starts and stops under our hands`)
}

/** A cluster is made under another name and put in its place whole: half a cluster is never taken for one. */
async function ensureCluster(place: Place, binaries: Binaries, log: Log): Promise<void> {
  if (await stat(join(place.data, 'PG_VERSION')).catch(() => undefined)) return
  for (const name of await readdir(place.cluster)) {
    const maker = /^data\.(\d+)$/.exec(name)?.[1]
    if (maker !== undefined && !isAlive(Number(maker)))
      await rm(join(place.cluster, name), { recursive: true, force: true })
  }
  const half = join(place.cluster, `data.${process.pid}`)
  await rm(half, { recursive: true, force: true })
  const args = ['-D', half, '-U', ROLE, '-A', 'trust', '-E', 'UTF8', '--no-locale', '--no-instructions']
  const made = await run(place, join(binaries.dir, 'bin', 'initdb'), args)
  if (made.code !== 0) throw new Error(`initdb failed in ${place.cluster}: ${made.output.trim()}`)
  try {
    await rename(half, place.data)
  } catch (error) {
    await rm(half, { recursive: true, force: true })
    if ((error as NodeJS.ErrnoException).code !== 'ENOTEMPTY') throw error
    return
  }
  const parent = await open(place.cluster)
  await parent.sync()
  await parent.close()
  log.info({ data: place.data, user: place.user?.name }, 'made a cluster for the embedded PostgreSQL')
}

/** pg_ctl hands this to a shell. */
function serverOptions(place: Place): string {
  const all: Record<string, string> = { ...SETTINGS, unix_socket_directories: place.socketDir }
  // After a crash one sync of the file system instead of one a file.
  if (process.platform === 'linux') all.recovery_init_sync_method = 'syncfs'
  return Object.entries(all)
    .map(([name, value]) => `-c ${name}='${value.replaceAll("'", "'\\''")}'`)
    .join(' ')
}

async function stop(place: Place, binaries: Binaries, log: Log): Promise<void> {
  if (!(await findPostmaster(place))) return
  const fast = await pgCtl(place, binaries, ['stop', '-m', 'fast', '-w', '-t', `${STOP_S}`])
  if (fast.code === 0) return
  log.warn(
    { reason: fast.output.trim() },
    'the embedded PostgreSQL does not stop in order; it will replay its log at the next start',
  )
  await pgCtl(place, binaries, ['stop', '-m', 'immediate', '-w', '-t', '5'])
}

interface Postmaster {
  readonly pid: number
  readonly socketDir: string
  /** As the server writes it: starting, ready, stopping. */
  readonly status: string
}

/** The server that runs on this cluster, once it is ready; undefined when none runs. */
async function settledPostmaster(place: Place): Promise<Postmaster | undefined> {
  for (let polls = 0; polls < (START_S * 1000) / POLL_MS; polls++) {
    const found = await findPostmaster(place)
    if (found === undefined || found.status === 'ready') return found
    await pause(POLL_MS)
  }
  throw new Error(`the PostgreSQL in ${place.data} is neither ready nor gone after ${START_S} s`)
}

async function findPostmaster(place: Place): Promise<Postmaster | undefined> {
  const found = await readPidFile(place.data)
  if (found === undefined || !isAlive(found.pid)) return undefined
  if (await isServerOf(found.pid, place.data)) return found
  // The number went to another process, and if that is one of the same user, PostgreSQL would take it for a server.
  await rm(join(place.data, 'postmaster.pid'), { force: true })
  return undefined
}

/** As with the pid file: a dead server's number may be another process's, or a zombie's. */
async function dropSocketLock(place: Place): Promise<void> {
  const lock = join(place.socketDir, '.s.PGSQL.5432.lock')
  const pid = Number.parseInt(await readFile(lock, 'utf8').catch(() => ''), 10)
  if (pid > 0 && isAlive(pid) && !(await isServerOf(pid, place.data))) await rm(lock, { force: true })
}

/** postmaster.pid: pid, data directory, start, port, socket directory, address, shared memory, status. */
async function readPidFile(data: string): Promise<Postmaster | undefined> {
  const text = await readFile(join(data, 'postmaster.pid'), 'utf8').catch(() => '')
  const lines = text.split('\n')
  const pid = Number(lines[0])
  if (!Number.isInteger(pid) || pid <= 0) return undefined
  return { pid, socketDir: (lines[4] ?? '').trim(), status: (lines[7] ?? '').trim() }
}

/** A server works in its data directory. */
async function isServerOf(pid: number, data: string): Promise<boolean> {
  const real = await realpath(data)
  if (process.platform === 'linux') {
    const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => '')
    const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')
    return cwd === real && name.trim() === 'postgres'
  }
  const { output } = await execute('/bin/ps', ['-o', 'command=', '-p', `${pid}`], {})
  return output.includes('postgres') && (output.includes(real) || output.includes(data))
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

async function ensureDatabase(socketDir: string): Promise<void> {
  const client = new pg.Client({ connectionString: urlOf(socketDir, 'postgres') })
  client.on('error', () => {})
  await client.connect()
  try {
    const { rowCount } = await client.query('select from pg_database where datname = $1', [DATABASE])
    if (rowCount === 0) await client.query(`create database ${DATABASE}`)
  } catch (error) {
    const taken = (error as { code?: string }).code
    if (taken !== '42P04' && taken !== '23505') throw error
  } finally {
    await client.end()
  }
}

/** The size from which the next start's lines begin. */
async function turnOverLog(file: string): Promise<number> {
  const size = (await stat(file).catch(() => undefined))?.size ?? 0
  if (size <= LOG_KEEP_BYTES) return size
  await rename(file, `${file}.1`)
  return 0
}

async function tail(file: string, from: number): Promise<string> {
  const octets = await readFile(file).catch(() => Buffer.alloc(0))
  return octets
    .subarray(Math.max(from, octets.length - LOG_TAIL_BYTES))
    .toString('utf8')
    .trim()
}

interface Ended {
  readonly code: number | null
  readonly output: string
}

const pgCtl = (place: Place, binaries: Binaries, args: string[]): Promise<Ended> =>
  run(place, join(binaries.dir, 'bin', 'pg_ctl'), [...args, '-D', place.data])

const run = (place: Place, file: string, args: string[]): Promise<Ended> =>
  execute(file, args, {
    cwd: place.cluster,
    env: { PATH: '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' },
    ...(place.user ? { uid: place.user.uid, gid: place.user.gid } : {}),
  })

interface ExecuteOptions {
  cwd?: string
  env?: Record<string, string>
  uid?: number
  gid?: number
}

function execute(file: string, args: string[], options: ExecuteOptions): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    const take = (chunk: Buffer): void => {
      output += chunk.toString('utf8')
    }
    child.stdout.on('data', take)
    child.stderr.on('data', take)
    child.on('error', reject)
    child.on('close', code => resolve({ code, output }))
  })
}
