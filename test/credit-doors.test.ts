// What the doors do with messages that wait until it is known whether there is credit for them: units with a spool that is a
// list, and money that answers when it is told to.

import t from 'tap'
import { command } from '../protocols/smpp/commands.js'
import { decodePdu, encodePdu } from '../protocols/smpp/pdu.js'
import { statusName } from '../protocols/smpp/status.js'
import type { Reply } from '../protocols/smtp/replies.js'
import type { Account } from '../src/accounts/account.js'
import { Limits } from '../src/accounts/limits.js'
import { readMailProfile } from '../src/accounts/mailProfile.js'
import { noQuota } from '../src/accounts/quota.js'
import { readProfile } from '../src/accounts/smppProfile.js'
import { ManualClock } from '../src/base/clock.js'
import { Counters } from '../src/base/figures.js'
import type { MailCustomer, MailHost } from '../src/intake/mail/customer.js'
import { Duplicates } from '../src/intake/mail/duplicates.js'
import { Incoming } from '../src/intake/mail/incoming.js'
import { type Asker, Operations } from '../src/intake/smpp/operations.js'
import { Door } from '../src/intake/submit.js'
import { sendBody } from '../src/intake/web/fields.js'
import { WebSender } from '../src/intake/web/sender.js'
import type { Message } from '../src/model/message.js'
import { Tally } from '../src/model/tally.js'
import { QuietHours } from '../src/routing/quietHours.js'
import type { RouteTable } from '../src/routing/table.js'
import type { Spool } from '../src/spool/contract.js'
import { unguarded } from './support/unguarded.js'

const NOW = Date.UTC(2026, 10, 20)
const PHONE = '12025550123'

/** A house of one account that has a tariff, and may be told what it has. */
function rooms() {
  const clock = new ManualClock(NOW)
  const taken: Message[] = []
  const waiting: ((again: boolean) => void)[] = []
  let ids = 0
  const house = {
    clock,
    taken,
    /** Messages that there is room for. */
    room: 1_000,
    credit: 'wait' as 'held' | 'wait' | 'short',
    get waits(): number {
      return waiting.length
    },
    /** Whoever waits submits once more; resolves when all that follows has happened. */
    async tell(credit: 'held' | 'wait' | 'short'): Promise<void> {
      house.credit = credit
      for (const told of waiting.splice(0)) told(true)
      for (let i = 0; i < 5; i++) await new Promise(setImmediate)
    },
  }
  const account = {
    ...{ id: 7, systemId: 'shop', suspended: null, senders: null, rank: 1, serviceTypes: new Map(), throughput: 0 },
    ...{ maxWaiting: null, quota: noQuota, tariff: 1, creditMicros: 0 },
    ...{ smpp: readProfile({}), mail: readMailProfile({}) },
  } as unknown as Account
  const spool = {
    refusal: (_account: number, _most: number | null, n: number) =>
      taken.length + n > house.room ? 'account_full' : undefined,
    takeIds: (count: number) => Array.from({ length: count }, () => ++ids),
    commit: (m: Message) => {
      m.id ||= ++ids
      taken.push(m)
    },
    afterSync: (then: () => void) => setImmediate(then),
    ...{ synced: async () => {}, keep: () => {}, kept: () => undefined, find: () => undefined, present: () => [] },
  } as unknown as Spool
  const door = new Door({
    ...{ spool, clock, limits: new Limits(), tally: new Tally(), ...unguarded },
    routes: { match: () => ({ id: 1, to: [] }) } as unknown as RouteTable,
    lifetimes: { otpMs: 1_000, transactionalMs: 1_000, bulkMs: 1_000 },
    quiet: new QuietHours({ everywhere: null, countries: new Map() }, new Counters()),
    money: {
      segmentMicros: () => 1,
      hold: () => house.credit,
      release: () => {},
      ready: () => new Promise(told => waiting.push(told)),
    },
  })
  return Object.assign(house, { account, spool, door })
}

t.test('a mail that comes twice while it waits for credit is sent once, and both are answered with its id', async t => {
  const all = rooms()
  const counts = new Map<string, number>()
  const host = {
    ...{ door: all.door, duplicates: new Duplicates(() => 0), hostname: 'a.example', now: () => NOW },
    count: (name: string, by = 1) => counts.set(name, (counts.get(name) ?? 0) + by),
    noted: () => {},
    fault: (error: unknown) => t.fail(String(error)),
  } as unknown as MailHost
  const sender = { mailbox: { local: 'a', domain: 'b.example' }, size: null, utf8: false, ret: null, envid: null }
  const to = { number: PHONE, recipient: { mailbox: sender.mailbox, notify: null, orcpt: null } }
  const once = (): Promise<Reply> => {
    const mail = new Incoming(host, { mails: 0 } as MailCustomer, all.account, sender, [to], [], '1000')
    mail.write(Buffer.from('Message-ID: <one@b.example>\r\nSubject: x\r\n\r\nhello\r\n'))
    return new Promise(answer => mail.end(answer))
  }
  const replies = [once(), once()]
  t.equal(all.waits, 2)
  await all.tell('held')
  t.equal(all.taken.length, 1)
  const id = all.taken[0]?.id
  t.match(JSON.stringify(await Promise.all(replies)), new RegExp(`queued as ${id}.*sent before as ${id}`))
  t.equal(counts.get('mail_duplicates'), 1)
})

t.test('what waits for credit has its room, and is refused where others have taken it all the same', async t => {
  const all = rooms()
  const sender = new WebSender({
    ...{ door: all.door, clock: all.clock, hasEnded: async () => false },
    templates: { find: () => ({}) as never, used: () => {}, refused: () => {} } as never,
  })
  all.room = 10
  const numbers = Array.from({ length: 8 }, (_, i) => `+1202555012${i}`)
  const fields = sendBody.parse({ to: PHONE, message: 'x' })
  const batch = sender.send(all.account, fields, numbers)
  const more = await sender.send(all.account, fields, numbers.slice(0, 3))
  t.match(more, { code: 'queue_full' }, 'eight of ten places are spoken for')
  const fits = sender.send(all.account, fields, numbers.slice(0, 2))
  // Other doors do not know of them.
  all.room = 9
  await all.tell('held')
  const [one, two] = await Promise.all([batch, fits])
  if ('code' in one || 'code' in two) throw new Error('refused whole')
  const faults = (sent: typeof one): Record<string, number> => {
    const found: Record<string, number> = {}
    for (const { fault } of sent.messages) found[fault?.code ?? ''] = (found[fault?.code ?? ''] ?? 0) + 1
    return found
  }
  t.ok(all.taken.length <= 9, `${all.taken.length} taken`)
  t.same([faults(one), faults(two)], [{ '': 8 }, { queue_full: 2 }])
})

t.test('a submit_multi that waits for credit keeps its place before others, and asks once more for room', async t => {
  const all = rooms()
  const operations = new Operations({
    ...{ door: all.door, clock: all.clock, counters: new Counters(), node: 0, aliasMs: 1, peerWindow: 1_000 },
    ended: async () => undefined,
    fault: error => t.fail(String(error)),
  })
  const answers = new Map<number, string>()
  const asker = {
    ...{ accountId: 7, account: all.account, interfaceVersion: 0x34, idForm: 'decimal', transactions: 0 },
    ...{ awaitsCredit: false, awaitCredit: () => t.fail('no list does'), took: () => {} },
    answerStatus: (_id: number, code: number, n: number) => answers.set(n, statusName(code)),
    answerPdu: (pdu: Buffer) => {
      const read = decodePdu(pdu, 0, pdu.length)
      const failed = read.ok ? (read.fields as { unsuccess_sme?: unknown[] }).unsuccess_sme?.length : -1
      answers.set(pdu.readUInt32BE(12), `${statusName(pdu.readUInt32BE(8))} ${failed}`)
    },
  } as unknown as Asker
  const ask = async (sequence: number, count: number): Promise<void> => {
    const dest_address = Array.from({ length: count }, (_, i) => ({
      ...{ dest_flag: 1 as const, dest_addr_ton: 1, dest_addr_npi: 1, destination_addr: `1202555${1_000 + i}` },
    }))
    const fields = { source_addr: '1000', dest_address, short_message: Buffer.from('x') }
    const pdu = encodePdu(command.submit_multi, 0, sequence, fields)
    operations.request(asker, command.submit_multi, sequence, pdu, 0, pdu.length)
    for (let i = 0; i < 3; i++) await new Promise(setImmediate)
  }
  all.room = 20
  await ask(1, 15)
  t.equal(all.waits, 1)
  await ask(2, 10)
  t.equal(answers.get(2), 'ESME_RMSGQFUL')
  all.room = 14
  await all.tell('held')
  t.same([answers.get(1), all.taken.length], ['ESME_RSUBMITFAIL 15', 0])
  all.room = 20
  all.credit = 'wait'
  await ask(3, 20)
  await all.tell('held')
  t.same([answers.get(3), all.taken.length], ['ESME_ROK 0', 20])
})
