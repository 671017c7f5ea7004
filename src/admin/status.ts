// What an operator asks first, as plain data: HTTP sends it, the command line prints it, tests
// compare it. Names are snake_case with their unit; no secrets, no texts, no phone numbers.

import { type ClassRank, type MessageClass, messageClasses, stateNames } from '../model/message.js'
import { MAIL_LANE } from '../routing/mail.js'
import { SANDBOX_LANE } from '../routing/sandbox.js'
import type { RouteTable } from '../routing/table.js'
import type { SpoolRefusal } from '../spool/contract.js'
import { lookAtMachine } from './machine.js'
import type { Recent } from './recent.js'
import type { AdminSubject, Ports, RunningCarrier } from './subject.js'

export interface Readiness {
  ready: boolean
  /** Sentences; empty when ready. */
  why: string[]
}

/** Whether new messages should be brought here. */
export function readiness(subject: AdminSubject): Readiness {
  // A daemon that stops has closed what else could be asked.
  if (subject.stopping) return { ready: false, why: ['the daemon is stopping'] }
  const why: string[] = []
  if (subject.ports === null) why.push('the listeners are not up yet')
  if (!subject.directory.ready) why.push('the directory was never loaded from the database')
  const refusal = subject.spool.refusal(0)
  if (refusal !== undefined) why.push(REFUSALS[refusal])
  return { ready: why.length === 0, why }
}

const REFUSALS: Readonly<Record<SpoolRefusal, string>> = {
  disk_full: 'the disk is nearly full: new messages are refused',
  queue_full: 'the queue is full: new messages are refused',
  account_full: 'the queue is full: new messages are refused',
  stopping: 'the spool takes no new messages',
}

// ---- the queue

export interface QueueStatus {
  waiting: number
  /** In the hands of a carrier, unanswered. */
  claimed: number
  /** Accepted by a carrier, receipts awaited. */
  sent: number
  /** Scheduled or to be retried. */
  due: number
  /** Receipts and replies that customers have not taken. */
  outbox: number
  /** Replies that belong to no account. */
  unclaimed: number
  /** Receipts that came before the answer they belong to. */
  parked: number
  /** May be replaced by a later one. */
  replaceable: number
  /** History rows that are not in SQL. */
  log_rows: number
  lanes: LaneStatus[]
}

export interface LaneStatus {
  route: string
  class: MessageClass
  waiting: number
  /** null when the age is not known. */
  oldest_s: number | null
}

export function queueStatus(subject: Pick<AdminSubject, 'spool' | 'dispatch' | 'clock'>): QueueStatus {
  const { waiting, claimed, sent, due, outbox, unclaimed, parked, logRows, replaceable, lanes } =
    subject.spool.figures()
  const now = subject.clock.now()
  const { routes } = subject.dispatch
  return {
    waiting,
    claimed,
    sent,
    due,
    outbox,
    unclaimed,
    parked,
    replaceable,
    log_rows: logRows,
    lanes: [...lanes]
      .sort((a, b) => place(routes, a.lane) - place(routes, b.lane) || a.lane - b.lane || a.rank - b.rank)
      .map(lane => ({
        route: RESERVED[lane.lane] ?? routeName(routes.route(lane.lane) ?? { id: lane.lane, name: '' }),
        class: className(lane.rank),
        waiting: lane.waiting,
        // A clock that was set back makes no age below zero.
        oldest_s: lane.oldestMs === 0 ? null : Math.max(0, round((now - lane.oldestMs) / 1000)),
      })),
  }
}

const RESERVED: Readonly<Record<number, string>> = { [MAIL_LANE]: 'mail', [SANDBOX_LANE]: 'sandbox' }

const place = (routes: RouteTable, lane: number): number => routes.route(lane)?.position ?? Number.MAX_SAFE_INTEGER

/** What people call a route: its name, or its number where it has none. */
export const routeName = (route: { readonly id: number; readonly name: string }): string => route.name || `#${route.id}`

export const className = (rank: number): MessageClass => messageClasses[rank] as MessageClass

// ---- carriers

export interface CarrierStatus {
  name: string
  kind: string
  up: boolean
  paused: boolean
  links: {
    stand: string
    peer: string
    in_flight: number
    window: number
    /** In this stand. */
    since_s: number
    last_reason: string
  }[]
  /** Parts a second that its pace allows now; 0 = no limit. */
  pace_per_s: number
  /** Parts a second that it accepts. */
  rate_per_s: number
  sent: number
  accepted: number
  /** Messages that it had and that are over, and those of them that were delivered: since the start. */
  ended: number
  delivered: number
  /** Of those that ended in the last minute; null when none did. */
  delivered_share: number | null
  /** Sent and neither answered nor given up. */
  unsure: number
  /** What it answered besides accepting, and events of its links, by name. */
  counts: Record<string, number>
  /** From submit_sm to its answer, over the last minute. */
  latency: Record<MessageClass, { count: number; p50_ms: number | null; p99_ms: number | null }>
}

function carrierStatus(running: RunningCarrier, subject: AdminSubject, recent: Recent): CarrierStatus {
  const { row, line } = running
  const figures = line.driver.figures()
  const now = subject.clock.now()
  const latency = messageClasses.map((name, rank) => {
    const { count, p50Ms, p99Ms } = recent.latency(line, rank as ClassRank)
    return [name, { count, p50_ms: roundOrNull(p50Ms), p99_ms: roundOrNull(p99Ms) }] as const
  })
  return {
    name: row.name,
    kind: row.kind,
    up: line.up,
    paused: line.paused,
    links: figures.links.map(link => ({
      stand: link.stand,
      peer: link.peer,
      in_flight: link.inFlight,
      window: link.window,
      since_s: Math.max(0, Math.round((now - link.sinceMs) / 1000)),
      last_reason: link.lastReason,
    })),
    pace_per_s: round(figures.ratePerSecond),
    rate_per_s: round(recent.lineRate(line)),
    sent: line.sent,
    accepted: line.accepted,
    ...subject.tally.endedOver(row.id),
    delivered_share: roundOrNull(recent.deliveredShare(line)),
    unsure: figures.unsure,
    counts: Object.fromEntries(line.counts.entries()),
    latency: Object.fromEntries(latency) as CarrierStatus['latency'],
  }
}

// ---- all of it

/** Accounts in a status at most: those with the most binds. */
const MAX_ACCOUNTS = 1000

export interface AccountBinds {
  system_id: string
  tx: number
  rx: number
  trx: number
  /** Of the binds that are there now. */
  submitted: number
  delivered: number
  /** deliver_sm that the account has not answered. */
  in_flight: number
}

export interface Status {
  version: string
  node: number
  pid: number
  started_at: string
  uptime_s: number
  ready: boolean
  why: string[]
  stopping: boolean
  ports: Ports | null
  /** Messages a second over the last 10 s: accepted by us, accepted by carriers, ended. */
  rate: { in_per_s: number; out_per_s: number; ended_per_s: number }
  messages: { accepted: Record<MessageClass, number>; ended: Record<MessageClass, Record<string, number>> }
  binds: { tx: number; rx: number; trx: number; open: number; accounts_bound: number; accounts: AccountBinds[] }
  queue: QueueStatus
  carriers: CarrierStatus[]
  spool: {
    /** Why new messages are refused; null = they are not. */
    refuses: SpoolRefusal | null
    /** Not even receipts are taken. */
    exhausted: boolean
    /** The last run did not end in order. */
    crashed: boolean
    resent_after_crash: number
    /** Since the start. */
    commits: number
    /** Over the last minute. */
    sync_p50_ms: number | null
    sync_p99_ms: number | null
  }
  history: { rows: number; failures: number; waiting_rows: number; lag_s: number }
  store: { up: boolean }
  /** Leased for this node: of how many accounts, what is left of it, and submissions that wait for more. */
  credit: { accounts: number; left_micros: number; waiting: number }
  directory: { ready: boolean; version: number }
  disk: { free_bytes: number | null }
  process: {
    rss_bytes: number
    rss_anon_bytes: number | null
    heap_used_bytes: number
    cpu_s: number
    /** The worst five seconds of the last minute. */
    loop_lag_p50_ms: number
    loop_lag_p99_ms: number
    loop_lag_max_ms: number
  }
  counters: Record<string, number>
  trace: string[]
}

export async function status(subject: AdminSubject, recent: Recent): Promise<Status> {
  const machine = await lookAtMachine(subject.config.dataDir)
  const { syncMs, history, spool, stopping } = subject
  const queue = queueStatus(subject)
  const rates = recent.rates()
  const lag = recent.lag()
  const sync = recent.sync()
  const { ready, why } = readiness(subject)
  return {
    version: subject.version,
    node: subject.config.node,
    pid: process.pid,
    started_at: new Date(subject.startedMs).toISOString(),
    uptime_s: uptimeSeconds(subject),
    ready,
    why,
    stopping,
    ports: subject.ports,
    rate: { in_per_s: round(rates.in), out_per_s: round(rates.out), ended_per_s: round(rates.ended) },
    messages: messageCounts(subject),
    binds: bindStatus(subject),
    queue,
    carriers: [...subject.lines.running.values()].map(running => carrierStatus(running, subject, recent)),
    spool: {
      refuses: spool.refusal(0) ?? null,
      exhausted: spool.exhausted,
      crashed: spool.crashed,
      resent_after_crash: subject.dispatch.resentAfterCrash,
      commits: syncMs.count,
      sync_p50_ms: roundOrNull(sync.p50Ms),
      sync_p99_ms: roundOrNull(sync.p99Ms),
    },
    history: {
      rows: history.figures.rows,
      failures: history.figures.failures,
      waiting_rows: queue.log_rows,
      lag_s: round(history.figures.lagMs / 1000),
    },
    store: { up: subject.store.ready },
    credit: creditStatus(subject),
    // A daemon that stops may have closed it.
    directory: stopping
      ? { ready: false, version: 0 }
      : { ready: subject.directory.ready, version: subject.directory.version },
    disk: { free_bytes: machine.diskFreeBytes ?? null },
    process: {
      rss_bytes: machine.rssBytes,
      rss_anon_bytes: machine.rssAnonBytes ?? null,
      heap_used_bytes: machine.heapUsedBytes,
      cpu_s: round(machine.cpuUserSeconds + machine.cpuSystemSeconds),
      loop_lag_p50_ms: round(lag.p50Ms),
      loop_lag_p99_ms: round(lag.p99Ms),
      loop_lag_max_ms: round(lag.maxMs),
    },
    counters: Object.fromEntries([...subject.counters.entries()].sort(([a], [b]) => (a < b ? -1 : 1))),
    trace: [...subject.trace.named],
  }
}

function creditStatus({ credit }: AdminSubject): Status['credit'] {
  const { accounts, leftMicros, waiting } = credit.figures()
  return { accounts, left_micros: leftMicros, waiting }
}

export const uptimeSeconds = ({ clock, startedMs }: AdminSubject): number =>
  Math.max(0, Math.floor((clock.now() - startedMs) / 1000))

function messageCounts({ tally }: AdminSubject): Status['messages'] {
  const byClass = <T>(of: (rank: number) => T) =>
    Object.fromEntries(messageClasses.map((name, rank) => [name, of(rank)])) as Record<MessageClass, T>
  return {
    accepted: byClass(rank => tally.accepted[rank] as number),
    ended: byClass(rank =>
      Object.fromEntries(
        Array.from(tally.ended[rank] as Float64Array, (count, state) => [stateNames[state] as string, count] as const) //
          .filter(([, count]) => count > 0),
      ),
    ),
  }
}

function bindStatus({ binds }: AdminSubject): Status['binds'] {
  const accounts = new Map<string, AccountBinds & { bound: number }>()
  for (const bind of binds.all) {
    const { state } = bind.session
    if (state !== 'bound_tx' && state !== 'bound_rx' && state !== 'bound_trx') continue
    const kind = state.slice('bound_'.length) as 'tx' | 'rx' | 'trx'
    let one = accounts.get(bind.systemId)
    if (one === undefined) {
      one = { system_id: bind.systemId, tx: 0, rx: 0, trx: 0, submitted: 0, delivered: 0, in_flight: 0, bound: 0 }
      accounts.set(bind.systemId, one)
    }
    one[kind]++
    one.bound++
    one.submitted += bind.submitted
    one.delivered += bind.delivered
    one.in_flight += bind.session.inFlight
  }
  const most = [...accounts.values()].sort((a, b) => b.bound - a.bound).slice(0, MAX_ACCOUNTS)
  return {
    ...binds.bound(),
    accounts_bound: accounts.size,
    accounts: most.map(({ bound: _, ...shown }) => shown),
  }
}

/** As much as anybody reads. */
function round(value: number): number {
  return Math.round(value * 1000) / 1000
}

const roundOrNull = (value: number | null): number | null => (value === null ? null : round(value))
