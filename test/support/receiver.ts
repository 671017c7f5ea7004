// A customer's HTTP server on a real port: keeps what it is told, checks each signature, answers as the test says.
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { verifyWebhook } from '../../protocols/http/webhook.js'
import { type Cleaner, Waiting } from './peer.js'
import { listen } from './ports.js'

export interface Told {
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly id: string
  readonly type: string
  readonly timestamp: string
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it.
  readonly data: any
  readonly isSigned: boolean
}

export interface Receiver {
  readonly url: string
  readonly told: Told[]
  /** The status of an answer, with headers if need be; undefined: none ever. */
  answer: (told: Told) => number | [number, Record<string, string>] | undefined
  /** Resolves with the first so many. */
  first(count: number): Promise<Told[]>
  close(): Promise<void>
}

export const SECRET = `whsec_${Buffer.alloc(32, 7).toString('base64')}`

export async function receiver(t: Cleaner, port = 0, secret = SECRET): Promise<Receiver> {
  const waiting = new Waiting()
  const server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (text: string) => {
      body += text
    })
    request.on('end', () => {
      const { headers, url = '' } = request
      const isSigned = verifyWebhook(secret, headers, body, Date.now() / 1000)
      const one: Told = { path: url, headers, id: String(headers['webhook-id']), isSigned, ...JSON.parse(body) }
      self.told.push(one)
      const answer = self.answer(one)
      if (answer !== undefined) response.writeHead(...([answer].flat() as [number])).end()
      waiting.look()
    })
  })
  if (port === 0) await listen(server)
  else await once(server.listen(port, '127.0.0.1'), 'listening')
  const self: Receiver = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    told: [],
    answer: () => 204,
    first: count =>
      waiting.until(
        () => (self.told.length >= count ? self.told.slice(0, count) : undefined),
        () => `${count} events; ${self.told.length} came`,
      ),
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  t.teardown(() => self.close())
  return self
}
