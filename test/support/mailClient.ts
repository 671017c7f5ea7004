// A mail client that is as rude as a test needs: octets as they are, replies as they come, each checked against the
// grammar of RFC 5321 §4.2 and RFC 2034. Knows no test.
import net from 'node:net'
import tls from 'node:tls'
import { type Cleaner, Waiting, within } from './peer.js'

export class MailClient {
  socket: net.Socket
  /** Whole replies, oldest first: their lines without CRLF. */
  readonly replies: string[][] = []
  readonly closed: Promise<void>
  isClosed = false
  /** What is wrong with replies that came, by the grammar. */
  readonly wrong: string[] = []
  private partial = ''
  private lines: string[] = []
  private taken = 0
  private readonly waiting = new Waiting()
  /** EHLO was said: replies have enhanced codes from then on. */
  private isExtended = false

  constructor(socket: net.Socket) {
    this.socket = socket
    let gone = (): void => {}
    this.closed = new Promise(resolve => {
      gone = resolve
    })
    this.listen(socket, () => {
      this.isClosed = true
      this.waiting.look()
      gone()
    })
  }

  private listen(socket: net.Socket, gone: () => void): void {
    socket.setNoDelay(true)
    socket.on('error', () => {})
    socket.on('data', chunk => this.take(chunk.toString('latin1')))
    socket.on('close', gone)
  }

  /** Connected; the greeting is not waited for. */
  static async connect(t: Cleaner, port: number, options: { secure?: boolean } = {}): Promise<MailClient> {
    const socket = options.secure
      ? tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
      : net.connect(port, '127.0.0.1')
    const client = new MailClient(socket)
    t.teardown(() => client.socket.destroy())
    await within(
      new Promise<void>((resolve, reject) => {
        socket.once(options.secure ? 'secureConnect' : 'connect', resolve)
        socket.once('error', reject)
      }),
      `a connection to port ${port}`,
    )
    return client
  }

  /** Greeted, EHLO said, and authenticated if `user` is given. */
  static async ready(
    t: Cleaner,
    port: number,
    user: string | null = 'shop',
    options: { secure?: boolean } = {},
  ): Promise<MailClient> {
    const client = await MailClient.connect(t, port, options)
    await client.reply()
    await client.say('EHLO client.example')
    if (user !== null) {
      const said = await client.say(`AUTH PLAIN ${plain(user, 'secret')}`)
      if (!said.startsWith('235')) throw new Error(said)
    }
    return client
  }

  private take(text: string): void {
    this.partial += text
    for (let end = this.partial.indexOf('\r\n'); end >= 0; end = this.partial.indexOf('\r\n')) {
      const line = this.partial.slice(0, end)
      this.partial = this.partial.slice(end + 2)
      this.check(line)
      this.lines.push(line)
      if (line[3] === '-') continue
      this.replies.push(this.lines)
      this.lines = []
    }
    this.waiting.look()
  }

  private check(line: string): void {
    const found = /^([2345]\d\d)([ -])(.*)$/.exec(line)
    const first = this.lines[0]
    if (found === null) this.wrong.push(`no reply: ${JSON.stringify(line)}`)
    else if (first !== undefined && first.slice(0, 3) !== found[1]) this.wrong.push(`another code: ${line}`)
    if (/[^\x20-\x7e]/.test(line) || line.length > 510) this.wrong.push(`not to be sent: ${JSON.stringify(line)}`)
    if (line.includes('ENHANCEDSTATUSCODES')) this.isExtended = true
    const enhanced = /^\d\d\d[ -]([245])\.\d+\.\d+ /.exec(line)?.[1]
    if (enhanced !== undefined && enhanced !== line[0]) this.wrong.push(`classes differ: ${line}`)
    const isPlain = line[0] === '3' || / ESMTP|Syntax: |^250[ -][A-Za-z0-9]/.test(line)
    if (this.isExtended && enhanced === undefined && !isPlain) this.wrong.push(`no enhanced code: ${line}`)
  }

  /** The next reply, its lines joined by LF; 'closed' when the connection is gone before. */
  reply(ms?: number): Promise<string> {
    return this.waiting.until(
      () => {
        const next = this.replies[this.taken]
        if (next === undefined) return this.isClosed ? 'closed' : undefined
        this.taken++
        return next.join('\n')
      },
      () => `a reply; those that came: ${this.replies.slice(-5).join(' | ')}`,
      ms,
    )
  }

  /** The codes of the next `n` replies, as `250 250 354`. */
  async codes(n: number): Promise<string> {
    const found: string[] = []
    while (found.length < n) {
      const one = await this.reply()
      found.push(one === 'closed' ? one : one.slice(0, 3))
    }
    return found.join(' ')
  }

  write(octets: string | Buffer): void {
    this.socket.write(typeof octets === 'string' ? Buffer.from(octets, 'latin1') : octets)
  }

  /** One line; its reply. */
  say(line: string): Promise<string> {
    this.write(`${line}\r\n`)
    return this.reply()
  }

  /** A mail with that content, dots stuffed by the caller; its last reply. */
  async mail(
    content: string | Buffer,
    to: string | string[] = '4915112345678@sms.localhost',
    from = 'alerts@shop.example',
  ): Promise<string> {
    const said = await this.envelope(to, from)
    if (!said.startsWith('354')) return said
    this.write(content)
    this.write('\r\n.\r\n')
    return this.reply()
  }

  /** MAIL, RCPT and DATA; the reply to DATA, or the first that is no good. */
  async envelope(to: string | string[] = '4915112345678@sms.localhost', from = 'alerts@shop.example'): Promise<string> {
    const sender = await this.say(`MAIL FROM:<${from}>`)
    if (!sender.startsWith('250')) return sender
    for (const one of [to].flat()) {
      const recipient = await this.say(`RCPT TO:<${one}>`)
      if (!recipient.startsWith('250')) return recipient
    }
    return this.say('DATA')
  }

  /** After a 220 to STARTTLS. */
  async secure(options: tls.ConnectionOptions = {}): Promise<void> {
    const raw = this.socket
    raw.removeAllListeners('data')
    const secured = tls.connect({ socket: raw, rejectUnauthorized: false, ...options })
    this.socket = secured
    this.partial = ''
    this.listen(secured, () => {})
    await within(
      new Promise<void>((resolve, reject) => {
        secured.once('secureConnect', resolve)
        secured.once('error', reject)
      }),
      'a TLS handshake',
    )
  }
}

/** The argument of AUTH PLAIN. */
export const plain = (user: string, password: string, other = ''): string =>
  Buffer.from(`${other}\0${user}\0${password}`).toString('base64')

/** A simple mail with that text. */
export const mailOf = (text: string, header = ''): string =>
  `From: alerts@shop.example\r\nSubject: subject\r\n${header}\r\n${text}`
