// Mutated PDUs and streams against the running daemon, from ESMEs and from a carrier: each request that can be framed is
// answered once, in a way that the standard has; what cannot be framed is hung up on; and a customer beside them, with a
// carrier of its own, works on. 5,000 PDUs, with LONG 100,000. SEED=n repeats a run; each stream has a seed of its own.
import { readFileSync } from 'node:fs'
import net from 'node:net'
import type { Test } from 'tap'
import { command, commandName, isResponse } from '../protocols/smpp/commands.js'
import { encodePdu } from '../protocols/smpp/pdu.js'
import { worker } from './support/esme.js'
import { type House, house, story } from './support/house.js'
import { type Below, dice, framed, isOnlyNacked, mutated, objection, type Request, whole } from './support/mutation.js'
import { Waiting } from './support/peer.js'
import { smsc } from './support/smsc.js'

const COUNT = process.env.LONG ? 100_000 : 5_000
const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000)
const ATTACKERS = 8
const LINKS = 4
/** Of each ten PDUs so many come from the carrier. */
const FROM_CARRIER = 3
/** The customer beside them waits for nothing longer than this. */
const PATIENT_MS = 10_000
const GROWTH = 128 * 2 ** 20
const LATE_GROWTH = 40 * 2 ** 20
const QUARTERS = 4

const PROBE = 0x7eadbeef
const probe = encodePdu(command.enquire_link, 0, PROBE)
const hows = ['transceiver', 'transmitter', 'receiver'] as const

/** Anonymous memory of the daemon, octets. */
function memory(daemon: House): number {
  const [, kb] = /^RssAnon:\s+(\d+) kB/m.exec(readFileSync(`/proc/${daemon.pid}/status`, 'latin1')) ?? []
  return Number(kb) * 1024
}

/** The hostile end of a connection: writes octets in pieces, and knows what came back. */
class Hostile {
  isClosed = false
  readonly answers: Buffer[] = []
  readonly requests: Buffer[] = []
  private rest: Buffer = Buffer.alloc(0)
  private readonly waiting = new Waiting()
  readonly socket: net.Socket

  constructor(socket: net.Socket) {
    this.socket = socket
    socket.setNoDelay(true)
    socket.on('error', () => {})
    socket.on('close', () => {
      this.isClosed = true
      this.waiting.look()
    })
    socket.on('data', (chunk: Buffer) => {
      this.rest = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk])
      while (this.rest.length >= 4 && this.rest.length >= this.rest.readUInt32BE(0)) {
        const length = this.rest.readUInt32BE(0)
        if (length < 16) throw new Error(`not framed: ${this.rest.toString('hex', 0, 40)}`)
        const pdu = this.rest.subarray(0, length)
        this.rest = this.rest.subarray(length)
        if (isResponse(pdu.readUInt32BE(4))) this.answers.push(pdu)
        else this.requests.push(pdu)
      }
      this.waiting.look()
    })
  }

  async write(octets: Buffer, below: Below): Promise<void> {
    const most = below(4) === 0 ? 30 : 4000
    for (let at = 0; at < octets.length && !this.isClosed; ) {
      const bytes = 1 + below(most)
      this.socket.write(octets.subarray(at, at + bytes))
      at += bytes
      if (below(4) === 0) await new Promise(setImmediate)
    }
  }

  until(done: () => boolean, what: () => string): Promise<true> {
    return this.waiting.until(() => done() || undefined, what)
  }
}

/**
 * Plays one stream to its end: true when the connection lives. Throws when an answer is missing, one too many, or none
 * that the standard has.
 */
async function play(one: Hostile, from: 'esme' | 'smsc', stream: Buffer, below: Below, who: string): Promise<boolean> {
  const octets = whole(stream)
  const { requests, isBroken } = framed(octets, from)
  const open = new Map<number, Request[]>()
  for (const request of requests) open.set(request.sequence, [...(open.get(request.sequence) ?? []), request])
  const due = requests.filter(({ mayBeSilent }) => !mayBeSilent).length
  const unbinds = requests.some(({ id }) => id === command.unbind)
  // unbind_resp comes behind what is owed, and that may be the end of a message.
  const waits = unbinds && due < requests.length
  const mayEnd = isBroken || unbinds
  let answered = 0
  let isProbed = false
  let isUnbound = false
  let seen = 0

  const judge = (): boolean => {
    for (; seen < one.answers.length; seen++) {
      const answer = one.answers[seen] as Buffer
      const sequence = answer.readUInt32BE(12)
      if (sequence === PROBE) isProbed = true
      if (answer.readUInt32BE(4) === command.unbind_resp && answer.readUInt32BE(8) === 0) isUnbound = true
      // The last word to a stream out of step.
      if (isBroken && answer.readUInt32BE(4) === command.generic_nack && answer.readUInt32BE(8) === 2) continue
      const asked = open.get(sequence) ?? []
      const faults = asked.map(({ id }) => objection(answer, id))
      const match = matchOf(answer, asked, faults)
      if (match < 0) throw new Error(`${who}: ${answer.toString('hex', 0, 60)} answers nothing: ${faults}`)
      const [request] = asked.splice(match, 1)
      if (!request?.mayBeSilent) answered++
    }
    // What stood behind an unbind may have come too late to be answered.
    return one.isClosed || (!isUnbound && isProbed && (waits || answered > due))
  }

  if (!isBroken) open.set(PROBE, [{ id: command.enquire_link, sequence: PROBE, mayBeSilent: false }])
  await one.write(isBroken ? octets : Buffer.concat([octets, probe]), below)
  await one.until(
    judge,
    () => `${who}: ${due + 1} answers; ${answered} came to ${requests.map(r => commandName(r.id))}`,
  )
  if (one.isClosed && !mayEnd) throw new Error(`${who}: hung up on, after ${octets.toString('hex', 0, 300)}`)
  one.answers.length = 0
  one.requests.length = 0
  return !one.isClosed && !waits
}

/** ESMEs, one connection after the other. */
async function attack(t: Test, port: number, next: () => number | undefined): Promise<number> {
  let sent = 0
  for (let n = next(); n !== undefined; n = next()) {
    const below = dice(SEED * 1_000_003 + n)
    const socket = net.connect(port, '127.0.0.1')
    t.teardown(() => socket.destroy())
    const one = new Hostile(socket)
    const how = hows[below(3)] as (typeof hows)[number]
    const login = { system_id: 'mutant', password: 'secret', interface_version: [0x33, 0x34, 0x50][below(3)] as number }
    if (below(8) > 0) socket.write(encodePdu(command[`bind_${how}`], 0, 0x7eadb1d0, login))
    await one.until(
      () => one.isClosed || one.answers.length > 0 || !socket.bytesWritten,
      () => `stream ${n}: a bind`,
    )
    one.answers.length = 0
    const pdus = 1 + below(8)
    await play(one, 'esme', mutated('esme', pdus, below), below, `SEED=${SEED} stream ${n}`)
    sent += pdus
    socket.destroy()
  }
  return sent
}

/** Which of several requests with one number is answered: a generic_nack first of all those that have no other answer. */
function matchOf(answer: Buffer, asked: Request[], faults: string[]): number {
  if (answer.readUInt32BE(4) === command.generic_nack) {
    for (const silent of [false, true]) {
      const only = asked.findIndex(({ id, mayBeSilent }) => mayBeSilent === silent && isOnlyNacked(id))
      if (only >= 0) return only
    }
  }
  return faults.indexOf('')
}

/** A carrier whose links are played to, stream after stream while they live. */
async function mire(t: Test, next: () => number | undefined): Promise<{ port: number; done: Promise<number> }> {
  let sent = 0
  let isOver = false
  let finish = (_: number): void => {}
  let fail = (_: unknown): void => {}
  const done = new Promise<number>((resolve, reject) => {
    finish = resolve
    fail = reject
  })
  let playing = 0
  const serve = async (socket: net.Socket): Promise<void> => {
    const one = new Hostile(socket)
    await one.until(
      () => one.isClosed || one.requests.length > 0,
      () => 'a bind of our link',
    )
    const [bind] = one.requests
    if (bind === undefined) return
    socket.write(encodePdu(command.bind_transceiver_resp, 0, bind.readUInt32BE(12), { system_id: 'mire' }))
    one.requests.length = 0
    let lives = true
    while (lives && !isOver) {
      const n = next()
      if (n === undefined) break
      const below = dice(SEED * 1_000_003 + n)
      const pdus = 1 + below(8)
      lives = await play(one, 'smsc', mutated('smsc', pdus, below), below, `SEED=${SEED} carrier’s stream ${n}`)
      sent += pdus
    }
    if (lives) isOver = true
    else socket.destroy()
  }
  const server = net.createServer(socket => {
    t.teardown(() => socket.destroy())
    playing++
    serve(socket).then(
      () => {
        playing--
        if (isOver && playing === 0) finish(sent)
      },
      error => fail(error),
    )
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  return { port: (server.address() as net.AddressInfo).port, done }
}

/** Numbers of streams until so many PDUs are made; each number is given once. */
function streams(pdus: number, from: number): () => number | undefined {
  let n = from
  // A stream has four and a half on the mean.
  const end = from + Math.ceil(pdus / 4.5)
  return () => (n < end ? n++ : undefined)
}

story(`${COUNT} mutated PDUs harm nobody, and each that can be framed is answered as the standard has it`, async t => {
  t.comment(`SEED=${SEED}`)
  const carrier = await smsc(t)
  const sink = await smsc(t)
  const theirs = await mire(t, streams((COUNT * FROM_CARRIER) / 10, 1_000_000))
  const at = { kind: 'smpp', host: '127.0.0.1', systemId: 'up', password: 'up' }
  const daemon = await house(t, {
    accounts: { shop: {}, mutant: { maxBinds: 0 } },
    carriers: {
      up: carrier,
      sink: { at: sink, window: 1000 },
      mire: { ...at, port: theirs.port, links: LINKS, reconnectMinMs: 10, reconnectMaxMs: 10 },
    },
    // Else their failed binds would slow each other down.
    config: { smpp: { failedBinds: 0, failedBindDelayMs: 0, connectionsPerSecond: 0 } },
    routes: [
      { match: { account: 'shop' }, to: ['up'] },
      { match: { account: 'mutant' }, to: ['sink'] },
    ],
  })
  theirs.done.catch(() => {})
  const busy = await worker(t, daemon.smpp)
  const attackAll = async (next: () => number | undefined): Promise<number> => {
    const sent = await Promise.all(Array.from({ length: ATTACKERS }, () => attack(t, daemon.smpp, next)))
    return sent.reduce((a, b) => a + b)
  }
  // What the daemon takes for itself it has taken by then.
  await attackAll(streams(Math.min(COUNT, 2_000) / 4, 2_000_000))
  const grown = [memory(daemon)]
  let count = 0
  for (let quarter = 0; quarter < QUARTERS; quarter++) {
    count += await attackAll(streams((COUNT * (10 - FROM_CARRIER)) / 10 / QUARTERS, quarter * 200_000))
    grown.push(memory(daemon))
  }
  count += await theirs.done
  grown.push(memory(daemon))
  const mb = (octets: number) => Math.round(octets / 2 ** 20)
  t.comment(`${count} PDUs, RssAnon ${grown.map(mb).join(', ')} MB: before, after each quarter, at the end`)
  t.ok((grown.at(-1) as number) - (grown[0] as number) < GROWTH)
  // What is kept for each PDU would show to the last.
  t.ok((grown.at(-1) as number) - (grown.at(-3) as number) < LATE_GROWTH)
  const { slowestMs } = await busy.stop()
  t.comment(`the customer beside them sent ${busy.ids.length} messages and waited ${Math.round(slowestMs)} ms at most`)
  t.ok(slowestMs < PATIENT_MS)
  t.ok(busy.ids.length > 10)
})
