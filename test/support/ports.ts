// Ports that stay free while nobody listens on them: below those that the system gives to outgoing connections, and no
// two test files that run at once draw from the same ones. For what closes and opens again, and for what takes no port 0.

import { once } from 'node:events'
import { createServer, type Server } from 'node:net'

const FIRST = 10_000
const PER_WORKER = 4_000
/** The runner's worker is one of the first; a file that is run by hand has the last. */
const MOST_WORKERS = 5

const worker = Math.min(Number(process.env.TEST_WORKER ?? MOST_WORKERS - 1), MOST_WORKERS - 1)
/** Not always the same ones: a port of the run before may still be closing. */
let drawn = Math.floor(Math.random() * PER_WORKER)

/** Listens on a port that only this process draws; tells which. */
export async function listen(server: Server): Promise<number> {
  for (;;) {
    drawn = (drawn + 1) % PER_WORKER
    const port = FIRST + worker * PER_WORKER + drawn
    try {
      await once(server.listen(port, '127.0.0.1'), 'listening')
      return port
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    }
  }
}

/** Ports on which nobody listens. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer())
  const ports: number[] = []
  for (const server of servers) ports.push(await listen(server))
  await Promise.all(servers.map(server => new Promise(closed => server.close(closed))))
  return ports
}
