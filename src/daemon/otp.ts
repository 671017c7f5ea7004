// One-time passwords with everything they need of the house. Knows how the parts are joined; what they do is services/otp's.

import { join } from 'node:path'
import type { Directory } from '../accounts/directory.js'
import type { Clock } from '../base/clock.js'
import type { Counters } from '../base/figures.js'
import type { Log } from '../base/log.js'
import type { Config } from '../config.js'
import type { Door } from '../intake/submit.js'
import type { OtpTemplates } from '../services/otp/host.js'
import { phoneNumbers } from '../services/otp/numbers.js'
import { Otp } from '../services/otp/otp.js'
import { Peppers } from '../services/otp/peppers.js'
import type { Spool } from '../spool/contract.js'
import type { Store } from '../store/postgres.js'
import { logged } from '../store/retry.js'
import type { Lines } from './lines.js'
import type { Notices } from './notices.js'
import type { Routing } from './routing.js'

const HOUR_MS = 3_600_000
/** Between two looks at how old the newest pepper is. */
const LOOK_MS = 60_000

export interface OtpParts {
  readonly config: Config
  readonly spool: Spool
  readonly door: Door
  readonly store: Store
  readonly directory: Directory
  readonly routing: Routing
  readonly notices: Notices
  readonly templates: OtpTemplates
  readonly clock: Clock
  readonly counters: Counters
  readonly log: Log
  lines(): Lines
  fault(error: unknown): void
}

export interface RunningOtp {
  readonly otp: Otp
  start(): void
  stop(): Promise<void>
}

/** Reads the peppers, or makes them; and the tables of numbers, for which later on all else would have to wait. */
export async function openOtp(parts: OtpParts): Promise<RunningOtp> {
  const { config, directory, routing, notices, clock, log } = parts
  const { otp: settings, smtp } = config
  const [peppers] = await Promise.all([Peppers.open(join(config.dataDir, 'otp.peppers'), clock), phoneNumbers()])
  const otp = new Otp({
    ...parts,
    peppers,
    settings: {
      ...settings,
      limits: settings,
      guard: {
        percent: settings.guardPercent,
        from: settings.guardFrom,
        graceMs: settings.guardGraceMs,
        blockMs: settings.guardHours * HOUR_MS,
      },
      keepDays: config.history.retentionDays,
    },
    sandbox: config.sandbox.enabled,
    postmaster: smtp.postmaster ?? `postmaster@${smtp.hostname}`,
    hostname: smtp.hostname,
    account: id => directory.account(id),
    notice: (account, type, data, logged) => notices.notify(account, type, data, logged),
    learned: ({ carrier, account, destination, isUnused, afterMs }) => {
      const name = parts.lines().running.get(carrier)?.row.name
      if (name !== undefined) routing.learned(name, account, destination, isUnused, afterMs)
    },
  })
  const renew = (): void => {
    const sinceMs = clock.now() - peppers.current.sinceMs
    // One of a clock that was ahead would stay until the clock is there again.
    if (sinceMs >= 0 && sinceMs < settings.pepperHours * HOUR_MS) return
    otp.rotate().then(
      kid => log.info({ kid }, 'one-time passwords are hashed under a new secret'),
      error =>
        log.error({ ...logged(error) }, 'no new secret for one-time passwords could be written: the old one stays'),
    )
  }
  let timer: NodeJS.Timeout | undefined
  return {
    otp,
    start: () => {
      otp.start()
      renew()
      timer = setInterval(renew, LOOK_MS).unref()
    },
    stop: () => {
      clearInterval(timer)
      return otp.stop()
    },
  }
}
