// The house put together: builds in one order, starts in that order, stops in reverse.
// Decides nothing that a station could decide.

import { join } from 'node:path'
import { type Codings, codingsWith, standardCodings } from '../protocols/gsm/coding.js'
import { SessionClock } from '../protocols/smpp/session-clock.js'
import { AuditRetention } from './accounts/auditRetention.js'
import { Consent } from './accounts/consent.js'
import { Directory } from './accounts/directory.js'
import { KeyUses } from './accounts/keyUses.js'
import { Limits } from './accounts/limits.js'
import { People } from './accounts/people.js'
import { Quotas } from './accounts/quota.js'
import { Secrets, serverKey } from './accounts/secrets.js'
import { takeDirectory } from './admin/lock.js'
import { type Clock, systemClock } from './base/clock.js'
import { Counters } from './base/figures.js'
import { idTimeMs } from './base/ids.js'
import type { RootLog } from './base/log.js'
import { adminSocketPath, prepareAdminSocket } from './config/adminSocket.js'
import { type Config, parseListen } from './config.js'
import { openAnalytics } from './daemon/analytics.js'
import { Beat } from './daemon/beat.js'
import { Billing } from './daemon/billing.js'
import { closeSuspended } from './daemon/bindHost.js'
import { CreditNotices } from './daemon/creditNotices.js'
import { openDispatch } from './daemon/dispatch.js'
import { type DoorPorts, Doors } from './daemon/doors.js'
import { firstRows } from './daemon/firstRows.js'
import { openInbox } from './daemon/inbox.js'
import { Lines } from './daemon/lines.js'
import { MailOut } from './daemon/mailOut.js'
import { Notices } from './daemon/notices.js'
import { openOtp } from './daemon/otp.js'
import { Patience } from './daemon/patience.js'
import { openReporter } from './daemon/reporter.js'
import { quietHoursOf, Routing } from './daemon/routing.js'
import { SANDBOX, Sandbox } from './daemon/sandbox.js'
import { sidePort } from './daemon/sidePort.js'
import { commitFigures, openSpool, spoolEvents } from './daemon/spool.js'
import { firstTemplates, openTemplates } from './daemon/templates.js'
import { Told } from './daemon/told.js'
import { Trace } from './daemon/trace.js'
import { Binds } from './intake/smpp/binds.js'
import { BindTotals } from './intake/smpp/totals.js'
import { Door } from './intake/submit.js'
import { Tally } from './model/tally.js'
import { HistoryWriter } from './returns/history.js'
import { InboundTable } from './returns/inboundTable.js'
import { Lookup } from './returns/lookup.js'
import { Past } from './returns/past.js'
import { Receipts } from './returns/receipts.js'
import { tellsOf } from './returns/tells.js'
import { SANDBOX_LANE } from './routing/sandbox.js'
import { openStore } from './store/postgres.js'

export { BootstrapFaulty } from './daemon/firstRows.js'

const SESSION_TICK_MS = 100
const HOUR_MS = 3_600_000
/** The exit code when what was to be durable is not, and when all must begin anew: whoever watches over us starts us again. */
const START_AGAIN = 75

export interface DaemonOptions {
  readonly config: Config
  readonly log: RootLog
  readonly version: string
  /** The store failed, or something of ours threw: the process must end with this code. */
  fatal(code: number): void
}

export interface Daemon {
  /** Ports in use; null = off. */
  readonly ports: DoorPorts & { readonly admin: number | null }
  /** Stops in order; a second call hurries. */
  stop(): Promise<void>
  /** Settings that may change while it runs. */
  reload(config: Config): void
  readonly stopped: Promise<void>
}

/** Its spool turned out to be a copy, and has another identity from the next start on. */
class SpoolRenamed extends Error {}

/** Starts the daemon. Throws DirectoryOwned, BootstrapFaulty, or what else keeps it from starting; then nothing is left open. */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const counters = new Counters()
  for (;;) {
    const opened: (() => unknown)[] = []
    try {
      return await start(options, counters, opened)
    } catch (error) {
      for (const close of opened.reverse()) await close()
      if (!(error instanceof SpoolRenamed)) throw error
    }
  }
}

/** @param opened gets, for each thing that is open, how to close it again */
async function start(
  { config, log, version, fatal }: DaemonOptions,
  counters: Counters,
  opened: (() => unknown)[],
): Promise<Daemon> {
  const clock: Clock = systemClock
  const startedMs = clock.now()
  const { dataDir } = config
  const faulty = (error: unknown): void => {
    counters.add('internal_faults')
    log.error({ err: error }, 'a fault of ours: what it was about has ended, the rest goes on')
  }
  const unwritten = (what: string) => (error: unknown) => {
    log.error({ err: error }, what)
    fatal(START_AGAIN)
  }
  let stopping = false

  const lockFault = prepareAdminSocket(dataDir)
  if (lockFault !== null) throw new Error(lockFault)
  const lock = await takeDirectory(dataDir, adminSocketPath(dataDir), process.pid)
  opened.push(() => lock.release())

  // -- the stores, and the books that are kept in them

  const secrets = new Secrets(await serverKey(dataDir))
  const store = openStore({ url: config.database.url, dataDir, log, pool: config.database.pool })
  opened.push(() => store.close())
  const directory = new Directory({ path: join(dataDir, 'directory'), store, secrets, log })
  opened.push(() => directory.close())
  const keyUses = new KeyUses(store, log)
  const keyUsed = (id: number): void => keyUses.note(id, clock.now())
  const consent = new Consent({
    ...{ dataDir, store, clock, log, counters },
    newestMs: () => idTimeMs(spool.takeIds(1)[0] as number),
    failed: unwritten('what a phone has said could not be written: ending at once, it is not acknowledged'),
  })
  opened.push(() => consent.close())
  const templates = openTemplates({ dataDir, store, clock, log, counters, keepDays: config.history.retentionDays })
  opened.push(() => templates.close())
  const spool = await openSpool(config, clock)
  opened.push(() => spool.close())
  const commits = commitFigures()
  const analytics = openAnalytics({ config, store, clock, log })
  const billing = new Billing({
    ...{ directory, spool, store, clock, counters, log, node: config.node },
    priceMicros: (carrier, digits) => routing.priceMicros(carrier, digits),
    costMicros: (carrier, digits) => routing.costMicros(carrier, digits),
  })
  spool.settles = (message, ending, sent) => billing.settles(message, ending, sent)
  const history = new HistoryWriter({
    ...{ spool, store, counters, log, node: config.node, retentionDays: config.history.retentionDays },
    parts: [analytics.part, billing.posting],
  })

  // -- the way out

  const quotas = new Quotas({
    clock,
    kept: key => spool.kept(key),
    keep: (key, octets, untilMs) => spool.keep(key, octets, untilMs),
    notice: (account, type, data) => notices.notify(account, type, data),
  })
  const limits = new Limits(quotas)
  const tally = new Tally()
  const quiet = quietHoursOf(config.quietHours, counters)
  const notices = new Notices({
    ...{ spool, directory, store, clock, counters, log, resetUrl: config.people.resetUrl },
    mail: mail => mailOut.write(mail),
  })
  const routing = new Routing({ directory, clock, counters, log, limits: config.loops, quietHours: quiet })
  const door = new Door({
    ...{ spool, limits, clock, tally, quiet, consent, money: billing, lifetimes: config.lifetimes },
    ...{ routes: routing.table, blocked: routing.blocked, loops: routing.loops },
    sandbox: config.sandbox.enabled,
    guarded: (code, account) => routing.guarded(code, account),
  })
  const codingsOf = (account: number): Codings => {
    const codings = directory.account(account)?.smpp.codings
    return codings === undefined ? standardCodings : codingsWith(codings)
  }
  const dispatch = openDispatch({
    ...{ config, spool, clock, directory, consent, routing, quiet, codingsOf, fault: faulty },
  })

  // -- the way back

  const receipts = new Receipts(spool, counters)
  const replies = openInbox({
    ...{ spool, consent, clock, counters, log, directory, door },
    lines: () => lines,
    mailOut: () => mailOut,
  })
  const binds = new Binds()
  const totals = new BindTotals(binds)
  const trace = new Trace(log, clock)
  const sessionClock = new SessionClock(() => clock.mono(), SESSION_TICK_MS)
  const reporter = openReporter({
    ...{ spool, binds, directory, dispatch, clock, counters, log, codingsOf, fault: faulty },
    lines: () => lines,
  })
  const mailOut = new MailOut({
    ...{ dataDir, settings: config.smtp, spool, door, dispatch, directory, clock, counters, log, fault: faulty },
    lines: (): Lines => lines,
  })
  opened.push(() => mailOut.stop())
  const sandbox = config.sandbox.enabled ? new Sandbox({ spool, codingsOf, replies: () => replies }) : null
  if (sandbox !== null) dispatch.reserve(SANDBOX_LANE, [SANDBOX.name])
  const followCarriers = (): void => {
    mailOut.follow(Sandbox.carriers(directory.carriers(), sandbox !== null))
    billing.carriersChanged()
  }
  const lines = new Lines({
    ...{ hostname: config.smtp.hostname, caught: mailOut.caught, sandbox: sandbox?.messages ?? null },
    ...{ dispatch, receipts, replies, spool, clock, sessionClock, counters, log, trace, fault: faulty },
    answered: (carrier, part, outcome) => routing.answered(carrier, part, outcome),
  })

  // -- those who ask and are told, and the doors

  const past = new Past(spool, store)
  const codes = await openOtp({
    ...{ config, spool, door, store, directory, routing, notices, templates, clock, counters, log, fault: faulty },
    lines: () => lines,
  })
  const told = new Told({
    ...{ spool, store, directory, secrets, clock, counters, log, lines, past, settings: config.webhooks },
    keepMs: config.spool.keepReceiptsHours * HOUR_MS,
    fault: faulty,
  })
  spool.tells = (message, ending) =>
    tellsOf(message, ending, directory.account(message.account), (m, how) => mailOut.tells(m, how))
  const people = new People({
    ...{ store, secrets, clock, counters, log },
    isOpen: config.people.register === 'open',
    tell: (email, type, data) => notices.notifyPerson(email, type, data),
  })
  const auditRetention = new AuditRetention({ store, clock, log, days: config.audit.retentionDays })
  const lookup = new Lookup(spool, store)
  const doors = new Doors({
    ...{ config, directory, door, binds, totals, reporter, spool, lookup, clock, sessionClock, counters, log, trace },
    isStopping: () => stopping,
    bound: bind => billing.bound(directory.account(bind.accountId)),
    mailNoted: message => mailOut.conversations.note(message),
    keyUsed,
    fault: faulty,
  })
  spool.events = spoolEvents({
    ...{ dispatch, lines, routing, doors, reporter, told, mailOut, history, tally, counters, log, ...commits },
    otp: codes.otp,
    failed: unwritten('the spool could not be written: ending at once, nothing of this turn is acknowledged'),
  })

  // -- start, from the stores outwards

  directory.onChange((part, ids) => {
    routing.follow(part)
    if (part === 'routes') useRoutes()
    else if (part === 'blocked') door.blocked = routing.blocked
    else if (part === 'tariffs') billing.tariffsChanged(ids)
    else if (part === 'carriers') followCarriers()
    else if (part === 'inbound') replies.table = new InboundTable(directory.inbound())
    else {
      closeSuspended(binds, directory)
      billing.accountsChanged(ids)
    }
  })
  await firstRows({ directory, consent, store, secrets, log, bootstrap: config.bootstrap })
  await billing.priced()
  await firstTemplates(templates, log)
  useRoutes()
  trace.use(config.log.trace)
  await billing.start(
    () => history.claim(),
    () => history.start(),
  )
  opened.push(() => billing.stop())
  if (history.isRenamed) throw new SpoolRenamed()
  // Not before: a copy would send what waits in it.
  followCarriers()
  opened.push(() => lines.stop(0))
  const notify: Notices['notify'] = (account, type, data) => notices.notify(account, type, data)
  const creditNotices = new CreditNotices({ store, log, currency: config.billing.currency, notify })
  creditNotices.start()
  opened.push(() => creditNotices.stop())
  analytics.start()
  opened.push(() => analytics.stop())
  told.start()
  keyUses.start()
  opened.push(() => keyUses.stop())
  people.start()
  opened.push(() => people.stop())
  auditRetention.start()
  opened.push(() => auditRetention.stop())
  mailOut.start()
  codes.start()
  opened.push(() => codes.stop())
  opened.push(() => told.stop(0))
  opened.push(() => history.stop())
  const beat = new Beat(spool, dispatch, quotas)
  opened.push(() => beat.stop())

  let finished: () => void = () => {}
  const stopped = new Promise<void>(resolve => {
    finished = resolve
  })
  const patience = new Patience()
  let running: Promise<void> | undefined
  const stop = (): Promise<void> => {
    if (running) patience.hurry()
    running ??= inOrder()
    return running
  }

  let ports: Daemon['ports'] | null = null
  const admin = await sidePort({
    ...{ config, version, startedMs, clock, log, counters, store, secrets, directory, spool, dispatch, routing, lines },
    ...{ binds, totals, tally, history, consent, replies, told, mailOut, people, limits, quotas, past },
    ...{ lookup, door, sandbox, templates, otp: codes.otp, trace, keyUsed, ...commits },
    smppCounts: doors.smppCounts,
    analytics: analytics.shown,
    credit: billing,
    ports: () => ports,
    isStopping: () => stopping,
    drain: () => void stop(),
  })
  opened.push(() => admin.close())
  lock.serve(admin.handler)
  opened.push(() => doors.close())
  const adminAt = parseListen(config.admin.listen)
  if (!config.admin.apiKeyRequired) {
    const account = config.admin.openAccount
    log.warn({ setting: 'admin.apiKeyRequired', account }, 'NO API KEY IS NEEDED: whoever is on this machine may send')
  }
  ports = {
    admin: adminAt ? await admin.listen(adminAt) : null,
    ...(await doors.open()),
  }
  log.info({ ...ports, node: config.node, crashed: spool.crashed }, 'ready')
  const { unsureAfterCrash } = spool
  if (unsureAfterCrash > 0) {
    counters.add('unsure_after_crash', unsureAfterCrash)
    log.warn({ messages: unsureAfterCrash }, 'messages may have been sent when the last run was killed: not sent again')
  }
  history.onRenamed = () => void stop()
  if (history.isRenamed) void stop()

  return {
    ports,
    stop,
    stopped,
    reload: next => {
      log.setLevel(next.log.level)
      trace.use(next.log.trace)
      doors.reload(next)
      log.info({ level: next.log.level, trace: next.log.trace }, 'settings reloaded')
    },
  }

  function useRoutes(): void {
    door.routes = routing.table
    dispatch.useRoutes(routing.table)
  }

  // -- stop, from the doors inwards

  async function inOrder(): Promise<void> {
    const { drainMs } = config.stop
    log.info({ drainMs }, 'stopping')
    stopping = true
    doors.close()
    spool.stop()
    dispatch.stop()
    reporter.stop()
    await patience.atMost(Promise.all([lines.stop(drainMs), doors.drain()]), drainMs)
    await patience.atMost(told.stop(drainMs), drainMs)
    // Whoever is left is hung up on: nothing may come in once the stores close.
    await lines.stop(0)
    doors.destroy()
    await mailOut.stop()
    people.stop()
    creditNotices.stop()
    auditRetention.stop()
    beat.stop()
    while (!quotas.write()) {}
    await spool.synced().catch(() => {})
    await patience.atMost(
      Promise.all([billing.stop(), history.stop(), analytics.stop(), codes.stop(), keyUses.stop()]),
      drainMs / 4,
    )
    await spool.close()
    await directory.close()
    await consent.close()
    await templates.close()
    await store.close()
    await admin.close()
    await lock.release()
    log.info({ afterMs: clock.now() - startedMs }, 'stopped')
    if (history.isRenamed) fatal(START_AGAIN)
    finished()
  }
}
