// One POST to a customer's server and what came of it: kept connections, names looked up once and checked, a bound on time
// and on what is read. Knows HTTP; what is sent, signed or tried again it does not know.

import { Agent, type IncomingHttpHeaders, request as overHttp, type RequestOptions } from 'node:http'
import { request as overHttps, Agent as SecureAgent } from 'node:https'
import type { Reach } from '../../protocols/net/reach.js'

/** Kept open to one origin. Those in use are as many as there are requests: whoever asks bounds those. */
const IDLE_CONNECTIONS = 8
const IDLE_MS = 30_000
/** Octets of an answer that are read, so that its connection may be used again. */
const MAX_ANSWER = 65_536

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
}

interface Faulty extends Error {
  readonly code?: string
  readonly wasReused?: boolean
}

export class WebhookClient {
  private readonly reach: Reach
  private readonly plain: Agent
  private readonly secure: SecureAgent

  constructor(reach: Reach) {
    this.reach = reach
    const options = {
      keepAlive: true,
      maxFreeSockets: IDLE_CONNECTIONS,
      scheduling: 'lifo',
      timeout: IDLE_MS,
    } as const
    this.plain = new Agent(options)
    this.secure = new SecureAgent(options)
  }

  /** Resolves when the answer has begun. Rejects with an error whose `code` names what kept it: TIMEOUT, OUT_OF_REACH, ECONNREFUSED. */
  async post(to: string, headers: Record<string, string>, body: string, timeoutMs: number): Promise<Answer> {
    const url = new URL(to)
    const plain = url.protocol === 'http:'
    this.reach.check(url.hostname, plain)
    const octets = Buffer.from(body)
    const late = new AbortController()
    const timer = setTimeout(() => late.abort(), timeoutMs)
    const options: RequestOptions = {
      method: 'POST',
      agent: plain ? this.plain : this.secure,
      lookup: this.reach.lookup(plain),
      headers: { ...headers, 'content-length': String(octets.length) },
      signal: late.signal,
    }
    const over = (): void => clearTimeout(timer)
    try {
      return await ask(url, options, octets, over).catch((error: Faulty) => {
        // It was closed from the other side while nothing was on it.
        if (!error.wasReused || (error.code !== 'ECONNRESET' && error.code !== 'EPIPE')) throw error
        return ask(url, options, octets, over)
      })
    } catch (error) {
      over()
      throw late.signal.aborted ? Object.assign(new Error('no answer in time'), { code: 'TIMEOUT' }) : error
    }
  }

  close(): void {
    this.plain.destroy()
    this.secure.destroy()
  }
}

/** `over`: the answer has been read, or as much of it as is. */
function ask(url: URL, options: RequestOptions, octets: Buffer, over: () => void): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = (url.protocol === 'http:' ? overHttp : overHttps)(url, options)
    asked.on('error', error => reject(Object.assign(error, { wasReused: asked.reusedSocket })))
    asked.on('response', response => {
      let left = MAX_ANSWER
      response.on('data', (piece: Buffer) => {
        left -= piece.length
        if (left < 0) response.destroy()
      })
      response.on('error', () => {})
      response.on('close', over)
      resolve({ status: response.statusCode ?? 0, headers: response.headers })
    })
    asked.end(octets)
  })
}
