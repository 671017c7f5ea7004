// Messages from phones with everything they need of the house: whose numbers and rules, what carriers mean by their octets,
// the door for answers. Knows how the parts are joined; what is done with a message is returns/replies'.

import { codingOf, decodeUserData } from '../../protocols/gsm/coding.js'
import type { Account } from '../accounts/account.js'
import type { Consent } from '../accounts/consent.js'
import type { Directory } from '../accounts/directory.js'
import type { Clock } from '../base/clock.js'
import type { Counters } from '../base/figures.js'
import type { Log } from '../base/log.js'
import { creditPending, type Door } from '../intake/submit.js'
import type { Message } from '../model/message.js'
import { RECEIVED } from '../returns/events.js'
import { queuesOf, Replies } from '../returns/replies.js'
import { hooksFor } from '../returns/tells.js'
import type { Spool } from '../spool/contract.js'
import type { Lines } from './lines.js'
import type { MailOut } from './mailOut.js'

const UDHI = 0x40

export interface InboxHost {
  readonly spool: Spool
  readonly consent: Consent
  readonly clock: Clock
  readonly counters: Counters
  readonly log: Log
  readonly directory: Directory
  readonly door: Door
  /** They need the replies. */
  lines(): Lines
  mailOut(): MailOut
}

export function openInbox({
  spool,
  consent,
  clock,
  counters,
  log,
  directory,
  door,
  lines,
  mailOut,
}: InboxHost): Replies {
  return new Replies({
    spool,
    consent,
    clock,
    counts: counters,
    log,
    rules: directory.inbound(),
    ownerOf: number => directory.ownerOf(number),
    account: id => directory.account(id),
    accountBySystemId: systemId => directory.accountBySystemId(systemId),
    waysOf: (account, by) => queuesOf(account, by, hooksFor(account, RECEIVED)),
    answersMail: (account, reply) => mailOut().answers(account.id, reply),
    carrierName: carrier => lines().running.get(carrier)?.row.name ?? '',
    textOf: ({ carrier, data_coding, esm_class, body }) => {
      const coding = codingOf(data_coding, lines().codingsOf(carrier))
      return coding === 'binary' ? '' : decodeUserData(body, (esm_class & UDHI) !== 0, coding)
    },
    answer: (message, account) => {
      const fault = door.answer(message, account)
      if (fault !== creditPending) return fault
      counters.add('consent_answers_waited')
      void answerLate(door, counters, message, account)
      return undefined
    },
  })
}

/**
 * The phone's owner is owed it, and whether there is credit is known in a moment. Until then it stands in memory alone:
 * what has waited and was neither taken nor refused went with its process.
 */
async function answerLate(door: Door, counters: Counters, message: Message, account: Account): Promise<void> {
  for (;;) {
    const isKnown = await door.creditKnown(account)
    const fault = door.answer(message, account)
    if (fault === creditPending && isKnown) continue
    counters.add(fault === undefined ? 'consent_answers_late' : `consent_answers_refused_${fault.code}`)
    return
  }
}
