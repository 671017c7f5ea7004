// A customer's program over HTTP: requests with a key, and their answers as they came. Knows no test.
import { request } from 'node:http'
import { PATIENCE_MS, within } from './peer.js'

export const KEY = 'tl_shop_0123456789abcdef0123456789abcdef'

export interface Answer {
  status: number
  headers: Record<string, string | string[] | undefined>
  text: string
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it.
  json: any
}

export interface Asking {
  key?: string | null
  headers?: Record<string, string>
  /** An object is sent as JSON. */
  body?: object | string | Buffer
  type?: string
  /** The address that it comes from: one of 127.0.0.0/8. */
  from?: string
}

export function api(port: number) {
  return (
    method: string,
    path: string,
    { key = KEY, headers = {}, body, type, from }: Asking = {},
  ): Promise<Answer> => {
    const isRaw = typeof body === 'string' || Buffer.isBuffer(body)
    const octets = body === undefined ? undefined : isRaw ? body : JSON.stringify(body)
    const all = {
      ...(key === null ? {} : { authorization: `Bearer ${key}` }),
      ...(octets === undefined ? {} : { 'content-type': type ?? 'application/json' }),
      ...headers,
    }
    return within(
      new Promise((resolve, reject) => {
        const to = { host: '127.0.0.1', port, ...(from === undefined ? {} : { localAddress: from }) }
        const asked = request({ ...to, method, path, headers: all, agent: false }, response => {
          let text = ''
          response.setEncoding('utf8').on('data', (piece: string) => {
            text += piece
          })
          response.on('end', () => {
            const isJson = /json$|json;/.test(response.headers['content-type'] ?? '')
            const json = isJson && !response.headers['content-type']?.includes('ndjson') ? JSON.parse(text) : undefined
            resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json })
          })
        })
        asked.on('error', reject)
        asked.end(octets)
      }),
      `${method} ${path}`,
      PATIENCE_MS,
    )
  }
}

/** The lines of an NDJSON answer. */
// biome-ignore lint/suspicious/noExplicitAny: tests look into it.
export const linesOf = (text: string): any[] =>
  text
    .trim()
    .split('\n')
    .map(line => JSON.parse(line))
