// The arithmetic of leases against a model of the database: several nodes that spend, post, crash, lose connections in the
// middle of a commit and take each other's leases back, drawn from a seed. Never is more spent than there is, nothing is
// lost, and the books sum to zero. LONG=1 is a million steps, SEED=n repeats a run.

import type { Test } from 'tap'
import t from 'tap'
import { Credit } from '../src/accounts/credit.js'
import { granted, type Leases, type Round } from '../src/accounts/creditRows.js'
import { ManualClock } from '../src/base/clock.js'
import { dice } from './support/dice.js'

const STEPS = process.env.LONG ? 1_000_000 : 20_000
const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000)
const NODES = 3
const ACCOUNTS = 3

interface Row {
  account: number
  /** Taken from the balance; below 0: given back. */
  micros: number
  held: number
}

interface Money {
  balance: number
  leased: number
  limit: number
  /** What was paid in, and what rows have moved. */
  paid: number
  posted: number
  /** What an operator has released of leases: their nodes may spend it all the same. */
  released: number
}

/** A connection that waits for the word of the model. */
interface Asked {
  node: Node
  round: Round
  done(): void
  failed(error: Error): void
}

class Model {
  readonly random: () => number
  readonly clock = new ManualClock(1_700_000_000_000)
  readonly money = new Map<number, Money>()
  /** By node and account. */
  readonly leases = new Map<string, { micros: number; turn: number }>()
  readonly nodes: Node[]
  asked: Asked[] = []
  isUp = true
  readonly counts = new Map<string, number>()

  constructor(random: () => number) {
    this.random = random
    for (let account = 1; account <= ACCOUNTS; account++)
      this.money.set(account, {
        balance: 0,
        leased: 0,
        limit: account === 1 ? 500 : 0,
        paid: 0,
        posted: 0,
        released: 0,
      })
    this.nodes = Array.from({ length: NODES }, (_, n) => new Node(this, n))
  }

  pick(n: number): number {
    return Math.floor(this.random() * n)
  }

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1)
  }

  of(account: number): Money {
    return this.money.get(account) as Money
  }

  lease(node: Node, account: number): { micros: number; turn: number } | undefined {
    return this.leases.get(`${node.n} ${account}`)
  }

  /** What {@link releaseLeases} does in SQL. */
  release(node: Node, account: number): void {
    const lease = this.lease(node, account)
    if (lease === undefined) return
    this.count('leases released')
    this.leases.delete(`${node.n} ${account}`)
    const money = this.of(account)
    money.leased -= lease.micros
    money.released += lease.micros
    for (const one of this.nodes) one.credit.more(account)
  }

  /** The transaction: what {@link CreditRows.move} does in SQL. */
  commit({ node, round }: Asked): void {
    const wanted: number[] = []
    round.moved = round.moves.map(({ account, turn, give, want, least }) => {
      const money = this.of(account)
      const micros = give > 0 ? -give : granted(money.balance + money.limit - money.leased, want, least)
      let others = 0
      if (give === 0 && micros < least)
        for (const other of this.nodes) if (other !== node) others += this.lease(other, account)?.micros ?? 0
      if (others > 0) wanted.push(account)
      const isLost = micros !== 0 && (this.lease(node, account)?.turn ?? 0) !== turn
      return { account, micros: isLost ? 0 : micros, others, isLost }
    })
    for (const { account, micros } of round.moved) {
      if (micros === 0) continue
      const lease = this.lease(node, account) ?? { micros: 0, turn: 0 }
      this.leases.set(`${node.n} ${account}`, { micros: lease.micros + micros, turn: lease.turn + 1 })
      this.of(account).leased += micros
    }
    for (const account of wanted)
      for (const other of this.nodes) if (other !== node && this.random() < 0.8) other.credit.wanted(account)
    for (const { account, micros } of round.moved)
      if (micros < 0 && this.random() < 0.8) for (const one of this.nodes) one.credit.more(account)
  }

  /** One of those that wait is answered, or its connection breaks before or after the commit. */
  answer(): void {
    const [asked] = this.asked.splice(this.pick(this.asked.length), 1)
    if (asked === undefined) return
    const fate = this.random()
    if (fate < 0.9 && this.isUp) {
      this.commit(asked)
      asked.done()
      return
    }
    this.count('connections broken')
    if (fate < 0.96) this.commit(asked)
    asked.failed(new Error('the connection broke'))
  }
}

class Node {
  readonly n: number
  credit!: Credit
  /** Durable rows that are not posted, and those of the commit being gathered. */
  log: Row[] = []
  unsynced: Row[] = []
  position = 0
  readonly model: Model
  private life = 0

  constructor(model: Model, n: number) {
    this.model = model
    this.n = n
    this.start()
  }

  start(): void {
    const { model } = this
    const life = ++this.life
    this.credit = new Credit({
      clock: model.clock,
      counters: { add: () => {} },
      log: { warn: () => {} },
      isUp: () => model.isUp,
      held: async () => {
        this.sync()
        const held = new Map<number, number>()
        for (const row of this.log) held.set(row.account, (held.get(row.account) ?? 0) + row.held)
        return held
      },
      rows: {
        move: round =>
          new Promise((done, failed) => {
            // Of a life that is over nobody hears.
            if (life === this.life) model.asked.push({ node: this, round, done, failed })
          }),
        turns: async accounts => new Map(accounts.map(account => [account, model.lease(this, account)?.turn ?? 0])),
        // As SQL drops them when a node begins.
        recover: async () => this.leases([...model.money.keys()].filter(one => this.leasesSomething(one))),
        leases: async accounts => this.leases(accounts),
      },
    })
    void this.credit.recover()
  }

  private leasesSomething(account: number): boolean {
    const { leases } = this.model
    const isSome = this.model.lease(this, account)?.micros !== 0
    if (!isSome) leases.delete(`${this.n} ${account}`)
    return isSome
  }

  private leases(accounts: readonly number[]): Leases {
    const leases = accounts.flatMap(account => {
      const lease = this.model.lease(this, account)
      const { balance, limit, leased } = this.model.of(account)
      return lease === undefined ? [] : [{ account, ...lease, isOver: balance + limit < leased }]
    })
    return { position: this.position, leases }
  }

  /** As SIGKILL does: what is in memory is gone, a transaction on its way holds or not. */
  crash(): void {
    const { model } = this
    model.count('crashes')
    for (const asked of model.asked.filter(({ node }) => node === this)) if (model.random() < 0.5) model.commit(asked)
    model.asked = model.asked.filter(({ node }) => node !== this)
    this.unsynced = []
    this.start()
  }

  submit(account: number): void {
    const micros = 1 + this.model.pick(50)
    const answer = this.credit.hold({ id: account }, micros)
    this.model.count(answer)
    if (answer !== 'held') return
    if (this.model.random() < 0.1) this.credit.release(account, micros)
    else this.unsynced.push({ account, micros, held: micros })
  }

  sync(): void {
    this.log.push(...this.unsynced)
    this.unsynced = []
  }

  post(): void {
    const count = this.model.pick(this.log.length + 1)
    for (const { account, micros, held } of this.log.splice(0, count)) {
      const money = this.model.of(account)
      money.balance -= micros
      money.posted -= micros
      const lease = this.model.lease(this, account)
      if (lease !== undefined) {
        money.leased -= held
        lease.micros -= held
      }
      // What failed is given back some time.
      if (micros > 0 && this.model.random() < 0.2) this.log.push({ account, micros: -micros, held: 0 })
    }
    this.position += count
  }

  held(account: number, rows = this.log): number {
    return rows.reduce((sum, row) => sum + (row.account === account ? row.held : 0), 0)
  }
}

type Step = (node: Node, account: number) => void

/** What must hold at every moment; '' = it does. */
function fault(model: Model): string {
  for (const [account, { balance, leased, limit, paid, posted, released }] of model.money) {
    if (balance !== paid + posted) return `the books of ${account}: ${balance} is not ${paid} and ${posted}`
    if (balance + limit - leased < -released)
      return `${account} has leased more than it has: ${balance} ${limit} ${leased}`
    let leases = 0
    for (const node of model.nodes) {
      const lease = model.lease(node, account)
      if (lease === undefined) continue
      const { micros } = lease
      leases += micros
      const held = node.held(account) + node.held(account, node.unsynced)
      if (held > micros) return `node ${node.n} holds ${held} of a lease of ${micros} of ${account}`
    }
    if (leases !== leased) return `leases of ${account} sum to ${leases}, not ${leased}`
  }
  return ''
}

async function run(t: Test, more: [weight: number, step: Step][]): Promise<void> {
  t.comment(`SEED=${SEED}`)
  const model = new Model(dice(SEED))
  const { nodes } = model
  const steps: [weight: number, step: Step][] = [
    [50, (node, account) => node.submit(account)],
    [12, node => node.sync()],
    [10, node => node.post()],
    [12, () => model.answer()],
    [4, () => model.clock.advance(model.pick(400))],
    [4, node => node.credit.tick()],
    [
      3,
      (_, account) => {
        const micros = model.pick(400)
        model.of(account).balance += micros
        model.of(account).paid += micros
        if (model.random() < 0.7) for (const node of nodes) node.credit.more(account)
      },
    ],
    [
      1,
      (_, account) => {
        // What is leased cannot be taken out.
        const money = model.of(account)
        const micros = model.pick(Math.max(0, Math.min(200, money.balance - money.leased)) + 1)
        money.balance -= micros
        money.paid -= micros
      },
    ],
    [0.5, node => node.crash()],
    [
      0.5,
      () => {
        model.isUp = !model.isUp || model.random() < 0.7
        if (model.isUp) for (const node of nodes) node.credit.up()
      },
    ],
    [0.3, () => model.clock.advance(11_000)],
    ...more,
  ]
  const whole = steps.reduce((sum, [weight]) => sum + weight, 0)
  const drawn = (at: number): Step => {
    let below = 0
    for (const [weight, step] of steps) {
      below += weight
      if (at < below) return step
    }
    return () => {}
  }
  let found = ''
  for (let i = 0; i < STEPS && found === ''; i++) {
    const step = drawn(model.random() * whole)
    step(nodes[model.pick(NODES)] as Node, 1 + model.pick(ACCOUNTS))
    // Promises that were kept, and what follows from them.
    await null
    await null
    await null
    if (i % 16 === 0 || STEPS < 100_000) found = fault(model)
    if (found !== '') found = `step ${i}: ${found}`
  }
  t.equal(found, '')
  t.comment([...model.counts].map(([what, count]) => `${count} ${what}`).join(', '))

  // In the end all that is not spent can be had again.
  model.isUp = true
  for (let i = 0; i < 200; i++) {
    for (const node of nodes) {
      node.sync()
      while (node.log.length > 0) node.post()
      node.credit.up()
      node.credit.tick()
    }
    while (model.asked.length > 0) {
      const asked = model.asked.shift() as Asked
      model.commit(asked)
      asked.done()
      for (let j = 0; j < 10; j++) await null
    }
    for (let j = 0; j < 10; j++) await null
    model.clock.advance(300)
  }
  t.equal(fault(model), '')
  t.same(
    Array.from(model.money.values(), ({ leased }) => leased),
    [0, 0, 0],
    'nothing stays leased that nobody uses',
  )
}

t.test(`${STEPS} steps of ${NODES} nodes never overspend, lose nothing and keep the books`, t => run(t, []))

t.test('a node whose lease was released while it lived spends what was left of it once, and no more', t =>
  run(t, [[0.3, (node, account) => node.model.release(node, account)]]),
)

t.test('what a lower limit does not stand for any more comes back, but for what messages hold', async t => {
  for (const isUnderWay of [false, true]) {
    const model = new Model(dice(1))
    const [node] = model.nodes as [Node]
    const { credit } = node
    const money = model.of(1)
    const turns = async (): Promise<void> => {
      for (let i = 0; i < 10; i++) await null
    }
    const settled = async (): Promise<void> => {
      await turns()
      for (let asked = model.asked.shift(); asked !== undefined; asked = model.asked.shift()) {
        model.commit(asked)
        asked.done()
        await turns()
      }
    }
    await settled()
    t.equal(credit.hold({ id: 1 }, 20), 'wait')
    await settled()
    t.equal(credit.hold({ id: 1 }, 20), 'held')
    if (isUnderWay) {
      t.equal(credit.hold({ id: 1 }, 300), 'wait')
      await turns()
      const [asked] = model.asked.splice(0) as [Asked]
      model.commit(asked)
      t.ok(money.leased >= 320)
      money.limit = 20
      credit.limited(1, () => money.limit)
      asked.done()
    } else {
      money.limit = 20
      credit.limited(1, () => money.limit)
    }
    t.ok(money.leased > 20)
    await settled()
    t.equal(money.leased, 20, 'what a message holds stays')
    credit.hold({ id: 1 }, 20)
    await settled()
    t.equal(credit.hold({ id: 1 }, 20), 'short')
    money.limit = 60
    credit.limited(1, () => money.limit)
    credit.more(1)
    t.equal(credit.hold({ id: 1 }, 20), 'wait')
    await settled()
    t.equal(credit.hold({ id: 1 }, 20), 'held', 'and under the next there is more')
    t.equal(fault(model), '')
  }
})

t.test('whatever is called back at whatever moment, nothing is lost and nothing is spent twice', t =>
  run(t, [
    [2, (node, account) => node.credit.recall(account)],
    [1, (node, account) => node.credit.limited(account, () => node.model.pick(3))],
  ]),
)

t.test('less than two messages cost goes whole to another node that asks for it, of more it is the half', async t => {
  for (const [left, gives] of [
    [99, 99],
    [120, 60],
  ] as const) {
    const model = new Model(dice(1))
    const { credit } = model.nodes[0] as Node
    const settled = async (): Promise<void> => {
      for (let i = 0; i < 10; i++) await null
      while (model.asked.length > 0) {
        const asked = model.asked.shift() as Asked
        model.commit(asked)
        asked.done()
        for (let i = 0; i < 10; i++) await null
      }
    }
    const money = model.of(2)
    money.balance = left + 50
    await settled()
    t.equal(credit.hold({ id: 2 }, left + 50), 'wait')
    await settled()
    t.equal(credit.hold({ id: 2 }, left + 50), 'held')
    credit.release(2, left + 50)
    t.equal(credit.hold({ id: 2 }, 50), 'held')
    await settled()
    credit.wanted(2)
    for (let i = 0; i < 10; i++) await null
    t.match(model.asked.at(-1)?.round.moves, [{ account: 2, give: gives }])
  }
})
