// Accounts, carriers and routes as the directory has them, as plain data with what is known of
// their running halves. Secrets are left out here and nowhere else.

import type { Account } from '../accounts/account.js'
import type { CarrierRow } from '../accounts/carrier.js'
import type { MessageClass } from '../model/message.js'
import { className, routeName } from './status.js'
import type { AdminSubject, RunningCarrier } from './subject.js'

export interface AccountEntry {
  id: number
  system_id: string
  /** Why; null = live. */
  suspended: string | null
  class: MessageClass
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
  /** As in a gateway file, all but the password. */
  settings: Record<string, unknown>
}

export function carrierEntry(row: CarrierRow, running: RunningCarrier | undefined): CarrierEntry {
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
    settings,
  }
}

export interface RouteEntry {
  id: number
  position: number
  name: string
  /** Empty lists match everything. */
  match: { account: string[]; class: MessageClass[]; source: string[]; destination: string[] }
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
      class: route.ranks.map(className),
      source: [...route.sources],
      destination: [...route.destinations],
    },
    to: route.to.map(({ carrier, weight }) => ({ carrier, weight, up: up.has(carrier) })),
  }))
}
