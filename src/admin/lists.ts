// Accounts, carriers and routes as the directory has them, as plain data with what is known of
// their running halves. Secrets are left out here and nowhere else.

import type { Account } from '../accounts/account.js'
import type { CarrierRow } from '../accounts/carrier.js'
import type { RouteRow } from '../accounts/route.js'
import type { MessageClass } from '../model/message.js'
import { FLOOR, type Standing } from '../routing/quality.js'
import { className, routeName } from './status.js'
import type { AdminSubject, RunningCarrier } from './subject.js'

export interface AccountEntry {
  id: number
  system_id: string
  /** Why; null = live. */
  suspended: string | null
  class: MessageClass
  /** '' = none. */
  group: string
  /** Messages a second, 0 = no limit. */
  throughput: number
  max_binds: number
  binds: number
  weight: number
  /** null = the gateway's own limit. */
  max_waiting: number | null
  service_types: Record<string, MessageClass>
  /** How many senders it may use; null = any. */
  senders: number | null
  /** null = unlimited. */
  credit_micros: number | null
}

export function accountEntry(account: Account, binds: number): AccountEntry {
  return {
    id: account.id,
    system_id: account.systemId,
    suspended: account.suspended,
    class: className(account.rank),
    group: account.group,
    throughput: account.throughput,
    max_binds: account.maxBinds,
    binds,
    weight: account.weight,
    max_waiting: account.maxWaiting,
    service_types: Object.fromEntries([...account.serviceTypes].map(([type, rank]) => [type, className(rank)])),
    senders: account.senders?.size ?? null,
    credit_micros: account.creditMicros,
  }
}

export interface CarrierEntry {
  id: number
  name: string
  kind: string
  paused: boolean
  up: boolean
  links_ready: number
  links: number
  /** What is learned of it over the last minutes; null while too little is. */
  quality: { score: number; delivery_rate: number; samples: number; receipt_median_ms: number | null } | null
  /** As in a gateway file, all but the password. */
  settings: Record<string, unknown>
}

export function carrierEntry(row: CarrierRow, running: RunningCarrier | undefined, learned: Standing): CarrierEntry {
  const settings: Record<string, unknown> = { ...row.settings }
  delete settings.password
  const links = running?.line.driver.figures().links ?? []
  return {
    id: row.id,
    name: row.name,
    kind: row.kind,
    paused: row.paused,
    up: running?.line.up ?? false,
    links_ready: links.filter(link => link.stand !== 'closed' && link.stand !== 'binding').length,
    links: links.length,
    quality: qualityEntry(learned),
    settings,
  }
}

function qualityEntry({ score, rate, samples, medianMs }: Standing): CarrierEntry['quality'] {
  if (samples < FLOOR) return null
  const share = (value: number): number => Math.round(value * 1000) / 1000
  return {
    score: share(score),
    delivery_rate: share(rate),
    samples: Math.round(samples),
    receipt_median_ms: medianMs,
  }
}

export interface RouteEntry {
  id: number
  position: number
  name: string
  /** Empty lists match everything. */
  match: {
    account: string[]
    group: string[]
    class: MessageClass[]
    source: string[]
    destination: string[]
    country: string[]
    network: string[]
    time: { days: string[]; from: string; to: string; zone: string }[]
    tag: string[]
    carrier: string[]
  }
  by: RouteRow['by']
  named: RouteRow['named']
  to: { carrier: string; weight: number | null; up: boolean }[]
}

export function routeEntries(subject: AdminSubject): RouteEntry[] {
  const up = new Set<string>()
  for (const { line } of subject.lines.running.values()) if (line.up) up.add(line.name)
  return subject.directory.routes().map(route => ({
    id: route.id,
    position: route.position,
    name: routeName(route),
    match: {
      account: [...route.accounts],
      group: [...route.groups],
      class: route.ranks.map(className),
      source: [...route.sources],
      destination: [...route.destinations],
      country: [...route.countries],
      network: [...route.networks],
      time: route.times.map(({ days, from, to, zone }) => ({ days: [...days], from, to, zone })),
      tag: [...route.tags],
      carrier: [...route.carriers],
    },
    by: route.by,
    named: route.named,
    to: route.to.map(({ carrier, weight }) => ({ carrier, weight, up: up.has(carrier) })),
  }))
}
