// Faults drawn from a seed: the daemon killed with SIGKILL under load, again and again, and carriers that throttle, defer,
// drop, lie and fall silent. Nothing that was acknowledged to either side is lost, and nothing is doubled that was not in
// flight. LONG=1 is twenty kills and ten times the faults, SEED=n repeats a run.

import t from 'tap'
import { status } from '../protocols/smpp/status.js'
import { dice } from './support/dice.js'
import { type Esme, esme, stranger } from './support/esme.js'
import { type House, house, story } from './support/house.js'
import { Waiting } from './support/peer.js'
import { type Smsc, type Submitted, smsc } from './support/smsc.js'

t.jobs = 2

const ROUNDS = process.env.LONG ? 20 : 3
const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000)
const BINDS = 2
/** Requests that each ESME keeps unanswered. */
const ESME_WINDOW = 30
const LINKS = 2
const LINK_WINDOW = 50
const DELIVER_WINDOW = 100
/** What a carrier takes for an answer. */
const ANSWER_MS = 5

/** What may happen in a round; the daemon dies at the nth time that one of them does. */
const moments = ['acknowledged', 'arrived', 'reported', 'delivered'] as const
type Moment = (typeof moments)[number]

/** What each side knows, by the text of the message. */
class Books {
  /** Texts that were sent, whether or not they were taken. */
  sent = 0
  /** ESME: submit_sm_resp came, with this id. */
  readonly acknowledged = new Map<string, string>()
  /** Carrier: submit_sm came so often. */
  readonly arrived = new Map<string, number>()
  /** Carrier: receipts that are still to be taken, and texts of which one was. */
  unreported = 0
  readonly reported = new Set<string>()
  /** ESME: receipts that came. */
  readonly delivered = new Map<string, number>()
  onMoment: (what: Moment) => void = () => {}
  private readonly waiting = new Waiting()

  happened(what: Moment): void {
    this.onMoment(what)
    this.waiting.look()
  }

  async allReported(): Promise<void> {
    await this.waiting.until(
      () => this.unreported === 0 || undefined,
      () => `${this.unreported} receipts to be taken`,
    )
  }

  /** Resolves when each text of `all` is in `there`. */
  async until(all: Iterable<string>, there: ReadonlySet<string> | ReadonlyMap<string, unknown>, what: string) {
    const missing = new Set(all)
    await this.waiting.until(
      () => {
        for (const text of missing) {
          if (!there.has(text)) return undefined
          missing.delete(text)
        }
        return true
      },
      () => `${what}: ${[...missing].slice(0, 10).join(', ')} (${missing.size})`,
    )
  }
}

const count = (counts: Map<string, number>, text: string): void => {
  counts.set(text, (counts.get(text) ?? 0) + 1)
}
const extra = (counts: Map<string, number>): number => [...counts.values()].reduce((sum, n) => sum + n - 1, 0)

/** A carrier that answers after its time, and offers each receipt until it is taken. */
async function reportingCarrier(t: Parameters<typeof smsc>[0], books: Books): Promise<Smsc> {
  const report = async (sm: Submitted): Promise<void> => {
    books.unreported++
    if (!(await carrier.report(sm))) return
    books.unreported--
    books.reported.add(sm.text)
    books.happened('reported')
  }
  const carrier = await smsc(t, {
    submit: sm => {
      count(books.arrived, sm.text)
      books.happened('arrived')
      sm.later(ANSWER_MS, () => {
        sm.accept()
        void report(sm)
      })
    },
  })
  return carrier
}

/** Customers that send as fast as their windows allow, come back when they are cut off, and never send a text twice. */
class Load {
  private readonly daemon: House
  private readonly books: Books
  private isOver = false
  private readonly work: Promise<void>[] = []
  private readonly t: Parameters<typeof stranger>[0]

  constructor(t: Parameters<typeof stranger>[0], daemon: House, books: Books) {
    this.t = t
    this.daemon = daemon
    this.books = books
    for (let bind = 0; bind < BINDS; bind++) this.work.push(this.customer())
  }

  private async customer(): Promise<void> {
    while (!this.isOver) {
      const one = await this.bind()
      await Promise.all(Array.from({ length: ESME_WINDOW }, () => this.submit(one)))
      // The receipts of the last life are still to come: only the one that ends the story leaves.
      if (!this.isOver) await one.closed()
    }
  }

  private async bind(): Promise<Esme> {
    for (;;) {
      await this.daemon.up()
      try {
        const one = await stranger(this.t, this.daemon.smpp, delivered => {
          count(this.books.delivered, delivered.receipt.text)
          this.books.happened('delivered')
          return 0
        })
        if ((await one.bind({})) === 'ESME_ROK') return one
      } catch {
        // It was killed meanwhile.
      }
    }
  }

  private async submit(one: Esme): Promise<void> {
    const { books } = this
    try {
      while (!this.isOver && !one.peer.isClosed) {
        const text = `message ${++books.sent}`
        const { status, message_id } = await one.submit({ short_message: Buffer.from(text) })
        if (status !== 'ESME_ROK') throw new Error(status)
        books.acknowledged.set(text, message_id)
        books.happened('acknowledged')
      }
    } catch (error) {
      if (!one.peer.isClosed) throw error
    }
  }

  async stop(): Promise<void> {
    this.isOver = true
    await Promise.all(this.work)
  }
}

/** A start that ends at its nth line. */
async function killedAgain(daemon: House, line: number): Promise<void> {
  const from = daemon.log.length
  const start = daemon.start().catch(() => {})
  await daemon.line(() => true, from + line - 1)
  await daemon.kill9()
  await start
}

story(`killed ${ROUNDS} times under load, it loses nothing that it acknowledged to either side`, async t => {
  t.comment(`SEED=${SEED}`)
  const random = dice(SEED)
  const books = new Books()
  const carrier = await reportingCarrier(t, books)
  const daemon = await house(t, {
    carriers: { up: { at: carrier, links: LINKS, window: LINK_WINDOW } },
    config: { smpp: { window: DELIVER_WINDOW } },
  })
  const load = new Load(t, daemon, books)
  for (let round = 1; round <= ROUNDS; round++) {
    const moment = moments[Math.floor(random() * moments.length)] as Moment
    const most = 200 + Math.floor(random() * 2_300)
    await new Promise<void>(resolve => {
      let left = most
      books.onMoment = what => {
        if (what !== moment || --left > 0) return
        books.onMoment = () => {}
        void daemon.kill9().then(resolve)
      }
    })
    const [sent, acknowledged] = [books.sent, books.acknowledged.size]
    t.comment(`round ${round}: killed at the ${most}th ${moment}; ${acknowledged} of ${sent} acknowledged so far`)
    if (random() < 0.3) await killedAgain(daemon, 1 + Math.floor(random() * 4))
    await daemon.start()
    t.equal(daemon.lines('ready').at(-1)?.crashed, true)
  }
  await load.stop()

  const { acknowledged, arrived, reported, delivered } = books
  await books.until(acknowledged.keys(), arrived, 'acknowledged and not at the carrier')
  await books.until(arrived.keys(), reported, 'receipts not taken')
  await books.allReported()
  const rows = await daemon.history(rows => {
    const ended = new Set(rows.filter(row => row.kind === 'e').map(row => row.id))
    return rows.length >= 2 * acknowledged.size && rows.every(row => ended.has(row.id))
  })
  const perMessage = new Map<string, string>()
  for (const { id, kind } of rows) perMessage.set(id, (perMessage.get(id) ?? '') + kind)
  t.same(new Set(perMessage.values()), new Set(['ae']), 'each stands in history once accepted and once ended')
  t.same(
    [...acknowledged.values()].filter(id => !perMessage.has(id)),
    [],
    'all that was acknowledged stands in history',
  )
  await books.until(reported, delivered, 'receipts taken and not delivered')

  const [again, twice] = [extra(arrived), extra(delivered)]
  const rate = `${acknowledged.size} of ${books.sent} acknowledged, ${perMessage.size} in history`
  t.comment(`${rate}; ${again} sent to the carrier again, ${twice} receipts delivered again`)
  // In flight is what was not answered, and what was answered while a commit was on its way to the disk.
  t.ok(again <= 2 * ROUNDS * LINKS * LINK_WINDOW, `${again} messages doubled`)
  t.ok(twice <= 2 * ROUNDS * BINDS * DELIVER_WINDOW, `${twice} receipts doubled`)
})

type Act = (sm: Submitted, carrier: Smsc) => void
const delivered: Act = (sm, carrier) => {
  sm.accept()
  void carrier.report(sm)
}

/** What a carrier does with a submit_sm, and how often in a thousand; else it accepts and reports it. */
const faults: readonly (readonly [often: number, act: Act])[] = [
  [2, sm => sm.refuse(status.ESME_RTHROTTLED)],
  [30, sm => sm.refuse(status.ESME_RINVDSTADR)],
  [3, sm => sm.refuse(status.ESME_RSYSERR)],
  // Slow, too late, and never.
  [30, (sm, carrier) => sm.later(50, () => delivered(sm, carrier))],
  [3, (sm, carrier) => sm.later(1_500, () => delivered(sm, carrier))],
  [2, () => {}],
  [4, sm => sm.link.drop()],
  // The receipt first, twice, or of a failure.
  [
    60,
    (sm, carrier) => {
      void carrier.report(sm)
      sm.accept()
    },
  ],
  [
    30,
    (sm, carrier) => {
      delivered(sm, carrier)
      void carrier.report(sm)
    },
  ],
  [
    30,
    (sm, carrier) => {
      sm.accept()
      void carrier.report(sm, { stat: 'UNDELIV' })
    },
  ],
]

/** message_payload of 400 octets: three parts. */
const LONG_TEXT = Buffer.concat([Buffer.from('04240190', 'hex'), Buffer.alloc(400, 'x')])

story('whatever carriers do, each message ends once, is reported once, and nothing is left in the queue', async t => {
  t.comment(`SEED=${SEED}`)
  const random = dice(SEED + 1)
  const faulty = async (): Promise<Smsc> => {
    const carrier = await smsc(t)
    carrier.script.submit = sm => {
      let drawn = random() * 1_000
      const fault = faults.find(([often]) => {
        drawn -= often
        return drawn < 0
      })
      ;(fault?.[1] ?? delivered)(sm, carrier)
    }
    return carrier
  }
  const carriers = [await faulty(), await faulty(), await faulty()] as const
  const settings = { links: 2, window: 20, responseMs: 1_000, unsureMs: 1_000, enquireLinkMs: 500 }
  const daemon = await house(t, {
    carriers: {
      a: { at: carriers[0], ...settings },
      b: { at: carriers[1], ...settings },
      c: { at: carriers[2], ...settings, longMessages: 'udh16' },
    },
    routes: [
      { match: { destination: '1' }, to: ['a', 'b'].map((carrier, n) => ({ carrier, weight: n + 1 })) },
      { to: ['c', 'a'] },
    ],
  })
  const shop = await esme(t, daemon.smpp)
  const count = process.env.LONG ? 20_000 : 2_000
  const ids: string[] = []
  while (ids.length < count) {
    const lot = Array.from({ length: 100 }, () => {
      const destination_addr = `${random() < 0.6 ? 1 : 4}${1e9 + Math.floor(random() * 1e9)}`
      if (random() < 0.9) return shop.submit({ destination_addr })
      return shop.submit({ destination_addr, short_message: Buffer.alloc(0) }, LONG_TEXT)
    })
    for (const { message_id } of await Promise.all(lot)) ids.push(message_id)
  }
  const rows = await daemon.history(2 * count, 30 * count)
  t.same(
    rows.map(row => `${row.id} ${row.kind}`),
    [...ids].sort().flatMap(id => [`${id} a`, `${id} e`]),
  )
  const reports = (await shop.take(count)).map(one => one.receipt)
  t.same(reports.map(one => one.id).sort(), [...ids].sort())
  t.same(new Set(reports.map(one => one.stat)), new Set(['DELIVRD', 'UNDELIV', 'REJECTD']))
  for (const left of ['waiting_messages', 'claimed_messages', 'sent_messages', 'due_messages', 'outbox_reports']) {
    t.equal(await daemon.metric(`trunkline_${left}`), 0, left)
  }
  const sent = carriers.reduce((sum, carrier) => sum + carrier.submitted.length, 0)
  t.comment(`${count} messages, ${sent} submit_sm over ${carriers.map(one => one.connections)} connections`)
})
