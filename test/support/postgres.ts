// A real PostgreSQL for tests: one embedded cluster a test file, with a migrated template
// that each test clones. A janitor process outlives us and clears up, whatever ends us.

import { spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
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
  /** A fresh clone of the migrated template; its URL. */
  database(): Promise<string>
  stop(): Promise<void>
}

const TEMPLATE = 'template_trunkline'

export async function testCluster(): Promise<TestCluster> {
  const dataDir = temporaryDirectory()
  janitor(dataDir)
  const embedded: Embedded = await startEmbedded({ dataDir, log: silent, role: 'owner' })
  const urlOf = (name: string): string => embedded.url.replace('/trunkline?', `/${name}?`)
  const admin = await connect(embedded.url)
  await admin.query(`create database ${TEMPLATE}`)
  const template = await connect(urlOf(TEMPLATE))
  await migrate(template, silent)
  await template.end()
  let count = 0
  return {
    async database() {
      const name = `test_${++count}`
      await admin.query(`create database ${name} template ${TEMPLATE}`)
      return urlOf(name)
    },
    async stop() {
      await admin.end()
      await embedded.stop()
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
