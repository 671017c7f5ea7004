// The PDU trace: every PDU of the accounts and carriers that an operator names, one line
// each at debug, without texts and passwords. Costs nothing for all others.

import { describePdu } from '../../protocols/smpp/pdu.js'
import type { Session } from '../../protocols/smpp/session.js'
import type { Log } from '../base/log.js'

interface Watched {
  readonly session: Pick<Session<unknown>, 'peer' | 'state' | 'trace'>
  readonly name: () => string
}

export class Trace {
  private names = new Set<string>()
  private readonly watched = new Set<Watched>()
  private readonly log: Log

  constructor(log: Log) {
    this.log = log
  }

  get named(): readonly string[] {
    return [...this.names]
  }

  /** system_ids and carriers' names, from now on and for the sessions that are. */
  use(names: readonly string[]): void {
    this.names = new Set(names)
    for (const one of this.watched) this.apply(one)
  }

  /** A session to trace when its name, which may be known only later, is asked for. */
  watch(session: Watched['session'], name: () => string): () => void {
    const one = { session, name }
    this.watched.add(one)
    this.apply(one)
    return () => this.watched.delete(one)
  }

  /** The session's name has become known. */
  renamed(session: Watched['session']): void {
    for (const one of this.watched) if (one.session === session) this.apply(one)
  }

  private apply({ session, name }: Watched): void {
    const called = name()
    session.trace = this.names.has(called)
      ? (direction, buf, start, end) => {
          this.log.debug({ name: called, peer: session.peer, direction }, describePdu(buf, start, end))
        }
      : null
  }
}
