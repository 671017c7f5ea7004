// Receipt texts (v3.4 Appendix B) as carriers write them, and the SMPP time format (v3.4 §7.1.1).
// Receipt strings seen in the field come from the folder that VECTORS names.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import {
  formatReceipt,
  formatReceiptAs,
  messageState,
  messageStateName,
  parseReceipt,
  type Receipt,
  receiptDate,
  statNames,
} from '../protocols/smpp/receipt.js'
import { formatAbsolute, formatRelative, parseTime } from '../protocols/smpp/time.js'

const VECTORS = process.env.VECTORS
const LONG = process.env.LONG === '1'

const parse = (text: string): Receipt | undefined => parseReceipt(Buffer.from(text, 'latin1'))

t.test('the text of Appendix B is read into its fields', async t => {
  const text =
    'id:0123456789 sub:002 dlvrd:001 submit date:1005232039 done date:1005242339 stat:UNDELIV err:21b Text:This is'
  t.strictSame(parse(text), {
    id: '0123456789',
    stat: 'UNDELIV',
    state: messageState.UNDELIVERABLE,
    err: '21b',
    submitDate: '1005232039',
    doneDate: '1005242339',
    sub: 2,
    dlvrd: 1,
    textOffset: text.indexOf('This is'),
  })
})

t.test('a receipt is read in any order, with any part missing, glued, ended or spelled otherwise', async t => {
  const cases: [title: string, text: string, expected: Partial<Receipt>][] = [
    ['fields turned round', 'stat:EXPIRED err:1 id:7 dlvrd:000', { id: '7', state: 3, err: '1', dlvrd: 0, sub: -1 }],
    ['a state after the text', 'id:7 text:hello stat:EXPIRED err:2', { id: '7', state: 3, err: '2', textOffset: 10 }],
    [
      'no blanks',
      'id:7sub:001dlvrd:001submit date:2601011200done date:2601011201stat:DELIVRDerr:000text:x',
      {
        id: '7',
        sub: 1,
        dlvrd: 1,
        submitDate: '2601011200',
        doneDate: '2601011201',
        stat: 'DELIVRD',
        err: '000',
      },
    ],
    ['a key inside a word is no key', 'msgid:9 id:7 laststat:X stat:DELETED', { id: '7', state: 4 }],
    ['a blank after the colon', 'id: 7 stat: DELIVRD err: 3', { id: '7', state: 2, err: '3' }],
    ['line ends between fields', 'id:7\r\nstat:DELIVRD\r\nerr:000\r\n', { id: '7', state: 2, err: '000' }],
    ['a NUL at the end', 'id:7 stat:DELIVRD err:000\0', { err: '000' }],
    ['an empty id', 'id: sub:001 stat:DELIVRD err:000', { id: '', sub: 1, state: 2 }],
    ['no id', 'stat:DELIVRD err:000', { id: '', state: 2 }],
    ['capitals', 'ID:7 SUB:001 DONE DATE:2601011201 STAT:delivrd ERR:0', { id: '7', doneDate: '2601011201', state: 2 }],
    ['a text that talks like a receipt', 'id:7 stat:DELIVRD text:id:8 stat:REJECTD', { id: '7', state: 2 }],
    ['a text that has what the receipt lacks', 'id:7 stat:DELIVRD text:err:5 sub:9', { err: '', sub: -1 }],
    ['the first of two ids', 'id:7 id:8 stat:DELIVRD', { id: '7' }],
    ['a word that nobody knows', 'id:7 stat:WHATEVER', { stat: 'WHATEVER', state: messageState.UNKNOWN }],
    ['counts that are none', 'id:7 sub:a02 dlvrd:%03d stat:DELIVRD', { sub: -1, dlvrd: -1 }],
    ['a count too long', 'id:7 sub:99999999999 stat:DELIVRD', { sub: -1 }],
  ]
  for (const [title, text, expected] of cases) t.match(parse(text), expected, title)
  for (const text of [
    '',
    ':',
    'id:',
    'stat:',
    'stat:DELIVRD',
    'id:7 stat:',
    'id:7 text:stat',
    'hello: world',
    ' d:',
    'e:',
  ]) {
    t.equal(parse(text), undefined, `'${text}' is no receipt`)
  }
})

t.test('every word for a state that carriers use has its message_state', async t => {
  const words: [string, number][] = [
    ['ENROUTE', 1],
    ['BUFFRED', 1],
    ['BUFFERD', 1],
    ['DELIVRD', 2],
    ['DELIVERED', 2],
    ['EXPIRED', 3],
    ['DELETED', 4],
    ['UNDELIV', 5],
    ['UNDELIVERABLE', 5],
    ['FAILED', 5],
    ['ACCEPTD', 6],
    ['ACCEPTED', 6],
    ['ACCEPT', 6],
    ['SUBMITD', 6],
    ['ACKED', 6],
    ['QUEUED', 1],
    ['PENDING', 1],
    ['SENT', 1],
    ['DELIVERD', 2],
    ['EXPIRD', 3],
    ['CANCELLED', 4],
    ['CANCELED', 4],
    ['UNDELIVERED', 5],
    ['UNDELIVRD', 5],
    ['UNDELIVD', 5],
    ['REJECT', 8],
    ['BLOCKED', 8],
    ['UNKNOWN', 7],
    ['REJECTD', 8],
    ['REJECTED', 8],
    ['DND_REJECTED', 8],
    ['SKIPPED', 9],
  ]
  for (const [word, state] of words) t.equal(parse(`id:1 stat:${word}`)?.state, state, word)
  for (const [state, stat] of statNames.entries()) {
    t.equal(stat.length, 7)
    t.equal(parse(`id:1 stat:${stat}`)?.state, state)
  }
  t.equal(messageStateName(5), 'UNDELIVERABLE')
  t.equal(messageStateName(99), 'UNKNOWN')
})

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

t.test('a receipt is written as Appendix B has it, and read back as it was', async t => {
  const submitMs = Date.UTC(2026, 0, 31, 23, 59, 59, 999)
  const fields = { id: '1234567890123456789', sub: 12, dlvrd: 1, submitMs, doneMs: submitMs + 1, state: 2, err: '000' }
  t.equal(
    formatReceipt({ ...fields, text: 'Grüße, "Müller" \0 and so on' }).toString('latin1'),
    'id:1234567890123456789 sub:012 dlvrd:001 submit date:2601312359 done date:2602010000 stat:DELIVRD err:000 ' +
      'text:Gr??e, "M?ller" ? an',
  )
  const over = formatReceipt({ ...fields, sub: 1000, dlvrd: 255, state: 99, text: '' }).toString()
  t.match(over, / sub:999 dlvrd:255 .* stat:UNKNOWN err:000 text:$/)
  t.throws(() => formatReceipt({ ...fields, id: 'a\0b', text: '' }), RangeError)
  const minute = fc.integer({ min: Date.UTC(2000, 0, 1) / MINUTE, max: Date.UTC(2099, 11, 31) / MINUTE })
  const word = fc.stringMatching(/^[0-9A-Za-z-]{1,36}$/)
  fc.assert(
    fc.property(
      fc.record({
        id: word,
        sub: fc.nat(255),
        dlvrd: fc.nat(255),
        submit: minute,
        done: minute,
        state: fc.integer({ min: 0, max: 9 }),
        err: fc.stringMatching(/^[0-9a-f]{1,4}$/),
        text: fc.string(),
      }),
      ({ submit, done, ...rest }) => {
        const body = formatReceipt({ ...rest, submitMs: submit * MINUTE + 999, doneMs: done * MINUTE })
        const receipt = parseReceipt(body)
        assert(receipt !== undefined)
        const { id, sub, dlvrd, state, err } = receipt
        assert.deepEqual({ id, sub, dlvrd, state, err, text: rest.text }, { ...rest })
        assert.equal(receiptDate(receipt.submitDate, 0), submit * MINUTE)
        assert.equal(receiptDate(receipt.doneDate, 0), done * MINUTE)
        assert.equal(body.toString('latin1', receipt.textOffset), rest.text.slice(0, 20))
      },
    ),
    { seed: 1, numRuns: LONG ? 10_000 : 500 },
  )
})

t.test('a receipt is written with other dates and words for states, for those who want them', async t => {
  const submitMs = Date.UTC(2026, 0, 31, 23, 59, 58, 999)
  const fields = {
    id: '7',
    sub: 2,
    dlvrd: 1000,
    submitMs,
    doneMs: submitMs + 2_000,
    state: 5,
    err: '011',
    text: 'Gr\u00fc\u00dfe',
  }
  const style = { dateDigits: 10, states: {} } as const
  t.same(formatReceiptAs(fields, style), formatReceipt(fields), 'otherwise it is the standard’s')
  t.equal(
    formatReceiptAs(fields, { dateDigits: 12, states: { UNDELIVERABLE: 'FAILED', DELIVERED: 'OK' } }).toString(),
    'id:7 sub:002 dlvrd:999 submit date:260131235958 done date:260201000000 stat:FAILED err:011 text:Gr??e',
  )
  t.match(formatReceiptAs(fields, { dateDigits: 14, states: {} }).toString(), 'done date:20260201000000 stat:UNDELIV ')
})

t.test('a receipt’s date is read in all four forms, twelve digits as what is nearer to the submission', async t => {
  const at = Date.UTC(2015, 5, 20, 16, 41)
  t.equal(receiptDate('1506201641', at), at)
  t.equal(receiptDate('150620164159', at), at + 59 * SECOND)
  t.equal(receiptDate('201506201641', at), at, 'YYYYMMDDhhmm')
  t.equal(receiptDate('20150620164107', at), at + 7 * SECOND)
  const twice = Date.UTC(2020, 9, 11, 10, 9, 8)
  t.equal(receiptDate('201011100908', twice), Date.UTC(2020, 9, 11, 10, 9, 8), 'near 2020 it has seconds')
  t.equal(receiptDate('201011100908', Date.UTC(2010, 10, 10)), Date.UTC(2010, 10, 10, 9, 8), 'near 2010 a century')
  for (const text of ['', '0000000000', '2513010000', '2502300000', '2501012460', 'a1005242339', '150701adsfas1202']) {
    t.ok(Number.isNaN(receiptDate(text, at)), `'${text}' is no date`)
  }
})

// The file quotes each string as its source did: '...' or "..." with \xNN.
const field = VECTORS
  ? readFileSync(join(VECTORS, 'receipts.txt'), 'utf8')
      .split('\n')
      .filter(line => line !== '')
      .map(line => line.slice(1, -1).replace(/\\x([0-9a-f]{2})/g, (_, code) => String.fromCharCode(parseInt(code, 16))))
  : []

t.test('receipts seen in the field are read', VECTORS ? {} : { skip: 'VECTORS names no folder' }, async t => {
  const plain = (text: string, key: string) => new RegExp(`(?:^| )${key}:([^ \\0]*)`).exec(text)?.[1] ?? ''
  for (const text of field) {
    const receipt = parse(text)
    t.ok(receipt, text)
    if (receipt === undefined) continue
    t.equal(receipt.id, plain(text, 'id'))
    t.equal(receipt.stat, plain(text, 'stat'))
    t.equal(receipt.err, plain(text, 'err'))
    t.equal(receipt.submitDate, plain(text, 'submit date'))
    t.equal(receipt.doneDate, plain(text, 'done date'))
    t.equal(receipt.sub, /^\d+$/.test(plain(text, 'sub')) ? Number(plain(text, 'sub')) : -1)
    t.equal(receipt.textOffset, text.search(/(?<= )[Tt]ext:/) < 0 ? -1 : text.search(/(?<= [Tt]ext:)/))
  }
  // Every word for a state in the file, and what it means; a word that nobody knows is UNKNOWN.
  const states = { DELIVRD: 2, ENROUTE: 1, ACCEPTD: 6, DND_REJECTED: 8, BADSTAT: 7, aDELIVRD: 7, '%s': 7 }
  t.same(new Set(field.map(text => parse(text)?.stat)), new Set(Object.keys(states)))
  for (const text of field) t.equal(parse(text)?.state, states[plain(text, 'stat') as keyof typeof states], text)
  t.ok(field.length > 50)
})

t.test('no octets make the receipt reader throw', async t => {
  const samples = [
    ...field,
    'id:0123456789 sub:002 dlvrd:001 submit date:1005232039 done date:1005242339 stat:DELIVRD err:012 text:This is',
  ]
  let receipts = 0
  for (const sample of samples) {
    for (let cut = 0; cut <= sample.length; cut++) {
      if (parse(sample.slice(0, cut)) !== undefined) receipts++
      parse(sample.slice(cut))
    }
  }
  const piece = fc.constantFrom(
    'id',
    'sub',
    'dlvrd',
    'submit date',
    'done date',
    'stat',
    'err',
    'text',
    ':',
    ' ',
    '\0',
    '1',
    'é',
  )
  fc.assert(
    fc.property(fc.array(fc.oneof(piece, fc.string({ maxLength: 3 })), { maxLength: 40 }), pieces => {
      const text = pieces.join('')
      const receipt = parse(text)
      if (receipt === undefined) return
      receipts++
      assert(receipt.stat !== '' && receipt.state >= 0 && receipt.state <= 9)
      assert(receipt.textOffset >= -1 && receipt.textOffset <= text.length)
    }),
    { seed: 2, numRuns: LONG ? 100_000 : 5_000 },
  )
  t.ok(receipts > 0, `${receipts} of them are receipts`)
})

const NOW = Date.UTC(2024, 0, 31, 12, 0, 0)

t.test('SMPP times are read as the moment they name', async t => {
  const cases: [text: string, ms: number | undefined][] = [
    ['', undefined],
    ['240131120000000+', NOW],
    ['240131120000900+', NOW + 900],
    ['240131120000004+', NOW - HOUR],
    ['240131120000022-', NOW + 5.5 * HOUR],
    ['240131235959048-', NOW + DAY - SECOND],
    ['240229000000000+', Date.UTC(2024, 1, 29)],
    ['991231235959000-', Date.UTC(2099, 11, 31, 23, 59, 59)],
    ['000002000000000R', NOW + 2 * DAY],
    ['000000001000000R', NOW + 10 * MINUTE],
    ['000007000000000R', NOW + 7 * DAY],
    ['000000000001000R', NOW + SECOND],
    ['000000000000000R', NOW],
    ['000000000000948R', NOW],
    ['000000480000000R', NOW + 2 * DAY],
    ['000100000000000R', Date.UTC(2024, 1, 29, 12)],
    ['001200000000000R', Date.UTC(2025, 0, 31, 12)],
    ['001300000000000R', Date.UTC(2025, 1, 28, 12)],
    ['010100000000000R', Date.UTC(2025, 1, 28, 12)],
    ['001101000000000R', Date.UTC(2024, 11, 31, 12) + DAY],
  ]
  for (const [text, ms] of cases) t.equal(parseTime(text, NOW), ms, `'${text}'`)
})

t.test('what is no SMPP time is NaN', async t => {
  for (const text of [
    '240031120000000+',
    '241331120000000+',
    '240132120000000+',
    '240100120000000+',
    '230229120000000+',
    '240131240000000+',
    '240131126000000+',
    '240131120060000+',
    '240131120000049+',
    '240131120000000 ',
    '240131120000000Z',
    '000002000000000r',
    '000000000000000+',
    '240131120000',
    '24013112000000+',
    '2401311200000000+',
    '24013112000x000+',
    '24013112000000++',
    '0000-2000000000R',
    'tomorrow at noon',
  ]) {
    t.ok(Number.isNaN(parseTime(text, NOW)), `'${text}'`)
  }
})

t.test('times are written so that they read back', async t => {
  t.equal(formatAbsolute(Date.UTC(2026, 11, 31, 23, 59, 59, 950)), '261231235959900+')
  t.equal(formatRelative(7 * DAY), '000007000000000R', 'days stand in the day field')
  t.equal(formatRelative(DAY + HOUR + MINUTE + SECOND), '000001010101000R')
  t.equal(formatRelative(60 * DAY), '000060000000000R')
  t.equal(formatRelative(1), '000000000001000R', 'what is left is never rounded to nothing')
  t.equal(formatRelative(-5), '000000000000000R')
  t.equal(formatRelative(365 * DAY), '000099235959000R', 'the longest there is')
  const ms = fc.integer({ min: Date.UTC(2000, 0, 1), max: Date.UTC(2100, 0, 1) - 1 })
  fc.assert(fc.property(ms, at => assert.equal(parseTime(formatAbsolute(at), 0), Math.floor(at / 100) * 100)))
  const span = fc.integer({ min: 0, max: 100 * DAY - SECOND })
  fc.assert(
    fc.property(span, ms, (s, now) =>
      assert.equal(parseTime(formatRelative(s), now), now + Math.ceil(s / 1000) * 1000),
    ),
  )
})
