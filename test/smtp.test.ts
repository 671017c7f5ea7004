// The submission listener against the letter of SMTP, id by id of the conformance list: grammar, commands, their order and
// their arguments. Raw sockets: a client library would be too polite. What cannot be met stands in protocols/smtp/README.md.

import t, { type Test } from 'tap'
import { story } from './support/house.js'
import { MailClient, mailOf, plain } from './support/mailClient.js'
import { FROM, mailHouse, NUMBER, over, RCPT, says } from './support/mailHouse.js'

t.jobs = 2

story('commands, their order and their arguments', async t => {
  const { daemon, port, carrier } = await mailHouse(t)
  const check = over(t, port)
  /** Sends what was asked, so that whatever came before has left the envelope and the session in order. */
  const works = async (t: Test, client: MailClient, text: string) => {
    t.match(await client.mail(mailOf(text)), /^250 2\.6\.0 Ok: queued as \d{16}$/)
    t.equal((await carrier.next()).text, text)
  }

  await t.test('G-2 a silent client is greeted at once, our hostname first', async t => {
    const client = await MailClient.connect(t, port)
    t.equal(await client.reply(1_000), '220 mx.example.com ESMTP Trunkline')
  })
  await check(
    'G-3 MAIL, RCPT, DATA and AUTH before EHLO are 503 5.5.1',
    async t => {
      const client = await MailClient.connect(t, port)
      await client.reply()
      const bad = '503 5.5.1'
      await says(t, client, [
        [FROM, bad],
        [RCPT, bad],
        ['DATA', bad],
        ['AUTH PLAIN', bad],
      ])
    },
    null,
  )
  await check('G-4 RCPT before MAIL, DATA before MAIL and before RCPT are 503 5.5.1', (t, client) =>
    says(t, client, [
      [RCPT, '503 5.5.1'],
      ['DATA', '503 5.5.1'],
      [FROM, '250 2.1.0'],
      ['DATA', '503 5.5.1'],
    ]),
  )
  await check('G-5 a second MAIL in a transaction is 503 5.5.1', (t, client) =>
    says(t, client, [
      [FROM, '250 2.1.0'],
      [FROM, '503 5.5.1'],
      [RCPT, '250 2.1.5'],
    ]),
  )
  await check('G-6 EHLO and HELO take exactly one argument', (t, client) =>
    says(t, client, [
      ['EHLO', '501'],
      ['HELO', '501'],
      ['EHLO a b', '501'],
      ['HELO a b', '501'],
      [`EHLO ${'a'.repeat(300)}`, '501'],
    ]),
  )
  await check('G-7 EHLO in a transaction is a RSET', (t, client) =>
    says(t, client, [
      ['EHLO a', '250'],
      [FROM, '250'],
      ['EHLO a', '250'],
      [RCPT, '503'],
    ]),
  )
  await check('G-8 RSET clears the envelope and keeps EHLO and AUTH', (t, client) =>
    says(t, client, [
      [FROM, '250'],
      [RCPT, '250'],
      ['RSET', '250 2.0.0'],
      [RCPT, '503 5.5.1'],
      [FROM, '250'],
    ]),
  )
  await t.test('G-9 NOOP is taken before EHLO, with an argument too', async t => {
    const client = await MailClient.connect(t, port)
    await client.reply()
    await says(t, client, [
      ['NOOP', '250 2.0.0'],
      ['NOOP whatever it says', '250 2.0.0'],
    ])
  })
  await check('G-10 VRFY, EXPN, HELP and unknown commands', (t, client) =>
    says(t, client, [
      ['VRFY shop', '252 2.0.0'],
      ['VRFY', '501 5.5.4'],
      ['EXPN list', '502 5.5.1'],
      ['HELP', '214 2.0.0'],
      ['WIZ', '500 5.5.2'],
      ['XCLIENT ADDR=1.2.3.4', '500 5.5.2'],
      ['BDAT 5', '502 5.5.1'],
    ]),
  )
  await check('G-11 an empty line is 500', (t, client) => says(t, client, [['', '500 5.5.2']]))
  await check('G-12 commands are known in any case, with blanks behind them', (t, client) =>
    says(t, client, [
      ['eHlO a \t', '250'],
      [`mail from:<a@b.example>  `, '250'],
      [`rCpT tO:<${NUMBER}@SMS.LocalHost>\t`, '250'],
      ['rset ', '250'],
      ['Noop\t ', '250'],
    ]),
  )
  await check(
    'G-13 QUIT is answered and the connection closed, in a transaction too; nothing after it runs',
    async (t, client) => {
      client.write(`${FROM}\r\nQUIT\r\nNOOP\r\n`)
      t.equal(await client.codes(3), '250 221 closed')
    },
  )
  await t.test('G-14 what is no SMTP is told so and hung up on', async t => {
    const hello = Buffer.from('16030100a5010000a10303', 'hex')
    for (const octets of [
      'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
      'POST / HTTP/1.1\r\n',
      'CONNECT x:25 HTTP/1.1\r\n',
      hello,
    ]) {
      const client = await MailClient.connect(t, port)
      await client.reply()
      client.write(octets)
      t.equal(await client.codes(2), '421 closed')
    }
    const junk = await MailClient.connect(t, port)
    await junk.reply()
    for (let i = 0; i < 9; i++) t.match(await junk.say(`\u0001\u0002${i}`), /^500 /)
  })
  await check('G-15 unknown parameters are 555 5.5.4', (t, client) =>
    says(t, client, [
      [`${FROM} FOO=BAR`, '555 5.5.4'],
      [`${FROM} BINARYMIME`, '555 5.5.4'],
      [FROM, '250'],
      [`${RCPT} FOO=BAR`, '555 5.5.4'],
      [`${RCPT} SIZE=1`, '555 5.5.4'],
    ]),
  )
  await check('G-16 a parameter given twice is 501 5.5.4', async (t, client) => {
    await says(t, client, [
      [`${FROM} SIZE=1 SIZE=2`, '501 5.5.4'],
      [`${FROM} RET=FULL RET=HDRS`, '501 5.5.4'],
      [FROM, '250'],
      [`${RCPT} NOTIFY=NEVER notify=SUCCESS`, '501 5.5.4'],
    ])
  })
  await check('G-17 parameters without their value are 501 5.5.4, and the session goes on', async (t, client) => {
    const mail = ['SIZE', 'SIZE=', 'BODY', 'BODY=', 'RET', 'RET=', 'ENVID', 'ENVID=', 'AUTH']
    await says(
      t,
      client,
      mail.map(one => [`${FROM} ${one}`, '501 5.5.4'] as const),
    )
    await says(t, client, [
      [FROM, '250'],
      ...['NOTIFY', 'NOTIFY=', 'ORCPT', 'ORCPT='].map(one => [`${RCPT} ${one}`, '501 5.5.4'] as const),
      [RCPT, '250'],
    ])
  })
  await t.test('G-18 addresses', async t => {
    const good = [
      '<>',
      '<a@b.example>',
      '<"a b"@b.example>',
      '<"a\\"b@c"@b.example>',
      '<user@[192.0.2.1]>',
      '<user@[IPv6:2001:db8::1]>',
      '<@a.example,@b.example:u@d.example>',
      '<user.@example.com>',
      `<${'l'.repeat(64)}@b.example>`,
      `<${'l'.repeat(150)}@forwarder.example>`,
      ' <a@b.example>',
    ]
    const bad = [
      'a@b.example',
      '<a@b.example',
      '<user>',
      '<a@b@c.example>',
      '<user@[300.1.1.1]>',
      '<user@[IPv6:zz]>',
      '<.a@b.example>',
      '<a..b@c.example>',
      '<a@-b.example>',
      '<a@b..example>',
      '<a\u0007@b.example>',
      '<a b@c.example>',
      '<a@>',
      '<@b.example>',
      `<${'l'.repeat(400)}@b.example>`,
    ]
    const client = await MailClient.ready(t, port)
    for (const one of good)
      await says(t, client, [
        [`MAIL FROM:${one}`, '250 2.1.0'],
        ['RSET', '250'],
      ])
    for (const some of [bad.slice(0, 8), bad.slice(8)]) {
      const other = await MailClient.ready(t, port)
      await says(
        t,
        other,
        some.map(one => [`MAIL FROM:${one}`, '501 5.1.7'] as const),
      )
    }
    await says(t, client, [
      [FROM, '250'],
      ['RCPT TO:<>', '501 5.1.3'],
      ['RCPT TO:<user>', '501 5.1.3'],
      // Taken by the grammar; there is no mailbox yet.
      ['RCPT TO:<PostMaster>', '550 5.1.1'],
      [`RCPT TO:<@relay.example:${NUMBER}@sms.localhost>`, '250'],
      [`RCPT TO: <${NUMBER}@sms.localhost>`, '250'],
      ['RSET', '250'],
    ])
    client.write(Buffer.from('MAIL FROM:<jos\u00e9@b.example>\r\n', 'utf8'))
    t.match(await client.reply(), /^553 5\.6\.7/)
    client.write(Buffer.from('MAIL FROM:<a\u200bb@b.example> SMTPUTF8\r\n', 'utf8'))
    t.match(await client.reply(), /^501 5\.1\.7/)
    t.same(client.wrong, [])
  })
  await check('G-20 mutated commands each get one reply, and the session stays in order', async (t, first) => {
    const corpus = [
      'EHLO a',
      'HELO a',
      FROM,
      `${FROM} SIZE=10 BODY=8BITMIME`,
      RCPT,
      `${RCPT} NOTIFY=NEVER`,
      'RSET',
      'NOOP',
      'VRFY a',
      'EXPN a',
      'HELP',
      'AUTH LOGIN',
      `AUTH PLAIN ${plain('shop', 'no')}`,
      'MAIL',
      'RCPT',
      `${FROM} RET=HDRS ENVID=a+2Bb`,
    ]
    let seed = Number(process.env.SEED ?? 7)
    const random = (n: number): number => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fffffff
      return seed % n
    }
    let client = first
    const count = process.env.LONG ? 5_000 : 400
    for (let i = 0; i < count; i++) {
      const line = [...(corpus[random(corpus.length)] as string)]
      for (let n = 1 + random(3); n > 0; n--) {
        const at = random(line.length + 1)
        const octet = String.fromCharCode(random(256)).replace(/[\r\n]/, ' ')
        line.splice(at, random(2), octet)
      }
      // DATA begins a mail, QUIT and HTTP end it: those are other tests'.
      const said = await client.say(`${line.join('').replace(/^(?:data|quit|starttls|get|put|post|head) *$/i, 'NOOP')}`)
      if (said.startsWith('334')) await client.say('*')
      if (said === 'closed' || said.startsWith('421') || client.isClosed) {
        client = await MailClient.ready(t, port)
        continue
      }
      const reset = await client.say('RSET')
      if (!reset.startsWith('250')) {
        if (!reset.startsWith('421')) t.fail(`after ${JSON.stringify(line.join(''))}: ${said}, then ${reset}`)
        client = await MailClient.ready(t, port)
      }
      if (client.wrong.length > 0) t.same(client.wrong, [], JSON.stringify(line.join('')))
    }
    await works(t, await MailClient.ready(t, port), 'after the mutants')
  })
  await t.test('G-21 a session in pieces of any size is the same session', async t => {
    const session = [
      'EHLO a',
      `AUTH PLAIN ${plain('shop', 'secret')}`,
      FROM,
      RCPT,
      'DATA',
      'Subject: x',
      '',
      '..dots',
      'and more',
      '..',
      '.',
      'QUIT',
      '',
    ].join('\r\n')
    for (const most of [1, 3, 17]) {
      const client = await MailClient.connect(t, port)
      client.socket.setNoDelay(true)
      for (let at = 0; at < session.length; at += most) {
        client.write(session.slice(at, at + most))
        await new Promise(resolve => setImmediate(resolve))
      }
      t.equal(await client.codes(9), '220 250 235 250 250 354 250 221 closed')
      t.equal((await carrier.next()).text, '.dots\nand more\n.')
    }
  })
  t.equal(daemon.lines('a fault of ours: what it was about has ended, the rest goes on').length, 0)
})
