// One daemon owns a data directory: whoever answers on admin.sock. Taken before anything
// in the directory is opened. Knows sockets and file names; what is served there, the
// side-port hands in later.

import { chmodSync, linkSync, renameSync, unlinkSync } from 'node:fs'
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http'

export type Handler = (request: IncomingMessage, response: ServerResponse) => void

export interface DirectoryLock {
  /** What the socket serves from now on. Until then it answers 503. */
  serve(handler: Handler): void
  release(): Promise<void>
}

export class DirectoryOwned extends Error {
  /** undefined when the owner did not say. */
  readonly pid: number | undefined

  constructor(dataDir: string, pid: number | undefined) {
    super(`${dataDir} belongs to another daemon${pid === undefined ? '' : ` (pid ${pid})`}`)
    this.pid = pid
  }
}

const ANSWER_MS = 2_000

/**
 * Takes the directory, or throws {@link DirectoryOwned}. A socket that nobody answers on is
 * what a killed daemon left: it is replaced.
 */
export async function takeDirectory(dataDir: string, path: string, pid: number): Promise<DirectoryLock> {
  let handler: Handler = (_request, response) => {
    response.writeHead(503, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ status: 'starting', pid }))
  }
  const server = createServer((asked, response) => handler(asked, response))
  server.keepAliveTimeout = 1_000
  // Listening under a name of its own and linking it is atomic: of two that start together one links.
  const own = `${path}.${pid}`
  remove(own)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(own, () => resolve())
  })
  // Who reaches the socket needs no key.
  chmodSync(own, 0o600)
  for (;;) {
    try {
      linkSync(own, path)
      break
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    const answer = await whoAnswers(path)
    if (answer.alive) return refuse(server, dataDir, answer.pid)
    // Another that starts at this moment may have linked its own meanwhile: what was moved away is asked once more.
    const aside = `${own}.old`
    try {
      renameSync(path, aside)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      continue
    }
    const moved = await whoAnswers(aside)
    if (moved.alive) {
      renameSync(aside, path)
      return refuse(server, dataDir, moved.pid)
    }
    remove(aside)
  }
  remove(own)
  return {
    serve: next => {
      handler = next
    },
    release: async () => {
      remove(path)
      await close(server)
    },
  }
}

async function refuse(server: Server, dataDir: string, pid: number | undefined): Promise<never> {
  await close(server)
  throw new DirectoryOwned(dataDir, pid)
}

const close = (server: Server): Promise<void> =>
  new Promise(resolve => {
    server.close(() => resolve())
    server.closeAllConnections()
  })

function remove(path: string): void {
  try {
    unlinkSync(path)
  } catch {
    // It was not there.
  }
}

function whoAnswers(path: string): Promise<{ alive: boolean; pid: number | undefined }> {
  return new Promise(resolve => {
    const asked = request({ socketPath: path, path: '/health', agent: false, timeout: ANSWER_MS }, response => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', () => resolve({ alive: true, pid: undefined }))
      response.on('end', () => resolve({ alive: true, pid: pidIn(Buffer.concat(chunks).toString('utf8')) }))
    })
    // It took the connection and is silent: busy, not dead.
    asked.on('timeout', () => {
      resolve({ alive: true, pid: undefined })
      asked.destroy()
    })
    // Whatever else may be wrong with a socket, only these two say that nobody is behind it.
    asked.on('error', ({ code }: NodeJS.ErrnoException) =>
      resolve({ alive: code !== 'ECONNREFUSED' && code !== 'ENOENT', pid: undefined }),
    )
    asked.end()
  })
}

function pidIn(body: string): number | undefined {
  try {
    const { pid } = JSON.parse(body) as { pid?: unknown }
    return typeof pid === 'number' ? pid : undefined
  } catch {
    return undefined
  }
}
