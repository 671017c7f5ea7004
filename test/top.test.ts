// `trunkline top`: what changed between two looks, a screen that no name and no size breaks, and a terminal that is left as it
// was found.

import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { stripVTControlCharacters } from 'node:util'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { createAdmin } from '../src/admin/admin.js'
import { takeDirectory } from '../src/admin/lock.js'
import { Recent } from '../src/admin/recent.js'
import { type Status, status } from '../src/admin/status.js'
import { bars, frame, shares, short } from '../src/cli/topFrame.js'
import { Watch } from '../src/cli/topView.js'
import { adminSocketPath } from '../src/config/adminSocket.js'
import { state } from '../src/model/message.js'
import { account, link, route, StandingDriver, Subject } from './support/admin-subject.js'
import { Waiting, within } from './support/peer.js'

const CLI = fileURLToPath(new URL('../src/cli.js', import.meta.url))
const SCRIPT = '/usr/bin/script'

/** A daemon with a carrier, two accounts and something waiting; more is accepted at each look. */
function busy(t: Test, dataDir = '.'): { subject: Subject; look(): Promise<Status> } {
  const subject = new Subject({ dataDir })
  const driver = new StandingDriver()
  driver.links = [link({ inFlight: 7 }), link({ stand: 'closed', inFlight: 0 })]
  const { line } = subject.addCarrier('up', driver)
  subject.useRoutes([route(1, { name: 'all' }), route(2, { name: 'other' })])
  subject.queue = {
    ...subject.queue,
    waiting: 12_345,
    outbox: 3,
    lanes: [
      { lane: 1, rank: 0, waiting: 345, oldestMs: 0 },
      { lane: 2, rank: 2, waiting: 12_000, oldestMs: subject.clock.now() - 90_000 },
    ],
  }
  subject.addBind(account(1, 'acme'), 'bound_trx', 100, 50)
  subject.addBind(account(2, 'shop'), 'bound_tx', 10, 0)
  line.counts.add('refused:0x0b', 4)
  line.counts.add('throttled:0x58', 2)
  line.counts.add('cut_2', 9)
  subject.spool.figures = () => {
    for (let i = 0; i < 10; i++) subject.tally.countAccepted(1)
    return subject.queue
  }
  const recent = new Recent(subject)
  t.teardown(() => recent.stop())
  return { subject, look: () => status(subject, recent) }
}

t.test('what changed between two looks', async t => {
  const { subject, look } = busy(t)
  const watch = new Watch()
  const first = watch.take(await look(), 1_000)
  t.same([first.rates, first.cpu_percent, first.history], [{ in: 0, out: 0, ended: 0, receipts: 0 }, null, []])
  const line = subject.lines.running.get(1)?.line
  if (line === undefined) throw new Error('no carrier')
  line.accepted += 30
  subject.counters.add('receipts_delivered', 6)
  subject.tally.countEnded(1, state.DELIVERED, 1)
  subject.tally.countEnded(1, state.EXPIRED, 1)
  const [acme] = subject.binds.all
  if (acme === undefined) throw new Error('no bind')
  acme.submitted += 20
  const second = watch.take(await look(), 3_000)
  t.same(second.rates, { in: 5, out: 15, ended: 1, receipts: 3 })
  t.same(second.history, [second.rates])
  t.type(second.cpu_percent, 'number')
  t.match(second.accounts, [
    { system_id: 'acme', in_per_s: 10, out_per_s: 0 },
    { system_id: 'shop', in_per_s: 0 },
  ])
  t.same(second.carriers.get('up'), { out_per_s: 15, throttled: 2, deferred: 0, refused: 4, unsure: 0 })
  t.match(second.status.carriers, [{ ended: 2, delivered: 1, delivered_share: 0.5 }])
  // A bind that is gone takes its counts with it; another process counts from nothing.
  acme.submitted = 0
  t.equal(watch.take(await look(), 4_000).accounts[0]?.in_per_s, 0)
  const anew = { ...(await look()), pid: 1 }
  t.same(watch.take(anew, 5_000).rates, first.rates)
  t.equal(watch.take(anew, 5_000).rates.in, 0, 'no time has passed')
})

t.test('figures have room in their columns', async t => {
  fc.assert(fc.property(fc.double({ min: 0, max: 1e15, noNaN: true }), value => short(value).length <= 5))
  t.same([0, 0.25, 10.4, 9_999, 10_000, 123_456, 1e6, 99_950_000].map(short), [
    '0',
    '0.3',
    '10',
    '9999',
    '10.0k',
    '123k',
    '1.0M',
    '100M',
  ])
  t.equal(bars([0, 1, 4, 8]), '▁▂▅█')
  t.equal(bars([0, 0]), '▁▁')
  t.equal(bars([]), '')
  t.same(shares([5, 1, 3], 6), [3, 1, 2])
  t.same(shares([5, 1], Number.POSITIVE_INFINITY), [5, 1])
  t.same(shares([5, 1], -3), [0, 0])
})

t.test('no line is wider and no frame higher than the screen, whatever names there are', async t => {
  const { look } = busy(t)
  const now = await look()
  const watch = new Watch()
  watch.take(now, 0)
  for (let i = 1; i < 200; i++) watch.take({ ...now, pid: now.pid }, i * 1_000)
  const name = fc.string({ unit: 'grapheme', maxLength: 40 })
  fc.assert(
    fc.property(
      fc.array(name, { maxLength: 30 }),
      fc.integer({ min: 20, max: 250 }),
      fc.integer({ min: 5, max: 80 }),
      fc.constantFrom('rate' as const, 'name' as const, 'waiting' as const),
      (names, width, height, sort) => {
        const [carrier, one, lane] = [now.carriers[0], now.binds.accounts[0], now.queue.lanes[0]]
        if (!carrier || !one || !lane) throw new Error('nothing to show')
        const view = watch.take(
          {
            ...now,
            carriers: names.map(name => ({ ...carrier, name })),
            binds: { ...now.binds, accounts: names.map(system_id => ({ ...one, system_id })) },
            queue: { ...now.queue, lanes: names.map(route => ({ ...lane, route })) },
          },
          1e6,
        )
        const lines = frame(view, { width, height, sort, fault: names[0] ?? null, keys: true })
        const plain = lines.map(stripVTControlCharacters)
        return lines.length <= height && plain.every(line => [...line].length <= width && !/\p{Cc}/u.test(line))
      },
    ),
  )
})

// ---- the command

interface Side {
  dataDir: string
  close(): Promise<void>
}

async function side(t: Test): Promise<Side> {
  const dataDir = mkdtempSync(join(tmpdir(), 'top-'))
  const { subject } = busy(t, dataDir)
  const lock = await takeDirectory(dataDir, adminSocketPath(dataDir), process.pid)
  const admin = await createAdmin(subject, null)
  lock.serve(admin.handler)
  let closed: Promise<void> | undefined
  const close = (): Promise<void> => {
    closed ??= admin.close().then(() => lock.release())
    return closed
  }
  t.teardown(async () => {
    await close()
    rmSync(dataDir, { recursive: true, force: true })
  })
  return { dataDir, close }
}

const envOf = (dataDir: string): NodeJS.ProcessEnv => ({
  PATH: process.env.PATH,
  TMPDIR: tmpdir(),
  TERM: 'xterm',
  LANG: 'C.UTF-8',
  TRUNKLINE_DATA_DIR: dataDir,
})

t.test('off a terminal it prints one frame as plain text, and says it when nobody answers', async t => {
  const { dataDir, close } = await side(t)
  const top = (...args: string[]) =>
    new Promise<{ code: number; out: string; err: string }>(resolve => {
      execFile(process.execPath, [CLI, 'top', ...args], { env: envOf(dataDir) }, (error, out, err) =>
        resolve({ code: Number(error?.code ?? 0), out, err }),
      )
    })
  const { code, out } = await top('--interval', '200ms')
  t.equal(code, 0)
  t.equal(out, stripVTControlCharacters(out))
  t.match(out, /^trunkline 1\.2\.3 {2}node 7 .* up \d+ s {2}ready {2}cpu \d+ %/)
  t.match(out, /^in +\d+\/s {2}█$/m)
  t.match(out, /^waiting {2}12\.3k \(otp 345, transactional 0, bulk 12\.0k\)/m)
  t.match(out, /^other +bulk +12\.0k +1 min 30 s\nall +otp +345 +-$/m, 'the largest lane comes first')
  t.match(out, /^up +up +1\/2 +7\/100 +0 +- +- +- +2 +0 +4 +-$/m)
  t.match(out, /^acme +1 +0 +0 +0 +0 +100 +50 +3$/m)
  const json = await top('--json', '--once', '--interval', '0.2')
  t.match(JSON.parse(json.out), { in_per_s: Number, cpu_percent: Number, status: { node: 7 }, accounts: [{}, {}] })
  t.match(await top('--interval', '1h'), { code: 2, err: /from 100ms to 3600s/ })
  await close()
  t.match(await top(), { code: 1, err: /no daemon answers/ })
})

t.test(
  'on a terminal it fills the screen, obeys its keys, outlives the daemon, and leaves the terminal as it was',
  { skip: existsSync(SCRIPT) ? false : `no pseudo-terminal on this machine: ${SCRIPT}` },
  async t => {
    const { dataDir, close } = await side(t)
    const shell = `stty cols 80 rows 24; '${process.execPath}' '${CLI}' top --interval 100ms; stty -a`
    const child = spawn(SCRIPT, ['-qefc', shell, '/dev/null'], { env: envOf(dataDir), stdio: ['pipe', 'pipe', 'pipe'] })
    t.teardown(() => child.kill('SIGKILL'))
    const waiting = new Waiting()
    let out = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      out += text
      waiting.look()
    })
    const exited = new Promise<number | null>(resolve => child.once('close', resolve))
    const until = (words: string, from = 0) =>
      waiting.until(
        () => out.indexOf(words, from) >= 0 || undefined,
        () => `${JSON.stringify(words)} on the screen\n${out.slice(-3_000)}`,
      )
    await until('(now rate)')
    t.ok(out.startsWith('\x1b[?1049h\x1b[?25l\x1b[H'), 'a screen of its own, without a cursor')
    t.ok(out.includes('\x1b[1m'), 'in colours')
    child.stdin.write('n')
    await until('(now name)')
    child.stdin.write('w')
    await until('(now waiting)')
    const frames = out.split('\x1b[H').slice(1, -1).map(stripVTControlCharacters)
    for (const one of frames) {
      const lines = one.split('\r\n')
      t.same(
        lines.filter(line => [...line].length > 80),
        [],
      )
      t.ok(lines.length <= 24, `${lines.length} lines`)
    }
    await close()
    await until('no daemon answers')
    child.stdin.write('q')
    t.equal(await within(exited, () => `the end of top\n${out.slice(-1_000)}`), 0)
    const [, after = ''] = out.split('\x1b[?25h\x1b[?1049l')
    t.match(after, / icanon /, 'keys are lines again')
    t.match(after, / echo /)
  },
)
