// Carriers one at a time over HTTP: added, changed, paused, tried, removed, and what their links do. Every change is a row
// in the directory and holds on this node when the answer comes. Passwords come in and never go out.

import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { standardCodings } from '../../protocols/gsm/coding.js'
import { type CarrierRow, carrierKinds, type SmppSettings, smppSettings } from '../accounts/carrier.js'
import {
  addCarrier,
  CarrierFaulty,
  editCarrier,
  NoCarrier,
  pauseCarrier,
  readCarrier,
  removeCarrier,
} from '../accounts/carrierEdit.js'
import { Refused } from '../accounts/writing.js'
import type { Part } from '../carriers/driver.js'
import { probe } from '../carriers/probe.js'
import { cut } from '../dispatch/cut.js'
import { cutOf } from '../dispatch/cutSettings.js'
import { Message } from '../model/message.js'
import { StoreAway } from '../store/retry.js'
import { answerLines, type Done, read, serving } from './asked.js'
import { carrierEntry } from './lists.js'
import { Problem } from './problem.js'
import type { Recent } from './recent.js'
import type { AdminSubject } from './subject.js'

const settings = z.record(z.string().max(100), z.unknown())
const password = z.string().max(64).optional()

const addBody = z.strictObject({
  name: z.string(),
  kind: z.enum(carrierKinds).default('smpp'),
  paused: z.boolean().default(false),
  /** As in a gateway file. */
  settings: settings.default({}),
  password,
})
const editBody = z.strictObject({
  set: settings.default({}),
  /** Back to their defaults. */
  unset: z.array(z.string().max(100)).max(100).default([]),
  password,
})
const sample = {
  /** One message is sent for real. */
  to: z
    .string()
    .regex(/^\+?\d{1,20}$/, 'must be at most 20 digits')
    .optional(),
  text: z.string().min(1).max(1_000).default('Test message'),
  from: z.string().max(20).default(''),
}
const testBody = z.strictObject(sample)
const testOtherBody = z.strictObject({ ...sample, settings, password })

const named = z.strictObject({ name: z.string() })

export function carrierRoutes(app: FastifyInstance, subject: AdminSubject, recent: Recent, done: Done): void {
  const { desk } = subject

  app.post('/carriers', async (request, reply) => {
    const { settings: given, ...body } = read(addBody, request.body)
    await changing(() => addCarrier(desk.store, desk.secrets, { ...body, settings: given }))
    done(request, 'carrier_add', { carrier: body.name })
    reply.code(201)
    return entryOf(body.name)
  })

  app.get('/carriers/:name', async request => entryOf(read(named, request.params).name))

  app.patch('/carriers/:name', async request => {
    const { name } = read(named, request.params)
    const change = read(editBody, request.body)
    const what = await changing(() => editCarrier(desk.store, desk.secrets, name, change))
    const keys = [...Object.keys(change.set), ...change.unset, ...(change.password === undefined ? [] : ['password'])]
    if (what === 'updated') done(request, 'carrier_edit', { carrier: name, keys })
    return { ...entryOf(name), changed: what === 'updated' }
  })

  app.delete('/carriers/:name', async request => {
    const { name } = read(named, request.params)
    await changing(() => removeCarrier(desk.store, desk.secrets, name))
    done(request, 'carrier_remove', { carrier: name })
    return { removed: name }
  })

  for (const paused of [true, false]) {
    app.post(`/carriers/:name/${paused ? 'pause' : 'resume'}`, async request => {
      const { name } = read(named, request.params)
      // What waits for a carrier that is resumed goes before the answer does.
      const before = waitingFor(name, subject)
      const changed = await changing(() => pauseCarrier(desk.store, desk.secrets, name, paused))
      // Links that have given up try again, paused or not before.
      if (!paused && !changed) found(name).running?.smpp?.wake()
      if (changed || !paused) done(request, paused ? 'carrier_pause' : 'carrier_resume', { carrier: name })
      return { ...entryOf(name), changed, ...(paused ? waitingFor(name, subject) : before) }
    })
  }

  app.get('/carriers/:name/links', async request => {
    const { row, running } = found(read(named, request.params).name)
    if (running === undefined) return { name: row.name, paused: row.paused, up: false, rate_per_s: 0, links: [] }
    return linksOf(row, running, subject, recent)
  })

  app.post('/carriers/:name/test', async (request, reply) => {
    const { row } = found(read(named, request.params).name)
    const body = read(testBody, request.body)
    if (row.kind !== 'smpp') {
      throw new Problem(
        422,
        'not_smpp',
        'Nothing to test',
        `${row.name} speaks no SMPP (kind ${row.kind}): there is no bind to try`,
      )
    }
    done(request, 'carrier_test', { carrier: row.name, sent: body.to !== undefined })
    await test(reply, row.settings, body, subject.lines.running.get(row.id)?.line.up ?? false)
  })

  app.post('/carrier-test', async (request, reply) => {
    const { settings: set, password: given, ...body } = read(testOtherBody, request.body)
    const carrier = faultsTold(() => readCarrier('test', 'smpp', {}, { set, unset: [], password: given }))
    const {
      name: _,
      kind: __,
      paused: ___,
      sealed: ____,
      password: _____,
      ...fields
    } = carrier as Extract<typeof carrier, { kind: 'smpp' }>
    done(request, 'carrier_test', { host: fields.host, port: fields.port, sent: body.to !== undefined })
    await test(reply, { ...smppSettings.parse(fields), password: given ?? '' }, body, false)
  })

  async function test(
    reply: Parameters<typeof answerLines>[0],
    to: SmppSettings,
    body: z.output<typeof testBody>,
    isUp: boolean,
  ): Promise<void> {
    const parts = body.to === undefined ? [] : partsOf(to, body.to, body.from, body.text)
    await answerLines(reply, subject, async (tell, signal) => {
      let refused = false
      const ok = await probe(
        to,
        parts,
        subject.clock,
        step => {
          refused ||= step.step === 'bind' && !step.ok && /^ESME_R(ALYBND|BINDFAIL)$/.test(step.detail)
          tell(step)
        },
        signal,
      )
      // Many carriers count binds: that one more is refused says nothing against those that stand.
      const hint = 'it takes no bind besides those that stand, which are well: that is no fault of the settings'
      return { ok, ...(refused && isUp ? { hint } : {}) }
    })
  }

  function found(name: string) {
    const row = serving(subject)
      .directory.carriers()
      .find(one => one.name === name)
    if (row === undefined) throw unknown(new NoCarrier(name))
    return { row, running: subject.lines.running.get(row.id) }
  }

  function entryOf(name: string) {
    const { row, running } = found(name)
    return carrierEntry(row, running, subject.routing.standing(row.name, ''))
  }

  /** Writes, and answers once it holds here. */
  async function changing<T>(work: () => Promise<T>): Promise<T> {
    serving(subject)
    try {
      const result = await work()
      await desk.refresh()
      return result
    } catch (error) {
      throw problemOf(error)
    }
  }
}

const unknown = (error: Error): Problem => new Problem(404, 'no_carrier', 'There is no such carrier', error.message)

/** What writers of the directory throw, as HTTP says it. */
export function problemOf(error: unknown): unknown {
  if (error instanceof NoCarrier) return unknown(error)
  if (error instanceof CarrierFaulty) {
    return new Problem(422, 'invalid', 'The request is not as it must be', error.message, { faults: error.faults })
  }
  if (error instanceof Refused) return new Problem(409, 'refused', 'It cannot be written', error.message)
  if (error instanceof StoreAway) {
    return new Problem(503, 'no_database', 'The database is away', 'nothing was changed: try again when it is back')
  }
  return error
}

function faultsTold<T>(work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw problemOf(error)
  }
}

/** Messages whose routes lead to a carrier, and those of them that have no other way now. */
function waitingFor(name: string, { spool, dispatch, lines }: AdminSubject): { waiting: number; only_here: number } {
  const up = new Set<string>()
  for (const { line } of lines.running.values()) if (line.up) up.add(line.name)
  let waiting = 0
  let only = 0
  for (const lane of spool.figures().lanes) {
    const to = dispatch.routes.route(lane.lane)?.to ?? []
    if (!to.some(({ carrier }) => carrier === name)) continue
    waiting += lane.waiting
    if (!to.some(({ carrier }) => carrier !== name && up.has(carrier))) only += lane.waiting
  }
  return { waiting, only_here: only }
}

export interface LinkEntry {
  stand: string
  peer: string
  /** In this stand. */
  since_s: number
  in_flight: number
  window: number
  /** Of this bind; null where the carrier is of a kind that does not count them. */
  submits: number | null
  throttled: number | null
  /** Receipts and replies. */
  delivers: number | null
  last_reason: string
  /** null while it stands or is tried, and where only an operator brings it back. */
  next_try_s: number | null
}

export interface LinksEntry {
  name: string
  paused: boolean
  up: boolean
  /** Parts a second that it accepts, over all links. */
  rate_per_s: number
  /** What its pace allows now; 0 = no limit. */
  pace_per_s: number
  links: LinkEntry[]
}

function linksOf(
  row: CarrierRow,
  { line }: { line: Parameters<Recent['lineRate']>[0] },
  { clock }: AdminSubject,
  recent: Recent,
): LinksEntry {
  const figures = line.driver.figures()
  const now = clock.now()
  return {
    name: row.name,
    paused: line.paused,
    up: line.up,
    rate_per_s: Math.round(recent.lineRate(line) * 10) / 10,
    pace_per_s: Math.round(figures.ratePerSecond * 10) / 10,
    links: figures.links.map(link => ({
      stand: link.stand,
      peer: link.peer,
      since_s: link.sinceMs === 0 ? 0 : Math.max(0, Math.round((now - link.sinceMs) / 1000)),
      in_flight: link.inFlight,
      window: link.window,
      submits: link.traffic?.submits ?? null,
      throttled: link.traffic?.throttled ?? null,
      delivers: link.traffic?.delivers ?? null,
      last_reason: link.lastReason,
      next_try_s: link.nextTryMs == null ? null : Math.round(link.nextTryMs / 100) / 10,
    })),
  }
}

const INTERNATIONAL = { ton: 1, npi: 1 } as const

/** A text as the carrier takes it. It asks for no receipt: nobody would know whose it is. */
function partsOf(to: SmppSettings, number: string, source: string, text: string): Part[] {
  const m = new Message()
  m.source_addr = source
  m.source_addr_ton = /^\d*$/.test(source) ? (source.length > 8 ? 1 : 0) : 5
  m.source_addr_npi = m.source_addr_ton === 5 ? 0 : 1
  m.destination_addr = number.replace('+', '')
  m.dest_addr_ton = INTERNATIONAL.ton
  m.dest_addr_npi = INTERNATIONAL.npi
  m.body = Buffer.from(text)
  m.isText = true
  const parts = cut(m, cutOf(to), standardCodings, () => 1 + Math.floor(Math.random() * 255))
  if (typeof parts === 'string') {
    throw new Problem(422, parts, 'The text cannot be sent', `this carrier cannot be sent that text: ${parts}`)
  }
  return parts.map(part => ({ ...part, registered_delivery: 0 }))
}
