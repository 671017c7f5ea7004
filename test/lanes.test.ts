// Who is served next when many wait for the same carrier, and what moves when routes do: counts and order of what a
// scripted carrier gets from the real daemon. How fast it is, the benchmark tells.

import t from 'tap'
import { type Esme, esme } from './support/esme.js'
import { house, story } from './support/house.js'
import { Waiting } from './support/peer.js'
import { type Smsc, type Submitted, smsc } from './support/smsc.js'

t.jobs = 3

/** One class each; the two that send bulk differ in weight. */
const accounts = {
  codes: { class: 'otp' },
  shop: { class: 'transactional' },
  news: { class: 'bulk', weight: 1 },
  big: { class: 'bulk', weight: 3 },
}
type Name = keyof typeof accounts

const nameOf = (sm: Submitted): string => sm.text.split(' ')[0] as string

/** How many of each account are among them. */
function shares(sent: readonly Submitted[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const sm of sent) counts[nameOf(sm)] = (counts[nameOf(sm)] ?? 0) + 1
  return counts
}

/** Submits numbered texts that begin with the account's name, each to another number. */
async function submit(from: Esme, name: string, prefix: string, count: number): Promise<void> {
  const answers = await Promise.all(
    Array.from({ length: count }, (_, n) =>
      from.submit({
        destination_addr: `${prefix}${String(n).padStart(9, '0')}`,
        short_message: Buffer.from(`${name} ${n}`),
        registered_delivery: 0,
      }),
    ),
  )
  const refused = answers.find(({ status }) => status !== 'ESME_ROK')
  if (refused) throw new Error(refused.status)
}

/** A carrier that answers when it is told to. */
function slow(carrier: Smsc, waiting = new Waiting()) {
  const open: Submitted[] = []
  carrier.script.submit = sm => {
    open.push(sm)
    waiting.look()
  }
  return {
    /** Resolves when so many are unanswered. */
    holds: (count: number) =>
      waiting.until(
        () => (open.length === count ? true : undefined),
        () => `${count} unanswered, there are ${open.length}`,
      ),
    /** Answers the oldest. */
    answer: () => open.shift()?.accept(),
    answerAll() {
      carrier.script.submit = sm => {
        sm.accept()
        waiting.look()
      }
      for (const sm of open.splice(0)) sm.accept()
    },
  }
}

story('higher classes go first, lower ones keep a share, and accounts take turns by their weight', async t => {
  const carrier = await smsc(t, { submit: sm => sm.accept() })
  await carrier.close()
  const daemon = await house(t, { accounts, carriers: { up: { at: carrier, links: 1, window: 1 } } })
  const [codes, shop, news, big] = await Promise.all(
    (['codes', 'shop', 'news', 'big'] as Name[]).map(systemId => esme(t, daemon.smpp, { systemId })),
  )
  // Bulk first: what waits longer has no right to go before a higher class.
  await submit(news as Esme, 'news', '4915', 100)
  await submit(big as Esme, 'big', '4915', 100)
  await submit(shop as Esme, 'shop', '4915', 60)
  await submit(codes as Esme, 'codes', '4915', 100)
  await carrier.open()

  const first = shares(await carrier.take(100))
  const { codes: otps = 0, shop: receipts = 0, news: some = 0, big: others = 0 } = first
  t.ok(otps >= 88, `the highest class goes first: ${otps} of 100`)
  t.ok(receipts >= 4, `one in twenty is of the next: ${receipts}`)
  t.ok(some + others >= 4, `and one of the lowest: ${some + others}`)
  const second = shares(await carrier.take(60))
  t.ok((second.shop ?? 0) >= 42, `then the next class: ${second.shop} of 60`)
  const third = await carrier.take(90)
  const last = third.filter(sm => nameOf(sm) !== 'shop')
  const { big: heavy = 0 } = shares(last)
  t.ok(
    Math.abs(heavy / last.length - 0.75) < 0.05,
    `three of four are of the heavier account: ${heavy} of ${last.length}`,
  )
  await carrier.take(110)
  t.same(shares(carrier.submitted), { codes: 100, shop: 60, news: 100, big: 100 }, 'all of them, once')
  for (const name of Object.keys(accounts)) {
    const order = carrier.submitted.filter(sm => nameOf(sm) === name).map(sm => Number(sm.text.split(' ')[1]))
    t.same(
      order,
      order.toSorted((a, b) => a - b),
      `${name}: in the order in which they came`,
    )
  }
})

story('an otp goes next, whatever of lower classes waits for the window, the pace or the weighted share', async t => {
  const [full, paced, one, two] = [await smsc(t), await smsc(t), await smsc(t), await smsc(t)] as const
  const window = slow(full)
  const both = new Waiting()
  const ones = slow(one, both)
  const twos = slow(two, both)
  paced.script.submit = sm => sm.accept()
  const daemon = await house(t, {
    accounts,
    carriers: {
      full: { at: full, links: 2, window: 2 },
      paced: { at: paced, links: 1, window: 100, throughput: 50 },
      one: { at: one, links: 1, window: 2 },
      two: { at: two, links: 1, window: 2 },
    },
    routes: [
      { match: { destination: '49' }, to: ['full'] },
      { match: { destination: '33' }, to: ['paced'] },
      {
        match: { destination: '44' },
        to: [
          { carrier: 'one', weight: 1 },
          { carrier: 'two', weight: 1 },
        ],
      },
    ],
  })
  await Promise.all([full.bound(2), paced.bound(), one.bound(), two.bound()])
  const codes = await esme(t, daemon.smpp, { systemId: 'codes' })
  const news = await esme(t, daemon.smpp, { systemId: 'news' })

  await submit(news, 'news', '49', 300)
  await window.holds(4)
  await submit(codes, 'codes', '49', 3)
  for (let n = 0; n < 3; n++) {
    window.answer()
    await window.holds(4)
  }
  t.same(full.submitted.map(nameOf).slice(4), ['codes', 'codes', 'codes'], 'past a full window')
  window.answerAll()

  // What one link has claimed for the other waits beside the lanes.
  await submit(news, 'news', '44', 1_100)
  await Promise.all([ones.holds(2), twos.holds(2)])
  await submit(codes, 'codes', '44', 20)
  for (let n = 0; n < 30; n++) {
    ones.answer()
    twos.answer()
    await Promise.all([ones.holds(2), twos.holds(2)])
  }
  for (const carrier of [one, two]) {
    const names = carrier.submitted.map(nameOf)
    const otps = names.filter(name => name === 'codes').length
    const lower = names.slice(2, names.lastIndexOf('codes')).filter(name => name === 'news').length
    t.ok(otps >= 3, `its share of them: ${otps}`)
    t.ok(lower <= 1, `what was handed over has its own twentieth and no more: ${lower} before the last of ${otps}`)
  }
  t.equal(shares([...one.submitted, ...two.submitted]).codes, 20)
  ones.answerAll()
  twos.answerAll()

  await submit(news, 'news', '33', 200)
  await submit(codes, 'codes', '33', 5)
  // At 50 a second no more than a few can have left before.
  await paced.until(() => shares(paced.submitted).codes === 5, 'the otp messages')
  const before = paced.submitted.map(nameOf).lastIndexOf('codes')
  t.ok(before < 100, `past a pace: ${before - 4} before the last of them`)

  await full.until(() => full.submitted.length === 303, 'all of them')
  await both.until(() => one.submitted.length + two.submitted.length === 1_120 || undefined, 'all of them')
})

story('a carrier that is away holds up nobody else, and what waits for it moves with its route', async t => {
  const [dead, other] = [await smsc(t), await smsc(t)] as const
  await dead.close()
  other.script.submit = sm => sm.accept()
  const carriers = { dead, other }
  const routes = [
    { name: 'edited', match: { destination: '44' }, to: ['dead'] },
    { name: 'deleted', match: { destination: '45' }, to: ['dead'] },
    { name: 'rest', match: {}, to: ['other'] },
  ]
  const daemon = await house(t, { accounts, carriers, routes })
  await other.bound()
  const news = await esme(t, daemon.smpp, { systemId: 'news' })
  const shop = await esme(t, daemon.smpp, { systemId: 'shop' })
  await submit(news, 'news', '44', 550)
  await submit(news, 'news', '45', 550)
  await submit(news, 'news', '49', 50)
  await submit(shop, 'shop', '49', 50)
  t.same(shares(await other.take(100)), { news: 50, shop: 50 }, 'of the same account too')

  await daemon.apply({
    accounts,
    carriers,
    routes: [{ ...routes[0], to: ['other'] }, routes[1] as object, routes[2] as object],
  })
  const edited = await other.take(550)
  t.ok(
    edited.every(sm => sm.fields.destination_addr.startsWith('44')),
    'an edited route takes along what waits',
  )
  t.equal(dead.submitted.length, 0)
  await daemon.apply({ accounts, carriers, routes: [routes[2] as object] })
  const moved = await other.take(550)
  t.ok(
    moved.every(sm => sm.fields.destination_addr.startsWith('45')),
    'what waits on a deleted one is matched again',
  )
  const all = new Set(other.submitted.map(sm => sm.fields.destination_addr))
  t.equal(other.submitted.length, 1_200)
  t.equal(all.size, 1_150, 'each once; two accounts sent to the same 50 numbers')
})
