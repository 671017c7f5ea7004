// A server that takes mail as a test tells it to: each mail that came whole, in order, and an answer for every one. Knows
// no test.
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { SMTPServer } from 'smtp-server'
import { type Cleaner, Waiting } from './peer.js'
import { listen } from './ports.js'

export interface Arrived {
  /** '' = the null reverse-path. */
  readonly from: string
  readonly to: string[]
  readonly octets: Buffer
}

/** To a mail: nothing takes it, a number is an answer of that code, `drop` hangs up after the dot, `hang` says nothing. */
export type Answer = undefined | readonly [code: number, text: string] | 'drop' | 'hang'

export class Smarthost {
  readonly mails: Arrived[] = []
  connections = 0
  port = 0
  /** Asked when a whole mail has come. */
  answer: (mail: Arrived) => Answer = () => undefined
  /** Asked for each recipient. */
  recipient: (address: string) => Answer = () => undefined
  readonly server: SMTPServer
  private taken = 0
  private readonly waiting = new Waiting()
  private readonly sockets = new Set<Socket>()

  constructor(options: object = {}) {
    this.server = new SMTPServer({
      authOptional: true,
      disabledCommands: ['STARTTLS'],
      allowInsecureAuth: true,
      hideENHANCEDSTATUSCODES: false,
      disableReverseLookup: true,
      onConnect: (_session, then) => {
        this.connections++
        then()
      },
      onRcptTo: ({ address }, session, then) => this.give(this.recipient(address), session.id, then),
      onData: (stream, session, then) => {
        const chunks: Buffer[] = []
        stream.on('data', (chunk: Buffer) => chunks.push(chunk))
        stream.on('end', () => {
          const { mailFrom, rcptTo } = session.envelope
          const mail: Arrived = {
            from: mailFrom === false ? '' : mailFrom.address,
            to: rcptTo.map(({ address }) => address),
            octets: Buffer.concat(chunks),
          }
          this.mails.push(mail)
          this.give(this.answer(mail), session.id, then)
          this.waiting.look()
        })
      },
      ...options,
    })
    this.server.on('error', () => {})
    this.server.server.on('connection', (socket: Socket) => {
      this.sockets.add(socket)
      socket.on('close', () => this.sockets.delete(socket))
    })
  }

  private give(answer: Answer, _id: string, then: (error?: Error | null) => void): void {
    if (answer === 'hang') return
    if (answer === 'drop') this.drop()
    else if (answer === undefined) then()
    else then(Object.assign(new Error(answer[1]), { responseCode: answer[0] }))
  }

  /** Hangs up on everybody. */
  drop(): void {
    for (const socket of this.sockets) socket.destroy()
  }

  /** At the port it had before, if it had one. */
  async listen(): Promise<void> {
    if (this.port === 0) this.port = await listen(this.server.server)
    else await once(this.server.listen(this.port, '127.0.0.1'), 'listening')
  }

  close(): Promise<void> {
    this.drop()
    return new Promise(resolve => this.server.close(() => resolve()))
  }

  /** The next mail that came. */
  next(ms?: number): Promise<Arrived> {
    return this.waiting.until(
      () => {
        const next = this.mails[this.taken]
        if (next !== undefined) this.taken++
        return next
      },
      () => `a mail; ${this.mails.length} came`,
      ms,
    )
  }
}

export async function smarthost(t: Cleaner, options: object = {}): Promise<Smarthost> {
  const one = new Smarthost(options)
  await one.listen()
  t.teardown(() => one.close())
  return one
}
