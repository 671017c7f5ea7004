// The pure parts of mail that leaves: the form of a notification for whatever stands in a mail, what an end is in RFC
// 3463, and line ends that no server can take for the end of a mail.

import fc from 'fast-check'
import { simpleParser } from 'mailparser'
import t from 'tap'
import { lines } from '../protocols/smtp/client.js'
import { readMailbox, writtenMailbox } from '../protocols/smtp/commands.js'
import { composeText } from '../protocols/smtp/compose.js'
import { composeDsn, type Dsn, type RecipientStatus } from '../protocols/smtp/dsn.js'
import { ManualClock } from '../src/base/clock.js'
import { type MessageState, state } from '../src/model/message.js'
import { cutDsn, dsnOf, noticeOf, statusOf } from '../src/returns/mailNotices.js'
import { MailPace } from '../src/returns/mailPace.js'

const dsn: Dsn = {
  from: 'postmaster@mx.example.com',
  to: 'bob@example.net',
  subject: 'Not delivered',
  messageId: '1@mx.example.com',
  atMs: 1_790_000_000_000,
  reportingMta: 'mx.example.com',
  envid: 'QQ+1 x',
  arrivalMs: 1_789_999_000_000,
  text: 'It was not delivered.\n',
  recipients: [
    {
      address: '15551234567@sms.example.com',
      original: 'rfc822;carol@example.org',
      action: 'failed',
      status: '5.1.1',
      diagnostic: 'smtp; 550 5.1.1 no such user',
      atMs: 1_790_000_000_000,
    },
  ],
  original: {
    from: 'Bob <bob@example.net>',
    to: '15551234567@sms.example.com',
    subject: 'hi',
    date: '',
    messageId: 'a@b',
  },
}

t.test('a notification has the parts and fields that RFC 3464 asks for, in their order', async t => {
  const text = (await composeDsn(dsn)).toString()
  const types = [...text.matchAll(/^Content-Type: ([a-z0-9/-]+)/gim)].map(([, type]) => type)
  t.same(types, ['multipart/report', 'text/plain', 'message/delivery-status', 'text/rfc822-headers'])
  const [, status = ''] = /message\/delivery-status\r\n\r\n(.*?)\r\n--/s.exec(text) ?? []
  t.equal(
    status,
    [
      'Reporting-MTA: dns; mx.example.com',
      'Original-Envelope-Id: QQ+1 x',
      'Arrival-Date: Mon, 21 Sep 2026 13:56:40 +0000',
      '',
      'Original-Recipient: rfc822; carol@example.org',
      'Final-Recipient: rfc822; 15551234567@sms.example.com',
      'Action: failed',
      'Status: 5.1.1',
      'Diagnostic-Code: smtp; 550 5.1.1 no such user',
      'Last-Attempt-Date: Mon, 21 Sep 2026 14:13:20 +0000',
      '',
    ].join('\r\n'),
  )
  t.match(text, /report-type=delivery-status/)
  t.match(text, /^Auto-Submitted: auto-replied\r$/m)
})

t.test('an address that is not ASCII makes it a global one (RFC 6533)', async t => {
  const [one] = dsn.recipients
  const text = (
    await composeDsn({ ...dsn, recipients: [{ ...(one as RecipientStatus), address: 'grüße@sms.example.com' }] })
  ).toString()
  t.match(text, /^Content-Type: message\/global-delivery-status\r$/m)
  t.match(text, /^Final-Recipient: utf-8; grüße@sms\.example\.com\r$/m)
})

t.test('nothing that stands in a mail adds a field to its notification, or a line without CRLF', async () => {
  const nasty = fc.string({
    unit: fc.constantFrom('a', ' ', '\r', '\n', '\r\n', ':', '<', '"', 'é', '=?', '\0', 'Bcc: x@y\r\n', '.'),
  })
  await fc.assert(
    fc.asyncProperty(nasty, nasty, nasty, async (a, b, c) => {
      const [one] = dsn.recipients
      const octets = await composeDsn({
        ...dsn,
        subject: a,
        envid: b === '' ? null : b,
        text: c,
        recipients: [{ ...(one as RecipientStatus), original: `rfc822;${c}`, diagnostic: b }],
        original: { from: a, to: b, subject: c, date: a, messageId: 'a@b' },
      })
      const text = octets.toString('latin1')
      if (/[^\r]\n|\r[^\n]/.test(text)) throw new Error('a bare CR or LF')
      const header = text.slice(0, text.indexOf('\r\n\r\n'))
      if (/^Bcc:/im.test(header)) throw new Error(header)
      const status = /delivery-status\r\n\r\n(.*?)\r\n--/s.exec(text)?.[1] ?? ''
      const fields = status
        .split('\r\n')
        .filter(
          line =>
            line !== '' &&
            !/^(?:Reporting-MTA|Original-|Arrival-Date|Final-Recipient|Action|Status|Diagnostic-Code|Last-Attempt-Date)/.test(
              line,
            ),
        )
      if (fields.length > 0) throw new Error(fields.join('|'))
    }),
    { numRuns: 100 },
  )
})

t.test('a mail of ours reads as it was written', async t => {
  const head = {
    from: { name: '+49 151 "x"', address: '49151@sms.example.com' },
    to: { address: 'bob@example.net' },
    subject: 'Re: Grüße',
    messageId: '1@x',
    atMs: 1_790_000_000_000,
  }
  const text = `Grüße\n.\n..dots ${'long '.repeat(300)}\nend\n`
  const mail = await simpleParser(await composeText(head, text))
  t.equal(mail.text, text)
  t.equal(mail.subject, 'Re: Grüße')
  t.same(mail.from?.value, [{ name: '+49 151 "x"', address: '49151@sms.example.com' }])
  t.equal(mail.date?.getTime(), 1_790_000_000_000)
})

t.test('an end is told as what it is in RFC 3463', async t => {
  const table: readonly (readonly [MessageState, string, string])[] = [
    [state.DELIVERED, '', '2.0.0'],
    [state.ACCEPTED, '', '2.0.0'],
    [state.EXPIRED, '', '4.4.7'],
    [state.UNKNOWN, 'no_receipt', '4.4.7'],
    [state.UNDELIVERABLE, '034', '5.0.0'],
    [state.REJECTED, 'ESME_RINVDSTADR', '5.1.3'],
    [state.REJECTED, '550 5.7.1', '5.7.1'],
    [state.REJECTED, '550', '5.0.0'],
    [state.DELETED, '', '5.0.0'],
  ]
  for (const [s, error, wanted] of table) t.equal(statusOf(s, error), wanted, `${s} ${error}`)
})

t.test('recipients of one mail stand in one notification, and what was cut in another', async t => {
  const note = { from: 'bob@example.net', to: '1@sms.x', subject: 'hi' }
  const about = (extras: string) => ({ clientRef: 'a@b', extras, segments: 1, priceMicros: 0, carrier: 1 })
  const receipt = (s: MessageState, extras = JSON.stringify({ mail: note })) =>
    ({ state: s, err: '', doneMs: 1, id: 1_780_000_000_000_000, more: { message: about(extras) } }) as never
  t.equal(noticeOf(receipt(state.DELIVERED, '')), null)
  const notices = [state.DELIVERED, state.EXPIRED].map(s => noticeOf(receipt(s))).filter(one => one !== null)
  const head = { from: 'p@x', reportingMta: 'x', messageId: '2@x', atMs: 2 }
  t.match(dsnOf(head, notices), {
    subject: /^Not delivered/,
    to: 'bob@example.net',
    recipients: [{ action: 'delivered' }, { action: 'failed' }],
  })
  const cut = {
    note,
    messageId: 'a@b',
    id: 1_780_000_000_000_000,
    to: [{ to: '1@sms.x' }],
    parts: 1,
    others: 2,
    cut: 'rest',
    more: 5,
  }
  t.match(cutDsn(head, cut), {
    text: /1 part of it.*and 2 more\n.*rest\n\[and 5 more/s,
    recipients: [{ action: 'relayed', status: '2.6.4' }],
  })
})

t.test('octets go with CRLF at every line end and nowhere else, wherever they were cut', async () => {
  const part = fc.constantFrom('\r', '\n', '\r\n', 'a', '.', 'x'.repeat(65_534), '')
  fc.assert(
    fc.property(fc.array(part, { maxLength: 12 }), parts => {
      const given = parts.join('')
      const out = Buffer.concat([...lines(Buffer.from(given))]).toString()
      return out === given.replace(/\r\n|\r|\n/g, '\r\n')
    }),
    { numRuns: 300 },
  )
})

t.test('a mailbox is written so that it is read again as the same', async t => {
  for (const [written, local] of [
    ['a.b@x.example', 'a.b'],
    ['"+1 555"@x.example', '+1 555'],
    ['"a\\"b\\\\"@x.example', 'a"b\\'],
  ] as const) {
    const read = readMailbox(written)
    t.same(read, { local, domain: 'x.example' })
    t.equal(writtenMailbox({ local, domain: 'x.example' }), written)
  }
  t.equal(writtenMailbox({ local: '', domain: '' }), '')
})

t.test('one sender gets twenty notifications a minute and no more', async t => {
  const clock = new ManualClock(0)
  const pace = new MailPace(() => clock.mono())
  const taken = Array.from({ length: 30 }, () => pace.take('1 bob@example.net'))
  t.equal(taken.filter(Boolean).length, 20)
  t.equal(pace.take('1 carol@example.net'), true)
  clock.advance(60_000)
  t.equal(pace.take('1 bob@example.net'), true)
})
