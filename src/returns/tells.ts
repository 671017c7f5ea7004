// Who is told of what happened besides an account's binds: its webhooks that want it, the URL that a message itself names,
// the sender of a mail. Answers with queues of the outbox; asked once for each message that ends, so what is most common
// (nobody) costs a look-up.

import type { Account } from '../accounts/account.js'
import { wants } from '../accounts/hooks.js'
import { isOfMail, type Message } from '../model/message.js'
import { hasCallback } from '../model/webExtras.js'
import { type Ending, type ReportQueue, way } from '../spool/contract.js'
import { endType } from './events.js'

/** Its webhooks that want events of this type. */
export function hooksFor(account: Account | undefined, type: string): readonly ReportQueue[] {
  if (account === undefined || account.hooks.length === 0) return NOBODY
  return account.hooks.filter(hook => wants(hook, type)).map(({ of }) => ({ way: way.hook, of }))
}
const NOBODY: readonly ReportQueue[] = []

/** Queues for a message's end; null = nobody's. `mail`: of one that came by mail, whether its sender is told. */
export function tellsOf(
  m: Message,
  ending: Ending,
  account: Account | undefined,
  mail: (m: Message, ending: Ending) => boolean,
): readonly ReportQueue[] | null {
  // A mail of ours is no message of the account's.
  const hooked = !m.isMail && account !== undefined && account.hooks.length > 0
  if (m.extras === '' && !hooked) return null
  const queues = hooked ? [...hooksFor(account, endType(ending.state))] : []
  if (hasCallback(m)) queues.push({ way: way.callback, of: m.account })
  if (isOfMail(m) && mail(m, ending)) queues.push({ way: way.mail, of: m.account })
  return queues.length === 0 ? null : queues
}
