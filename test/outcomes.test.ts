// What a carrier's command_status leads to: every status of the standard by table, carriers' own words over it, and when
// a message is tried again or given up.

import t from 'tap'
import { status } from '../protocols/smpp/status.js'
import { ManualClock } from '../src/base/clock.js'
import { IdMaker } from '../src/base/ids.js'
import { type Meaning, outcomeOf, ownMeanings } from '../src/carriers/outcomes.js'
import { retryAt, retryDelayMs } from '../src/dispatch/retry.js'
import { Message } from '../src/model/message.js'
import { esme } from './support/esme.js'
import { house, story } from './support/house.js'
import { smsc } from './support/smsc.js'

t.jobs = 4

/** What is not the message's fault; everything else is. */
const notRefused: Record<string, Meaning> = {
  // Too fast (reference: smpp.md Q21).
  ESME_RTHROTTLED: 'throttled',
  ESME_RMSGQFUL: 'throttled',
  // The carrier's trouble, or one that it does not name.
  ESME_RSYSERR: 'deferred',
  ESME_RSUBMITFAIL: 'deferred',
  ESME_RUNKNOWNERR: 'deferred',
  ESME_RX_T_APPN: 'deferred',
  ESME_RSERTYPUNAVAIL: 'deferred',
  // Of our bind.
  ESME_RINVBNDSTS: 'deferred',
  ESME_RALYBND: 'deferred',
  ESME_RBINDFAIL: 'deferred',
  ESME_RINVPASWD: 'deferred',
  ESME_RINVSYSID: 'deferred',
  ESME_RINVSYSTYP: 'deferred',
}

t.test('every status of the standard means one thing, and says its name', async t => {
  for (const [name, code] of Object.entries(status)) {
    if (code === 0) continue
    t.match(outcomeOf(code), { kind: notRefused[name] ?? 'refused', code: name }, name)
  }
})

t.test('a status that the standard does not know is tried again, and carries its number', async t => {
  for (const code of [0x09, 0x22, 0x400, 0x4ff, 0xffffffff]) {
    t.match(outcomeOf(code), { kind: 'deferred', code: `0x${code.toString(16).padStart(8, '0')}` })
  }
})

t.test("a carrier's own word stands over the standard's, whatever it is about", async t => {
  const own = ownMeanings({ '0x14': 'deferred', '0x400': 'refused', '0X0B': 'deferred', '0x45': 'throttled' })
  for (const [code, kind] of [
    [0x14, 'deferred'],
    [0x400, 'refused'],
    [0x0b, 'deferred'],
    [0x45, 'throttled'],
    [0x58, 'throttled'],
    [0x401, 'deferred'],
  ] as const) {
    t.equal(outcomeOf(code, own).kind, kind)
  }
})

t.test('waits double up to the longest, spread by a quarter to either side', async t => {
  const waits = [1, 2, 3, 4, 5, 255].map(attempt => retryDelayMs(attempt, 1_000, 10_000, 0.5))
  t.same(waits, [1_000, 2_000, 4_000, 8_000, 10_000, 10_000])
  t.same(
    [0, 0.999_999].map(random => retryDelayMs(1, 1_000, 10_000, random)),
    [750, 1_250],
  )
})

t.test(
  'no try is made after the age of its class, counted from acceptance or from the time it was meant for',
  async t => {
    const nowMs = Date.UTC(2027, 0, 1)
    const rules = { firstMs: 1_000, capMs: 4_000, maxAgeMs: 60_000 }
    const m = new Message()
    m.id = new IdMaker(new ManualClock(nowMs), 0).next()
    m.attempts = 1
    t.equal(retryAt(m, rules, nowMs, 0.5), nowMs + 1_000)
    m.attempts = 9
    t.equal(retryAt(m, rules, nowMs + 55_000, 0.5), nowMs + 59_000)
    t.equal(retryAt(m, rules, nowMs + 57_000, 0.5), null)
    m.scheduleMs = nowMs + 30_000
    t.equal(retryAt(m, rules, nowMs + 57_000, 0.5), nowMs + 61_000)
  },
)

for (const [name, err] of [
  ['ESME_RSYSERR', '008'],
  ['ESME_RMSGQFUL', '020'],
] as const) {
  story(`a message that is answered ${name} for ever is given up at its age, and its customer hears why`, async t => {
    const carrier = await smsc(t, {
      submit: sm => (sm.text === 'good' ? sm.deliver() : sm.refuse(status[name])),
    })
    const daemon = await house(t, {
      carriers: { up: carrier },
      config: { retry: { transactional: { firstMs: 200, capMs: 400, maxAgeMs: 2_000 } } },
    })
    const shop = await esme(t, daemon.smpp)
    const { message_id } = await shop.submit({ short_message: Buffer.from('bad') })
    t.match((await shop.next()).receipt, { id: message_id, stat: 'UNDELIV', err })
    const tries = carrier.submitted.length
    t.ok(tries >= 3 && tries < 40, `${tries} tries`)
    t.match((await daemon.history(2))[1], { kind: 'e', state: 5, error: name })
    t.equal(await daemon.metric('trunkline_carrier_events_total', { carrier: 'up', name: 'gave_up' }), 1)
    const good = await shop.submit({ short_message: Buffer.from('good') })
    t.equal((await shop.next()).receipt.id, good.message_id)
  })
}
