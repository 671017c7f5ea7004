// What messages came to, for operators: any of them by time, account, carrier, country and class, with cost and profit; and the
// few figures that one looks at first. Knows who asks; how it is answered statsAnswer knows.

import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { COLUMNS } from '../returns/statsColumns.js'
import type { StatsQuestion, StatsRow } from '../returns/statsPast.js'
import { dateOf, isZone, startOf } from '../returns/statsTime.js'
import { read, serving } from './asked.js'
import { Problem } from './problem.js'
import { carrierName } from './queued.js'
import type { Recent } from './recent.js'
import { answerStats, figuresOf, type Names, type StatsFigures, spanned, statsQuery } from './statsAnswer.js'
import { queueStatus } from './status.js'
import type { AdminSubject } from './subject.js'

const DAY_MS = 86_400_000
const DAYS = 7

const dashboardQuery = z.strictObject({ tz: z.string().max(64).default('UTC') })

export interface Dashboard {
  at: string
  tz: string
  currency: string
  today: StatsFigures
  yesterday: StatsFigures
  /** With today. */
  last_7_days: StatsFigures
  /** Of the OTPs of the last seven days. */
  otp: StatsFigures
  /** Messages a second over the last 10 s: accepted by us, accepted by carriers, ended. */
  rate: { in_per_s: number; out_per_s: number; ended_per_s: number }
  queue: { waiting: number; in_hand: number; sent: number; due: number; reports: number }
  carriers: { up: number; all: number; down: string[] }
  binds: number
  history_lag_s: number
  uptime_s: number
}

export function analyticsRoutes(app: FastifyInstance, subject: AdminSubject, recent: Recent): void {
  const { analytics } = subject
  const names: Names = {
    accountId: name => serving(subject).directory.accountBySystemId(name)?.id,
    accountName: id => serving(subject).desk.account(id)?.systemId ?? `#${id}`,
    carrierId: name =>
      serving(subject)
        .directory.carriers()
        .find(row => row.name === name)?.id,
    carrierName: id => carrierName(id, subject),
  }

  app.get('/analytics', async (request, reply) => {
    const query = read(statsQuery, request.query)
    serving(subject)
    return answerStats(analytics, query, { names, withCost: true, accept: request.headers.accept }, reply)
  })

  app.get('/dashboard', async request => {
    const { tz } = read(dashboardQuery, request.query)
    if (!isZone(tz)) throw new Problem(422, 'invalid', 'The request is not as it must be', `tz: there is no zone ${tz}`)
    serving(subject)
    return dashboard(tz)
  })

  async function dashboard(zone: string): Promise<Dashboard> {
    const now = subject.clock.now()
    const today = dateOf(now, zone)
    const fromMs = startOf(today - (DAYS - 1) * DAY_MS, zone)
    const question: StatsQuestion = {
      fromMs,
      toMs: startOf(today + DAY_MS, zone),
      zone,
      interval: 'day',
      by: ['class'],
      only: {},
    }
    const { rows } = await spanned(() => analytics.past.page(question, null, DAYS * 4))
    const sum = (is: (row: StatsRow) => boolean): StatsFigures => {
      const counts = COLUMNS.map(() => 0)
      for (const row of rows)
        if (is(row)) for (const i of counts.keys()) (counts[i] as number) += row.counts[i] as number
      return figuresOf(counts, true)
    }
    const dayOf = (back: number) => startOf(today - back * DAY_MS, zone)
    const { waiting, claimed, sent, due, outbox } = queueStatus(subject)
    const rates = recent.rates()
    const lines = [...subject.lines.running.values()]
    const bound = subject.binds.bound()
    const round = (value: number): number => Math.round(value * 10) / 10
    return {
      at: new Date(now).toISOString(),
      tz: zone,
      currency: analytics.currency,
      today: sum(row => row.atMs === dayOf(0)),
      yesterday: sum(row => row.atMs === dayOf(1)),
      last_7_days: sum(() => true),
      otp: sum(row => row.rank === 0),
      rate: { in_per_s: round(rates.in), out_per_s: round(rates.out), ended_per_s: round(rates.ended) },
      queue: { waiting, in_hand: claimed, sent, due, reports: outbox },
      carriers: {
        up: lines.filter(({ line }) => line.up).length,
        all: lines.length,
        down: lines.filter(({ line }) => !line.up).map(({ row }) => row.name),
      },
      binds: bound.tx + bound.rx + bound.trx,
      history_lag_s: Math.round(subject.history.figures.lagMs / 1_000),
      uptime_s: Math.max(0, Math.floor((now - subject.startedMs) / 1_000)),
    }
  }
}
