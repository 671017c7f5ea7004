// The parts of mail reading by themselves: lines and content whatever way the octets are cut, MIME whatever way they are
// cut, text that fits, and a house that fails. No daemon.

import { createServer, type Socket } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import { countSegmentsOfText } from '../protocols/gsm/segment.js'
import type { Customer } from '../protocols/smtp/customer.js'
import { htmlText } from '../protocols/smtp/html.js'
import { MailReader } from '../protocols/smtp/mail.js'
import { textOf } from '../protocols/smtp/mime.js'
import { type ContentEnd, SmtpReader } from '../protocols/smtp/reader.js'
import { reply } from '../protocols/smtp/replies.js'
import { SubmissionServer } from '../protocols/smtp/server.js'
import { numberOf } from '../src/intake/mail/number.js'
import { fitted, ownWords } from '../src/intake/mail/text.js'
import { MailClient, plain } from './support/mailClient.js'

/** What the reader makes of these pieces: `DATA` begins a mail, all else is a line. */
async function read(pieces: readonly Buffer[]): Promise<string[]> {
  const found: string[] = []
  const reader = new SmtpReader(100)
  reader.onLine = (line, next, fault) => {
    found.push(fault ?? `line ${line.toString('latin1')}`)
    if (line.toString('latin1') === 'DATA') {
      const kept: Buffer[] = []
      const ended = ({ bareLf, bareCr, oversized }: ContentEnd): void => {
        found.push(`mail ${Buffer.concat(kept).toString('latin1')} ${bareLf} ${bareCr} ${oversized}`)
        reader.next()
      }
      reader.startContent({ write: octets => kept.push(Buffer.from(octets)) }, 200, ended)
    }
    next()
  }
  for (const piece of pieces) await new Promise<void>(resolve => reader.write(piece, () => resolve()))
  return found
}

t.test('lines and mails are the same however their octets are cut', async () => {
  const words = ['DATA\r\n', '.\r\n', '\r\n', '.', '..', '\r', '\n', 'a', 'NOOP\r\n', 'x'.repeat(60), '\r\n.\r\n', '\0']
  const session = fc.array(fc.constantFrom(...words), { minLength: 1, maxLength: 30 }).map(all => all.join(''))
  await fc.assert(
    fc.asyncProperty(session, fc.array(fc.nat(400), { maxLength: 6 }), async (text, cuts) => {
      const octets = Buffer.from(`DATA\r\n${text}\r\n.\r\nNOOP\r\n`, 'latin1')
      const ends = [...new Set([...cuts.map(n => n % octets.length), octets.length])].sort((a, b) => a - b)
      const pieces = ends.map((end, n) => octets.subarray(ends[n - 1] ?? 0, end)).filter(one => one.length > 0)
      const whole = await read([octets])
      const cut = await read(pieces)
      const bytes = await read([...octets].map(octet => Buffer.of(octet)))
      return JSON.stringify(cut) === JSON.stringify(whole) && JSON.stringify(bytes) === JSON.stringify(whole)
    }),
    { numRuns: process.env.LONG ? 5_000 : 300 },
  )
})

t.test('a mail ends at the first CRLF.CRLF and nowhere else, by a model of one line', async () => {
  const words = ['.', '\r\n', '\r', '\n', 'a', '..']
  await fc.assert(
    fc.asyncProperty(fc.array(fc.constantFrom(...words), { maxLength: 20 }), async all => {
      const text = all.join('')
      const stream = `${text}\r\n.\r\nNOOP\r\n`
      const end = stream.startsWith('.\r\n') ? -2 : stream.indexOf('\r\n.\r\n')
      const content = stream.slice(0, end + 2).replace(/(^|\r\n)\./g, '$1')
      const [, mail] = await read([Buffer.from(`DATA\r\n${stream}`)])
      return mail?.startsWith(`mail ${content.slice(0, 200)} `) === true
    }),
    { numRuns: process.env.LONG ? 5_000 : 500 },
  )
})

t.test('the parts of a mail are the same however its octets are cut', async t => {
  const mail = Buffer.from(
    [
      'Subject: folded',
      '\tsubject',
      'Content-Type: multipart/mixed; boundary="=_a"',
      '',
      'preamble',
      '--=_a',
      'Content-Type: image/png',
      '',
      '--=_ab is no boundary',
      '--=_a',
      'Content-Type: multipart/alternative; boundary=b',
      '',
      '--b',
      'Content-Type: text/html',
      '',
      '<p>html</p>',
      '--b',
      '',
      'plain',
      '--x',
      '--b--',
      '--=_a--',
      'epilogue',
    ].join('\r\n'),
  )
  const all = (pieces: Buffer[]): string => {
    const reader = new MailReader()
    for (const piece of pieces) reader.write(piece)
    const { fields, plain, html, attachments } = reader.end()
    return JSON.stringify([fields.get('subject'), plain?.octets.toString(), html?.octets.toString(), attachments])
  }
  const whole = all([mail])
  t.equal(whole, JSON.stringify(['folded\tsubject', 'plain\r\n--x\r\n', '<p>html</p>\r\n', 1]))
  for (let cut = 1; cut < mail.length; cut++) {
    if (all([mail.subarray(0, cut), mail.subarray(cut)]) !== whole) t.fail(`cut at ${cut}`)
  }
  t.equal(all([...mail].map(octet => Buffer.of(octet))), whole)
})

t.test('mutated mails harm nobody', async () => {
  const seed = Buffer.from(
    'Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>a\r\n--b--\r\n',
  )
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(seed.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 }), changes => {
      const mail = Buffer.from(seed)
      for (const [at, octet] of changes) mail[at] = octet
      const reader = new MailReader()
      reader.write(mail)
      const text = textOf(reader.end())
      return text === null || typeof text === 'string'
    }),
    { numRuns: process.env.LONG ? 100_000 : 2_000 },
  )
})

t.test('a text fits its parts and loses no more than it must', async () => {
  const text = fc.string({ unit: fc.constantFrom('a', '€', 'ü', 'я', '😀', ' ', '\n'), maxLength: 700 })
  fc.assert(
    fc.property(text, fc.integer({ min: 1, max: 4 }), (whole, parts) => {
      const { text, cut } = fitted(whole, parts)
      if (countSegmentsOfText(text) > parts || !whole.startsWith(text)) return false
      if ([...whole].length !== [...text].length + cut) return false
      const [next] = whole.slice(text.length)
      return next === undefined || countSegmentsOfText(text + [...whole.slice(text.length)][0]) > parts
    }),
    { numRuns: 500 },
  )
})

t.test('numbers, own words and HTML', async t => {
  t.equal(numberOf('+49 (151) 123-4567', ''), '491511234567')
  t.equal(numberOf('0151 1234567', '49'), '491511234567')
  for (const none of ['', 'x', '+', '123456', '1'.repeat(16), '01511234567', 'sms-', '+0151234567']) {
    t.equal(numberOf(none, ''), null, none)
  }
  t.equal(ownWords('a\n\n--\nb'), 'a')
  t.equal(ownWords('> what he said\nmy answer'), '> what he said\nmy answer')
  t.equal(htmlText('<p>a</p><p>b<br>c</p>'), 'a\n\nb\nc')
  for (const page of [
    '<'.repeat(200_000),
    '<a "'.repeat(50_000),
    '<!--'.repeat(50_000),
    '<div>'.repeat(50_000),
    '<style>'.repeat(50_000),
  ]) {
    const from = performance.now()
    htmlText(page)
    t.ok(performance.now() - from < 1_000)
  }
})

t.test('hostile mails take linear time', async t => {
  const blanks = ' '.repeat(120_000)
  const coded = (type: string, encoding: string, text: string): string =>
    `Content-Type: ${type}\r\nContent-Transfer-Encoding: ${encoding}\r\n\r\n${text}`
  const mails: Record<string, string> = {
    'blanks in quoted-printable': coded('text/plain', 'quoted-printable', `a${blanks}b`),
    'blanks in plain text': `\r\na${blanks}b`,
    'hard blanks in HTML': coded('text/html', '7bit', `a${'&nbsp;'.repeat(40_000)}b`),
    'a boundary without its end': `Content-Type: multipart/mixed; ${'boundary="x;'.repeat(20_001)}\r\n\r\n`,
    'blanks in a type': `Content-Type: text/plain;${blanks};${blanks}\r\n\r\na`,
    'fields without a colon': `${'x\r\n'.repeat(4_900)}Subject: ${'x'.repeat(200_000)}\r\n\r\na`,
    dashes: `\r\n${'-'.repeat(100_000)}x\r\n${'On x\r\n'.repeat(10_000)}`,
    'lines without their ends': coded('text/plain; format=flowed', '7bit', 'x \r\n'.repeat(30_000)),
  }
  for (const [what, mail] of Object.entries(mails)) {
    const from = performance.now()
    const reader = new MailReader()
    reader.write(Buffer.from(mail))
    ownWords(textOf(reader.end()) ?? '')
    t.ok(performance.now() - from < 1_000, `${what}: ${Math.round(performance.now() - from)} ms`)
  }
})

t.test('G-19 A-10 when the house fails, the reply is 451 or 454 and the connection goes on', async t => {
  const faults: unknown[] = []
  const server = new SubmissionServer(
    {
      hostname: 'mx.example',
      maxOctets: 1_000,
      maxRecipients: 10,
      idleMs: 10_000,
      handshakeMs: 1_000,
      minBytesPerSecond: 500,
      now: () => performance.now(),
      fault: error => faults.push(error),
      failed: () => {},
    },
    null,
  )
  let fails = ''
  const fail = (where: string): void => {
    if (fails === where) throw new Error(where)
  }
  const customer: Customer = {
    isKnown: true,
    authenticate: async () => {
      fail('auth')
      return reply(235, '2.7.0', 'ok')
    },
    mail: () => void fail('mail'),
    recipient: () => void fail('recipient'),
    content: () => {
      fail('content')
      return {
        write: () => fail('write'),
        end: answer => {
          fail('end')
          answer(reply(250, '2.6.0', 'ok'))
        },
        drop: () => {},
      }
    },
    reset: () => {},
    secured: () => {},
    refused: () => {},
    closed: () => {},
  }
  const listener = createServer((socket: Socket) =>
    server.accept(socket, { address: '127.0.0.1', port: 1, isSecure: false, plainAuth: true }, customer),
  )
  await new Promise<void>(resolve => listener.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.destroy()
    listener.close()
  })
  const client = await MailClient.connect(t, (listener.address() as { port: number }).port)
  await client.reply()
  await client.say('EHLO a')
  fails = 'auth'
  t.match(await client.say(`AUTH PLAIN ${plain('a', 'b')}`), /^454 4\.7\.0/)
  const lines = ['MAIL FROM:<a@b.example>', 'RCPT TO:<1@b.example>', 'DATA']
  for (const [n, where] of ['mail', 'recipient', 'content'].entries()) {
    fails = where
    t.match(await client.say(lines[n] as string), /^451 4\.3\.0/, where)
    fails = ''
    t.match(await client.say(lines[n] as string), /^(?:250|354)/)
  }
  fails = 'end'
  client.write('x\r\n.\r\n')
  t.match(await client.reply(), /^451 4\.3\.0/)
  fails = ''
  t.match(await client.mail('x', '1@b.example'), /^250 2\.6\.0/)
  t.equal(faults.length, 5)
  t.same(client.wrong, [])
})
