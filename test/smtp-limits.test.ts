// What hostile and hurried mail clients get: limits of connections and of time, connections that break in every state, MIME
// without end, a daemon that stops, and clients behind a proxy.

import net from 'node:net'
import t from 'tap'
import { house, story } from './support/house.js'
import { MailClient, mailOf, plain } from './support/mailClient.js'
import { FROM, RCPT, says } from './support/mailHouse.js'
import { smsc } from './support/smsc.js'

t.jobs = 2

story('limits of connections and of time', async t => {
  const carrier = await smsc(t)
  const daemon = await house(t, {
    accounts: { shop: {}, two: { mail: { maxConnections: 2 } }, home: { mail: { allowFrom: ['192.0.2.0/24'] } } },
    carriers: { up: carrier },
    config: {
      smtp: { listen: '127.0.0.1:0', idleMs: 1_500, maxConnectionsPerAddress: 8 },
      log: { level: 'debug' },
      smpp: { failedBindDelayMs: 0 },
    },
  })
  const port = (await daemon.line('ready')).smtp as number
  await t.test('R-2 a command that comes too slowly ends in 421 4.4.2, whatever trickles in', async t => {
    const client = await MailClient.connect(t, port)
    await client.reply()
    const trickle = setInterval(() => client.write('N'), 100)
    t.match(await client.reply(), /^421 4\.4\.2/)
    clearInterval(trickle)
    await client.closed
  })
  await t.test('R-2 a mail that comes too slowly ends so too, and is not sent', async t => {
    const client = await MailClient.ready(t, port)
    await client.envelope()
    client.write('\r\n')
    const trickle = setInterval(() => client.write('x\r\n'), 100)
    t.match(await client.reply(), /^421 4\.4\.2/)
    clearInterval(trickle)
    await client.closed
    t.equal(carrier.submitted.length, 0)
  })
  await t.test('R-4 R-5 the tenth unknown command and the hundredth bad recipient end it', async t => {
    const client = await MailClient.ready(t, port)
    for (let n = 0; n < 9; n++) t.match(await client.say('FOO'), /^500/)
    t.match(await client.say('FOO'), /^421 4\.7\.0/)
    const other = await MailClient.ready(t, port)
    await says(t, other, [[FROM, '250']])
    for (let n = 0; n < 100; n++) other.write('RCPT TO:<no@sms.localhost>\r\n')
    for (let n = 0; n < 100; n++) t.match(await other.reply(), /^550 5\.1\.3/)
    t.match(await other.say('RCPT TO:<no@sms.localhost>'), /^421 4\.7\.0/)
  })
  await t.test('R-7 R-8 half-closed and reset connections in every state harm nobody', async t => {
    const states = ['', 'EHLO a\r\n', `EHLO a\r\nAUTH LOGIN\r\n`, `EHLO a\r\nAUTH PLAIN ${plain('shop', 'secret')}\r\n`]
    const session = `${states[3]}${FROM}\r\n${RCPT}\r\n`
    for (const state of [...states, session, `${session}DATA\r\n`, `${session}DATA\r\n\r\nhalf`]) {
      for (const end of ['fin', 'rst'] as const) {
        const socket = net.connect(port, '127.0.0.1')
        await new Promise(resolve => socket.once('data', resolve))
        socket.on('error', () => {})
        socket.write(state)
        const gone = new Promise(resolve => socket.once('close', resolve))
        if (end === 'fin') socket.end()
        else socket.resetAndDestroy()
        socket.resume()
        await gone
      }
    }
    const client = await MailClient.ready(t, port)
    t.match(await client.mail(mailOf('still there')), /^250/)
    t.equal((await carrier.next()).text, 'still there')
  })
  await t.test('R-10 endless MIME is given up, in little time', async t => {
    const nested = Array.from(
      { length: 1_000 },
      (_, n) => `Content-Type: multipart/mixed; boundary=b${n}\r\n\r\n--b${n}\r\n`,
    )
    const many = `Content-Type: multipart/mixed; boundary=b\r\n\r\n${'--b\r\n\r\nx\r\n'.repeat(1_000)}--b--\r\n`
    const fields = `${'X-Field: x\r\n'.repeat(50_000)}\r\ntext`
    const long = `Subject: ${'x'.repeat(2 ** 20)}\r\n\r\ntext`
    const client = await MailClient.ready(t, port)
    const from = performance.now()
    for (const mail of [nested.join(''), many, fields, long]) t.match(await client.mail(mail), /^554 5\.6\.0/)
    t.ok(performance.now() - from < 5_000)
  })
  await t.test('R-6 thousands of recipients take linear time', async t => {
    const client = await MailClient.ready(t, port)
    await says(t, client, [[FROM, '250']])
    const from = performance.now()
    client.write(Array.from({ length: 1_000 }, (_, n) => `RCPT TO:<49151${1_000_000 + n}@sms.localhost>\r\n`).join(''))
    for (let n = 0; n < 1_000; n++) await client.reply()
    t.ok(performance.now() - from < 3_000)
  })
  await t.test('R-3 connections of an account and of an address have an end', async t => {
    const first = await MailClient.ready(t, port, 'two')
    await MailClient.ready(t, port, 'two')
    const third = await MailClient.ready(t, port, null)
    t.match(await third.say(`AUTH PLAIN ${plain('two', 'secret')}`), /^454 4\.7\.0/)
    first.write('QUIT\r\n')
    await daemon.line(({ msg, systemId }) => msg === 'mail connection closed' && systemId === 'two')
    t.match(await third.say(`AUTH PLAIN ${plain('two', 'secret')}`), /^235/)
    t.match(await (await MailClient.ready(t, port, null)).say(`AUTH PLAIN ${plain('home', 'secret')}`), /^535/)
    const many: MailClient[] = []
    for (let n = 0; n < 8; n++) many.push(await MailClient.connect(t, port))
    t.equal(await (many.at(-1) as MailClient).reply(), 'closed')
    for (const one of many) one.socket.destroy()
  })
  t.equal(daemon.lines('a fault of ours: what it was about has ended, the rest goes on').length, 0)
})

story('R-13 a stopping daemon tells idle clients, and ends the mail that is under way', async t => {
  const carrier = await smsc(t)
  const daemon = await house(t, { carriers: { up: carrier }, config: { smtp: { listen: '127.0.0.1:0' } } })
  const port = (await daemon.line('ready')).smtp as number
  const idle = await MailClient.ready(t, port)
  const busy = await MailClient.ready(t, port)
  await busy.envelope()
  busy.write('\r\nunder way\r\n')
  const stopped = daemon.stop()
  t.match(await idle.reply(), /^421 4\.3\.2/)
  busy.write('.\r\n')
  t.match(await busy.reply(), /^(?:421 4\.3\.2|250 2\.6\.0)/)
  await busy.closed
  t.equal(await stopped, 0)
})

story('R-9 behind a trusted proxy the client is who the header says, and others may not connect', async t => {
  const carrier = await smsc(t)
  const config = {
    smtp: { listen: '127.0.0.1:0', proxy: ['127.0.0.1'], trusted: ['192.0.2.0/24=shop'] },
    log: { level: 'debug' as const },
  }
  const daemon = await house(t, { carriers: { up: carrier }, config })
  const port = (await daemon.line('ready')).smtp as number
  const client = await MailClient.connect(t, port)
  client.write('PROXY TCP4 192.0.2.9 192.0.2.1 40000 2525\r\n')
  t.match(await client.reply(), /^220/)
  await says(t, client, [['EHLO a', '250']])
  t.match(await client.mail(mailOf('through the proxy')), /^250 2\.6\.0/, 'a trusted address needs no AUTH')
  t.equal((await carrier.next()).text, 'through the proxy')
  client.write('QUIT\r\n')
  await client.closed
  t.equal((await daemon.line('mail connection closed')).peer, '192.0.2.9:40000')
  const bare = await MailClient.connect(t, port)
  bare.write('EHLO a\r\n')
  t.equal(await bare.reply(), 'closed')
  const stranger = await MailClient.connect(t, port)
  stranger.write('PROXY TCP4 198.51.100.1 192.0.2.1 40000 2525\r\n')
  await stranger.reply()
  await says(t, stranger, [
    ['EHLO a', '250'],
    [FROM, '530 5.7.0'],
  ])
})
