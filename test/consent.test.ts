// STOP, START and HELP: the words by table, what is kept of them on disk, and stories with phones, customers and a daemon
// that is killed or cut off from its database.
import { copyFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Consent } from '../src/accounts/consent.js'
import { ConsentCopy, type ConsentEvent } from '../src/accounts/consentCopy.js'
import { optWord } from '../src/accounts/optWords.js'
import { phoneKey } from '../src/accounts/phoneKey.js'
import { ManualClock } from '../src/base/clock.js'
import { Counters } from '../src/base/figures.js'
import type { Store } from '../src/store/postgres.js'
import { esme } from './support/esme.js'
import { emptyHouse, freshDatabase, house, story, trunkline } from './support/house.js'
import { MailClient } from './support/mailClient.js'
import { silent, temporaryDirectory, Way } from './support/postgres.js'
import { receiver, SECRET } from './support/receiver.js'
import { smsc } from './support/smsc.js'

t.jobs = 4

const STOPS = process.env.LONG ? 20_000 : 2_000

t.test('a word counts when it is the whole message, in whatever language, case and accents', async t => {
  const kind = (text: string, stopped = false) => optWord(text, () => stopped)?.kind
  const words: [kind: string | undefined, ...texts: string[]][] = [
    [
      'stop',
      'STOP',
      'stop',
      ' Stop. ',
      '"Stop!"',
      'STOP ALL',
      'Opt-Out',
      'sTOP\n',
      'UNSUBSCRIBE',
      'Cancel',
      'End',
      'quit',
      'revoke',
    ],
    [
      'stop',
      'Stopp',
      'abmelden',
      'Arrêt',
      'ARRET',
      'désabonner',
      'Alto',
      'baja',
      'CANCELAR',
      'parar',
      'Sair',
      'Basta',
      'afmelden',
    ],
    [
      'stop',
      'rezygnuję',
      'WYPISZ',
      'стоп',
      'Отписаться',
      'ΣΤΟΠ',
      'στοπ',
      'إيقاف',
      'توقف',
      'बंद',
      'İptal',
      'iptal',
      'ıptal',
    ],
    [
      'stop',
      '退订',
      '退訂',
      'TD',
      'T',
      't',
      'ストップ',
      '停止',
      '수신거부',
      'HỦY',
      'huy',
      'ยกเลิก',
      'berhenti',
      'STOP \u{1f621}',
      'Stop \u270b\ufe0f',
      'STOP\ufe0e',
      'ＳＴＯＰ',
    ],
    ['start', 'START', 'unstop', 'opt in', 'Старт', '订阅', 'başla'],
    ['help', 'HELP', 'help?', 'Info', 'Hilfe', 'aide', 'AYUDA', 'помощь', '帮助', 'yardım'],
    [
      undefined,
      ...[
        'STOP 12345',
        "please don't stop",
        'stop it',
        'no',
        '',
        '   ',
        '?',
        'end of story',
        'I need help',
        'YES',
        'STOPS',
      ],
      'stop '.repeat(30),
    ],
  ]
  for (const [wanted, ...texts] of words) for (const text of texts) t.equal(kind(text), wanted, text)
  t.equal(kind('Yes', true), 'start', 'YES from somebody who has said STOP')
  t.equal(optWord('Arrêt!', () => false)?.word, 'ARRET')
})

const NOW = Date.UTC(2026, 10, 20)
const PHONE = '4917112345678'
const KEY = phoneKey(PHONE)
const event = (more: Partial<ConsentEvent>): ConsentEvent => ({
  account: 7,
  number: PHONE,
  kind: 'stop',
  source: 'mo',
  atMs: NOW,
  called: '1000',
  word: 'STOP',
  ...more,
})

function copyAt(t: Test, path = join(temporaryDirectory(), 'consent')) {
  const copy = new ConsentCopy(path, error => t.fail(error.message))
  const written = (): Promise<void> => new Promise(resolve => copy.afterWritten(resolve))
  return { copy, path, written }
}

t.test('what was said holds at once, is durable when it says so, and is sent to SQL in order, once', async t => {
  const { copy, path, written } = copyAt(t)
  t.equal(copy.concerns(7), false, 'where nobody has said anything nothing is looked up')
  const order: number[] = []
  copy.afterWritten(() => order.push(0))
  copy.note(event({}))
  t.same([copy.isStopped(7, KEY), copy.isStopped(8, KEY), copy.isStopped(7, KEY + 1)], [true, false, false])
  t.same([copy.concerns(7), copy.concerns(8)], [true, false])
  copy.afterWritten(() => order.push(1))
  copy.note(event({ account: 8, atMs: NOW + 1 }))
  copy.afterWritten(() => order.push(2))
  t.same(order, [0])
  await written()
  t.same(order, [0, 1, 2])
  t.match(copy.journaled(10), [
    { seq: 1, event: { account: 7 } },
    { seq: 2, event: { account: 8 } },
  ])
  await copy.sent([1, 2])
  t.same(copy.journaled(10), [])
  await copy.close()
  const { copy: again, written: rewritten } = copyAt(t, path)
  t.same([again.isStopped(7, KEY), again.isStopped(8, KEY), again.concerns(9)], [true, true, false])
  t.equal(again.origin, copy.origin)
  again.note(event({ kind: 'start', atMs: NOW + 2 }))
  await rewritten()
  t.match(again.journaled(10), [{ seq: 3 }], 'a number comes once, though the journal was empty')
  t.same(again.rowsOf(PHONE), [
    { account: 7, number: PHONE, stopped: false, atMs: NOW + 2 },
    { account: 8, number: PHONE, stopped: true, atMs: NOW + 1 },
  ])
  await again.close()
})

t.test('an account’s own word goes before everybody’s, but for a START older than everybody’s STOP', async t => {
  const { copy, written } = copyAt(t)
  const say = (account: number, kind: 'stop' | 'start', atMs: number) => copy.note(event({ account, kind, atMs }))
  const stopped = () => [copy.isStopped(7, KEY), copy.isStopped(8, KEY)]
  say(7, 'start', 1)
  say(0, 'stop', 2)
  t.same(stopped(), [true, true])
  t.equal(copy.concerns(8), true)
  say(7, 'start', 3)
  t.same(stopped(), [false, true])
  say(7, 'stop', 4)
  say(0, 'start', 5)
  t.same(stopped(), [true, false])
  const sql = { identity: 'a', change: 9, complete: true }
  await copy.take([{ account: 7, number: PHONE, stopped: false, atMs: 3 }], sql)
  t.same(stopped(), [true, false], 'what was said elsewhere before changes nothing')
  await written()
  t.same(stopped(), [true, false])
  await copy.take([{ account: 7, number: PHONE, stopped: false, atMs: 4 }], sql)
  t.same(stopped(), [false, false], 'SQL has the last word on one moment')
  t.same(copy.state, { identity: 'a', change: 9, complete: true })
  say(8, 'stop', 6)
  await written()
  await copy.sent(copy.journaled(100).map(({ seq }) => seq))
  say(9, 'stop', 7)
  await written()
  await copy.startOver({ identity: 'b', change: 0, complete: false })
  t.same(stopped(), [false, false], 'another database: only what it has not been told stays')
  t.equal(copy.isStopped(9, KEY), true)
  t.same([copy.concerns(8), copy.concerns(9)], [false, true])
  await copy.close()
})

t.test('what a phone says now is said last, wherever clocks stood before', async t => {
  const { copy, written } = copyAt(t)
  const say = (account: number, kind: 'stop' | 'start', atMs: number) => copy.note(event({ account, kind, atMs }))
  say(7, 'stop', NOW - 1_000)
  say(7, 'start', NOW + 5_000)
  say(7, 'stop', NOW)
  t.equal(copy.isStopped(7, KEY), true)
  say(0, 'stop', NOW)
  say(8, 'start', NOW - 5_000)
  t.equal(copy.isStopped(8, KEY), false, 'of everybody’s STOP and an account’s START too')
  await written()
  const order = copy.journaled(10).map(({ event }) => event.atMs)
  t.strictSame(order, [NOW - 1_000, NOW + 5_000, NOW + 5_001, NOW + 5_002, NOW + 5_003], 'and SQL is told the same')
  await copy.close()
})

t.test('a message that waits is judged again after a STOP, though its id is ahead of the clock', async t => {
  let newestMs = NOW
  const store = { listen: () => () => {}, onUp: () => () => {}, ready: false } as unknown as Store
  const rest = { clock: new ManualClock(NOW), log: silent, counters: new Counters(), failed: () => t.fail() }
  const consent = new Consent({ dataDir: temporaryDirectory(), store, ...rest, newestMs: () => newestMs })
  t.equal(consent.hasChangedSince(NOW + 99_000), true, 'before it has begun, all are')
  consent.start()
  t.same([consent.hasChangedSince(NOW), consent.hasChangedSince(NOW + 1)], [true, false])
  newestMs = NOW + 5_000
  consent.note(event({ kind: 'start' }))
  t.equal(consent.hasChangedSince(NOW + 5_000), false)
  consent.note(event({}))
  t.same([consent.hasChangedSince(NOW + 5_000), consent.hasChangedSince(NOW + 5_001)], [true, false])
  await consent.close()
})

t.test('thousands of STOPs at one moment hold nobody up for seconds', async t => {
  const { copy, written } = copyAt(t)
  const number = (i: number): string => String(4_917_000_000_000 + i)
  for (let i = 0; i < STOPS; i++) copy.note(event({ number: number(i) }))
  const before = performance.now()
  await written()
  t.ok(performance.now() - before < 5_000)
  t.equal(copy.isStopped(7, phoneKey(number(STOPS - 1))), true)
  await copy.close()
})

t.test('a phone is answered once a day, over restarts', async t => {
  const { copy, path, written } = copyAt(t)
  const may = (one: ConsentCopy, atMs = NOW, kind = 'help') => one.mayAnswer(7, PHONE, kind, atMs)
  t.same([may(copy), may(copy), may(copy, NOW, 'confirm')], [true, false, true])
  await written()
  t.equal(may(copy), false)
  await copy.close()
  const { copy: again } = copyAt(t, path)
  t.equal(may(again), false)
  t.equal(may(again, NOW + 86_400_000), true)
  await again.forgetAnswers(NOW + 2 * 86_400_000, 100)
  t.equal(may(again), true, 'what was the day before yesterday is forgotten')
  await again.close()
})

const from = (text: string, destination_addr = '1000', source_addr = PHONE) => ({
  source_addr,
  source_addr_ton: 1,
  source_addr_npi: 1,
  destination_addr,
  short_message: Buffer.from(text),
})

story(
  'a phone that has said STOP is written to no more, by whom and by which class it stopped, until it says START',
  async t => {
    const carrier = await smsc(t)
    const hook = await receiver(t)
    const daemon = await house(t, {
      config: { smtp: { listen: '127.0.0.1:0' }, webhooks: { allow: ['127.0.0.0/8'] } },
      accounts: {
        shop: { numbers: ['1000'], serviceTypes: { OTP: 'otp', AD: 'bulk' }, consent: { confirm: 'You are out.' } },
        other: {
          numbers: ['2000'],
          serviceTypes: { OTP: 'otp' },
          consent: { stopsOtp: true, help: 'Other Ltd: call 2000' },
          webhooks: [{ url: hook.url, secret: SECRET, events: ['message.received'], atOnce: 1 }],
        },
      },
      carriers: { up: carrier },
      inbound: [
        { name: 'cars', match: { number: '30*', keyword: 'car' }, to: { account: 'other' } },
        { match: { number: '3000', carrier: 'up' }, to: { account: 'shop', by: ['bind'] } },
      ],
    })
    await carrier.bound()
    const shop = await esme(t, daemon.smpp)
    const other = await esme(t, daemon.smpp, { systemId: 'other' })
    const submit = async (who: typeof shop, service_type = '', destination_addr = PHONE) =>
      (await who.submit({ destination_addr, service_type, registered_delivery: 0 })).status
    const text = async (who: typeof shop) => (await who.next()).fields.short_message.toString('latin1')
    t.equal(await submit(shop), 'ESME_ROK')
    t.equal(await carrier.mobileOriginated(from('Stop!')), 0)
    t.equal(await text(shop), 'Stop!', 'the customer hears of it')
    t.equal(await submit(shop), 'ESME_RINVDSTADR')
    t.equal(await submit(shop, 'AD', `+${PHONE}`), 'ESME_RINVDSTADR', 'however the number is written')
    const mail = await MailClient.ready(t, (await daemon.line('ready')).smtp as number)
    await mail.say('MAIL FROM:<alerts@shop.example>')
    t.match(await mail.say(`RCPT TO:<${PHONE}@sms.localhost>`), /^550 5\.7\.1 /)
    t.equal(await submit(shop, 'OTP'), 'ESME_ROK')
    t.equal(await submit(shop, '', '4917112345679'), 'ESME_ROK')
    t.equal(await submit(other), 'ESME_ROK')
    const later = await shop.submit({ destination_addr: '4917112345670', schedule_delivery_time: '000000000003000R' })
    t.equal(later.status, 'ESME_ROK')
    t.equal(await carrier.mobileOriginated(from('stop', '1000', '4917112345670')), 0)
    t.equal(await text(shop), 'stop')
    t.match(
      (await shop.next()).receipt,
      { id: later.message_id, stat: 'REJECTD' },
      'one that waits ends when its turn comes',
    )
    const sent = (await carrier.take(4)).map(({ fields, text }) => [fields.source_addr, fields.destination_addr, text])
    t.same(sent[1], ['1000', PHONE, 'You are out.'], 'told so, once, past its own STOP')
    t.equal(await daemon.metric('trunkline_events_total', { name: 'refused_stopped' }), 3)

    const show = async (...more: string[]) => {
      const { stdout, stderr } = await trunkline([
        'consent',
        'show',
        '--json',
        '--number',
        PHONE,
        '--config',
        daemon.configFile,
        ...more,
      ])
      return stdout === '' ? stderr : JSON.parse(stdout)
    }
    t.match(await show('--account', 'shop'), {
      number: PHONE,
      may: { otp: true, transactional: false, bulk: false },
      heeded: [{ account: 'shop', state: 'stopped' }],
      events: [{ account: 'shop', kind: 'stop', source: 'mo', called: '1000', word: 'STOP' }],
    })

    t.equal(await carrier.mobileOriginated(from('start', '3000')), 0)
    t.equal(await text(shop), 'start', 'by the rule')
    t.equal(await submit(shop), 'ESME_ROK')
    t.equal(await carrier.mobileOriginated(from('Car please', '3001')), 0)
    t.equal(await text(other), 'Car please')
    for (const word of ['HELP', 'help']) t.equal(await carrier.mobileOriginated(from(word, '2000')), 0)
    t.equal(await carrier.mobileOriginated(from('arrêt'.replace('ê', 'e'), '2000')), 0)
    t.same([await text(other), await text(other), await text(other)], ['HELP', 'help', 'arret'])
    t.equal(await submit(other, 'OTP'), 'ESME_RINVDSTADR', 'as the account wants it')
    t.same(
      (await hook.first(4)).map(({ data }) => [data.text, data.consent]),
      [
        ['Car please', undefined],
        ['HELP', 'help'],
        ['help', 'help'],
        ['arret', 'stopped'],
      ],
    )
    t.equal(
      await daemon.metric('trunkline_events_total', { name: 'consent_answers' }),
      3,
      'a phone that asks twice is answered once',
    )

    t.equal(await carrier.mobileOriginated(from('STOP', '9999')), 0)
    t.equal(await submit(shop), 'ESME_RINVDSTADR', 'to nobody’s number: stopped for everybody')
    const cli = async (...args: string[]) => {
      const { code, stdout, stderr } = await trunkline([...args, '--json', '--config', daemon.configFile])
      if (code !== 0) throw new Error(stderr)
      return stdout === '' ? undefined : JSON.parse(stdout)
    }
    await cli('consent', 'start', '--number', `+${PHONE}`, '--account', 'shop')
    t.equal(await submit(shop), 'ESME_ROK')
    t.match(await cli('unclaimed', 'list'), { count: 1, unclaimed: [{ from: PHONE, number: '9999', text: 'STOP' }] })
    t.match(await cli('unclaimed', 'give', '--to', 'other', '--all'), { settled: 1 })
    t.equal(await text(other), 'STOP')
    t.match(await cli('inbound', 'test', '--number', '3009', '--text', 'CAR'), {
      account: 'other',
      because: 'rule',
      rule: { name: 'cars' },
    })
    t.match(await cli('inbound', 'test', '--number', '1000', '--text', 'stop'), {
      account: 'shop',
      because: 'owner',
      consent: 'stop',
    })

    await cli('dnd', 'add', '4917112345679', '--list', 'national')
    t.equal(await submit(shop, 'AD', '4917112345679'), 'ESME_RINVDSTADR')
    t.equal(await submit(shop, '', '4917112345679'), 'ESME_ROK', 'a list is about advertising')
    t.equal(await daemon.metric('trunkline_events_total', { name: 'refused_dnd' }), 1)
    await cli('dnd', 'remove', '4917112345679', '--list', 'national')
    t.equal(await submit(shop, 'AD', '4917112345679'), 'ESME_ROK')
  },
)

story(
  'a STOP holds though the daemon is killed right after it and its database is away, and gets there in the end',
  async t => {
    const direct = await freshDatabase()
    const way = await Way.to(direct)
    t.teardown(() => way.close())
    await way.open()
    const carrier = await smsc(t)
    const daemon = await house(t, {
      accounts: { shop: { numbers: ['+1000'] } },
      // It knows phones of its own country by their national numbers.
      carriers: { up: { at: carrier, rewrite: { replySource: [{ prefix: '0', replace: '49' }] } } },
      database: { url: way.url, direct },
    })
    await carrier.bound()
    way.close()
    await daemon.line('the database went away')
    t.equal(await carrier.mobileOriginated(from('STOP', '1000', `0${PHONE.slice(2)}`)), 0)
    const killed = daemon.kill9()
    const lines = daemon.log.length
    await killed
    await daemon.start()
    const shop = await esme(t, daemon.smpp)
    t.equal((await shop.submit({ destination_addr: PHONE })).status, 'ESME_RINVDSTADR')
    await way.open()
    await daemon.line('the database is up', lines)
    const state = async () => {
      const { stdout } = await trunkline(['consent', 'list', '--json', '--config', daemon.configFile])
      return stdout === '' ? [] : JSON.parse(stdout)
    }
    let rows = await state()
    while (rows.length === 0) rows = await state()
    t.match(rows, [{ account: 'shop', number: PHONE, state: 'stopped', source: 'mo' }])
  },
)

story('what is said on one node holds on another', async t => {
  const url = await freshDatabase()
  const options = { accounts: { shop: { numbers: ['1000'] } }, database: { url, direct: url } }
  const one = await house(t, options)
  const two = await emptyHouse(t, { ...options, config: { node: 1 } })
  copyFileSync(join(one.dataDir, 'server.key'), join(two.dataDir, 'server.key'))
  await two.start()
  const shop = await esme(t, two.smpp)
  const say = ['consent', 'stop', '--number', PHONE, '--config', one.configFile]
  t.equal((await trunkline(say)).code, 0)
  const heeded = async (): Promise<number> =>
    JSON.parse((await two.get(`/api/v1/admin/consent/${PHONE}`)).body).heeded.length
  while ((await heeded()) === 0) {}
  t.equal((await shop.submit({ destination_addr: PHONE })).status, 'ESME_RINVDSTADR')
})
