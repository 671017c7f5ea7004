// The side-port with what it shows and asks: the running house as the operator's routes and the applications' see it.
// Decides nothing.

import type { Consent } from '../accounts/consent.js'
import type { Directory } from '../accounts/directory.js'
import type { Limits } from '../accounts/limits.js'
import type { People } from '../accounts/people.js'
import type { Quotas } from '../accounts/quota.js'
import type { Secrets } from '../accounts/secrets.js'
import { type Admin, createAdmin } from '../admin/admin.js'
import type { ApiHost } from '../admin/api/api.js'
import { isOurOwn } from '../admin/api/headers.js'
import { Peers } from '../admin/peer.js'
import type { AdminSubject, Ports } from '../admin/subject.js'
import type { Config } from '../config.js'
import type { Door } from '../intake/submit.js'
import { MAX_RECIPIENTS } from '../intake/web/fields.js'
import { WebSender } from '../intake/web/sender.js'
import type { Lookup } from '../returns/lookup.js'
import type { Past } from '../returns/past.js'
import type { Replies } from '../returns/replies.js'
import type { Otp } from '../services/otp/otp.js'
import type { Templates } from '../services/templates/templates.js'
import type { Spool } from '../spool/contract.js'
import type { Store } from '../store/postgres.js'
import type { Billing } from './billing.js'
import type { MailOut } from './mailOut.js'
import type { Sandbox } from './sandbox.js'
import type { Told } from './told.js'

type Shown = Pick<
  AdminSubject,
  | 'version'
  | 'startedMs'
  | 'clock'
  | 'log'
  | 'counters'
  | 'dispatch'
  | 'routing'
  | 'lines'
  | 'binds'
  | 'totals'
  | 'tally'
  | 'smppCounts'
  | 'history'
  | 'credit'
  | 'analytics'
  | 'trace'
  | 'syncMs'
  | 'commitRecords'
>

interface SideParts extends Shown {
  readonly config: Config
  readonly credit: Shown['credit'] & Pick<Billing, 'priced'>
  readonly store: Store
  readonly secrets: Secrets
  readonly directory: Directory
  readonly spool: Spool
  readonly consent: Consent
  readonly replies: Replies
  readonly told: Told
  readonly mailOut: MailOut
  readonly people: People
  readonly limits: Limits
  readonly quotas: Quotas
  readonly past: Past
  readonly lookup: Lookup
  readonly door: Door
  readonly sandbox: Sandbox | null
  readonly templates: Templates
  readonly otp: Otp
  keyUsed(id: number): void
  ports(): Ports | null
  isStopping(): boolean
  drain(): void
}

/** Not listening yet. */
export function sidePort(parts: SideParts): Promise<Admin> {
  const { config, store, secrets, directory, spool, told, quotas, consent, replies, clock, counters, log, door } = parts
  const { version, startedMs, dispatch, routing, lines, binds, totals, tally, smppCounts, history, trace, analytics } =
    parts
  const { lookup, people, limits, past, sandbox, syncMs, commitRecords } = parts
  const refresh = async (): Promise<void> => {
    await directory.refresh()
    await parts.credit.priced()
  }
  const peers = new Peers(config.admin.trustedProxies)
  const hasEnded = async (id: number): Promise<boolean> => (await lookup.ended(id)) !== undefined
  const sender = new WebSender({ door, clock, templates: parts.templates, hasEnded })
  const templates = { templates: parts.templates, sender, currency: config.billing.currency }
  const otp = { otp: parts.otp, sender, clock }
  const web: ApiHost = {
    ...{ clock, counters, log, peers, people, secrets, limits, spool, past, sandbox },
    account: id => directory.account(id),
    accountBySystemId: systemId => directory.accountBySystemId(systemId),
    key: key => directory.key(key),
    keyByHash: hash => directory.keyByHash(hash),
    keyUsed: id => parts.keyUsed(id),
    withoutKey: request => {
      const { apiKeyRequired, openAccount, allowedOrigins } = config.admin
      if (apiKeyRequired || !peers.isOfThisMachine(request.raw)) return undefined
      if (!isOurOwn(request, allowedOrigins)) return undefined
      return directory.accountBySystemId(openAccount)
    },
    desk: { store, secrets, refresh },
    billing: config.billing,
    ...{ sender, templates, otp },
    webhooks: told.desk,
    analytics: {
      analytics,
      carriers: {
        carrierId: name => directory.carriers().find(row => row.name === name)?.id,
        carrierName: id => directory.carriers().find(row => row.id === id)?.name ?? `#${id}`,
      },
    },
    maxRecipients: MAX_RECIPIENTS,
    synced: () => spool.synced(),
  }
  const subject: AdminSubject = {
    ...{ version, startedMs, clock, log, config, spool, dispatch, routing, lines, binds, totals, tally, smppCounts },
    ...{ directory, counters, history, analytics, store, credit: parts.credit, trace, syncMs, commitRecords },
    desk: {
      ...{ store, secrets, consent, replies, spool, quotas, refresh },
      webhooks: told.desk,
      ...{ templates, otp },
      account: id => directory.account(id),
    },
    webhookMs: told.webhooks.post.latency,
    caught: parts.mailOut.caught,
    get ports() {
      return parts.ports()
    },
    get stopping() {
      return parts.isStopping()
    },
    drain: () => parts.drain(),
  }
  return createAdmin(subject, web)
}
