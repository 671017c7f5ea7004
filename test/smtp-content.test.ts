// The submission listener against the letter of SMTP, id by id of the conformance list: content and dots, line ends and
// smuggling, pipelining, sizes, enhanced codes, DSN parameters, 8-bit mail. Raw sockets: a client library would be too polite.

import t, { type Test } from 'tap'
import { story } from './support/house.js'
import { MailClient, plain } from './support/mailClient.js'
import { FROM, mailHouse, over, RCPT, says } from './support/mailHouse.js'

t.jobs = 2

story('content, dots, line ends, pipelining, sizes and parameters', async t => {
  const { daemon, port, carrier } = await mailHouse(t, { maxBytes: 100_000, maxRecipients: 100 })
  const check = over(t, port)
  const content = async (t: Test, client: MailClient, octets: string | Buffer, starts = '250 2.6.0') => {
    t.match(await client.envelope(), /^354 /)
    client.write(octets)
    const said = await client.reply()
    t.ok(said.startsWith(starts), `${said}, wanted ${starts}`)
  }
  const arrived = async (t: Test, text: string) => t.equal((await carrier.next()).text, text)

  await check('D-1 an empty mail is answered, and the next one is a new one', async (t, client) => {
    await content(t, client, '.\r\n', '554 5.6.0')
    await content(t, client, '\r\nnext\r\n.\r\n')
    await arrived(t, 'next')
  })
  await check('D-2 stuffed dots at the very start are unstuffed, octet for octet', async (t, client) => {
    await content(t, client, '\r\n..x\r\n....\r\n.\r\n')
    await arrived(t, '.x\n...')
    await content(t, client, '..Subject: x\r\n\r\nbody\r\n.\r\n')
    await arrived(t, 'body')
  })
  await check('D-3 a first line of a lone dot, cut behind its stuffing, does not end the mail', async (t, client) => {
    await client.envelope()
    client.write('..')
    await client.socket.once('drain', () => {})
    await new Promise(resolve => setImmediate(resolve))
    client.write('\r\n\r\nstill here\r\n.\r\n')
    t.match(await client.reply(), /^250 /)
    await arrived(t, 'still here')
  })
  await check('D-4 the end may be cut at each of its boundaries and glued to the next command', async (t, client) => {
    for (let cut = 0; cut <= 5; cut++) {
      await client.envelope()
      const end = '\r\n.\r\n'
      client.write(`\r\nbody ${cut}${end.slice(0, cut)}`)
      await new Promise(resolve => setImmediate(resolve))
      client.write(`${end.slice(cut)}NOOP\r\n`)
      t.equal(await client.codes(2), '250 250')
      await arrived(t, `body ${cut}`)
    }
  })
  await check('D-5 dot lines in the middle lose one dot, stuffed or not', async (t, client) => {
    await content(t, client, '\r\na\r\n..\r\n.x\r\nb\r\n.\r\n')
    await arrived(t, 'a\n.\nx\nb')
  })
  await check('D-6 ten thousands of dot lines take linear time', async (t, client) => {
    const from = performance.now()
    await content(t, client, `\r\nhead\r\n\r\n\r\n${'..\r\n'.repeat(20_000)}.\r\n`)
    t.ok(performance.now() - from < 5_000)
    t.match((await carrier.take(4))[0]?.text, /head/)
  })
  await check('D-7 DATA with an argument is 501 5.5.4', (t, client) =>
    says(t, client, [
      [FROM, '250'],
      [RCPT, '250'],
      ['DATA now', '501 5.5.4'],
    ]),
  )
  await check('D-8 DATA after only refused recipients is never 354', async (t, client) => {
    client.write(`${FROM}\r\nRCPT TO:<nobody@elsewhere.example>\r\nDATA\r\n`)
    t.equal(await client.codes(3), '250 550 554')
  })

  await check('D-9 long content lines are taken, and cost no memory', async (t, client) => {
    await content(t, client, `\r\n${'x'.repeat(4_096)}\r\n.\r\n`)
    await carrier.take(4)
    const mail = `Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nshort\r\n--b\r\nContent-Type: image/png\r\n\r\n`
    await content(t, client, `${mail}${'y'.repeat(90_000)}\r\n--b--\r\n.\r\n`)
    await arrived(t, 'short')
  })
  await check('D-10 NUL and 8-bit octets are taken, and nothing behind them is lost', async (t, client) => {
    await content(t, client, Buffer.from('\r\na\0b\r\n.\r\n'))
    await arrived(t, 'ab')
    await content(t, client, Buffer.from('\r\ngr\u00fcn\r\n.\r\n', 'latin1'))
    await arrived(t, 'gr~n')
  })
  await check('D-11 a connection lost in DATA leaves nothing', async (t, client) => {
    await client.envelope()
    client.write('\r\nnever\r\n')
    client.socket.destroy()
    await client.closed
    const other = await MailClient.ready(t, port)
    await content(t, other, '\r\nthe next\r\n.\r\n')
    await arrived(t, 'the next')
  })
  await check('D-12 a mail whose sender left after the dot is sent', async (t, client) => {
    await client.envelope()
    client.socket.end('\r\nleft early\r\n.\r\n')
    await arrived(t, 'left early')
  })
  await check('D-13 a mail over the size is read to its end, and 552 5.3.4', async (t, client) => {
    await content(t, client, `\r\n${`${'z'.repeat(98)}\r\n`.repeat(1_500)}.\r\n`, '552 5.3.4')
    await content(t, client, '\r\nsmall\r\n.\r\n')
    await arrived(t, 'small')
    await client.envelope()
    for (let n = 0; n < 40 && !client.isClosed; n++) client.write(`${'z'.repeat(10_000)}\r\n`)
    t.equal(await client.codes(2), '552 closed')
  })

  const smuggled = `${FROM}\r\n${RCPT}\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n`
  const ends: readonly (readonly [id: string, octets: string])[] = [
    ['S-1', '\n.\n'],
    ['S-2', '\n.\r\n'],
    ['S-3', '\r\n.\n'],
    ['S-4', '\n.\r'],
    ['S-5', '\r.\n'],
    ['S-6', '\r.\r'],
    ['S-7', '\r.\r\n'],
    ['S-8', '\r\n.\rx'],
    ['S-9', '\r\n\0.\r\n'],
    ['S-10', '\r\n.\0\r\n'],
    ['S-11', '\r\n.\r\r\n'],
    ['S-12', '\r\r\n.\r\r\n'],
    ['S-13', '\r\n .\r\n'],
    ['S-13 tab', '\r\n.\t\r\n'],
    ['S-13 VT', '\r\n\x0b.\r\n'],
    ['S-13 NEL', '\r\n\x85.\r\n'],
    ['S-13 LS', '\r\n\xe2\x80\xa8.\r\n'],
  ]
  for (const [id, octets] of ends) {
    await check(`${id} ${JSON.stringify(octets)} ends no mail`, async (t, client) => {
      await client.envelope()
      client.write(`\r\ntext ${id}${octets}${smuggled}`)
      const said = await client.reply()
      // A bare CR or LF refuses the mail; all others are content.
      const isBare = /\r(?!\n)|(?<!\r)\n/.test(octets)
      t.match(said, isBare ? /^550 5\.5\.2 bare <(?:LF|CR)> received/ : /^250 /)
      t.match(await client.say('NOOP'), /^250/)
      t.equal(client.replies.length, 8, 'one reply to all of it')
      if (!isBare) {
        const [first] = await carrier.take(1)
        t.match(first?.text, new RegExp(`text ${id.slice(0, 4)}`))
      }
    })
  }
  await check('S-1 to S-13 gave one message each at most', async (t, client) => {
    await content(t, client, '\r\nthe last\r\n.\r\n')
    await arrived(t, 'the last')
    t.notOk(carrier.submitted.some(sm => sm.text === 'x'))
  })
  await check('S-15 the sequences in a header refuse the mail too', async (t, client) => {
    await content(t, client, 'Subject: a\n.\nb\r\n\r\ntext\r\n.\r\n', '550 5.5.2')
    await content(t, client, 'Subject: a\r.\rb\r\n\r\ntext\r\n.\r\n', '550 5.5.2')
  })
  await check('S-16 a command that ends with a bare LF is 500 5.5.2, and the end', async (t, client) => {
    client.write('NOOP\nNOOP\r\n')
    t.match(await client.reply(), /^500 5\.5\.2/)
    t.equal(await client.reply(), 'closed')
    const other = await MailClient.ready(t, port)
    t.match(await other.say('NO\rOP'), /^500 5\.5\.2/)
  })
  await check('S-17 control characters hidden in parameters, names and mechanisms are refused', async (t, client) => {
    await says(t, client, [
      [`${FROM} ENVID=ab+0D+0Acd`, '501'],
      [FROM, '250'],
      [`${RCPT} ORCPT=rfc822;a+0D+0A@b`, '501'],
      [`${RCPT} ORCPT=rfc822;a+7F@b`, '501'],
      ['RSET', '250'],
      ['EHLO a\u0001b', '501'],
    ])
    const other = await MailClient.ready(t, port, null)
    t.match(await other.say(`AUTH PLAIN ${plain('shop\r\n250 ok', 'secret')}`), /^501 /)
    t.same(other.wrong, [])
  })

  await check('P-1 MAIL, RCPTs and DATA in one write are answered in order', async (t, client) => {
    const bad = 'RCPT TO:<no-number'
    client.write(`${FROM}\r\n${RCPT}\r\n${bad}\r\nRCPT TO:<4915112345679@sms.localhost>\r\nDATA\r\n`)
    t.equal(await client.codes(5), '250 250 501 250 354')
    client.write('\r\npiped\r\n.\r\nQUIT\r\n')
    t.equal(await client.codes(3), '250 221 closed')
    await arrived(t, 'piped')
    await arrived(t, 'piped')
  })
  await check('P-2 two whole transactions in one write are two mails', async (t, client) => {
    const one = (text: string): string => `${FROM}\r\n${RCPT}\r\nDATA\r\n\r\n${text}\r\n.\r\n`
    client.write(`${one('first')}${one('second')}NOOP\r\n`)
    t.equal(await client.codes(9), '250 250 354 250 250 250 354 250 250')
    await arrived(t, 'first')
    await arrived(t, 'second')
  })
  await check('P-4 100,000 NOOPs in one write are answered, and others are served meanwhile', async (t, client) => {
    const other = await MailClient.ready(t, port)
    const before = client.replies.length
    client.write('NOOP\r\n'.repeat(100_000))
    t.match(await other.say('NOOP'), /^250/)
    while (client.replies.length < before + 100_000) await client.reply()
    t.equal(client.replies.length, before + 100_000)
  })
  await check('P-5 a client that reads no replies is not read from', async (t, client) => {
    const other = await MailClient.ready(t, port)
    const left = async (): Promise<number> => {
      for (let n = 0; n < 200; n++) await other.say('NOOP')
      return client.socket.writableLength
    }
    client.socket.pause()
    client.write('HELP\r\n'.repeat(5_000_000))
    let before = await left()
    for (let now = await left(); now < before; now = await left()) before = now
    t.ok(before > 10_000_000, `${before} octets of 30,000,000 were left untaken`)
    client.socket.destroy()
  })

  await check('Z-1 Z-2 Z-4 SIZE is announced, and refused where it is too much or no number', async (t, client) => {
    t.match(await client.say('EHLO a'), /^250 SIZE 100000$/m)
    await says(t, client, [
      [`${FROM} SIZE=100001`, '552 5.3.4'],
      ...['abc', '-1', '123456789012345678901', '1e3', '0x10'].map(n => [`${FROM} SIZE=${n}`, '501 5.5.4'] as const),
      [`${FROM} SIZE=100000`, '250'],
    ])
  })
  await check('Z-5 Z-6 a mail larger or smaller than it was announced is what it is', async (t, client) => {
    await says(t, client, [
      [`${FROM} SIZE=10`, '250'],
      [RCPT, '250'],
      ['DATA', '354'],
    ])
    client.write(`\r\n${`${'z'.repeat(98)}\r\n`.repeat(1_500)}.\r\n`)
    t.match(await client.reply(), /^552 5\.3\.4/)
    await says(t, client, [
      [`${FROM} SIZE=90000`, '250'],
      [RCPT, '250'],
      ['DATA', '354'],
    ])
    client.write('\r\ntiny\r\n.\r\n')
    t.match(await client.reply(), /^250/)
    await arrived(t, 'tiny')
  })
  await check('E-1 E-3 enhanced codes are announced and given', async (t, client) => {
    t.match(await client.say('EHLO a'), /ENHANCEDSTATUSCODES/)
    await says(t, client, [
      [FROM, '250 2.1.0'],
      ['RCPT TO:<1@>', '501 5.1.3'],
      ['RCPT TO:<abc@sms.localhost>', '550 5.1.3'],
      ['RCPT TO:<a@elsewhere.example>', '550 5.7.1'],
      [RCPT, '250 2.1.5'],
      ['DATA', '354 End'],
    ])
    client.write('\r\nenhanced\r\n.\r\n')
    t.match(await client.reply(), /^250 2\.6\.0/)
    await arrived(t, 'enhanced')
    await says(t, client, [['QUIT', '221 2.0.0']])
  })
  await check('N-1 RET and ENVID', (t, client) =>
    says(t, client, [
      [`${FROM} RET=SOME`, '501 5.5.4'],
      [`${FROM} ENVID=${'a'.repeat(101)}`, '501 5.5.4'],
      [`${FROM} ENVID=a+zz`, '501 5.5.4'],
      [`${FROM} RET=hdrs ENVID=QQ+2B314159`, '250'],
    ]),
  )
  await check('N-2 N-3 NOTIFY and ORCPT', (t, client) =>
    says(t, client, [
      [FROM, '250'],
      [`${RCPT} NOTIFY=NEVER,SUCCESS`, '501 5.5.4'],
      [`${RCPT} NOTIFY=SOMETIMES`, '501 5.5.4'],
      [`${RCPT} NOTIFY=success,Failure,DELAY`, '250'],
      [`${RCPT} ORCPT=a@b`, '501 5.5.4'],
      [`${RCPT} ORCPT=;a`, '501 5.5.4'],
      [`${RCPT} ORCPT=rfc822;${'a'.repeat(500)}`, '501 5.5.4'],
      [`${RCPT} NOTIFY=NEVER ORCPT=rfc822;user+2Bme@example.com`, '250'],
    ]),
  )
  await check('U-1 U-2 U-3 BODY, SMTPUTF8, and addresses that need it', async (t, client) => {
    await says(t, client, [
      [`${FROM} BODY=BINARYMIME`, '501 5.5.4'],
      [`${FROM} SMTPUTF8=1`, '501 5.5.4'],
      [`${FROM} BODY=7bit`, '250'],
      ['RSET', '250'],
      [`${FROM} BODY=8BITMIME SMTPUTF8`, '250'],
    ])
    client.write(
      Buffer.from(`RCPT TO:<j\u00fcrgen@sms.localhost>\r\nRSET\r\nMAIL FROM:<j\u00fcrgen@b.example> SMTPUTF8\r\n`),
    )
    t.equal(await client.codes(3), '550 250 250')
  })
  await check('2.0 a command line may have 2,048 octets, not one more, however it comes', async (t, client) => {
    t.match(await client.say(`NOOP ${'a'.repeat(2_041)}`), /^250/)
    t.match(await client.say(`NOOP ${'a'.repeat(2_042)}`), /^500 5\.5\.2/)
    client.write('a'.repeat(50_000))
    await new Promise(resolve => setImmediate(resolve))
    t.match(await client.say('b'.repeat(50_000)), /^500 5\.5\.2/)
    t.match(await client.say('NOOP'), /^250/)
  })
  await check('2.0 the recipient after the last is 452 4.5.3, and the others stay', async (t, client) => {
    await says(t, client, [[FROM, '250']])
    const all = Array.from({ length: 101 }, (_, n) => `RCPT TO:<49151000${1_000 + n}@sms.localhost>\r\n`)
    client.write(all.join(''))
    for (let n = 0; n < 100; n++) t.match(await client.reply(), /^250 2\.1\.5/)
    t.match(await client.reply(), /^452 4\.5\.3/)
    await says(t, client, [['DATA', '354']])
    client.write('\r\nto all\r\n.\r\n')
    t.match(await client.reply(), /^250 2\.6\.0 Ok: queued as (?:\d{16} ){20}and 80 more/)
    const texts = (await carrier.take(100)).map(sm => sm.text)
    t.same(new Set(texts), new Set(['to all']))
  })
  t.equal(daemon.lines('a fault of ours: what it was about has ended, the rest goes on').length, 0)
})
