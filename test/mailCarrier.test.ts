// The driver of mail carriers against a server that takes, refuses, defers, closes, drops and hangs as chance has it: a
// driver's five duties, and that each mail which was taken is the mail that was sent.

import t from 'tap'
import { systemClock } from '../src/base/clock.js'
import { createLog } from '../src/base/log.js'
import type { DriverEvents, Part } from '../src/carriers/driver.js'
import { MailCarrier, type MailCarrierSettings } from '../src/carriers/mail.js'
import { EMPTY, Message } from '../src/model/message.js'
import type { Outcome } from '../src/model/outcome.js'
import { Waiting } from './support/peer.js'
import { type Answer, type Arrived, type Smarthost, smarthost } from './support/smarthost.js'

const quiet = createLog({ level: 'error', pretty: false, to: { write: () => {} } })

const bodyOf = (n: number): string => `Subject: ${n}\r\n\r\n.${n}\r\n..\r\n${'MAIL FROM:<x>\r\n'.repeat(n % 5)}`

function partOf(n: number): Part {
  const message = new Message()
  message.id = n
  message.isMail = true
  message.destination_addr = `to${n}@example.org`
  message.body = Buffer.from(bodyOf(n))
  const rest = { esm_class: 0, data_coding: 0, payload: false, registered_delivery: 0, tlvs: EMPTY, sentMs: 0 }
  return { message, index: 0, short_message: message.body, ...rest }
}

/** A driver, and what it has said of each mail. */
class Watched {
  readonly answers = new Map<number, Outcome[]>()
  readonly driver: MailCarrier
  readonly waiting = new Waiting()
  /** Lost, or up again, in order with the answers. */
  readonly order: string[] = []
  feed: () => void = () => {}

  constructor(server: Smarthost, settings: Partial<MailCarrierSettings> = {}) {
    const events = {
      answered: ({ message }: Part, outcome: Outcome) => {
        this.answers.set(message.id, [...(this.answers.get(message.id) ?? []), outcome])
        this.order.push(outcome.kind)
        this.waiting.look()
      },
      room: () => this.feed(),
      changed: () => {
        this.order.push(this.driver.up ? 'up' : 'down')
        this.waiting.look()
        this.feed()
      },
      answeredIn: () => {},
      count: () => {},
    } as unknown as DriverEvents
    const given: MailCarrierSettings = {
      ...{ host: '127.0.0.1', port: server.port, secure: 'none', user: '', password: '', tls: null },
      ...{ connections: 3, messagesPerConnection: 4, throughput: 0, idleMs: 30_000 },
      ...{ connectMs: 5_000, answerMs: 300, reconnectMinMs: 10, reconnectMaxMs: 20, ...settings },
    }
    const host = { name: 'relay', hostname: 'mx.example.com', events, clock: systemClock, log: quiet }
    this.driver = new MailCarrier(given, host, Math.random)
  }

  until(done: () => boolean, what: string): Promise<true> {
    return this.waiting.until(
      () => done() || undefined,
      () => `${what}; ${this.order.slice(-20).join(' ')}`,
    )
  }
}

t.test('whatever a server does, each mail is answered once, and what it took is what was sent', async t => {
  const server = await smarthost(t)
  const N = 60
  const said = new Map<number, Answer>()
  const plan: readonly Answer[] = [
    undefined,
    undefined,
    [451, '4.3.0 later'],
    [554, '5.6.0 never'],
    [421, '4.3.2 bye'],
    'drop',
    'hang',
  ]
  const numberOf = ({ to }: Arrived): number => Number(/\d+/.exec(to[0] ?? '')?.[0])
  server.answer = mail => said.get(numberOf(mail))
  server.recipient = address => (address.startsWith('to7') ? [550, '5.1.1 no such user'] : undefined)
  const watched = new Watched(server)
  const { driver, answers } = watched
  let next = 0
  watched.feed = () => {
    while (next < N && driver.room() > 0) {
      said.set(next, plan[next % plan.length])
      driver.send(partOf(next++))
    }
  }
  driver.start()
  await watched.until(() => answers.size === N, 'an answer to every mail')
  await driver.stop(1_000)
  for (const [n, outcomes] of answers) t.equal(outcomes.length, 1, `mail ${n}`)
  for (const mail of server.mails)
    t.equal(mail.octets.toString(), bodyOf(numberOf(mail)), `mail ${numberOf(mail)}, octet by octet`)
  for (const [n, [outcome]] of answers) {
    if (outcome?.kind === 'accepted')
      t.ok(
        server.mails.some(mail => numberOf(mail) === n),
        `${n} was taken`,
      )
    const answer = said.get(n)
    if (Array.isArray(answer) && answer[0] === 554 && outcome?.kind === 'refused')
      t.match(outcome.code, /^5(?:54 5\.6\.0|50 5\.1\.1)$/)
  }
  const kinds = new Set([...answers.values()].map(([one]) => one?.kind))
  t.same([...kinds].sort(), ['accepted', 'deferred', 'refused', 'unsure'])
})

t.test('a lost server is told before the answers of what was with it; and it is up again by itself', async t => {
  const server = await smarthost(t)
  server.answer = () => 'drop'
  const watched = new Watched(server, { connections: 1 })
  const { driver, order } = watched
  driver.start()
  await watched.until(() => driver.up, 'the carrier')
  driver.send(partOf(1))
  await watched.until(() => order.includes('unsure'), 'the answer')
  t.same(order.slice(0, 3), ['up', 'down', 'unsure'])
  await watched.until(() => driver.up, 'the carrier again')
  server.answer = () => undefined
  driver.send(partOf(2))
  await watched.until(() => order.at(-1) === 'accepted', 'the next')
  await driver.stop(100)
})

t.test('it stops in time, and what was not answered is answered then', async t => {
  const server = await smarthost(t)
  server.answer = () => 'hang'
  const watched = new Watched(server, { connections: 2, answerMs: 60_000 })
  const { driver, answers } = watched
  driver.start()
  await watched.until(() => driver.up, 'the carrier')
  driver.send(partOf(1))
  driver.send(partOf(2))
  await server.next()
  await server.next()
  await driver.stop(50)
  t.same(
    [answers.get(1), answers.get(2)],
    [[{ kind: 'unsure', code: 'connection_lost' }], [{ kind: 'unsure', code: 'connection_lost' }]],
  )
  t.equal(driver.room(), 0)
  t.equal(driver.up, false)
})

t.test('a mail that waits for its connection when the driver stops is answered all the same', async t => {
  const held: (() => void)[] = []
  let isHeld = false
  const waiting = new Waiting()
  const server = await smarthost(t, {
    onConnect: (_session: unknown, then: () => void) => {
      if (isHeld) held.push(then)
      else then()
      waiting.look()
    },
  })
  for (const isGreeted of [true, false]) {
    isHeld = false
    held.length = 0
    const watched = new Watched(server)
    const { driver, answers } = watched
    driver.start()
    await watched.until(() => driver.up, 'the carrier')
    isHeld = true
    driver.send(partOf(1))
    driver.send(partOf(2))
    await waiting.until(
      () => held.length === 1 || undefined,
      () => 'the second connection',
    )
    const stopped = driver.stop(isGreeted ? 5_000 : 50)
    if (isGreeted) held[0]?.()
    await stopped
    t.same(answers.get(1), [{ kind: 'accepted', ref: '' }])
    t.match(answers.get(2), [isGreeted ? { kind: 'accepted' } : { kind: 'deferred', code: 'stopping' }])
  }
})

t.test('no text message goes out as a mail', async t => {
  const server = await smarthost(t)
  const watched = new Watched(server)
  const part = partOf(1)
  part.message.isMail = false
  watched.driver.send(part)
  t.match(watched.answers.get(1), [{ kind: 'refused', code: 'no_mail' }])
})
