// Directories that are not what their daemon takes them for: restored from a backup, copied beside their original, or with a
// database that is older than they are. Whatever was accepted is charged once and stands in history once, as the books of
// a real database say.

import { cpSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import t from 'tap'
import { Credit } from '../src/accounts/credit.js'
import { CreditRows, type Round } from '../src/accounts/creditRows.js'
import { ManualClock } from '../src/base/clock.js'
import { Counters } from '../src/base/figures.js'
import { LmdbSpool } from '../src/spool/lmdb/spool.js'
import { openStore } from '../src/store/postgres.js'
import { api, KEY } from './support/api.js'
import { type Esme, esme } from './support/esme.js'
import { emptyHouse, freshDatabase, type House, type HouseOptions, house, story } from './support/house.js'
import { silent, Way } from './support/postgres.js'
import { smsc } from './support/smsc.js'
import { commitAll, message } from './support/spool-contract.js'

t.jobs = 2

const PRICE = 50_000
const TARIFF = { name: 'retail', prices: { 1: 0.05 } }
const PREPAID = { tariff: 'retail', credit: 0, apiKey: KEY }
const RENAMED = /It goes on under another identity/

/** Of the account `shop`. */
interface Books {
  /** Balances that are not what their book, or history, says, and sums of leases that are not. */
  wrong: number
  balance: number
  /** Messages. */
  charged: number
  identities: number
}

async function books(daemon: House): Promise<Books> {
  const [row] = await daemon.query<Books>(`
    select
      (select count(*)::int from credit c where c.balance_micros <>
          (select coalesce(sum(micros), 0) from ledger_lines where book = 'customer:' || c.account))
        + (select count(*)::int from credit c where c.leased_micros <>
            (select coalesce(sum(micros), 0) from credit_leases l where l.account = c.account))
        + (select count(*)::int from credit c where c.balance_micros <>
            (select coalesce(sum(l.micros), 0) from ledger_lines l join ledger_entries e on e.id = l.entry
              where l.book = 'customer:' || c.account and e.kind <> 'messages')
            + (select coalesce(sum(case kind when 'a' then -price_micros else back_micros end), 0)
              from history where account = c.account)) as wrong,
      (select balance_micros from credit)::float8 as balance,
      (select count(*)::int from history where kind = 'a') as charged,
      (select count(*)::int from spool_position) as identities`)
  return row as Books
}

/** Money in. */
async function topUp(daemon: House, messages: number): Promise<void> {
  await daemon.query(`
    with a as (select id from accounts where system_id = 'shop'),
      e as (insert into ledger_entries (kind) values ('top_up') returning id),
      l as (insert into ledger_lines (entry, book, micros)
        select e.id, b.book, b.micros from e, a, lateral (
          values ('customer:' || a.id, ${messages * PRICE}::bigint), ('cash', -${messages * PRICE}::bigint)) b(book, micros)),
      c as (insert into credit (account, balance_micros) select id, ${messages * PRICE} from a
        on conflict (account) do update set balance_micros = credit.balance_micros + excluded.balance_micros)
    select pg_notify('trunkline_credit', id::text) from a`)
}

/** How many of so many were accepted. */
async function accepted(customer: Esme, messages: number): Promise<number> {
  const answers = await customer.submitAll(messages)
  return answers.filter(({ status }) => status === 'ESME_ROK').length
}

async function shopOf(t: Test, more: HouseOptions = {}): Promise<HouseOptions> {
  const url = await freshDatabase()
  return {
    ...{ carriers: { up: await smsc(t) }, tariffs: [TARIFF], accounts: { shop: PREPAID } },
    ...{ database: { url, direct: url }, expected: RENAMED },
    config: { admin: { listen: '127.0.0.1:0' } },
    ...more,
  }
}

const renamed = (daemon: House): number => daemon.log.filter(({ msg }) => RENAMED.test(msg)).length

const copy = (from: string, to: string): void => {
  rmSync(to, { recursive: true, force: true })
  cpSync(from, to, { recursive: true, filter: file => !file.endsWith('.sock') })
}

story('what a directory from a backup accepts is charged and told of in history, each once', async t => {
  const daemon = await house(t, await shopOf(t))
  await topUp(daemon, 1_000)
  t.equal(await accepted(await esme(t, daemon.smpp), 5), 5)
  await daemon.history(10)
  await daemon.stop()
  copy(daemon.dataDir, join(daemon.dir, 'backup'))
  await daemon.start()
  t.equal(await accepted(await esme(t, daemon.smpp), 50), 50)
  await daemon.history(110)
  await daemon.stop()

  copy(join(daemon.dir, 'backup'), daemon.dataDir)
  await daemon.start()
  t.equal(renamed(daemon), 1, 'it says what it has found')
  t.equal(await daemon.metric('trunkline_events_total', { name: 'history_identity_renewed' }), 1)
  t.equal(await accepted(await esme(t, daemon.smpp), 30), 30)
  await daemon.history(170)
  await daemon.restart()
  t.equal(await accepted(await esme(t, daemon.smpp), 3), 3)
  await daemon.history(176)
  await daemon.stop()
  t.equal(renamed(daemon), 1, 'once')
  t.same(await books(daemon), { wrong: 0, balance: (1_000 - 88) * PRICE, charged: 88, identities: 2 })
})

story(
  'of two that run on copies of one directory each writes its own history, and both spend no more than there is',
  async t => {
    const options = await shopOf(t)
    const one = await house(t, options)
    await topUp(one, 60)
    t.equal(await accepted(await esme(t, one.smpp), 5), 5)
    await one.history(10)
    await one.stop()
    const two = await emptyHouse(t, { ...options, config: { ...options.config, node: 1 } })
    copy(one.dataDir, two.dataDir)
    await Promise.all([one.start(), two.start()])
    const both = await Promise.all([esme(t, one.smpp), esme(t, two.smpp)])
    let sold = 5
    for (let round = 0; round < 3; round++)
      for (const n of await Promise.all(both.map(shop => accepted(shop, 20)))) sold += n
    t.ok(sold > 10 && sold <= 60, `${sold} messages of 60 that were paid`)
    await one.history(2 * sold)
    await Promise.all([one.stop(), two.stop()])
    t.equal(renamed(one) + renamed(two), 1)
    t.same(await books(one), { wrong: 0, balance: (60 - sold) * PRICE, charged: sold, identities: 2 })
  },
)

story('one whose directory was copied while it ran ends, says so, and goes on under another identity', async t => {
  const options = await shopOf(t)
  const one = await house(t, options)
  await topUp(one, 1_000)
  const shop = await esme(t, one.smpp)
  t.equal(await accepted(shop, 5), 5)
  await one.history(10)
  const two = await emptyHouse(t, { ...options, config: { ...options.config, node: 1 } })
  copy(one.dataDir, two.dataDir)
  await two.start()
  t.equal(renamed(two), 0, 'which of them is the original nobody knows')
  const mine = accepted(shop, 20)
  t.equal(await accepted(await esme(t, two.smpp), 20), 20)
  t.equal(await mine, 20)
  t.equal(await one.exit(), 75)
  t.equal(renamed(one), 1)
  await one.start()
  const again = api(one.admin)
  t.equal((await again('POST', '/api/v1/sms/send', { body: { to: '12025550123', message: 'x' } })).status, 200)
  await one.history(92)
  await Promise.all([one.stop(), two.stop()])
  t.equal(renamed(one), 1)
  t.same(await books(one), { wrong: 0, balance: (1_000 - 46) * PRICE, charged: 46, identities: 2 })
})

story(
  'a directory from a backup that starts without its database has taken messages when it learns what it is',
  async t => {
    const options = await shopOf(t)
    const url = await freshDatabase()
    const way = await Way.to(url)
    await way.open()
    t.teardown(() => way.close())
    const daemon = await house(t, { ...options, accounts: { shop: {} }, database: { url: way.url, direct: url } })
    t.equal(await accepted(await esme(t, daemon.smpp), 5), 5)
    await daemon.history(10)
    await daemon.stop()
    copy(daemon.dataDir, join(daemon.dir, 'backup'))
    await daemon.start()
    t.equal(await accepted(await esme(t, daemon.smpp), 50), 50)
    await daemon.history(110)
    await daemon.stop()

    copy(join(daemon.dir, 'backup'), daemon.dataDir)
    way.close()
    await daemon.start()
    t.equal(await accepted(await esme(t, daemon.smpp), 20), 20)
    await way.open()
    t.equal(await daemon.exit(), 75)
    t.equal(renamed(daemon), 1)
    t.equal((await daemon.query('select from history')).length, 110)
    await daemon.start()
    await daemon.history(150)
    await daemon.stop()
    t.equal(renamed(daemon), 1)
    t.equal((await daemon.query('select from history')).length, 150)
  },
)

t.test('a spool knows its runs until one of them is known, and a new name from the next start on', async t => {
  const path = t.testdir()
  const open = (at = path): Promise<LmdbSpool> =>
    LmdbSpool.open({
      ...{
        path: at,
        node: 0,
        clock: new ManualClock(0),
        mapGb: 1,
        reserveMb: 1,
        maxWaiting: 9,
        maxWaitingPerAccount: 9,
      },
      ...{ keepReportsMs: 1, keepReportsPerAccount: 1, receiptGraceMs: 1 },
    })
  const namesOf = ({ origin }: LmdbSpool): string[] => origin.runs.map(({ name }) => name)
  const first = await open()
  const { identity, origin } = first
  t.equal(origin.dropped, 0)
  t.same(origin.runs, [
    { name: '', end: 0 },
    { name: origin.run, end: 0 },
  ])
  await first.close()
  const second = await open()
  t.same(namesOf(second), ['', origin.run, second.origin.run])
  await second.origin.isKnown()
  await commitAll(second, [message(), message()])
  second.dropLog(2)
  await second.synced()
  await second.close()
  const third = await open()
  t.equal(third.origin.dropped, 2)
  t.same(third.origin.runs, [
    { name: second.origin.run, end: 0 },
    { name: third.origin.run, end: 2 },
  ])
  t.equal(third.identity, identity)
  await third.origin.rename('0123456789abcdef')
  t.equal(third.identity, identity)
  await third.close()
  const fourth = await open()
  t.teardown(() => fourth.close())
  t.equal(fourth.identity, '0123456789abcdef')
  t.same(namesOf(fourth), ['', fourth.origin.run])
})

t.test('what is leased to a spool only the run that writes its history can change, or take over', async t => {
  const store = openStore({ url: await freshDatabase(), dataDir: '/nonexistent', log: silent })
  t.teardown(() => store.close())
  await store.firstTry
  await store.query(
    `insert into accounts (id, system_id, credit_micros) overriding system value values (7, 'shop', 1000)`,
  )
  await store.query(`insert into spool_position (spool, node, position, writer) values ('one', 0, 0, 'ours')`)
  const [ours, others] = ['ours', 'other'].map(
    run => new CreditRows(store, { identity: 'one', origin: { run } }, 0),
  ) as [CreditRows, CreditRows]
  const moved = async (rows: CreditRows, turn: number, change: { give?: number; want?: number }) => {
    const round: Round = { moves: [{ account: 7, turn, give: 0, want: 0, least: 0, ...change }], moved: [] }
    await rows.move(round)
    return round.moved
  }
  t.match(await moved(ours, 0, { want: 100 }), [{ micros: 100, isLost: false }])
  t.match(await moved(others, 1, { want: 100 }), [{ micros: 0, isLost: true }])
  t.match(await moved(others, 1, { give: 50 }), [{ micros: 0, isLost: true }])
  await t.rejects(others.recover(), /another daemon/)
  t.match(await ours.recover(), { position: 0, leases: [{ account: 7, micros: 100, turn: 1 }] })
})

t.test('a lease that is gone is told of', async t => {
  const warned: object[] = []
  const counters = new Counters()
  const credit = new Credit({
    ...{ clock: new ManualClock(0), counters, log: { warn: (fields: object) => void warned.push(fields) } },
    rows: {
      move: async round => {
        round.moved = round.moves.map(({ account }) => ({ account, micros: 0, others: 0, isLost: true }))
      },
      turns: async () => new Map(),
      recover: async () => ({ position: 0, leases: [{ account: 7, micros: 100, turn: 3, isOver: false }] }),
      leases: async () => ({ position: 0, leases: [] }),
    },
    isUp: () => true,
    held: async () => new Map([[7, 10]]),
  })
  await credit.recover()
  t.equal(credit.hold({ id: 7 }, 100), 'wait')
  await new Promise(setImmediate)
  t.same(warned, [{ account: 7, leftMicros: 90 }])
  t.equal(counters.get('credit_leases_lost'), 1)
  await credit.stop()
})
