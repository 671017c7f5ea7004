// Prepaid messages as whole stories: priced, held, refused, given back and booked by the real daemon, over a database that
// says afterwards whether the books agree with history to the micro.

import { copyFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import t from 'tap'
import { command } from '../protocols/smpp/commands.js'
import { status, statusName } from '../protocols/smpp/status.js'
import { formatRelative } from '../protocols/smpp/time.js'
import { tlv, writeTlvBytes } from '../protocols/smpp/tlv.js'
import { api, KEY } from './support/api.js'
import { dice } from './support/dice.js'
import { type Esme, esme, stranger } from './support/esme.js'
import {
  emptyHouse,
  freshDatabase,
  type Gateway,
  type House,
  type HouseOptions,
  house,
  story,
  trunkline,
} from './support/house.js'
import { Way } from './support/postgres.js'
import { smsc } from './support/smsc.js'

t.jobs = 2

const PRICE = 50_000
const KILLS = process.env.LONG ? 20 : 3
const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000)
const TARIFF = { name: 'retail', prices: { 1: 0.05, 49: '0.1' }, margins: [{ prefix: '33', percent: 20 }] }
const PREPAID = { tariff: 'retail', credit: 0, apiKey: KEY }

/** Money in, as the desk books it. */
async function topUp(daemon: House, account: string, micros: number): Promise<void> {
  await daemon.query(`
    with a as (select id from accounts where system_id = '${account}'),
      e as (insert into ledger_entries (kind) values ('top_up') returning id),
      l as (insert into ledger_lines (entry, book, micros)
        select e.id, b.book, b.micros from e, a, lateral (
          values ('customer:' || a.id, ${micros}::bigint), ('cash', -${micros}::bigint)) b(book, micros)),
      c as (insert into credit (account, balance_micros) select id, ${micros} from a
        on conflict (account) do update set balance_micros = credit.balance_micros + excluded.balance_micros)
    select pg_notify('trunkline_credit', id::text) from a`)
}

interface Books {
  /** Of all lines. */
  sum: number
  /** Entries out of balance, and accounts whose balance is not what their book, or history, says. */
  wrong: number
  balance: number
  leased: number
  charged: number
  back: number
  cost: number
}

/** Of the account `shop`, once nothing of its log is missing. */
async function books(daemon: House): Promise<Books> {
  const [row] = await daemon.query<Books>(`
    with shop as (select id from accounts where system_id = 'shop')
    select
      (select coalesce(sum(micros), 0)::float8 from ledger_lines) as sum,
      (select count(*)::int from (select entry from ledger_lines group by entry having sum(micros) <> 0) o)
        + (select count(*)::int from credit c where c.balance_micros <>
            (select coalesce(sum(micros), 0) from ledger_lines where book = 'customer:' || c.account))
        + (select count(*)::int from credit c where c.leased_micros <>
            (select coalesce(sum(micros), 0) from credit_leases l where l.account = c.account))
        + (select count(*)::int from credit c where c.balance_micros <>
            (select coalesce(sum(l.micros), 0) from ledger_lines l join ledger_entries e on e.id = l.entry
              where l.book = 'customer:' || c.account and e.kind <> 'messages')
            + (select coalesce(sum(case kind when 'a' then -price_micros else back_micros end), 0)
              from history where account = c.account)) as wrong,
      coalesce((select balance_micros from credit where account = (select id from shop)), 0)::float8 as balance,
      coalesce((select leased_micros from credit where account = (select id from shop)), 0)::float8 as leased,
      (select coalesce(sum(price_micros), 0)::float8 from history, shop where kind = 'a' and account = shop.id) as charged,
      (select coalesce(sum(back_micros), 0)::float8 from history, shop where kind = 'e' and account = shop.id) as back,
      (select coalesce(sum(cost_micros), 0)::float8 from history, shop where kind = 'e' and account = shop.id) as cost`)
  return row as Books
}

async function prepaid(t: Test, more: Partial<Gateway & HouseOptions> = {}): Promise<House> {
  const { accounts = { shop: PREPAID }, config, ...rest } = more
  return house(t, {
    tariffs: [TARIFF],
    accounts,
    config: { ...config, admin: { listen: '127.0.0.1:0' } },
    ...rest,
  })
}

const statuses = async (all: Promise<{ status: string }[]>): Promise<Record<string, number>> => {
  const counts: Record<string, number> = {}
  for (const { status } of await all) counts[status] = (counts[status] ?? 0) + 1
  return counts
}

story(
  'a prepaid account sends what it has paid for and no more, gets back what failed, and its books agree',
  async t => {
    const carrier = await smsc(t, {
      submit: sm => (sm.text.startsWith('bad') ? sm.refuse(status.ESME_RINVDSTADR) : sm.deliver()),
    })
    const daemon = await prepaid(t, {
      carriers: { up: { at: carrier, prices: { 1: 0.02, 33: 0.04 } } },
      accounts: { shop: PREPAID, free: {}, editor: { tariff: 'retail', credit: 1, smpp: { replace: true } } },
    })
    const shop = await esme(t, daemon.smpp)
    const ask = api(daemon.admin)

    t.equal((await shop.submit()).status, 'ESME_RSUBMITFAIL', 'nothing is paid in yet')
    const poor = await ask('POST', '/api/v1/sms/send', { body: { to: '12025550123', message: 'x' } })
    t.match([poor.status, poor.json.code], [402, 'credit_exhausted'])
    const free = await esme(t, daemon.smpp, { systemId: 'free' })
    t.equal((await free.submit()).status, 'ESME_ROK', 'one without a tariff needs no credit')

    await topUp(daemon, 'shop', 10 * PRICE)
    // The nodes are told of it.
    await daemon.history(2)
    const first = await statuses(shop.submitAll(8))
    t.same(first, { ESME_ROK: 8 })
    const dry = await ask('POST', '/api/v1/sms/send', {
      body: { to: '4915112345678', message: 'x'.repeat(200), dry_run: true },
    })
    t.match([dry.status, dry.json.price_micros], [200, 200_000], 'a dry run shows the price and holds nothing')
    const none = await ask('POST', '/api/v1/sms/send', { body: { to: '442079460000', message: 'x' } })
    t.match([none.status, none.json.code], [422, 'no_price'])
    const margin = await ask('POST', '/api/v1/sms/send', { body: { to: '33612345678', message: 'x', dry_run: true } })
    t.equal(margin.json.price_micros, 48_000)

    t.equal((await shop.submit({ short_message: Buffer.from('bad') })).status, 'ESME_ROK')
    await daemon.history(rows => rows.filter(({ kind }) => kind === 'e').length === 10)
    const rest = await statuses(shop.submitAll(6))
    t.same(rest, { ESME_ROK: 2, ESME_RSUBMITFAIL: 4 }, 'what the carrier refused was given back')

    await daemon.history(rows => rows.filter(({ kind }) => kind === 'e').length === 12)
    const settled = await books(daemon)
    t.match(settled, { sum: 0, wrong: 0, balance: 0, charged: 11 * PRICE, back: PRICE, cost: 10 * 20_000 })
    const lines = await daemon.query<{ book: string; micros: string; messages: number }>(`
    select book, sum(micros)::text as micros, sum(messages)::int as messages from ledger_lines
    group by book order by book`)
    t.match(lines, [
      { book: 'cash', micros: String(-10 * PRICE) },
      { book: 'cost:up', micros: String(-11 * 20_000), messages: 11 },
      { book: /customer:\d+/, micros: '0', messages: 11 },
      { book: 'payable:up', micros: String(11 * 20_000), messages: 11 },
      { book: 'revenue', micros: String(10 * PRICE), messages: 11 },
    ])

    // Another text for what waits may not need more parts than were paid for.
    const editor = await esme(t, daemon.smpp, { systemId: 'editor' })
    const long = Buffer.alloc(200, 'x')
    const later = { schedule_delivery_time: formatRelative(3_600_000) }
    const { message_id } = await editor.submit({ ...later, short_message: long })
    const replace = async (text: Buffer): Promise<string> => {
      const fields = { message_id, source_addr: '1000', short_message: text }
      return statusName((await editor.peer.request(command.replace_sm, fields)).status)
    }
    t.equal(await replace(Buffer.alloc(250, 'y')), 'ESME_ROK', 'as many parts')
    t.equal(await replace(Buffer.from('short')), 'ESME_ROK')
    t.equal(await replace(long), 'ESME_RINVMSGLEN')
    const again = { ...later, replace_if_present_flag: 1, short_message: Buffer.from('z') }
    t.equal((await editor.submit(again)).message_id, message_id)
    t.equal((await editor.submit({ ...again, short_message: long })).status, 'ESME_RINVMSGLEN')
    await daemon.history(rows => rows.some(({ id }) => id === message_id))
    t.same(await daemon.query(`select price_micros::int as price from history where id = ${message_id}`), [
      { price: 2 * PRICE },
    ])
  },
)

story('prices and credit that an operator changes count at once, and an export changes nothing', async t => {
  const gateway = { carriers: { up: await smsc(t) }, accounts: { shop: { ...PREPAID, credit: 0.05 } } }
  const daemon = await prepaid(t, gateway)
  const shop = await esme(t, daemon.smpp)
  t.equal((await shop.submit()).status, 'ESME_ROK')
  t.equal((await shop.submit()).status, 'ESME_RSUBMITFAIL')
  const until = async (name: string): Promise<void> => {
    while ((await shop.submit()).status !== name) await new Promise(setImmediate)
  }
  const richer = { ...gateway, accounts: { shop: { ...PREPAID, credit: 0.100001 } } }
  await daemon.apply({ ...richer, tariffs: [TARIFF] })
  await until('ESME_ROK')
  const soon = Date.now() + 500
  const prices = [
    { prefix: '1', price: 0.05 },
    { prefix: '1', from: new Date(soon).toISOString(), price: 0.000001 },
    { prefix: '49', class: 'otp', price: null },
  ]
  await daemon.apply({ ...richer, tariffs: [{ ...TARIFF, givesBack: ['unknown'], prices }] })
  await until('ESME_ROK')
  t.ok(Date.now() >= soon, 'a price of the future counts from its moment on')

  const exported = await trunkline(['export', '--config', daemon.configFile])
  t.match(exported.stdout, /^tariffs:\n {2}- name: retail\n/)
  t.match(exported.stdout, /\{ prefix: "49", class: otp, price: null \}/)
  t.match(exported.stdout, /tariff: retail/)
  const file = join(daemon.dir, 'exported.yaml')
  writeFileSync(file, exported.stdout)
  const applied = await trunkline(['apply', file, '--config', daemon.configFile, '--json'])
  t.equal(applied.code, 0, applied.stderr)
  t.match(JSON.parse(applied.stdout), {
    tariffs: { created: 0, updated: 0, removed: 0, unchanged: 1 },
    accounts: { created: 0, updated: 0, removed: 0, unchanged: 1 },
  })
})

story('of two parts, one of them sent, half comes back, and less credit calls back what is leased', async t => {
  let parts = 0
  const carrier = await smsc(t, { submit: sm => (++parts === 1 ? sm.accept() : sm.refuse(status.ESME_RMSGQFUL)) })
  const gateway = {
    carriers: { up: { at: carrier, prices: { 1: 0.02 } } },
    accounts: { shop: { ...PREPAID, credit: 100 } },
  }
  const daemon = await prepaid(t, gateway)
  const shop = await esme(t, daemon.smpp)
  const { message_id } = await shop.submit({ short_message: Buffer.alloc(200, 'x') })
  while (parts < 2) await new Promise(setImmediate)
  const address = { source_addr: '1000', destination_addr: '12025550123' }
  const cancel = async (): Promise<string> =>
    statusName((await shop.peer.request(command.cancel_sm, { message_id, ...address })).status)
  while ((await cancel()) !== 'ESME_ROK') await new Promise(setImmediate)
  await daemon.history(rows => rows.some(({ id, kind }) => id === message_id && kind === 'e'))
  const held = await books(daemon)
  t.match(held, { sum: 0, wrong: 0, charged: 2 * PRICE, back: PRICE, cost: 20_000, balance: -PRICE })
  t.ok(held.leased > 0)
  const sinceMs = performance.now()
  await daemon.apply({ ...gateway, accounts: { shop: { ...PREPAID, credit: 0.05 } }, tariffs: [TARIFF] })
  while ((await books(daemon)).leased > 0) await new Promise(setImmediate)
  t.ok(performance.now() - sinceMs < 8_000, 'before it is given back as idle')
  await daemon.apply({ ...gateway, tariffs: [TARIFF] })
  while ((await shop.submit()).status !== 'ESME_ROK') await new Promise(setImmediate)
  t.ok((await books(daemon)).leased > 0)
  const againMs = performance.now()
  const less = { amount: -100, reference: 'less', memo: 'charged too little' }
  t.equal((await daemon.ask('POST', '/api/v1/admin/credit/shop/adjustment', less)).status, 200)
  // What one message holds may be of it, until it is posted.
  while ((await books(daemon)).leased > 0) await new Promise(setImmediate)
  t.ok(performance.now() - againMs < 8_000)
  t.equal((await shop.submit()).status, 'ESME_RSUBMITFAIL')
})

story('a hundred clients race for the last credit over both doors of two nodes, and get exactly that', async t => {
  const url = await freshDatabase()
  const carriers = { up: await smsc(t) }
  const accounts = { shop: { ...PREPAID, credit: 0, maxBinds: 200 } }
  const database = { url, direct: url }
  const one = await prepaid(t, { carriers, accounts, database })
  const two = await emptyHouse(t, {
    ...{ carriers, accounts, database, tariffs: [TARIFF] },
    config: { node: 1, admin: { listen: '127.0.0.1:0' } },
  })
  copyFileSync(join(one.dataDir, 'server.key'), join(two.dataDir, 'server.key'))
  await two.start()
  const paid = 60
  await topUp(one, 'shop', paid * PRICE)
  const clients = await Promise.all(
    Array.from({ length: 100 }, async (_, i) => {
      const node = i % 4 < 2 ? one : two
      const ask = api(node.admin)
      if (i % 2 === 0) {
        return async () => {
          const sent = await ask('POST', '/api/v1/sms/send', { body: { to: '12025550123', message: `client ${i}` } })
          if (sent.status === 402 && sent.json.code === 'credit_exhausted') return false
          if (sent.status !== 200) throw new Error(sent.text)
          return true
        }
      }
      const bound = await esme(t, node.smpp, { bind: 'transmitter' })
      return async () => {
        const { status } = await bound.submit({ short_message: Buffer.from(`client ${i}`) })
        if (status !== 'ESME_ROK' && status !== 'ESME_RSUBMITFAIL') throw new Error(status)
        return status === 'ESME_ROK'
      }
    }),
  )
  const won = (await Promise.all(clients.map(submit => submit()))).filter(Boolean).length
  t.equal(won, paid)
  await one.history(rows => rows.filter(({ kind }) => kind === 'e').length === paid)
  t.match(await books(one), { sum: 0, wrong: 0, balance: 0, charged: paid * PRICE })
})

story(
  'with the database away what is leased is spent, what is not waits, and all of it is known again after a kill',
  async t => {
    const url = await freshDatabase()
    const way = await Way.to(url)
    await way.open()
    t.teardown(() => way.close())
    const daemon = await prepaid(t, {
      carriers: { up: await smsc(t) },
      database: { url: way.url, direct: url },
      accounts: { shop: PREPAID, late: { ...PREPAID, apiKey: `${KEY}x`, credit: 1 } },
    })
    await topUp(daemon, 'shop', 100 * PRICE)
    let shop = await esme(t, daemon.smpp)
    t.equal((await shop.submit()).status, 'ESME_ROK')
    way.close()
    await daemon.line('the database went away')
    t.equal((await shop.submit()).status, 'ESME_ROK', 'it had leased more than one')
    const late = api(daemon.admin)('POST', '/api/v1/sms/send', {
      key: `${KEY}x`,
      body: { to: '12025550123', message: 'x' },
    })
    t.match(await late.then(({ status, json }) => [status, json.code, json.retryable]), [503, 'credit_pending', true])
    await daemon.kill9()
    await daemon.start()
    shop = await esme(t, daemon.smpp)
    const waiting = shop.submit()
    const payload = Buffer.alloc(5)
    writeTlvBytes(payload, 0, tlv.message_payload, Buffer.from('y'))
    const to = { source_addr: '1000', destination_addr: '12025550123' }
    const data = shop.peer.request(command.data_sm, to, payload)
    const last = shop.submit()
    await daemon.line(
      'bound',
      daemon.log.findLastIndex(({ msg }) => msg === 'ready'),
    )
    await way.open()
    const first = await waiting
    t.equal(first.status, 'ESME_ROK', 'what came before the database was back is taken then')
    const second = (await data) as unknown as { fields: { message_id: string } }
    const ids = [first.message_id, second.fields.message_id, (await last).message_id]
    t.same(ids, [...ids].sort(), 'in the order in which it came, whatever its command')
    const rest = await statuses(shop.submitAll(120))
    t.same(rest, { ESME_ROK: 95, ESME_RSUBMITFAIL: 25 })
    await daemon.history(rows => rows.filter(({ kind }) => kind === 'e').length === 100)
    t.match(await books(daemon), { sum: 0, wrong: 0, balance: 0, charged: 100 * PRICE })
  },
)

story('a node whose lease is released while it lives asks for another, and its books agree', async t => {
  const daemon = await prepaid(t, { carriers: { up: await smsc(t) } })
  const shop = await esme(t, daemon.smpp)
  await topUp(daemon, 'shop', 10 * PRICE)
  t.equal((await shop.submit()).status, 'ESME_ROK')
  const [leased] = await daemon.query<{ messages: number }>(`
    with gone as (delete from credit_leases returning account, micros)
    update credit c set leased_micros = c.leased_micros - g.micros from gone g where g.account = c.account
    returning (g.micros / ${PRICE})::int as messages`)
  const stray = leased?.messages ?? 0
  t.ok(stray > 0)
  const sent = await statuses(shop.submitAll(40))
  const taken = sent.ESME_ROK ?? 0
  t.ok(taken >= 8 && taken < 10 + stray, `${taken} of 9 and ${stray}`)
  await daemon.history(rows => rows.filter(({ kind }) => kind === 'e').length === taken + 1)
  const before = await books(daemon)
  t.match(before, { sum: 0, wrong: 0, balance: (9 - taken) * PRICE })
  await topUp(daemon, 'shop', 30 * PRICE)
  while ((await shop.submit()).status !== 'ESME_ROK') await new Promise(setImmediate)
  await daemon.history(rows => rows.filter(({ kind }) => kind === 'e').length === taken + 2)
  t.equal(await daemon.stop(), 0)
  t.match(await books(daemon), { sum: 0, wrong: 0, leased: 0, balance: (38 - taken) * PRICE })
})

story(`killed ${KILLS} times under load, its books agree with history to the micro`, async t => {
  t.comment(`SEED=${SEED}`)
  const random = dice(SEED)
  const carrier = await smsc(t, {
    submit: sm => (sm.text.endsWith('7') ? sm.refuse(status.ESME_RINVDSTADR) : sm.deliver()),
  })
  const daemon = await prepaid(t, {
    carriers: { up: { at: carrier, prices: { default: 0.013 } } },
    accounts: { shop: { ...PREPAID, credit: 5 } },
  })
  await topUp(daemon, 'shop', 20_000 * PRICE)
  let sent = 0
  let acknowledged = 0
  let onAcknowledged = (): void => {}
  let isOver = false
  const customer = async (): Promise<void> => {
    while (!isOver) {
      await daemon.up()
      let one: Esme
      try {
        one = await stranger(t, daemon.smpp)
        if ((await one.bind({})) !== 'ESME_ROK') continue
      } catch {
        continue
      }
      const work = async (): Promise<void> => {
        while (!isOver && !one.peer.isClosed) {
          const { status } = await one.submit({ short_message: Buffer.from(`message ${++sent}`) })
          if (status !== 'ESME_ROK') throw new Error(status)
          acknowledged++
          onAcknowledged()
        }
      }
      await Promise.all(Array.from({ length: 20 }, () => work().catch(error => one.peer.isClosed || t.fail(error))))
    }
  }
  const load = customer()
  for (let round = 1; round <= KILLS; round++) {
    let left = 100 + Math.floor(random() * 900)
    await new Promise<void>(resolve => {
      onAcknowledged = () => {
        if (--left > 0) return
        onAcknowledged = () => {}
        void daemon.kill9().then(resolve)
      }
    })
    await daemon.start()
  }
  isOver = true
  await load
  // What is on its way ends, and its rows are posted.
  await daemon.history(rows => {
    const accepted = rows.filter(({ kind }) => kind === 'a').length
    return accepted >= acknowledged && rows.length === 2 * accepted
  })
  t.equal(await daemon.stop(), 0)
  const found = await books(daemon)
  t.match(found, { sum: 0, wrong: 0, leased: 0, balance: 20_000 * PRICE - found.charged + found.back })
  t.ok(found.charged >= acknowledged * PRICE && found.back > 0 && found.cost > 0)
  t.comment(`${acknowledged} acknowledged, ${found.charged / PRICE} charged, ${found.back / PRICE} given back`)
})
