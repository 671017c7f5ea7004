// Mail from clients in the field and of the size that comes there: nodemailer, Python's smtplib, swaks and msmtp where they
// are installed, mails of 10 MB, thousands of idle connections, and the daemon killed between the commit and the 250.

import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { createTransport } from 'nodemailer'
import t, { type Test } from 'tap'
import { certificate } from './support/certificates.js'
import { emptyHouse, story } from './support/house.js'
import { MailClient, mailOf } from './support/mailClient.js'
import { mailHouse, textOf } from './support/mailHouse.js'
import { type Smsc, smsc } from './support/smsc.js'

t.jobs = 2

const TO = '4915112345678@sms.localhost'

story('a mail of 10 MB is read in flat memory, and its text is sent', async t => {
  const { daemon, port, carrier } = await mailHouse(t)
  const rss = (): number =>
    Number(/RssAnon:\s+(\d+)/.exec(readFileSync(`/proc/${daemon.pid}/status`, 'utf8'))?.[1]) / 1_024
  const client = await MailClient.ready(t, port)
  const line = `${'QUJD'.repeat(19)}\r\n`
  const head =
    'Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n'
  const mail = `${head}${line.repeat(135_000)}--b\r\nContent-Type: text/plain\r\n\r\nafter 10 MB\r\n--b--`
  t.ok(mail.length > 10_000_000)
  const send = async (): Promise<void> => {
    t.match(await client.mail(mail), /^250/)
    t.equal(textOf(await carrier.next()), 'after 10 MB')
  }
  // The first lets the heap grow to what reading takes at all.
  await send()
  const before = rss()
  for (let n = 0; n < 6; n++) await send()
  const grown = rss() - before
  t.comment(`RssAnon ${before.toFixed(0)} MB, after 60 MB of mail ${grown.toFixed(0)} MB more`)
  t.ok(grown < 40, `${grown} MB`)
})

async function mailers(t: Test, port: number, carrier: Smsc): Promise<void> {
  const transport = createTransport({
    host: '127.0.0.1',
    port,
    pool: true,
    maxConnections: 3,
    ignoreTLS: true,
    auth: { user: 'shop', pass: 'secret' },
  })
  t.teardown(() => transport.close())
  const sent = await Promise.all(
    Array.from({ length: 20 }, (_, n) =>
      transport.sendMail({
        from: 'alerts@shop.example',
        to: `49151000000${n + 10}@sms.localhost`,
        subject: 'Grüße',
        text: `nodemailer ${n}`,
        html: `<p>nodemailer ${n}</p>`,
        attachments: [{ filename: 'a.txt', content: 'x'.repeat(10_000) }],
        dsn: { id: `id${n}`, return: 'headers', notify: ['failure'], recipient: 'alerts@shop.example' },
      }),
    ),
  )
  for (const { response } of sent) t.match(response, /^250 2\.6\.0 Ok: queued as \d{16}$/)
  t.same(
    new Set((await carrier.take(20)).map(textOf)),
    new Set(Array.from({ length: 20 }, (_, n) => `nodemailer ${n}`)),
  )

  const script = `
import smtplib, sys
from email.message import EmailMessage
mail = EmailMessage()
mail['Subject'] = 'x'
mail['From'] = 'alerts@shop.example'
mail['To'] = '${TO}'
mail.set_content('Python\\n.\\n..says hello')
with smtplib.SMTP('127.0.0.1', ${port}) as s:
    s.login('shop', 'secret')
    print(s.send_message(mail))
    print(s.sendmail('a@b.example', ['${TO}', 'no@sms.localhost'], 'Subject: y\\r\\n\\r\\nagain'))
`
  const python = await run('python3', ['-c', script])
  if (python === null) {
    t.comment('python3 is not installed')
    return
  }
  t.match(python.said, /^\{\}\n\{'no@sms\.localhost': \(550, b'5\.1\.3/)
  t.same((await carrier.take(2)).map(textOf), ['Python\n.\n..says hello', 'again'])
}

/** What a command printed, and its exit code; null where it is not installed. */
function run(command: string, args: string[], input = ''): Promise<{ code: number; said: string } | null> {
  return new Promise(resolve => {
    const child = execFile(command, args, (error, stdout, stderr) => {
      if ((error as NodeJS.ErrnoException | null)?.code === 'ENOENT') resolve(null)
      else resolve({ code: error === null ? 0 : Number(error.code), said: stdout + stderr })
    })
    child.stdin?.on('error', () => {}).end(input)
  })
}

story('swaks and msmtp send mail as they know it, over STARTTLS', async t => {
  const carrier = await smsc(t)
  const daemon = await emptyHouse(t, { carriers: { up: carrier }, config: { smtp: { listen: '127.0.0.1:0' } } })
  const { cert, key } = certificate(daemon.dir, 'localhost')
  const settings = JSON.parse(readFileSync(daemon.configFile, 'utf8'))
  settings.smtp.tls = { listen: '127.0.0.1:0', cert, key }
  writeFileSync(daemon.configFile, JSON.stringify(settings))
  await daemon.start()
  const port = (await daemon.line('ready')).smtp as number
  await t.test('swaks, pipelined and not', async t => {
    const login = ['--auth', 'LOGIN', '-au', 'shop', '-ap', 'secret']
    const envelope = ['-s', `127.0.0.1:${port}`, '-f', 'alerts@shop.example', '-t', TO, '--helo', 'a.example']
    for (const more of [[], ['--pipeline']]) {
      const swaks = await run('swaks', [...envelope, ...login, ...more, '--body', `swaks ${more}`])
      if (swaks === null) {
        t.comment('swaks is not installed')
        return
      }
      t.equal(swaks.code, 0, swaks.said)
      t.equal(textOf(await carrier.next()), `swaks ${more}`.trim())
    }
  })
  await t.test('msmtp', async t => {
    const server = ['--host=127.0.0.1', `--port=${port}`, '--tls=on', '--tls-starttls=on', '--tls-certcheck=off']
    const login = ['--auth=plain', '--user=shop', `--passwordeval=echo secret`, '--from=alerts@shop.example']
    const msmtp = await run('msmtp', [...server, ...login, TO], 'Subject: x\n\nmsmtp\n')
    if (msmtp === null) {
      t.comment('msmtp is not installed')
      return
    }
    t.equal(msmtp.code, 0, msmtp.said)
    t.equal(textOf(await carrier.next()), 'msmtp')
  })
})

story('R-1 2,000 idle connections cost less than 200 MB, and mail goes on', async t => {
  const { daemon, port, carrier } = await mailHouse(t)
  const sockets: Socket[] = []
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
  })
  for (let lot = 0; lot < 20; lot++) {
    await Promise.all(
      Array.from({ length: 100 }, async () => {
        const socket = connect(port, '127.0.0.1')
        sockets.push(socket)
        await once(socket, 'data')
      }),
    )
  }
  const rss = Number(/RssAnon:\s+(\d+)/.exec(readFileSync(`/proc/${daemon.pid}/status`, 'utf8'))?.[1]) / 1_024
  t.comment(`RssAnon ${rss.toFixed(0)} MB`)
  t.ok(rss < 200, `${rss} MB`)
  const client = await MailClient.ready(t, port)
  t.match(await client.mail(mailOf('among thousands')), /^250/)
  t.equal(textOf(await carrier.next()), 'among thousands')
  await t.test('nodemailer and Python’s smtplib send mail as they know it', t => mailers(t, port, carrier))
})

story('killed under load, the daemon has sent every mail that it answered', async t => {
  const { daemon, carrier } = await mailHouse(t)
  const acknowledged = new Set<string>()
  let sent = 0
  let isOver = false
  const rounds = process.env.LONG ? 10 : 2
  const mails = 100
  let onAnswer = (): void => {}
  const customer = async (): Promise<void> => {
    while (!isOver) {
      await daemon.up()
      const { smtp } = daemon.lines('ready').at(-1) as { smtp?: number }
      const client = await MailClient.ready(t, smtp as number).catch(() => null)
      while (client !== null && !client.isClosed && !isOver) {
        const text = `mail ${++sent}`
        if (!(await client.mail(mailOf(text)).catch(() => '')).startsWith('250 2.6.0')) break
        acknowledged.add(text)
        onAnswer()
      }
      client?.socket.destroy()
    }
  }
  const customers = Array.from({ length: 10 }, customer)
  for (let round = 0; round < rounds; round++) {
    await new Promise<void>(resolve => {
      let left = mails
      onAnswer = () => {
        if (--left > 0) return
        onAnswer = () => {}
        void daemon.kill9().then(resolve)
      }
    })
    await daemon.start()
  }
  isOver = true
  await Promise.all(customers)
  const arrived = (): Set<string> => new Set(carrier.submitted.map(textOf))
  await carrier.until(() => {
    const there = arrived()
    return [...acknowledged].every(text => there.has(text))
  }, 'every mail that was answered')
  t.ok(acknowledged.size >= mails * rounds)
  t.comment(`${acknowledged.size} of ${sent} answered, ${carrier.submitted.length - arrived().size} sent again`)
})
