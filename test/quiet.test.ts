// Quiet hours by the clocks of a number's zone: the rules as people write them, which zones a number may be in, and when
// the hours end, over every change of the clocks. Against an oracle that asks Intl for the time of day, minute by minute.

import fc from 'fast-check'
import t from 'tap'
import { Counters } from '../src/base/figures.js'
import { type QuietRule, readQuiet, readQuietCountry } from '../src/model/quiet.js'
import { countries, prefixesOf } from '../src/routing/countries.js'
import { offsetAt, QuietHours, spanAt } from '../src/routing/quietHours.js'
import { zoneGroupOf, zoneGroups, zonesOf } from '../src/routing/zones.js'

const MINUTE_MS = 60_000
const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

const counters = new Counters()
const zonesOfNumber = (digits: string): string => zonesOf(zoneGroupOf(digits)).join()

const clocks = new Map<string, Intl.DateTimeFormat>()

/** Minute of the day, as Intl shows it. */
function minuteOf(zone: string, atMs: number): number {
  let clock = clocks.get(zone)
  if (clock === undefined) {
    clock = new Intl.DateTimeFormat('en-GB', { timeZone: zone, hour: '2-digit', minute: '2-digit', hourCycle: 'h23' })
    clocks.set(zone, clock)
  }
  const [hour = '', minute = ''] = clock.format(atMs).split(':')
  return Number(hour) * 60 + Number(minute)
}

const isWithin = ({ from, to }: QuietRule, minute: number): boolean =>
  from < to ? minute >= from && minute < to : minute >= from || minute < to

const isQuiet = (zones: readonly string[], rule: QuietRule, atMs: number): boolean =>
  zones.some(zone => isWithin(rule, minuteOf(zone, atMs)))

t.test('hours are written HH:MM-HH:MM or off, a country before them, and nothing else is taken', async t => {
  t.same(readQuiet('21:00-08:00'), { from: 1260, to: 480 })
  t.same(readQuiet('00:00-23:59'), { from: 0, to: 1439 })
  t.equal(readQuiet('off'), null)
  for (const text of ['', 'on', '21-8', '24:00-08:00', '21:60-08:00', '9:00-17:00', '08:00-08:00', ' 21:00-08:00']) {
    t.equal(readQuiet(text), undefined, JSON.stringify(text))
  }
  t.same(readQuietCountry('FR=20:00-10:00'), ['FR', { from: 1200, to: 600 }])
  t.same(readQuietCountry('US=off'), ['US', null])
  for (const text of ['US', 'us=off', 'USA=off', 'US=on', '=off']) t.equal(readQuietCountry(text), undefined, text)
})

t.test('every country has zones, and Intl knows each of them', async t => {
  const nowhere = zoneGroupOf('999')
  t.same(zonesOf(nowhere), ['UTC'], 'what no country has')
  for (const iso of countries) {
    const [prefix = ''] = prefixesOf(iso)
    if (zoneGroupOf(prefix.padEnd(9, '0')) === nowhere) t.fail(`${iso} has no zone`)
  }
  for (let group = 0; group < zoneGroups; group++) {
    for (const zone of zonesOf(group)) {
      try {
        new Intl.DateTimeFormat('en', { timeZone: zone })
      } catch {
        t.fail(zone)
      }
    }
  }
})

t.test('a number is where its first digits say, and in all zones of its country where they do not', async t => {
  t.equal(zonesOfNumber('12125550123'), 'America/New_York')
  t.equal(zonesOfNumber('13125550123'), 'America/Chicago')
  t.equal(zonesOfNumber('14805550123'), 'America/Phoenix')
  t.equal(zonesOfNumber('18085550123'), 'Pacific/Honolulu')
  t.equal(zonesOfNumber('19075550123'), 'America/Anchorage,America/Adak')
  t.equal(zonesOfNumber('16045550123'), 'America/Vancouver')
  t.equal(zonesOfNumber('17875550123'), 'America/Puerto_Rico', 'another country of +1')
  t.equal(zonesOf(zoneGroupOf('18005550123')).length, 8, 'an area code of nowhere')
  t.equal(zonesOfNumber('5511987654321'), 'America/Sao_Paulo')
  t.equal(zonesOfNumber('5592987654321'), 'America/Manaus')
  t.equal(zonesOfNumber('525512345678'), 'America/Mexico_City')
  t.equal(zonesOfNumber('526641234567'), 'America/Tijuana')
  t.equal(zonesOfNumber('4915123456789'), 'Europe/Berlin')
  t.equal(zonesOfNumber('77011234567'), 'Asia/Almaty')
  t.equal(zonesOf(zoneGroupOf('79161234567')).length, 11)
  t.ok(zonesOfNumber('61412345678').includes('Australia/Perth'))
})

t.test('area codes of Canada are in zones of Canada, and all others of +1 are not', async t => {
  const canadian = new Set(zonesOf(zoneGroupOf('16005550123')))
  const ofCanada = new Set(prefixesOf('CA'))
  const ofUs = new Set(zonesOf(zoneGroupOf('18005550123')))
  const wrong: string[] = []
  for (let code = 1200; code < 2000; code++) {
    const zones = zonesOf(zoneGroupOf(`${code}5550123`))
    const allowed = ofCanada.has(String(code)) ? canadian : prefixesOf('US').includes(String(code)) ? ofUs : null
    if (allowed !== null && !zones.every(zone => allowed.has(zone))) wrong.push(`${code}: ${zones}`)
  }
  t.same(wrong, [])
})

/** Moments around each change of the zone's clocks in five years. */
function changesOf(zone: string): number[] {
  const found: number[] = []
  const last = Date.UTC(2030, 0, 1)
  for (let at = Date.UTC(2025, 0, 1); at < last; at += DAY_MS) {
    if (offsetAt(zone, at) !== offsetAt(zone, at + DAY_MS)) found.push(at)
  }
  return found
}

const DST = [
  'Europe/Berlin',
  'America/New_York',
  'Australia/Lord_Howe',
  'America/St_Johns',
  'Africa/Cairo',
  'America/Santiago',
]

t.test('the end is the first minute that is not quiet, over every change of the clocks', async t => {
  const moments = new Map(DST.map(zone => [zone, changesOf(zone)]))
  for (const [zone, all] of moments) t.ok(all.length >= 8, `${zone} changes its clocks ${all.length} times`)
  const minute = fc.integer({ min: 0, max: 1439 })
  const given = fc
    .record({
      zone: fc.constantFrom(...DST),
      at: fc.nat(),
      minutes: fc.integer({ min: -1440, max: 2880 }),
      ms: fc.constantFrom(0, 1, 30_000, 59_999),
      from: minute,
      to: minute,
    })
    .filter(({ from, to }) => from !== to)
  fc.assert(
    fc.property(given, ({ zone, at, minutes, ms, from, to }) => {
      const all = moments.get(zone) as number[]
      const atMs = (all[at % all.length] as number) + minutes * MINUTE_MS + ms
      const rule = { from, to }
      const { untilMs, changesMs } = spanAt([zone], rule, atMs)
      if (!isQuiet([zone], rule, atMs)) {
        if (untilMs !== 0) return false
        for (let one = atMs; one < changesMs; one += MINUTE_MS) if (isQuiet([zone], rule, one)) return false
        return isQuiet([zone], rule, changesMs)
      }
      if (changesMs !== untilMs || isQuiet([zone], rule, untilMs)) return false
      for (let one = atMs; one < untilMs; one += MINUTE_MS) if (!isQuiet([zone], rule, one)) return false
      return true
    }),
    { numRuns: process.env.LONG ? 20_000 : 300 },
  )
  t.pass()
})

t.test('where a number may be in several zones it is quiet while it is in any of them', async t => {
  const group = zoneGroupOf('18005550123')
  const zones = zonesOf(group)
  const given = fc.record({
    at: fc.integer({ min: Date.UTC(2026, 0, 1), max: Date.UTC(2027, 0, 1) }),
    from: fc.integer({ min: 19 * 60, max: 23 * 60 }),
    to: fc.integer({ min: 6 * 60, max: 10 * 60 }),
  })
  const quiet = new QuietHours({ everywhere: null, countries: new Map() }, counters)
  fc.assert(
    fc.property(given, ({ at, from, to }) => {
      const rule = { from, to }
      const end = quiet.until('18005550123', at, rule)
      if (end === 0) return !isQuiet(zones, rule, at)
      if (isQuiet(zones, rule, end)) return false
      for (let one = at; one < end; one += 5 * MINUTE_MS) if (!isQuiet(zones, rule, one)) return false
      return true
    }),
    { numRuns: 100 },
  )
  t.pass()
})

t.test('where that leaves no minute of the day, the zone where most people live decides', async t => {
  const rule = { from: 18 * 60, to: 10 * 60 }
  const quiet = new QuietHours({ everywhere: rule, countries: new Map() }, counters)
  const noon = Date.UTC(2026, 5, 1, 9)
  t.equal(minuteOf('Europe/Moscow', noon), 720)
  t.equal(quiet.until('79161234567', noon), 0)
  t.equal(minuteOf('Europe/Moscow', quiet.until('79161234567', noon + 8 * HOUR_MS)), 600)
})

t.test('a country goes before the whole, and an account before both', async t => {
  const countries = new Map([
    ['FR', { from: 20 * 60, to: 10 * 60 }],
    ['US', null],
  ])
  const quiet = new QuietHours({ everywhere: { from: 21 * 60, to: 8 * 60 }, countries }, counters)
  // 07:30 in Berlin and Paris.
  const morning = Date.UTC(2026, 0, 15, 6, 30)
  t.equal(quiet.until('4915123456789', morning), morning + 30 * MINUTE_MS)
  t.equal(quiet.until('33612345678', morning), morning + 150 * MINUTE_MS)
  t.equal(quiet.until('12125550123', morning), 0)
  t.equal(quiet.until('33612345678', morning, null), 0)
  t.equal(quiet.until('12125550123', morning, { from: 0, to: 180 }), morning + 90 * MINUTE_MS)
})

t.test('an answer that was kept is given only while it holds, whichever way the clock is set', async t => {
  const quiet = new QuietHours({ everywhere: { from: 21 * 60, to: 8 * 60 }, countries: new Map() }, counters)
  const zone = ['Europe/Berlin']
  const from = Date.UTC(2026, 9, 24)
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 3 * 1440 }), { minLength: 1, maxLength: 30 }), minutes =>
      minutes.every(minute => {
        const at = from + minute * MINUTE_MS
        const end = quiet.until('4915123456789', at)
        const rule = { from: 21 * 60, to: 8 * 60 }
        return end === 0 ? !isQuiet(zone, rule, at) : end > at && isQuiet(zone, rule, at) && !isQuiet(zone, rule, end)
      }),
    ),
  )
  t.pass()
})
