// National language tables, the readings of data_coding, and plain characters for typographic ones. The tables are held
// against digests of two lists that agree in every place (AOSP's GsmAlphabet.java, Mozilla's ril_consts.js) and against
// words of the languages; all else against the standard (3GPP TS 23.038, 23.040) or a plain oracle written here.

import { createHash } from 'node:crypto'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { decodeGsm, encodeGsm, encodeUcs2, isGsm, unpack7 } from '../protocols/gsm/alphabet.js'
import {
  classOf,
  codingOf,
  codingsWith,
  decodeAs,
  decodeUserData,
  encodeText,
  sameClass,
  standardCodings,
  type TextCoding,
} from '../protocols/gsm/coding.js'
import { plainText } from '../protocols/gsm/lookalike.js'
import { LAST_LANGUAGE, lockingTable, singleTable } from '../protocols/gsm/national.js'
import { onRadio, onWire } from '../protocols/gsm/radio.js'
import { chooseShifts, countSegmentsOfText, segment } from '../protocols/gsm/segment.js'
import { decodeShifted, encodeShifted, type Shifts, shiftElements, shiftsFor } from '../protocols/gsm/shift.js'
import { parseUdh } from '../protocols/gsm/udh.js'

function holds<T>(t: Test, claim: string, property: fc.IProperty<T>, numRuns = 100): void {
  const run = fc.check(property, { numRuns })
  t.notOk(run.failed, claim, { report: fc.defaultReportMessage(run) })
}

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('expected a value')
  return value
}

/** SHA-256, its first 16 digits, of the 128 characters with a space for each gap. */
const DIGESTS: readonly (readonly [language: number, locking: string, single: string])[] = [
  [1, '7ee550059e619424', 'f7220d1cb3fbb6bc'],
  [2, '', 'ead4990331eb0b68'],
  [3, 'ea0159b85b82a684', 'bdd0fd1a21e6c7be'],
  [4, 'b9468b826a653aa1', '0f1647a2d5472554'],
  [5, '4fc54935b740d714', '6383ae39f7f043fd'],
  [6, '14cb275812a39935', '8d02cb6f6b72a39c'],
  [7, '0795e0befcc95611', '9af2baa943ffd8e1'],
  [8, '64fdea74d98bc079', 'dbff586704af3772'],
  [9, '8c628188b97f5a46', 'fc6277aad0e90085'],
  [10, 'd726d6a43a96712d', '5382948007c95917'],
  [11, 'b616ad5256f8baf6', '8797147aae3e7c93'],
  [12, '8eb349f449e034ea', '85c1b2ed2b97e6c8'],
  [13, 'e13697b82e71df5e', 'f4326557a3ecfcc0'],
]

const charactersOf = (table: Uint16Array | undefined): string =>
  table === undefined ? '' : Array.from(table, unit => (unit === 0 ? ' ' : String.fromCharCode(unit))).join('')
const digestOf = (table: Uint16Array | undefined): string =>
  table === undefined ? '' : createHash('sha256').update(charactersOf(table)).digest('hex').slice(0, 16)

t.test('every table is the one that two other lists of the standard have', async t => {
  t.equal(DIGESTS.length, LAST_LANGUAGE)
  for (const [language, locking, single] of DIGESTS) {
    t.equal(digestOf(lockingTable(language)), locking, `locking ${language}`)
    t.equal(digestOf(singleTable(language)), single, `single ${language}`)
  }
  t.equal(lockingTable(2), undefined, 'Spanish has no locking table')
  t.equal(lockingTable(14), undefined)
  t.equal(singleTable(14), undefined)
})

t.test('every table keeps LF, CR, ESC and the space, and the comma and full stop of its locking table', async t => {
  for (let language = 0; language <= LAST_LANGUAGE; language++) {
    const locking = lockingTable(language)
    if (locking === undefined) continue
    t.same([locking[0x0a], locking[0x0d], locking[0x1b], locking[0x20]], [10, 13, 0, 32], `locking ${language}`)
    t.equal(String.fromCharCode(locking[0x2c] as number, locking[0x2e] as number), ',.')
    t.equal(charactersOf(locking).slice(0x30, 0x3c), '0123456789:;')
    t.equal(charactersOf(locking).slice(0x61, 0x7b), 'abcdefghijklmnopqrstuvwxyz')
  }
  for (let language = 0; language <= LAST_LANGUAGE; language++) {
    const single = present(singleTable(language))
    t.same([single[0x0d], single[0x1b]], [0, 0], `single ${language}`)
    for (const [code, character] of Object.entries({ 10: '\f', 20: '^', 40: '{', 41: '}', 47: '\\', 60: '[' })) {
      t.equal(single[Number(code)], character.charCodeAt(0))
    }
    for (const [code, character] of Object.entries({ 61: '~', 62: ']', 64: '|', 101: '€' })) {
      t.equal(single[Number(code)], character.charCodeAt(0))
    }
  }
})

/** Characters at their codes, for each table; and words that each language must be able to write. */
const SPOTS: readonly [
  language: number,
  locking: Record<number, string>,
  single: Record<number, string>,
  words: string,
][] = [
  [
    1,
    { 4: '€', 7: 'ı', 11: 'Ğ', 12: 'ğ', 28: 'Ş', 29: 'ş', 64: 'İ', 96: 'ç' },
    { 71: 'Ğ', 99: 'ç' },
    'İğne çıkışı, şöyle: ĞÜŞ €5',
  ],
  [
    2,
    {},
    { 9: 'ç', 65: 'Á', 73: 'Í', 79: 'Ó', 85: 'Ú', 97: 'á', 105: 'í', 111: 'ó', 117: 'ú' },
    '¿Qué tal está Ángela? Acción',
  ],
  [
    3,
    { 18: 'ª', 21: '∞', 23: '\\', 24: '€', 36: 'º', 96: '~', 125: '`' },
    { 5: 'ê', 123: 'ã', 124: 'õ', 127: 'â' },
    'Não, São João: ações, você, Ênfase',
  ],
  [4, { 0: '\u0981', 96: '\u09ce', 124: '\u09dc' }, { 25: '\u09e6', 36: '\u09df', 52: '\u09fa' }, 'আমার বাংলা, ভালো'],
  [5, { 12: '\u0a8d', 127: '\u0af1' }, { 25: '\u0964', 28: '\u0ae6', 37: '\u0aef' }, 'મારું ગુજરાત સરસ'],
  [6, { 12: '\u090d', 96: '\u0950', 127: '\u097f' }, { 28: '\u0966', 44: '\u0958', 58: '\u0971' }, 'नमस्ते, आप कैसे हैं?'],
  [7, { 1: '\u0c82', 96: '\u0cd5' }, { 38: '\u0cde', 42: '\u0cf2' }, 'ನಮಸ್ಕಾರ ಕನ್ನಡ'],
  [8, { 1: '\u0d02', 127: '\u0d79' }, { 38: '\u0d70', 52: '\u0d7f' }, 'നമസ്കാരം മലയാളം'],
  [9, { 0: '\u0b01', 96: '\u0b56' }, { 38: '\u0b5c', 44: '\u0b71' }, 'ନମସ୍କାର ଓଡିଆ'],
  [10, { 0: '\u0a01', 123: '\u0a70' }, { 38: '\u0a59', 45: '\u0a75' }, 'ਸਤ ਸ੍ਰੀ ਅਕਾਲ'],
  [11, { 1: '\u0b82', 60: '\u0ba9', 127: '\u0bf9' }, { 38: '\u0bf3', 46: '\u0bfa' }, 'வணக்கம் தமிழ்'],
  [12, { 0: '\u0c01', 96: '\u0c55' }, { 38: '\u0c58', 50: '\u0c7f' }, 'నమస్కారం తెలుగు'],
  [13, { 0: '\u0627', 71: '\u06a9', 96: '\u0654' }, { 25: '\u0600', 63: '\u06d4' }, 'پاکستان میں خوش'],
]

t.test('each language writes its words with its tables, and reads them back', async t => {
  t.equal(SPOTS.length, LAST_LANGUAGE)
  for (const [language, locking, single, words] of SPOTS) {
    for (const [code, character] of Object.entries(locking)) {
      t.equal(lockingTable(language)?.[Number(code)], character.charCodeAt(0), `locking ${language}, ${code}`)
    }
    for (const [code, character] of Object.entries(single)) {
      t.equal(singleTable(language)?.[Number(code)], character.charCodeAt(0), `single ${language}, ${code}`)
    }
    t.equal(isGsm(words), false)
    const [cheapest] = shiftsFor(words, [language])
    const { shifts, septets } = present(cheapest)
    const octets = present(encodeShifted(words, shifts))
    t.equal(octets.length, septets)
    t.equal(decodeShifted(octets, shifts), words, `${language} with ${JSON.stringify(shifts)}`)
    t.equal(encodeShifted(words, { locking: 0, single: 0 }), undefined)
  }
})

t.test('what a table leaves open reads as the standard says', async t => {
  const turkish = { locking: 1, single: 1 }
  t.equal(decodeShifted(Buffer.from([0x1b, 0x61]), turkish), 'a', 'the locking table’s character')
  t.equal(decodeShifted(Buffer.from([0x1b, 0x07]), turkish), 'ı')
  t.equal(decodeShifted(Buffer.from([0x1b, 0x1b, 0x61, 0x1b]), turkish), ' a ')
  t.equal(decodeShifted(Buffer.from([0x00]), { locking: 7, single: 0 }), ' ', 'a gap of Kannada')
  t.equal(decodeShifted(Buffer.from([0xe9]), turkish), '\ufffd')
  t.equal(decodeShifted(Buffer.from([0x40, 0x1b, 0x65]), { locking: 99, single: 99 }), '¡€', 'a table nobody knows')
  t.equal(encodeShifted('é', { locking: 2, single: 2 }), undefined, 'a table that is not there')
})

const letters = Array.from({ length: LAST_LANGUAGE }, (_, i) =>
  [...`${charactersOf(lockingTable(i + 1))}${charactersOf(singleTable(i + 1))}`].filter(c => c !== ' '),
)
const nationalText = (maxLength: number) =>
  fc.integer({ min: 1, max: LAST_LANGUAGE }).chain(language =>
    fc.record({
      language: fc.constant(language),
      text: fc.string({
        unit: fc.oneof(
          { weight: 4, arbitrary: fc.constantFrom(...(letters[language - 1] as string[])) },
          { weight: 2, arbitrary: fc.constantFrom(...'abc xyz 019,.') },
        ),
        maxLength,
        size: 'max',
      }),
    }),
  )

t.test('any text of a language’s tables is read back, whatever pair of tables wrote it', async t => {
  holds(
    t,
    'all pairs',
    fc.property(nationalText(300), fc.integer({ min: 1, max: LAST_LANGUAGE }), ({ language, text }, other) =>
      shiftsFor(text, [language, other]).every(({ shifts, septets }) => {
        const octets = present(encodeShifted(text, shifts))
        return octets.length === septets && decodeShifted(octets, shifts) === text
      }),
    ),
    200,
  )
})

t.test('a header that names tables takes the septets that the standard says', async t => {
  const a = (count: number) => Buffer.alloc(count, 0x61)
  const one = shiftElements({ locking: 0, single: 1 })
  const two = shiftElements({ locking: 1, single: 1 })
  t.equal(one.toString('hex'), '240101')
  t.equal(two.toString('hex'), '240101250101')
  t.equal(shiftElements({ locking: 3, single: 0 }).toString('hex'), '250103')
  for (const [elements, alone, part8, part16] of [
    [one, 155, 149, 148],
    [two, 152, 146, 145],
  ] as const) {
    const [single] = present(segment(a(alone), 'gsm', 'udh8', 1, 140, elements))
    t.equal(single?.udhi, true)
    t.equal(single?.octets.length, 1 + elements.length + alone)
    for (const [how, room] of [
      ['udh8', part8],
      ['udh16', part16],
    ] as const) {
      const parts = present(segment(a(alone + 1), 'gsm', how, 7, 140, elements))
      t.equal(parts.length, 2)
      for (const [i, part] of parts.entries()) {
        const udh = present(parseUdh(part.octets))
        t.same(udh.concat, { ref: 7, total: 2, seq: i + 1, bits: how === 'udh8' ? 8 : 16 })
        t.equal(udh.singleShift, 1)
        t.equal(udh.lockingShift, elements === two ? 1 : undefined)
        t.equal(part.octets.length - udh.length, i === 0 ? room : alone + 1 - room)
      }
    }
    t.equal(segment(a(alone + 1), 'gsm', 'sar', 7, 140, elements), undefined, 'nobody joins them with sar_*')
    t.equal(present(segment(a(alone), 'gsm', 'sar', 7, 140, elements)).length, 1)
  }
})

t.test('the tables chosen take as few parts as the best pair does', async t => {
  holds(
    t,
    'any text, every pair',
    fc.property(
      nationalText(700),
      fc.uniqueArray(fc.integer({ min: 1, max: LAST_LANGUAGE }), { maxLength: 3 }),
      fc.constantFrom('udh8' as const, 'udh16' as const),
      ({ text, language }, others, how) => {
        const languages = [...new Set([language, ...others])]
        const best = chooseShifts(text, languages, how)
        const every = [0, ...languages].flatMap(locking =>
          [0, ...languages].flatMap(single => {
            const octets = encodeShifted(text, { locking, single })
            return octets === undefined
              ? []
              : [present(segment(octets, 'gsm', how, 1, 140, shiftElements({ locking, single }))).length]
          }),
        )
        return best === undefined ? every.length === 0 : best.parts === Math.min(...every)
      },
    ),
    150,
  )
  const turkish = 'Sayın müşterimiz, siparişiniz kargoya verilmiştir. Teşekkür ederiz. '.repeat(2)
  t.equal(countSegmentsOfText(turkish), 3)
  t.equal(chooseShifts(turkish, [1], 'udh8')?.parts, 1)
  t.same(chooseShifts(turkish, [1], 'udh8')?.shifts, { locking: 1, single: 0 })
  t.same(chooseShifts('yalnız bir ş', [1], 'udh8')?.shifts.locking === 0, false)
  t.equal(chooseShifts('日本', [1, 2, 3], 'udh8'), undefined)
})

t.test('joined parts with national tables are the text, and no pair is cut', async t => {
  holds(
    t,
    'any text',
    fc.property(nationalText(900), fc.constantFrom('udh8' as const, 'udh16' as const), ({ language, text }, how) => {
      const chosen = present(chooseShifts(text, [language], how))
      const parts = present(segment(chosen.octets, 'gsm', how, 1, 140, shiftElements(chosen.shifts)))
      return (
        parts.length === chosen.parts &&
        parts.map(part => decodeUserData(part.octets, part.udhi, 'gsm')).join('') === text
      )
    }),
    150,
  )
})

t.test('what is packed, turned round or UTF-8 on the wire is the same on the radio', async t => {
  const text = fc.string({ unit: fc.constantFrom(...'abc@é€{ÄΩ \n'), maxLength: 400 })
  const shifts = fc.constantFrom<Shifts>(
    { locking: 0, single: 0 },
    { locking: 1, single: 0 },
    { locking: 1, single: 1 },
  )
  holds(
    t,
    'packed parts, behind any header',
    fc.property(text, shifts, fc.constantFrom('udh8' as const, 'udh16' as const), (text, shifts, how) => {
      const septets = encodeShifted(text, shifts) ?? present(encodeGsm('only this'))
      const parts = present(segment(septets, 'gsm', how, 3, 140, shiftElements(shifts)))
      return parts.every(({ octets, udhi }) => {
        const wire = onWire(octets, udhi, 'gsm-packed')
        const header = udhi ? (octets[0] as number) + 1 : 0
        const read = unpack7(wire.subarray(header), header)
        return (
          wire.length <= 140 &&
          wire.subarray(0, header).equals(octets.subarray(0, header)) &&
          read.equals(octets.subarray(header))
        )
      })
    }),
    200,
  )
  holds(
    t,
    'UTF-16 and UTF-8',
    fc.property(fc.string({ unit: 'grapheme', maxLength: 300 }), text =>
      (['utf16le', 'utf8'] as const).every(wire => {
        const radio = onRadio(present(encodeText(text, wire)), wire)
        const parts = present(segment(radio.octets, radio.coding, 'sar', 3))
        // A mark of byte order at the start of a part would be obeyed: none is written here.
        if (text.includes('\ufeff') || text.includes('\ufffe')) return true
        return (
          radio.coding === 'ucs2' &&
          parts.map(part => decodeAs(onWire(part.octets, false, wire), wire)).join('') === text
        )
      }),
    ),
  )
})

t.test('a packed text is read with its fill bits, and a trailing @ is text', async t => {
  const hello = Buffer.from('e8329bfd4697d9ec37', 'hex')
  t.equal(decodeAs(hello, 'gsm-packed'), 'hellohello')
  t.equal(decodeUserData(Buffer.from('050003010101c2', 'hex'), true, 'gsm-packed'), 'a')
  t.equal(decodeAs(present(encodeText('1234567', 'gsm-packed')), 'gsm-packed'), '1234567', 'CR is padding')
  t.equal(decodeAs(present(encodeText('1234567@', 'gsm-packed')), 'gsm-packed'), '1234567@')
  t.equal(decodeUserData(Buffer.concat([Buffer.from('03250101', 'hex'), Buffer.from([0x1c, 0x40])]), true, 'gsm'), 'Şİ')
  t.equal(decodeUserData(Buffer.from('0561', 'hex'), true, 'gsm'), 'éa', 'a header that is none is text')
})

t.test('every coding that text is written in reads back what it took', async t => {
  const every: TextCoding[] = [
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
  for (const [coding, yes, no] of [
    ['ascii', 'abc{}', 'é'],
    ['latin1', 'Grüße ç', '€'],
    ['windows-1252', '“5 €” – ok…', 'ж'],
    ['iso-8859-5', 'Привет, №5', 'é'],
    ['iso-8859-8', 'שלום abc', 'ж'],
    ['gsm', 'Ωmega [€]', 'ç'],
    ['gsm-packed', 'Ωmega [€]', 'ç'],
  ] as const) {
    t.equal(decodeAs(present(encodeText(yes, coding)), coding), yes, coding)
    t.equal(encodeText(no, coding), undefined, `${coding} has no ${no}`)
  }
  holds(
    t,
    'any text',
    fc.property(fc.string({ unit: 'binary', maxLength: 60 }), fc.constantFrom(...every), (text, coding) => {
      const octets = encodeText(text, coding)
      if (octets === undefined || /^[\ufeff\ufffe]/.test(text) || text.endsWith('\r')) return true
      return decodeAs(octets, coding) === text
    }),
    500,
  )
  t.equal(decodeAs(Buffer.from('fffe1604', 'hex'), 'ucs2'), 'Ж', 'a mark says who wrote it')
  t.equal(decodeAs(Buffer.from('feff0416', 'hex'), 'utf16le'), 'Ж')
  t.equal(decodeAs(Buffer.from('160410', 'hex'), 'utf16le'), 'Ж', 'half a unit is left out')
  t.equal(decodeAs(Buffer.from('efbbbf41', 'hex'), 'utf8'), 'A')
})

t.test('somebody’s own readings stand in the standard’s table, and none of them is that table itself', async t => {
  t.equal(codingsWith({}), standardCodings)
  t.equal(codingsWith({ '0': 'gsm', '8': 'ucs2' }), standardCodings)
  const changes = { '0': 'latin1', '241': 'gsm-packed' } as const
  const codings = codingsWith(changes)
  t.equal(codingsWith(changes), codings, 'made once')
  t.same([codingOf(0, codings), codingOf(241, codings), codingOf(8, codings)], ['latin1', 'gsm-packed', 'ucs2'])
  t.equal(codingOf(0), 'gsm')
})

t.test('a text that changes its coding keeps its message class or waiting indication', async t => {
  const classes = new Map<number, number | undefined>([
    [0x00, undefined],
    [0x08, undefined],
    [0x10, 0],
    [0x14, 0],
    [0x18, 0],
    [0x1b, 3],
    [0x31, 1],
    [0x40, undefined],
    [0x50, 0],
    [0xc8, undefined],
    [0xf0, 0],
    [0xf6, 2],
  ])
  for (const [data_coding, expected] of classes)
    t.equal(classOf(data_coding), expected, `0x${data_coding.toString(16)}`)
  for (let data_coding = 0; data_coding < 256; data_coding++) {
    const { sevenBit, ucs2 } = sameClass(data_coding)
    for (const other of [...sevenBit, ucs2]) t.equal(classOf(other), classOf(data_coding))
    t.equal(codingOf(sevenBit[0] as number), 'gsm', `0x${data_coding.toString(16)}`)
    t.equal(codingOf(ucs2), 'ucs2')
  }
  t.same(sameClass(0xf0), { sevenBit: [0xf0, 0x10], ucs2: 0x18 })
  t.same(sameClass(0x14), { sevenBit: [0x10, 0xf0], ucs2: 0x18 })
  t.same(sameClass(0xc9), { sevenBit: [0xc9], ucs2: 0xe9 }, 'a waiting fax')
  t.same(sameClass(0xe2), { sevenBit: [0xd2], ucs2: 0xe2 })
  t.same(sameClass(3), { sevenBit: [0, 1, 3], ucs2: 8 })
})

t.test('typographic characters become plain where the text then fits GSM, and nothing else is touched', async t => {
  t.equal(plainText('“It’s – well…” he said\u00a0•\u2009ok'), '"It\'s - well..." he said * ok')
  t.equal(plainText('«Cafe\u0301»\ttoo\u200b'), '"Café" too', 'accents are joined')
  t.equal(plainText('plain'), undefined, 'nothing to do')
  t.equal(plainText('“привет”'), undefined, 'it would be UCS-2 all the same')
  t.equal(plainText('ça va – oui'), undefined, 'a letter is no typography')
  t.equal(plainText('👍 “ok”'), undefined)
  t.equal(plainText('\u2019'), "'")
  t.equal(plainText('\ufeff“x”'), '"x"')
  holds(
    t,
    'what comes out is GSM, and reads back',
    fc.property(fc.string({ unit: fc.constantFrom(...'ab€{“”‘’…–—•\u00a0\u2009é'), maxLength: 300 }), text => {
      const plain = plainText(text)
      if (plain === undefined) return isGsm(text)
      return isGsm(plain) && decodeGsm(present(encodeGsm(plain))) === plain && encodeUcs2(text).length > 0
    }),
  )
})
