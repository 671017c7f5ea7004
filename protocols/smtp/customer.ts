// What a submission connection asks of the house: who may send what to whom, and what becomes of a mail. Shapes only.

import type { Recipient, Sender } from './commands.js'
import type { Content } from './reader.js'
import type { Reply } from './replies.js'

export interface Attempt {
  readonly mechanism: string
  readonly user: string
  /** Password, or bearer token of XOAUTH2. */
  readonly secret: string
}

/** Takes one mail. */
export interface MailSink extends Content {
  /** It is whole: answered once it is durable, or refused. */
  end(answer: (reply: Reply) => void): void
  /** It will never be whole, or what came of it is no mail. */
  drop(): void
}

/** The house's side of one connection. */
export interface Customer {
  /** May send: it has authenticated, or its address is trusted. */
  readonly isKnown: boolean
  /** A 235 makes it known. */
  authenticate(attempt: Attempt): Reply | Promise<Reply>
  /** undefined: taken. */
  mail(sender: Sender): Reply | undefined
  recipient(recipient: Recipient): Reply | undefined
  /** Of the envelope that was taken. */
  content(): MailSink | Reply
  /** The envelope is forgotten. */
  reset(): void
  /** TLS is up: what was known of it is forgotten (RFC 3207 §4.2). */
  secured(): void
  /** A reply of 400 and above was given. */
  refused(reply: Reply): void
  closed(): void
}
