// Mail that becomes text messages, told against the real daemon and a scripted carrier: numbers, text, subjects, what is
// cut, what is refused, and whose name a message bears.

import t, { type Test } from 'tap'
import { type House, story } from './support/house.js'
import { type Lodging, lodge, lodger, lodgersOn } from './support/lodging.js'
import { MailClient, mailOf } from './support/mailClient.js'
import { mailHouse, NUMBER, textOf } from './support/mailHouse.js'
import { type Smsc, smsc } from './support/smsc.js'

t.jobs = 2

const TO = `${NUMBER}@sms.localhost`

const event = (daemon: House, name: string) => daemon.metric('trunkline_events_total', { name })

/** A customer's mails and their carrier, on a daemon that takes mail of others too. */
async function mailLodge(
  t: Test,
  accounts: Record<string, object> = { shop: {} },
  carrier: object = {},
  routes?: object[],
): Promise<{ home: Lodging; as: (user: string) => Promise<MailClient>; carrier: Smsc }> {
  const at = await smsc(t)
  const home = await lodge(t, { accounts, carriers: { up: { at, ...carrier } }, ...(routes && { routes }) })
  await at.bound()
  const { smtp } = await home.daemon.line('ready')
  return { home, as: user => MailClient.ready(t, smtp as number, home.named(user)), carrier: at }
}

story('M-1 M-2 M-3 numbers as people write them, and each once', async t => {
  const { daemon, port, carrier } = await mailHouse(
    t,
    { smsDomains: ['sms.localhost', 'text.example.com'] },
    { shop: { mail: { countryCode: '49' } }, far: {} },
  )
  const client = await MailClient.ready(t, port)
  const forms = {
    '15551234567': '15551234567',
    '+15551234567': '15551234567',
    '+1-555-123-4567': '15551234567',
    '"+1 555 1234567"': '15551234567',
    '"(0151) 123.456-78"': '4915112345678',
    '0015551234567': '15551234567',
    'sms-15551234567': '15551234567',
    'SMS-+15551234567': '15551234567',
    '015112345678': '4915112345678',
  }
  for (const [form, digits] of Object.entries(forms)) {
    t.match(await client.mail(mailOf(form), `${form}@sms.localhost`), /^250 2\.6\.0/, form)
    t.match((await carrier.next()).fields, { destination_addr: digits, dest_addr_ton: 1, dest_addr_npi: 1 }, form)
  }
  for (const form of ['abc', '12', '1234567890123456', '+49151x', '0', '+0123456789', '15551234567;1']) {
    await client.say('MAIL FROM:<a@shop.example>')
    t.match(await client.say(`RCPT TO:<${form}@sms.localhost>`), /^550 5\.1\.3|^501 5\.1\.3/, form)
    await client.say('RSET')
  }
  const far = await MailClient.ready(t, port, 'far')
  t.match(await far.mail(mailOf('x'), '015112345678@sms.localhost'), /^550 5\.1\.3/, 'no country of its own')
  t.match(await client.mail(mailOf('x'), 'someone@example.com'), /^550 5\.7\.1/)
  await client.say('RSET')

  const said = await client.mail(mailOf('to two'), [
    TO,
    `+49-151-12345678@text.example.com`,
    '15551234567@sms.localhost',
  ])
  t.match(said, /^250 2\.6\.0 Ok: queued as \d{16} \d{16}$/, 'the envelope decides; a number is one number')
  const two = await carrier.take(2)
  t.same(two.map(sm => sm.fields.destination_addr).sort(), ['15551234567', NUMBER])
  t.same(two.map(textOf), ['to two', 'to two'])
  t.equal(await event(daemon, 'mail_messages'), Object.keys(forms).length + 2)
})

lodger('M-4 M-11 each recipient has its own answer, and bounces are no messages', async t => {
  const { as, carrier } = await mailLodge(t)
  const client = await as('shop')
  await client.say('MAIL FROM:<a@shop.example>')
  t.match(await client.say(`RCPT TO:<${TO}>`), /^250/)
  t.match(await client.say('RCPT TO:<someone@example.com>'), /^550 5\.7\.1/)
  t.match(await client.say('RCPT TO:<nonumber@sms.localhost>'), /^550 5\.1\.3/)
  await client.say('DATA')
  client.write(`${mailOf('to the good one')}\r\n.\r\n`)
  t.match(await client.reply(), /^250 2\.6\.0/)
  t.equal(textOf(await carrier.next()), 'to the good one')
  await client.say('MAIL FROM:<>')
  t.match(await client.say(`RCPT TO:<${TO}>`), /^550 5\.7\.1/)
})

const multipart = (type: string, ...parts: string[]): string =>
  `MIME-Version: 1.0\r\nContent-Type: ${type}; boundary="=_b"\r\n\r\nThis is MIME.\r\n${parts
    .map(part => `--=_b\r\n${part}\r\n`)
    .join('')}--=_b--\r\nepilogue\r\n`

lodger('M-5 M-7 M-9 the text of a mail, in whatever form it comes', async t => {
  const { as, carrier } = await mailLodge(t)
  const client = await as('shop')
  const plain = 'Content-Type: text/plain; charset=utf-8\r\n\r\nthe plain one'
  const html = 'Content-Type: text/html\r\n\r\n<style>p{}</style><p>the <b>HTML</b> one</p><p>&euro;5</p>'
  const image = `Content-Type: image/png\r\nContent-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\n${'AAAA'.repeat(5_000)}`
  const coded = (type: string, encoding: string, octets: string | Buffer): Buffer =>
    Buffer.concat([
      Buffer.from(`Content-Type: ${type}\r\nContent-Transfer-Encoding: ${encoding}\r\n\r\n`),
      Buffer.from(octets),
    ])
  const utf16 = Buffer.from('ﬁve €', 'utf16le').toString('base64')
  const cases: Record<string, [mail: string | Buffer, text: string]> = {
    'text/plain': ['\r\nhello', 'hello'],
    alternative: [multipart('multipart/alternative', plain, html), 'the plain one'],
    'alternative, HTML first': [multipart('multipart/alternative', html, plain), 'the plain one'],
    'HTML alone': [html, 'the HTML one\n\n€5'],
    'HTML as Outlook writes it': [
      '<html><head><style>p{}</style><title>no</title></head><body><!-- no --><p>Hi&nbsp;there,</p><div>1 &lt; 2<br>&#8364;5</div></body>'.replace(
        /^/,
        'Content-Type: text/html; charset="utf-8"\r\n\r\n',
      ),
      'Hi there,\n\n1 < 2\n€5',
    ],
    'an attachment before the text': [multipart('multipart/mixed', image, plain), 'the plain one'],
    'a text file attached': [
      multipart('multipart/mixed', 'Content-Disposition: attachment\r\n\r\nnot me', plain),
      'the plain one',
    ],
    nested: [
      multipart(
        'multipart/mixed',
        `Content-Type: multipart/alternative; boundary=in\r\n\r\n--in\r\n${plain}\r\n--in--`,
        image,
      ),
      'the plain one',
    ],
    base64: [coded('text/plain; charset=utf-8', 'base64', Buffer.from('grün €').toString('base64')), 'grün €'],
    'quoted-printable': [
      coded('text/plain; charset=utf-8', 'quoted-printable', 'gr=C3=BCn =\r\nund=\r\n blau=3D'),
      'grün und blau=',
    ],
    'ISO-8859-1': [coded('text/plain; charset=iso-8859-1', '8bit', Buffer.from('grün', 'latin1')), 'grün'],
    'UTF-16': [coded('text/plain; charset=utf-16le', 'base64', utf16), 'ﬁve €'],
    'ISO-2022-JP': [coded('text/plain; charset=iso-2022-jp', '7bit', Buffer.from('1b244224331b2842', 'hex')), 'こ'],
    'no charset': [coded('text/plain', '8bit', Buffer.from('grün')), 'grün'],
    'the wrong charset': [coded('text/plain; charset=utf-8', '8bit', Buffer.from('grün', 'latin1')), 'grün'],
    'an unknown charset': [coded('text/plain; charset=x-own', '8bit', 'plain'), 'plain'],
    flowed: ['Content-Type: text/plain; format=flowed\r\n\r\none \r\nline\r\nand one', 'one line\nand one'],
    'a signature': ['\r\nthe text\r\n-- \r\nJohn Doe\r\nThe Company', 'the text'],
    'a quoted mail below': [
      '\r\nyes\r\n\r\nOn Mon, 1 Jan 2024 at 10:00, Bob <bob@x.example>\r\nwrote:\r\n> shall we?',
      'yes',
    ],
    'an Outlook reply': ['\r\nyes\r\n\r\n-----Original Message-----\r\nFrom: Bob', 'yes'],
    'quoted lines at the end': ['\r\nyes\r\n> shall\r\n> we?\r\n', 'yes'],
    'blank lines': ['\r\n\r\n\r\none\r\n\r\n\r\n\r\ntwo  \r\n\r\n', 'one\n\ntwo'],
  }
  for (const [name, [mail, text]] of Object.entries(cases)) {
    t.match(await client.mail(mail), /^250 2\.6\.0/, name)
    const shown = textOf(await carrier.next())
    const gsm = text.replace(/ü/g, '~').replace(/€/g, '\x1be')
    t.ok(shown === text || shown === gsm, `${name}: ${JSON.stringify(shown)}, wanted ${JSON.stringify(text)}`)
  }
  t.same(client.wrong, [])
})

lodger('M-6 M-8 M-13 subject, length and sender are as the account wants them', async t => {
  const { home, as, carrier } = await mailLodge(t, {
    plain: {},
    titled: { mail: { subject: 'prefix', maxParts: 1, source: 'Shop' } },
    brief: { mail: { subject: 'only', overlong: 'refuse', maxParts: 1 } },
    named: {
      senders: ['Shop', '49800123'],
      mail: {
        from: ['Alerts@shop.example', '@crm.example'],
        sources: { 'alerts@shop.example': 'Shop', '@crm.example': '49800123' },
      },
    },
    wrong: { senders: ['Shop'], mail: { source: 'Other' } },
  })
  const plain = await as('plain')
  await plain.mail(mailOf('no subject'))
  t.match((await carrier.next()).fields, { source_addr: '', source_addr_ton: 0 })
  // 4 x 153 characters by default.
  const long = 'The quick brown fox. '.repeat(60)
  t.match(
    await plain.mail(mailOf(long)),
    /^250 2\.6\.0 Ok: queued as \d+; the last 647 characters were cut, 4 parts are sent$/,
  )
  t.equal((await carrier.take(4)).map(textOf).join(''), long.slice(0, 612))
  t.match(await plain.mail(Buffer.from(mailOf('\u{1f600}'.repeat(200)))), /cut/)
  t.notMatch((await carrier.take(4)).map(textOf).join(''), /\ufffd/)

  const titled = await as('titled')
  t.match(await titled.mail('Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n\r\nbody'), /^250/)
  const sm = await carrier.next()
  t.equal(textOf(sm), 'Gr~\x1ee: body')
  t.match(sm.fields, { source_addr: 'Shop', source_addr_ton: 5, source_addr_npi: 0 })
  t.match(await titled.mail(mailOf('x'.repeat(200))), /the last 49 characters were cut, 1 parts are sent/)
  await carrier.next()

  const brief = await as('brief')
  t.match(await brief.mail(mailOf('left out')), /^250/)
  t.equal(textOf(await carrier.next()), 'subject')
  t.match(await brief.mail(`Subject: ${'x'.repeat(161)}\r\n\r\n`), /^552 5\.3\.4/)
  t.match(await brief.mail('\r\nno subject at all'), /^554 5\.6\.0/, 'M-10')

  const named = await as('named')
  t.match(await named.mail(mailOf('x'), TO, 'ALERTS@shop.example'), /^250/)
  t.match((await carrier.next()).fields, { source_addr: 'Shop' })
  // A spoofed From in the header, or three of them, decide nothing.
  t.match(await named.mail(`From: boss@bank.example\r\nFrom: x@y.example\r\n\r\nx`, TO, 'bot@crm.example'), /^250/)
  t.match((await carrier.next()).fields, { source_addr: '49800123', source_addr_ton: 1 })
  t.match(await named.mail(mailOf('x'), TO, 'boss@bank.example'), /^553 5\.7\.1/)
  t.match(await (await as('wrong')).mail(mailOf('x')), /^553 5\.7\.1/)
  t.equal(await event(home.daemon, 'mail_cut'), 3)
})

lodger('M-10 M-11 M-12 what is no message is refused, and what came a moment ago is not sent again', async t => {
  const { home, as, carrier } = await mailLodge(t, { shop: {}, monitor: { mail: { generated: true } } })
  const client = await as('shop')
  for (const empty of ['\r\n', '\r\n-- \r\nsignature alone', '\r\n> only\r\n> quotes']) {
    t.match(await client.mail(empty), /^554 5\.6\.0/)
  }
  for (const field of [
    'Auto-Submitted: auto-replied',
    'auto-submitted: Auto-Generated',
    'Precedence: bulk',
    'X-Autoreply: yes',
  ]) {
    t.match(await client.mail(mailOf('x', `${field}\r\n`)), /^554 5\.7\.1/, field)
  }
  t.match(await client.mail(mailOf('by hand', 'Auto-Submitted: no\r\n')), /^250/)
  t.equal(textOf(await carrier.next()), 'by hand')
  const monitor = await as('monitor')
  t.match(await monitor.mail(mailOf('disk full', 'Auto-Submitted: auto-generated\r\n')), /^250/)
  t.equal(textOf(await carrier.next()), 'disk full')
  t.match(await monitor.mail(mailOf('x', 'Auto-Submitted: auto-replied\r\n')), /^554/)

  const mail = mailOf('once', 'Message-ID: <1@shop.example>\r\n')
  const id = /\d{16}/.exec(await client.mail(mail))?.[0]
  t.match(await client.mail(mail), new RegExp(`^250 2\\.6\\.0 Ok: sent before as ${id}$`))
  t.match(
    await client.mail(mail, [TO, '15551234567@sms.localhost']),
    /^250 2\.6\.0 Ok: queued as \d{16}; 1 sent before$/,
  )
  t.match(
    await client.mail(mailOf('twice', 'Message-ID: <1@shop.example>\r\n')),
    /queued as/,
    'another text is another mail',
  )
  t.match(await client.mail(mailOf('no id')), /queued as/)
  t.match(await client.mail(mailOf('no id')), /queued as/)
  t.same((await carrier.take(5)).map(textOf), ['once', 'once', 'twice', 'no id', 'no id'])
  t.equal(await event(home.daemon, 'mail_duplicates'), 2)
})

lodger('what submit() refuses, SMTP says in its own words', async t => {
  const accounts = { shop: {}, slow: { throughput: 2 }, full: { maxWaiting: 1 } }
  const { as, carrier } = await mailLodge(t, accounts, {}, [{ match: { destination: '49' }, to: ['up'] }])
  const shop = await as('shop')
  t.match(await shop.mail(mailOf('x'), '15551234567@sms.localhost'), /^550 5\.7\.1 no route/)
  const slow = await as('slow')
  await slow.say('MAIL FROM:<a@b.example>')
  const numbers = [1, 2, 3].map(n => `RCPT TO:<4915100000${n}@sms.localhost>`)
  const said: string[] = []
  for (const line of numbers) said.push((await slow.say(line)).slice(0, 9))
  t.same(said, ['250 2.1.5', '250 2.1.5', '450 4.7.1'])
  t.match(await slow.say('DATA'), /^354/)
  slow.write('\r\nto the two\r\n.\r\n')
  t.match(await slow.reply(), /^250 2\.6\.0 Ok: queued as \d{16} \d{16}$/)
  await carrier.take(2)
  await carrier.close()
  const full = await as('full')
  t.match(await full.mail(mailOf('waits')), /^250/)
  t.match(await full.say('MAIL FROM:<a@b.example>'), /^452 4\.3\.1/)
  await carrier.open()
  // What was in flight when the carrier left is sent again.
  await carrier.until(() => carrier.submitted.some(sm => textOf(sm) === 'waits'), 'the mail that waited')
})

lodger('M-15 NOTIFY decides what the carrier is asked, and no bind hears of a mail', async t => {
  const { home, as, carrier } = await mailLodge(t, { shop: {} }, { receipts: 'asked' })
  const bind = await home.enter(t)
  const client = await as('shop')
  const asked: Record<string, number> = { '': 1, 'NOTIFY=NEVER': 0, 'NOTIFY=SUCCESS': 1, 'NOTIFY=FAILURE,SUCCESS': 1 }
  for (const [notify, delivery] of Object.entries(asked)) {
    await client.say('MAIL FROM:<a@shop.example> RET=HDRS ENVID=QQ1')
    t.match(await client.say(`RCPT TO:<${TO}> ${notify} ORCPT=rfc822;a@b`), /^250/)
    await client.say('DATA')
    client.write('\r\ntext\r\n.\r\n')
    t.match(await client.reply(), /^250/)
    t.equal((await carrier.next()).fields.registered_delivery & 3, delivery, notify)
  }
  carrier.script.submit = sm => sm.refuse(0x0b)
  t.match(await client.mail(mailOf('refused')), /^250/)
  const ends = await home.history(rows => rows.filter(row => row.kind === 'e').length === 5)
  t.ok(ends.some(row => row.state === 8 || row.state === 5))
  t.equal(await home.metric('trunkline_outbox_reports'), 0)
  t.equal(await event(home.daemon, 'mail_undelivered'), 1)
  // A receipt of the bind's own message is the first that it gets.
  delete carrier.script.submit
  const { message_id } = await bind.submit()
  t.equal((await bind.next()).receipt.id, message_id)
})

lodgersOn('each customer’s mails become messages as that customer wants it', {
  config: { smtp: { listen: '127.0.0.1:0', hostname: 'mx.example.com' } },
})
