// Cancelling messages that still wait, many at a time: a batch for its account, and single ones or a batch for whoever
// administers, which the audit tells. Knows requests; one message's own route stands with the message.

import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { KeyKind } from '../../accounts/keys.js'
import { words } from '../../accounts/words.js'
import { idOf } from '../../base/ids.js'
import { type BatchNote, batchOf } from '../../intake/web/sender.js'
import type { Message } from '../../model/message.js'
import { SANDBOX_LANE } from '../../routing/sandbox.js'
import type { Spool } from '../../spool/contract.js'
import { type Done, read, serving } from '../asked.js'
import { Problem } from '../problem.js'
import type { AdminSubject } from '../subject.js'
import type { Api } from './api.js'
import { needs } from './caller.js'

/** Named one by one. */
const MAX_IDS = 1_000
/** Of those, what the audit has. */
const MAX_TOLD = 20

const canceledAnswer = z
  .object({
    batch_id: z.string(),
    canceled: z.number(),
    left: z.number().describe('a carrier has them, and they cannot be called back'),
  })
  .meta({ id: 'BatchCanceled' })

const body = z
  .strictObject({
    ids: z
      .array(z.string().refine(text => idOf(text) !== 0, 'must be a message id'))
      .min(1)
      .max(MAX_IDS)
      .optional(),
    /** system_id */
    account: words(64).min(1).optional(),
    batch: words(32).min(1).optional(),
    reason: words(200).default(''),
  })
  .refine(
    ({ ids, account, batch }) => (ids === undefined) === (account !== undefined && batch !== undefined),
    'name ids, or an account and a batch of its',
  )

export interface Canceled {
  canceled: number
  /** In a carrier's hands. */
  left: number
  /** Neither waiting nor with a carrier. */
  over: number
  /** Of those that were named one by one. */
  messages: { id: string; became: 'canceled' | 'left' | 'over' }[]
}

export function cancelRoutes(app: Api, spool: Cancelling): void {
  app.scope.withTypeProvider<ZodTypeProvider>().post(
    '/sms/batches/:id/cancel',
    {
      ...needs('messages:send'),
      schema: {
        summary: 'Cancel what still waits of a batch',
        tags: ['Messages'],
        params: z.object({ id: z.string().max(32) }),
        response: { 200: canceledAnswer, ...app.problems },
      },
    },
    async request => {
      const { account, kind } = app.whoOf(request)
      const { id } = request.params
      const note = batchOf(spool, account.id, id)
      if (note === undefined) throw noBatch()
      const { canceled, left } = await cancelBatch(spool, note, kind)
      return { batch_id: id, canceled, left }
    },
  )
}

/** Below /admin. */
export function adminCancelRoutes(app: FastifyInstance, subject: AdminSubject, done: Done): void {
  app.post('/messages/cancel', async request => {
    const { ids, account: name, batch, reason } = read(body, request.body)
    const { directory, desk } = serving(subject)
    const why = reason === '' ? {} : { reason }
    if (ids !== undefined) {
      const canceled = await cancelEach(desk.spool, ids)
      const { messages: _, ...counts } = canceled
      done(request, 'message_cancel', { ...why, ids: ids.slice(0, MAX_TOLD), ...counts })
      return canceled
    }
    const account = directory.accountBySystemId(name as string)
    if (account === undefined) {
      throw new Problem(404, 'no_account', 'There is no such account', `no account is called ${name}`)
    }
    const note = batchOf(desk.spool, account.id, batch as string)
    if (note === undefined) throw noBatch()
    const counts = await cancelBatch(desk.spool, note, 'live')
    done(request, 'message_cancel', { ...why, account: account.systemId, batch, ...counts })
    return { ...counts, over: note.accepted - counts.canceled - counts.left, messages: [] } satisfies Canceled
  })
}

const noBatch = (): Problem => new Problem(404, 'no_batch', 'There is no such batch', 'batches are known for 30 days')

type Cancelling = Pick<Spool, 'cancel' | 'find' | 'kept' | 'synced' | 'walk'>

/** Durable when it resolves. A test key cancels what stays in the sandbox alone; the rest is left. */
async function cancelBatch(spool: Cancelling, { account, ids }: BatchNote, kind: KeyKind) {
  const isTheirs = (m: Message): boolean => kind === 'live' || m.lane === SANDBOX_LANE
  let [canceled, left] = [0, 0]
  for (const [first, last] of ids) {
    for await (const { messages, after } of spool.walk({ account }, first - 1)) {
      for (const m of messages) {
        if (m.id > last) break
        if (isTheirs(m) && spool.cancel(m.id)) canceled++
        else left++
      }
      if (after >= last) break
    }
  }
  await spool.synced()
  return { canceled, left }
}

async function cancelEach(spool: Cancelling, given: readonly string[]): Promise<Canceled> {
  const total: Canceled = { canceled: 0, left: 0, over: 0, messages: [] }
  for (const id of given) {
    const became = spool.cancel(idOf(id)) ? 'canceled' : spool.find(idOf(id)) === undefined ? 'over' : 'left'
    total[became]++
    total.messages.push({ id, became })
  }
  await spool.synced()
  return total
}
