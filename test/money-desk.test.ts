// The desk of money against a real PostgreSQL: bookings, statements, invoices, notices and tariffs' files, by dice and in races.
import { Readable } from 'node:stream'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { balance, balances, billTo, creditNews, releaseLeases, tellBelow } from '../src/accounts/balances.js'
import { CreditRows, type Move, type Moved, type Round } from '../src/accounts/creditRows.js'
import { createInvoice, createInvoices, monthSpan } from '../src/accounts/invoiceMaking.js'
import { coinMicros, inCoins, percentOf, sumsOf } from '../src/accounts/invoiceSums.js'
import {
  type Invoice,
  type InvoiceEntry,
  invoiceEntries,
  invoiceShown,
  payInvoice,
  voidInvoice,
} from '../src/accounts/invoices.js'
import { type Booked, type BookingKind, BookingRefused, bookFor } from '../src/accounts/ledger.js'
import { type StatementLine, statementPage, wholeStatement } from '../src/accounts/statement.js'
import { exportPrices, importPrices, PricesFaulty, type TariffImport } from '../src/accounts/tariffImport.js'
import { priceRowOf } from '../src/accounts/tariffRows.js'
import type { StoredPrice } from '../src/accounts/tariffs.js'
import { statementFile } from '../src/admin/credit.js'
import { answerCsv, csvLine } from '../src/admin/csv.js'
import { invoiceCsv, invoiceHtml } from '../src/admin/invoiceText.js'
import { statementHtml } from '../src/admin/statementText.js'
import { ManualClock } from '../src/base/clock.js'
import { Counters } from '../src/base/figures.js'
import { Billing, type BillingHost } from '../src/daemon/billing.js'
import type { ClassRank } from '../src/model/message.js'
import { unitsText } from '../src/model/money.js'
import { moveCells } from '../src/returns/stats.js'
import { TariffTable } from '../src/routing/tariffTable.js'
import type { HistoryRow } from '../src/spool/contract.js'
import { openStore, type Store } from '../src/store/postgres.js'
import { accounts, Node } from './support/money.js'
import { type Databases, silent, someDatabases } from './support/postgres.js'

t.setTimeout(115_000)

const STEPS = process.env.LONG ? 400 : 60
const FILE_ROWS = process.env.LONG ? 100_000 : 3_000
const UNIT = 1_000_000
const ACTOR = { who: 'ann@desk.example', from: 'test' }
const SETTINGS = { currency: 'EUR', taxPercent: '19', seller: 'Gateway Ltd\n1 Street' }

let databases: Databases
t.before(async () => {
  databases = await someDatabases()
})
t.teardown(() => databases?.close())

async function opened(t: Test): Promise<Store> {
  const store = openStore({ url: await databases.database(), dataDir: '/nonexistent', log: silent, pool: 8 })
  t.teardown(() => store.close())
  await store.firstTry
  return store
}

const booked = (
  store: Store,
  kind: BookingKind,
  amount: number,
  reference?: string,
  account = 'shop',
): Promise<Booked> => bookFor(store, ACTOR, account, { kind, micros: amount, reference, memo: 'why' })

/** That the books are sound, in one look; what is wrong with them. */
async function wrongs(store: Store): Promise<Record<string, unknown>> {
  const { rows } = await store.query<Record<string, unknown>>(`
    select (select coalesce(sum(micros), 0)::bigint from ledger_lines) as sum,
      (select count(*) from (select entry from ledger_lines group by entry having sum(micros) <> 0) u) as unbalanced,
      (select count(*) from credit c where balance_micros <> (select coalesce(sum(micros), 0) from ledger_lines
        where book = 'customer:' || c.account)) as apart,
      (select coalesce(array_agg(number order by number), '{}') from (select number, row_number() over (order by id) as n
        from invoices) i where right(number, 6)::int <> n) as holes`)
  return rows[0] as Record<string, unknown>
}
const SOUND = { sum: 0, unbalanced: 0, apart: 0, holes: [] }

const ALL = { fromMs: Date.UTC(2020, 0), toMs: Date.UTC(2100, 0) }

t.test('sums of an invoice are whole coins, and percent is exact', async t => {
  t.same(
    ['EUR', 'JPY', 'KWD'].map(currency => coinMicros(currency)),
    [10_000, 1_000_000, 1_000],
  )
  t.same([inCoins(14_999, 10_000), inCoins(15_000, 10_000), inCoins(-15_000, 10_000)], [10_000, 20_000, -20_000])
  fc.assert(
    fc.property(
      fc.integer({ min: -1e13, max: 1e13 }),
      fc.integer({ min: 0, max: 1_000_000 }),
      (net, tenThousandths) => {
        const percent = unitsText(tenThousandths * 100)
        const product = BigInt(net) * BigInt(tenThousandths)
        const off = BigInt(percentOf(percent, net)) * 1_000_000n - product
        return off <= 500_000n && off >= -500_000n
      },
    ),
  )
  fc.assert(
    fc.property(
      fc.integer({ min: -1e12, max: 1e12 }),
      fc.integer({ min: -1e12, max: 1e12 }),
      fc.integer({ min: -1e6, max: 1e12 }),
      (net, owed, ahead) => {
        const one = sumsOf(net, owed, ahead, '19', 'EUR')
        const due = one.netMicros - one.coveredMicros + one.dueTaxMicros
        if (one.coveredTaxMicros + one.dueTaxMicros !== one.taxMicros) return false
        if (one.dueTaxMicros < 0 || one.coveredTaxMicros > Math.max(0, ahead)) return false
        return one.dueMicros % 10_000 === 0 && one.dueMicros >= 0 && Math.abs(one.dueMicros - due) <= 5_000
      },
    ),
  )
  t.match(sumsOf(80 * UNIT, 30 * UNIT, 9_504_999, '19', 'EUR'), {
    taxMicros: 15_200_000,
    coveredMicros: 50 * UNIT,
    coveredTaxMicros: 9_500_000,
    dueTaxMicros: 5_700_000,
    dueMicros: 35_700_000,
  })
  t.match(sumsOf(80 * UNIT, 30 * UNIT, 0, '19', 'EUR'), { coveredTaxMicros: 0, dueMicros: 45_200_000 })
})

t.test('a cell that a spreadsheet would calculate is text, and a quote stays in its cell', async t => {
  t.equal(csvLine(['=1+1', '-2', '@x', 'a,"b"\n', -3, '+49']), `'=1+1,'-2,'@x,"a,""b""\n",-3,'+49\r\n`)
})

t.test('a long CSV that is read slowly leaves nobody listening, and ends when its reader hangs up', async t => {
  const line = 'x'.repeat(100_000)
  for (const isLeft of [false, true]) {
    let lines = 0
    let end = (_: unknown): void => {}
    const ended = new Promise(resolve => {
      end = resolve
    })
    const reply = { type: () => reply, header: () => reply, send: (stream: Readable) => stream }
    const out = (await answerCsv(reply as never, 'x.csv', async write => {
      try {
        for (; lines < 40; lines++) await write(line)
        end(undefined)
      } catch (error) {
        end(error)
        throw error
      }
    })) as unknown as Readable
    const before = ['close', 'error'].map(name => out.listenerCount(name))
    let octets = 0
    for (let chunk: Buffer | null = null; octets < 20 * line.length; ) {
      chunk = out.read()
      octets += chunk?.length ?? 0
      if (chunk === null) await new Promise(resolve => setImmediate(resolve))
    }
    t.ok(lines > 10, 'it waited again and again')
    const after = ['close', 'error'].map(name => out.listenerCount(name))
    t.ok(
      after.every((count, i) => count <= (before[i] as number) + 1),
      `${before} ${after}`,
    )
    if (isLeft) {
      out.destroy()
      t.match(await ended, /nobody reads/)
    } else {
      for await (const chunk of out) octets += (chunk as Buffer).length
      t.equal(octets, 40 * line.length)
    }
  }
})

t.test('no name, address or reason on an invoice becomes markup, and its page loads nothing', async t => {
  const evil = `<script>alert("x")</script>'"&<img src=http://evil.example/x>`
  const one: Invoice = {
    ...{
      number: '2030-000001',
      account: evil,
      month: '2030-01',
      status: 'void',
      issued_at: '2030-02-01T00:00:00.000Z',
    },
    ...{ paid_at: null, void_at: '2030-02-02T00:00:00.000Z', void_reason: evil, replaced_by: null, currency: 'EUR' },
    ...{ net_micros: 1_234_567, tax_percent: '19', tax_micros: 230_000, total_micros: 1_464_567, covered_micros: 0 },
    ...{
      covered_tax_micros: 0,
      due_tax_micros: 230_000,
      due_micros: 1_460_000,
      seller: evil,
      customer: `${evil}\nTown`,
    },
    lines: [
      {
        what: 'messages',
        month: '2030-01',
        country: 'DE',
        rank: 1,
        messages: 1_234,
        segments: 2_000,
        micros: 2_234_567,
      },
      { what: 'back', month: '2030-01', country: '', rank: -1, messages: 0, segments: 0, micros: -1_000_000 },
    ],
  }
  const html = invoiceHtml(one)
  t.notMatch(html, /<[^>]*(?:script|img|link|src=|href=)|url\(|@import/)
  t.equal(html.split('&lt;script&gt;').length, 5)
  t.match(html, /Town<\/address>/)
  t.match(html, /Germany.*1,234.*2\.234567/)
  t.match(html, /@page[\s\S]*break-inside: avoid/)
  const paid = { ...one, covered_micros: 1_000_000, covered_tax_micros: 190_000, due_tax_micros: 40_000 }
  t.match(invoiceHtml(paid), /Paid from credit<\/td><td>-1\.00<[\s\S]*Tax paid before<\/td><td>-0\.19</)
  const earlier = invoiceHtml({ ...paid, covered_tax_micros: 0 })
  t.match(earlier, /Paid from credit, with its tax<\/td><td>-1\.19</, 'an invoice stays as it was made')
  const csv = invoiceCsv(one)
  t.equal(csv.split('\r\n').length, 4)
  t.match(csv, /,back,2030-01,,,0,0,-1,EUR/)
})

t.test('no text on a statement becomes markup, and its page loads nothing', async t => {
  const evil = `<script>alert("x")</script>'"&<img src=http://evil.example/x>`
  const span = { fromMs: Date.UTC(2030, 0), toMs: Date.UTC(2030, 1) }
  const form = statementHtml({ account: evil, currency: 'EUR', seller: `${evil}\nTown`, span, withWho: false })
  const at = '2030-01-15T10:00:00.000Z'
  const line = { entry: 1, at, who: evil, messages: 0, micros: 1_500_000, balance_micros: 2_500_000 }
  const html =
    form.begin(1_000_000) +
    form.lines([
      { ...line, kind: 'top_up', memo: evil, reference: evil },
      { ...line, kind: 'messages', memo: '', reference: 'messages:x', messages: 1_234, micros: -1 },
    ]) +
    form.end(2_500_000)
  t.notMatch(html, /<[^>]*(?:script|img|link|src=|href=)|url\(|@import/)
  t.equal(html.split('&lt;script&gt;').length, 6)
  t.match(html, /Balance before.*1\.00<[\s\S]*Top-up: .*1\.50<.*2\.50<[\s\S]*1,234.*-0\.000001<[\s\S]*behind.*2\.50</)
  t.notMatch(html, 'messages:x')
})

t.test('a reference is booked once, however many ask at once, and never as something else', async t => {
  const store = await opened(t)
  await accounts(store, 'shop', 'other')
  const all = await Promise.all(Array.from({ length: 20 }, () => booked(store, 'top_up', 100 * UNIT, 'wire-1')))
  t.equal(all.filter(({ repeated }) => !repeated).length, 1)
  t.equal(new Set(all.map(({ entry }) => entry)).size, 1)
  t.equal((await balance(store, 'shop')).balance_micros, 100 * UNIT)
  for (const [kind, amount, account] of [
    ['top_up', 101 * UNIT, 'shop'],
    ['adjustment', 100 * UNIT, 'shop'],
    ['top_up', 100 * UNIT, 'other'],
  ] as const) {
    await t.rejects(booked(store, kind, amount, 'wire-1', account), { code: 'reference_used' })
  }
  const takes = await Promise.allSettled(
    Array.from({ length: 10 }, (_, i) => booked(store, 'withdrawal', -60 * UNIT, `out-${i}`)),
  )
  t.equal(takes.filter(({ status }) => status === 'fulfilled').length, 1, 'no more is paid out than there is')
  await store.query('update credit set leased_micros = 30000000')
  const refused = await booked(store, 'withdrawal', -20 * UNIT).catch(error => error)
  t.ok(refused instanceof BookingRefused)
  t.match(refused.message, /shop has 10 that can be taken; 30 more are leased/)
  t.match(await wrongs(store), SOUND)
  const { rows } = await store.query(`select action, subject, changes->>'amount' as amount from audit order by id`)
  t.same(
    rows,
    [
      { action: 'credit.top_up', subject: 'shop', amount: '100' },
      { action: 'credit.withdrawal', subject: 'shop', amount: '-60' },
    ],
    'what was refused left nothing',
  )
})

t.test('whatever is booked, posted, billed, paid and voided: the books sum to zero, and all papers agree', async t => {
  const store = await opened(t)
  const names = ['shop', 'post', 'third']
  const ids = await accounts(store, ...names)
  await store.query(`update accounts set credit_micros = null where system_id = 'post'`)
  const nodes = [new Node(store, 1), new Node(store, 2)]
  const months = ['2030-01', '2030-02', '2030-03', '2030-04']
  const afterMs = Date.UTC(2030, 4, 2)
  let seed = 11
  const random = (below: number): number => {
    seed = (seed * 48_271) % 2_147_483_647
    return seed % below
  }
  const numbers: string[] = []
  const live: HistoryRow[] = []
  for (let step = 0; step < STEPS; step++) {
    const which = random(3)
    const name = names[which] as string
    const month = random(months.length)
    switch (random(8)) {
      case 0:
      case 1: {
        const node = nodes[random(2)] as Node
        const rows = Array.from({ length: 30 }, () => {
          const atMs = Date.UTC(2030, month, 1) + random(28 * 86_400_000)
          const number = ['4917112345', '33612345678', '12025550123', '999'][random(4)] as string
          return node.accepted(ids[random(3)] as number, atMs, random(90_000), number, random(3) as ClassRank)
        })
        live.push(...rows)
        await node.write(rows)
        break
      }
      case 2: {
        const some = live.splice(0, random(20))
        await (nodes[0] as Node).write(
          some.map(
            row => nodes[0]?.ended(row, row.atMs + random(40 * 86_400_000), random(2) * row.priceMicros) as HistoryRow,
          ),
        )
        break
      }
      case 3:
        await booked(store, 'top_up', random(50) * UNIT + 1, undefined, name)
        break
      case 4:
        await booked(store, 'adjustment', random(2 * UNIT) - UNIT, undefined, name)
        break
      case 5: {
        const asked = { account: ids[which] as number, month: months[month] as string, again: random(3) === 0 }
        await createInvoice(store, ACTOR, SETTINGS, { ...asked, nowMs: afterMs }).then(
          ({ number }) => numbers.push(number),
          error => t.match(error.message, /nothing was charged|only in place/),
        )
        break
      }
      case 6: {
        const number = numbers[random(numbers.length || 1)]
        if (number !== undefined)
          await payInvoice(store, ACTOR, number, '').catch(error => t.match(error.message, /is void/))
        break
      }
      default: {
        const number = numbers[random(numbers.length || 1)]
        if (number !== undefined) await voidInvoice(store, ACTOR, number, 'dice')
      }
    }
    if (step % 10 === 0) await moveCells(store)
    const now = await wrongs(store)
    if (JSON.stringify(now) !== JSON.stringify(SOUND)) return t.fail(`step ${step}: ${JSON.stringify(now)}`)
  }
  await booked(store, 'top_up', UNIT, undefined, 'shop')
  for (const month of months)
    await createInvoices(store, ACTOR, SETTINGS, { month, nowMs: afterMs }, noTell, () => false)
  // Late rows of months that were billed are on the next invoices: none is left after one more month.
  await (nodes[1] as Node).write(ids.map(id => (nodes[1] as Node).accepted(id, afterMs, 1, '4917112345', 1)))
  const june = { month: '2030-05', nowMs: Date.UTC(2030, 5, 2) }
  await createInvoices(store, ACTOR, SETTINGS, june, noTell, () => false)
  t.match(await wrongs(store), SOUND)
  for (const [i, id] of ids.entries()) {
    const whole: StatementLine[] = []
    const closing = await wholeStatement(
      store,
      id,
      ALL,
      opening => void t.equal(opening, 0),
      lines => void whole.push(...lines),
    )
    const { balance_micros } = await balance(store, names[i] as string)
    t.equal(closing, balance_micros, `the statement of ${names[i]} ends with the balance`)
    const paged: StatementLine[] = []
    for (let after: number | null = 0; after !== null; ) {
      const limit = 1 + random(9)
      const page: Awaited<ReturnType<typeof statementPage>> = await statementPage(store, id, { ...ALL, after, limit })
      if (page.lines[0]) t.equal(page.opening_micros, page.lines[0].balance_micros - page.lines[0].micros)
      paged.push(...page.lines)
      after = page.next
    }
    t.same(paged, whole, 'in pages as in one')
    const half = { fromMs: Date.UTC(2030, 1), toMs: Date.UTC(2030, 3) }
    const part: StatementLine[] = []
    await wholeStatement(
      store,
      id,
      half,
      () => {},
      lines => void part.push(...lines),
    )
    t.same(
      part,
      whole.filter(({ at }) => Date.parse(at) >= half.fromMs && Date.parse(at) < half.toMs),
      'and a part of it',
    )
    const invoices = (await invoiceEntries(store, { account: id, limit: 10_000 })).filter(
      one => one.replaced_by === null,
    )
    const charged = whole.filter(({ kind }) => kind === 'messages').reduce((sum, { micros }) => sum - micros, 0)
    t.equal(
      invoices.reduce((sum, { net_micros }) => sum + net_micros, 0),
      charged,
      `what ${names[i]} was billed is what the ledger charged`,
    )
    for (const { number } of invoices) {
      const { lines, net_micros } = await invoiceShown(store, number)
      t.equal(
        lines.reduce((sum, { micros }) => sum + micros, 0),
        net_micros,
      )
      t.notOk(
        lines.some(({ what }) => what === 'other'),
        'each charge is of a country and a class',
      )
    }
  }
  await t.rejects(store.query(`update ledger_lines set micros = 0 where book = 'cash'`), /stays as it is/)
  await t.rejects(store.query(`update invoices set net_micros = 0`), /stays as it was made/)
  await t.rejects(store.query(`delete from invoice_lines`), /stays as it was made/)
})

const noTell = (): void => {}

t.test('an invoice is made once by however many ask, and nobody is asked to pay what credit has paid', async t => {
  const store = await opened(t)
  const [shop, post] = (await accounts(store, 'shop', 'post')) as [number, number]
  const node = new Node(store, 1)
  const january = Date.UTC(2030, 0, 15)
  await booked(store, 'top_up', 50 * UNIT)
  await node.write([
    node.accepted(shop, january, 80 * UNIT, '4917112345', 1),
    node.accepted(post, january, 10_005_000, '33612345678', 0),
  ])
  const nowMs = Date.UTC(2030, 1, 1)
  const asked = { account: shop, month: '2030-01', again: false, nowMs }
  await t.rejects(createInvoice(store, ACTOR, SETTINGS, { ...asked, nowMs: nowMs - 1 }), /is not over/)
  t.throws(() => monthSpan('2030-02', nowMs), /is not over/)
  await billTo(store, ACTOR, 'shop', 'Shop & Sons\nHigh Street')
  const made = await Promise.all([
    ...Array.from({ length: 6 }, () => createInvoice(store, ACTOR, SETTINGS, asked)),
    createInvoices(store, ACTOR, SETTINGS, { month: '2030-01', nowMs }, noTell, () => false),
  ])
  const numbers = (await invoiceEntries(store, { limit: 10 })).map(({ number }) => number)
  t.same(numbers, ['2030-000002', '2030-000001'])
  t.equal(
    made.filter(one => 'made' in one && one.made === true).length + (made[6] as { made: string[] }).made.length,
    2,
  )
  const [one] = await invoiceEntries(store, { account: shop, limit: 1 })
  t.match(one, { net_micros: 80 * UNIT, covered_micros: 50 * UNIT, due_micros: 45_200_000, tax_percent: '19' })
  const number = one?.number as string
  t.match(await invoiceShown(store, number), { customer: 'Shop & Sons\nHigh Street', seller: SETTINGS.seller })
  await t.rejects(invoiceShown(store, number, post), /no invoice/, 'another account’s is none')
  const paid = await Promise.all(Array.from({ length: 4 }, () => payInvoice(store, ACTOR, number, 'wire')))
  t.equal(paid.filter(({ repeated }) => !repeated).length, 1)
  t.equal((await balance(store, 'shop')).balance_micros, 0)
  const tax = await store.query(`select sum(micros)::bigint as tax from ledger_lines where book = 'tax'`)
  t.same(tax.rows, [{ tax: 15_200_000 }], 'credit had paid none of it')
  await Promise.all(Array.from({ length: 3 }, () => voidInvoice(store, ACTOR, number, 'wrong address')))
  t.equal((await balance(store, 'shop')).balance_micros, 95_200_000, 'the credit note, with the tax that was paid')
  const again = await createInvoice(store, ACTOR, { ...SETTINGS, taxPercent: '8.1' }, { ...asked, again: true })
  t.match(again, { number: '2030-000003', made: true })
  t.match(await invoiceShown(store, number), { status: 'void', replaced_by: '2030-000003' })
  t.match(await invoiceShown(store, '2030-000003'), { tax_percent: '8.1', due_micros: 0, status: 'paid' })
  t.equal((await balance(store, 'shop')).balance_micros, 8_720_000, 'at the lower rate less of it is tax')
  const coin = (await invoiceEntries(store, { account: post, limit: 1 }))[0]
  t.match(coin, { net_micros: 10_005_000, tax_micros: 1_900_000, due_micros: 11_910_000 })
  await payInvoice(store, ACTOR, coin?.number as string, '')
  t.equal((await balance(store, 'post')).balance_micros, 5_000, 'what coins cannot pay is on the balance')
  t.match(await wrongs(store), SOUND)
})

t.test('what an older month asks for does not depend on which month was billed first', async t => {
  const store = await opened(t)
  const [shop, post] = (await accounts(store, 'shop', 'post')) as [number, number]
  const node = new Node(store, 1)
  const charge = (account: number, month: number, units: number): Promise<void> =>
    node.write([node.accepted(account, Date.UTC(2030, month, 15), units * UNIT, '4917112345', 1)])
  const invoice = async (account: number, month: string, again = false): Promise<Invoice> => {
    const asked = { account, month, again, nowMs: Date.UTC(2030, 5) }
    return invoiceShown(store, (await createInvoice(store, ACTOR, SETTINGS, asked)).number)
  }
  for (const id of [shop, post]) for (const [month, units] of [100, 50].entries()) await charge(id, month, units)
  const first = await invoice(shop, '2030-01')
  t.match(await invoice(shop, '2030-02'), { net_micros: 50 * UNIT, covered_micros: 0 })
  await voidInvoice(store, ACTOR, first.number, 'wrong address')
  t.match(await invoice(shop, '2030-01', true), { net_micros: 100 * UNIT, covered_micros: 0 })
  await payInvoice(store, ACTOR, (await invoice(post, '2030-02')).number, '')
  const second = await invoice(post, '2030-01')
  t.match(second, { net_micros: 100 * UNIT, covered_micros: 0 })
  await charge(post, 0, 7)
  await charge(post, 2, 1)
  t.match(await invoice(post, '2030-03'), { net_micros: 8 * UNIT, covered_micros: 0 })
  await voidInvoice(store, ACTOR, second.number, 'wrong address')
  const again = await invoice(post, '2030-01', true)
  t.match(again, { net_micros: 100 * UNIT, covered_micros: 0 }, 'what a later invoice has billed is not billed again')
  t.match(again.lines, [
    { what: 'messages', micros: 107 * UNIT },
    { what: 'earlier', month: '2030-01', micros: -7 * UNIT },
  ])
  t.match(invoiceHtml(again), 'Billed with a later invoice')
  t.match(await wrongs(store), SOUND)
})

t.test('an invoice in place of one that was paid takes its tax again, under the rate that holds then', async t => {
  const store = await opened(t)
  const [shop] = (await accounts(store, 'shop')) as [number]
  const node = new Node(store, 1)
  await node.write([node.accepted(shop, Date.UTC(2030, 0, 15), 100 * UNIT, '4917112345', 1)])
  const at = async (): Promise<[number, number]> => {
    const { rows } = await store.query<{ tax: number }>(
      `select coalesce(sum(micros), 0)::bigint as tax from ledger_lines where book = 'tax'`,
    )
    return [(await balance(store, 'shop')).balance_micros, rows[0]?.tax as number]
  }
  const invoice = async (taxPercent: string, again = true): Promise<Invoice> => {
    const asked = { account: shop, month: '2030-01', again, nowMs: Date.UTC(2030, 1) }
    return invoiceShown(store, (await createInvoice(store, ACTOR, { ...SETTINGS, taxPercent }, asked)).number)
  }
  let last = await invoice('8', false)
  for (const [percent, due, left, tax] of [
    ['8', 0, 0, 8 * UNIT],
    ['8', 0, 0, 8 * UNIT],
    ['19', 11 * UNIT, 0, 19 * UNIT],
    ['5', 0, 14 * UNIT, 5 * UNIT],
  ] as const) {
    await payInvoice(store, ACTOR, last.number, '')
    await voidInvoice(store, ACTOR, last.number, 'wrong address')
    last = await invoice(percent)
    t.match(last, { net_micros: 100 * UNIT, due_micros: due, status: due === 0 ? 'paid' : 'open' }, percent)
    if (due > 0) await payInvoice(store, ACTOR, last.number, '')
    const [balanceMicros, taxMicros] = await at()
    t.ok(Math.abs(balanceMicros - left) <= 10_000, `at ${percent} % ${balanceMicros} is left`)
    t.ok(Math.abs(taxMicros - tax) <= 10_000, `at ${percent} % the tax is ${taxMicros}`)
  }
  await booked(store, 'top_up', 500 * UNIT)
  await voidInvoice(store, ACTOR, last.number, 'wrong address')
  t.match(await at(), [619 * UNIT, 0])
  t.match(await invoice('5'), { due_micros: 0 })
  t.match(await at(), [514 * UNIT, 5 * UNIT], 'a top-up pays nothing that was paid already')
  t.match(await wrongs(store), SOUND)
})

const DEEDS = ['make', 'pay', 'redo', 'void', 'late'] as const

t.test('in whatever order months are billed, paid and billed again, what credit has not paid is paid once', async t => {
  const store = await opened(t)
  await accounts(store)
  const node = new Node(store, 1)
  const settings = { ...SETTINGS, taxPercent: '8' }
  const months = ['2030-01', '2030-02', '2030-03']
  const units = fc.integer({ min: 1, max: 100 })
  const deed = fc.tuple(fc.constantFrom(...DEEDS), fc.nat(2))
  let n = 0
  await fc.assert(
    fc.asyncProperty(
      fc.tuple(units, units, units),
      fc.integer({ min: 0, max: 200 }),
      fc.array(deed, { minLength: 3, maxLength: 12 }),
      async (charges, credit, deeds) => {
        const name = `account ${++n}`
        const { rows } = await store.query<{ id: number }>(
          'insert into accounts (system_id, credit_micros) values ($1, 0) returning id',
          [name],
        )
        const account = rows[0]?.id as number
        if (credit > 0) await booked(store, 'top_up', credit * UNIT, undefined, name)
        let charged = 0
        const charge = async (month: number, amount: number): Promise<void> => {
          charged += amount
          await node.write([node.accepted(account, Date.UTC(2030, month, 15), amount * UNIT, '4917112345', 1)])
        }
        for (const [month, amount] of charges.entries()) await charge(month, amount)
        const invoices = async (): Promise<InvoiceEntry[]> =>
          (await invoiceEntries(store, { account, limit: 1_000 })).filter(one => one.replaced_by === null)
        const make = async (month: string): Promise<void> => {
          const present = (await invoices()).find(one => one.month === month)
          const asked = { account, month, again: present?.status === 'void', nowMs: Date.UTC(2030, 5) }
          await createInvoice(store, ACTOR, settings, asked)
        }
        for (const [what, place] of deeds) {
          const month = months[place] as string
          const one = (await invoices()).find(one => one.month === month)
          if (what === 'make') await make(month)
          else if (what === 'late') await charge(place, 9)
          else if (one === undefined || one.status === 'void') continue
          else if (what === 'pay') await payInvoice(store, ACTOR, one.number, '')
          else {
            await voidInvoice(store, ACTOR, one.number, 'dice')
            if (what === 'redo') await make(month)
          }
        }
        // With what is late of the others.
        await charge(3, 1)
        for (const month of [...months, '2030-04']) await make(month)
        for (const { number } of await invoices()) await payInvoice(store, ACTOR, number, '')
        const left = credit - charged
        const { balance_micros } = await balance(store, name)
        const off = balance_micros - Math.max(0, left) * UNIT
        if (Math.abs(off) > 50_000) throw new Error(`${balance_micros} is left`)
        // What is void while another month is billed is credit like any other, with its tax.
        if (deeds.some(([what]) => what === 'void')) return
        const tax = await store.query<{ micros: number }>(TAX_OF, [`customer:${account}`])
        const expected = charged * UNIT * 0.08
        if (Math.abs((tax.rows[0]?.micros as number) - expected) > 50_000)
          throw new Error(`the tax is ${tax.rows[0]?.micros}`)
      },
    ),
    {
      numRuns: process.env.LONG ? 150 : 15,
      // What was paid for a month is not taken for an older one that nobody has billed.
      examples: [
        [
          [1, 1, 1],
          0,
          [
            ['make', 1],
            ['pay', 1],
            ['redo', 1],
          ],
        ],
      ],
    },
  )
  t.match(await wrongs(store), SOUND)
})

const TAX_OF = `
  select coalesce(sum(t.micros), 0)::bigint as micros from ledger_lines c join ledger_lines t on t.entry = c.entry
  where c.book = $1 and t.book = 'tax'`

t.test('an account is told once that little is left, once that it is used up, and again after it had more', async t => {
  const store = await opened(t)
  const [shop, , fresh] = (await accounts(store, 'shop', 'never', 'fresh')) as [number, number, number]
  // As its first bind makes it.
  await store.query('insert into credit (account) values ($1)', [fresh])
  await tellBelow(store, ACTOR, 'fresh', { micros: UNIT, percent: 10 })
  await store.query(`insert into tariff_prices (tariff, prefix, micros) select id, '49', 50000 from tariffs`)
  const node = new Node(store, 1)
  const spend = (micros: number): Promise<void> =>
    node.write([node.accepted(shop, Date.now(), micros, '4917112345', 1)])
  const news = async (): Promise<string[]> =>
    (await Promise.all([creditNews(store), creditNews(store), creditNews(store)])).flat().map(({ type }) => type)
  await booked(store, 'top_up', 100 * UNIT)
  await booked(store, 'top_up', UNIT, undefined, 'never')
  await tellBelow(store, ACTOR, 'never', { micros: null, percent: 0 })
  await booked(store, 'adjustment', -UNIT, undefined, 'never')
  t.same(await news(), [])
  await spend(90 * UNIT)
  t.same(await news(), [], '10 of 100 is not below 10 %')
  await spend(1)
  t.same(await news(), ['account.credit_low'])
  t.same(await news(), [])
  t.match(await balances(store, { after: 0, limit: 9, isLow: true }), [{ account: 'shop', told: 'low' }])
  await spend(10 * UNIT - 50_000)
  t.same(await news(), ['account.credit_exhausted'], 'less than the cheapest message costs')
  await booked(store, 'top_up', 20 * UNIT)
  t.same(await news(), [])
  t.match(await balance(store, 'shop'), { told: 'nothing', low_micros: 2 * UNIT })
  await tellBelow(store, ACTOR, 'shop', { micros: 15 * UNIT, percent: 10 })
  await spend(6 * UNIT)
  t.same(await news(), ['account.credit_low'])
  await booked(store, 'top_up', UNIT, undefined, 'fresh')
  await booked(store, 'withdrawal', -UNIT, undefined, 'fresh')
  t.same(await news(), ['account.credit_exhausted'], 'it has had money now')
})

t.test('statements that nobody reads hold no connection and no place of other accounts for long', async t => {
  const store = await opened(t)
  const [shop, post, third] = (await accounts(store, 'shop', 'post', 'third')) as [number, number, number]
  await store.query(
    `with made as (
       insert into ledger_entries (kind, memo) select 'adjustment', repeat('x', 50) from generate_series(1, 2500) returning id
     ) insert into ledger_lines (entry, book, micros)
     select id, book, micros from made, (select 'customer:' || id as book, 1 as micros from accounts
       union all select 'adjustments', -3) sides`,
  )
  const file = async (id: number, withWho = false, longestMs?: number): Promise<Readable> => {
    const reply = { type: () => reply, header: () => reply, send: (stream: Readable) => stream }
    const named = { account: `account ${id}`, id, currency: 'EUR', seller: '', withWho, format: 'csv' } as const
    return (await statementFile(reply as never, store, named, ALL, longestMs)) as unknown as Readable
  }
  const one = await file(shop)
  const other = await file(post)
  await t.rejects(file(shop), { status: 429, code: 'busy' })
  await t.rejects(file(third), { status: 503, code: 'busy' })
  ;(await file(shop, true)).destroy()
  const { rows } = await store.query(
    `select count(*) as n from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'`,
  )
  t.same(rows, [{ n: 0 }], 'no transaction waits for a reader')
  other.destroy()
  let text = ''
  for await (const chunk of one) text += chunk
  const lines = text.split('\r\n')
  t.equal(lines.length, 2_500 + 4)
  t.match(lines.at(-2), /closing,,,,,0\.0025,EUR/)
  const slow = await file(shop, false, 1)
  slow.on('error', () => {})
  const free = async (id: number): Promise<void> => {
    for (let again: Readable | undefined; again === undefined; await new Promise(setImmediate)) {
      again = await file(id).catch(() => undefined)
      again?.destroy()
    }
  }
  await free(shop)
  t.pass('whoever takes too long in all gives the place away')
  for (const id of [shop, third]) await free(id)
})

t.test('a tariff that cannot be compiled keeps its prices, and the newest always wins', async t => {
  const counters = new Counters()
  const pages = new Map<number, StoredPrice[][]>()
  const pricesOf = (id: number): StoredPrice[][] => {
    const found = pages.get(id)
    if (found === undefined) throw new Error('torn')
    return found
  }
  const billing = new Billing({
    directory: {
      ...{ tariffs: () => [], carriers: () => [], pricesOf },
      tariff: (id: number) => ({ id, name: `tariff ${id}`, margins: [] }),
    },
    ...{ spool: { identity: 'x' }, store: {}, node: 1, counters, log: silent, clock: new ManualClock(0) },
    priceMicros: () => undefined,
  } as unknown as BillingHost)
  const put = (id: number, micros: number, count: number): void => {
    pages.set(
      id,
      Array.from({ length: count }, (_, i) => [[`4${i}`, -1, null, micros]]),
    )
    billing.tariffsChanged([id])
  }
  const asked = { rank: 1, carrierName: '' } as const
  const price = (id: number): unknown => billing.segmentMicros(id, asked, '40123', undefined, 0)
  put(1, 10, 1)
  put(2, 20, 1)
  await billing.priced()
  pages.delete(1)
  billing.tariffsChanged([1])
  put(2, 21, 1)
  await billing.priced()
  t.same([price(1), price(2)], [10, 21])
  t.equal(counters.get('tariff_faulty'), 1)
  put(1, 11, 1)
  await billing.priced()
  t.equal(price(1), 11)
  put(2, 22, 20)
  const first = billing.priced()
  await new Promise(resolve => setImmediate(resolve))
  put(2, 23, 1)
  await Promise.all([first, billing.priced()])
  t.equal(price(2), 23)
})

t.test('the lease of a node that is gone is freed, that of one that lives is not', async t => {
  const store = await opened(t)
  const [shop] = (await accounts(store, 'shop')) as [number]
  await booked(store, 'top_up', 10 * UNIT)
  await store.query(`update credit set leased_micros = 7000000`)
  await store.query(
    `insert into credit_leases (account, spool, node, micros, at) values ($1, 'gone', 3, 5000000, now() - interval '1 day'),
      ($1, 'here', 4, 2000000, now() - interval '1 day')`,
    [shop],
  )
  await store.query(`insert into spool_position (spool, node, position) values ('here', 4, 1)`)
  const release = (spool: string): Promise<unknown> => releaseLeases(store, ACTOR, { spool, reason: 'fire' })
  await t.rejects(release('here'), /it lives/)
  await t.rejects(release('nobody'), /nothing is leased/)
  t.same(await release('gone'), { leases: 1, micros: 5 * UNIT })
  t.match(await balance(store, 'shop'), { leased_micros: 2 * UNIT, free_micros: 8 * UNIT })
})

t.test('a node that comes back gives nothing back of a lease that was released, and asks for a new one', async t => {
  const store = await opened(t)
  const [shop, post] = (await accounts(store, 'shop', 'post')) as [number, number]
  await booked(store, 'top_up', 10 * UNIT)
  await booked(store, 'top_up', 10 * UNIT, undefined, 'post')
  const rows = new CreditRows(store, { identity: 'away', origin: { run: 'one' } }, 3)
  const move = async (...moves: Partial<Move>[]): Promise<readonly Moved[]> => {
    const round: Round = {
      moves: moves.map(one => ({ account: shop, turn: 0, give: 0, want: 0, least: 0, ...one })),
      moved: [],
    }
    await rows.move(round)
    return round.moved
  }
  const got = await move({ want: 4 * UNIT }, { account: post, want: UNIT })
  t.match(got, [
    { micros: 4 * UNIT, isLost: false },
    { micros: UNIT, isLost: false },
  ])
  t.match(await move({ turn: 1, want: UNIT }), [{ micros: UNIT, isLost: false }])
  await store.query(`update credit_leases set at = now() - interval '1 day'`)
  t.match(await releaseLeases(store, ACTOR, { spool: 'away', account: 'shop', reason: 'fire' }), { micros: 5 * UNIT })
  const back = await move({ turn: 2, give: 3 * UNIT }, { account: post, turn: 1, give: UNIT })
  t.match(back, [
    { micros: 0, isLost: true },
    { micros: -UNIT, isLost: false },
  ])
  t.match(await move({ turn: 2, want: UNIT }), [{ micros: 0, isLost: true }])
  t.match(await balance(store, 'shop'), { leased_micros: 0, free_micros: 10 * UNIT })
  t.match(await rows.leases([shop, post]), { leases: [{ account: post, micros: 0, turn: 2 }] })
  t.match(await move({ want: UNIT }), [{ micros: UNIT, isLost: false }])
  t.match(
    await rows.turns([shop, post]),
    new Map([
      [shop, 1],
      [post, 2],
    ]),
  )
})

t.test('what a killed node was giving back is over before its next life reads what it has', async t => {
  const store = await opened(t)
  const [shop] = (await accounts(store, 'shop')) as [number]
  await booked(store, 'top_up', 10 * UNIT)
  const rows = new CreditRows(store, { identity: 'killed', origin: { run: 'one' } }, 3)
  await rows.move({ moves: [{ account: shop, turn: 0, give: 0, want: 4 * UNIT, least: 0 }], moved: [] })
  let isOver = false
  let read: Promise<unknown> = Promise.resolve()
  await store.transaction(async client => {
    await client.query('select from credit where account = $1 for update', [shop])
    read = rows.recover().then(({ leases }) => t.match([isOver, leases], [true, [{ micros: UNIT, turn: 2 }]]))
    const waits = `select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`
    while ((await store.query(waits)).rowCount === 0) await new Promise(setImmediate)
    await client.query('update credit_leases set micros = $2, turn = 2 where account = $1', [shop, UNIT])
    await client.query('update credit set leased_micros = $2 where account = $1', [shop, UNIT])
    isOver = true
  })
  await read
})

const MERGE: TariffImport = { replaces: false, keepsHalf: false, dryRun: false, progress: () => {} }
const tariffs = (store: Store, ...names: string[]): Promise<unknown> =>
  store.query('insert into tariffs (name) select unnest($1::text[])', [names])
const put = (store: Store, name: string, text: string, options: Partial<TariffImport> = {}) =>
  importPrices(store, ACTOR, name, Readable.from([Buffer.from(text)]), { ...MERGE, ...options })
async function out(store: Store, name: string): Promise<string> {
  let text = ''
  await exportPrices(store, name, async piece => {
    text += piece
  })
  return text
}

t.test('a file of prices is taken whole or not at all, and each of its faults is named with its line', async t => {
  const store = await opened(t)
  await tariffs(store, 'retail')
  const good = '\ufeffprice, From,PREFIX,class\n0.05,,+49,\n\n"0.04",2030-01-01,49,otp\n0.1,,default,\n'
  t.match(await put(store, 'retail', good, { dryRun: true }), { rows: 3, added: 3, dry_run: true })
  t.equal(await out(store, 'retail'), 'prefix,class,from,price\r\n')
  t.match(await put(store, 'retail', good), { rows: 3, added: 3, changed: 0, unchanged: 0, removed: 0 })
  const before = await out(store, 'retail')
  t.equal(before, 'prefix,class,from,price\r\ndefault,,,0.1\r\n49,,,0.05\r\n49,otp,2030-01-01T00:00:00.000Z,0.04\r\n')
  const bad = [
    'prefix,price,class,from',
    '49,0.06,,',
    '49x,0.1,,',
    ',0.1,,',
    '50,"0,05",,',
    '51,0.0000001,vip,tomorrow',
    '52,-1,,',
    '"5\n3",1,,',
    '49,0.07,,',
    '54,1,,,',
    '55',
    '56,1,,2030-02-30',
    '57,1,,2030-02-28T24:00:00Z',
    '58,1,,2031-02-29T01:00:00+02:00',
    '59,1,,0000-01-01',
    '60,1,,9999-12-31T23:59:59-14:00',
    '61,1,,1969-12-31',
  ].join('\n')
  const error = await put(store, 'retail', bad).catch(error => error)
  t.ok(error instanceof PricesFaulty)
  t.same(
    (error as PricesFaulty).faults.map(({ line, text }) => [line, text.split(' ', 1)[0]]),
    [
      [3, 'prefix'],
      [4, 'prefix'],
      [5, 'price'],
      [6, 'class'],
      [6, 'from'],
      [6, 'price'],
      [7, 'price'],
      [8, 'prefix'],
      [10, 'is'],
      [11, 'has'],
      [12, 'price'],
      [13, 'from'],
      [14, 'from'],
      [15, 'from'],
      [16, 'from'],
      [17, 'from'],
      [18, 'from'],
    ],
  )
  t.equal(await out(store, 'retail'), before)
  for (const [text, what] of [
    ['', /has no line with the names/],
    ['number,price\n49,1\n', /names a column that is none: "number"/],
    ['prefix,price\n49,"1\n', /is no CSV/],
  ] as const) {
    const wrong = (await put(store, 'retail', text).catch(error => error)) as PricesFaulty
    t.match(wrong.faults?.map(one => one.text).join('; '), what)
  }
  t.match(await put(store, 'retail', 'prefix,price\n49,0.06\ndefault,none\n', { replaces: true }), {
    ...{ rows: 2, added: 0, changed: 2, unchanged: 0, removed: 1 },
  })
  const left = await out(store, 'retail')
  const empty = await put(store, 'retail', 'prefix,price\n\n', { replaces: true }).catch(error => error)
  t.match(empty.faults, [{ line: 1, text: /followed by no prices/ }], 'a file without rows ends no price')
  const short = 'prefix,price\n1,0.2\n2,0.3\n'
  const cautious = { replaces: true, keepsHalf: true }
  await t.rejects(put(store, 'retail', short, cautious), /2 of 2 prices would be removed/)
  t.equal(await out(store, 'retail'), left)
  t.match(await put(store, 'retail', short, { ...cautious, dryRun: true }), { added: 2, removed: 2 })
  t.match(await put(store, 'retail', 'prefix,price\n49,1\n', cautious), { removed: 1 }, 'half of them may go')
  await t.rejects(put(store, 'none', good), /there is no tariff none/)
  const { rows } = await store.query(`select count(*) as n from audit where action = 'tariff.import'`)
  t.same(rows, [{ n: 3 }])
})

const aPrice = fc.tuple(
  fc.stringMatching(/^[1-9][0-9]{0,3}$|^$/),
  fc.constantFrom(-1, 0, 1, 2),
  fc.constantFrom(null, Date.UTC(2029, 5), Date.UTC(2031, 0, 1, 12, 30, 0, 250)),
  fc.option(fc.integer({ min: 0, max: 1e12 })),
)

t.test('what was exported imports to the same, and SQL finds the price that the running table does', async t => {
  const store = await opened(t)
  let n = 0
  await fc.assert(
    fc.asyncProperty(fc.array(aPrice, { maxLength: 60 }), async some => {
      const prices = [...new Map(some.map(one => [String(one.slice(0, 3)), one as StoredPrice])).values()]
      const [one, other] = [`one ${++n}`, `other ${n}`]
      await tariffs(store, one, other)
      const lines = prices.map(
        ([prefix, rank, fromMs, micros]) =>
          `${prefix || 'default'},${['', 'otp', 'transactional', 'bulk'][rank + 1]},${fromMs === null ? '' : new Date(fromMs).toISOString()},${micros === null ? 'none' : unitsText(micros)}\n`,
      )
      await put(store, one, `prefix,class,from,price\n${lines.join('')}`)
      const text = await out(store, one)
      const copied = await put(store, other, text)
      const same = await put(store, one, text, { replaces: prices.length > 0 })
      if (text !== (await out(store, other)) || copied.added !== prices.length || same.unchanged !== prices.length)
        return false
      const table = new TariffTable().add(prices)
      const { rows } = await store.query<{ id: number }>('select id from tariffs where name = $1', [one])
      for (let i = 0; i < 20; i++) {
        const digits = `${prices[i % (prices.length || 1)]?.[0] ?? ''}12345`
        const rank = (i % 3) as ClassRank
        const atMs = Date.UTC(2028 + (i % 5), 0)
        const row = await priceRowOf(store, rows[0]?.id as number, digits, rank, atMs)
        if ((row?.micros ?? undefined) !== table.priceMicros(digits, rank, atMs)) return false
      }
      return true
    }),
    { numRuns: process.env.LONG ? 40 : 8 },
  )
})

t.test(`a file of ${FILE_ROWS} prices shows how far it is, and holds up nobody for long`, async t => {
  const store = await opened(t)
  await tariffs(store, 'retail')
  let text = 'prefix,price\n'
  for (let i = 0; i < FILE_ROWS; i++) text += `${1_000_000 + i},${unitsText((i * 7_919) % 999_983)}\n`
  const octets = Buffer.from(text)
  const chunks = Array.from({ length: Math.ceil(octets.length / 65_536) }, (_, i) =>
    octets.subarray(i * 65_536, (i + 1) * 65_536),
  )
  const told: string[] = []
  let turnMs = 0
  let lastMs = performance.now()
  const beat = setInterval(() => {
    const nowMs = performance.now()
    turnMs = Math.max(turnMs, nowMs - lastMs)
    lastMs = nowMs
  }, 1)
  t.teardown(() => clearInterval(beat))
  const startMs = performance.now()
  const done = await importPrices(store, ACTOR, 'retail', Readable.from(chunks), {
    ...MERGE,
    progress: (what, n, of) => void told.push(`${what} ${n} of ${of}`),
  })
  const tookMs = performance.now() - startMs
  t.match(done, { rows: FILE_ROWS, added: FILE_ROWS })
  t.equal(told.at(-1), `written ${FILE_ROWS} of ${FILE_ROWS}`)
  t.ok(told.includes(`read ${octets.length} of null`))
  t.comment(`${FILE_ROWS} rows in ${Math.round(tookMs)} ms, longest turn of the event loop ${turnMs.toFixed(1)} ms`)
})
