// Webhooks against a queue in memory and real HTTP servers: who gets a place, in which order, and what becomes of events
// when nothing can be written.

import t, { type Test } from 'tap'
import { Reach } from '../protocols/net/reach.js'
import { accountOfHook, type Hook, hookQueue, hookSettings } from '../src/accounts/hooks.js'
import { systemClock } from '../src/base/clock.js'
import { Counters } from '../src/base/figures.js'
import { Webhooks, type WebhooksHost } from '../src/returns/webhook.js'
import { type Report, type Spool, type Way, way } from '../src/spool/contract.js'
import { Waiting } from './support/peer.js'
import { silent } from './support/postgres.js'
import { type Receiver, receiver, SECRET } from './support/receiver.js'

/** Queues that keep nothing, as the outbox would hand them out. */
class Queues {
  readonly done: string[] = []
  readonly waiting = new Waiting()
  private readonly reports: Report[] = []
  private seq = 0

  add(of: number, id: string): void {
    const event = { id, type: 'some.thing', atMs: 0, data: '{}' }
    this.reports.push({ seq: ++this.seq, way: way.hook, account: of, kind: 'event', atMs: Date.now(), event })
  }

  claimReports(of: number, n: number, by: Way): Report[] {
    const found = this.reports.filter(one => one.account === of && one.way === by).slice(0, n)
    for (const one of found) this.reports.splice(this.reports.indexOf(one), 1)
    return found
  }

  reportDone({ event }: Report): void {
    this.done.push(event?.id ?? '')
    this.waiting.look()
  }

  giveBackReport(report: Report): void {
    this.reports.unshift(report)
  }

  reportAccounts(): number[] {
    return [...new Set(this.reports.map(one => one.account))]
  }

  settled(count: number): Promise<true> {
    return this.waiting.until(
      () => this.done.length >= count || undefined,
      () => `${count} events done: ${this.done.join()}`,
    )
  }
}

function open(t: Test, hooks: readonly Hook[], more: Partial<WebhooksHost> = {}) {
  const queues = new Queues()
  const counters = new Counters()
  const webhooks = new Webhooks({
    spool: queues as unknown as Spool,
    clock: systemClock,
    counters,
    log: silent,
    identity: 'here',
    textOf: () => null,
    reach: new Reach(['127.0.0.0/8']),
    random: () => 0.5,
    retryMs: [30, 60],
    keepMs: 60_000,
    disableAfterMs: 3_600_000,
    hook: of => hooks.find(hook => hook.of === of),
    secretsOf: () => [SECRET],
    callbackSecret: () => SECRET,
    isPacked: () => false,
    disable: async () => {},
    putAside: async () => {},
    fault: error => t.fail(error as Error),
    ...more,
  })
  t.teardown(() => webhooks.stop(0))
  return { queues, webhooks, counters }
}

const hookTo = ({ url }: Receiver, of: number, settings: object = {}): Hook => ({
  id: of,
  account: accountOfHook(of),
  of,
  url: `${url}/${of}`,
  events: [],
  secret: Buffer.alloc(0),
  oldSecret: null,
  oldUntilMs: 0,
  disabled: null,
  settings: hookSettings.parse(settings),
})

t.test(
  'an account whose receivers never answer leaves places for the others, and those that found none get theirs',
  async t => {
    const stalls = await receiver(t)
    const answers = await receiver(t)
    stalls.answer = () => undefined
    const slow = [0, 1, 2, 3, 4].map(slot =>
      hookTo(stalls, hookQueue(1, slot), { atOnce: 64, timeoutMs: 700, attempts: 1 }),
    )
    const good = hookTo(answers, hookQueue(2, 0))
    const { queues, webhooks } = open(t, [...slow, good])
    for (const { of } of slow) for (let n = 0; n < 40; n++) queues.add(of, `slow ${of} ${n}`)
    webhooks.start()
    await stalls.first(100)
    for (let n = 0; n < 20; n++) queues.add(good.of, `good ${n}`)
    webhooks.pump(good.of, way.hook)
    await answers.first(20)
    t.ok(stalls.told.length <= 128, `${stalls.told.length} of 256 places are the account's that never answers`)
    await stalls.first(140)
    const told = new Set(stalls.told.map(one => one.path))
    t.equal(told.size, slow.length, 'each of its receivers has had a turn')
  },
)

t.test('one at a time keeps events in their order, whatever fails', async t => {
  const one = await receiver(t)
  const hook = hookTo(one, hookQueue(1, 0), { atOnce: 1 })
  const { queues, webhooks } = open(t, [hook])
  let failures = 2
  one.answer = ({ id }) => (id === 'b' && failures-- > 0 ? 500 : 204)
  for (const id of ['a', 'b', 'c', 'd']) queues.add(hook.of, id)
  webhooks.start()
  await queues.settled(4)
  t.same(
    one.told.map(({ id }) => id),
    ['a', 'b', 'b', 'b', 'c', 'd'],
  )
  t.same(queues.done, ['a', 'b', 'c', 'd'])
})

t.test('an event is not lost while nothing can be put aside and nothing switched off', async t => {
  const one = await receiver(t)
  const hook = hookTo(one, hookQueue(1, 0))
  let isAway = true
  const { queues, webhooks, counters } = open(t, [hook], {
    disable: () => Promise.reject(new Error('the database is away')),
    putAside: () => (isAway ? Promise.reject(new Error('the database is away')) : Promise.resolve()),
  })
  one.answer = () => (one.told.length < 2 ? 410 : 204)
  queues.add(hook.of, 'a')
  webhooks.start()
  await queues.settled(1)
  t.equal(one.told.length, 2, 'it was tried again, though its webhook should have been switched off')
  isAway = false
  t.equal(counters.get('webhooks_put_aside'), 0)
})

t.test('a test says what came of it and leaves nothing behind', async t => {
  const one = await receiver(t)
  const hook = hookTo(one, hookQueue(1, 0), { timeoutMs: 200 })
  const { webhooks, queues } = open(t, [hook])
  t.match(await webhooks.test(hook), { status: 204, reason: null })
  t.match(one.told, [{ type: 'webhook.test', isSigned: true, data: { webhook: hook.id } }])
  one.answer = () => 503
  t.match(await webhooks.test(hook), { status: 503, reason: 'HTTP 503' })
  one.answer = () => undefined
  t.match(await webhooks.test(hook), { status: null, reason: 'TIMEOUT' })
  t.match(await webhooks.test({ ...hook, url: 'https://10.0.0.1/' }), { status: null, reason: 'OUT_OF_REACH' })
  await one.close()
  t.match(await webhooks.test(hook), { status: null, reason: 'ECONNREFUSED' })
  t.same(queues.done, [])
})

t.test('a receiver that is left alone is tried at once when it is asked for', async t => {
  const one = await receiver(t)
  const hook = hookTo(one, hookQueue(1, 0), { atOnce: 1 })
  let warn = (): void => {}
  const failed = new Promise<void>(resolve => {
    warn = resolve
  })
  const { queues, webhooks } = open(t, [hook], {
    retryMs: [60_000],
    log: { ...silent, warn: () => setImmediate(warn) },
  })
  one.answer = () => (one.told.length <= 1 ? 500 : 204)
  queues.add(hook.of, 'a')
  webhooks.start()
  await failed
  webhooks.wake(hook)
  await queues.settled(1)
})

t.test('a stop waits for answers no longer than it is given, and what was not answered is kept', async t => {
  const one = await receiver(t)
  one.answer = () => undefined
  const hook = hookTo(one, hookQueue(1, 0))
  const { queues, webhooks } = open(t, [hook])
  for (const id of ['a', 'b']) queues.add(hook.of, id)
  webhooks.start()
  await one.first(2)
  const fromMs = performance.now()
  await webhooks.stop(100)
  const tookMs = performance.now() - fromMs
  t.ok(tookMs >= 90 && tookMs < 5_000, `${tookMs} ms`)
  t.same(queues.done, [], 'neither is done: both go again after the next start')
})
