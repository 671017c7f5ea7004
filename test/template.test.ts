// Templates without a daemon: what comes of a text and its values, what a pattern takes, and how two nodes on one database
// know of each other's edits, with it and without it.

import { rmSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { countSegmentsOfText } from '../protocols/gsm/segment.js'
import { readProfile } from '../src/accounts/smppProfile.js'
import { systemClock } from '../src/base/clock.js'
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
import { Templates } from '../src/services/templates/templates.js'
import { openStore } from '../src/store/postgres.js'
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
  t.equal(one.render({ who: 'me' }, { code: '1', who: 'all' }), '1 me ', 'own values go before those of all')
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
        const draft = draftOf(fields, [to], '', found)
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

async function node(t: Test, url: string): Promise<{ templates: Templates; up(): Promise<void> }> {
  const path = temporaryDirectory()
  const store = openStore({ url, dataDir: path, log: silent, pool: 2 })
  const templates = new Templates({
    path: join(path, 'templates'),
    store,
    clock: systemClock,
    log: silent,
    counters: new Counters(),
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
  there.used(id, 3)
  await there.writeUses()
  await here.rows.edit(by, Number(id), { content: 'three {{a}}' })
  t.equal(await textIn(there, shop, id), '2 two 1')
  await way.open()
  await within(up(), 'the database')
  await there.refresh()
  t.equal(await textIn(there, shop, id), '3 three 1')
  there.used(Number(id))
  await there.writeUses()
  t.equal((await here.rows.one(shop, Number(id)))?.uses, 4)
  await here.rows.remove(by, Number(id))
  await there.refresh()
  t.equal(await textIn(there, shop, id), 'template_unknown')
  t.equal(await textIn(there, shop, 'greeting'), '1 gateway 1', 'and its name free')
  t.match(await here.rows.one(shop, Number(id), 1), { content: 'one {{a}}', newest: 3 }, 'its versions can be read')
  await t.rejects(here.rows.edit(by, Number(id), { content: 'x' }), { message: 'gone' })
})
