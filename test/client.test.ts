// A program of somebody else's, written against a client that a generator made of /openapi.json: it compiles under strict
// rules, and does with the daemon what a customer does.

import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { api, KEY } from './support/api.js'
import { house, story } from './support/house.js'
import { smsc } from './support/smsc.js'

const MODULES = resolve('node_modules')

/** What a customer writes. Whatever the document does not say, the compiler does not let pass. */
const PROGRAM = `
import createClient, { type Client } from 'openapi-fetch'
import type { components, paths } from './api.js'

type Problem = components['schemas']['Problem']
const [baseUrl, key, hook] = process.argv.slice(2) as [string, string, string]
const client: Client<paths> = createClient<paths>({ baseUrl, headers: { authorization: \`Bearer \${key}\` } })

function must<T>(what: string, { data, error }: { data?: T; error?: Problem | undefined }): NonNullable<T> {
  if (data === undefined || data === null) throw new Error(\`\${what}: \${error?.code} \${error?.detail}\`)
  return data
}

const sent = must('send', await client.POST('/api/v1/sms/send', {
  params: { header: { 'idempotency-key': 'an order' } },
  body: {
    to: [{ number: '+4915112345678', custom_id: 'one' }, '+4915112345679'],
    message: 'Your parcel is here.', from_number: 'Shop', sms_type: 'transactional', tags: ['parcel'],
  },
}))
const ids: string[] = sent.message_ids
const segments: number = sent.segments
const [id = ''] = ids
const details = must('details', await client.GET('/api/v1/sms/{id}', { params: { path: { id } } }))
const page = must('list', await client.GET('/api/v1/sms', { params: { query: { limit: 1 } } }))
const next: string | null = page.next_cursor
const rest = must('list on', await client.GET('/api/v1/sms', { params: { query: { limit: 1, cursor: next ?? '' } } }))
const made = must('key', await client.POST('/api/v1/keys', { body: { name: 'theirs', scopes: ['messages:read'], kind: 'live' } }))
const webhook = must('webhook', await client.POST('/api/v1/webhooks', { body: { url: hook, events: ['message.delivered'] } }))
const reader: Client<paths> = createClient<paths>({ baseUrl, headers: { 'x-api-key': made.key } })
const { error: refused, response } = await reader.POST('/api/v1/sms/send', { body: { to: '+4915112345678', message: 'x' } })
const problem: Problem | undefined = refused
const { error: invalid } = await client.POST('/api/v1/sms/send', { body: { to: '1', message: '' } })
const { error: none } = await client.GET('/api/v1/sms/{id}', { params: { path: { id: '1111111111111111' } } })
// @ts-expect-error a message is for somebody
const wrong = (): unknown => client.POST('/api/v1/sms/send', { body: { message: 'x' } })
// @ts-expect-error there is no such type
const other = (): unknown => client.POST('/api/v1/sms/send', { body: { to: '1', message: 'x', sms_type: 'spam' } })
console.log(JSON.stringify({
  ids, segments, details, listed: [...page.messages, ...rest.messages].map(one => one.id), made, webhook,
  refused: { status: response.status, code: problem?.code, request: problem?.request_id },
  invalid: invalid?.errors, none: none?.code, never: [wrong, other].length,
}))
`

story(
  'a client that a generator made of the OpenAPI document compiles strictly and does what a customer does',
  async t => {
    const carrier = await smsc(t)
    const daemon = await house(t, {
      accounts: { shop: { apiKey: KEY } },
      carriers: { up: carrier },
      config: { admin: { listen: '127.0.0.1:0' }, webhooks: { allow: ['127.0.0.0/8'] } },
    })
    const place = join(daemon.dir, 'client')
    mkdirSync(place)
    symlinkSync(MODULES, join(place, 'node_modules'))
    const run = (...args: string[]) => spawnSync(process.execPath, args, { cwd: place, encoding: 'utf8' })

    const document = await api(daemon.admin)('GET', '/openapi.json', { key: null })
    t.equal(document.status, 200)
    writeFileSync(join(place, 'openapi.json'), document.text)
    const generated = run(join(MODULES, 'openapi-typescript/bin/cli.js'), 'openapi.json', '-o', 'api.ts')
    t.equal(generated.status, 0, generated.stderr)
    t.match(readFileSync(join(place, 'api.ts'), 'utf8'), /"\/api\/v1\/sms\/send": \{/)

    writeFileSync(join(place, 'package.json'), '{"type":"module"}')
    writeFileSync(join(place, 'program.ts'), PROGRAM)
    const compiler = join(MODULES, 'typescript7/bin/tsc')
    const rules = ['--strict', '--exactOptionalPropertyTypes', '--noUncheckedIndexedAccess', '--noUnusedLocals']
    const where = ['--target', 'es2023', '--module', 'nodenext', '--types', 'node', '--pretty', 'false']
    const compiled = run(compiler, ...rules, ...where, 'program.ts')
    t.equal(`${compiled.status} ${compiled.stdout}`, '0 ', 'it compiles')

    // It asks while we wait: its answers come from the daemon, not from us.
    const ran = run('program.js', `http://127.0.0.1:${daemon.admin}`, KEY, `http://127.0.0.1:${daemon.admin}/theirs`)
    t.equal(ran.status, 0, ran.stderr)
    const said = JSON.parse(ran.stdout)
    t.equal(said.ids.length, 2)
    t.equal(said.segments, 2)
    t.match(said.details, { id: said.ids[0], to: '4915112345678', from: 'Shop', custom_id: 'one' })
    t.same(said.listed, [...said.ids].reverse())
    t.match(said.made, { name: 'theirs', scopes: ['messages:read'], key: /^tl_shop_/ })
    t.match(said.webhook, { events: ['message.delivered'], secret: /^whsec_/, enabled: true })
    t.match(said.refused, { status: 403, code: 'scope_missing', request: /./ })
    t.match(said.invalid[0], { pointer: /^\// })
    t.equal(said.none, 'no_message')
  },
)
