// Who may do what over HTTP: each route there is, asked by each role and by a key with each scope. The table says what a
// route needs; a route without a row fails, and so does a row without a route.

import { type FastifyInstance, fastify } from 'fastify'
import t, { type Test } from 'tap'
import { type KeyGrant, type Scope, scopeSet, scopes } from '../src/accounts/keys.js'
import { type Role, roles } from '../src/accounts/peopleRows.js'
import { Access } from '../src/admin/access.js'
import { type ApiHost, apiRoutes } from '../src/admin/api/api.js'
import { Peers } from '../src/admin/peer.js'
import { Problem, sendProblem } from '../src/admin/problem.js'
import { adminRoutes } from '../src/admin/routes.js'
import { account, Subject } from './support/admin-subject.js'

/** What each route of an account needs; open: nothing. */
const API = `
POST   /sms/send                       messages:send
POST   /sms/send-batch                 messages:send
POST   /sms/send-stream                messages:send
GET    /sms                            messages:read
GET    /sms/:id                        messages:read
POST   /sms/:id/cancel                 messages:send
DELETE /sms/:id                        messages:send
GET    /sms/batches/:id                messages:read
POST   /sms/batches/:id/cancel         messages:send
GET    /phone/validate/:number         messages:read
GET    /analytics/stats                messages:read
GET    /sandbox/numbers                messages:read
GET    /sandbox/messages               messages:read
POST   /sandbox/inbound                messages:send
POST   /otp/generate                   otp:write
POST   /otp/verify                     otp:write
POST   /otp/redeem                     otp:write
POST   /otp/resend/:session_id         otp:write
POST   /otp/next/:session_id           otp:write
POST   /otp/cancel/:session_id         otp:write
GET    /otp/sessions                   otp:write
GET    /otp/blocks                     otp:write
DELETE /otp/blocks/:prefix             otp:write
GET    /otp/:session_id                otp:write
GET    /keys                           account:read
POST   /keys                           account:write
POST   /keys/:id/rotate                account:write
DELETE /keys/:id                       account:write
GET    /webhooks                       webhooks:read
POST   /webhooks                       webhooks:write
GET    /webhooks/secret                webhooks:write
GET    /webhooks/failures              webhooks:read
GET    /webhooks/:id                   webhooks:read
PATCH  /webhooks/:id                   webhooks:write
DELETE /webhooks/:id                   webhooks:write
POST   /webhooks/:id/test              webhooks:write
POST   /webhooks/:id/rotate            webhooks:write
POST   /webhooks/:id/enable            webhooks:write
GET    /webhooks/:id/failures          webhooks:read
POST   /webhooks/:id/replay            webhooks:write
GET    /templates                      templates:read
POST   /templates                      templates:write
GET    /templates/:id                  templates:read
PATCH  /templates/:id                  templates:write
DELETE /templates/:id                  templates:write
POST   /templates/:id/preview          templates:read
POST   /templates/:id/versions/:version/restore templates:write
GET    /billing/balance                billing:read
GET    /billing/ledger                 billing:read
GET    /payments/history               billing:read
GET    /billing/invoices               billing:read
GET    /billing/invoices/:number       billing:read
GET    /billing/invoices/:number.csv   billing:read
GET    /billing/invoices/:number.html  billing:read
POST   /auth/register                  open
POST   /auth/login                     open
POST   /auth/refresh                   open
POST   /auth/logout                    open
POST   /auth/password-reset/request    open
POST   /auth/password-reset/confirm    open
POST   /auth/token                     open
GET    /auth/me                        open
GET    /auth/sessions                  open
DELETE /auth/sessions/:id              open
`

/** The same below /admin. */
const ADMIN = `
GET    /accounts                                      admin:read
POST   /accounts                                      admin:write
GET    /accounts/:account/otp/:session_id             admin:write
GET    /accounts/:account/otp/blocks                  admin:write
DELETE /accounts/:account/otp/blocks/:prefix          admin:write
POST   /accounts/:account/otp/cancel/:session_id      admin:write
POST   /accounts/:account/otp/generate                admin:write
POST   /accounts/:account/otp/next/:session_id        admin:write
POST   /accounts/:account/otp/redeem                  admin:write
POST   /accounts/:account/otp/resend/:session_id      admin:write
GET    /accounts/:account/otp/sessions                admin:write
POST   /accounts/:account/otp/verify                  admin:write
GET    /accounts/:account/webhooks                    admin:read
POST   /accounts/:account/webhooks                    admin:write
DELETE /accounts/:account/webhooks/:id                admin:write
GET    /accounts/:account/webhooks/:id                admin:read
PATCH  /accounts/:account/webhooks/:id                admin:write
POST   /accounts/:account/webhooks/:id/enable         admin:write
GET    /accounts/:account/webhooks/:id/failures       admin:read
POST   /accounts/:account/webhooks/:id/replay         admin:write
POST   /accounts/:account/webhooks/:id/rotate         admin:write
POST   /accounts/:account/webhooks/:id/test           admin:write
GET    /accounts/:account/webhooks/failures           admin:read
GET    /accounts/:account/webhooks/secret             admin:write
GET    /accounts/:account/templates                   admin:read
POST   /accounts/:account/templates                   admin:write
DELETE /accounts/:account/templates/:id               admin:write
GET    /accounts/:account/templates/:id               admin:read
PATCH  /accounts/:account/templates/:id               admin:write
POST   /accounts/:account/templates/:id/preview       admin:read
POST   /accounts/:account/templates/:id/versions/:version/restore admin:write
DELETE /accounts/:system_id                           admin:write
GET    /accounts/:system_id                           admin:read
PATCH  /accounts/:system_id                           admin:write
POST   /accounts/:system_id/resume                    admin:write
POST   /accounts/:system_id/suspend                   admin:write
GET    /analytics                                     admin:read
GET    /audit                                         admin:read
POST   /carrier-test                                  admin:write
GET    /carriers                                      admin:read
POST   /carriers                                      admin:write
DELETE /carriers/:name                                admin:write
GET    /carriers/:name                                admin:read
PATCH  /carriers/:name                                admin:write
GET    /carriers/:name/links                          admin:read
POST   /carriers/:name/pause                          admin:write
POST   /carriers/:name/resume                         admin:write
POST   /carriers/:name/test                           admin:write
GET    /consent                                       admin:read
POST   /consent                                       admin:write
GET    /consent/:number                               admin:read
GET    /dashboard                                     admin:read
GET    /dnd                                           admin:read
POST   /dnd                                           admin:write
DELETE /dnd/:list                                     admin:write
GET    /credit                                        admin:read
GET    /credit/:account                               admin:read
POST   /credit/:account/adjustment                    admin:write
PUT    /credit/:account/notice                        admin:write
GET    /credit/:account/statement                     admin:read
POST   /credit/:account/top-up                        admin:write
POST   /credit/:account/withdrawal                    admin:write
GET    /credit-leases                                 admin:read
POST   /credit-leases/release                         admin:write
POST   /drain                                         admin:write
GET    /inbound                                       admin:read
POST   /inbound/test                                  admin:read
GET    /invoices                                      admin:read
POST   /invoices                                      admin:write
POST   /invoices/all                                  admin:write
PUT    /invoices/addresses/:account                   admin:write
GET    /invoices/:number                              admin:read
GET    /invoices/:number.csv                          admin:read
GET    /invoices/:number.html                         admin:read
POST   /invoices/:number/pay                          admin:write
POST   /invoices/:number/void                         admin:write
GET    /keys                                          admin:read
POST   /keys                                          admin:write
DELETE /keys/:id                                      admin:write
POST   /keys/:id/rotate                               admin:write
GET    /messages                                      admin:read
GET    /messages/:id                                  admin:read
POST   /messages/cancel                               admin:write
GET    /pricing-rules                                 admin:read
POST   /pricing-rules                                 admin:write
DELETE /pricing-rules/:tariff/:position               admin:write
PUT    /pricing-rules/:tariff/:position               admin:write
GET    /queue                                         admin:read
POST   /queue/cancel                                  admin:write
POST   /queue/count                                   admin:read
GET    /queue/messages                                admin:read
POST   /queue/move                                    admin:write
POST   /queue/retry                                   admin:write
GET    /routes                                        admin:read
POST   /routes                                        admin:write
DELETE /routes/:name                                  admin:write
PATCH  /routes/:name                                  admin:write
POST   /routes/:name/move                             admin:write
POST   /routes/explain                                admin:read
GET    /status                                        admin:read
GET    /templates                                     admin:read
POST   /templates                                     admin:write
DELETE /templates/:id                                 admin:write
GET    /templates/:id                                 admin:read
PATCH  /templates/:id                                 admin:write
POST   /templates/:id/preview                         admin:read
POST   /templates/:id/versions/:version/restore       admin:write
GET    /tariffs                                       admin:read
POST   /tariffs                                       admin:write
POST   /tariffs/price                                 admin:read
DELETE /tariffs/:name                                 admin:write
GET    /tariffs/:name                                 admin:read
PATCH  /tariffs/:name                                 admin:write
GET    /tariffs/:name/export                          admin:read
POST   /tariffs/:name/import                          admin:write
GET    /tariffs/:name/prices                          admin:read
PATCH  /tariffs/:name/prices                          admin:write
GET    /trace                                         admin:read
PUT    /trace                                         admin:write
GET    /trace/stream                                  admin:read
GET    /unclaimed                                     admin:read
POST   /unclaimed                                     admin:write
GET    /users                                         admin:read
POST   /users                                         admin:write
GET    /otp/blocked                                   admin:read
POST   /otp/pepper                                    admin:write
POST   /otp/release                                   admin:write
DELETE /users/:email                                  admin:write
PATCH  /users/:email                                  admin:write
POST   /users/:email/reset                            admin:write
POST   /users/:email/resume                           admin:write
POST   /users/:email/suspend                          admin:write
`

/** What each role may do with the accounts of its organisation. */
const MAY: Readonly<Record<Role, readonly Scope[]>> = {
  owner: scopes.filter(scope => !scope.startsWith('admin:')),
  admin: scopes.filter(scope => !scope.startsWith('admin:')),
  developer: [
    ...(['messages:send', 'messages:read', 'webhooks:read', 'webhooks:write', 'otp:write'] as const),
    ...(['templates:read', 'templates:write', 'account:read'] as const),
  ],
  viewer: ['messages:read', 'webhooks:read', 'templates:read', 'account:read'],
}

interface Asker {
  readonly name: string
  /** What it sends as its key. */
  readonly key: string
  readonly may: readonly Scope[]
}

const shop = account(7, 'shop')
const token = (name: string): string => `eyJ0.${name}.x`
const askers: readonly Asker[] = [
  ...scopes.map(scope => ({ name: `a key with ${scope}`, key: `key ${scope}`, may: [scope] })),
  { name: 'a key of which nothing is said', key: 'key ', may: MAY.owner },
  ...roles.map(role => ({ name: role, key: token(role), may: MAY[role] })),
  { name: 'viewer and operator', key: token('viewer-operator'), may: [...MAY.viewer, 'admin:read', 'admin:write'] },
]

const host = {
  ...{ clock: new Subject().clock, log: new Subject().log, counters: new Subject().counters },
  account: () => shop,
  peers: new Peers([]),
  withoutKey: () => undefined,
  keyUsed: () => {},
  key: (key: string): KeyGrant | undefined => {
    const words = /^key (.*)$/.exec(key)?.[1]
    if (words === undefined) return undefined
    const set = scopeSet(words === '' ? [] : [words])
    return { id: 1, account: 7, scopes: set, kind: 'live', expiresMs: 0, allowFrom: [] }
  },
  limits: { standing: () => [] },
  people: {
    tokens: { read: async (text: string) => ({ kind: 'person', session: text.split('.')[1] }) },
    person: async (session: string) => {
      const [role, operator] = session.split('-')
      return { email: 'a@b.c', role, operator: operator !== undefined, accounts: [7] }
    },
  },
} as unknown as ApiHost

/** The real routes, which answer 299 when they would let in. */
async function tree(t: Test): Promise<{ app: FastifyInstance; routes: string[] }> {
  const app = fastify()
  t.teardown(() => app.close())
  const routes: string[] = []
  app.addHook('onRoute', ({ method, url }) => {
    for (const one of [method].flat()) if (one !== 'HEAD') routes.push(`${one} ${url}`)
  })
  app.addHook('preParsing', async (_request, reply) => {
    reply.code(299).send()
  })
  app.setErrorHandler((error, _request, reply) => {
    if (error instanceof Problem) return sendProblem(reply, error)
    throw error
  })
  const subject = new Subject()
  // Whoever is let in finds the account that the routes name.
  subject.accounts = [account(7, '1')]
  const access = new Access({
    key: null,
    clock: subject.clock,
    log: subject.log,
    peers: host.peers,
    refused: () => {},
    keys: host,
  })
  app.register(async scope => apiRoutes(scope, host), { prefix: '/api/v1' })
  app.register(async scope => adminRoutes(scope, subject, {} as never, access, host.people), {
    prefix: '/api/v1/admin',
  })
  await app.ready()
  return { app, routes }
}

const rowsOf = (table: string): [route: string, needs: string][] =>
  table
    .trim()
    .split('\n')
    .filter(line => line !== '')
    .map(line => {
      const [method = '', path = '', needs = ''] = line.split(/ +/)
      return [`${method} ${path}`, needs]
    })

t.test('every route has a row in the table, and every row a route', async t => {
  const { routes } = await tree(t)
  const there = (isAdmin: boolean): string[] =>
    [...new Set(routes.filter(route => route.includes(' /api/v1/admin') === isAdmin))]
      .map(route => route.replace(isAdmin ? '/api/v1/admin' : '/api/v1', ''))
      .sort()
  t.same(
    rowsOf(API)
      .map(([route]) => route)
      .sort(),
    there(false),
    'routes of accounts',
  )
  t.same(
    rowsOf(ADMIN)
      .map(([route]) => route)
      .sort(),
    there(true),
    'routes of administration',
  )
})

t.test('each role and each scope opens what the table says, and nothing else', async t => {
  const { app } = await tree(t)
  const rows = [
    ...rowsOf(API).map(([route, needs]) => [route.replace(' ', ' /api/v1'), needs] as const),
    ...rowsOf(ADMIN).map(([route, needs]) => [route.replace(' ', ' /api/v1/admin'), needs] as const),
  ]
  const ask = async (route: string, key?: string): Promise<string> => {
    const [method = '', path = ''] = route.split(' ')
    const url = path.replaceAll(/:\w+/g, '1')
    const headers = key === undefined ? {} : { authorization: `Bearer ${key}` }
    const answer = await app.inject({ method: method as 'GET', url, headers })
    return answer.statusCode === 299 ? 'in' : `${answer.statusCode} ${answer.json().code}`
  }
  for (const [route, needs] of rows) {
    const isOpen = needs === 'open'
    const nobody = await ask(route)
    if (isOpen) t.equal(nobody, 'in', route)
    else t.match(nobody, /^(401 key_missing|403 no_admin_key)$/, `${route} without a key`)
    const wrong: string[] = []
    for (const { name, key, may } of askers) {
      const wanted = isOpen || (may as readonly string[]).includes(needs) ? 'in' : '403 scope_missing'
      const got = await ask(route, key)
      if (got !== wanted) wrong.push(`${name}: ${got}, wanted ${wanted}`)
    }
    t.same(wrong, [], route)
  }
})
