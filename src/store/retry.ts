// Which failures of the database pass by themselves, and when to try again. One table;
// whoever loops over SQL asks it.

/** No connection at this moment. Nothing was done. */
export class StoreAway extends Error {
  readonly code = 'STORE_AWAY'
  constructor() {
    super('the database is away')
  }
}

/** SQLSTATE (PostgreSQL appendix A) or the system's error code → ms until the same work is tried again. */
const DELAYS: Readonly<Record<string, number>> = {
  // Two transactions met; the work itself is fine.
  '40001': 10, // serialization_failure
  '40P01': 20, // deadlock_detected
  '55P03': 100, // lock_not_available
  // The server goes, comes, or has no room.
  '57P01': 500, // admin_shutdown
  '57P02': 1000, // crash_shutdown
  '57P03': 250, // cannot_connect_now
  '25006': 1000, // read_only_sql_transaction: a standby before its promotion
  '53300': 1000, // too_many_connections
  '53100': 5000, // disk_full
  '53200': 2000, // out_of_memory
  // The way there.
  '08000': 500,
  '08001': 500,
  '08003': 500,
  '08004': 1000,
  '08006': 500,
  STORE_AWAY: 500,
  ECONNREFUSED: 500,
  ECONNRESET: 500,
  ENOENT: 500, // the socket's file
  EPIPE: 500,
  ETIMEDOUT: 1000,
  EHOSTUNREACH: 1000,
  ENETUNREACH: 1000,
  ENOTFOUND: 2000,
  EAI_AGAIN: 1000,
}

/** Conflicts inside a living server: worth repeating at once, a few times. */
const CONFLICTS = new Set(['40001', '40P01', '55P03'])

/** ms until the work may be tried again; undefined when trying again cannot help. */
export function retryDelayMs(error: unknown): number | undefined {
  const code = codeOf(error)
  if (code !== undefined) return DELAYS[code]
  // The driver's own errors have no code.
  return error instanceof Error && /connection (terminated|ended)|timeout/i.test(error.message) ? 500 : undefined
}

export const isConflict = (error: unknown): boolean => CONFLICTS.has(codeOf(error) ?? '')

/** The error's SQLSTATE or system code. */
export function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' ? code : undefined
}

/** What may stand in a log: server messages can quote rows in `detail`, never in `message`. */
export const logged = (error: unknown): { code?: string; reason: string } => {
  const code = codeOf(error)
  const reason = error instanceof Error ? error.message : String(error)
  return code === undefined ? { reason } : { code, reason }
}

/** Doubles from `firstMs` to `lastMs`, and a random half of it, so that nodes do not come back in step. */
export function backOffMs(failures: number, firstMs: number, lastMs: number): number {
  const whole = Math.min(lastMs, firstMs * 2 ** Math.min(failures, 20))
  return whole / 2 + (Math.random() * whole) / 2
}
