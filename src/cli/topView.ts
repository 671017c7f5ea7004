// What changed between two looks at the daemon: rates, the share of a CPU, what each account's binds carry, and how the rates
// were before. Knows the status as the daemon gives it; knows no screen.

import type { AccountBinds, CarrierStatus, Status } from '../admin/status.js'

/** A second. */
export interface Rates {
  in: number
  out: number
  ended: number
  /** Receipts that customers took. */
  receipts: number
}

export interface AccountView extends AccountBinds {
  /** submit_sm a second. */
  in_per_s: number
  /** deliver_sm a second. */
  out_per_s: number
}

export interface View {
  status: Status
  rates: Rates
  /** Oldest first; the last is `rates`. */
  history: readonly Rates[]
  /** Of one CPU; null before the second look. */
  cpu_percent: number | null
  accounts: readonly AccountView[]
  /** By name. */
  carriers: ReadonlyMap<string, CarrierView>
}

export interface CarrierView {
  /** Parts a second that it accepted. */
  out_per_s: number
  /** Answers other than accepting, since the start, by kind. */
  throttled: number
  deferred: number
  refused: number
  unsure: number
}

/** More than any terminal is wide. */
const HISTORY = 300

export class Watch {
  private before: { status: Status; atMs: number } | undefined
  private history: Rates[] = []

  /** @param atMs on a clock that never runs back */
  take(status: Status, atMs: number): View {
    const { before } = this
    // Another process counts from nothing.
    const then = before?.status.pid === status.pid && atMs > before.atMs ? before : undefined
    this.before = { status, atMs }
    const seconds = then === undefined ? 0 : (atMs - then.atMs) / 1000
    const perSecond = (of: (status: Status) => number): number =>
      then === undefined ? 0 : Math.max(0, (of(status) - of(then.status)) / seconds)
    const rates = {
      in: perSecond(accepted),
      out: perSecond(({ carriers }) => sum(carriers.map(carrier => carrier.accepted))),
      ended: perSecond(ended),
      receipts: perSecond(({ counters }) => counters.receipts_delivered ?? 0),
    }
    if (then !== undefined) this.history = [...this.history, rates].slice(-HISTORY)
    const oldLines = new Map(then?.status.carriers.map(one => [one.name, one.accepted]))
    // Counts go with their bind or their carrier: one that is gone, or was made anew, makes no rate below zero.
    const rate = (now: number, was: number | undefined): number =>
      then === undefined || was === undefined ? 0 : Math.max(0, now - was) / seconds
    const olds = new Map(then?.status.binds.accounts.map(one => [one.system_id, one]))
    return {
      status,
      rates,
      history: this.history,
      cpu_percent: then === undefined ? null : perSecond(({ process }) => process.cpu_s) * 100,
      accounts: status.binds.accounts.map(one => {
        const old = olds.get(one.system_id)
        return {
          ...one,
          in_per_s: rate(one.submitted, old?.submitted),
          out_per_s: rate(one.delivered, old?.delivered),
        }
      }),
      carriers: new Map(
        status.carriers.map(one => [
          one.name,
          { out_per_s: rate(one.accepted, oldLines.get(one.name)), ...answersOf(one) },
        ]),
      ),
    }
  }
}

/** For --json: a line each look. */
export function viewObject({ status, rates, cpu_percent, accounts, carriers }: View): object {
  return {
    in_per_s: rates.in,
    out_per_s: rates.out,
    ended_per_s: rates.ended,
    receipts_per_s: rates.receipts,
    cpu_percent,
    accounts,
    carriers: Object.fromEntries(carriers),
    status,
  }
}

const sum = (numbers: readonly number[]): number => numbers.reduce((all, one) => all + one, 0)

const accepted = ({ messages }: Status): number => sum(Object.values(messages.accepted))

const ended = ({ messages }: Status): number =>
  sum(Object.values(messages.ended).flatMap(states => Object.values(states)))

type Answers = Omit<CarrierView, 'out_per_s'>

/** `refused:0x0b` and its like, by what stands before the colon. */
function answersOf({ counts }: CarrierStatus): Answers {
  const answers: Answers = { throttled: 0, deferred: 0, refused: 0, unsure: 0 }
  for (const [name, count] of Object.entries(counts)) {
    const kind = name.split(':', 1)[0] as keyof Answers
    if (name.includes(':') && kind in answers) answers[kind] += count
  }
  return answers
}
