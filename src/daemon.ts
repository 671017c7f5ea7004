// The house put together: builds in one order, starts in that order, stops in reverse.
// Decides nothing that a station could decide.

import { join } from 'node:path'
import { type Codings, codingOf, codingsWith, standardCodings } from '../protocols/gsm/coding.js'
import { PduCounts } from '../protocols/smpp/counts.js'
import { SessionClock } from '../protocols/smpp/session-clock.js'
import { AuditRetention } from './accounts/auditRetention.js'
import { Consent } from './accounts/consent.js'
import { Directory } from './accounts/directory.js'
import { bootstrapIfEmpty } from './accounts/gatewayApply.js'
import { gatewayFaultLine } from './accounts/gatewayFile.js'
import { KeyUses } from './accounts/keyUses.js'
import { Limits } from './accounts/limits.js'
import { People } from './accounts/people.js'
import { Quotas } from './accounts/quota.js'
import { Secrets, serverKey } from './accounts/secrets.js'
import { takeDirectory } from './admin/lock.js'
import { type Clock, systemClock } from './base/clock.js'
import { Counters, Histogram } from './base/figures.js'
import { idTimeMs } from './base/ids.js'
import type { RootLog } from './base/log.js'
import { adminSocketPath, prepareAdminSocket } from './config/adminSocket.js'
import { type Config, parseListen } from './config.js'
import { openAnalytics } from './daemon/analytics.js'
import { Billing } from './daemon/billing.js'
import { bindHost } from './daemon/bindHost.js'
import { CreditNotices } from './daemon/creditNotices.js'
import { type DoorPorts, Doors } from './daemon/doors.js'
import { openInbox } from './daemon/inbox.js'
import { Lines } from './daemon/lines.js'
import { MailOut } from './daemon/mailOut.js'
import { Notices } from './daemon/notices.js'
import { openOtp } from './daemon/otp.js'
import { Routing } from './daemon/routing.js'
import { SANDBOX, Sandbox } from './daemon/sandbox.js'
import { sidePort } from './daemon/sidePort.js'
import { firstTemplates, openTemplates } from './daemon/templates.js'
import { Told } from './daemon/told.js'
import { Trace } from './daemon/trace.js'
import { Dispatch } from './dispatch/dispatch.js'
import type { Bind } from './intake/smpp/bind.js'
import { Binds } from './intake/smpp/binds.js'
import { Congestion } from './intake/smpp/congestion.js'
import { FailedBinds } from './intake/smpp/failures.js'
import { Operations } from './intake/smpp/operations.js'
import { BindTotals } from './intake/smpp/totals.js'
import { Door } from './intake/submit.js'
import { digitsOf } from './model/digits.js'
import { EXTRAS_OF_ANSWER, isOfMail, isOfOtp, messageClasses } from './model/message.js'
import { readQuiet, readQuietCountry } from './model/quiet.js'
import { Tally } from './model/tally.js'
import { HistoryWriter } from './returns/history.js'
import { InboundTable } from './returns/inboundTable.js'
import { Lookup } from './returns/lookup.js'
import { asMeant } from './returns/meant.js'
import { Past } from './returns/past.js'
import { Receipts } from './returns/receipts.js'
import { Reporter } from './returns/report.js'
import { tellsOf } from './returns/tells.js'
import { QuietHours } from './routing/quietHours.js'
import { SANDBOX_LANE } from './routing/sandbox.js'
import { way } from './spool/contract.js'
import { LmdbSpool } from './spool/lmdb/spool.js'
import { openStore } from './store/postgres.js'

const TICK_MS = 50
const SESSION_TICK_MS = 100
const DISPATCH_TICK_MS = 1_000
const DAY_MS = 86_400_000
/** So long an 8-hex id of v3.3 is understood: it comes round every nine hours, and each round is a look-up. */
const ALIAS_MS = 7 * DAY_MS
/** A stop that was hurried gives peers and carriers this long. */
const HURRIED_MS = 100

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

const COMMIT_FAILED = 75

/** A gateway file named by `bootstrap` that cannot be applied: its message holds all faults, a line each. */
export class BootstrapFaulty extends Error {}

/** Starts the daemon. Throws DirectoryOwned, BootstrapFaulty, or what else keeps it from starting; then nothing is left open. */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const opened: (() => unknown)[] = []
  try {
    return await start(options, opened)
  } catch (error) {
    for (const close of opened.reverse()) await close()
    throw error
  }
}

/** @param opened gets, for each thing that is open, how to close it again */
async function start({ config, log, version, fatal }: DaemonOptions, opened: (() => unknown)[]): Promise<Daemon> {
  const clock: Clock = systemClock
  const startedMs = clock.now()
  const counters = new Counters()
  const { dataDir } = config

  const lockFault = prepareAdminSocket(dataDir)
  if (lockFault !== null) throw new Error(lockFault)
  const lock = await takeDirectory(dataDir, adminSocketPath(dataDir), process.pid)
  opened.push(() => lock.release())

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
    failed: error => {
      log.error({ err: error }, 'what a phone has said could not be written: ending at once, it is not acknowledged')
      fatal(COMMIT_FAILED)
    },
  })
  opened.push(() => consent.close())
  const templates = openTemplates({ dataDir, store, clock, log, counters, keepDays: config.history.retentionDays })
  opened.push(() => templates.close())
  const spool = await LmdbSpool.open({
    path: join(dataDir, 'spool'),
    node: config.node,
    clock,
    mapGb: config.spool.mapGb,
    reserveMb: config.spool.reserveMb,
    maxWaiting: config.spool.maxWaiting,
    maxWaitingPerAccount: config.spool.maxWaitingPerAccount,
    keepReportsMs: config.spool.keepReceiptsHours * 3_600_000,
    keepReportsPerAccount: config.spool.keepReceiptsPerAccount,
    receiptGraceMs: config.spool.receiptGraceMs,
  })
  opened.push(() => spool.close())
  const syncMs = new Histogram()
  const commitRecords = new Histogram([1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000])
  const analytics = openAnalytics({ config, store, clock, log })
  const billing = new Billing({
    ...{ directory, spool, store, clock, counters, log, node: config.node },
    priceMicros: (carrier, digits) => routing.priceMicros(carrier, digits),
  })
  spool.settles = (message, ending) => billing.settles(message, ending)
  const history = new HistoryWriter({
    spool,
    store,
    log,
    node: config.node,
    retentionDays: config.history.retentionDays,
    parts: [analytics.part, billing.posting],
  })

  const quotas = new Quotas({
    clock,
    kept: key => spool.kept(key),
    keep: (key, octets, untilMs) => spool.keep(key, octets, untilMs),
    notice: (account, type, data) => notices.notify(account, type, data),
  })
  const limits = new Limits(quotas)
  const tally = new Tally()
  const quiet = new QuietHours(
    {
      everywhere: readQuiet(config.quietHours.hours) ?? null,
      countries: new Map(config.quietHours.countries.map(readQuietCountry).filter(one => one !== undefined)),
    },
    counters,
  )
  const notices = new Notices({
    ...{ spool, directory, store, clock, counters, log, resetUrl: config.people.resetUrl },
    mail: mail => mailOut.write(mail),
  })
  const people = new People({
    ...{ store, secrets, clock, counters, log },
    isOpen: config.people.register === 'open',
    tell: (email, type, data) => notices.notifyPerson(email, type, data),
  })
  const auditRetention = new AuditRetention({ store, clock, log, days: config.audit.retentionDays })
  const routing = new Routing({ directory, clock, counters, log, limits: config.loops, quietHours: quiet })
  const door = new Door({
    spool,
    routes: routing.table,
    limits,
    clock,
    tally,
    lifetimes: config.lifetimes,
    quiet,
    blocked: routing.blocked,
    loops: routing.loops,
    consent,
    money: billing,
    sandbox: config.sandbox.enabled,
    guarded: (code, account) => routing.guarded(code, account),
  })
  const codingsOf = (account: number): Codings => {
    const codings = directory.account(account)?.smpp.codings
    return codings === undefined ? standardCodings : codingsWith(codings)
  }
  const dispatch = new Dispatch(
    {
      spool,
      clock,
      random: Math.random,
      retry: messageClasses.map(name => config.retry[name]),
      weightOf: account => directory.account(account)?.weight ?? 1,
      rematch: m => routing.rematch(m),
      choose: (rule, m, isUp, hasPlace) => routing.choose(rule, m, isUp, hasPlace),
      unwanted: m => {
        if (!consent.hasChangedSince(idTimeMs(m.id)) || m.isMail || m.extras === EXTRAS_OF_ANSWER) return undefined
        const account = directory.account(m.account)
        return account && consent.held(account, m.rank, digitsOf(m.destination_addr))?.code
      },
      quietUntil: m => {
        if (m.lane === SANDBOX_LANE) return 0
        const own = directory.account(m.account)?.quietHours
        const untilMs = quiet.until(digitsOf(m.destination_addr), clock.now(), own)
        if (untilMs > 0) quiet.held()
        return untilMs
      },
      codingsOf,
      fault: error => faulty(error),
    },
    routing.table,
  )
  const receipts = new Receipts(spool, counters)
  const replies = openInbox({
    spool,
    consent,
    clock,
    counters,
    log,
    directory,
    door,
    lines: () => lines,
    mailOut: () => mailOut,
  })
  const binds = new Binds()
  const totals = new BindTotals(binds)
  const trace = new Trace(log, clock)
  const sessionClock = new SessionClock(() => clock.mono(), SESSION_TICK_MS)
  const faulty = (error: unknown): void => {
    counters.add('internal_faults')
    log.error({ err: error }, 'a fault of ours: what it was about has ended, the rest goes on')
  }
  const profile = (account: number) => directory.account(account)?.smpp
  const reporter = new Reporter({
    spool,
    binds,
    counts: counters,
    clock,
    log,
    profile,
    reply: (reply, account) => asMeant(reply, lines.codingsOf(reply.carrier), codingsOf(account)),
    isPacked: ({ carrier, data_coding }) => codingOf(data_coding, lines.codingsOf(carrier)) === 'gsm-packed',
    taken: ({ receipt }) => {
      if (receipt !== undefined) dispatch.trail.taken(receipt.id, clock.now())
    },
    fault: faulty,
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

  const past = new Past(spool, store)
  const codes = await openOtp({
    ...{ config, spool, door, store, directory, routing, notices, templates, clock, counters, log },
    lines: () => lines,
    fault: faulty,
  })
  const told = new Told({
    ...{ spool, store, directory, secrets, clock, counters, log, lines, past, settings: config.webhooks },
    keepMs: config.spool.keepReceiptsHours * 3_600_000,
    fault: faulty,
  })
  spool.tells = (message, ending) =>
    tellsOf(message, ending, directory.account(message.account), (m, how) => mailOut.tells(m, how))
  spool.events = {
    ready: lane => dispatch.ready(lane),
    report: (of, by) => {
      if (by === way.bind) reporter.pump(of)
      else if (by === way.mail) mailOut.returns.pump(of)
      else told.webhooks.pump(of, by)
    },
    logged: () => history.wake(),
    ended: (message, ending) => {
      tally.countEnded(message.rank, ending.state, message.carrier)
      const carrier = message.carrier === 0 ? undefined : lines.running.get(message.carrier)
      if (carrier !== undefined) routing.ended(carrier.row.name, message, ending.state)
      if (operations.transactions.busy) operations.transactions.ended(message.id, ending)
      if (message.isMail || isOfMail(message)) mailOut.ended(message, ending)
      if (isOfOtp(message)) codes.otp.course.ended(message, ending)
    },
    unmatched: (carrier, { state }) => {
      counters.add('receipts_unmatched')
      log.debug({ carrier, state }, 'a receipt for no message of ours: dropped')
    },
    apart: parts => {
      counters.add('parts_not_joined', parts)
      log.debug({ parts }, 'parts of a long message that could not be waited for any longer: sent as they came')
    },
    reportsDropped: count => {
      counters.add('reports_dropped', count)
      log.warn({ count }, 'receipts and replies that nobody took: dropped; history has the messages of the receipts')
    },
    synced: (ms, records) => {
      congestion?.synced(ms)
      syncMs.observe(ms)
      commitRecords.observe(records)
    },
    failed: error => {
      log.error({ err: error }, 'the spool could not be written: ending at once, nothing of this turn is acknowledged')
      fatal(COMMIT_FAILED)
    },
  }

  const congestion = config.smpp.congestion ? new Congestion(spool) : null
  let stopping = false
  const smppCounts = new PduCounts()
  const { smpp } = config
  const failures = new FailedBinds(
    { delayMs: smpp.failedBindDelayMs, barredAfter: smpp.failedBinds, barredMs: smpp.barredMs },
    clock.mono,
  )
  const lookup = new Lookup(spool, store)
  const operations = new Operations({
    door,
    clock,
    node: config.node,
    counters,
    aliasMs: ALIAS_MS,
    peerWindow: smpp.peerWindow,
    ended: id => lookup.ended(id),
    fault: faulty,
  })
  const host = bindHost({
    ...{
      config,
      directory,
      door,
      binds,
      totals,
      reporter,
      operations,
      congestion,
      failures,
      clock,
      counters,
      log,
      trace,
    },
    isStopping: () => stopping,
    bound: bind => billing.bound(directory.account(bind.accountId)),
    gone: bind => server.gone(bind),
    fault: faulty,
  })
  const doors = new Doors(config, {
    host,
    clock,
    sessionClock,
    counts: smppCounts,
    counters,
    failures,
    log,
    mailAccounts: directory,
    mailNoted: message => mailOut.conversations.note(message),
    keyUsed,
  })
  const server = doors.smpp
  server.onBind = (bind: Bind) => bind.onGone(trace.watch(bind.session, 'account', () => bind.systemId))

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
  await firstRows()
  await billing.priced()
  await firstTemplates(templates, log)
  useRoutes()
  followCarriers()
  opened.push(() => lines.stop(0))
  trace.use(config.log.trace)
  await billing.start(() => history.start())
  opened.push(() => billing.stop())
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
  let isTicking = false
  const ticker = setInterval(tick, TICK_MS)
  const dispatchTicker = setInterval(() => {
    dispatch.tick()
    quotas.write()
  }, DISPATCH_TICK_MS)
  opened.push(() => {
    clearInterval(ticker)
    clearInterval(dispatchTicker)
  })

  let finished: () => void = () => {}
  const stopped = new Promise<void>(resolve => {
    finished = resolve
  })
  let hurry: (() => void) | undefined
  let running: Promise<void> | undefined
  const stop = (): Promise<void> => {
    if (running) hurry?.()
    running ??= inOrder()
    return running
  }

  let ports: Daemon['ports'] | null = null
  const admin = await sidePort({
    ...{ config, version, startedMs, clock, log, counters, store, secrets, directory, spool, dispatch, routing, lines },
    ...{ binds, totals, tally, smppCounts, history, consent, replies, told, mailOut, people, limits, quotas, past },
    ...{ lookup, door, sandbox, templates, otp: codes.otp, trace, syncMs, commitRecords, keyUsed },
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
    ...(await doors.open(config)),
  }
  log.info({ ...ports, node: config.node, crashed: spool.crashed }, 'ready')
  const { unsureAfterCrash } = spool
  if (unsureAfterCrash > 0) {
    counters.add('unsure_after_crash', unsureAfterCrash)
    log.warn({ messages: unsureAfterCrash }, 'messages may have been sent when the last run was killed: not sent again')
  }

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

  /** The directory's rows, from SQL if it is there; from this node's own copy if it is not. */
  async function firstRows(): Promise<void> {
    directory.start()
    consent.start()
    try {
      await store.firstTry
      if (config.bootstrap !== null) {
        const applied = await bootstrapIfEmpty(store, secrets, config.bootstrap, log)
        if (applied && !applied.ok) {
          const file = config.bootstrap
          throw new BootstrapFaulty(applied.faults.map(fault => gatewayFaultLine(file, fault)).join('\n'))
        }
      }
      await directory.refresh()
      await consent.refresh()
    } catch (error) {
      if (error instanceof BootstrapFaulty || !directory.ready || !consent.ready) throw error
      log.warn({ err: error }, 'the database is away: serving from this node’s own copy')
    }
  }

  function tick(): void {
    if (isTicking || !spool.tick()) return
    isTicking = true
    // A slice a commit: all that is due at one moment in one commit would hold up everybody else.
    spool.afterSync(() => {
      isTicking = false
      tick()
    })
  }

  async function inOrder(): Promise<void> {
    const { drainMs } = config.stop
    log.info({ drainMs }, 'stopping')
    stopping = true
    const hurried = new Promise<void>(resolve => {
      hurry = resolve
    })
    doors.close()
    spool.stop()
    dispatch.stop()
    reporter.stop()
    const atMost = <T>(work: Promise<T>, ms: number): Promise<unknown> => {
      const time = new Promise(resolve => setTimeout(resolve, ms).unref())
      return Promise.race([work, time, hurried.then(() => new Promise(resolve => setTimeout(resolve, HURRIED_MS)))])
    }
    await atMost(Promise.all([lines.stop(drainMs), doors.drain()]), drainMs)
    await atMost(told.stop(drainMs), drainMs)
    // Whoever is left is hung up on: nothing may come in once the stores close.
    await lines.stop(0)
    doors.destroy()
    await mailOut.stop()
    people.stop()
    creditNotices.stop()
    auditRetention.stop()
    clearInterval(ticker)
    clearInterval(dispatchTicker)
    while (!quotas.write()) {}
    await spool.synced().catch(() => {})
    await atMost(
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
    finished()
  }
}

/** Suspended accounts keep no bind. */
function closeSuspended(binds: Binds, directory: Directory): void {
  for (const bind of [...binds.all]) {
    if (bind.accountId === 0) continue
    const account = directory.account(bind.accountId)
    if (account === undefined || account.suspended !== null) bind.session.unbind('account suspended')
  }
}
