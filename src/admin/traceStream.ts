// The live trace over HTTP: PDUs of the sessions that an administrator asks for, as a stream of records without end. A reader
// that is slow loses PDUs and is told how many; nobody waits for it. Passwords never leave, and texts only through the unix
// socket.

import type { ServerResponse } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { blankPdu } from '../../protocols/smpp/blank.js'
import { EMPTY } from '../../protocols/smpp/octets.js'
import type { Access } from './access.js'
import { Problem } from './problem.js'
import type { AdminSubject, TracedSession, TraceTap } from './subject.js'
import {
  ENDED_OCTETS,
  pduRecordOctets,
  sessionRecord,
  TALLY_OCTETS,
  TRACE_TYPE,
  writeEnded,
  writePduHead,
  writeTally,
} from './traceRecords.js'

/** Traces at a time. */
const MAX_STREAMS = 8
/** Octets of one trace that its reader has not taken. */
const MAX_HELD = 1 << 20
const CHUNK = 65_536
/** Something comes this often, so that both ends know of each other. */
const BEAT_MS = 10_000

const names = z
  .union([z.string(), z.array(z.string())])
  .default([])
  .transform(given => (typeof given === 'string' ? [given] : given))
  .pipe(z.array(z.string().min(1).max(64)).max(100))

const streamQuery = z.strictObject({
  /** system_ids. */
  account: names,
  carrier: names,
  /** Sessions by the numbers that traces give them. */
  id: names.transform(given => given.map(Number)).pipe(z.array(z.number().int().min(1))),
  /** Every SMPP session. */
  all: z.enum(['true', 'false']).default('false'),
  /** Texts too. */
  text: z.enum(['true', 'false']).default('false'),
})

type Wanted = z.infer<typeof streamQuery>

export function traceStreamRoutes(app: FastifyInstance, subject: AdminSubject, access: Access): void {
  const open = new Set<Stream>()

  app.get('/trace/stream', { exposeHeadRoute: false }, (request, reply) => {
    const wanted = readQuery(request.query)
    if (subject.stopping) throw new Problem(503, 'stopping', 'The daemon is stopping', 'ask again after the restart')
    refuseUnknown(wanted, subject)
    const texts = wanted.text === 'true'
    const from = access.from(request.raw)
    if (texts && from !== 'admin.sock') {
      throw new Problem(
        403,
        'texts_are_local',
        'Texts are not told over the network',
        'texts are shown on the machine of the daemon only: run the command there without --url, or leave --text away',
      )
    }
    if (open.size >= MAX_STREAMS) {
      throw new Problem(503, 'too_many_traces', 'Too many traces', `there are ${MAX_STREAMS} traces already: end one`)
    }
    const asked = { from, account: wanted.account, carrier: wanted.carrier, id: wanted.id, all: wanted.all, texts }
    subject.log.info({ action: 'trace_stream', ...asked }, 'asked by an administrator')
    reply.hijack()
    const { raw } = reply
    const stream = new Stream(raw, wanted, texts, session => codingsOf(session, subject))
    const untap = subject.trace.tap(stream)
    open.add(stream)
    raw.once('close', () => {
      untap()
      open.delete(stream)
      stream.close()
      subject.counters.add('trace_pdus_dropped', stream.dropped)
      subject.log.info({ from, pdus: stream.pdus, dropped: stream.dropped }, 'trace ended')
    })
  })

  app.addHook('preClose', async () => {
    for (const stream of open) stream.end()
  })
}

function readQuery(query: unknown): Wanted {
  const result = streamQuery.safeParse(query)
  if (!result.success) {
    const words = result.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ')
    throw new Problem(422, 'invalid', 'The request is not as it must be', words)
  }
  const { account, carrier, id, all } = result.data
  if (all === 'false' && account.length + carrier.length + id.length === 0) {
    throw new Problem(
      422,
      'invalid',
      'The request is not as it must be',
      'name an account, a carrier or an id, or ask for all',
    )
  }
  return result.data
}

function refuseUnknown({ account, carrier }: Wanted, { directory }: AdminSubject): void {
  const noAccount = account.find(name => directory.accountBySystemId(name) === undefined)
  const noCarrier = carrier.find(name => !directory.carriers().some(row => row.name === name))
  if (noAccount === undefined && noCarrier === undefined) return
  const words = noAccount !== undefined ? `no account is called ${noAccount}` : `no carrier is called ${noCarrier}`
  throw new Problem(422, 'unknown_name', 'No such name', words)
}

/** What its data_coding values mean, where they do not mean what the standard says. */
function codingsOf({ kind, name }: TracedSession, { stopping, directory }: AdminSubject): Record<string, string> {
  // A daemon that stops may have closed it.
  if (stopping || name === '') return {}
  if (kind === 'account') return directory.accountBySystemId(name)?.smpp.codings ?? {}
  const row = directory.carriers().find(row => row.name === name)
  return row?.kind === 'smpp' ? row.settings.codings : {}
}

class Stream implements TraceTap {
  pdus = 0
  dropped = 0
  private readonly out: ServerResponse
  private readonly accounts: ReadonlySet<string>
  private readonly carriers: ReadonlySet<string>
  private readonly serials: ReadonlySet<number>
  private readonly all: boolean
  private readonly texts: boolean
  private readonly codingsOf: (session: TracedSession) => Record<string, string>
  /** Names under which sessions have been told, by their numbers. */
  private readonly told = new Map<number, string>()
  private toldDropped = 0
  /** Records from `from` to `at` are not given to the socket yet. */
  private chunk: Buffer = EMPTY
  private from = 0
  private at = 0
  private isFlushing = false
  private readonly beat: NodeJS.Timeout

  constructor(out: ServerResponse, wanted: Wanted, texts: boolean, codingsOf: Stream['codingsOf']) {
    this.out = out
    this.accounts = new Set(wanted.account)
    this.carriers = new Set(wanted.carrier)
    this.serials = new Set(wanted.id)
    this.all = wanted.all === 'true'
    this.texts = texts
    this.codingsOf = codingsOf
    out.on('error', () => {})
    out.writeHead(200, { 'content-type': TRACE_TYPE, 'cache-control': 'no-store' })
    this.beat = setInterval(() => this.tally(), BEAT_MS).unref()
    this.tally()
  }

  wants({ kind, name, serial }: TracedSession): boolean {
    return this.all || this.serials.has(serial) || (kind === 'account' ? this.accounts : this.carriers).has(name)
  }

  pdu(
    session: TracedSession,
    direction: 'received' | 'sent',
    atMs: number,
    buf: Buffer,
    start: number,
    end: number,
  ): void {
    const { serial, name } = session
    const telling = this.told.get(serial) === name ? EMPTY : this.tell(session)
    const octets = end - start
    const needed = telling.length + pduRecordOctets(octets)
    if (this.held + TALLY_OCTETS + needed > MAX_HELD) {
      this.dropped++
      return
    }
    if (this.dropped !== this.toldDropped) this.tally()
    this.reserve(needed)
    if (telling.length > 0) {
      this.told.set(serial, name)
      this.at += telling.copy(this.chunk, this.at)
    }
    const at = writePduHead(this.chunk, this.at, octets, atMs, serial, direction === 'sent')
    this.at = at + buf.copy(this.chunk, at, start, end)
    blankPdu(this.chunk, at, this.at, this.texts)
    this.pdus++
  }

  missed(pdus: number): void {
    this.dropped += pdus
    this.tally()
  }

  ended({ serial }: TracedSession): void {
    if (!this.told.delete(serial)) return
    this.reserve(ENDED_OCTETS)
    this.at = writeEnded(this.chunk, this.at, serial)
  }

  /** Sends what there is, and that was all. */
  end(): void {
    this.tally()
    this.flush()
    this.out.end()
  }

  close(): void {
    clearInterval(this.beat)
    this.chunk = EMPTY
    this.from = 0
    this.at = 0
  }

  private tell(session: TracedSession): Buffer {
    const { serial, kind, name, peer, local } = session
    return sessionRecord({ serial, kind, name, peer, local, codings: this.codingsOf(session) })
  }

  private tally(): void {
    // A reader that has stood still for so long finds out when it moves again.
    if (this.held + TALLY_OCTETS > MAX_HELD) return
    this.reserve(TALLY_OCTETS)
    this.at = writeTally(this.chunk, this.at, this.dropped)
    this.toldDropped = this.dropped
  }

  private get held(): number {
    return this.at - this.from + this.out.writableLength
  }

  /** Room for a record, which goes out at the end of this turn. */
  private reserve(octets: number): void {
    if (this.at + octets > this.chunk.length) {
      this.flush()
      this.chunk = Buffer.allocUnsafeSlow(Math.max(CHUNK, octets))
      this.from = 0
      this.at = 0
    }
    if (this.isFlushing) return
    this.isFlushing = true
    setImmediate(() => {
      this.isFlushing = false
      this.flush()
    })
  }

  private flush(): void {
    if (this.at === this.from || this.out.destroyed || this.out.writableEnded) return
    this.out.write(this.chunk.subarray(this.from, this.at))
    this.from = this.at
  }
}
