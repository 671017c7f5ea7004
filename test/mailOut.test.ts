// What leaves by mail, told against the real daemon, a scripted carrier of text messages and a scripted smarthost: who is
// told of what, how replies from phones come back, what a server's answers do, and that nothing is told twice or lost.

import { request } from 'node:http'
import { type ParsedMail, simpleParser } from 'mailparser'
import t, { type Test } from 'tap'
import { status } from '../protocols/smpp/status.js'
import { certificate } from './support/certificates.js'
import { type House, house, story } from './support/house.js'
import { MailClient, mailOf } from './support/mailClient.js'
import { NUMBER, textOf } from './support/mailHouse.js'
import { temporaryDirectory } from './support/postgres.js'
import { type Arrived, Smarthost, smarthost } from './support/smarthost.js'
import { type Smsc, type Submitted, smsc } from './support/smsc.js'

t.jobs = 2

const TO = `${NUMBER}@sms.localhost`

interface Told {
  readonly daemon: House
  readonly port: number
  readonly carrier: Smsc
  readonly relay: Smarthost
  readonly client: MailClient
}

async function told(t: Test, config: object = {}): Promise<Told> {
  const [carrier, relay] = [await smsc(t), await smarthost(t)]
  const place = {
    kind: 'smtp',
    host: '127.0.0.1',
    port: relay.port,
    secure: 'none',
    reconnectMinMs: 20,
    reconnectMaxMs: 100,
  }
  const daemon = await house(t, {
    accounts: { shop: { numbers: ['15550001'], mail: { source: '15550001', maxParts: 1, generated: true } } },
    carriers: { up: carrier, relay: place },
    routes: [{ match: {}, to: ['up'] }],
    config: { ...config, smtp: { listen: '127.0.0.1:0', hostname: 'mx.example.com' } },
  })
  await carrier.bound()
  const port = (await daemon.line('ready')).smtp as number
  return { daemon, port, carrier, relay, client: await MailClient.ready(t, port) }
}

const event = (daemon: House, name: string) => daemon.metric('trunkline_events_total', { name })

/** The fields of message/delivery-status, a group for the mail and one for each recipient. */
function groupsOf({ octets }: Arrived): Record<string, string>[] {
  const [, status = ''] = /\r\nContent-Type: message\/delivery-status\r\n\r\n(.*?)\r\n--/s.exec(octets.toString()) ?? []
  return status
    .trim()
    .split('\r\n\r\n')
    .map(group => Object.fromEntries(group.split('\r\n').map(line => line.split(/: (.*)/).slice(0, 2))))
}

const parsed = ({ octets }: Arrived): Promise<ParsedMail> => simpleParser(octets)

async function submit(client: MailClient, mail: string, from = '', to = ''): Promise<string> {
  await client.say(`MAIL FROM:<alerts@shop.example>${from}`)
  await client.say(`RCPT TO:<${TO}>${to}`)
  await client.say('DATA')
  client.write(`${mail}\r\n.\r\n`)
  return client.reply()
}

const MAIL = mailOf('hello', 'Message-ID: <one@shop.example>\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\n')

story('whoever sent a mail is told by mail what became of it', async t => {
  const house = await told(t)
  await t.test('in the form of RFC 3464, failures by default and success where asked', t => failures(t, house))
  await t.test('what was cut of a text, once for all recipients', t => cuts(t, house))
  await t.test('nobody is flooded, and nothing goes round', t => floods(t, house))
})

async function failures(t: Test, house: Told): Promise<void> {
  const { daemon, client, carrier, relay } = house
  carrier.script.submit = sm => {
    sm.accept()
    void sm.receipt(sm.text.includes('good') ? {} : { stat: 'UNDELIV', err: '034' })
  }
  t.match(await submit(client, MAIL, ' ENVID=QQ+2B1 RET=HDRS', ' ORCPT=rfc822;bob@example.org'), /^250/)
  const mail = await relay.next()
  t.equal(mail.from, '', 'from the null reverse-path')
  t.same(mail.to, ['alerts@shop.example'])
  const dsn = await parsed(mail)
  t.match(dsn.headers.get('content-type'), {
    value: 'multipart/report',
    params: { 'report-type': 'delivery-status' },
  })
  t.equal(dsn.headers.get('auto-submitted'), 'auto-replied')
  t.match(dsn.subject, /Not delivered: your text message \(subject\)/)
  t.equal(dsn.inReplyTo, '<one@shop.example>')
  t.match(dsn.from?.value[0]?.address, 'postmaster@mx.example.com')
  t.match(dsn.text, /4915112345678@sms\.localhost\n.*could not deliver it \(034\)/)
  const [about = {}, recipient = {}] = groupsOf(mail)
  t.match(about, {
    'Reporting-MTA': 'dns; mx.example.com',
    'Original-Envelope-Id': 'QQ+1',
    'Arrival-Date': /2026|20\d\d/,
  })
  t.match(recipient, {
    'Original-Recipient': 'rfc822; bob@example.org',
    'Final-Recipient': `rfc822; ${TO}`,
    Action: 'failed',
    Status: '5.0.0',
    'Diagnostic-Code': 'x-sms; UNDELIVERABLE 034',
  })
  const head =
    dsn.attachments.find(({ contentType }) => contentType === 'text/rfc822-headers')?.content.toString() ?? ''
  t.match(head, /^Message-ID: <one@shop\.example>\r?\nDate: Fri, 20 Nov 2026 .*\r?\nFrom: alerts@shop\.example\r?\n/)
  t.notMatch(mail.octets.toString('latin1'), /[^\r]\n|\r[^\n]/, 'no bare CR or LF')

  // Nobody else hears of it: NEVER, success not asked for, a program's mail.
  for (const [wish, text] of [
    [' NOTIFY=NEVER', 'bad'],
    ['', 'good'],
  ] as const)
    await submit(client, mailOf(text), '', wish)
  t.match(await submit(client, mailOf('bad, says a program', 'Auto-Submitted: auto-generated\r\n')), /^250/)
  t.match(await submit(client, mailOf('good'), '', ' NOTIFY=SUCCESS'), /^250/)
  t.match(groupsOf(await relay.next())[1], { Action: 'delivered', Status: '2.0.0' })
  t.equal(relay.mails.length, 2)

  carrier.script.submit = sm => sm.refuse(status.ESME_RINVDSTADR)
  await submit(client, mailOf('no such number'))
  t.match(groupsOf(await relay.next())[1], {
    Action: 'failed',
    Status: '5.1.3',
    'Diagnostic-Code': 'x-sms; REJECTED ESME_RINVDSTADR',
  })
  t.equal(await event(daemon, 'mail_notices'), 3)
  const rows = await daemon.history(rows => rows.filter(({ kind }) => kind === 'e').length >= 9)
  t.same(
    rows
      .filter(({ destination, kind }) => destination === 'alerts@shop.example' && kind === 'e')
      .map(({ state }) => state),
    [6, 6, 6],
    'mails stand in history as accepted by their carrier',
  )
}

async function cuts(t: Test, house: Told): Promise<void> {
  const { client, carrier, relay } = house
  carrier.script.submit = sm => sm.deliver()
  const before = { sent: carrier.submitted.length, mails: relay.mails.length }
  const text = `${'x'.repeat(150)} and this nobody reads on a phone €`
  const mail8 = Buffer.from(mailOf(text, 'Content-Type: text/plain; charset=utf-8\r\n'))
  t.match(await client.mail(mail8, [TO, '15551234567@sms.localhost']), /the last 25 characters were cut, 1 parts/)
  const mail = await relay.next()
  const dsn = await parsed(mail)
  t.match(dsn.subject, /^Shortened/)
  const [, one, two] = groupsOf(mail)
  t.match(one, { Action: 'relayed', Status: '2.6.4', 'Final-Recipient': `rfc822; ${TO}` })
  t.match(two, { Action: 'relayed', Status: '2.6.4', 'Final-Recipient': 'rfc822; 15551234567@sms.localhost' })
  await carrier.until(() => carrier.submitted.length === before.sent + 2, 'both')
  const sent = textOf(carrier.submitted[before.sent] as Submitted)
  const left = (dsn.text ?? '').split(/left out:|Reporting-MTA/)[1]?.trim() ?? ''
  t.equal(`${sent}${left.padStart(25)}`, text, 'what was sent and what was left out are the whole text')
  await client.say('MAIL FROM:<alerts@shop.example>')
  await client.say(`RCPT TO:<${TO}> NOTIFY=NEVER`)
  await client.say('DATA')
  client.write(`${mailOf('y'.repeat(200))}\r\n.\r\n`)
  t.match(await client.reply(), /^250/)
  await carrier.until(() => carrier.submitted.length === before.sent + 3, 'the third')
  t.equal(relay.mails.length, before.mails + 1, 'who wants to hear of nothing does not')
}

async function floods(t: Test, house: Told): Promise<void> {
  const { daemon, client, carrier, relay } = house
  const before = relay.mails.length
  carrier.script.submit = sm => sm.refuse(status.ESME_RINVDSTADR)
  const many = Array.from({ length: 60 }, (_, n) => `1555100${1000 + n}@sms.localhost`)
  t.match(await client.mail(mailOf('to many', 'Message-ID: <many@shop.example>\r\n'), many), /^250/)
  const told_ = new Set<string>()
  while (told_.size < 60) {
    const mail = await relay.next()
    for (const { 'Final-Recipient': to } of groupsOf(mail).slice(1)) told_.add(to ?? '')
  }
  t.ok(relay.mails.length - before <= 10, `${relay.mails.length - before} notifications of 60 recipients of one mail`)
  // A sender at our own domain would be told by text message.
  await client.say(`MAIL FROM:<15559999@sms.localhost>`)
  await client.say(`RCPT TO:<${TO}>`)
  await client.say('DATA')
  client.write(`${mailOf('round')}\r\n.\r\n`)
  t.match(await client.reply(), /^250/)
  await daemon.line('not told by mail; history has it')
  t.equal(await event(daemon, 'mail_returns_lost_own_domain'), 1)
}

/** A server at a port that another has left. */
async function smarthostAt(t: Test, port: number): Promise<Smarthost> {
  const one = new Smarthost()
  one.port = port
  await one.listen()
  t.teardown(() => one.close())
  return one
}

story('a phone’s reply comes back to whoever wrote the mail, and their answer is a text message', async t => {
  const { daemon, client, carrier, relay } = await told(t)
  await submit(
    client,
    mailOf('shall we?', 'Message-ID: <ask@shop.example>\r\n').replace(
      'Subject: subject',
      'Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=',
    ),
  )
  await carrier.next()
  const reply = { source_addr: NUMBER, destination_addr: '15550001', short_message: Buffer.from('yes, we shall') }
  t.equal(await carrier.mobileOriginated(reply), 0)
  const mail = await relay.next()
  t.equal(mail.from, TO)
  t.same(mail.to, ['alerts@shop.example'])
  const answer = await parsed(mail)
  t.equal(answer.text?.trim(), 'yes, we shall')
  t.equal(answer.subject, 'Re: Grüße')
  t.equal(answer.inReplyTo, '<ask@shop.example>')
  t.same([answer.references].flat(), ['<ask@shop.example>'])
  t.equal(answer.from?.value[0]?.address, TO)

  // Nothing is reported from here on: these are still on their way when the daemon is killed.
  carrier.script.submit = sm => sm.accept()
  t.match(await client.mail(mailOf('good'), answer.from?.value[0]?.address), /^250/)
  t.match((await carrier.next()).fields, { destination_addr: NUMBER, source_addr: '15550001' })

  // In parts, in whatever order, as one mail.
  const part = (seq: number, text: string) => ({
    ...reply,
    esm_class: 0x40,
    short_message: Buffer.concat([Buffer.from([5, 0, 3, 7, 2, seq]), Buffer.from(text)]),
  })
  await carrier.mobileOriginated(part(2, 'the second'))
  await carrier.mobileOriginated(part(1, 'the first and '))
  t.equal((await parsed(await relay.next())).text?.trim(), 'the first and the second')

  // Another phone answers no mail.
  await carrier.mobileOriginated({ ...reply, source_addr: '15559999' })
  t.equal(relay.mails.length, 2)
  // Over a kill, too: from disk, or from the messages that were still on their way.
  await daemon.kill9()
  await daemon.start()
  await carrier.bound()
  await carrier.mobileOriginated({ ...reply, short_message: Buffer.from('after the kill') })
  t.equal((await parsed(await relay.next())).text?.trim(), 'after the kill')
})

story('what a server answers decides what becomes of a mail', async t => {
  const config = { retry: { transactional: { firstMs: 100, capMs: 100 } } }
  const { daemon, client, carrier, relay } = await told(t, config)
  carrier.script.submit = sm => sm.refuse(status.ESME_RINVDSTADR)
  const once = async (answers: Smarthost['answer'][]) => {
    const left = [...answers]
    relay.answer = mail => left.shift()?.(mail)
    await submit(client, mailOf('x'))
    const mails: Arrived[] = []
    while (mails.length < answers.length) mails.push(await relay.next())
    return new Set(mails.map(({ octets }) => octets.toString())).size
  }
  t.equal(await once([() => [451, '4.3.0 later'], () => undefined]), 1, '4yz: the same mail once more')
  t.equal(await once(['drop' as const, undefined].map(one => () => one)), 1, 'no answer after the dot: the same')
  t.equal(await once([() => [421, '4.3.2 closing'], () => undefined]), 1, '421: after a while')
  relay.recipient = () => [550, '5.1.1 no such user']
  await submit(client, mailOf('nobody'))
  const rows = await daemon.history(rows => rows.some(({ state, error }) => state === 8 && error === '550 5.1.1'))
  t.equal(rows.filter(({ error }) => error === '550 5.1.1').length, 1)
  relay.recipient = () => undefined
  t.match(await daemon.line('a mail could not be sent'), { error: '550 5.1.1', level: 'warn' })
  t.equal(await event(daemon, 'mails_not_sent'), 1, 'and of that nobody is told by mail')
  t.equal(relay.mails.length, 6)

  // The server is away: what waits goes when it is back.
  const from = daemon.log.length
  await relay.close()
  await submit(client, mailOf('while it is away'))
  await daemon.line('mail carrier is down', from)
  const again = await smarthostAt(t, relay.port)
  await again.next()
})

story('each notification leaves once, over a kill at any moment', async t => {
  const { daemon, port, carrier, relay } = await told(t)
  carrier.script.submit = sm => sm.refuse(status.ESME_RINVDSTADR)
  // Taken by the server, and not answered: whether it has it nobody knows.
  const N = 20
  const ids = new Set<string>()
  let at = port
  for (let life = 0; life < 2; life++) {
    const client = await MailClient.ready(t, at)
    for (let i = 0; i < N / 2; i++) {
      const from = ` ENVID=life${life}n${i}`
      t.match(await submit(client, mailOf('x'), from), /^250/)
    }
    if (life === 1) break
    await daemon.kill9()
    const from = daemon.log.length
    await daemon.start()
    at = (await daemon.line('ready', from)).smtp as number
    await carrier.bound()
  }
  while (ids.size < N) {
    const mail = await relay.next()
    ids.add(groupsOf(mail)[0]?.['Original-Envelope-Id'] ?? '')
  }
  t.equal(ids.size, N, 'all of them are told')
  const messageIds = relay.mails.map(({ octets }) => /Message-ID: (\S+)/.exec(octets.toString())?.[1])
  const envids = relay.mails.map(mail => groupsOf(mail)[0]?.['Original-Envelope-Id'])
  t.equal(new Set(messageIds).size, new Set(envids).size, 'whatever came twice is the same mail, sent again')
})

story(
  'mail goes over the first of its carriers that is up, with TLS and password, and to no carrier of text messages',
  async t => {
    const { cert: ca, pem } = certificate(temporaryDirectory(), 'localhost')
    const carrier = await smsc(t)
    const dead = await smarthost(t)
    await dead.close()
    const users: string[] = []
    const relay = await smarthost(t, {
      disabledCommands: [],
      authOptional: false,
      allowInsecureAuth: false,
      ...pem,
      onAuth: (
        { username, password }: Record<string, string>,
        session: { secure: boolean },
        then: (e: unknown, r?: object) => void,
      ) => {
        users.push(`${username} ${session.secure}`)
        if (password === 'relay secret') then(null, { user: username })
        else then(new Error('no'))
      },
    })
    const place = { kind: 'smtp', host: '127.0.0.1', reconnectMinMs: 20, reconnectMaxMs: 100 }
    const tls = { ca, servername: 'localhost' }
    const daemon = await house(t, {
      accounts: { shop: {} },
      carriers: {
        up: carrier,
        dead: { ...place, port: dead.port, secure: 'none' },
        relay: { ...place, port: relay.port, user: 'us', password: 'relay secret', tls },
      },
      routes: [{ match: {}, to: ['up'] }],
      config: { smtp: { listen: '127.0.0.1:0', postmaster: 'ops@example.org' } },
    })
    await carrier.bound()
    const port = (await daemon.line('ready')).smtp as number
    const client = await MailClient.ready(t, port)
    carrier.script.submit = sm => sm.refuse(status.ESME_RINVDSTADR)
    await submit(client, mailOf('x'))
    const mail = await relay.next()
    t.equal((await parsed(mail)).from?.value[0]?.address, 'ops@example.org')
    t.same([...new Set(users)], ['us true'])

    // Mail to the postmaster is a mail, whole, and its failure is told as well.
    await client.say('MAIL FROM:<bob@example.net>')
    t.match(await client.say('RCPT TO:<Postmaster>'), /^250/)
    await client.say('RSET')
    await client.say('MAIL FROM:<bob@example.net>')
    t.match(await client.say('RCPT TO:<postmaster@sms.localhost> NOTIFY=SUCCESS,FAILURE'), /^250/)
    await client.say('DATA')
    client.write('Subject: hi\r\n\r\n..dots\r\n..\r\nend\r\n.\r\n')
    t.match(await client.reply(), /^250 2\.6\.0 Ok: queued as \d+$/)
    const letter = await relay.next()
    const passed = await relay.next()
    t.same([passed.from, passed.to], ['', ['bob@example.net']])
    t.match(groupsOf(passed)[1], { 'Final-Recipient': 'rfc822; postmaster@sms.localhost', Action: 'relayed' })
    t.equal(letter.from, 'bob@example.net')
    t.same(letter.to, ['ops@example.org'])
    t.match(
      letter.octets.toString(),
      /^Received: from \[127\.0\.0\.1\] by localhost with ESMTPA id \d+;\r\n\t.*\r\nSubject: hi\r\n\r\n\.dots\r\n\.\r\nend\r\n$/,
    )

    // A route cannot lead a text message there.
    await t.rejects(
      daemon.apply({
        carriers: { up: carrier, relay: { ...place, port: 25 } },
        routes: [{ match: {}, to: ['relay'] }],
      }),
      /carrier of mail/,
    )
  },
)

story('where mails are caught nobody gets one, and the side-port shows them and trusts nothing in them', async t => {
  const carrier = await smsc(t, { submit: sm => sm.refuse(status.ESME_RINVDSTADR) })
  const never = await smarthost(t)
  const place = { kind: 'smtp', host: '127.0.0.1', port: never.port, secure: 'none' }
  const daemon = await house(t, {
    carriers: { up: carrier, relay: place },
    routes: [{ match: {}, to: ['up'] }],
    config: { smtp: { listen: '127.0.0.1:0', catch: true }, admin: { listen: '127.0.0.1:0' } },
  })
  await carrier.bound()
  const { smtp, admin } = (await daemon.line('ready')) as unknown as { smtp: number; admin: number }
  t.match(await daemon.line(({ msg }) => msg.startsWith('NO MAIL IS DELIVERED')), { level: 'warn' })
  const client = await MailClient.ready(t, smtp)
  const html = '<script>fetch("http://x")</script><b>hi</b>'
  const evil = [
    'From: "<img src=x>" <bob@example.net>',
    'Subject: =?utf-8?B?PGI+Z3LDvMOfZTwvYj4=?=',
    'Content-Type: text/html; charset=utf-8',
    '',
    html,
  ].join('\r\n')
  t.match(
    await client.mail(evil, ['someone@example.com', 'other@example.org', TO]),
    /^250 2\.6\.0 Ok: queued as \d+ \d+ \d+$/,
  )
  const list = async () => JSON.parse((await daemon.get('/api/v1/admin/catch')).body).mails as Record<string, string>[]
  let mails = await list()
  while (mails.length < 3) mails = await list()
  t.same(mails.map(({ to }) => to).sort(), ['alerts@shop.example', 'other@example.org', 'someone@example.com'])
  const caught = mails.find(({ to }) => to === 'someone@example.com') ?? {}
  t.match(caught, { from: 'alerts@shop.example', subject: '<b>grüße</b>' })
  t.match(JSON.parse((await daemon.get(`/api/v1/admin/catch/${caught.id}`)).body), {
    html: /<b>hi<\/b>/,
    attachments: [],
  })
  t.match((await daemon.get(`/api/v1/admin/catch/${caught.id}/raw`)).body, `${evil}\r\n`)

  const get = (path: string, headers: Record<string, string> = {}) =>
    fetch(`http://127.0.0.1:${admin}${path}`, { headers })
  const pages = await get('/catch')
  t.match(await pages.text(), /&lt;b&gt;grüße&lt;\/b&gt;/)
  t.match(pages.headers.get('content-security-policy'), /default-src 'none'/)
  const view = await (await get(`/catch/${caught.id}`)).text()
  t.match(view, /<iframe sandbox /)
  t.notMatch(view, /<img|<script/)
  const frame = await get(`/catch/${caught.id}/html`)
  t.match(frame.headers.get('content-security-policy'), /^sandbox; default-src 'none'/)
  t.equal((await get('/catch/12')).status, 404)
  t.equal((await asked(admin, '/catch', 'evil.example')).status, 403, 'a page from elsewhere may not read along')
  for (const header of ['via', 'forwarded', 'x-forwarded-for', 'X-Forwarded-Proto'])
    t.equal(
      (await get('/catch', { [header]: 'for=127.0.0.1' })).status,
      403,
      `a proxy that says ${header} is nobody here`,
    )
  t.equal((await get('/api/v1/admin/catch')).status, 403, 'programs need the key')
  t.equal(never.connections, 0)
  t.equal(await event(daemon, 'mails_caught'), 3)
})

/** As a browser asks that was led here by another name. */
function asked(port: number, path: string, host: string): Promise<{ status: number }> {
  return new Promise((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port, path, headers: { host } }, response => {
      response.resume()
      resolve({ status: response.statusCode ?? 0 })
    })
    sent.on('error', reject)
    sent.end()
  })
}
