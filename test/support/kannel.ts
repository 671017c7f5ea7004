// Kannel 1.4, a gateway that is not ours, bound to a port as an ESME: bearerbox and smsbox in a directory of their own,
// and the HTTP server that smsbox tells of messages and receipts. Its log lines are events to wait for. Knows how Kannel
// is set up; nothing of the daemon.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Cleaner, Waiting, within } from './peer.js'
import { freePorts } from './ports.js'

const BEARERBOX = '/usr/sbin/bearerbox'
const SMSBOX = '/usr/sbin/smsbox'
export const hasKannel = existsSync(BEARERBOX) && existsSync(SMSBOX)

const STOP_MS = 5_000

/** One of its processes. */
class Box {
  readonly ended: Promise<unknown>
  private log = ''
  private readonly child: ChildProcess
  private readonly waiting = new Waiting()

  constructor(program: string, config: string, dir: string) {
    const child = spawn(program, ['-v', '1', config], { cwd: dir, stdio: ['ignore', 'pipe', 'pipe'] })
    this.child = child
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.log += text
        this.waiting.look()
      })
    }
    this.ended = once(child, 'close')
  }

  /** Resolves when it has logged this. */
  says(words: string): Promise<true> {
    return this.waiting.until(
      () => this.log.includes(words) || undefined,
      () => `"${words}" of ${this.child.spawnfile}:\n${this.tail}`,
    )
  }

  get tail(): string {
    return this.log.split('\n').slice(-15).join('\n')
  }

  async stop(): Promise<void> {
    this.child.kill('SIGTERM')
    await within(this.ended, `the end of ${this.child.spawnfile}`, STOP_MS).catch(() => this.child.kill('SIGKILL'))
  }
}

export class Kannel {
  private readonly dir = mkdtempSync(join(tmpdir(), 'kannel-'))
  private readonly boxes: Box[] = []
  private readonly told: URL[] = []
  private readonly waiting = new Waiting()
  private sendsmsPort = 0
  private readonly web = http.createServer((request, response) => {
    this.told.push(new URL(request.url ?? '/', 'http://localhost'))
    response.end()
    this.waiting.look()
  })

  /** Binds to that port as transceiver; resolves when its boxes are there. */
  async start(smpp: { port: number; systemId: string; password: string }): Promise<void> {
    await once(this.web.listen(0, '127.0.0.1'), 'listening')
    const [admin, smsbox, sendsms] = await freePorts(3)
    this.sendsmsPort = sendsms as number
    const config = join(this.dir, 'kannel.conf')
    writeFileSync(
      config,
      `
group = core
admin-port = ${admin}
admin-password = secret
smsbox-port = ${smsbox}
box-allow-ip = "127.0.0.1"
dlr-storage = internal

group = smsc
smsc = smpp
smsc-id = trunkline
host = 127.0.0.1
port = ${smpp.port}
transceiver-mode = true
smsc-username = ${smpp.systemId}
smsc-password = ${smpp.password}
system-type = ""
interface-version = 34

group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = ${sendsms}

group = sendsms-user
username = tester
password = secret
max-messages = 10
concatenation = true

group = sms-service
keyword = default
catch-all = true
max-messages = 0
get-url = "${this.url}/mo?from=%p&to=%P&text=%b&coding=%c"
`,
    )
    const bearerbox = new Box(BEARERBOX, config, this.dir)
    this.boxes.push(bearerbox)
    await bearerbox.says('entering mainloop')
    const second = new Box(SMSBOX, config, this.dir)
    this.boxes.push(second)
    await second.says('Connected to bearerbox')
    await bearerbox.says('Client connected from')
  }

  private get url(): string {
    return `http://127.0.0.1:${(this.web.address() as AddressInfo).port}`
  }

  /** Sends a message by its HTTP interface, with receipts of all kinds to /dlr; resolves with what it answers. */
  async sendsms(fields: Record<string, string>): Promise<string> {
    const query = new URLSearchParams({
      username: 'tester',
      password: 'secret',
      'dlr-mask': '31',
      // Kannel's own escapes: the kind of receipt, the carrier's id, the carrier's words.
      'dlr-url': `${this.url}/dlr?kind=%d&id=%F&text=%A`,
      ...fields,
    })
    const response = await fetch(`http://127.0.0.1:${this.sendsmsPort}/cgi-bin/sendsms?${query}`)
    return response.text()
  }

  /** The next call of its smsbox to that path whose parameters are such. */
  async call(path: '/mo' | '/dlr', wanted: Record<string, string> = {}): Promise<URLSearchParams> {
    const found = await this.waiting.until(
      () =>
        this.told.find(
          url =>
            url.pathname === path &&
            Object.entries(wanted).every(([name, value]) => url.searchParams.get(name) === value),
        ),
      () => `a call of ${path} with ${JSON.stringify(wanted)}; ${this.told.join(' ')}\n${this.boxes[0]?.tail}`,
    )
    this.told.splice(this.told.indexOf(found), 1)
    return found.searchParams
  }

  /** Stops in order: smsbox first, as its own scripts do. */
  async stop(): Promise<void> {
    for (const box of this.boxes.splice(0).reverse()) await box.stop()
    this.web.close()
    this.web.closeAllConnections()
    rmSync(this.dir, { recursive: true, force: true })
  }
}

/** Kannel, not yet started. */
export function kannel(t: Cleaner): Kannel {
  const one = new Kannel()
  t.teardown(() => one.stop())
  return one
}
