// Who may submit mail, and how: authentication only after TLS beyond the machine itself, accounts and API keys, guessing,
// STARTTLS and its injections, certificates of either side.

import { readFileSync, writeFileSync } from 'node:fs'
import type { TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { certificate } from './support/certificates.js'
import { emptyHouse, type House, type HouseOptions, house, story } from './support/house.js'
import { MailClient, mailOf, plain } from './support/mailClient.js'
import { FROM, RCPT, says } from './support/mailHouse.js'
import { smsc } from './support/smsc.js'

t.jobs = 2

const KEY = 'tl_shop_0123456789abcdef0123456789abcdef'

/** A daemon with a certificate, listening at `listen`, and with implicit TLS. */
async function secured(t: Test, listen: string, smtp: object = {}, more: HouseOptions = {}) {
  const carrier = await smsc(t)
  const settings: Record<string, unknown> = { listen, ...smtp }
  const daemon = await emptyHouse(t, { carriers: { up: carrier }, config: { smtp: settings }, ...more })
  const files = certificate(daemon.dir, 'first')
  rewrite(daemon, { ...settings, tls: { listen: '127.0.0.1:0', cert: files.cert, key: files.key } })
  await daemon.start()
  const { smtp: port, smtpTls } = await daemon.line('ready')
  return { daemon, carrier, files, port: port as number, tlsPort: smtpTls as number }
}

const b64 = (text: string): string => Buffer.from(text).toString('base64')

story('AUTH in its forms, on loopback', async t => {
  const carrier = await smsc(t)
  const daemon = await house(t, {
    accounts: { shop: { apiKey: KEY }, other: {}, sleeping: { suspended: 'unpaid' } },
    carriers: { up: carrier },
    config: { smtp: { listen: '127.0.0.1:0' }, smpp: { failedBindDelayMs: 0 } },
  })
  const port = (await daemon.line('ready')).smtp as number
  const fresh = () => MailClient.ready(t, port, null)

  await t.test('A-1 PLAIN with the right and the wrong password', async t => {
    const client = await fresh()
    t.match(await client.say('EHLO a'), /^250-AUTH PLAIN LOGIN XOAUTH2$/m, 'A-9 announced')
    await says(t, client, [
      [`AUTH PLAIN ${plain('shop', 'wrong')}`, '535 5.7.8'],
      [`AUTH PLAIN ${plain('nobody', 'secret')}`, '535 5.7.8'],
      [`AUTH PLAIN ${plain('shop', 'secret')}`, '235 2.7.0'],
    ])
    t.notMatch(await client.say('EHLO a'), /AUTH/, 'A-9 and not after it')
    t.same(client.wrong, [])
  })
  await t.test('A-2 PLAIN in two steps, aborted, and what is no PLAIN', async t => {
    const client = await fresh()
    await says(t, client, [
      ['AUTH PLAIN', '334 '],
      ['*', '501 5.7.0'],
      ['AUTH PLAIN', '334 '],
      ['not base64!', '501 5.5.2'],
      ['AUTH PLAIN', '334 '],
      [b64('shop\0secret'), '501 5.5.2'],
      ['AUTH PLAIN no+base', '501 5.5.2'],
      ['AUTH PLAIN', '334 '],
      [plain('shop', 'secret'), '235 2.7.0'],
    ])
  })
  await t.test('A-3 LOGIN, with its prompts, and aborted at each', async t => {
    const client = await fresh()
    await says(t, client, [
      ['AUTH LOGIN', '334 VXNlcm5hbWU6'],
      ['*', '501 5.7.0'],
      ['AUTH LOGIN', '334 VXNlcm5hbWU6'],
      [b64('shop'), '334 UGFzc3dvcmQ6'],
      ['*', '501 5.7.0'],
      [`AUTH LOGIN ${b64('shop')}`, '334 UGFzc3dvcmQ6'],
      [b64('secret'), '235 2.7.0'],
    ])
  })
  await t.test('A-4 A-5 unknown mechanisms, and AUTH where it does not belong', async t => {
    const client = await fresh()
    await says(t, client, [
      ['AUTH CRAM-MD5', '504 5.5.4'],
      ['AUTH', '501 5.5.4'],
      [`AUTH PLAIN ${plain('shop', 'secret')}`, '235'],
      [`AUTH PLAIN ${plain('shop', 'secret')}`, '503 5.5.1'],
      [FROM, '250'],
      ['AUTH PLAIN', '503 5.5.1'],
    ])
  })
  await t.test('A-7 MAIL without AUTH is 530 5.7.0', async t =>
    says(t, await fresh(), [
      [FROM, '530 5.7.0'],
      [RCPT, '530 5.7.0'],
      ['DATA', '530 5.7.0'],
    ]),
  )
  await t.test('A-8 an empty initial response is no identity', async t =>
    says(t, await fresh(), [['AUTH PLAIN =', '501']]),
  )
  await t.test('A-10 the third failure of a connection ends it', async t => {
    const client = await fresh()
    const bad = `AUTH PLAIN ${plain('shop', 'wrong')}`
    await says(t, client, [
      [bad, '535'],
      [bad, '535'],
      [bad, '421 4.7.0'],
    ])
    t.equal(await client.reply(), 'closed')
  })
  await t.test('A-11 the AUTH parameter of MAIL is taken and believed by nobody', async t => {
    const client = await MailClient.ready(t, port)
    await says(t, client, [
      ['MAIL FROM:<> AUTH=<>', '250'],
      ['RSET', '250'],
      [`${FROM} AUTH=e+3Dmc2@example.com`, '250'],
    ])
  })
  await t.test('A-13 nobody acts for another, and an identity without a name is none', async t => {
    const client = await fresh()
    await says(t, client, [
      [`AUTH PLAIN ${plain('shop', 'secret', 'other')}`, '535 5.7.8'],
      [`AUTH PLAIN ${b64('shop\0\0secret')}`, '535 5.7.8'],
      [`AUTH PLAIN ${plain('shop', 'secret', 'shop')}`, '235'],
    ])
  })
  await t.test('the API key is a password, and a bearer token of XOAUTH2', async t => {
    await says(t, await fresh(), [[`AUTH PLAIN ${plain('shop', KEY)}`, '235']])
    await says(t, await fresh(), [[`AUTH PLAIN ${plain('other', KEY)}`, '535']])
    await says(t, await fresh(), [[`AUTH XOAUTH2 ${b64(`user=shop\x01auth=Bearer ${KEY}\x01\x01`)}`, '235']])
    const client = await fresh()
    await says(t, client, [[`AUTH XOAUTH2 ${b64('user=shop\x01auth=Bearer no\x01\x01')}`, '535']])
  })
  await t.test('a suspended account may authenticate and is told at MAIL', async t => {
    const client = await MailClient.ready(t, port, 'sleeping')
    await says(t, client, [[FROM, '550 5.7.1']])
  })
  await t.test('A-12 no password, token or key stands in the log', async t => {
    const log = JSON.stringify(daemon.log)
    for (const secret of ['wrong', 'secret', KEY, plain('shop', 'wrong'), b64('secret')]) t.notOk(log.includes(secret))
    t.ok(daemon.lines('mail authentication refused').length > 0)
    t.ok((await daemon.metric('trunkline_events_total', { name: 'mail_authentications_refused_password' })) > 0)
  })
})

story('guessing from one address is slowed, then the door stays shut, for SMPP and mail alike', async t => {
  const carrier = await smsc(t)
  const daemon = await house(t, {
    carriers: { up: carrier },
    config: { smtp: { listen: '127.0.0.1:0' }, smpp: { failedBinds: 6, failedBindDelayMs: 300 } },
  })
  const port = (await daemon.line('ready')).smtp as number
  const bad = `AUTH PLAIN ${plain('shop', 'wrong')}`
  const from = performance.now()
  for (let n = 0; n < 2; n++) {
    const client = await MailClient.ready(t, port, null)
    await says(t, client, [
      [bad, '535'],
      [bad, '535'],
      [bad, '421'],
    ])
  }
  t.ok(performance.now() - from > 900, 'answers waited')
  const barred = await MailClient.connect(t, port)
  t.equal(await barred.reply(), 'closed')
  t.ok((await daemon.metric('trunkline_events_total', { name: 'mail_connections_refused_barred' })) > 0)
})

story('TLS: what is said before it counts for nothing after it', async t => {
  const { daemon, carrier, port, tlsPort } = await secured(t, '0.0.0.0:0', { handshakeMs: 1_500, maxConnections: 30 })
  const clear = async () => {
    const client = await MailClient.connect(t, port)
    await client.reply()
    return client
  }
  await t.test('T-1 T-4 STARTTLS is announced before TLS only, AUTH after it only', async t => {
    const client = await clear()
    const before = await client.say('EHLO a')
    t.match(before, /STARTTLS/)
    t.notMatch(before, /AUTH/)
    await says(t, client, [
      ['STARTTLS now', '501 5.5.4'],
      ['STARTTLS', '220 2.0.0'],
    ])
    await client.secure()
    await says(t, client, [['NOOP', '250']])
    const after = await client.say('EHLO a')
    t.notMatch(after, /STARTTLS/)
    t.match(after, /AUTH PLAIN LOGIN XOAUTH2/)
    await says(t, client, [
      ['STARTTLS', '503 5.5.1'],
      [`AUTH PLAIN ${plain('shop', 'secret')}`, '235'],
    ])
    t.match(await client.mail(mailOf('over STARTTLS')), /^250 2\.6\.0/)
    t.equal((await carrier.next()).text, 'over STARTTLS')
    t.same(client.wrong, [])
  })
  await t.test('T-2 what was sent behind STARTTLS in clear is never answered or run', async t => {
    const words = ['NOOP', `AUTH PLAIN ${plain('shop', 'secret')}`, `EHLO a\r\n${FROM}`, 'RSE']
    for (const word of words) {
      const client = await clear()
      await client.say('EHLO a')
      client.write(`STARTTLS\r\n${word}${word === 'RSE' ? '' : '\r\n'}`)
      t.match(await client.reply(), /^220/)
      // The octets came before the handshake: either they are dropped or the handshake fails.
      const isUp = await client.secure().then(
        () => true,
        () => false,
      )
      if (!isUp) continue
      const count = client.replies.length
      await says(t, client, [
        ['NOOP', '250'],
        [FROM, '503'],
        ['EHLO b', '250'],
        [FROM, '530'],
      ])
      t.equal(client.replies.length, count + 4, word)
    }
  })
  await t.test('T-3 the session begins anew after STARTTLS', async t => {
    const client = await clear()
    await says(t, client, [
      ['EHLO a', '250'],
      ['STARTTLS', '220'],
    ])
    await client.secure()
    await says(t, client, [
      [RCPT, '503'],
      [FROM, '503'],
    ])
  })
  await t.test('T-5 A-6 beyond loopback nothing but the way to TLS is taken in clear', async t => {
    const client = await clear()
    await says(t, client, [
      ['EHLO a', '250'],
      ['NOOP', '250'],
      [`AUTH PLAIN ${plain('shop', 'secret')}`, '530 5.7.0'],
      [FROM, '530 5.7.0'],
      ['VRFY a', '530 5.7.0'],
      ['QUIT', '221'],
    ])
  })
  await t.test('T-6 a handshake of rubbish, and one that never comes, are ended', async t => {
    const rubbish = await clear()
    await says(t, rubbish, [
      ['EHLO a', '250'],
      ['STARTTLS', '220'],
    ])
    rubbish.write('this is no TLS at all\r\n\r\n')
    await rubbish.closed
    const silent = await clear()
    await says(t, silent, [
      ['EHLO a', '250'],
      ['STARTTLS', '220'],
    ])
    await silent.closed
    const events = (name: string) => daemon.metric('trunkline_events_total', { name })
    t.ok((await events('mail_connections_refused_tls_handshake')) > 0)
    t.ok((await events('mail_connections_refused_tls_handshake_late')) > 0)
  })
  await t.test('T-7 implicit TLS greets nobody in clear, and takes mail', async t => {
    const raw = await MailClient.connect(t, tlsPort)
    raw.write('EHLO a\r\n')
    t.equal(await raw.reply(), 'closed')
    const client = await MailClient.ready(t, tlsPort, 'shop', { secure: true })
    t.match(await client.mail(mailOf('over TLS')), /^250 2\.6\.0/)
    t.equal((await carrier.next()).text, 'over TLS')
  })
  await t.test('T-8 TLS 1.1 is not spoken', async t => {
    const client = await clear()
    await says(t, client, [
      ['EHLO a', '250'],
      ['STARTTLS', '220'],
    ])
    await t.rejects(client.secure({ maxVersion: 'TLSv1.1', minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' }))
  })
  await t.test('T-8 a new certificate is shown after SIGHUP, on both listeners', async t => {
    const next = certificate(daemon.dir, 'second')
    const { smtp } = JSON.parse(readFileSync(daemon.configFile, 'utf8'))
    rewrite(daemon, { ...smtp, tls: { ...smtp.tls, cert: next.cert, key: next.key } })
    daemon.signal('SIGHUP')
    await daemon.line('settings reloaded')
    const client = await clear()
    await says(t, client, [
      ['EHLO a', '250'],
      ['STARTTLS', '220'],
    ])
    await client.secure()
    const shown = (one: MailClient) => (one.socket as TLSSocket).getPeerX509Certificate()?.subject
    t.equal(shown(client), 'CN=second')
    t.equal(shown(await MailClient.ready(t, tlsPort, 'shop', { secure: true })), 'CN=second')
  })
  await t.test('connections that went over STARTTLS are counted out again', async t => {
    for (let n = 0; n < 40; n++) {
      const client = await clear()
      await says(t, client, [
        ['EHLO a', '250'],
        ['STARTTLS', '220'],
      ])
      await client.secure()
      client.write('QUIT\r\n')
      await client.closed
    }
    t.equal(daemon.lines('a fault of ours: what it was about has ended, the rest goes on').length, 0)
  })
})

story('where clients must show a certificate, STARTTLS too ends without a good one', async t => {
  const carrier = await smsc(t)
  const daemon = await emptyHouse(t, { carriers: { up: carrier }, config: { smtp: { listen: '127.0.0.1:0' } } })
  const [ca, own] = [certificate(daemon.dir, 'authority'), certificate(daemon.dir, 'mx')]
  const good = certificate(daemon.dir, 'app', ca)
  const stranger = certificate(daemon.dir, 'stranger')
  const tls = { listen: '127.0.0.1:0', cert: own.cert, key: own.key, clientCa: ca.cert, clientCert: 'require' }
  rewrite(daemon, { listen: '127.0.0.1:0', tls })
  await daemon.start()
  const port = (await daemon.line('ready')).smtp as number
  for (const [shown, isGood] of [
    [undefined, false],
    [stranger, false],
    [good, true],
  ] as const) {
    const client = await MailClient.ready(t, port, null)
    t.match(await client.say('STARTTLS'), /^220/)
    const files = shown === undefined ? {} : { cert: shown.pem.cert, key: shown.pem.key }
    await client.secure(files).catch(() => {})
    client.write('EHLO a\r\n')
    if (isGood) t.match(await client.reply(), /^250/)
    else await client.closed
  }
})

story('without a certificate there is no STARTTLS, and beyond loopback no AUTH', async t => {
  const carrier = await smsc(t)
  const config = { smtp: { listen: '0.0.0.0:0' } }
  const daemon = await house(t, { carriers: { up: carrier }, config })
  const client = await MailClient.ready(t, (await daemon.line('ready')).smtp as number, null)
  t.notMatch(await client.say('EHLO a'), /STARTTLS|AUTH/)
  await says(t, client, [
    ['STARTTLS', '502 5.5.1'],
    [`AUTH PLAIN ${plain('shop', 'secret')}`, '504 5.5.4'],
    [FROM, '530 5.7.0'],
  ])
})

/** The SMTP settings of a daemon that is not started yet, or will be told. */
function rewrite(daemon: House, smtp: object): void {
  const settings = JSON.parse(readFileSync(daemon.configFile, 'utf8'))
  writeFileSync(daemon.configFile, JSON.stringify({ ...settings, smtp }))
}
