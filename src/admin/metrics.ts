// Every metric by its name. Read from the running totals when Prometheus asks, so that no
// message costs a call; prom-client writes the text. Knows names, units and labels.

import { createRequire } from 'node:module'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Metric, Registry as RegistryType } from 'prom-client'
import { commandName } from '../../protocols/smpp/commands.js'
import { OTHER_STATUS, type PduCounts } from '../../protocols/smpp/counts.js'
import { statusName } from '../../protocols/smpp/status.js'
import type { Counters, Histogram } from '../base/figures.js'
import type { DriverFigures, LinkStand } from '../carriers/driver.js'
import { messageClasses, stateNames } from '../model/message.js'
import { MICROS } from '../model/money.js'
import { TOOK_S } from '../returns/statsColumns.js'
import type { CarrierTotals } from '../returns/statsTotals.js'
import type { HttpTotals } from './httpTotals.js'
import { lookAtMachine, type Machine } from './machine.js'
import type { Lag, Recent } from './recent.js'
import { type QueueStatus, queueStatus, type Readiness, readiness } from './status.js'
import type { AdminSubject, RunningCarrier } from './subject.js'

// The registry alone: the package as a whole loads a push gateway, cluster messages and 5 MB.
const Registry = createRequire(import.meta.url)('prom-client/lib/registry.js') as typeof RegistryType

interface Sample {
  /** The family's own name if not given. */
  metricName?: string
  labels?: Record<string, string | number>
  value: number
}

/** What one answer to Prometheus is made from: looked at once. */
interface View {
  readonly subject: AdminSubject
  readonly http: HttpTotals
  readonly queue: QueueStatus
  readonly carriers: readonly Carrier[]
  readonly machine: Machine
  readonly lag: Lag
  readonly readiness: Readiness
}

type Carrier = RunningCarrier & { readonly figures: DriverFigures }

interface Family {
  readonly name: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly help: string
  read(view: View): Iterable<Sample>
}

/** The event loop is left to others after this long. */
const SLICE_MS = 2

export class Metrics {
  readonly contentType: string
  private readonly registry = new Registry()
  private readonly subject: AdminSubject
  private readonly recent: Recent
  private readonly http: HttpTotals
  private view: View | undefined
  private writing: Promise<string> | undefined

  constructor(subject: AdminSubject, recent: Recent, http: HttpTotals) {
    this.subject = subject
    this.recent = recent
    this.http = http
    this.contentType = this.registry.contentType
    for (const family of FAMILIES) this.register(family)
  }

  private register({ name, type, help, read }: Family): void {
    const get = async () => ({ name, help, type, aggregator: 'sum', values: [...read(this.view as View)] })
    // All that a registry asks of a metric.
    this.registry.registerMetric({ name, get } as unknown as Metric)
  }

  /** The text format of Prometheus, version 0.0.4. Who asks while it is written gets the same. */
  text(): Promise<string> {
    this.writing ??= this.write().finally(() => {
      this.writing = undefined
    })
    return this.writing
  }

  private async write(): Promise<string> {
    this.view = await this.look()
    const { clock } = this.subject
    let sinceMs = clock.mono()
    let text = ''
    for (const { name } of FAMILIES) {
      text += `${await this.registry.getSingleMetricAsString(name)}\n`
      if (clock.mono() - sinceMs < SLICE_MS) continue
      await nextTurn()
      sinceMs = clock.mono()
    }
    return text
  }

  private async look(): Promise<View> {
    const { subject, recent, http } = this
    const machine = await lookAtMachine(subject.config.dataDir)
    return {
      subject,
      http,
      queue: queueStatus(subject),
      carriers: Array.from(subject.lines.running.values(), running => ({
        ...running,
        figures: running.line.driver.figures(),
      })),
      machine,
      lag: recent.lag(),
      readiness: readiness(subject),
    }
  }
}

// ---- the families

const gauge = (name: string, help: string, read: Family['read']): Family => ({ name, type: 'gauge', help, read })
const counter = (name: string, help: string, read: Family['read']): Family => ({ name, type: 'counter', help, read })
const one = (value: number | undefined): Sample[] => (value === undefined ? [] : [{ value }])

/** Put aside: given up, kept for those who look. Dropped: of a webhook that is gone. */
const WEBHOOK_RESULTS = ['delivered', 'failed', 'put_aside', 'dropped'] as const

const COUNTED = ['accepted', 'delivered', 'failed', 'unreported'] as const

const FAMILIES: readonly Family[] = [
  gauge('trunkline_info', 'Always 1; the version and the node are its labels.', ({ subject }) => [
    { labels: { version: subject.version, node: subject.config.node }, value: 1 },
  ]),
  gauge('trunkline_ready', '1 when new messages should be brought here.', ({ readiness }) =>
    one(readiness.ready ? 1 : 0),
  ),
  gauge('trunkline_store_up', '1 when the SQL database answers.', ({ subject }) => one(subject.store.ready ? 1 : 0)),
  gauge('trunkline_credit_left_micros', 'Credit that this node has leased and no message has taken.', ({ subject }) =>
    one(subject.credit.figures().leftMicros),
  ),
  gauge('trunkline_credit_waiting', 'Submissions that wait for leased credit.', ({ subject }) =>
    one(subject.credit.figures().waiting),
  ),

  // ESMEs
  gauge('trunkline_binds', 'SMPP connections by kind of bind; open = not bound.', ({ subject }) =>
    Object.entries(subject.binds.bound()).map(([kind, value]) => ({ labels: { kind }, value })),
  ),
  counter('trunkline_esme_pdus_total', 'PDUs of the SMPP listener.', ({ subject }) => pdus(subject.smppCounts)),
  counter('trunkline_esme_responses_unmatched_total', 'Responses of ESMEs that answer nothing in flight.', v =>
    one(v.subject.smppCounts.unmatched),
  ),
  gauge('trunkline_account_binds', 'Binds of the accounts that admin.metricsAccounts names.', ({ subject }) =>
    accounts(subject, id => subject.binds.count(id)),
  ),
  counter('trunkline_account_submitted_total', 'submit_sm accepted from these accounts.', ({ subject }) =>
    accounts(subject, id => subject.totals.of(id).submitted),
  ),
  counter('trunkline_account_delivered_total', 'deliver_sm sent to these accounts.', ({ subject }) =>
    accounts(subject, id => subject.totals.of(id).delivered),
  ),

  // messages
  counter('trunkline_messages_accepted_total', 'Messages accepted, by class.', ({ subject }) =>
    messageClasses.map((name, rank) => ({ labels: { class: name }, value: subject.tally.accepted[rank] as number })),
  ),
  counter('trunkline_messages_ended_total', 'Messages that are over, by class and final state.', ({ subject }) =>
    messageClasses.flatMap((name, rank) =>
      Array.from(subject.tally.ended[rank] as Float64Array, (value, state) => ({
        labels: { class: name, state: stateNames[state] as string },
        value,
      })).filter(({ value }) => value > 0),
    ),
  ),

  // what they came to, as far as it is in SQL
  counter(
    'trunkline_counted_messages_total',
    'Messages to phones, without the sandbox, by class: accepted, delivered, failed, or unreported: no receipt was to come.',
    ({ subject: { analytics } }) =>
      COUNTED.flatMap(what =>
        perClass(analytics.totals[what]).map(({ labels, value }) => ({ labels: { ...labels, what }, value })),
      ),
  ),
  counter('trunkline_messages_converted_total', 'Messages whose code was used, by class.', ({ subject }) =>
    perClass(subject.analytics.totals.converted),
  ),
  counter('trunkline_charged_units_total', 'What messages were charged, by class, in units of the currency.', v =>
    perClass(v.subject.analytics.totals.chargedMicros, MICROS),
  ),
  counter('trunkline_given_back_units_total', 'What of that was given back, by class.', ({ subject }) =>
    perClass(subject.analytics.totals.backMicros, MICROS),
  ),
  counter(
    'trunkline_carrier_ended_total',
    'Messages over that a carrier had taken, and whether they were delivered; without those of which it was to tell nothing.',
    v =>
      totalsOfCarriers(v, ({ delivered, failed }, carrier) => [
        { labels: { carrier, delivered: 'true' }, value: delivered },
        { labels: { carrier, delivered: 'false' }, value: failed },
      ]),
  ),
  counter('trunkline_carrier_cost_units_total', 'What carriers take for them, in units of the currency.', view =>
    totalsOfCarriers(view, ({ costMicros }, carrier) => [{ labels: { carrier }, value: costMicros / MICROS }]),
  ),
  {
    name: 'trunkline_delivery_seconds',
    type: 'histogram',
    help: 'From when a message could go to when we knew that it was delivered, by class.',
    read: deliveries,
  },

  // the queue
  gauge('trunkline_lane_messages', 'Messages waiting, by route and class.', ({ queue }) =>
    queue.lanes.map(lane => ({ labels: { route: lane.route, class: lane.class }, value: lane.waiting })),
  ),
  gauge('trunkline_lane_oldest_seconds', 'Age of the oldest message at the head of a lane.', ({ queue }) =>
    queue.lanes.map(lane => ({ labels: { route: lane.route, class: lane.class }, value: lane.oldest_s ?? 0 })),
  ),
  gauge('trunkline_waiting_messages', 'Messages that no carrier has accepted yet.', ({ queue }) => one(queue.waiting)),
  gauge('trunkline_claimed_messages', 'Messages in the hands of a carrier, unanswered.', ({ queue }) =>
    one(queue.claimed),
  ),
  gauge('trunkline_sent_messages', 'Messages that a carrier accepted and whose receipts are awaited.', ({ queue }) =>
    one(queue.sent),
  ),
  gauge('trunkline_due_messages', 'Messages scheduled or to be retried.', ({ queue }) => one(queue.due)),
  gauge('trunkline_outbox_reports', 'Receipts and replies that customers have not taken.', ({ queue }) =>
    one(queue.outbox),
  ),
  gauge('trunkline_unclaimed_replies', 'Replies that belong to no account.', ({ queue }) => one(queue.unclaimed)),
  gauge('trunkline_replaceable_messages', 'Waiting messages that a later one may replace.', ({ queue }) =>
    one(queue.replaceable),
  ),
  gauge('trunkline_parked_receipts', 'Receipts that came before the answer they belong to.', ({ queue }) =>
    one(queue.parked),
  ),

  // the spool
  histogram('trunkline_spool_sync_seconds', 'From the first put of a commit to its sync.', 1000, function* (view) {
    yield [{}, view.subject.syncMs]
  }),
  histogram('trunkline_spool_commit_records', 'Records that one commit writes.', 1, function* (view) {
    yield [{}, view.subject.commitRecords]
  }),
  gauge('trunkline_spool_refusing', '1 while new messages are refused, by reason.', ({ subject }) => {
    const reason = subject.spool.refusal(0)
    return reason === undefined ? [] : [{ labels: { reason }, value: 1 }]
  }),
  gauge('trunkline_disk_free_bytes', 'Free space of the disk of the data directory.', ({ machine }) =>
    one(machine.diskFreeBytes),
  ),
  counter('trunkline_resent_after_crash_total', 'Messages that were in flight when the last run was killed.', v =>
    one(v.subject.dispatch.resentAfterCrash),
  ),

  // webhooks and callbacks
  counter('trunkline_webhook_events_total', 'Tries to tell customers over HTTP, by what came of them.', ({ subject }) =>
    WEBHOOK_RESULTS.map(result => ({ labels: { result }, value: subject.counters.get(`webhooks_${result}`) })),
  ),
  histogram('trunkline_webhook_seconds', 'From the first octet of an event to its answer.', 1000, function* (view) {
    yield [{}, view.subject.webhookMs]
  }),

  // history
  gauge('trunkline_log_rows', 'History rows that are not in SQL yet.', ({ queue }) => one(queue.log_rows)),
  gauge('trunkline_history_lag_seconds', 'Age of the oldest history row that is not in SQL.', ({ subject }) =>
    one(subject.history.figures.lagMs / 1000),
  ),
  counter('trunkline_history_rows_total', 'History rows written to SQL.', ({ subject }) =>
    one(subject.history.figures.rows),
  ),
  counter('trunkline_history_failures_total', 'Writes of history that failed and were tried again.', ({ subject }) =>
    one(subject.history.figures.failures),
  ),

  // carriers
  gauge('trunkline_carrier_up', '1 when the carrier can be sent to.', view =>
    perCarrier(view, ({ line }) => (line.up ? 1 : 0)),
  ),
  gauge('trunkline_carrier_quality', 'How well a carrier delivers, 0 to 1, as routes by quality see it in all.', view =>
    perCarrier(view, ({ row }) => view.subject.routing.standing(row.name, '').score),
  ),
  gauge('trunkline_carrier_links', 'Links of a carrier by where they stand.', view => view.carriers.flatMap(links)),
  gauge('trunkline_carrier_in_flight', 'Parts sent over a link and not answered.', view =>
    perLink(view, link => link.inFlight),
  ),
  gauge('trunkline_carrier_window', 'Parts that a link may have unanswered.', view =>
    perLink(view, link => link.window),
  ),
  gauge('trunkline_carrier_pace', 'Parts a second that pacing allows now; 0 = no limit.', view =>
    perCarrier(view, ({ figures }) => figures.ratePerSecond),
  ),
  gauge('trunkline_carrier_unsure', 'Parts sent whose answers are late and still listened for.', view =>
    perCarrier(view, ({ figures }) => figures.unsure),
  ),
  counter('trunkline_carrier_sent_total', 'Parts sent.', view => perCarrier(view, ({ line }) => line.sent)),
  counter('trunkline_carrier_outcomes_total', "A carrier's answers by kind and code.", view =>
    view.carriers.flatMap(outcomes),
  ),
  counter('trunkline_carrier_events_total', 'What happened on the links of a carrier, by name.', view =>
    view.carriers.flatMap(events),
  ),
  counter('trunkline_carrier_pdus_total', 'PDUs of the links of a carrier.', view =>
    view.carriers.flatMap(({ row, counts }) => (counts === null ? [] : pdus(counts, { carrier: row.name }))),
  ),
  counter('trunkline_carrier_responses_unmatched_total', 'Responses that answer nothing in flight.', view =>
    view.carriers.flatMap(({ row, counts }) =>
      counts === null ? [] : [{ labels: { carrier: row.name }, value: counts.unmatched }],
    ),
  ),
  histogram('trunkline_carrier_latency_seconds', 'From submit_sm to its answer.', 1000, function* (view) {
    for (const { row, line } of view.carriers) {
      for (const [rank, name] of messageClasses.entries()) {
        const latency = line.latency[rank] as Histogram
        // Most carriers see one class or two.
        if (latency.count > 0) yield [{ carrier: row.name, class: name }, latency]
      }
    }
  }),

  counter(
    'trunkline_segments_saved_total',
    'Segments that texts did not take because typographic characters were replaced by plain ones.',
    ({ subject }) => [{ labels: {}, value: subject.tally.savedSegments }],
  ),

  // the side-port
  counter('trunkline_http_requests_total', 'Requests over HTTP, by route and status.', ({ http }) =>
    Array.from(http.requests.values(), ({ method, route, status, count }) => ({
      labels: { method, route, status },
      value: count,
    })),
  ),
  histogram('trunkline_http_request_seconds', 'From a request to the end of its answer.', 1000, function* (view) {
    yield [{}, view.http.ms]
  }),

  // everything else that is counted by name
  counter('trunkline_events_total', 'What happened, by name.', ({ subject }) => byName(subject.counters)),

  // the process
  gauge(
    'trunkline_event_loop_lag_seconds',
    'How late the event loop was in the worst five seconds of the last minute.',
    ({ lag }) => [
      { labels: { quantile: '0.5' }, value: lag.p50Ms / 1000 },
      { labels: { quantile: '0.99' }, value: lag.p99Ms / 1000 },
      { labels: { quantile: '1' }, value: lag.maxMs / 1000 },
    ],
  ),
  gauge('process_start_time_seconds', 'Start of the process since the Unix epoch.', ({ subject }) =>
    one(subject.startedMs / 1000),
  ),
  counter('process_cpu_seconds_total', 'User and system CPU time.', ({ machine }) =>
    one(machine.cpuUserSeconds + machine.cpuSystemSeconds),
  ),
  gauge('process_resident_memory_bytes', 'Resident memory, the mapped spool included.', ({ machine }) =>
    one(machine.rssBytes),
  ),
  gauge('trunkline_anonymous_memory_bytes', 'Resident memory without mapped files.', ({ machine }) =>
    one(machine.rssAnonBytes),
  ),
  gauge('process_open_fds', 'Open file descriptors.', ({ machine }) => one(machine.openFiles)),
  gauge('nodejs_heap_size_used_bytes', 'JavaScript heap in use.', ({ machine }) => one(machine.heapUsedBytes)),
  gauge('nodejs_heap_size_total_bytes', 'JavaScript heap.', ({ machine }) => one(machine.heapTotalBytes)),
  gauge('nodejs_external_memory_bytes', 'Buffers outside the heap.', ({ machine }) => one(machine.externalBytes)),
]

// ---- how samples are read

/** A Histogram in units of `1 / scale`, as cumulative buckets. */
function histogram(
  name: string,
  help: string,
  scale: number,
  all: (view: View) => Iterable<[labels: Record<string, string>, histogram: Histogram]>,
): Family {
  return {
    name,
    type: 'histogram',
    help,
    *read(view) {
      for (const [labels, { bounds, counts, sum, count }] of all(view)) {
        let below = 0
        for (const [i, bound] of bounds.entries()) {
          below += counts[i] as number
          yield { metricName: `${name}_bucket`, labels: { ...labels, le: bound / scale }, value: below }
        }
        yield { metricName: `${name}_bucket`, labels: { ...labels, le: '+Inf' }, value: count }
        yield { metricName: `${name}_sum`, labels, value: sum / scale }
        yield { metricName: `${name}_count`, labels, value: count }
      }
    },
  }
}

function* deliveries({ subject }: View): Iterable<Sample> {
  const { took, tookMs } = subject.analytics.totals
  const name = 'trunkline_delivery_seconds'
  for (const [rank, counts] of took.entries()) {
    const labels = { class: messageClasses[rank] as string }
    let below = 0
    for (const [i, bound] of TOOK_S.entries()) {
      below += counts[i] as number
      yield { metricName: `${name}_bucket`, labels: { ...labels, le: bound }, value: below }
    }
    const count = below + (counts[TOOK_S.length] as number)
    yield { metricName: `${name}_bucket`, labels: { ...labels, le: '+Inf' }, value: count }
    yield { metricName: `${name}_sum`, labels, value: (tookMs[rank] as number) / 1000 }
    yield { metricName: `${name}_count`, labels, value: count }
  }
}

const perClass = (values: Float64Array, unit = 1): Sample[] =>
  messageClasses.map((name, rank) => ({ labels: { class: name }, value: (values[rank] as number) / unit }))

/** Also of one that was removed, as long as we run: a counter does not vanish. */
const totalsOfCarriers = ({ subject }: View, of: (totals: CarrierTotals, carrier: string) => Sample[]): Sample[] =>
  Array.from(subject.analytics.totals.carriers).flatMap(([id, totals]) =>
    of(totals, subject.lines.running.get(id)?.row.name ?? `#${id}`),
  )

/** Ids under which PduCounts gathers what the standard does not number. */
const UNKNOWN_COMMANDS: ReadonlyMap<number, string> = new Map([
  [0x1ff, 'unknown'],
  [0x800001ff, 'unknown_resp'],
])

function pdus(counts: PduCounts, labels: Record<string, string> = {}): Sample[] {
  return Array.from(counts.rows(), ({ direction, command, status, count }) => ({
    labels: {
      ...labels,
      direction,
      command: UNKNOWN_COMMANDS.get(command) ?? commandName(command),
      status: status === OTHER_STATUS ? 'other' : statusName(status),
    },
    value: count,
  }))
}

function accounts({ config, directory, stopping }: AdminSubject, of: (id: number) => number): Sample[] {
  // A daemon that stops may have closed the directory.
  if (stopping) return []
  return config.admin.metricsAccounts.flatMap(systemId => {
    const account = directory.accountBySystemId(systemId)
    return account === undefined ? [] : [{ labels: { account: systemId }, value: of(account.id) }]
  })
}

const perCarrier = (view: View, of: (carrier: Carrier) => number): Sample[] =>
  view.carriers.map(carrier => ({ labels: { carrier: carrier.row.name }, value: of(carrier) }))

const perLink = (view: View, of: (link: { inFlight: number; window: number }) => number): Sample[] =>
  view.carriers.flatMap(({ row, figures }) =>
    figures.links.map((link, i) => ({ labels: { carrier: row.name, link: i + 1 }, value: of(link) })),
  )

const STANDS: readonly LinkStand[] = ['closed', 'binding', 'ready', 'full', 'resting']

function links({ row, figures }: Carrier): Sample[] {
  return STANDS.map(stand => ({
    labels: { carrier: row.name, stand },
    value: figures.links.filter(link => link.stand === stand).length,
  }))
}

/** Dispatch counts an answer that is no acceptance as `kind:code`, and everything else by a plain name. */
function outcomes({ row, line }: Carrier): Sample[] {
  const found: Sample[] = [{ labels: { carrier: row.name, kind: 'accepted', code: '' }, value: line.accepted }]
  for (const [name, value] of line.counts.entries()) {
    const colon = name.indexOf(':')
    if (colon < 0) continue
    found.push({ labels: { carrier: row.name, kind: name.slice(0, colon), code: name.slice(colon + 1) }, value })
  }
  return found
}

function events({ row, line }: Carrier): Sample[] {
  return byName(line.counts)
    .filter(({ labels }) => !labels.name.includes(':'))
    .map(({ labels, value }) => ({ labels: { carrier: row.name, ...labels }, value }))
}

const byName = (counters: Counters): { labels: { name: string }; value: number }[] =>
  Array.from(counters.entries(), ([name, value]) => ({ labels: { name }, value }))
