// What keeps money from being lost or told wrongly, against a real PostgreSQL: accounts that go, leases that are shown, notices
// that do not flap, tax that was paid in advance.
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { removeAccount } from '../src/accounts/accountEdit.js'
import { balance, balances, creditNews, leases, tellBelow } from '../src/accounts/balances.js'
import { CreditRows } from '../src/accounts/creditRows.js'
import { applyGateway } from '../src/accounts/gatewayApply.js'
import { parseGateway } from '../src/accounts/gatewayFile.js'
import { createInvoice } from '../src/accounts/invoiceMaking.js'
import { type InvoiceEntry, invoiceEntries, payInvoice, voidInvoice } from '../src/accounts/invoices.js'
import { type Booked, type BookingKind, bookFor } from '../src/accounts/ledger.js'
import { Secrets } from '../src/accounts/secrets.js'
import { statementPage } from '../src/accounts/statement.js'
import { spanOf } from '../src/admin/credit.js'
import { openStore, type Store } from '../src/store/postgres.js'
import { accounts, Node } from './support/money.js'
import { type Databases, silent, someDatabases } from './support/postgres.js'

t.setTimeout(60_000)

const UNIT = 1_000_000
const ACTOR = { who: 'ann@desk.example', from: 'test' }
const SECRETS = new Secrets(Buffer.alloc(32, 1))

let databases: Databases
t.before(async () => {
  databases = await someDatabases()
})
t.teardown(() => databases?.close())

async function opened(t: Test): Promise<Store> {
  const store = openStore({ url: await databases.database(), dataDir: '/nonexistent', log: silent, pool: 4 })
  t.teardown(() => store.close())
  await store.firstTry
  return store
}

const booked = (store: Store, kind: BookingKind, amount: number, account = 'shop'): Promise<Booked> =>
  bookFor(store, ACTOR, account, { kind, micros: amount, reference: undefined, memo: 'why' })

async function applied(store: Store, text: string, dryRun = false): Promise<unknown> {
  const parsed = parseGateway(text)
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.faults))
  const done = await applyGateway(store, SECRETS, parsed.file, { dryRun })
  return done.ok ? done.report : done.faults
}

t.test('an account that has money, owes some or has something leased is removed by nobody', async t => {
  const store = await opened(t)
  const [, , lent] = (await accounts(store, 'rich', 'poor', 'lent', 'plain')) as [number, number, number]
  await booked(store, 'top_up', 12_500_000, 'rich')
  await booked(store, 'adjustment', -3 * UNIT, 'poor')
  await store.query('insert into credit (account, leased_micros) values ($1, 2000000)', [lent])
  await store.query(`insert into credit_leases (account, spool, node, micros) values ($1, 'here', 4, 2000000)`, [lent])
  const faults = [
    { path: 'accounts', text: /leaves out rich, but its balance is 12\.5: 'trunkline credit take rich 12\.5'/ },
    { path: 'accounts', text: /leaves out poor, but its balance is -3: .*'trunkline credit adjust poor 3 --memo WHY'/ },
    { path: 'accounts', text: /leaves out lent, but 2 are leased to nodes: .*'trunkline account suspend lent'/ },
  ]
  t.match(await applied(store, 'accounts: []'), faults)
  t.match(await applied(store, 'accounts: []', true), faults, 'a dry run says so too')
  t.equal((await balances(store, { after: 0, limit: 9 })).length, 4, 'nothing of the file was done')
  const remove = (name: string): Promise<void> => removeAccount(store, SECRETS, ACTOR, name, 'gone')
  await t.rejects(remove('rich'), /^rich is not removed: its balance is 12\.5/)
  await t.rejects(remove('nobody'), /there is no account nobody/)
  await remove('plain')
  await booked(store, 'withdrawal', -12_500_000, 'rich')
  await booked(store, 'adjustment', 3 * UNIT, 'poor')
  await store.query('delete from credit_leases')
  await store.query('update credit set leased_micros = 0')
  t.match(await applied(store, 'accounts: []'), { accounts: { removed: 3 } })
})

t.test('what an account had that is gone is listed in its place, and can be booked away', async t => {
  const store = await opened(t)
  const ids = (await accounts(store, 'one', 'two', 'three', 'four')) as [number, number, number, number]
  for (const name of ['one', 'two', 'three', 'four']) await booked(store, 'top_up', UNIT, name)
  await store.query(`delete from accounts where system_id in ('two', 'four')`)
  const names: string[] = []
  for (let after = 0; ; ) {
    const page = await balances(store, { after, limit: 2 })
    names.push(...page.map(({ account }) => account))
    if (page.length < 2) break
    after = page.at(-1)?.id as number
  }
  t.same(names, ['one', `#${ids[1]}`, 'three', `#${ids[3]}`])
  t.match(await balance(store, `#${ids[1]}`), { id: ids[1], balance_micros: UNIT, tariff: null, credit_micros: 0 })
  await t.rejects(balance(store, `#${ids[0]}`), /there is no account/, 'an account has its name')
  await booked(store, 'withdrawal', -UNIT, `#${ids[1]}`)
  t.same(
    (await balances(store, { after: 0, limit: 9 })).map(({ account }) => account),
    ['one', 'three', `#${ids[3]}`],
  )
})

t.test('of leases those of something are shown, a page at a time, and what each node has in all', async t => {
  const store = await opened(t)
  await accounts(store, 'shop')
  await store.query(`insert into credit (account, leased_micros) select a, 2 from generate_series(1000, 1006) a`)
  await store.query(`
    insert into credit_leases (account, spool, node, micros)
    select a, s.spool, s.node, case when a < 1003 then 0 else 1 end
    from generate_series(1000, 1006) a, (values ('x', 1), ('y', 2)) s(spool, node)`)
  const seen: string[] = []
  for (let after: string | undefined; ; ) {
    const page = await leases(store, { after, limit: 3 })
    seen.push(...page.leases.map(({ account, spool }) => `${account}${spool}`))
    t.match(page.spools, [
      { spool: 'x', node: 1, leases: 4, micros: 4 },
      { spool: 'y', node: 2, leases: 4, micros: 4 },
    ])
    if (page.next === null) break
    after = page.next
  }
  t.same(seen, ['#1003x', '#1003y', '#1004x', '#1004y', '#1005x', '#1005y', '#1006x', '#1006y'])
  t.match(await leases(store, { account: '#1005', limit: 9 }), { leases: [{ spool: 'x' }, { spool: 'y' }] })
})

t.test('what a carrier says ended tomorrow is booked now, and a statement has all that is booked', async t => {
  const store = await opened(t)
  const [shop] = (await accounts(store, 'shop')) as [number]
  const nowMs = Date.now()
  const node = new Node(store, 1, nowMs)
  const row = node.accepted(shop, nowMs - 60_000, UNIT, '4917112345', 1)
  await node.write([row, node.ended(row, nowMs + 14 * 3_600_000, UNIT)])
  const { rows } = await store.query<{ at: Date }>('select at from ledger_entries')
  t.ok(rows.length > 0 && rows.every(({ at }) => at.getTime() <= nowMs))
  const { lines } = await statementPage(store, shop, { ...spanOf(undefined, undefined, nowMs), after: 0, limit: 9 })
  t.equal(lines.at(-1)?.balance_micros, (await balance(store, 'shop')).balance_micros)
  // As an earlier release booked it.
  await new Node(store, 2).write([node.ended(row, nowMs + 14 * 3_600_000, UNIT)])
  const span = spanOf(undefined, undefined, nowMs)
  t.equal(span.shownToMs, nowMs)
  const late = await statementPage(store, shop, { ...span, after: 0, limit: 9 })
  t.equal(late.lines.at(-1)?.balance_micros, (await balance(store, 'shop')).balance_micros)
})

t.test(
  'a node that begins reads what it leases of something in pages, and what it leases of nothing is dropped',
  async t => {
    const store = await opened(t)
    const [shop] = (await accounts(store, 'shop')) as [number]
    const rows = new CreditRows(store, { identity: 'here', origin: { run: 'this' } }, 1)
    await store.query(`insert into credit (account, leased_micros) select a, 5 from generate_series(1000, 4499) a`)
    await store.query(`
    insert into credit_leases (account, spool, node, micros, turn)
    select a, spool, 1, case when a % 2 = 0 then 5 else 0 end, 3
    from generate_series(1000, 4499) a, unnest(array['here', 'there']) spool`)
    await booked(store, 'top_up', 10)
    await store.query('update credit set leased_micros = 5 where account = $1', [shop])
    await store.query(`insert into credit_leases (account, spool, node, micros, turn) values ($1, 'here', 1, 5, 1)`, [
      shop,
    ])
    const { leases: found, position } = await rows.recover()
    t.equal(position, 0)
    t.equal(new Set(found.map(({ account }) => account)).size, 1_751)
    t.match(found[0], { account: shop, micros: 5, turn: 1, isOver: false })
    t.match(found.at(-1), { account: 4_498, micros: 5, turn: 3, isOver: true }, 'its account is gone')
    const left = await store.query(
      'select spool, count(*) as n from credit_leases where micros = 0 group by spool order by spool',
    )
    t.same(left.rows, [{ spool: 'there', n: 1_750 }], 'those of others are theirs')
    await booked(store, 'adjustment', -6)
    t.match(await rows.leases([shop]), { leases: [{ account: shop, isOver: true }] })
    t.match(await rows.leases([1_001]), { leases: [] })
  },
)

t.test('refunds and messages in turn tell an account nothing, money that comes makes it hear anew', async t => {
  const store = await opened(t)
  const [shop] = (await accounts(store, 'shop')) as [number]
  await store.query(`insert into tariff_prices (tariff, prefix, micros) select id, '49', 50000 from tariffs`)
  const node = new Node(store, 1)
  const row = node.accepted(shop, Date.now(), 0, '4917112345', 1)
  const move = (micros: number): Promise<void> =>
    micros > 0
      ? node.write([node.ended({ ...row, priceMicros: micros }, Date.now(), micros)])
      : node.write([{ ...row, priceMicros: -micros }])
  const told: string[] = []
  const news = async (): Promise<string[]> => {
    const types = (await creditNews(store)).map(({ type }) => type.replace('account.credit_', ''))
    told.push(...types)
    return types
  }
  await booked(store, 'top_up', 10 * UNIT)
  await move(-9_960_000)
  t.same(await news(), ['exhausted'])
  for (let i = 0; i < 3; i++) {
    await move(20_000)
    t.same(await news(), [], 'a refund makes little of nothing, and that is no news')
    await move(-20_000)
    t.same(await news(), [])
  }
  await move(UNIT)
  await news()
  await move(-UNIT)
  t.same(await news(), [], 'hardly more than the threshold is not clearly more')
  await move(2 * UNIT)
  t.same(await news(), [])
  t.match(await balance(store, 'shop'), { told: 'nothing' })
  await move(-2 * UNIT)
  t.same(await news(), ['exhausted'])
  await booked(store, 'top_up', 500_000)
  t.match(await balance(store, 'shop'), { told: 'nothing' })
  await tellBelow(store, ACTOR, 'shop', { micros: UNIT, percent: 10 })
  t.same(await news(), ['low'], 'what came is little')
  await booked(store, 'adjustment', 1)
  t.same(await news(), ['low'])
  t.same(told, ['exhausted', 'exhausted', 'low', 'low'])
})

const BOOKS = `
  select
    (select coalesce(-sum(l.micros), 0)::bigint from ledger_lines c join ledger_lines l on l.entry = c.entry
      where c.book = $1 and l.book = 'cash') as cash,
    (select coalesce(sum(l.micros), 0)::bigint from ledger_lines c join ledger_lines l on l.entry = c.entry
      where c.book = $1 and l.book = 'tax') as tax`

t.test('what invoices say was paid came in as cash, and their tax stands in the book of tax, to the micro', async t => {
  const store = await opened(t)
  await accounts(store)
  const node = new Node(store, 1)
  const settings = { currency: 'EUR', taxPercent: '8.1', seller: 'Gateway Ltd' }
  const months = ['2030-01', '2030-02', '2030-03']
  let n = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.integer({ min: 1, max: 90_000_000 }), fc.nat(9_000_000)), { maxLength: 4 }),
      fc.array(fc.integer({ min: 1, max: 90_000_000 }), { minLength: 3, maxLength: 3 }),
      fc.array(fc.tuple(fc.constantFrom('make', 'pay', 'void', 'redo'), fc.nat(2)), { maxLength: 8 }),
      async (topUps, charges, deeds) => {
        const name = `account ${++n}`
        const { rows } = await store.query<{ id: number }>(
          'insert into accounts (system_id, credit_micros) values ($1, 0) returning id',
          [name],
        )
        const account = rows[0]?.id as number
        for (const [micros, taxMicros] of topUps)
          await bookFor(store, ACTOR, name, { kind: 'top_up', micros, taxMicros, reference: undefined, memo: '' })
        for (const [month, micros] of charges.entries())
          await node.write([node.accepted(account, Date.UTC(2030, month, 15), micros, '4917112345', 1)])
        const invoices = async (): Promise<InvoiceEntry[]> =>
          (await invoiceEntries(store, { account, limit: 100 })).filter(one => one.replaced_by === null)
        const make = async (month: string): Promise<void> => {
          const again = (await invoices()).some(one => one.month === month && one.status === 'void')
          await createInvoice(store, ACTOR, settings, { account, month, again, nowMs: Date.UTC(2030, 5) })
        }
        const check = async (): Promise<void> => {
          const { cash, tax } = (await store.query<{ cash: number; tax: number }>(BOOKS, [`customer:${account}`]))
            .rows[0] as { cash: number; tax: number }
          const { balance_micros } = await balance(store, name)
          const charged = charges.reduce((sum, one) => sum + one, 0)
          let counted = 0
          let credited = 0
          for (const one of await invoices()) {
            if (one.covered_tax_micros + one.due_tax_micros !== one.tax_micros) throw new Error(one.number)
            if (one.status === 'void') credited += one.net_micros
            else counted += one.tax_micros - (one.status === 'open' ? one.due_tax_micros : 0)
          }
          if (tax < counted) throw new Error(`invoices say that ${counted} of tax are paid, the book has ${tax}`)
          if (cash !== balance_micros + charged - credited + tax) throw new Error(`${cash} came in`)
        }
        for (const [what, place] of deeds) {
          const month = months[place] as string
          const one = (await invoices()).find(one => one.month === month)
          if (what === 'make') await make(month)
          else if (one === undefined || one.status === 'void') continue
          else if (what === 'pay') await payInvoice(store, ACTOR, one.number, '')
          else await voidInvoice(store, ACTOR, one.number, 'dice')
          if (what === 'redo') await make(month)
          await check()
        }
        for (const month of months) await make(month)
        for (const { number } of await invoices()) await payInvoice(store, ACTOR, number, '')
        await check()
        const all = await invoices()
        const { tax } = (await store.query<{ tax: number }>(BOOKS, [`customer:${account}`])).rows[0] as { tax: number }
        const paidAhead = topUps.reduce((sum, [, micros]) => sum + micros, 0)
        const owed = all.reduce((sum, { tax_micros }) => sum + tax_micros, 0)
        if (tax < owed || tax > Math.max(owed + 10_000, paidAhead)) throw new Error(`${owed} are owed, ${tax} is paid`)
        if ((await balance(store, name)).balance_micros < -15_000) throw new Error('what was to be paid is not all')
      },
    ),
    { numRuns: process.env.LONG ? 200 : 25 },
  )
})

t.test('tax that came in advance goes back with what is paid out, and never more of it', async t => {
  const store = await opened(t)
  const [shop] = (await accounts(store, 'shop')) as [number]
  const move = (kind: BookingKind, micros: number, taxMicros: number, reference: string): Promise<Booked> =>
    bookFor(store, ACTOR, 'shop', { kind, micros, taxMicros, reference, memo: '' })
  await move('top_up', 100 * UNIT, 19 * UNIT, 'in')
  t.match(await move('top_up', 100 * UNIT, 19 * UNIT, 'in'), { repeated: true, balance_micros: 100 * UNIT })
  await t.rejects(move('top_up', 100 * UNIT, 0, 'in'), { code: 'reference_used' }, 'with another tax it is another')
  await t.rejects(move('withdrawal', -50 * UNIT, -20 * UNIT, 'out'), { code: 'too_much' })
  await move('withdrawal', -50 * UNIT, -9_500_000, 'out')
  t.match((await store.query(BOOKS, [`customer:${shop}`])).rows, [{ cash: 59_500_000, tax: 9_500_000 }])
})
