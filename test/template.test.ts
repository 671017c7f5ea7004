// Templates without a daemon: what comes of a text and its values, what a pattern takes, and how two nodes on one database
// know of each other's edits, with it and without it.

import { rmSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { countSegmentsOfText } from '../protocols/gsm/segment.js'
import { readProfile } from '../src/accounts/smppProfile.js'
import { type Clock, ManualClock, systemClock } from '../src/base/clock.js'
import { Counters } from '../src/base/figures.js'
import type { Door } from '../src/intake/submit.js'
import { segmentsOf } from '../src/intake/text.js'
import { messageFields, sendBody } from '../src/intake/web/fields.js'
import { bodyFor, draftOf, messageFor, textOf } from '../src/intake/web/message.js'
import { WebSender } from '../src/intake/web/sender.js'
import type { TemplateSource } from '../src/intake/web/templates.js'
import { type Fault, fault } from '../src/model/fault.js'
import type { Message } from '../src/model/message.js'
import { TemplateProgram } from '../src/model/templateText.js'
import { ValuePattern } from '../src/model/valuePattern.js'
import { contentOf, TemplateFaulty, templateFields } from '../src/services/templates/content.js'
import { TemplateRows } from '../src/services/templates/rows.js'
import { Templates } from '../src/services/templates/templates.js'
import { TemplateUses } from '../src/services/templates/uses.js'
import { openStore, type SqlClient } from '../src/store/postgres.js'
import { account } from './support/admin-subject.js'
import { freshDatabase } from './support/house.js'
import { within } from './support/peer.js'
import { connect, silent, temporaryDirectory, Way } from './support/postgres.js'

type Given = Partial<{ locales: Record<string, string>; variables: unknown[] }>
const program = (content: string, given: Given = {}): TemplateProgram =>
  new TemplateProgram(contentOf(templateFields.parse({ name: 'a', content, ...given })))
const faultsOf = (content: string, given: Given = {}): string[] => {
  try {
    program(content, given)
    return []
  } catch (error) {
    if (!(error instanceof TemplateFaulty)) throw error
    return error.faults.map(({ pointer }) => pointer)
  }
}

t.test('a text has its values where its places are, and nothing else is changed', async t => {
  const cases: [content: string, values: Record<string, string | number | boolean>, text: string][] = [
    ['no places', {}, 'no places'],
    ['{{a}}', { a: 'x' }, 'x'],
    ['{{ a }}{{b}}{{a}}', { a: '1', b: '2' }, '121'],
    ['<b>{{a}}</b>', { a: '<&"\'/>' }, '<b><&"\'/></b>'],
    ['{{a}} {{b}} {{c}}', { a: 5, b: true, c: 0.5 }, '5 true 0.5'],
    ['{{a}}', { a: '$& $1 $$' }, '$& $1 $$'],
    ['a\r\n{{a}}\n', { a: 'l1\nl2' }, 'a\r\nl1\nl2\n'],
    ['{ {{a}} }', { a: '{' }, '{ { }'],
    ['{{a}}', { a: '{b}' }, '{b}'],
    ['{{constructor}}{{toString}}', { constructor: 'c', toString: 't' }, 'ct'],
    ['{{_a1}}', { _a1: '😀é' }, '😀é'],
  ]
  for (const [content, values, text] of cases) t.equal(program(content).render(values), text, content)
})

t.test('what is missing, not known or not allowed is a fault with a name and a pointer', async t => {
  const variables = [
    { name: 'code', max_length: 4, pattern: '\\d+' },
    { name: 'who', default: 'you' },
    { name: 'note', required: false },
  ]
  const one = program('{{code}} {{who}} {{note}}', { variables })
  t.equal(one.render({ code: '12' }), '12 you ')
  t.equal(one.render({ code: '12', who: '', note: 'x' }), '12 you x', 'an empty value is none')
  const all = one.common({ code: '1', who: 'all' })
  t.equal(one.render({ who: 'me' }, all), '1 me ', 'own values go before those of all')
  const bads = one.common({ code: 'x', who: '' })
  t.equal(one.render({ code: '1' }, bads), '1 you ', 'and what they replace is not judged')
  t.match(one.render({}, bads), { code: 'variable_invalid', pointer: '/code' })
  t.match(one.render({ code: '1' }, one.common({ no: 1 })), { code: 'variable_unknown', pointer: '/no' })
  const bad: [values: Record<string, string>, code: string, pointer: string | undefined][] = [
    [{}, 'variable_missing', '/code'],
    [{ code: '' }, 'variable_missing', '/code'],
    [{ code: '12345' }, 'variable_invalid', '/code'],
    [{ code: '12a' }, 'variable_invalid', '/code'],
    [{ code: '1', other: 'x' }, 'variable_unknown', '/other'],
    [{ code: '1', 'a/b~c': 'x' }, 'variable_unknown', '/a~1b~0c'],
    [{ code: '1', who: '{{note}}' }, 'variable_invalid', '/who'],
    [{ code: '1', who: 'a}}' }, 'variable_invalid', '/who'],
    [{ code: '1', who: 'a\0b' }, 'variable_invalid', '/who'],
    [{ code: '1', who: '\x1b[2J' }, 'variable_invalid', '/who'],
    [{ code: '1', who: '\u0085' }, 'variable_invalid', '/who'],
    [{ code: '1', who: '\ud800' }, 'variable_invalid', '/who'],
    [{ code: '1', who: 'x'.repeat(1_600) }, 'too_long', undefined],
  ]
  for (const [values, code, pointer] of bad) {
    const why = one.render(values) as Fault
    t.same([why.code, why.pointer], [code, pointer], JSON.stringify(values).slice(0, 60))
  }
  for (const name of ['__proto__', 'hasOwnProperty', 'constructor']) {
    t.match(program(`{{${name}}}`).render({}), { code: 'variable_missing' }, `${name} is no value of its own`)
  }
  t.match(program('{{a}}{{b}}').render({ a: 'x{', b: '{y' }), { code: 'variable_invalid' }, 'nor two together')
  t.match(program('{{a}}', { variables: [{ name: 'a', required: false }] }).render({}), { code: 'variable_missing' })
})

t.test('a template that could not be filled in is refused, and says where', async t => {
  t.same(faultsOf('{{a}} {{b-c}}'), ['/content'])
  t.same(faultsOf('{{a'), ['/content'])
  t.same(faultsOf('a}}'), ['/content'])
  t.same(faultsOf('{{{a}}}'), ['/content'])
  t.same(faultsOf('{{#a}}x{{/a}}'), ['/content'])
  t.same(faultsOf('{{}}'), ['/content'])
  t.same(faultsOf('a\0'), ['/content'])
  t.same(faultsOf('a', { locales: { de: '{{' } }), ['/locales/de'])
  t.same(faultsOf('a', { locales: { de: 'x', DE: 'y' } }), ['/locales'])
  t.same(faultsOf('a', { variables: ['b'] }), ['/variables/0'], 'no text has it')
  t.same(faultsOf('{{b}}', { variables: ['b', 'b'] }), ['/variables/1'])
  t.same(faultsOf('{{b}}', { variables: [{ name: 'b', pattern: '(a+)+' }] }), ['/variables/0/pattern'])
  t.same(faultsOf('{{b}}', { variables: [{ name: 'b', max_length: 2, default: 'abc' }] }), ['/variables/0/default'])
  t.same(faultsOf('{{b}}', { variables: [{ name: 'b', default: '{{c}}' }] }), ['/variables/0/default'])
  const long = ['a', 'b', 'c'].map(name => ({ name, default: 'x'.repeat(801), pattern: '.*' }))
  t.same(faultsOf('{{a}}{{b}}{{c}}', { variables: long }), ['/variables/1/default'])
})

t.test('values cost no more than a text has room for, and those of all are judged once', async t => {
  const names = Array.from({ length: 50 }, (_, i) => `v${i}`)
  const variables = names.map(name => ({ name, pattern: '.*'.repeat(64) }))
  const one = program(names.map(name => `{{${name}}}`).join(''), { variables })
  const { matches } = ValuePattern.prototype
  let characters = 0
  ValuePattern.prototype.matches = function (value) {
    characters += value.length
    return matches.call(this, value)
  }
  t.teardown(() => {
    ValuePattern.prototype.matches = matches
  })
  const filled = (length: number) => Object.fromEntries(names.map(name => [name, 'x'.repeat(length)]))
  t.match(one.render(filled(1_600)), { code: 'too_long' })
  t.match(one.render(undefined, one.common(filled(1_600))), { code: 'too_long' })
  t.equal(characters, 0, 'what makes no text is held against no pattern')
  const common = one.common(filled(20))
  for (let i = 0; i < 100; i++)
    t.equal((one.render({ v0: String(i) }, common) as string).length, String(i).length + 980)
  t.equal(characters, 49 * 20 + 190)
  const slow = program('{{a}}', { variables: [{ name: 'a', pattern: '[^a]*'.repeat(40) }] })
  t.type(slow.render({ a: 'é'.repeat(800) }), 'string')
  t.match(slow.render({ a: 'é'.repeat(801) }), { code: 'variable_invalid', pointer: '/a' })
  const other = program('{{a}}', { locales: { de: '{{b}}' } })
  t.equal(other.render({ a: 'x'.repeat(1_600), b: 'y'.repeat(1_600) }, undefined, 'de'), 'y'.repeat(1_600))
})

t.test('a language has its text, or that of the language at large, or the main one', async t => {
  const one = program('en {{a}}', { locales: { de: 'de {{a}}', 'pt-BR': 'br {{a}}' } })
  for (const [locale, text] of [
    [undefined, 'en 1'],
    ['de', 'de 1'],
    ['DE-AT', 'de 1'],
    ['pt-br', 'br 1'],
    ['pt', 'en 1'],
    ['pt-BR-x', 'br 1'],
  ] as const) {
    t.equal(one.render({ a: '1' }, undefined, locale), text, locale ?? 'none')
  }
})

t.test('a language without a place needs no value for it', async t => {
  const variables = [{ name: 'a', max_length: 2 }]
  const one = program('en {{a}} {{b}}', { variables, locales: { de: 'de', fr: 'fr {{b}}' } })
  t.equal(one.render({}, undefined, 'de'), 'de')
  t.equal(one.render({ a: 'long enough' }, undefined, 'de'), 'de', 'nor is one that is given judged')
  t.match(one.render({ c: '1' }, undefined, 'de'), { code: 'variable_unknown' })
  t.equal(one.render({ b: '1' }, undefined, 'fr'), 'fr 1')
  t.match(one.render({}, undefined, 'fr'), { code: 'variable_missing', pointer: '/b' })
  t.match(one.render({ b: '1' }), { code: 'variable_missing', pointer: '/a' })
})

t.test('a recipient’s name is the value of name, unless variables say another, and where there is a place', async t => {
  const number = '+4915112345678'
  type To = Parameters<typeof bodyFor>[0]
  const said = (content: string, to: To, given: object = {}): string => {
    const found = { id: 1, name: 't', version: 1, category: '', smsType: 'otp', program: program(content) } as const
    const draft = draftOf(messageFields.parse({ template_id: 't', ...given }), [to], found)
    const body = 'code' in draft ? draft : bodyFor(to, draft)
    return 'code' in body ? `${body.code} ${body.pointer}` : body.toString()
  }
  t.equal(said('Hi {{name}}', { number, name: 'Ann' }), 'Hi Ann')
  t.equal(said('Hi {{name}}', { number, name: 'Ann', variables: { name: 'Bo' } }), 'Hi Bo')
  t.equal(said('Hi {{name}}', { number, name: 'Ann' }, { template_variables: { name: 'all' } }), 'Hi Ann')
  t.equal(said('Hi {{name}}', { number }, { template_variables: { name: 'all' } }), 'Hi all')
  t.equal(said('Hi {{name}} {{x}}', { number, name: 'Ann', variables: { x: 1 } }), 'Hi Ann 1')
  t.equal(said('Hi {{x}}', { number, name: 'Ann' }, { template_variables: { x: 1 } }), 'Hi 1', 'no place, no fault')
  t.equal(said('Hi {{name}}', { number, name: '{{x}}' }), 'variable_invalid /name')
  t.equal(said('Hi {{name}}', { number, variables: { name: '{{x}}' } }), 'variable_invalid /variables/name')
})

t.test('a request whose template cannot be sent takes nothing of the pace', async t => {
  let admitted = 0
  const door = { spool: {}, admit: () => void admitted++ } as unknown as Door
  const none = fault('template_unknown', '', false)
  let found: ReturnType<TemplateSource['find']> = none
  const templates: TemplateSource = { find: () => found, used: () => {}, refused: () => {} }
  const sender = new WebSender({ door, clock: systemClock, templates, hasEnded: async () => false })
  const fields = messageFields.parse({ template_id: 't' })
  t.equal(await sender.send(account(7, 'shop'), fields, numbersOf(100)), none)
  found = { id: 5, name: 't', version: 1, category: '', smsType: 'otp', program: program('{{a}}') }
  t.match(await sender.send(account(7, 'shop'), fields, numbersOf(100)), { code: 'variable_missing' })
  t.equal(admitted, 0)
})

t.test('a pattern takes what a regular expression of its items takes, in a time that no value can stretch', async t => {
  const cases: [pattern: string, takes: string[], refuses: string[]][] = [
    ['\\d{4,6}', ['1234', '123456'], ['123', '1234567', '12a4', '']],
    ['[A-Z][a-z]+ ?[A-Z]*', ['Ab', 'Abc D', 'AbCD'], ['A', 'ab', 'Ab c']],
    ['Mr|Ms|Dr\\.', ['Mr', 'Dr.'], ['Mrs', 'MrMs', '']],
    ['^[^0-9]*$', ['', 'ab'], ['a1']],
    ['.{2}', ['😀x', 'ab'], ['a', 'abc', 'a\n']],
    ['a?a?a?', ['', 'aaa'], ['aaaa']],
    ['[\\]\\-x]+', [']-x'], ['y']],
    ['\\+\\d{1,}', ['+1'], ['1', '+']],
  ]
  for (const [pattern, takes, refuses] of cases) {
    const one = new ValuePattern(pattern)
    for (const value of takes) t.ok(one.matches(value), `${pattern} takes ${JSON.stringify(value)}`)
    for (const value of refuses) t.notOk(one.matches(value), `${pattern} refuses ${JSON.stringify(value)}`)
  }
  for (const pattern of ['', '(a)', 'a**', '[z-a]', 'a{3,2}', 'a{', '\\1', '*', 'a'.repeat(201), '[']) {
    t.throws(() => new ValuePattern(pattern), pattern)
  }
  const item = fc.constantFrom('a', 'b', '[ab]', '.', '\\d', 'a*', 'b+', '[ab]?', '.{1,2}', '\\d{2}', 'a{0,3}')
  fc.assert(
    fc.property(
      fc.array(item, { minLength: 1, maxLength: 5 }),
      fc.string({ unit: fc.constantFrom('a', 'b', '1'), maxLength: 7 }),
      (items, value) => {
        const pattern = items.join('')
        return new ValuePattern(pattern).matches(value) === new RegExp(`^(?:${pattern})$`, 'u').test(value)
      },
    ),
  )
  // A backtracking engine would go through this for years.
  const heavy = new ValuePattern(`${'a*'.repeat(60)}b`)
  const before = process.hrtime.bigint()
  t.notOk(heavy.matches('a'.repeat(1_600)))
  t.ok(process.hrtime.bigint() - before < 1_000_000_000n)
})

t.test(
  'whatever the values, no place is left, and the segments that are shown are those of the text that goes out',
  async t => {
    const piece = fc.oneof(
      fc.constantFrom('{{a}}', '{{b}}', '{', '}', ' ', 'é', 'ő', '€', '😀', '\n', '{{ a }}'),
      fc.string({ maxLength: 60 }),
    )
    const value = fc.oneof(
      fc.string({ maxLength: 80 }),
      fc.constantFrom('{{b}}', '{', '}}', '{{', '\u0000', '[€]', '—'),
    )
    let rendered = 0
    fc.assert(
      fc.property(fc.array(piece, { minLength: 1, maxLength: 8 }), value, value, (pieces, a, b) => {
        const content = pieces.join('')
        const shape = templateFields.safeParse({ name: 'a', content })
        if (!shape.success || faultsOf(content).length > 0) return
        const made = program(content)
        const values = Object.fromEntries(
          Object.entries({ a, b }).filter(([name]) => content.includes(`${name}}}`) || content.includes(`${name} }}`)),
        )
        const text = made.render(values)
        if (typeof text !== 'string') return
        rendered++
        t.notMatch(text, /\{\{/)
        // As a message is made of it.
        const fields = messageFields.parse({ template_id: 't' })
        const to = { number: '+4915112345678', variables: values }
        const found = { id: 1, name: 't', version: 1, category: '', smsType: 'otp', program: made } as const
        const draft = draftOf(fields, [to], found)
        if ('code' in draft) throw new Error(draft.code)
        const body = bodyFor(to, draft)
        if ('code' in body) throw new Error(body.code)
        const m = messageFor(to, '4915112345678', body, draft)
        if (textOf(m, 'text') !== text) throw new Error(`${textOf(m, 'text')} is not ${text}`)
        if (segmentsOf(m, readProfile({})) !== countSegmentsOfText(text)) throw new Error('other segments')
      }),
    )
    t.ok(rendered > 10, 'and some were rendered')
  },
)

t.test('a request says one text in one way', async t => {
  const wrong = (body: object): string[] => {
    const read = sendBody.safeParse({ to: '+4915112345678', ...body })
    return read.success ? [] : read.error.issues.map(({ path }) => path.join('.'))
  }
  t.same(wrong({ message: 'x' }), [])
  t.same(wrong({ template_id: 'x', template_variables: { a: 1, b: true }, template_version: 1, locale: 'pt_BR' }), [])
  t.same(wrong({}), ['message'])
  t.same(wrong({ message: 'x', template_id: 'x' }), ['template_id'])
  t.same(wrong({ template_id: 'x', message_type: 'binary' }), ['message_type'])
  t.same(wrong({ message: 'x', template_variables: {}, locale: 'de' }), ['template_variables', 'locale'])
})

t.test('a request that a crash has cut short goes on with the version that it was begun with', async t => {
  const kept = new Map<string, Buffer>()
  const taken = new Map<number, Message>()
  let ids = 0
  let room = 600
  const spool = {
    takeIds: (count: number) => Array.from({ length: count }, () => ++ids),
    find: (id: number) => taken.get(id),
    keep: (key: string, octets: Buffer) => kept.set(key, octets),
    kept: (key: string) => kept.get(key),
  }
  const door = {
    spool,
    admit: () => undefined,
    submitAdmitted: (m: Message) => {
      if (room-- === 0) throw new Error('killed')
      taken.set(m.id, m)
    },
  } as unknown as Door
  const versions = [program('one {{a}}'), program('two {{a}}')]
  let used = 0
  const templates: TemplateSource = {
    find: (_, idOrName, version = versions.length, evenOff = false) =>
      // It was renamed and removed in the meantime.
      idOrName !== (room > 0 ? 't' : '5') || (room < 0 && !evenOff)
        ? fault('template_unknown', '', false)
        : {
            id: 5,
            name: 't',
            version,
            category: '',
            smsType: 'otp',
            program: versions[version - 1] as TemplateProgram,
          },
    used: (_, count) => {
      used += count
    },
    refused: () => {},
  }
  const shop = account(7, 'shop')
  const fields = messageFields.parse({ template_id: 't', template_version: 1 })
  delete fields.template_version
  const recipients = Array.from({ length: 1_000 }, (_, i) => ({
    number: `+49151${10_000_000 + i}`,
    variables: { a: String(i) },
  }))
  const host = { door, clock: systemClock, templates, hasEnded: async () => false }
  versions.pop()
  const first = new WebSender(host)
  t.same(first.once(shop, 'k', 'request'), { kind: 'first' })
  await t.rejects(first.send(shop, fields, recipients, { key: 'k' }), /killed/)
  versions.push(program('two {{a}}'))
  const second = new WebSender(host)
  const again = second.once(shop, 'k', 'request')
  if (again.kind !== 'first' || again.cutShort === undefined) throw new Error('not cut short')
  const sent = await second.send(shop, fields, recipients, { key: 'k', cutShort: again.cutShort })
  t.match(sent, { template: { version: 1 } })
  t.equal(taken.size, 1_000)
  t.same(
    [...taken.values()].map(m => m.body.toString()),
    recipients.map((_, i) => `one ${i}`),
    'each once, and of one version',
  )
  t.equal(used, 400)
})

t.test('others have their turn while texts that take long are made, and a crash then repeats none', async t => {
  const kept = new Map<string, Buffer>()
  const taken: number[] = []
  let ids = 0
  const spool = {
    takeIds: (count: number) => Array.from({ length: count }, () => ++ids),
    find: () => undefined,
    keep: (key: string, octets: Buffer) => kept.set(key, octets),
    kept: (key: string) => kept.get(key),
  }
  const door = {
    spool,
    admit: () => undefined,
    preview: () => undefined,
    submitAdmitted: (m: Message) => {
      if (taken.length === 20) throw new Error('killed')
      taken.push(m.id)
    },
  } as unknown as Door
  let elapsedMs = 0
  const clock = { now: () => 0, mono: () => elapsedMs++ }
  const templates: TemplateSource = {
    find: () => ({ id: 5, name: 't', version: 1, category: '', smsType: 'otp', program: program('{{a}}') }),
    used: () => {},
    refused: () => {},
  }
  const host = { door, clock, templates, hasEnded: async (id: number) => taken.includes(id) }
  const fields = messageFields.parse({ template_id: 't' })
  const recipients = numbersOf(60).map(number => ({ number, variables: { a: '1' } }))
  const shop = account(7, 'shop')
  let turns = 0
  let isOver = false
  const tick = (): void => {
    turns++
    if (!isOver) setImmediate(tick)
  }
  tick()
  await new WebSender(host).preview(shop, fields, recipients)
  isOver = true
  t.ok(turns >= 15 && turns <= 32, `${turns} turns for 60 ms`)

  const first = new WebSender(host)
  t.same(first.once(shop, 'k', 'request'), { kind: 'first' })
  await t.rejects(first.send(shop, fields, recipients, { key: 'k' }), /killed/)
  t.match(new WebSender(host).once(shop, 'k', 'request'), { cutShort: { ids: { length: 60 } } })
})

const numbersOf = (count: number): string[] => Array.from({ length: count }, (_, i) => `+49151${10_000_000 + i}`)

async function node(
  t: Test,
  url: string,
  clock: Clock = systemClock,
): Promise<{ templates: Templates; up(): Promise<void> }> {
  const path = temporaryDirectory()
  const store = openStore({ url, dataDir: path, log: silent, pool: 2 })
  const templates = new Templates({
    path: join(path, 'templates'),
    store,
    clock,
    log: silent,
    counters: new Counters(),
    keepDays: 90,
  })
  t.teardown(async () => {
    await templates.close()
    await store.close()
    rmSync(path, { recursive: true, force: true })
  })
  templates.start()
  await store.firstTry
  return { templates, up: () => new Promise(resolve => store.onUp(resolve)) }
}

const by = { who: 'a test', from: '' }
const textIn = async (on: Templates, account: number, id: string, version?: number): Promise<string> => {
  const made = await on.render(account, id, { a: '1' }, version)
  return 'code' in made ? made.code : `${made.version} ${made.text}`
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const look = async (): Promise<void> => {
    while (!(await holds())) await new Promise(resolve => setImmediate(resolve))
  }
  await within(look(), what)
}

t.test('two nodes on one database know of each other’s edits, and go on without it', async t => {
  const url = await freshDatabase()
  const db = await connect(url)
  t.teardown(() => db.end())
  const [{ id: shop }, { id: other }] = (
    await db.query(`insert into accounts (system_id) values ('shop'), ('other') returning id`)
  ).rows
  const way = await Way.to(url)
  await way.open()
  t.teardown(() => way.close())
  const { templates: here } = await node(t, url)
  const { templates: there, up } = await node(t, way.url)
  const fields = (name: string, content: string) => templateFields.parse({ name, content, sms_type: 'alert' })
  const id = String(await here.rows.create(by, shop, fields('greeting', 'one {{a}}')))
  await until('the other node has it', async () => (await textIn(there, shop, id)) === '1 one 1')
  t.match(await there.render(shop, 'greeting', { a: '1' }), { templateId: id, category: '', sms_type: 'alert' })

  const before = Date.now()
  t.equal(await here.rows.edit(by, Number(id), { content: 'two {{a}}' }), 2)
  await until('the other node has the edit', async () => (await textIn(there, shop, id)) === '2 two 1')
  t.comment(`${Date.now() - before} ms after the edit`)
  t.equal(await textIn(there, shop, id, 1), '1 one 1', 'and the version before')
  t.equal(await textIn(there, shop, id, 3), 'template_unknown')
  t.equal(
    await here.rows.edit(by, Number(id), { content: 'two {{a}}', category: 'x' }),
    2,
    'the same text is no version',
  )
  await t.rejects(here.rows.create(by, shop, fields('greeting', 'x')), { message: 'exists' })
  await t.rejects(here.rows.edit(by, Number(id), { content: 'lost', version: 1 }), { message: 'changed' })
  await t.rejects(here.rows.restore(by, Number(id), 3), { message: 'no_version' })
  t.equal(await here.rows.restore(by, Number(id), 2), 2, 'what it says already')
  await t.rejects(db.query('update template_versions set content = $1', ['x']), /stays as it is/)

  // Whose it is, and an account's own before the gateway's.
  t.equal(await textIn(there, other, id), 'template_unknown')
  await here.rows.create(by, null, fields('greeting', 'gateway {{a}}'))
  await there.refresh()
  t.equal(await textIn(there, other, 'greeting'), '1 gateway 1')
  t.equal(await textIn(there, shop, 'greeting'), '2 two 1')

  // A name that changes hands in one go.
  const taken = await here.rows.create(by, other, fields('b', 'b {{a}}'))
  await here.rows.edit(by, taken, { name: 'c' })
  await here.rows.create(by, other, fields('b', 'new {{a}}'))
  await here.rows.edit(by, taken, { category: 'y' })
  await there.refresh()
  t.equal(await textIn(there, other, 'b'), '1 new 1')
  t.equal(await textIn(there, other, 'c'), '1 b 1')

  await here.rows.edit(by, Number(id), { is_active: false })
  await there.refresh()
  t.equal(await textIn(there, shop, id), 'template_inactive')
  await here.rows.edit(by, Number(id), { is_active: true })
  await there.refresh()
  t.equal(await textIn(there, shop, id), '2 two 1')

  // The database goes for one of them: it renders, counts, and learns afterwards what it missed.
  way.close()
  await t.rejects(there.refresh())
  t.equal(await textIn(there, shop, id), '2 two 1')
  const uses = new TemplateUses(there.rows, { ready: true }, silent)
  uses.note(Number(id), 3, Date.now())
  await uses.write()
  await here.rows.edit(by, Number(id), { content: 'three {{a}}' })
  t.equal(await textIn(there, shop, id), '2 two 1')
  await way.open()
  await within(up(), 'the database')
  await there.refresh()
  t.equal(await textIn(there, shop, id), '3 three 1')
  uses.note(Number(id), 1, Date.now())
  await uses.write()
  t.equal((await here.rows.one(shop, Number(id)))?.uses, 4)
  await here.rows.remove(by, Number(id))
  await there.refresh()
  t.equal(await textIn(there, shop, id), 'template_unknown')
  t.equal(await textIn(there, shop, 'greeting'), '1 gateway 1', 'and its name free')
  t.match(await here.rows.one(shop, Number(id), 1), { content: 'one {{a}}', newest: 3 }, 'its versions can be read')
  await t.rejects(here.rows.edit(by, Number(id), { content: 'x' }), { message: 'gone' })
})

t.test(
  'what many edits leave is loaded in pieces, two at once are two versions, and what was removed goes in the end',
  async t => {
    const url = await freshDatabase()
    const db = await connect(url)
    t.teardown(() => db.end())
    const [{ id: shop }] = (await db.query(`insert into accounts (system_id) values ('shop') returning id`)).rows
    const clock = new ManualClock(Date.now())
    const { templates: here } = await node(t, url, clock)
    const { rows } = here
    const fields = (name: string) => templateFields.parse({ name, content: 'one {{a}}' })
    const id = await rows.create(by, shop, fields('a'))
    // Another's edit is not committed yet when this one begins.
    await db.query('begin')
    await db.query('update templates set version = 2 where id = $1', [id])
    await db.query(`insert into template_versions (template, version, content) values ($1, 2, 'two')`, [id])
    const edited = rows.edit(by, id, { content: 'three' })
    const isWaiting = async () => (await db.query('select from pg_locks where not granted')).rowCount !== 0
    await until('this one waits for it', isWaiting)
    await db.query('commit')
    t.equal(await edited, 3)

    // Some megabytes: more than one page by their octets, and more than one by their number.
    const others = await Promise.all(['b', 'c', 'd'].map(name => rows.create(by, shop, fields(name))))
    await here.refresh()
    const takesA = JSON.stringify([{ name: 'a', required: true, default: null, maxLength: null, pattern: null }])
    const [big = 0, many = 0, last = 0] = others
    await db.query(
      `insert into template_versions (template, version, content, locales, variables)
       select $1, v, v || ' {{a}}', jsonb_build_object('de', repeat('x', 100000)), $2 from generate_series(2, 30) as v`,
      [big, takesA],
    )
    await db.query(
      `insert into template_versions (template, version, content, variables)
       select $1, v, v || ' {{a}}', $2 from generate_series(2, 250) as v`,
      [many, takesA],
    )
    let isAway = true
    const pages: [octets: number, isMore: boolean][] = []
    const { versionsAbove } = rows
    rows.versionsAbove = async (ids, known) => {
      const page = await versionsAbove.call(rows, ids, known)
      pages.push([JSON.stringify(page.versions).length, page.isMore])
      if (isAway && pages.length > 1) throw new Error('the database went away')
      return page
    }
    await db.query(
      `update templates set category = 'seen', version = (select max(version) from template_versions where template = id)
       where id <> $1`,
      [id],
    )
    await t.rejects(here.refresh(), /went away/)
    t.equal(await textIn(here, shop, 'b'), '1 one 1', 'a template is what it was until all of it is here')
    isAway = false
    await here.refresh()
    t.same([await textIn(here, shop, 'b'), await textIn(here, shop, 'c')], ['30 30 1', '250 250 1'])
    const missing: string[] = []
    for (const [template, count] of [[many, 250] as const, [big, 30] as const]) {
      for (let v = 2; v <= count; v++) {
        if ((await textIn(here, shop, String(template), v)) !== `${v} ${v} 1`) missing.push(`${template}/${v}`)
      }
    }
    t.same(missing, [])
    t.match(await here.render(shop, 'd', { a: '1' }), { category: 'seen' })
    t.ok(pages.length >= 6 && pages.every(([octets]) => octets < 1_200_000), JSON.stringify(pages))
    const full = await db.query(
      `insert into template_versions (template, version, content) select $1, v, 'x' from generate_series(2, 500) as v`,
      [last],
    )
    t.equal(full.rowCount, 499)
    await db.query('update templates set version = 500 where id = $1', [last])
    await t.rejects(rows.edit(by, last, { content: 'one too many' }), { message: 'too_many' })

    // All texts of an account have a bound, those of today's removals included.
    const octets = async (n: number) => db.query('update templates set octets = $2 where id = $1', [last, n])
    const [before] = (await db.query('select octets from templates where id = $1', [id])).rows
    t.equal(await rows.edit(by, id, { content: 'x'.repeat(1_000) }), 4)
    const [after] = (await db.query('select octets from templates where id = $1', [id])).rows
    t.ok(after.octets - before.octets > 1_000 && after.octets - before.octets < 1_100, JSON.stringify([before, after]))
    await octets(16 * 2 ** 20)
    await t.rejects(rows.edit(by, id, { content: 'one more' }), { message: 'too_large' })
    await t.rejects(rows.create(by, shop, fields('e')), { message: 'too_large' })
    t.equal(await rows.edit(by, id, { category: 'z' }), 4, 'no text more')
    t.type(await rows.create(by, null, fields('e')), 'number', 'others have theirs')
    await db.query('update templates set deleted_at = now() where id = $1', [last])
    await t.rejects(rows.edit(by, id, { content: 'one more' }), { message: 'too_large' })
    await octets(0)
    t.equal(await rows.restore(by, id, 1), 5)
    await here.refresh()
    t.equal(await textIn(here, shop, 'a'), '5 one 1')
    await db.query('update templates set deleted_at = null where id = $1', [last])

    // Removed: one that nobody used, one of which something was made the other day.
    await rows.remove(by, big)
    await rows.remove(by, many)
    await rows.addUses([{ id: many, count: 1, lastMs: clock.now() }])
    await here.refresh()
    t.equal(await here.forget(), 0, 'it can be read for so long as messages are told of')
    clock.advance(91 * 86_400_000)
    t.equal(await here.forget(), 1)
    t.equal(await rows.one(shop, big), undefined)
    t.match(here.find(shop, String(big), 1, true), { code: 'template_unknown' }, 'nor is it in the copy')
    t.match(here.find(shop, String(many), 250, true), { version: 250 })
    clock.advance(366 * 86_400_000)
    t.equal(await here.forget(), 1)
    t.match(here.find(shop, String(many), 250, true), { code: 'template_unknown' })
    t.match(await rows.list({ owner: shop, after: 0, offset: 0, limit: 2 }), [{ id }, { id: last }])

    // Statements find an account's templates by an index, however many others there are.
    const [{ id: other }] = (await db.query(`insert into accounts (system_id) values ('other') returning id`)).rows
    await db.query(`insert into templates (account, name) select $1, 'n' || n from generate_series(1, 10000) as n`, [
      other,
    ])
    await db.query('analyze templates')
    const plans: string[] = []
    async function explained(text: string, values: unknown[]): Promise<{ rows: never[] }> {
      const { rows } = await db.query(`explain ${text}`, values)
      plans.push(rows.map(row => row['QUERY PLAN']).join('\n'))
      return { rows: [] }
    }
    const client = { query: explained } as unknown as SqlClient
    const looking = new TemplateRows({ transaction: work => work(client), query: explained as never })
    for (const owner of [shop, null]) {
      await looking.list({ owner, after: 0, offset: 0, limit: 50 })
      await t.rejects(looking.create(by, owner, fields('e')), { message: 'too_many' })
    }
    t.equal(plans.length, 4)
    for (const plan of plans) t.match(plan, /templates_account_id_idx/)

    await db.query('delete from accounts where id = $1', [shop])
    await here.refresh()
    t.match(here.find(shop, 'a'), { id }, 'of an account that goes no change tells')
    await here.forget()
    t.match(here.find(shop, 'a'), { code: 'template_unknown' })
    t.match(here.find(shop, String(last), undefined, true), { code: 'template_unknown' })
    t.match(here.find(shop, 'e'), { name: 'e' }, 'and what others have stays')

    await db.query('update templates set deleted_at = now() where account = $1', [other])
    await t.rejects(rows.create(by, other, fields('f')), { message: 'too_many' }, 'making and removing has a bound')
  },
)
