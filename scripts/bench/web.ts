// Figure 11: applications over HTTP. How fast one message a request and a thousand a request are taken, durably; and how
// long reads take while SMPP runs beside them, which must not feel it either. What is taken goes to the simulator.

import { count as grouped } from '../../src/cli/print.js'
import { ask, type HttpFigures } from './http.js'
import type { Measure } from './report.js'
import type { Run } from './run.js'
import { PASSWORD, SENDER, type Tools } from './tools.js'

const KEY = 'tl_bench_0123456789abcdef0123456789abcdef'
const SENDS = 100_000
const SEND_CONNECTIONS = 64
const BATCHES = 500
const BATCH = 1_000
const BATCH_CONNECTIONS = 8
const READS_S = 30
const READS_PER_S = 100
const READ_CONNECTIONS = 16
const PACE = 5_000
const WARM_UP = 5_000

const GATEWAY = {
  accounts: [{ systemId: SENDER, password: PASSWORD, throughput: 0, maxBinds: 100, credit: 'unlimited', apiKey: KEY }],
  carriers: [{ name: 'up', kind: 'simulator' }],
  routes: [{ match: {}, to: ['up'] }],
}

/** Figure 11. */
export async function overHttp(run: Run, tools: Tools): Promise<Measure[]> {
  const [sends, batches] = [run.count(SENDS), run.count(BATCHES)]
  const seconds = Math.max(5, run.count(READS_S))
  return run.inGateway({ gateway: GATEWAY }, async gateway => {
    const at = { port: gateway.adminPort, key: KEY, rate: 0 }
    const send = (count: number) =>
      ask({ ...at, count, connections: SEND_CONNECTIONS, request: n => ({ line: SEND, body: sendBody(n) }) })
    run.say('warming up')
    await send(WARM_UP)
    run.say(`${grouped(sends)} requests of a message`)
    const single = await send(sends)
    judged(run, 'sms/send', single)
    await gateway.settled()

    run.say(`${grouped(batches)} requests of ${grouped(BATCH)} messages`)
    const many = await ask({
      ...at,
      count: batches,
      connections: BATCH_CONNECTIONS,
      request: n => ({ line: 'POST /api/v1/sms/send-batch', body: batchBody(n) }),
    })
    judged(run, 'sms/send-batch', many)
    await gateway.settled(true)

    run.say(`${seconds} s at ${grouped(PACE)} msg/s, and reads`)
    const { message_ids: ids } = JSON.parse((await send(1)).last) as { message_ids: string[] }
    const reads = [`GET /api/v1/sms/${ids[0]}`, 'GET /api/v1/sms?limit=50', 'GET /api/v1/auth/me']
    const [read, smpp] = await Promise.all([
      ask({
        ...at,
        count: READS_PER_S * seconds,
        connections: READ_CONNECTIONS,
        rate: READS_PER_S,
        request: n => ({ line: reads[n % reads.length] as string, body: '' }),
      }),
      run.load(gateway, tools, { count: PACE * seconds, rate: PACE, receipts: 'awaited' }),
    ])
    judged(run, 'reads', read)
    return [
      { what: 'sms/send, a message a request', unit: 'requests/s', least: 4_000, value: single.rate },
      { what: 'the same: p99', unit: 'ms', value: single.p99Ms },
      { what: `sms/send-batch, ${grouped(BATCH)} a request`, unit: 'msg/s', least: 20_000, value: many.rate * BATCH },
      { what: `reads beside SMPP at ${grouped(PACE)} msg/s: p99`, unit: 'ms', most: 50, value: read.p99Ms },
      { what: 'the same: p50', unit: 'ms', value: read.p50Ms },
      { what: 'the same: submit_sm_resp p99', unit: 'ms', most: 10, value: smpp.p99Ms },
    ]
  })
}

const SEND = 'POST /api/v1/sms/send'
/** Numbers of no magic. */
const number = (n: number): string => `4915${String(10_000_000 + (n % 89_999_999))}`
const sendBody = (n: number): string => JSON.stringify({ to: number(n), message: `Your order ${n} is on its way.` })
const batchBody = (n: number): string =>
  JSON.stringify({
    name: `batch ${n}`,
    message: 'The sale begins tomorrow.',
    recipients: Array.from({ length: BATCH }, (_, i) => number(n * BATCH + i)),
  })

function judged(run: Run, what: string, { others, last }: HttpFigures): void {
  for (const [status, times] of others) run.fault(`${what}: ${times} answers ${status}, the last answer is ${last}`)
}
