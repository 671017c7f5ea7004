// A daemon that takes mail, and the two ways in which tests talk to it: line by line with the codes that are wanted, and
// over a client whose replies are all checked against the grammar (G-1). Knows no test.
import type { Test } from 'tap'
import { type House, house } from './house.js'
import { MailClient } from './mailClient.js'
import { type Smsc, type Submitted, smsc } from './smsc.js'

export const NUMBER = '4915112345678'
export const RCPT = `RCPT TO:<${NUMBER}@sms.localhost>`
export const FROM = 'MAIL FROM:<alerts@shop.example>'

/** A daemon that takes mail, and its carrier. */
export async function mailHouse(
  t: Test,
  smtp: object = {},
  accounts: Record<string, object> = { shop: {} },
): Promise<{ daemon: House; port: number; carrier: Smsc }> {
  const carrier = await smsc(t)
  const config = { smtp: { listen: '127.0.0.1:0', hostname: 'mx.example.com', ...smtp } }
  const daemon = await house(t, { accounts, carriers: { up: carrier }, config })
  await carrier.bound()
  return { daemon, port: (await daemon.line('ready')).smtp as number, carrier }
}

/** The text as the phone shows it. */
export function textOf({ fields }: Submitted): string {
  const { short_message: octets, data_coding, esm_class } = fields
  const body = esm_class & 0x40 ? octets.subarray((octets[0] as number) + 1) : octets
  return data_coding === 8 ? Buffer.from(body).swap16().toString('utf16le') : body.toString('latin1')
}

/** Tests over clients that are ready; what they say is checked against the grammar of replies (G-1). */
export function over(t: Test, port: number) {
  return async (title: string, tell: (t: Test, client: MailClient) => Promise<void>, user: string | null = 'shop') => {
    await t.test(title, async t => {
      const client = await MailClient.ready(t, port, user)
      await tell(t, client)
      t.same(client.wrong, [], 'G-1: every reply is well formed')
      client.socket.destroy()
    })
  }
}

/** Says each line and compares the codes, enhanced ones where they are given. */
export async function says(t: Test, client: MailClient, cases: readonly (readonly [line: string, starts: string])[]) {
  for (const [line, starts] of cases) {
    const said = await client.say(line)
    t.ok(said.startsWith(starts), `${JSON.stringify(line.slice(0, 80))}: ${said.slice(0, 80)}, wanted ${starts}`)
  }
}
