// How long answers about codes take, whatever is wrong with them: LONG=1 alone, for it is measured, and on a machine that does
// nothing else.

import { Agent, request } from 'node:http'
import t from 'tap'
import { house, story } from './support/house.js'
import { receiver, SECRET } from './support/receiver.js'
import { smsc } from './support/smsc.js'

const SAMPLES = 2_000
const KEY = 'tl_shop_0123456789abcdef0123456789abcdef'
/** What does not show over a network. */
const NOISE_MS = 0.1

if (process.env.LONG) {
  t.setTimeout(600_000)
  story('right, wrong, misnamed, expired and unknown codes are answered in the same time', async t => {
    t.setTimeout(600_000)
    const carrier = await smsc(t)
    const told = await receiver(t)
    const webhooks = [{ url: told.url, secret: SECRET, events: ['otp.expired'] }]
    const daemon = await house(t, {
      accounts: { shop: { apiKey: KEY, otp: { guard: false }, webhooks } },
      carriers: { up: carrier },
      config: {
        admin: { listen: '127.0.0.1:0' },
        webhooks: { allow: ['127.0.0.0/8'] },
        otp: { cooldownMs: 0, perDay: 10_000, perHour: 1_000, expiryMs: 600_000 },
      },
    })
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    t.teardown(() => agent.destroy())
    const ask = (path: string, body: object): Promise<{ session_id: string }> =>
      new Promise((resolve, reject) => {
        const headers = { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' }
        const at = {
          host: '127.0.0.1',
          port: daemon.admin,
          path: `/api/v1/otp/${path}`,
          method: 'POST',
          headers,
          agent,
        }
        const asked = request(at, response => {
          let text = ''
          response.setEncoding('utf8').on('data', piece => {
            text += piece
          })
          response.on('end', () => resolve(JSON.parse(text)))
        })
        asked.on('error', reject)
        asked.end(JSON.stringify(body))
      })
    const none = (): number[] => []
    const times = { right: none(), wrong: none(), misnamed: none(), expired: none(), unknown: none() }
    // Each names an address: whether it is the session's must not show.
    const timed = async (
      what: keyof typeof times,
      session_id: string,
      otp_code: string,
      email = 'a@shop.example',
    ): Promise<void> => {
      const from = performance.now()
      await ask('verify', { session_id, otp_code, email })
      times[what].push(performance.now() - from)
    }
    const begin = async (n: number, more: object = {}): Promise<{ session_id: string; code: string }> => {
      const phone_number = `+4915${String(n).padStart(8, '0')}`
      const workflow = [{ channel: 'sms' }, { channel: 'email' }]
      const { session_id } = await ask('generate', { phone_number, email: 'a@shop.example', workflow, ...more })
      return { session_id, code: /\d{6}/.exec((await carrier.next()).text)?.[0] as string }
    }
    const old = await begin(2 * SAMPLES, { expiry_minutes: 1 })
    // A minute, in which everything gets warm.
    while (told.told.length === 0) await ask('verify', { session_id: 'otp_nobodys', otp_code: old.code })
    t.match(await told.first(1), [{ type: 'otp.expired', data: { session_id: old.session_id } }])
    for (let n = 0; n < SAMPLES; n++) {
      const [mine, other] = [await begin(2 * n), await begin(2 * n + 1)]
      const asked: (() => Promise<void>)[] = [
        () => timed('wrong', other.session_id, '12345x'),
        () => timed('misnamed', other.session_id, other.code, 'b@shop.example'),
        () => timed('unknown', mine.session_id.split('').reverse().join(''), mine.code),
        () => timed('expired', old.session_id, old.code),
        () => timed('right', mine.session_id, mine.code),
      ]
      // Whichever comes first finds more to be done beside it.
      for (let k = 0; k < asked.length; k++) await asked[(n + k) % asked.length]?.()
    }
    const medians = Object.entries(times).map(([what, all]) => [what, all.sort((a, b) => a - b)[SAMPLES >> 1]] as const)
    t.comment(`medians of ${SAMPLES}, ms: ${medians.map(([what, ms]) => `${what} ${ms?.toFixed(3)}`).join(', ')}`)
    const all = medians.map(([, ms]) => ms as number)
    const spread = Math.max(...all) - Math.min(...all)
    t.ok(spread < NOISE_MS + Math.min(...all) * 0.1, `${spread.toFixed(3)} ms between the quickest and the slowest`)
  })
} else t.test('answers about codes take the same time', { skip: 'LONG=1 measures it' }, async () => {})
