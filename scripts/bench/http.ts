// An application that asks over HTTP as fast as it is answered: kept connections, one request at a time on each. Written on
// sockets, for a client that costs more than the daemon would be what is measured. Knows HTTP/1.1 with content-length and
// nothing of what is asked.

import { connect, type Socket } from 'node:net'
import { Latencies } from '../../src/cli/esme/latency.js'

export interface HttpOrder {
  readonly port: number
  readonly key: string
  readonly connections: number
  readonly count: number
  /** Requests a second in all; 0: as fast as they are answered. */
  readonly rate: number
  /** `POST /path` or `GET /path` and its body, by the number of the request. */
  request(n: number): { line: string; body: string }
}

export interface HttpFigures {
  /** Answers a second, from the first request to the last answer. */
  readonly rate: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** By status, those other than 200. */
  readonly others: ReadonlyMap<number, number>
  readonly last: string
}

const HEAD_END = '\r\n\r\n'

/** Resolves when all were answered; rejects when a connection is lost. */
export function ask(order: HttpOrder): Promise<HttpFigures> {
  const { port, key, connections, count, rate } = order
  const latencies = new Latencies()
  const others = new Map<number, number>()
  const from = performance.now()
  let asked = 0
  let answered = 0
  let last = ''
  return new Promise((resolve, reject) => {
    const sockets: Socket[] = []
    const finish = (): void => {
      for (const socket of sockets) socket.destroy()
      const { p50, p99 } = latencies.quantiles()
      resolve({ rate: (answered * 1000) / (performance.now() - from), p50Ms: p50, p99Ms: p99, others, last })
    }
    const open = (): void => {
      const socket = connect({ host: '127.0.0.1', port, noDelay: true })
      sockets.push(socket)
      let text = ''
      let sentMs = 0
      const send = (): void => {
        if (asked >= count) return
        const n = asked++
        // The pace is the whole's: each request has its moment.
        const dueMs = rate === 0 ? 0 : from + (n * 1000) / rate - performance.now()
        if (dueMs > 1) setTimeout(write, dueMs, n)
        else write(n)
      }
      const write = (n: number): void => {
        const { line, body } = order.request(n)
        const octets = Buffer.byteLength(body)
        const head = `${line} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer ${key}\r\n`
        const more = body === '' ? '' : `content-type: application/json\r\ncontent-length: ${octets}\r\n`
        sentMs = performance.now()
        socket.write(`${head}${more}\r\n${body}`)
      }
      socket.on('data', (octets: Buffer) => {
        text += octets.latin1Slice()
        const headEnd = text.indexOf(HEAD_END)
        if (headEnd < 0) return
        const length = Number(/\r\ncontent-length: (\d+)/i.exec(text.slice(0, headEnd))?.[1] ?? Number.NaN)
        if (Number.isNaN(length)) {
          socket.destroy(new Error(`an answer without content-length: ${text.slice(0, headEnd)}`))
          return
        }
        const whole = headEnd + HEAD_END.length + length
        if (text.length < whole) return
        const status = Number(text.slice(9, 12))
        if (status !== 200) others.set(status, (others.get(status) ?? 0) + 1)
        last = text.slice(headEnd + HEAD_END.length, whole)
        text = text.slice(whole)
        latencies.add(performance.now() - sentMs)
        if (++answered === count) finish()
        else send()
      })
      socket.once('connect', send)
      socket.once('error', reject)
      socket.once('close', () => {
        if (answered < count) reject(new Error(`a connection was closed after ${answered} answers`))
      })
    }
    for (let i = 0; i < connections; i++) open()
  })
}
