// What a spool is given: where it is and how much it may hold, which its operator says; and how much of each thing stands
// in memory or is done in one go. The defaults of that fit one process of a gateway; tests make them small, so that every
// overflow is met.

import type { Clock } from '../../base/clock.js'

export interface LmdbSpoolSettings {
  path: string
  node: number
  clock: Clock
  mapGb: number
  reserveMb: number
  maxWaiting: number
  maxWaitingPerAccount: number
  keepReportsMs: number
  keepReportsPerAccount: number
  /** A receipt may come this much after the validity of its message. */
  receiptGraceMs: number
  /** For tests: what is left out stands at its default. */
  limits?: Partial<LmdbLimits>
}

export interface LmdbLimits {
  /** Messages that all lanes together hold in memory; what comes on top is read from disk in its turn. */
  heads: number
  /** Messages read from disk at a time, at most, for one row of a lane. */
  refill: number
  /** References held in memory over all carriers, 32 octets each; what comes on top makes a generation. */
  references: number
  /** Of those, this many newest hold the message itself and spare a read. */
  recent: number
  /** Reports that the queues of all accounts together hold in memory; one account takes an eighth at most. */
  reports: number
  /** Due messages released, or messages moved to another lane, in one go. */
  release: number
  /** Texts of which parts are waited for at a time, to be joined, four parts to each on average; what comes on top goes as it came. */
  joins: number
  /** Records looked at for their validity in one go. */
  sweep: number
  /** A commit under load waits this long after the one before: fewer, larger commits cost less CPU each. */
  gatherMs: number
}

export const defaultLimits: LmdbLimits = {
  heads: 30_000,
  refill: 256,
  references: 2 ** 20,
  recent: 4_096,
  reports: 32_000,
  release: 500,
  joins: 10_000,
  sweep: 1_500,
  gatherMs: 2,
}
