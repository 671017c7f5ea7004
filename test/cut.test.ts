// A message as the parts of a carrier, whatever both sides mean by its data_coding: the text arrives, no part is longer
// than a part can be, all share a reference, and what both mean alike is not touched.

import fc from 'fast-check'
import t, { type Test } from 'tap'
import { encodeUcs2, isGsm, pack7, unpack7 } from '../protocols/gsm/alphabet.js'
import {
  type Coding,
  type Codings,
  classOf,
  codingOf,
  codingsWith,
  decodeUserData,
  encodeText,
  standardCodings,
  type TextCoding,
} from '../protocols/gsm/coding.js'
import { countSegmentsOfText, type How } from '../protocols/gsm/segment.js'
import { buildConcatUdh, parseUdh } from '../protocols/gsm/udh.js'
import { findTlv, tlv, tlvUint, writeTlvUint } from '../protocols/smpp/tlv.js'
import { readProfile } from '../src/accounts/smppProfile.js'
import type { Part } from '../src/carriers/driver.js'
import { ConcatRefs } from '../src/dispatch/concatRefs.js'
import { type CutSettings, cut, plainCut } from '../src/dispatch/cut.js'
import { makePlain, segmentsOf } from '../src/intake/text.js'
import { Message } from '../src/model/message.js'
import { Chooser, type Merits } from '../src/routing/choose.js'
import type { RouteRule } from '../src/routing/table.js'

const UDHI = 0x40

function holds<T>(t: Test, claim: string, property: fc.IProperty<T>, numRuns = 300): void {
  const run = fc.check(property, { numRuns })
  t.notOk(run.failed, claim, { report: fc.defaultReportMessage(run) })
}

function message(fields: Partial<Message>): Message {
  return Object.assign(new Message(), { source_addr: '1000', destination_addr: '12025550123' }, fields)
}

const parts = (m: Message, settings: Partial<CutSettings>, theirs: Codings = standardCodings): readonly Part[] => {
  const all = cut(m, { ...plainCut, ...settings }, theirs, () => 7)
  if (typeof all === 'string') throw new Error(all)
  return all
}

/** What a carrier reads in parts, whose mark of byte order would be its own. */
const textOf = (all: readonly Part[], codings: Codings): string =>
  all
    .map(({ short_message, esm_class, data_coding }) =>
      decodeUserData(short_message, (esm_class & UDHI) !== 0, codingOf(data_coding, codings)),
    )
    .join('')

const WRITABLE: readonly TextCoding[] = [
  'gsm',
  'gsm-packed',
  'ascii',
  'latin1',
  'windows-1252',
  'iso-8859-5',
  'iso-8859-8',
  'ucs2',
  'utf16le',
  'utf8',
]
// No CR: a packed text that ends in one may get another, by the standard.
const anyText = fc.string({
  unit: fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom(...'abc XYZ 0123 @$£\n') },
    { weight: 1, arbitrary: fc.constantFrom(...'€{}[]~^|\\ÄÖÜßñ', 'Ω', 'ç', 'é', '“', '–') },
    { weight: 1, arbitrary: fc.constantFrom('ж', 'Привет', 'ש', 'ş', 'ğ', 'İ', '😀', '日') },
  ),
  maxLength: 600,
  size: 'max',
})
const coding = fc.constantFrom(...WRITABLE)
const SMPP_OWN = Array.from({ length: 16 }, (_, code) => code)
const DATA_CODINGS = [0, 1, 3, 8, 0x10, 0x18, 0xf0, 0xf1] as const
const codingsOf = fc
  .dictionary(fc.constantFrom(...DATA_CODINGS.map(String)), coding, { maxKeys: 3 })
  .map(changes => codingsWith(changes as Record<string, Coding>))

t.test('a text arrives whole in the carrier’s coding, whatever either side means by a data_coding', async t => {
  holds(
    t,
    'any text, any two tables, every way',
    fc.property(
      anyText,
      fc.constantFrom(...DATA_CODINGS),
      codingsOf,
      codingsOf,
      fc.constantFrom<How>('udh8', 'udh16', 'sar', 'payload'),
      fc.subarray([1, 3, 6, 13]),
      fc.constantFrom(140, 139, 133),
      (text, data_coding, theirs, codings, longMessages, nationalTables, maxOctets) => {
        const coding = codingOf(data_coding, theirs) as TextCoding
        const body = encodeText(text, coding)
        if (body === undefined) return true
        const carriers = codingOf(data_coding, codings)
        const settings = { codings, longMessages, nationalTables, maxOctets }
        const m = message({ body, data_coding, ownCoding: theirs !== standardCodings })
        const all = cut(m, { ...plainCut, ...settings }, theirs, () => 7)
        const unicode = (code: number) => ['ucs2', 'utf16le', 'utf8'].includes(codingOf(code, codings))
        if (typeof all === 'string') return all === 'coding_unsupported' && !SMPP_OWN.some(unicode)
        if (coding === carriers && all.length === 1 && all[0]?.short_message !== body && body.length <= 80) return false
        if (textOf(all, codings) !== text) return false
        const keepsClass = classOf(all[0]?.data_coding as number) === classOf(data_coding)
        if (!keepsClass && (isGsm(text) ? codings[0x10] === 'gsm' : unicode(0x18))) return false
        if (all.length === 1) return true
        return all.every(({ short_message, esm_class, tlvs, payload }, i) => {
          const udh = (esm_class & UDHI) !== 0 ? parseUdh(short_message) : undefined
          const wire = codingOf(all[0]?.data_coding as number, codings)
          const room = wire === 'gsm' ? 160 : wire === 'utf8' || wire === 'ascii' || wire === 'latin1' ? 254 : maxOctets
          if (payload || short_message.length > room) return false
          if (longMessages !== 'sar')
            return udh?.concat?.seq === i + 1 && udh.concat.total === all.length && udh.concat.ref === 7
          return (
            udh === undefined &&
            tlvUint(tlvs, findTlv(tlvs, 0, tlvs.length, tlv.sar_msg_ref_num)) === 7 &&
            tlvUint(tlvs, findTlv(tlvs, 0, tlvs.length, tlv.sar_segment_seqnum)) === i + 1
          )
        })
      },
    ),
    1_500,
  )
})

t.test('Unicode text takes no more parts than it was priced at', async t => {
  holds(
    t,
    'any text',
    fc.property(anyText, fc.subarray([1, 3, 13]), (text, nationalTables) => {
      const m = message({ body: Buffer.from(text), isText: true })
      const all = parts(m, { nationalTables })
      return all.length <= countSegmentsOfText(text) && textOf(all, standardCodings) === text
    }),
  )
})

t.test('what both mean alike is the customer’s own buffer, and a part is one however long', async t => {
  for (const coding of [...WRITABLE, 'binary'] as const) {
    const codings = codingsWith({ '0': coding })
    const body = Buffer.from('00ff1b801b1b2865', 'hex')
    t.equal(parts(message({ body }), { codings }, codings)[0]?.short_message, body, coding)
    const part = Buffer.concat([buildConcatUdh(1, 2, 1, 8), Buffer.alloc(200, 0x61)])
    const [one, more] = parts(message({ body: part, esm_class: UDHI }), { codings }, codings)
    t.equal(one?.short_message, part)
    t.equal(more, undefined)
  }
})

t.test('no octets make it throw, and what leaves is the message or a name for why not', async t => {
  const hostile = fc
    .array(fc.oneof(fc.constantFrom(0, 1, 3, 5, 6, 8, 0x1b, 0x24, 0x25, 0xd8, 0xdc, 0xfe, 0xff), fc.nat(255)), {
      maxLength: 400,
      size: 'max',
    })
    .map(array => Buffer.from(array))
  holds(
    t,
    'any octets, header, tables',
    fc.property(
      hostile,
      fc.nat(255),
      fc.constantFrom(0, UDHI),
      codingsOf,
      codingsOf,
      fc.constantFrom<How>('udh8', 'udh16', 'sar', 'payload'),
      fc.subarray([1, 2, 3, 4, 13]),
      (body, data_coding, esm_class, theirs, codings, longMessages, nationalTables) => {
        const m = message({ body, data_coding, esm_class })
        const all = cut(m, { ...plainCut, codings, longMessages, nationalTables }, theirs, () => 7)
        const counted = segmentsOf(message({ body, data_coding, esm_class }), readProfile({}))
        return (typeof all === 'string' || all.length >= 1) && counted >= 1
      },
    ),
    2_000,
  )
})

t.test('IA5 of many braces is cut by its septets', async t => {
  t.equal(parts(message({ body: Buffer.from('{'.repeat(80)), data_coding: 1 }), {}).length, 1)
  t.equal(parts(message({ body: Buffer.from('{'.repeat(81)), data_coding: 1 }), {}).length, 2)
})

t.test('text that message centres turn into septets is cut by its septets under whatever name it came', async t => {
  const latin = codingsWith({ '0': 'latin1' })
  const lengths = (body: string, codings = latin, data_coding = 0) =>
    parts(message({ body: Buffer.from(body, 'latin1'), data_coding }), { codings }, codings).length
  t.equal(lengths('['.repeat(80)), 1)
  t.equal(lengths('['.repeat(81)), 2)
  t.equal(lengths('['.repeat(140)), 2, '280 septets')
  t.equal(lengths('a'.repeat(140)), 1)
  t.equal(lengths('a'.repeat(160)), 1)
  t.equal(lengths('['.repeat(140), standardCodings, 3), 1, 'Latin-1 by the standard’s name stays octets')
})

const sar = (ref: number, total: number, seq: number): Buffer => {
  const tlvs = Buffer.alloc(16)
  let at = writeTlvUint(tlvs, 0, tlv.sar_msg_ref_num, ref, 2)
  at = writeTlvUint(tlvs, at, tlv.sar_total_segments, total, 1)
  writeTlvUint(tlvs, at, tlv.sar_segment_seqnum, seq, 1)
  return tlvs
}

t.test('the only part of one by sar_* is a whole message, and cut like any other', async t => {
  const body = Buffer.from('x'.repeat(300))
  for (const longMessages of ['udh8', 'udh16', 'sar'] as const) {
    const all = parts(message({ body, tlvs: sar(9, 1, 1) }), { longMessages })
    t.equal(all.length, 2, longMessages)
    t.equal(textOf(all, standardCodings), body.toString())
    t.same(
      all.map(({ tlvs }) => tlvs),
      longMessages === 'sar' ? [sar(7, 2, 1), sar(7, 2, 2)] : [Buffer.alloc(0), Buffer.alloc(0)],
      'its parts say nothing else of themselves',
    )
  }
  t.equal(parts(message({ body, tlvs: sar(9, 2, 1) }), {})[0]?.short_message, body, 'one of two stays one')
})

t.test('parts by sar_* keep their numbers in a header where the carrier takes no TLVs', async t => {
  const old = { tlvs: false }
  const packed = codingsWith({ '0': 'gsm-packed' })
  const text = 'x'.repeat(153)
  const octets = Buffer.from(text)
  for (const [theirs, codings] of [
    [standardCodings, standardCodings],
    [standardCodings, packed],
    [packed, standardCodings],
    [packed, packed],
    [codingsWith({ '0': 'utf8' }), standardCodings],
    [standardCodings, codingsWith({ '0': 'latin1' })],
  ] as const) {
    const body = theirs === packed ? pack7(octets) : octets
    const all = [1, 2].map(
      seq => parts(message({ body, tlvs: sar(300, 2, seq) }), { ...old, codings }, theirs)[0] as Part,
    )
    t.same(
      all.map(({ short_message, esm_class, tlvs }) => [parseUdh(short_message)?.concat, esm_class, tlvs.length]),
      [1, 2].map(seq => [{ ref: 300 & 0xff, total: 2, seq, bits: 8 }, UDHI, 0]),
    )
    t.equal(textOf(all, codings), text + text)
  }
  const short = parts(message({ body: Buffer.from('hi'), tlvs: sar(5, 2, 2) }), old)[0] as Part
  t.equal(short.short_message.toString('hex'), '0500030502026869')
  const wide = parts(message({ body: encodeUcs2('ж'.repeat(67)), data_coding: 8, tlvs: sar(5, 2, 2) }), old)
  t.equal(wide[0]?.short_message.length, 140)
  const ports = Buffer.concat([Buffer.from('0605040b8423f0', 'hex'), Buffer.alloc(100)])
  const push = parts(message({ body: ports, data_coding: 4, esm_class: UDHI, tlvs: sar(5, 2, 2) }), old)[0] as Part
  t.equal(push.short_message.subarray(0, 12).toString('hex'), '0b00030502020504' + '0b8423f0')
  t.equal(push.short_message.length, ports.length + 5)
  for (const body of [Buffer.alloc(154, 0x61), Buffer.from('['.repeat(154))]) {
    t.equal(
      cut(message({ body, tlvs: sar(5, 2, 2) }), { ...plainCut, ...old }, standardCodings, () => 7),
      'too_long',
    )
  }
  t.equal(parts(message({ body: octets, tlvs: sar(5, 2, 2) }), {})[0]?.short_message, octets, 'others get the TLVs')
  t.equal(
    parts(message({ body: octets, tlvs: sar(5, 1, 1) }), old)[0]?.short_message,
    octets,
    'one of one has no number',
  )
})

t.test('references of one pair of addresses come round only after all others', async t => {
  for (const [wide, most] of [
    [false, 255],
    [true, 65_535],
  ] as const) {
    for (const start of [0, 0.5, 0.999999]) {
      const refs = new ConcatRefs(wide, () => start)
      const seen = new Set<number>()
      for (let n = 0; n < most; n++) seen.add(refs.next('1000', '12025550123'))
      t.equal(seen.size, most)
      t.notOk(seen.has(0), '0 means not cut')
      t.notOk(seen.has(most + 1))
    }
  }
  const refs = new ConcatRefs(false, () => 0)
  t.same([refs.next('a', '1'), refs.next('a', '2'), refs.next('a', '1')], [1, 1, 2], 'others do not use them up')
})

t.test('parts of one text weigh alike, by their reference wherever it stands', async t => {
  const rule = {
    id: 1,
    by: 'weight',
    to: ['a', 'b', 'c'].map(carrier => ({ carrier, weight: 1 })),
  } as unknown as RouteRule
  const chooser = new Chooser({} as Merits)
  const up = () => true
  for (const make of [
    (ref: number, seq: number) => ({ esm_class: UDHI, body: buildConcatUdh(ref, 9, seq, 8) }),
    (ref: number, seq: number) => ({ esm_class: UDHI, body: buildConcatUdh(ref << 4, 9, seq, 16) }),
    (ref: number, seq: number) => ({ tlvs: sar(ref, 9, seq), body: Buffer.from(`${seq}`) }),
  ]) {
    const taken = new Set<string>()
    for (let ref = 1; ref < 40; ref++) {
      const all = Array.from({ length: 9 }, (_, i) => chooser.choose(rule, message(make(ref, i + 1)), up, 0))
      t.equal(new Set(all).size, 1, `reference ${ref}`)
      taken.add(String(all[0]))
    }
    t.equal(taken.size, 3, 'and references are spread')
  }
})

t.test('segments are counted as the account means its octets', async t => {
  const shop = readProfile({})
  const own = readProfile({ codings: { '0': 'latin1', '2': 'gsm-packed', '4': 'utf8', '8': 'utf16le', '1': 'binary' } })
  const count = (data_coding: number, body: Buffer, profile = own, esm_class = 0) =>
    segmentsOf(message({ data_coding, body, esm_class }), profile)
  t.equal(count(0, Buffer.alloc(160, 0x61), shop), 1)
  t.equal(count(0, Buffer.alloc(161, 0x61), shop), 2)
  t.equal(count(3, Buffer.alloc(141, 0x61), shop), 2)
  t.equal(count(8, encodeUcs2('ж'.repeat(71)), shop), 2)
  t.equal(count(0, Buffer.from('é'.repeat(160), 'latin1')), 1, 'Latin-1 that GSM holds')
  t.equal(count(0, Buffer.from('ç'.repeat(71), 'latin1')), 2, 'and that it does not')
  t.equal(count(2, pack7(Buffer.alloc(160, 0x61))), 1)
  t.equal(count(2, pack7(Buffer.alloc(161, 0x61))), 2)
  t.equal(unpack7(pack7(Buffer.alloc(161, 0x61))).length, 161)
  t.equal(count(4, Buffer.from('ж'.repeat(70))), 1)
  t.equal(count(4, Buffer.from('a'.repeat(160))), 1)
  t.equal(count(8, Buffer.from('ж'.repeat(71), 'utf16le')), 2)
  t.equal(count(1, Buffer.alloc(141, 0x61)), 2)
  t.equal(count(0, Buffer.concat([buildConcatUdh(1, 2, 1, 8), Buffer.alloc(153, 0x61)]), own, UDHI), 1, 'a part is one')
  const marked = message({ data_coding: 0, body: Buffer.from('x') })
  segmentsOf(marked, own)
  t.equal(marked.ownCoding, true)
  const standard = message({ data_coding: 3, body: Buffer.from('x') })
  segmentsOf(standard, own)
  t.equal(standard.ownCoding, false)
})

t.test('octets with a header are one segment where they fit one, and more than anybody may have where not', async t => {
  const shop = readProfile({})
  const own = readProfile({ codings: { '0': 'gsm-packed', '1': 'latin1', '2': 'utf8', '8': 'utf16le' } })
  const header = buildConcatUdh(1, 2, 1, 8)
  const count = (data_coding: number, text: Buffer, profile = shop, head = header) =>
    segmentsOf(message({ data_coding, body: Buffer.concat([head, text]), esm_class: UDHI }), profile)
  const most: [data_coding: number, octets: number, profile?: typeof shop, fill?: number][] = [
    [0, 153],
    [1, 153],
    [1, 76, shop, 0x5b],
    [2, 134],
    [3, 153],
    [8, 134],
    [0, 134, own],
    [1, 153, own],
    [2, 153, own],
    [8, 134, own],
  ]
  for (const [data_coding, octets, profile, fill = 0x61] of most) {
    const title = `${data_coding} of ${octets}`
    t.equal(count(data_coding, Buffer.alloc(octets, fill), profile), 1, title)
    t.equal(
      count(data_coding, Buffer.alloc(octets + 1, fill), profile),
      Number.POSITIVE_INFINITY,
      `${title}, and one more`,
    )
  }
  t.equal(count(2, Buffer.from('ж'.repeat(67)), own), 1, 'UTF-8 of which no GSM is made')
  t.equal(count(2, Buffer.from('ж'.repeat(68)), own), Number.POSITIVE_INFINITY)
  t.equal(count(0, Buffer.alloc(60_000, 0x61), shop, Buffer.from('03240101', 'hex')), Number.POSITIVE_INFINITY)
  t.equal(count(0, Buffer.alloc(155, 0x61), shop, Buffer.from('03240101', 'hex')), 1)
})

t.test('a text of more octets than a record holds has more segments than anybody may have', async t => {
  const profile = readProfile({ smartReplace: true })
  const m = message({ data_coding: 8, body: encodeUcs2('Δ'.repeat(32_600) + '…'.repeat(160)) })
  t.equal(m.body.length, 65_520)
  makePlain(m, profile)
  t.equal(segmentsOf(m, profile), Number.POSITIVE_INFINITY)
  const long = (octets: number) => segmentsOf(message({ isText: true, body: Buffer.alloc(octets, 0x61) }), profile)
  t.equal(long(0xffff), 429)
  t.equal(long(0x10000), Number.POSITIVE_INFINITY)
})

t.test('segments that plain characters save can be told before sending', async t => {
  const fancy = `“${'x'.repeat(100)}”`
  const profile = readProfile({ smartReplace: true, codings: { '8': 'utf16le' } })
  const m = message({ data_coding: 8, body: Buffer.from(fancy, 'utf16le') })
  t.equal(makePlain(m, profile), 1)
  t.same([m.isText, m.body.toString(), m.data_coding], [true, `"${'x'.repeat(100)}"`, 8])
  const part = message({ data_coding: 8, body: Buffer.from(fancy, 'utf16le'), tlvs: sar(1, 2, 1) })
  t.same([makePlain(part, profile), part.isText], [0, false], 'a part that the customer cut stays')
  const whole = message({ data_coding: 8, body: Buffer.from(fancy, 'utf16le'), tlvs: sar(1, 1, 1) })
  t.same([makePlain(whole, profile), whole.isText], [1, true], 'one of one is none')
})
