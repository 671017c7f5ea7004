// Do-not-disturb lists: blocks against a plain set, in SQL and on a node that follows it; files with whatever files have.
import { readFileSync } from 'node:fs'
import { Readable } from 'node:stream'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { Dnd } from '../src/accounts/dnd.js'
import { blockHas, blockOf, cutBlocks, difference, numbersOf, union } from '../src/accounts/dndBlocks.js'
import { type DndImport, FileFaulty, importDnd } from '../src/accounts/dndImport.js'
import { changeDnd, dndLists, dropDnd, exportDnd } from '../src/accounts/dndLists.js'
import { digitsOfKey, phoneKey } from '../src/accounts/phoneKey.js'
import { writtenNumber } from '../src/routing/writtenNumber.js'
import { openStore, type Store } from '../src/store/postgres.js'
import { type Databases, silent, someDatabases, temporaryDirectory } from './support/postgres.js'

/** Of 10,000 numbers. */
const SLICES = process.env.LONG ? 1_000 : 10

let databases: Databases
t.before(async () => {
  databases = await someDatabases()
})
t.teardown(() => databases?.close())

async function opened(t: Test): Promise<Store> {
  const store = openStore({ url: await databases.database(), dataDir: '/nonexistent', log: silent, pool: 2 })
  t.teardown(() => store.close())
  await store.firstTry
  return store
}

const node = (t: Test): Dnd => {
  const dnd = new Dnd(`${temporaryDirectory()}/dnd`)
  t.teardown(() => dnd.close())
  return dnd
}

const rising = (numbers: Iterable<number>): number[] => [...new Set(numbers)].sort((a, b) => a - b)
const aNumber = fc.oneof(
  fc.integer({ min: 1_491_710_000_000, max: 1_491_710_003_000 }),
  fc.maxSafeInteger().map(n => 1_000_000 + (Math.abs(n) % 2_000_000_000_000_000)),
)

t.test('a number of up to fifteen digits is one key, and comes back', async t => {
  for (const digits of ['0', '007', '7', '4917112345', '999999999999999', '000000000000000']) {
    t.equal(digitsOfKey(phoneKey(digits)), digits)
    t.ok(Number.isSafeInteger(phoneKey(digits)))
  }
  t.equal(new Set(['7', '07', '007'].map(phoneKey)).size, 3)
})

t.test('whatever numbers are cut into blocks, each is found in its block, and no other', async () => {
  fc.assert(
    fc.property(fc.array(aNumber, { maxLength: 4_000 }), fc.array(aNumber, { maxLength: 50 }), (some, others) => {
      const numbers = rising(some)
      const blocks = cutBlocks(numbers)
      const firsts = blocks.map(({ first }) => first)
      const has = (number: number): boolean => {
        const { first, numbers } = blocks[blockOf(firsts, number)] ?? { first: 0, numbers: Buffer.alloc(0) }
        return blockHas(first, numbers, number)
      }
      const there = new Set(numbers)
      return (
        numbers.every(has) &&
        others.every(number => has(number) === there.has(number)) &&
        String(blocks.flatMap(numbersOf)) === String(numbers)
      )
    }),
    { numRuns: 200 },
  )
  fc.assert(
    fc.property(fc.array(aNumber), fc.array(aNumber), (a, b) => {
      const [one, other] = [rising(a), rising(b)]
      const gone = new Set(other)
      return (
        String(union(one, other)) === String(rising([...one, ...other])) &&
        String(difference(one, other)) === String(one.filter(number => !gone.has(number)))
      )
    }),
  )
})

t.test('after whatever was added, removed and replaced, SQL, a file and every node have the same numbers', async t => {
  const store = await opened(t)
  const [early, late] = [node(t), node(t)]
  const list = { account: 0, name: 'all' }
  let there = new Set<number>()
  let seed = 7
  const random = (below: number): number => {
    seed = (seed * 48_271) % 2_147_483_647
    return seed % below
  }
  // Some stand close together, some more than 2 ** 32 apart.
  const some = (count: number): number[] =>
    rising(
      Array.from({ length: count }, () =>
        random(3) === 0 ? phoneKey(String(10 ** 14 + random(1_000_000) * 10 ** 8)) : 1_491_710_000_000 + random(9_000),
      ),
    )
  for (let round = 0; round < 24; round++) {
    const numbers = some([3, 400, 2_500][random(3)] as number)
    const replaces = random(6) === 0
    const what = replaces || random(3) > 0 ? 'add' : 'remove'
    const cut = numbers.length >> 1
    const result = await store.transaction(client =>
      changeDnd(client, list, what, [numbers.slice(0, cut), numbers.slice(cut)], replaces),
    )
    if (result === undefined) {
      t.same([what, there.size], ['remove', 0], 'there is no list yet')
      continue
    }
    const before = replaces ? new Set<number>() : there
    there = new Set(what === 'add' ? [...before, ...numbers] : [...before].filter(one => !numbers.includes(one)))
    t.same(result, {
      changed: Math.abs(there.size - before.size),
      unchanged: numbers.length - Math.abs(there.size - before.size),
      total: there.size,
    })
    if (round % 3 > 0) continue
    await early.follow(store, 'one', silent)
    for (const number of [...numbers, ...some(200)]) {
      if (early.has(7, number) !== there.has(number)) t.fail(`${number} in round ${round}`)
    }
  }
  t.ok(there.size > 1_000)
  const written: number[] = []
  t.equal(await exportDnd(store, list, numbers => written.push(...numbers)), there.size)
  t.same(written, rising(there))
  await early.follow(store, 'one', silent)
  await late.follow(store, 'one', silent)
  for (const dnd of [early, late]) t.ok(written.every(number => dnd.has(7, number)))
  t.match(await dndLists(store), [{ account: null, name: 'all', numbers: there.size }])
})

t.test('a list that is replaced, or goes, while it is being loaded is never heeded in part', async t => {
  const store = await opened(t)
  const dnd = node(t)
  const list = { account: 0, name: 'all' }
  const of = (from: number) => Array.from({ length: 60_000 }, (_, i) => from + i)
  const replace = (numbers: number[]) => store.transaction(client => changeDnd(client, list, 'add', [numbers], true))
  const [first, second] = [of(1_491_710_000_000), of(1_491_720_000_000)]
  await replace(first)
  // Between two pages of the blocks.
  let pages = 0
  const meanwhile = (then: () => Promise<unknown>): Store =>
    ({
      query: async (sql: string, values: unknown[]) => {
        if (sql.includes('from dnd_blocks') && ++pages === 2) await then()
        return store.query(sql, values)
      },
    }) as unknown as Store
  t.equal(
    await dnd.follow(
      meanwhile(() => replace(second)),
      'one',
      silent,
    ),
    true,
  )
  t.ok(second.every(number => dnd.has(7, number)))
  t.same([first.filter(number => dnd.has(7, number)), dnd.all.map(({ numbers }) => numbers)], [[], [60_000]])
  pages = 0
  await replace(first)
  await dnd.follow(
    meanwhile(() => dropDnd(store, list)),
    'one',
    silent,
  )
  t.same([dnd.all, dnd.has(7, first[0] as number), dnd.has(7, second[0] as number)], [[], false, false])
})

t.test(
  'an account’s own list is its own; a list that goes goes everywhere, and another database has other lists',
  async t => {
    const store = await opened(t)
    const path = `${temporaryDirectory()}/dnd`
    let dnd = new Dnd(path)
    const key = phoneKey('4917112345')
    const add = (account: number, name: string, numbers: number[]) =>
      store.transaction(client => changeDnd(client, { account, name }, 'add', [numbers]))
    await dnd.follow(store, 'one', silent)
    t.equal(dnd.concerns(7), false, 'without lists nothing is looked up')
    await add(7, 'own', [key])
    await dnd.follow(store, 'one', silent)
    t.same([dnd.concerns(7), dnd.has(7, key), dnd.concerns(8), dnd.has(8, key)], [true, true, false, false])
    await add(0, 'all', [key, key + 5])
    await dnd.follow(store, 'one', silent)
    t.same([dnd.has(8, key), dnd.has(8, key + 1), dnd.has(8, 1)], [true, false, false])
    t.same(
      dnd.listsWith(key).map(({ name }) => name),
      ['own', 'all'],
    )
    await dnd.close()
    dnd = new Dnd(path)
    t.equal(dnd.has(8, key), true, 'known again without SQL')
    t.equal(await dropDnd(store, { account: 0, name: 'all' }), true)
    t.equal(await dropDnd(store, { account: 0, name: 'all' }), false)
    await dnd.follow(store, 'one', silent)
    t.same([dnd.has(8, key), dnd.has(7, key)], [false, true])
    const other = await opened(t)
    await dnd.follow(other, 'two', silent)
    t.same([dnd.concerns(7), dnd.all], [false, []])
    await dnd.close()
    t.equal(await exportDnd(store, { account: 0, name: 'all' }, () => {}), undefined)
  },
)

t.test(
  'a file is read whatever its line ends, quotes, headings and numbers look like, and bad lines are named',
  async t => {
    const store = await opened(t)
    let list = 0
    const imported = async (text: string | Buffer, more: Partial<DndImport> = {}, country = '') => {
      const name = { account: 0, name: `list ${++list}` }
      const options: DndImport = {
        list: name,
        replaces: false,
        column: 0,
        number: cell => writtenNumber(cell, country),
        progress: () => {},
        ...more,
      }
      const octets = Readable.from([Buffer.from(text).subarray(0, 9), Buffer.from(text).subarray(9)])
      const done = await importDnd(store, octets, options)
      const numbers: string[] = []
      await exportDnd(store, options.list, keys => numbers.push(...keys.map(digitsOfKey)))
      return { ...done, numbers }
    }
    t.match(await imported('+49 171 12345\r\n"0049-171-12346"\r\n49171(12347)\n'), {
      lines: 3,
      badLines: 0,
      changed: 3,
      numbers: ['4917112345', '4917112346', '4917112347'],
    })
    t.match(await imported('\ufeffphone;x\n4917112345,a,"b\nc"\nnonsense\n\n123\n4917112345'), {
      lines: 4,
      changed: 1,
      repeated: 1,
      badLines: 2,
      bad: [
        { line: 4, text: 'nonsense' },
        { line: 6, text: '123' },
      ],
    })
    t.match(await imported('name,Phone\nx,0171 12345\ny,+447700900123\n', { column: 'phone' }, '49'), {
      numbers: ['4917112345', '447700900123'],
    })
    t.match(await imported('x,4917112345', { column: 1 }), { changed: 1 })
    const refused = await imported('a,b\n', { column: 'phone' }).catch((error: unknown) => error)
    t.ok(refused instanceof FileFaulty)
    const endless = await imported(`+4917112345\n"${'1'.repeat(100_000)}`).catch((error: unknown) => error)
    t.ok(endless instanceof FileFaulty, 'a quote that nothing closes')
    t.match(await imported(''), { lines: 0, total: 0, numbers: [] })
    t.match(await imported('no\n'.repeat(100)), { badLines: 99, bad: { length: 20 } })
    const again = { account: 0, name: 'again' }
    await imported('4917112345\n4917112346\n', { list: again })
    t.match(await imported('4917112346\n4917112347\n', { list: again }), { changed: 1, unchanged: 1, total: 3 })
    t.match(await imported('4917112348\n', { list: again, replaces: true }), { changed: 1, numbers: ['4917112348'] })
    await t.rejects(
      imported('4917112349\n', {
        list: again,
        number: () => {
          throw new Error('broken')
        },
      }),
      /broken/,
    )
    const left: string[] = []
    await exportDnd(store, again, keys => left.push(...keys.map(digitsOfKey)))
    t.same(left, ['4917112348'], 'an import that breaks has changed nothing')
  },
)

t.test('a list of millions costs a node no memory, and a look-up no more than in a short one', async t => {
  const store = await opened(t)
  const dnd = node(t)
  const rssAnonKb = (): number => Number(/RssAnon:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1])
  const slices = function* (): Generator<number[]> {
    for (let i = 0; i < SLICES; i++)
      yield Array.from({ length: 10_000 }, (_, j) => 1_910_000_000_000 + i * 1_000_000 + j * 97)
  }
  await store.transaction(client => changeDnd(client, { account: 0, name: 'long' }, 'add', slices()))
  await dnd.follow(store, 'one', silent)
  dnd.has(7, 1_910_000_000_097)
  const before = rssAnonKb()
  await store.transaction(client => changeDnd(client, { account: 0, name: 'long' }, 'add', slices(), true))
  await dnd.follow(store, 'one', silent)
  t.ok(rssAnonKb() - before < 30_000, `${rssAnonKb() - before} kB more`)
  const from = process.cpuUsage().user
  let found = 0
  for (let i = 0; i < 100_000; i++) if (dnd.has(7, 1_910_000_000_000 + ((i * 1_999) % (SLICES * 1_000_000)))) found++
  t.ok(found > 0)
  t.ok((process.cpuUsage().user - from) / 100_000 < 10, 'microseconds')
})
