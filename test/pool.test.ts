// A carrier's pool of links while it runs: edited under load, on several hosts, refused, paused. The real daemon between a
// scripted customer and scripted carriers; each message has its number for a text, so what was lost or doubled is seen.

import type { Test } from 'tap'
import { status } from '../protocols/smpp/status.js'
import { type Esme, esme } from './support/esme.js'
import { house, story } from './support/house.js'
import { type Lodging, lodge, lodger, lodgersOn } from './support/lodging.js'
import type { Script, Smsc } from './support/smsc.js'
import { smsc } from './support/smsc.js'

/** A carrier that takes a while: there is always something in flight. */
const slow = (ms = 15): Script => ({ submit: sm => sm.later(ms, () => sm.deliver()) })

const texts = (...all: Smsc[]): number[] => all.flatMap(one => one.submitted.map(sm => Number(sm.text)))

const numbers = (count: number): number[] => Array.from({ length: count }, (_, n) => n)

const sorted = (all: number[]): number[] => [...all].sort((a, b) => a - b)

const reported = async (shop: Esme, count: number): Promise<number> =>
  new Set((await shop.take(count)).map(one => one.receipt.id)).size

/** A load: so many messages are on their way, a new one for each that is reported, until it is stopped; then how many there were. */
function load(t: Test, shop: Esme, most = 60): { stop(): Promise<number> } {
  const sent: Promise<unknown>[] = []
  let isOn = true
  const send = () => sent.push(shop.submit({ short_message: Buffer.from(String(sent.length)) }))
  shop.answer = () => {
    if (isOn) send()
    return status.ESME_ROK
  }
  for (let n = 0; n < most; n++) send()
  return {
    async stop() {
      isOn = false
      await Promise.all(sent)
      t.equal(await reported(shop, sent.length), sent.length, 'each is reported')
      return sent.length
    },
  }
}

const bound = (daemon: Lodging): number => daemon.lines('carrier bound').length

lodger('links are added and taken away under load, nothing is lost or doubled, and the others stay bound', async t => {
  const carrier = await smsc(t, slow())
  const edit = (links: number) => ({ carriers: { up: { at: carrier, window: 5, links } } })
  const daemon = await lodge(t, edit(1))
  await carrier.bound()
  const [first] = carrier.links
  const shop = await daemon.enter(t)
  const busy = load(t, shop)
  await carrier.until(() => carrier.submitted.length >= 50, 'a load')
  await daemon.apply(edit(4))
  await carrier.bound(4)
  await carrier.until(() => new Set(carrier.submitted.map(sm => sm.link)).size === 4, 'a load on all links')
  await daemon.apply(edit(2))
  await carrier.until(() => carrier.links.size === 2, 'two links')
  const count = await busy.stop()
  t.same(sorted(texts(carrier)), numbers(count))
  t.equal(carrier.connections, 4)
  t.ok(carrier.links.has(first as never), 'the first link was never let go')
  t.equal((await daemon.history(2 * count)).length, 2 * count)
})

lodger('another window, throughput, or meaning of a status holds at once, on the links that stand', async t => {
  let inFlight = 0
  let most = 0
  const carrier = await smsc(t, {
    submit: sm => {
      most = Math.max(most, ++inFlight)
      sm.later(15, () => {
        inFlight--
        sm.deliver()
      })
    },
  })
  const edit = (more: object) => ({ carriers: { up: { at: carrier, window: 4, ...more } } })
  const daemon = await lodge(t, edit({}))
  const shop = await daemon.enter(t)
  await carrier.bound()
  const busy = load(t, shop)
  await carrier.until(() => carrier.submitted.length >= 40, 'a load')
  t.equal(most, 4)
  await daemon.apply(edit({ window: 12 }))
  await carrier.until(() => most > 8, 'a wider window')
  t.ok(most <= 12)
  await daemon.apply(edit({ window: 12, throughput: 100 }))
  await daemon.line(() => daemon.lines('carrier changed').length === 2)
  const from = carrier.submitted.length
  const at = performance.now()
  await carrier.until(() => carrier.submitted.length >= from + 120, 'more')
  const tookMs = performance.now() - at
  t.ok(tookMs > 1_000, `120 at 100/s in ${Math.round(tookMs)} ms`)
  await daemon.apply(edit({ window: 50, statuses: { '0x8': 'refused' } }))
  await daemon.line(() => daemon.lines('carrier changed').length === 3)
  const count = await busy.stop()
  t.same(sorted(texts(carrier)), numbers(count))
  carrier.script = { submit: sm => sm.refuse(status.ESME_RSYSERR) }
  await shop.submit()
  t.match((await shop.next()).receipt, { stat: 'REJECTD' })
  t.equal(carrier.connections, 1)
})

lodger('a carrier moves to another host under load, link by link, and nothing is lost or doubled', async t => {
  const [old, young] = [await smsc(t, slow()), await smsc(t, slow())]
  const edit = (at: Smsc) => ({ carriers: { up: { at, window: 5, links: 3 } } })
  const daemon = await lodge(t, edit(old))
  await old.bound(3)
  const shop = await daemon.enter(t)
  const busy = load(t, shop)
  await old.until(() => old.submitted.length >= 50, 'a load')
  await daemon.apply(edit(young))
  await young.bound(3)
  await old.unbound()
  const count = await busy.stop()
  t.same(sorted(texts(old, young)), numbers(count))
  t.equal(young.connections, 3)
})

lodger('a carrier that takes no bind more than it has is rebound all the same', async t => {
  const carrier = await smsc(t, { ...slow(), bind: () => (carrier.links.size >= 2 ? status.ESME_RBINDFAIL : 0) })
  const edit = (systemType: string) => ({ carriers: { up: { at: carrier, window: 5, links: 2, systemType } } })
  const daemon = await lodge(t, edit('A'))
  await carrier.bound(2)
  const shop = await daemon.enter(t)
  const busy = load(t, shop)
  await carrier.until(() => carrier.submitted.length >= 30, 'a load')
  await daemon.apply(edit('B'))
  await daemon.line(() => bound(daemon) === 4)
  const count = await busy.stop()
  t.same(sorted(texts(carrier)), numbers(count))
})

lodger('links go on to the next host when theirs dies, and come back when it lives again', async t => {
  const [first, second] = [await smsc(t, slow()), await smsc(t, slow())]
  const hosts = [{ host: '127.0.0.1', port: second.port }]
  const daemon = await lodge(t, { carriers: { up: { at: first, window: 5, links: 3, hosts } } })
  await first.bound(3)
  const shop = await daemon.enter(t)
  const busy = load(t, shop)
  await first.until(() => first.submitted.length >= 50, 'a load')
  t.equal(second.connections, 0)
  await first.close()
  await second.bound(3)
  await second.until(() => second.submitted.length >= 50, 'a load on the next')
  const doubled = texts(first, second).length - new Set(texts(first, second)).size
  t.ok(doubled <= 15, `${doubled} were in flight, and went again`)
  await first.open()
  await first.bound(3)
  await second.unbound()
  const count = await busy.stop()
  const came = texts(first, second)
  t.equal(new Set(came).size, count)
  t.equal(came.length - count, doubled, 'coming back doubles nothing')
})

lodger(
  'a carrier that refuses its binds is asked by one link at a time, and bound by all when it takes them',
  async t => {
    let takes = false
    const carrier = await smsc(t, { bind: () => (takes ? 0 : status.ESME_RSYSERR) })
    const settings = { links: 8, reconnectMinMs: 100, reconnectMaxMs: 200 }
    const daemon = await lodge(t, { carriers: { up: { at: carrier, ...settings } } })
    await carrier.until(() => carrier.connections >= 12, 'twelve tries')
    const from = performance.now()
    const { connections } = carrier
    await carrier.until(() => carrier.connections >= connections + 5, 'five more')
    const tookMs = performance.now() - from
    t.ok(tookMs >= 5 * 140, `five tries in ${Math.round(tookMs)} ms`)
    takes = true
    await carrier.bound(8)
    t.equal((await daemon.daemon.get('/metrics')).status, 200)
  },
)

lodger(
  'a carrier that is paused under load sends nothing more and loses nothing, and resumed sends the rest',
  async t => {
    const carrier = await smsc(t, slow())
    const edit = (paused: boolean) => ({ carriers: { up: { at: carrier, window: 5, links: 2, paused } } })
    const daemon = await lodge(t, edit(false))
    await carrier.bound(2)
    const shop = await daemon.enter(t)
    const all = shop.submitAll(500)
    await carrier.until(() => carrier.submitted.length >= 50, 'a load')
    await daemon.apply(edit(true))
    await daemon.line('carrier paused')
    await all
    // What a link had sent may still be on its way to the carrier.
    while ((await daemon.metric('trunkline_carrier_in_flight', { carrier: 'up' })) > 0);
    const before = carrier.submitted.length
    t.equal(await reported(shop, before), before, 'what was in flight is answered and reported')
    t.equal(carrier.submitted.length, before)
    await daemon.apply(edit(false))
    t.equal(await reported(shop, 500 - before), 500 - before)
    t.same(sorted(texts(carrier)), numbers(500))
    t.equal(carrier.connections, 2)
  },
)

lodger('a carrier that is removed under load empties its windows, and what waits goes by the other', async t => {
  const [leaves, stays] = [await smsc(t, slow(400)), await smsc(t, slow())]
  const daemon = await lodge(t, {
    carriers: { leaves: { at: leaves, window: 5, links: 2 }, stays: { at: stays, window: 5 } },
  })
  await Promise.all([leaves.bound(2), stays.bound()])
  const shop = await daemon.enter(t)
  await shop.submitAll(200)
  await leaves.until(() => leaves.submitted.length >= 10, 'a load')
  await daemon.apply({ carriers: { stays: { at: stays, window: 5 } } })
  t.equal(await reported(shop, 200), 200)
  t.same(sorted(texts(leaves, stays)), numbers(200))
  await leaves.unbound()
})

story('each link keeps to a rate of its own, evenly', async t => {
  const at: number[] = []
  const carrier = await smsc(t, {
    submit: sm => {
      at.push(performance.now())
      sm.deliver()
    },
  })
  const daemon = await house(t, { carriers: { up: { at: carrier, window: 50, links: 2, linkThroughput: 50 } } })
  await carrier.bound(2)
  const shop = await esme(t, daemon.smpp)
  await shop.submitAll(120)
  await shop.take(120)
  const tookMs = (at[119] as number) - (at[0] as number)
  t.ok(tookMs >= 1_080, `120 over two links of 50/s in ${Math.round(tookMs)} ms`)
  const byLink = [...carrier.links].map(link => carrier.submitted.filter(sm => sm.link === link).length)
  t.ok(
    byLink.every(n => n >= 45 && n <= 75),
    `${byLink}`,
  )
  const most = Math.max(...at.map((from, n) => at.slice(n).findIndex(ms => ms > from + 100)))
  t.ok(most <= 40, `${most} within a tenth of a second`)
})

story('a carrier that takes 100 a second and throttles the rest is sent little more, and nothing is lost', async t => {
  let tokens = 10
  let atMs = performance.now()
  let throttled = 0
  const carrier = await smsc(t, {
    submit: sm => {
      const now = performance.now()
      tokens = Math.min(10, tokens + (now - atMs) / 10)
      atMs = now
      if (tokens >= 1) {
        tokens--
        sm.deliver()
      } else {
        throttled++
        sm.refuse(status.ESME_RTHROTTLED)
      }
    },
  })
  const daemon = await house(t, { carriers: { up: { at: carrier, window: 50 } } })
  await carrier.bound()
  const shop = await esme(t, daemon.smpp)
  await shop.submitAll(400)
  const from = performance.now()
  t.equal(await reported(shop, 400), 400)
  const tookMs = performance.now() - from
  t.ok(tookMs < 14_000, `400 at 100/s in ${Math.round(tookMs)} ms`)
  t.ok(throttled < 250, `${throttled} throttled`)
})

lodgersOn('carriers are edited on one daemon, and no edit is felt by another')

lodger('an edit that names a dead host or a wrong password leaves the bind that stands, until it is right', async t => {
  const carrier = await smsc(t, { bind: ({ password }) => (password === 'wrong' ? status.ESME_RINVPASWD : 0) })
  const other = await smsc(t)
  const dead = await smsc(t)
  await dead.close()
  const edit = (more: object) => ({ carriers: { up: { at: carrier, ...more } } })
  const daemon = await lodge(t, edit({}))
  await carrier.bound()
  const shop = await daemon.enter(t)
  await daemon.apply(edit({ password: 'wrong' }))
  await daemon.line('carrier refuses our credentials')
  await shop.submit()
  await shop.next()
  await daemon.apply(edit({ port: dead.port }))
  await shop.submit()
  await shop.next()
  t.equal(carrier.submitted.length, 2)
  await daemon.apply(edit({ port: other.port }))
  await other.bound()
  await carrier.unbound()
  await shop.submit()
  await shop.next()
  t.equal(other.submitted.length, 1)
})

lodger('refused credentials stop a carrier after so many tries, and an edit or a resume starts it again', async t => {
  let right = 'other'
  const carrier = await smsc(t, { bind: ({ password }) => (password === right ? 0 : status.ESME_RINVPASWD) })
  const edit = (more: object) => ({ carriers: { up: { at: carrier, links: 2, refusedBinds: 1, ...more } } })
  const daemon = await lodge(t, edit({}))
  const stop = 'carrier refuses our credentials: not tried again until it is changed or resumed'
  t.match(await daemon.line(stop), { carrier: 'up', reason: 'refused: ESME_RINVPASWD' })
  const { body } = await daemon.daemon.get('/api/v1/admin/status')
  t.match(JSON.parse(body).carriers.find(({ name }: { name: string }) => name === daemon.named('up')).links[0], {
    stand: 'closed',
    last_reason: /^stands still: /,
  })
  t.ok(carrier.connections <= 2, `${carrier.connections} tries`)
  await daemon.apply(edit({ password: 'other' }))
  await carrier.bound(2)

  // Its password changes there, and comes to be ours again.
  right = 'third'
  const from = daemon.log.length
  for (const link of carrier.links) link.drop()
  await daemon.line(stop, from)
  right = 'other'
  await daemon.apply(edit({ password: 'other', paused: true }))
  await daemon.line('carrier paused')
  await daemon.apply(edit({ password: 'other', paused: false }))
  await carrier.bound(2)
})

lodgersOn('carriers that refuse our credentials are left alone, on one daemon', { expected: /credentials/ })
