// A long run of random faults: carriers whose behaviour changes at moments that a seed draws, under a steady load. At the
// end the books of everyone agree: ESME, spool, history, carriers and metrics. Half a minute of load and what it takes to
// settle; LONG=1 is ten minutes at 2,000 messages a second. FAULT_SEED=n draws the same faults again.

import { dice } from './support/dice.js'
import { house, story } from './support/house.js'
import { MoodyCarrier, moods, SteadyEsme } from './support/moody.js'
import { Waiting } from './support/peer.js'

const SEED = Number(process.env.FAULT_SEED ?? Date.now() % 1_000_000)
const [RATE, LOAD_MS] = process.env.LONG ? [2_000, 600_000] : [250, 40_000]
const ESMES = 2
const MOST = (RATE * (LOAD_MS + 1_000)) / 1_000
const VALIDITY_S = 6
const GRACE_MS = 1_000
const RESPONSE_MS = 500
/** After the load: the last validity, the grace, and the look at who is over, once in ten seconds. */
const SETTLE_MS = VALIDITY_S * 1_000 + GRACE_MS + 30_000

const stateOf: Record<string, number> = { DELIVRD: 2, EXPIRED: 3, UNDELIV: 5, UNKNOWN: 7, REJECTD: 8 }

story('whatever carriers do and whenever, all books agree in the end: nothing lost, doubles counted', async t => {
  t.comment(`FAULT_SEED=${SEED}`)
  const carrier = (n: number) =>
    MoodyCarrier.open(t, { random: dice(SEED + n), most: MOST, prefix: `${n}x`, lateMs: RESPONSE_MS + 300 })
  const [a, b, c] = [await carrier(0), await carrier(1), await carrier(2)]
  const settings = (one: MoodyCarrier) => ({
    kind: 'smpp',
    host: '127.0.0.1',
    port: one.port,
    systemId: 'up',
    password: 'up',
    links: 2,
    window: 100,
    responseMs: RESPONSE_MS,
    unsureMs: 1_000,
    enquireLinkMs: 300,
    reconnectMinMs: 20,
    reconnectMaxMs: 200,
  })
  const daemon = await house(t, {
    carriers: { a: settings(a), b: settings(b), c: { ...settings(c), unsure: 'wait' } },
    routes: [
      { match: { destination: '1' }, to: ['a', 'b'].map((name, n) => ({ carrier: name, weight: n + 1 })) },
      { match: { destination: '2' }, to: ['c'] },
      { to: ['c', 'a'] },
    ],
    config: {
      spool: { receiptGraceMs: GRACE_MS },
      retry: { transactional: { firstMs: 200, capMs: 1_000 } },
    },
  })
  const esmes = await Promise.all(Array.from({ length: ESMES }, () => SteadyEsme.bind(t, daemon.smpp, MOST)))
  const waiting = new Waiting()
  for (const one of esmes) one.onReceipt = () => waiting.look()

  const random = dice(SEED + 9)
  let next = 0
  const from = performance.now()
  for (const one of [a, b, c]) one.start()
  await Promise.all(
    esmes.map(one =>
      one.send(
        RATE / ESMES,
        LOAD_MS,
        () => next++,
        () => ({
          source_addr: '1000',
          destination_addr: `${1 + Math.floor(random() * 3)}2025550123`,
          validity_period: `00000000000${VALIDITY_S}000R`,
        }),
      ),
    ),
  )
  const sum = (of: (one: SteadyEsme) => number): number => esmes.reduce((all, one) => all + of(one), 0)
  const total = next
  await waiting.until(
    () => sum(one => one.receipts) >= total || undefined,
    () => `receipts: ${sum(one => one.receipts)} of ${total}`,
    SETTLE_MS,
  )
  for (const one of [a, b, c]) one.rest()
  const tookMs = performance.now() - from
  while ((await daemon.metric('trunkline_log_rows')) > 0);

  // ESMEs
  t.equal(
    sum(one => one.refused + one.unanswered),
    0,
    'every message was accepted',
  )
  t.equal(
    sum(one => one.accepted),
    total,
  )
  const reports = (n: number): number => sum(one => one.reported[n] as number)
  const twice = Array.from({ length: total }, (_, n) => n).filter(n => reports(n) !== 1)
  t.same(twice.slice(0, 20), [], 'each message is reported once')

  // History
  const kinds = await daemon.query<{ kind: string; rows: string; ids: string }>(
    'select kind::text, count(*) rows, count(distinct id) ids from history group by kind order by kind',
  )
  t.same(
    kinds,
    ['a', 'e'].map(kind => ({ kind, rows: String(total), ids: String(total) })),
    'each stands in history once as accepted and once as ended',
  )
  const statById = new Map<number, string>()
  for (let n = 0; n < total; n++) {
    // A receipt goes to either bind of the account.
    const stat = esmes.map(one => one.statOf(n)).join('')
    statById.set(
      sum(one => one.ids[n] as number),
      stat,
    )
  }
  t.equal(statById.size, total, 'no id was given twice')
  const different: string[] = []
  const ends = new Map<string, number>()
  const found = (key: string): number => ends.get(key) ?? 0
  for (let after = '0'; ; ) {
    const rows = await daemon.query<{ id: string; state: number; error: string }>(
      `select id::text, state, error from history where kind = 'e' and id > ${after} order by history.id limit 20000`,
    )
    for (const { id, state, error } of rows) {
      if (stateOf[statById.get(Number(id)) ?? ''] !== state) different.push(`${id} ${state}`)
      for (const key of [`state ${state}`, `${state} ${error}`]) ends.set(key, found(key) + 1)
    }
    if (rows.length === 0) break
    after = (rows.at(-1) as { id: string }).id
  }
  t.same(different.slice(0, 20), [], 'each receipt says what history says')

  // The spool
  for (const left of ['waiting_messages', 'claimed_messages', 'sent_messages', 'due_messages', 'outbox_reports'])
    t.equal(await daemon.metric(`trunkline_${left}`), 0, left)

  // Metrics
  const outcomes = (kind: string, ...names: string[]): Promise<number> =>
    Promise.all(names.map(name => daemon.metric('trunkline_carrier_outcomes_total', { carrier: name, kind }))).then(
      all => all.reduce((one, other) => one + other),
    )
  const abc = ['a', 'b', 'c']
  t.equal(await daemon.metric('trunkline_messages_accepted_total'), total)
  t.equal(await daemon.metric('trunkline_messages_ended_total'), total)
  for (const [name, state] of [
    ['DELIVERED', 2],
    ['EXPIRED', 3],
    ['UNDELIVERABLE', 5],
    ['UNKNOWN', 7],
    ['REJECTED', 8],
  ] as const)
    t.equal(await daemon.metric('trunkline_messages_ended_total', { state: name }), found(`state ${state}`), name)
  const sent = await daemon.metric('trunkline_carrier_sent_total')
  t.equal(await daemon.metric('trunkline_carrier_outcomes_total'), sent, 'each send has one outcome')
  const accepted = await outcomes('accepted', ...abc)
  t.equal(accepted, found('state 2') + found('state 5') + found('7 no_receipt'), 'what a carrier took was its to end')
  t.equal(await outcomes('refused', ...abc), found('state 8'))
  t.equal(
    await daemon.metric('trunkline_carrier_events_total', { name: 'unsure_waits' }),
    found('7 unsure'),
    'what c never answered ends as unsure',
  )

  // Carriers
  const [asked, unsure] = [
    (await outcomes('throttled', ...abc)) + (await outcomes('deferred', ...abc)),
    await outcomes('unsure', 'a', 'b'),
  ]
  let [came, more, taken, doubled, twiceAtC] = [0, 0, 0, 0, 0]
  for (let n = 0; n < total; n++) {
    const times = (of: 'came' | 'taken'): number => [a, b, c].reduce((all, one) => all + (one[of][n] as number), 0)
    came += times('came')
    more += Math.max(0, times('came') - 1)
    taken += times('taken')
    doubled += Math.max(0, times('taken') - 1)
    twiceAtC += Math.max(0, (c.taken[n] as number) - 1)
  }
  t.ok(came <= sent, `${came} of ${sent} sent came`)
  t.ok(taken - doubled >= accepted, `${taken - doubled} were taken, ${accepted} are accepted`)
  t.ok(more <= asked + unsure, `${more} came again, ${asked} were asked for again and ${unsure} are unsure`)
  t.ok(doubled <= unsure, `${doubled} were taken twice, ${unsure} are counted`)
  t.equal(twiceAtC, 0, 'who does not want to get a message twice never does')
  const had = new Set([a, b, c].flatMap(one => [...one.had]))
  t.equal(had.size, moods.length, 'there were faults of each kind')
  t.comment(`${total} messages, ${sent} sent, ${doubled} taken twice of ${unsure} unsure; ${[...ends].join('; ')}`)
  t.comment(
    `settled after ${Math.round(tookMs / 1_000)} s; ${await daemon.metric('process_cpu_seconds_total')} s of CPU`,
  )
})
