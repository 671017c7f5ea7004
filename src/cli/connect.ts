// A TCP connection to an SMPP port, and what to say when there is none.

import { connect, type Socket } from 'node:net'
import { CommandError, EXIT } from './exit.js'

const PATIENCE_MS = 10_000

/** Rejects with a CommandError. Whoever gets the socket takes over its errors at once. */
export function connectTo(host: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true, timeout: PATIENCE_MS })
    const failed = (code: string): void => {
      socket.destroy()
      reject(new CommandError(EXIT.failed, sentence(host, port, code)))
    }
    const onError = (error: NodeJS.ErrnoException): void => failed(error.code ?? error.message)
    const onTimeout = (): void => failed('ETIMEDOUT')
    socket.once('error', onError)
    socket.once('timeout', onTimeout)
    socket.once('connect', () => {
      socket.off('error', onError)
      socket.off('timeout', onTimeout)
      socket.setTimeout(0)
      resolve(socket)
    })
  })
}

function sentence(host: string, port: number, code: string): string {
  const place = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
  switch (code) {
    case 'ECONNREFUSED':
      return `no daemon answers at ${place}: start it with npm start`
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `no host is known by the name ${host}`
    case 'ETIMEDOUT':
      return `no answer from ${place} within ${PATIENCE_MS / 1000} s`
    default:
      return `${place} cannot be reached (${code})`
  }
}
