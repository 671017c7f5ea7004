// The state table of SMPP (v3.4 §2.2 and §2.3, v5.0 §2.4) cell by cell: five states and every PDU, as SMSC against the
// running daemon, as ESME against our session. Each cell asserts the exact answer, and that the session lives after it.
// Also: that every test named in the conformance table of protocols/README.md is there.
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { command, commandName, isResponse, responseTo } from '../protocols/smpp/commands.js'
import { encodePdu, type Pdu } from '../protocols/smpp/pdu.js'
import { status, statusName } from '../protocols/smpp/status.js'
import { tlv, writeTlvBytes } from '../protocols/smpp/tlv.js'
import { house, story } from './support/house.js'
import { within } from './support/peer.js'
import { dial, pdu, Recorder, Station, type Wire } from './support/smpp-wire.js'
import { smsc } from './support/smsc.js'

type State = 'OPEN' | 'BOUND_TX' | 'BOUND_RX' | 'BOUND_TRX' | 'UNBOUND'
const states: State[] = ['OPEN', 'BOUND_TX', 'BOUND_RX', 'BOUND_TRX', 'UNBOUND']
const binds = { BOUND_TX: 'transmitter', BOUND_RX: 'receiver', BOUND_TRX: 'transceiver' } as const

/** Every PDU of the standard, and what is none: beyond the numbers, reserved for vendors, a response to nothing. */
const pdus: [name: string, id: number][] = [
  ...Object.entries(command),
  ['an unknown request', 0x0000_0042],
  ['a vendor request', 0x0001_0200],
  ['an unknown response', 0x8000_0042],
  ['a vendor response', 0x8001_02ff],
]

const TX = ['submit_sm', 'submit_multi', 'data_sm', 'query_sm', 'cancel_sm', 'replace_sm']
const BINDS = ['bind_transmitter', 'bind_receiver', 'bind_transceiver']
const BROADCAST = ['broadcast_sm', 'query_broadcast_sm', 'cancel_broadcast_sm']
/** What operations on a message that never was are answered. */
const OF_NOBODY = ['query_sm', 'cancel_sm', 'replace_sm']

interface Answer {
  /** The command_id of the answer, 0 for none. */
  readonly id: number
  readonly code: number
  readonly ends?: boolean
}
const none: Answer = { id: 0, code: 0 }
const nack = (code: number): Answer => ({ id: command.generic_nack, code })

/** Written from the standard, not from our table. */
function answerOf(side: 'S' | 'E', state: State, name: string, id: number): Answer {
  if (isResponse(id)) return none
  const own = (code: number): Answer => ({ id: responseTo(id), code })
  const bound = state.startsWith('BOUND')
  if (name === 'enquire_link') return own(status.ESME_ROK)
  if (name === 'unbind') return bound ? { ...own(status.ESME_ROK), ends: true } : own(status.ESME_RINVBNDSTS)
  if (name.startsWith('a') && name.endsWith('request')) return nack(status.ESME_RINVCMDID)
  if (BROADCAST.includes(name)) return nack(status.ESME_RINVCMDID)
  if (side === 'S') {
    if (BINDS.includes(name)) {
      return own(state === 'OPEN' ? status.ESME_ROK : bound ? status.ESME_RALYBND : status.ESME_RINVBNDSTS)
    }
    // Only an MC sends these, and they have no response.
    if (name === 'outbind' || name === 'alert_notification') return nack(status.ESME_RINVCMDID)
    if (TX.includes(name) && (state === 'BOUND_TX' || state === 'BOUND_TRX')) {
      return own(OF_NOBODY.includes(name) ? status.ESME_RINVMSGID : status.ESME_ROK)
    }
    return own(status.ESME_RINVBNDSTS)
  }
  const receives = state === 'BOUND_RX' || state === 'BOUND_TRX'
  if (name === 'outbind') return state === 'OPEN' ? none : nack(status.ESME_RINVBNDSTS)
  if (name === 'alert_notification') return receives ? none : nack(status.ESME_RINVBNDSTS)
  if ((name === 'deliver_sm' || name === 'data_sm') && receives) return own(status.ESME_ROK)
  return own(status.ESME_RINVBNDSTS)
}

const titles: string[] = []
function titleOf(side: 'S' | 'E', state: State, name: string, answer: Answer): string {
  const said = answer.id === 0 ? 'not answered' : `answered ${commandName(answer.id)} ${statusName(answer.code)}`
  const title = `${side}: ${name} in ${state} is ${said} and the session ${answer.ends ? 'ends' : 'lives'}`
  titles.push(title)
  return title
}

const SEQUENCE = 0x1001
const LOGIN = { system_id: 'shop', password: 'secret', interface_version: 0x34 }
const text = { source_addr: '1000', destination_addr: '12025550123', short_message: Buffer.from('hello') }

/** A whole PDU that nothing is wrong with. */
function sound(name: string, id: number): Buffer {
  if (BINDS.includes(name)) return encodePdu(id as typeof command.bind_receiver, 0, SEQUENCE, LOGIN)
  switch (id) {
    case command.submit_sm:
    case command.deliver_sm:
      return encodePdu(id, 0, SEQUENCE, text)
    case command.data_sm: {
      const tlvs = Buffer.alloc(9)
      writeTlvBytes(tlvs, 0, tlv.message_payload, text.short_message)
      return encodePdu(id, 0, SEQUENCE, { source_addr: '1000', destination_addr: '12025550123' }, tlvs)
    }
    case command.submit_multi:
      return encodePdu(id, 0, SEQUENCE, {
        source_addr: '1000',
        dest_address: [{ dest_flag: 1, dest_addr_ton: 1, dest_addr_npi: 1, destination_addr: '12025550123' }],
        short_message: text.short_message,
      })
    case command.query_sm:
    case command.replace_sm:
      return encodePdu(id, 0, SEQUENCE, { message_id: '1234567890123456', source_addr: '1000' })
    case command.cancel_sm:
      return encodePdu(id, 0, SEQUENCE, { message_id: '1234567890123456', source_addr: '1000' })
  }
  return Object.values(command).includes(id as Pdu) ? encodePdu(id as Pdu, 0, SEQUENCE) : pdu(id, 0, SEQUENCE)
}

const enquiry = pdu(command.enquire_link, 0, 5)
const ALIVE = 'enquire_link_resp 0 5'
const next = (wire: Wire) => within(wire.next(), 'an answer')
/** The PDU's name, status and sequence; bodies are for others to test. */
const head = (line: string) => line.replace(/ \+\d+$/, '')
const lineOf = (answer: Answer) => `${commandName(answer.id)} ${answer.code} ${SEQUENCE}`

/** Sends the PDU in a state that lasts and reads what comes. */
async function assertCell(t: Test, wire: Wire, octets: Buffer, answer: Answer): Promise<void> {
  if (answer.id !== 0) {
    wire.send(octets)
    t.equal(head(await next(wire)), lineOf(answer))
    if (answer.ends) {
      t.equal(await next(wire), 'closed')
      return
    }
    wire.send(enquiry)
  } else wire.send(octets, enquiry)
  t.equal(await next(wire), ALIVE)
}

story('S: every PDU in every state has its answer from the daemon', async t => {
  const carrier = await smsc(t)
  const daemon = await house(t, { accounts: { shop: { maxBinds: 0 } }, carriers: { up: carrier } })
  for (const state of states) {
    for (const [name, id] of pdus) {
      const answer = answerOf('S', state, name, id)
      await t.test(titleOf('S', state, name, answer), async t => {
        const wire = await dial(t, daemon.smpp)
        if (state !== 'OPEN') {
          const how = state === 'UNBOUND' ? 'transceiver' : binds[state]
          wire.send(encodePdu(command[`bind_${how}`], 0, 1, LOGIN))
          t.equal(head(await next(wire)), `bind_${how}_resp 0 1`)
        }
        if (state === 'UNBOUND') {
          // A message is owed its answer until it is durable, so that unbind_resp has to wait: for so long it is unbound.
          wire.send(encodePdu(command.submit_sm, 0, 900, text), pdu(command.unbind, 0, 901), sound(name, id), enquiry)
          if (answer.id !== 0) t.equal(head(await next(wire)), lineOf(answer))
          t.equal(await next(wire), ALIVE)
          t.equal(head(await next(wire)), 'submit_sm_resp 0 900')
          t.equal(await next(wire), 'unbind_resp 0 901')
          t.equal(await next(wire), 'closed')
        } else await assertCell(t, wire, sound(name, id), answer)
        wire.socket.destroy()
      })
    }
  }
})

t.test('E: every PDU in every state has its answer from our side of a carrier', async t => {
  const station = new Station(t, 'esme')
  for (const state of states) {
    for (const [name, id] of pdus) {
      const answer = answerOf('E', state, name, id)
      await t.test(titleOf('E', state, name, answer), async t => {
        const owner = new Recorder()
        const how = state === 'OPEN' || state === 'UNBOUND' ? 'transceiver' : binds[state]
        const { wire, session } =
          state === 'OPEN' ? await station.connect(t, owner) : await station.bound(t, how, owner)
        if (state === 'UNBOUND') {
          owner.onRequest = () => {}
          wire.send(pdu(command.deliver_sm, 0, 900), pdu(command.unbind, 0, 901))
          await owner.until(() => session.state === 'unbound')
        }
        await assertCell(t, wire, sound(name, id), answer)
        const taken = owner.calls.filter(call => call.startsWith('request') && call.endsWith(` ${SEQUENCE}`))
        const mine = answer.id === 0 ? !isResponse(id) : answer.code === 0 && /^(deliver|data)_sm$/.test(name)
        t.equal(taken.length, mine ? 1 : 0, 'what is allowed comes to whoever owns the session, and nothing else')
        if (state === 'UNBOUND') {
          session.respondHeader(command.deliver_sm_resp, 0, 900)
          t.equal(await next(wire), 'deliver_sm_resp 0 900')
          t.equal(await next(wire), 'unbind_resp 0 901')
        }
        wire.socket.destroy()
      })
    }
  }
})

/** The rows of the conformance table: id, and the tests that show it, each as `file: title`. */
function table(readme: string): { id: string; tests: string[] }[] {
  const [, text = ''] = readme.split('## Conformance')
  return text
    .split('\n')
    .filter(line => /^\| (?!---|id )/.test(line))
    .map(line => {
      const [, id = '', , tests = ''] = line.split(' | ').flatMap((part, n) => (n === 0 ? ['', part.slice(2)] : [part]))
      return {
        id,
        tests: tests
          .replace(/ \|$/, '')
          .split('<br>')
          .filter(test => test !== '—'),
      }
    })
}

/** From dist/test or test to the root of the repository. */
const root = existsSync(fileURLToPath(new URL('../../protocols/README.md', import.meta.url))) ? '../../' : '../'
const read = (path: string): string => readFileSync(fileURLToPath(new URL(root + path, import.meta.url)), 'utf8')

t.test('every test that the conformance table names is there, and every id has its row', async t => {
  const rows = table(read('protocols/README.md'))
  const ids = rows.flatMap(({ id }) => id.split(', '))
  const due = [
    ...['S', 'S-a', 'S-b', 'S-c', 'S-d', 'S-e', 'S-f', 'S-g'],
    ...[1, 2, 3, 4, 5, 6].map(n => `T${n}`),
    ...Array.from({ length: 10 }, (_, n) => `H${n + 1}`),
    ...Array.from({ length: 40 }, (_, n) => `Q${n + 1}`),
  ]
  t.same(
    due.filter(id => !ids.includes(id)),
    [],
  )
  for (let section = 2; section <= 12; section++) t.ok(ids.some(id => id.startsWith(`2.${section}`)) || section < 5)
  const missing = rows.flatMap(({ id, tests }) => tests.filter(test => !isThere(test)).map(test => `${id}: ${test}`))
  t.same(missing, [])
})

function isThere(test: string): boolean {
  const [file = '', ...words] = test.split(': ')
  const title = words.join(': ')
  if (file === 'conformance' && titles.includes(title)) return true
  const path = file.includes('/') ? `test/${file}.ts` : `test/${file}.test.ts`
  if (title === '' || !existsSync(fileURLToPath(new URL(root + path, import.meta.url)))) return false
  const source = read(path)
  return source.includes(title) || (title.startsWith('F: ') && source.includes(`'${title.slice(3)}'`))
}
