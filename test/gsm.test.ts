// The text of a message on the wire: alphabets, data_coding, user data headers, segmentation. Expected values are the
// standard's (3GPP TS 23.038, 23.040) or come from an oracle written here in the plainest way.

import fc from 'fast-check'
import t, { type Test } from 'tap'
import {
  decodeGsm,
  decodeLatin1,
  decodeUcs2,
  encodeGsm,
  encodeLatin1,
  encodeUcs2,
  gsmLength,
  isGsm,
  pack7,
  septetsOf,
  unpack7,
} from '../protocols/gsm/alphabet.js'
import { type Coding, chooseCoding, codingOf, codingsWith, decodeText, encodeText } from '../protocols/gsm/coding.js'
import { countSegments, countSegmentsOfText, type How, type Segment, segment } from '../protocols/gsm/segment.js'
import { buildConcatUdh, concatOf, parseUdh } from '../protocols/gsm/udh.js'

const BASIC =
  '@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !"#¤%&\'()*+,-./0123456789:;<=>?' +
  '¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà'
const EXTENDED = '\f^{}\\[~]|€'

const gsmText = (maxLength: number) =>
  fc.string({
    unit: fc.oneof(
      { weight: 3, arbitrary: fc.constantFrom(...BASIC) },
      { weight: 1, arbitrary: fc.constantFrom(...EXTENDED) },
    ),
    maxLength,
    size: 'max',
  })
// Any UTF-16 units, lone surrogates among them, with many good pairs.
const anyText = (maxLength: number) =>
  fc.string({
    unit: fc.oneof(
      { weight: 2, arbitrary: fc.constantFrom('😀', '👩‍🚀', 'ж', 'a') },
      { weight: 1, arbitrary: fc.integer({ min: 0, max: 0xffff }).map(unit => String.fromCharCode(unit)) },
      { weight: 1, arbitrary: fc.constantFrom('\ud83d', '\ude00') },
    ),
    maxLength,
    size: 'max',
  })
const bytes = (maxLength: number) =>
  fc.uint8Array({ maxLength, size: 'max' }).map(array => Buffer.from(array.buffer, array.byteOffset, array.length))
// Bodies thick with ESC, for runs of it at every boundary.
const septets = (maxLength: number) =>
  fc
    .array(fc.oneof(fc.constant(0x1b), fc.integer({ min: 0, max: 0x7f })), { maxLength, size: 'max' })
    .map(array => Buffer.from(array))

const zero = (coding: Coding) => codingsWith({ '0': coding })

function holds<T>(t: Test, claim: string, property: fc.IProperty<T>, numRuns = 100): void {
  const run = fc.check(property, { numRuns })
  t.notOk(run.failed, claim, { report: fc.defaultReportMessage(run) })
}

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('expected a value')
  return value
}

t.test('the default alphabet gives each character the code its place in the table says', async t => {
  const table = `${BASIC.slice(0, 27)}\u001b${BASIC.slice(27)}`
  t.equal(table.length, 128)
  for (let code = 0; code < 128; code++) {
    if (code === 0x1b) continue
    const character = table.charAt(code)
    t.same(encodeGsm(character), Buffer.from([code]), `U+${character.charCodeAt(0).toString(16)}`)
    t.equal(decodeGsm(Buffer.from([code])), character)
  }
  for (const [character, code] of [
    ['@', 0x00],
    ['$', 0x02],
    ['Δ', 0x10],
    ['_', 0x11],
    ['Ξ', 0x1a],
    ['É', 0x1f],
    ['¤', 0x24],
    ['¡', 0x40],
    ['§', 0x5f],
    ['¿', 0x60],
    ['à', 0x7f],
  ] as const) {
    t.same(encodeGsm(character), Buffer.from([code]))
  }
})

t.test('a character of the extension table takes ESC and one more septet', async t => {
  for (const [character, code] of [
    ['\f', 0x0a],
    ['^', 0x14],
    ['{', 0x28],
    ['}', 0x29],
    ['\\', 0x2f],
    ['[', 0x3c],
    ['~', 0x3d],
    [']', 0x3e],
    ['|', 0x40],
    ['€', 0x65],
  ] as const) {
    t.same(encodeGsm(character), Buffer.from([0x1b, code]), character)
    t.equal(decodeGsm(Buffer.from([0x1b, code])), character)
    t.equal(gsmLength(character), 2)
    t.equal(septetsOf(character.charCodeAt(0)), 2)
  }
  t.same(encodeGsm('a{b€'), Buffer.from([0x61, 0x1b, 0x28, 0x62, 0x1b, 0x65]))
})

t.test('a character outside the alphabet makes the whole text unencodable', async t => {
  for (const character of ['`', 'ç', 'Á', 'ж', '\u001b', '\t', '\u00a0', 'Ͽ', '\u0400', '😀', '₭', '\uffff']) {
    t.equal(encodeGsm(`{ok ${character}`), undefined, character)
    t.equal(encodeGsm(character), undefined)
    t.equal(gsmLength(`ok ${character}`), -1)
    t.equal(isGsm(character), false)
    t.equal(septetsOf(character.charCodeAt(0)), 0)
  }
  t.same(encodeGsm(''), Buffer.alloc(0))
  t.equal(gsmLength(''), 0)
})

t.test('ESC before an undefined code shows the code, ESC ESC and a last ESC show a space', async t => {
  t.equal(decodeGsm(Buffer.from([0x1b, 0x41])), 'A')
  t.equal(decodeGsm(Buffer.from([0x1b, 0x00])), '@')
  t.equal(decodeGsm(Buffer.from([0x1b, 0x0d])), '\r')
  t.equal(decodeGsm(Buffer.from([0x1b, 0x1b, 0x28])), ' (', 'the second ESC opens nothing')
  t.equal(decodeGsm(Buffer.from([0x1b, 0x1b, 0x1b, 0x28])), ' {')
  t.equal(decodeGsm(Buffer.from([0x61, 0x1b])), 'a ')
  t.equal(decodeGsm(Buffer.from([0x61, 0x80, 0x1b, 0xff, 0x62])), 'a\ufffd\ufffdb', 'no octet above 7F is a septet')
  t.equal(decodeGsm(Buffer.alloc(3)), '@@@', 'zeros are text')
})

t.test('decoding gives back what was encoded', async t => {
  holds(
    t,
    'GSM',
    fc.property(gsmText(2500), text => {
      const octets = present(encodeGsm(text))
      return octets.length === gsmLength(text) && decodeGsm(octets) === text && decodeText(octets, 0) === text
    }),
    150,
  )
  holds(
    t,
    'UCS-2',
    fc.property(anyText(2500), text => decodeUcs2(encodeUcs2(text)) === text),
  )
  holds(
    t,
    'Latin-1',
    fc.property(bytes(500), octets => {
      const text = decodeLatin1(octets)
      return present(encodeLatin1(text)).equals(octets) && decodeText(octets, 3) === text
    }),
  )
  holds(
    t,
    'in the coding chosen',
    fc.property(
      fc.oneof(gsmText(200), anyText(100)),
      fc.constantFrom('gsm' as const, 'latin1' as const),
      (text, prefer) => {
        const { coding, data_coding } = chooseCoding(text, prefer)
        const read = decodeText(present(encodeText(text, coding)), data_coding)
        return read === (coding === 'ucs2' && text.startsWith('\ufeff') ? text.slice(1) : text) || text[0] === '\ufffe'
      },
    ),
  )
  for (const text of ['x'.repeat(1024), 'é'.repeat(1025), `${'Ω'.repeat(1024)}x`, `${'x'.repeat(1023)}€`]) {
    t.equal(decodeGsm(present(encodeGsm(text))), text)
    t.equal(decodeUcs2(encodeUcs2(text)), text)
  }
})

t.test('UCS-2 is big-endian, keeps surrogates, and half a unit at the end is no character', async t => {
  t.same(encodeUcs2('Aж😀'), Buffer.from('00410436d83dde00', 'hex'))
  t.same(encodeUcs2('\ud83d'), Buffer.from('d83d', 'hex'))
  t.equal(decodeUcs2(Buffer.from('004104', 'hex')), 'A')
  t.equal(decodeUcs2(Buffer.from('00', 'hex')), '')
  t.equal(encodeLatin1('€'), undefined)
  t.same(encodeLatin1('ÿ'), Buffer.from([0xff]))
})

t.test('packing gives the standard octets', async t => {
  t.equal(pack7(Buffer.from('hellohello')).toString('hex'), 'e8329bfd4697d9ec37')
  t.equal(pack7(Buffer.from('1')).toString('hex'), '31')
  t.equal(
    pack7(Buffer.from('a'), 6).toString('hex'),
    'c2',
    'one fill bit after the six octets of an 8-bit concatenation',
  )
  t.equal(pack7(Buffer.from('a'), 7).toString('hex'), '61', 'none after seven')
  t.equal(pack7(Buffer.from('a'.repeat(160))).length, 140)
  t.equal(6 + pack7(Buffer.from('a'.repeat(153)), 6).length, 140)
  t.equal(7 + pack7(Buffer.from('a'.repeat(152)), 7).length, 140)
  t.equal(pack7(Buffer.alloc(0), 6).length, 0)
})

t.test('seven spare bits are filled with CR, and a CR at the octet boundary is doubled', async t => {
  const seven = pack7(Buffer.from('1234567'))
  t.equal(seven.length, 7)
  t.equal((seven[6] as number) >> 1, 0x0d)
  t.same(unpack7(seven), Buffer.from('1234567'), 'the CR is padding')
  t.same(unpack7(pack7(Buffer.from('12345678'))), Buffer.from('12345678'))
  t.equal(pack7(Buffer.from('1234567\r')).length, 8)
  t.same(unpack7(pack7(Buffer.from('1234567\r'))), Buffer.from('1234567\r\r'), 'which shows as one')
  t.same(unpack7(pack7(Buffer.from('1234567\r')), 0, 8), Buffer.from('1234567\r'))
  t.equal(pack7(Buffer.from(`${'a'.repeat(159)}\r`)).length, 140, 'a full message has no room for a second CR')
  t.same(unpack7(seven, 0, 8), Buffer.from('1234567\r'), 'with a count nothing is guessed')
  t.same(unpack7(seven, 0, 99), Buffer.from('1234567\r'), 'nor more than there is')
})

t.test('packing agrees with shifting one long number, and unpacking undoes it', async t => {
  holds(
    t,
    'any septets behind any header',
    fc.property(septets(200), fc.integer({ min: 0, max: 20 }), (body, header) => {
      const packed = pack7(body, header)
      const offset = Math.ceil((header * 8) / 7) * 7 - header * 8
      let number = 0n
      for (let i = body.length - 1; i >= 0; i--) number = (number << 7n) | BigInt(body[i] as number)
      number <<= BigInt(offset)
      const used = body.length === 0 ? 0 : Math.ceil((offset + body.length * 7) / 8)
      for (let i = 0; i < used; i++) {
        const octet = Number((number >> BigInt(i * 8)) & 0xffn)
        const padding = i === used - 1 && (offset + body.length * 7) % 8 === 1 ? 0x0d << 1 : 0
        if (packed[i] !== (octet | padding)) return false
      }
      if (packed.length > used + 1 || !unpack7(packed, header, body.length).equals(body)) return false
      return body.at(-1) === 0x0d || unpack7(packed, header).equals(body)
    }),
    300,
  )
})

t.test('a data_coding names the coding of SMPP, of TS 23.038 above 0x0F, and never nothing', async t => {
  const named: Record<number, Coding> = {
    0: 'gsm',
    1: 'ascii',
    2: 'binary',
    3: 'latin1',
    4: 'binary',
    5: 'shift-jis',
    6: 'iso-8859-5',
    7: 'iso-8859-8',
    8: 'ucs2',
    9: 'binary',
    10: 'iso-2022-jp',
    13: 'euc-jp',
    14: 'euc-kr',
    16: 'gsm',
    20: 'binary',
    24: 'ucs2',
    33: 'binary', // compressed
    80: 'gsm', // 0x50: marked for deletion, class 0
    88: 'ucs2',
    192: 'gsm',
    200: 'gsm',
    208: 'gsm',
    224: 'ucs2',
    239: 'ucs2',
    240: 'gsm',
    241: 'gsm',
    244: 'binary',
    245: 'binary',
    255: 'binary',
  }
  for (const [data_coding, coding] of Object.entries(named)) t.equal(codingOf(Number(data_coding)), coding, data_coding)
  for (let data_coding = 0; data_coding < 256; data_coding++) t.type(codingOf(data_coding), 'string')
  t.equal(codingOf(256), 'binary')
  t.equal(codingOf(0, zero('latin1')), 'latin1')
  t.equal(codingOf(3, zero('gsm')), 'latin1')
})

t.test('octets read as the text their data_coding says', async t => {
  t.equal(decodeText(Buffer.from([0x00, 0x1b, 0x65]), 0), '@€')
  t.equal(decodeText(Buffer.from([0x00, 0x1b, 0x65]), 0xf0), '@€')
  t.equal(decodeText(Buffer.from([0x40, 0xe9, 0x80]), 0, zero('latin1')), '@é\u0080')
  t.equal(decodeText(Buffer.from([0x40, 0xe9, 0x80]), 0, zero('ascii')), '@é\u0080')
  t.equal(decodeText(Buffer.from([0x80, 0x41, 0xe9, 0x99, 0x9f, 0x42]), 0, zero('windows-1252')), '€Aé™ŸB')
  t.equal(decodeText(Buffer.from('$@'), 1), '$@')
  t.equal(decodeText(Buffer.from([0x41, 0xff]), 4), 'Aÿ')
  t.equal(decodeText(Buffer.from([0xbf, 0xe0, 0xd8]), 6), 'При')
  t.equal(decodeText(Buffer.from([0xf9, 0xec, 0xe5, 0xed]), 7), 'שלום')
  t.equal(decodeText(Buffer.from([0x93, 0xfa, 0x96, 0x7b]), 5), '日本')
  t.equal(decodeText(Buffer.from([0xc7, 0xd1, 0xb1, 0xdb]), 14), '한글')
  t.equal(decodeText(Buffer.from('04160410', 'hex'), 8), 'ЖА')
  t.equal(decodeText(Buffer.from('04160410', 'hex'), 0x18), 'ЖА')
  t.equal(decodeText(Buffer.from('feff0416', 'hex'), 8), 'Ж', 'a byte order mark is no text')
  t.equal(decodeText(Buffer.from('fffe1604', 'hex'), 8), 'Ж', 'and says when the writer is little-endian')
  t.equal(decodeText(Buffer.from('ff', 'hex'), 8), '')
})

t.test('GSM is chosen where it holds the text, Latin-1 only on request and only where GSM holds it too', async t => {
  t.same(chooseCoding('hello {€}'), { data_coding: 0, coding: 'gsm' })
  t.same(chooseCoding('привет'), { data_coding: 8, coding: 'ucs2' })
  t.same(chooseCoding('ça va'), { data_coding: 8, coding: 'ucs2' })
  t.same(chooseCoding('ça va', 'latin1'), { data_coding: 8, coding: 'ucs2' }, 'GSM has no ç, so it would be dropped')
  t.same(chooseCoding('Grüße', 'latin1'), { data_coding: 3, coding: 'latin1' })
  t.same(chooseCoding('5 €', 'latin1'), { data_coding: 0, coding: 'gsm' }, 'Latin-1 has no euro')
  t.same(chooseCoding('Ω', 'latin1'), { data_coding: 0, coding: 'gsm' })
  t.same(chooseCoding(''), { data_coding: 0, coding: 'gsm' })
})

t.test('a concatenation element of either size is found, wherever it stands', async t => {
  t.same(concatOf(Buffer.from('0500032a0201', 'hex')), { ref: 0x2a, total: 2, seq: 1, bits: 8 })
  t.same(concatOf(Buffer.from('06080412340303', 'hex')), { ref: 0x1234, total: 3, seq: 3, bits: 16 })
  const ports = present(parseUdh(Buffer.from('11050415b300002501032401010003070504cafe', 'hex')))
  t.same(ports.concat, { ref: 7, total: 5, seq: 4, bits: 8 })
  t.equal(ports.length, 18)
  t.equal(ports.lockingShift, 3)
  t.equal(ports.singleShift, 1)
  t.same(
    ports.elements.map(element => element.iei),
    [0x05, 0x25, 0x24, 0x00],
  )
  t.same(ports.elements[0]?.octets, Buffer.from('15b30000', 'hex'))
  const none = present(parseUdh(Buffer.from('0041', 'hex')))
  t.same([none.length, none.elements.length, none.concat], [1, 0, undefined], 'a header may be empty')
})

t.test('a concatenation element that says nothing valid leaves a single message', async t => {
  for (const hex of ['0500032a0200', '0500032a0203', '0500032a0001', '0500032a0000', '06080412340004', '0400022a01']) {
    t.equal(concatOf(Buffer.from(hex, 'hex')), undefined, hex)
    const udh = present(parseUdh(Buffer.from(hex, 'hex')))
    t.equal(udh.concat, undefined)
    t.equal(udh.elements.length, 1, 'the element itself is still there')
  }
  t.same(
    concatOf(Buffer.from('0b0003010201080400090302', 'hex')),
    { ref: 9, total: 3, seq: 2, bits: 16 },
    'of two the last holds',
  )
  t.equal(concatOf(Buffer.from('0a00030102010003020300', 'hex'))?.ref, 1, 'unless it is not valid')
})

t.test('a header that runs over its end is no header', async t => {
  for (const hex of [
    '',
    '05',
    '0500032a02',
    '0500042a0201',
    '0500022a0201',
    '0100',
    '030003',
    'ff00032a0201',
    '0200ff',
  ]) {
    t.equal(parseUdh(Buffer.from(hex, 'hex')), undefined, hex)
    t.equal(concatOf(Buffer.from(hex, 'hex')), undefined, hex)
  }
})

t.test('a built header reads back, its reference wrapped to its width', async t => {
  t.equal(buildConcatUdh(0x1ff, 4, 2, 8).toString('hex'), '050003ff0402')
  t.equal(buildConcatUdh(0x11ff, 4, 2, 16).toString('hex'), '06080411ff0402')
  holds(
    t,
    'any reference, total and number',
    fc.property(
      fc.nat(200_000),
      fc.integer({ min: 1, max: 255 }),
      fc.integer({ min: 1, max: 255 }),
      fc.constantFrom(8 as const, 16 as const),
      (ref, total, any, bits) => {
        const seq = 1 + (any % total)
        const found = present(concatOf(Buffer.concat([buildConcatUdh(ref, total, seq, bits), Buffer.from('text')])))
        return found.ref === ref % 2 ** bits && found.total === total && found.seq === seq && found.bits === bits
      },
    ),
  )
})

t.test('nothing a peer can send makes a reader throw', async t => {
  const hostile = fc.oneof(
    bytes(300),
    // Headers that are nearly right: elements with lengths near what is there.
    fc
      .array(fc.oneof(fc.constantFrom(0, 1, 2, 3, 4, 5, 6, 8, 0x24, 0x25, 0x1b, 0xd8, 0xff), fc.nat(255)), {
        maxLength: 24,
      })
      .map(array => Buffer.from(array)),
  )
  holds(
    t,
    'any octets, any data_coding',
    fc.property(hostile, fc.nat(255), fc.nat(20), (octets, data_coding, header) => {
      const udh = parseUdh(octets)
      const inBounds =
        udh === undefined ||
        (udh.length <= octets.length &&
          1 + udh.elements.reduce((sum, element) => sum + 2 + element.octets.length, 0) === udh.length)
      decodeText(octets, data_coding)
      decodeText(octets, 0, zero('windows-1252'))
      unpack7(octets, header)
      pack7(octets, header)
      const coding = codingOf(data_coding)
      return (
        inBounds &&
        JSON.stringify(udh?.concat) === JSON.stringify(concatOf(octets)) &&
        countSegments(octets, coding) >= 1 &&
        segment(octets, coding, 'udh8', header) !== undefined
      )
    }),
    2000,
  )
})

const HOWS: readonly How[] = ['udh8', 'udh16', 'sar', 'payload']

function sizes(segments: Segment[] | undefined): number[] {
  return present(segments).map(part => part.octets.length)
}

t.test('each coding and way of cutting has the capacity of the standard', async t => {
  const a = (count: number) => Buffer.alloc(count, 0x61)
  for (const how of HOWS) {
    for (const [coding, most] of [
      ['gsm', 160],
      ['ascii', 160],
      ['latin1', 140],
      ['binary', 140],
      ['ucs2', 140],
    ] as const) {
      const body = a(most)
      const parts = present(segment(body, coding, how, 1))
      t.equal(parts.length, 1, `${most} of ${coding} are one message for ${how}`)
      t.equal(parts[0]?.octets, body, 'the body itself')
      t.same([parts[0]?.udhi, parts[0]?.sar, parts[0]?.payload], [false, undefined, undefined])
    }
  }
  t.same(sizes(segment(a(161), 'gsm', 'udh8', 1)), [6 + 153, 6 + 8])
  t.same(sizes(segment(a(161), 'gsm', 'udh16', 1)), [7 + 152, 7 + 9])
  t.same(sizes(segment(a(161), 'gsm', 'sar', 1)), [153, 8])
  t.same(sizes(segment(a(161), 'gsm', 'sar', 256)), [152, 9], 'this reference needs a 16-bit header on the radio')
  t.same(sizes(segment(a(161), 'gsm', 'payload', 1)), [161])
  t.same(sizes(segment(a(161), 'ascii', 'udh8', 1)), [159, 14])
  t.same(sizes(segment(a(141), 'latin1', 'udh8', 1)), [140, 13])
  t.same(sizes(segment(a(141), 'binary', 'udh16', 1)), [140, 15])
  t.same(sizes(segment(a(142), 'ucs2', 'udh8', 1)), [6 + 2 * 67, 6 + 2 * 4])
  t.same(sizes(segment(a(142), 'ucs2', 'udh16', 1)), [7 + 2 * 66, 7 + 2 * 5])
  t.same(sizes(segment(a(141), 'latin1', 'udh8', 1, 139)), [139, 14], 'a link that needs a spare octet')
  t.same(sizes(segment(a(142), 'ucs2', 'udh8', 1, 139)), [6 + 132, 6 + 10], 'stays even')
  t.same(sizes(segment(a(159), 'gsm', 'udh8', 1, 139)), [6 + 152, 6 + 7])
  t.same(sizes(segment(Buffer.alloc(0), 'gsm', 'udh8', 1)), [0], 'an empty message is a message')
})

t.test('a part says which it is: in its header, or in sar', async t => {
  const body = Buffer.alloc(400, 0x61)
  t.same(
    present(segment(body, 'gsm', 'udh8', 0x1a5)).map(part => [part.udhi, part.octets.subarray(0, 6).toString('hex')]),
    [
      [true, '050003a50301'],
      [true, '050003a50302'],
      [true, '050003a50303'],
    ],
  )
  t.equal(
    present(segment(body, 'gsm', 'udh16', 0x1a5))[2]
      ?.octets.subarray(0, 7)
      .toString('hex'),
    '06080401a50303',
  )
  t.same(
    present(segment(body, 'gsm', 'sar', 0x100a5)).map(part => [part.udhi, part.sar]),
    [
      [false, { ref: 0xa5, total: 3, seq: 1 }],
      [false, { ref: 0xa5, total: 3, seq: 2 }],
      [false, { ref: 0xa5, total: 3, seq: 3 }],
    ],
  )
  const [payload] = present(segment(body, 'gsm', 'payload', 1))
  t.same([payload?.payload, payload?.udhi, payload?.sar, payload?.octets === body], [true, false, undefined, true])
})

t.test('an escape pair and a surrogate pair at the boundary go to the next part whole', async t => {
  const text = `${'a'.repeat(152)}€${'b'.repeat(10)}`
  t.same(sizes(segment(present(encodeGsm(text)), 'gsm', 'udh8', 1)), [6 + 152, 6 + 12])
  const runs = Buffer.concat([Buffer.alloc(151, 0x61), Buffer.from([0x1b, 0x1b, 0x28]), Buffer.alloc(10, 0x62)])
  t.same(sizes(segment(runs, 'gsm', 'udh8', 1)), [6 + 153, 6 + 11], 'ESC ESC fits, and opens nothing')
  const emoji = `${'ж'.repeat(66)}😀${'ж'.repeat(10)}`
  t.same(sizes(segment(encodeUcs2(emoji), 'ucs2', 'udh8', 1)), [6 + 2 * 66, 6 + 2 * 12])
  t.same(sizes(segment(encodeUcs2(`ж${emoji}`), 'ucs2', 'udh8', 1)), [6 + 2 * 67, 6 + 2 * 12])
  t.same(sizes(segment(encodeUcs2(emoji), 'ucs2', 'udh16', 1)), [7 + 2 * 66, 7 + 2 * 12])
  const alone = `${'ж'.repeat(66)}\ud83d${'ж'.repeat(10)}`
  t.same(sizes(segment(encodeUcs2(alone), 'ucs2', 'udh8', 1)), [6 + 2 * 67, 6 + 2 * 10], 'half a pair is no pair')
  const braces = Buffer.from('{'.repeat(81))
  t.same(sizes(segment(braces, 'ascii', 'udh8', 1)), [6 + 76, 6 + 5], 'an ASCII brace is two septets on the radio')
})

t.test('a message of more than 255 parts is refused, whatever the way', async t => {
  for (const how of HOWS) {
    t.equal(
      present(segment(Buffer.alloc(255 * 152, 0x61), 'gsm', how, 1)).length,
      how === 'payload' ? 1 : how === 'udh16' ? 255 : 254,
    )
    t.equal(segment(Buffer.alloc(255 * 153 + 1, 0x61), 'gsm', how, 1), undefined)
  }
  t.equal(segment(Buffer.alloc(255 * 153, 0x61), 'gsm', 'udh8', 1)?.length, 255)
  t.equal(segment(Buffer.alloc(255 * 153, 0x61), 'gsm', 'udh16', 1), undefined)
  t.equal(countSegments(Buffer.alloc(255 * 153 + 1, 0x61), 'gsm'), 256, 'counting goes on')
  for (const maxOctets of [-1, 0, 1, 6, 7, 8]) {
    t.equal(segment(Buffer.alloc(200, 0x1b), 'gsm', 'udh16', 1, maxOctets), undefined, 'no room for a character')
  }
})

t.test('joined parts are the body, none is over its capacity, none is cut within a character', async t => {
  const ways = fc.constantFrom(...HOWS)
  const ref = fc.oneof(fc.nat(255), fc.nat(0x1ffff))
  const body = fc.oneof(
    septets(2000).map(octets => ({ octets, coding: 'gsm' as Coding })),
    gsmText(1000).map(text => ({ octets: present(encodeGsm(text)), coding: 'gsm' as Coding })),
    gsmText(600).map(text => ({ octets: Buffer.from(text, 'latin1'), coding: 'ascii' as Coding })),
    anyText(700).map(text => ({ octets: encodeUcs2(text), coding: 'ucs2' as Coding })),
    bytes(1500).map(octets => ({ octets, coding: 'binary' as Coding })),
    bytes(701).map(octets => ({ octets, coding: 'ucs2' as Coding })),
  )
  holds(
    t,
    'any body, every way',
    fc.property(body, ways, ref, fc.constantFrom(undefined, 139, 120), ({ octets, coding }, how, ref, maxOctets) => {
      const parts = present(segment(octets, coding, how, ref, maxOctets))
      const room = maxOctets ?? 140
      const bits = how === 'udh8' || (how === 'sar' && (ref & 0xffff) < 256) ? 8 : 16
      const texts = parts.map((part, index) => {
        if (!part.udhi) {
          const { sar } = part
          if (how === 'sar' && parts.length > 1) {
            if (sar?.ref !== (ref & 0xffff) || sar.total !== parts.length || sar.seq !== index + 1)
              throw new Error('sar')
          } else if (sar !== undefined) throw new Error('sar of nothing')
          return part.octets
        }
        const udh = present(parseUdh(part.octets))
        const { concat } = udh
        if (concat?.ref !== ref % 2 ** bits || concat.total !== parts.length || concat.seq !== index + 1) {
          throw new Error('concatenation')
        }
        return part.octets.subarray(udh.length)
      })
      if (!Buffer.concat(texts).equals(octets)) return false
      if (how === 'payload') return parts.length === 1
      const header = parts.length === 1 ? 0 : bits === 8 ? 6 : 7
      return texts.every((text, index) => {
        const last = index === texts.length - 1
        if (coding === 'gsm') {
          let at = 0
          while (at < text.length) at += text[at] === 0x1b ? 2 : 1
          return text.length <= 160 - Math.ceil(((140 - room + header) * 8) / 7) && (last || at === text.length)
        }
        if (coding === 'ascii') {
          const cost = text.reduce((sum, octet) => sum + (septetsOf(octet) === 2 ? 2 : 1), 0)
          return cost <= 160 - Math.ceil(((140 - room + header) * 8) / 7)
        }
        if (text.length > room - header) return false
        if (coding !== 'ucs2' || last) return true
        const splitsPair =
          /[\ud800-\udbff]$/.test(decodeUcs2(text)) && /^[\udc00-\udfff]/.test(decodeUcs2(texts[index + 1] as Buffer))
        return text.length % 2 === 0 && !splitsPair
      })
    }),
    500,
  )
})

// Characters one by one into parts of 153 septets or 67 units.
function plainCount(text: string): number {
  const gsm = isGsm(text)
  const characters = gsm
    ? [...text].map(character => gsmLength(character))
    : [...text].map(character => character.length)
  const sum = characters.reduce((total, size) => total + size, 0)
  if (sum <= (gsm ? 160 : 70)) return 1
  const room = gsm ? 153 : 67
  let parts = 1
  let used = 0
  for (const size of characters) {
    if (used + size > room) {
      parts++
      used = 0
    }
    used += size
  }
  return parts
}

t.test('text, its octets and its parts count the same', async t => {
  for (const [text, parts] of [
    ['', 1],
    ['a'.repeat(160), 1],
    ['a'.repeat(161), 2],
    ['{'.repeat(80), 1],
    [`${'{'.repeat(80)}a`, 2],
    ['a'.repeat(306), 2],
    ['a'.repeat(307), 3],
    [`${'a'.repeat(152)}€${'a'.repeat(152)}`, 3], // 306 septets, but the pair leaves one of the first part unused
    ['ж'.repeat(70), 1],
    ['ж'.repeat(71), 2],
    ['ж'.repeat(134), 2],
    ['ж'.repeat(135), 3],
    ['😀'.repeat(35), 1],
    ['😀'.repeat(36), 2],
    ['😀'.repeat(67), 3],
  ] as const) {
    t.equal(countSegmentsOfText(text), parts, `${text.slice(0, 3)} × ${text.length}`)
  }
  holds(
    t,
    'any text',
    fc.property(fc.oneof(gsmText(1200), anyText(600)), text => {
      const { coding } = chooseCoding(text)
      const octets = present(encodeText(text, coding))
      const count = countSegmentsOfText(text)
      return (
        count === plainCount(text) &&
        count === countSegments(octets, coding) &&
        count === present(segment(octets, coding, 'udh8', 7)).length
      )
    }),
    400,
  )
})
