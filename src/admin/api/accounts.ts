// Accounts one at a time for administrators: shown, added, changed, suspended, removed; and the audit of what was changed.
// Every change is a row in the directory and holds on this node when the answer comes. Passwords come in and never go out.

import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { addAccount, editAccount, removeAccount, suspendAccount } from '../../accounts/accountEdit.js'
import { auditEntries } from '../../accounts/audit.js'
import { accountWritten } from '../../accounts/gatewayExport.js'
import { keyEntries, NoAccount } from '../../accounts/keyRows.js'
import type { Access } from '../access.js'
import { read, serving } from '../asked.js'
import { type AccountEntry, accountEntry } from '../lists.js'
import type { AdminSubject } from '../subject.js'
import { asking, changing } from './changing.js'

const KEYS_SHOWN = 200
const MAX_PAGE = 200

const settings = z.record(z.string().max(100), z.unknown())
const password = z.string().max(64).optional()
const addBody = z.strictObject({
  system_id: z.string().max(63),
  /** As in a gateway file. */
  settings: settings.default({}),
  password,
})
const editBody = z.strictObject({
  set: settings.default({}),
  /** Back to their defaults. */
  unset: z.array(z.string().max(100)).max(100).default([]),
  password,
})
const suspendBody = z.strictObject({ reason: z.string().min(1, 'say why').max(200) })
const reasonBody = z.strictObject({ reason: z.string().max(200).default('') })
const named = z.strictObject({ system_id: z.string().max(63) })

const auditQuery = z.strictObject({
  subject: z.string().max(320).optional(),
  /** `account.` means all that begin with it. */
  action: z.string().max(64).optional(),
  who: z.string().max(320).optional(),
  since: z.iso.datetime({ offset: true }).optional(),
  /** `next` of the page before. */
  before: z.coerce.number().int().min(1).optional(),
  limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(50),
})

export interface AccountShown extends AccountEntry {
  /** Under the names of the gateway file, those that are not the default. */
  settings: Record<string, unknown>
  has_password: boolean
  /** Of the spans that have a limit. */
  quota: { span: string; limit: number; used: number; resets_at: string }[]
  /** The first of them. */
  keys: Awaited<ReturnType<typeof keyEntries>>
}

export function adminAccountRoutes(app: FastifyInstance, subject: AdminSubject, access: Access): void {
  const { desk } = subject

  app.post('/accounts', async (request, reply) => {
    const { system_id, settings: set, password } = read(addBody, request.body)
    const change = { set, unset: [], password }
    serving(subject)
    await changing(desk, () => addAccount(desk.store, desk.secrets, access.actor(request.raw), system_id, change))
    reply.code(201)
    return entryOf(system_id)
  })

  app.get('/accounts/:system_id', async (request): Promise<AccountShown> => {
    const { system_id: account } = read(named, request.params)
    serving(subject)
    const { written, keys } = await asking(async () => {
      const written = await desk.store.withClient(client => accountWritten(client, account))
      if (written === undefined) throw new NoAccount(account)
      return { written, keys: await keyEntries(desk.store, { account, after: 0, limit: KEYS_SHOWN }) }
    })
    const found = subject.directory.accountBySystemId(account)
    const quota = (found === undefined ? [] : desk.quotas.standing(found)).map(({ resetMs, ...one }) => ({
      ...one,
      resets_at: new Date(resetMs).toISOString(),
    }))
    return { ...entryOf(account), settings: written, has_password: found?.secret != null, quota, keys }
  })

  app.patch('/accounts/:system_id', async request => {
    const { system_id } = read(named, request.params)
    const change = read(editBody, request.body)
    serving(subject)
    const changed = await changing(desk, () =>
      editAccount(desk.store, desk.secrets, access.actor(request.raw), system_id, change),
    )
    return { ...entryOf(system_id), changed }
  })

  app.post('/accounts/:system_id/suspend', async request => {
    const { reason } = read(suspendBody, request.body)
    return suspend(request, reason)
  })

  app.post('/accounts/:system_id/resume', async request => suspend(request, null))

  app.delete('/accounts/:system_id', async request => {
    const { system_id } = read(named, request.params)
    const { reason } = read(reasonBody, request.body)
    serving(subject)
    await changing(desk, () => removeAccount(desk.store, desk.secrets, access.actor(request.raw), system_id, reason))
    return { removed: system_id }
  })

  app.get('/audit', async request => {
    const { since, ...asked } = read(auditQuery, request.query)
    const sinceMs = since === undefined ? undefined : Date.parse(since)
    const entries = await asking(() => auditEntries(desk.store, { ...asked, sinceMs }))
    return { audit: entries, next: entries.length < asked.limit ? null : (entries.at(-1)?.id ?? null) }
  })

  async function suspend(request: { params: unknown; raw: Parameters<Access['actor']>[0] }, why: string | null) {
    const { system_id } = read(named, request.params)
    serving(subject)
    const changed = await changing(desk, () =>
      suspendAccount(desk.store, desk.secrets, access.actor(request.raw), system_id, why),
    )
    return { ...entryOf(system_id), changed }
  }

  /** Throws when another administrator has just removed it. */
  function entryOf(systemId: string): AccountEntry {
    const account = subject.directory.accountBySystemId(systemId)
    if (account === undefined) throw new NoAccount(systemId)
    return accountEntry(account, subject.binds.count(account.id))
  }
}
