// Dispatch put together: what it asks of the house about a message that waits - its carrier, its account's share, whether
// the phone still wants it and is awake. Decides nothing that routing or consent could decide.

import type { Codings } from '../../protocols/gsm/coding.js'
import type { Consent } from '../accounts/consent.js'
import type { Directory } from '../accounts/directory.js'
import type { Clock } from '../base/clock.js'
import { idTimeMs } from '../base/ids.js'
import type { Config } from '../config.js'
import { Dispatch } from '../dispatch/dispatch.js'
import { digitsOf } from '../model/digits.js'
import { EXTRAS_OF_ANSWER, messageClasses } from '../model/message.js'
import type { QuietHours } from '../routing/quietHours.js'
import { SANDBOX_LANE } from '../routing/sandbox.js'
import type { Spool } from '../spool/contract.js'
import type { Routing } from './routing.js'

interface DispatchParts {
  readonly config: Pick<Config, 'retry'>
  readonly spool: Spool
  readonly clock: Clock
  readonly directory: Directory
  readonly consent: Consent
  readonly routing: Routing
  readonly quiet: QuietHours
  codingsOf(account: number): Codings
  fault(error: unknown): void
}

export function openDispatch(parts: DispatchParts): Dispatch {
  const { config, spool, clock, directory, consent, routing, quiet, codingsOf, fault } = parts
  return new Dispatch(
    {
      ...{ spool, clock, codingsOf, fault },
      random: Math.random,
      retry: messageClasses.map(name => config.retry[name]),
      weightOf: account => directory.account(account)?.weight ?? 1,
      rematch: m => routing.rematch(m),
      choose: (rule, m, isUp, hasPlace) => routing.choose(rule, m, isUp, hasPlace),
      unwanted: m => {
        if (!consent.hasChangedSince(idTimeMs(m.id)) || m.isMail || m.extras === EXTRAS_OF_ANSWER) return undefined
        const account = directory.account(m.account)
        return account && consent.held(account, m.rank, digitsOf(m.destination_addr))?.code
      },
      quietUntil: m => {
        if (m.lane === SANDBOX_LANE) return 0
        const own = directory.account(m.account)?.quietHours
        const untilMs = quiet.until(digitsOf(m.destination_addr), clock.now(), own)
        if (untilMs > 0) quiet.held()
        return untilMs
      },
    },
    routing.table,
  )
}
