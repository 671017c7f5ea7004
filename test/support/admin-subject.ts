// A running house for the side-port to look at: real binds, carriers, counters and histograms,
// and in the place of spool, directory and database only what they would say.

import { standardCodings } from '../../protocols/gsm/coding.js'
import { PduCounts } from '../../protocols/smpp/counts.js'
import type { Account } from '../../src/accounts/account.js'
import { type CarrierRow, simulatorSettings, smppSettings } from '../../src/accounts/carrier.js'
import { readConsentProfile } from '../../src/accounts/consentProfile.js'
import { readMailProfile } from '../../src/accounts/mailProfile.js'
import { readOtpProfile } from '../../src/accounts/otpProfile.js'
import { noQuota } from '../../src/accounts/quota.js'
import type { RouteRow } from '../../src/accounts/route.js'
import { readProfile } from '../../src/accounts/smppProfile.js'
import type { AdminSubject, Ports, RunningCarrier, TraceTap } from '../../src/admin/subject.js'
import { ManualClock } from '../../src/base/clock.js'
import { Counters, Histogram } from '../../src/base/figures.js'
import { createLog } from '../../src/base/log.js'
import type { Driver, DriverFigures, LinkFigures } from '../../src/carriers/driver.js'
import { plainCut } from '../../src/dispatch/cut.js'
import { Dispatch } from '../../src/dispatch/dispatch.js'
import type { Bind } from '../../src/intake/smpp/bind.js'
import { Binds } from '../../src/intake/smpp/binds.js'
import { BindTotals } from '../../src/intake/smpp/totals.js'
import { Tally } from '../../src/model/tally.js'
import { StatsPast } from '../../src/returns/statsPast.js'
import { StatsTotals } from '../../src/returns/statsTotals.js'
import { Blocked } from '../../src/routing/blocked.js'
import type { Standing } from '../../src/routing/quality.js'
import { RouteTable } from '../../src/routing/table.js'
import type { QueueFigures, Spool, SpoolRefusal } from '../../src/spool/contract.js'
import { StoreAway } from '../../src/store/retry.js'

export const START_MS = Date.UTC(2026, 0, 2, 3, 4, 5)
/** No label is safe from it. */
export const AWKWARD = 'a"b\\c\nd'
export const PASSWORD = 'carrier-password'

/** A driver with links that stand as they are told. */
export class StandingDriver implements Driver {
  up = true
  links: LinkFigures[] = []
  ratePerSecond = 0
  unsure = 0
  room(): number {
    return 0
  }
  send(): void {}
  start(): void {}
  stop(): Promise<void> {
    return Promise.resolve()
  }
  figures(): DriverFigures {
    return { up: this.up, links: this.links, ratePerSecond: this.ratePerSecond, unsure: this.unsure }
  }
}

export class Subject implements AdminSubject {
  readonly version = '1.2.3'
  readonly startedMs = START_MS
  readonly clock = new ManualClock(START_MS)
  readonly logged: Record<string, unknown>[] = []
  readonly log = createLog({
    level: 'info',
    pretty: false,
    to: { write: line => void this.logged.push(JSON.parse(line) as Record<string, unknown>) },
  })
  readonly config: AdminSubject['config']
  queue: QueueFigures = {
    waiting: 0,
    claimed: 0,
    sent: 0,
    due: 0,
    outbox: 0,
    unclaimed: 0,
    parked: 0,
    logRows: 0,
    replaceable: 0,
    lanes: [],
  }
  refuses: SpoolRefusal | undefined
  readonly spool = {
    crashed: false,
    exhausted: false,
    figures: () => this.queue,
    refusal: () => this.refuses,
    claimer: () => ({ waiting: false, claim: () => [], serve: () => {}, close: () => {} }),
  }
  readonly dispatch: Dispatch
  /** Operators' changes are told with the real house: test/operator.test.ts. */
  readonly credit = { figures: () => ({ accounts: 0, leftMicros: 0, waiting: 0 }) }
  readonly desk = { store: { query: async () => ({ rows: [] }) } } as unknown as AdminSubject['desk']
  readonly lines = { running: new Map<number, RunningCarrier>() }
  readonly binds = new Binds()
  readonly totals = new BindTotals(this.binds)
  readonly tally = new Tally()
  readonly smppCounts = new PduCounts()
  accounts: Account[] = []
  routeRows: RouteRow[] = []
  loaded = true
  /** What is learned of carriers, by name. */
  readonly standings = new Map<string, Standing>()
  readonly routing: AdminSubject['routing'] = {
    blocked: new Blocked([]),
    choose: (rule, _, isUp) => rule.to.find(({ carrier }) => isUp(carrier))?.carrier,
    priceMicros: () => undefined,
    areaOf: () => '',
    quietUntil: () => 0,
    standing: carrier => this.standings.get(carrier) ?? { score: 0.95, rate: 0.95, samples: 0, medianMs: null },
  }
  readonly directory: AdminSubject['directory']
  readonly counters = new Counters()
  readonly analytics: AdminSubject['analytics'] = {
    past: new StatsPast({ transaction: () => Promise.reject(new StoreAway()) }, { hoursDays: 100, days: 1_830 }, () =>
      this.clock.now(),
    ),
    totals: new StatsTotals(),
    currency: 'EUR',
    showsCarriers: false,
    nowMs: () => this.clock.now(),
  }
  readonly history = { figures: { rows: 0, slices: 0, failures: 0, lagMs: 0 } }
  store = { ready: true }
  readonly caught = null
  readonly webhookMs = new Histogram()
  readonly syncMs = new Histogram()
  readonly commitRecords = new Histogram([1, 10, 100])
  traced: readonly string[] = []
  readonly taps = new Set<TraceTap>()
  readonly trace: AdminSubject['trace']
  ports: Ports | null = { smpp: 2775, admin: 8080 }
  stopping = false
  drains = 0
  /** What the daemon would do. */
  onDrain: () => void = () => {}

  constructor(config: { key?: string | null; metricsAccounts?: string[]; dataDir?: string } = {}) {
    const { key = null, metricsAccounts = [], dataDir = '.' } = config
    const admin = { key, metricsAccounts, allowedOrigins: [], trustedProxies: [] }
    this.config = { node: 7, dataDir, admin, billing: { currency: 'EUR', taxPercent: '0', seller: '' } }
    const { clock } = this
    const spool = this.spool as unknown as Spool
    this.dispatch = new Dispatch(
      {
        spool,
        clock,
        random: () => 0,
        retry: [],
        weightOf: () => 1,
        rematch: () => undefined,
        choose: () => undefined,
        quietUntil: () => 0,
        unwanted: () => undefined,
        codingsOf: () => standardCodings,
        fault: () => {},
      },
      new RouteTable([]),
    )
    this.directory = asDirectory(this)
    this.trace = asTrace(this)
  }

  drain(): void {
    this.drains++
    this.onDrain()
  }

  addCarrier(name: string, driver: Driver, smpp = true): RunningCarrier {
    const id = this.lines.running.size + 1
    const row: CarrierRow = smpp
      ? {
          id,
          name,
          paused: false,
          kind: 'smpp',
          settings: { ...smppSettings.parse({ host: '10.0.0.9', systemId: 'us', window: 50 }), password: PASSWORD },
        }
      : { id, name, paused: false, kind: 'simulator', settings: simulatorSettings.parse({}) }
    const line = this.dispatch.add(id, name, driver, plainCut, false)
    const running = { row, line, counts: smpp ? new PduCounts() : null }
    this.lines.running.set(id, running)
    return running
  }

  useRoutes(rows: RouteRow[]): void {
    this.routeRows = rows
    this.dispatch.useRoutes(new RouteTable(rows))
  }

  addBind(account: Account, state: 'bound_tx' | 'bound_rx' | 'bound_trx', submitted = 0, delivered = 0): Bind {
    const bind = {
      systemId: account.systemId,
      accountId: account.id,
      submitted,
      delivered,
      session: { state, inFlight: 3, peer: '10.1.1.1:5000' },
    } as unknown as Bind
    this.binds.all.add(bind)
    this.binds.join(bind, account.id)
    return bind
  }
}

export const account = (id: number, systemId: string, more: Partial<Account> = {}): Account => ({
  id,
  systemId,
  group: '',
  secret: Buffer.from('the hash of a password'),
  suspended: null,
  throughput: 0,
  maxBinds: 0,
  rank: 1,
  weight: 1,
  maxWaiting: null,
  serviceTypes: new Map(),
  senders: null,
  creditMicros: null,
  tariff: 0,
  otp: readOtpProfile({}),
  quietHours: undefined,
  smpp: readProfile({}),
  mail: readMailProfile({}),
  consent: readConsentProfile({}),
  hooks: [],
  quota: noQuota,
  ...more,
})

export const route = (id: number, more: Partial<RouteRow> = {}): RouteRow => ({
  id,
  position: id,
  name: '',
  accounts: [],
  groups: [],
  ranks: [],
  sources: [],
  destinations: [],
  countries: [],
  networks: [],
  times: [],
  tags: [],
  carriers: [],
  by: 'order',
  named: 'listed',
  to: [],
  ...more,
})

export const link = (more: Partial<LinkFigures> = {}): LinkFigures => ({
  stand: 'ready',
  peer: '10.0.0.9:2775',
  inFlight: 0,
  window: 50,
  sinceMs: START_MS,
  lastReason: '',
  ...more,
})

const asDirectory = (subject: Subject): AdminSubject['directory'] => ({
  get ready() {
    return subject.loaded
  },
  version: 42,
  accountBySystemId: systemId => subject.accounts.find(one => one.systemId === systemId),
  accountsAfter: (id, count) => subject.accounts.filter(one => one.id > id).slice(0, count),
  carriers: () => [...subject.lines.running.values()].map(({ row }) => row),
  routes: () => subject.routeRows,
})

const asTrace = (subject: Subject): AdminSubject['trace'] => ({
  get named() {
    return subject.traced
  },
  use: names => {
    subject.traced = names
  },
  tap: tap => {
    subject.taps.add(tap)
    return () => subject.taps.delete(tap)
  },
})
