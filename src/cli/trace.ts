// `trunkline trace`: PDUs of the running daemon as they come and go, as lines, as JSON, or as a capture that Wireshark opens.
// Asks and writes; what may be seen, the daemon decides.

import { createWriteStream } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { finished, type Writable } from 'node:stream'
import type { Command } from 'commander'
import { CapturedFlow, captureHead, captureTail, type End } from '../../protocols/net/capture.js'
import { type SessionTold, TraceReader } from '../admin/traceRecords.js'
import { seconds, whole } from './arguments.js'
import { follow } from './ask.js'
import { CommandError, EXIT } from './exit.js'
import { bad, count, faint } from './print.js'
import { type GlobalOptions, optionsOf } from './settings.js'
import { pduLine, pduObject, type TracedPdu, whose } from './traceText.js'

interface TraceOptions extends GlobalOptions {
  account: string[]
  carrier: string[]
  id: string[]
  all?: boolean
  text?: boolean
  pcap?: string
  count?: number
  /** Given in seconds. */
  seconds?: number
}

const more = (word: string, before: string[]): string[] => [...before, word]

export function register(program: Command): void {
  program
    .command('trace')
    .description('Shows PDUs of the running daemon live, or writes them as a capture for Wireshark.')
    .option('--account <system_id>', 'all sessions of this account, those to come too; may be repeated', more, [])
    .option('--carrier <name>', 'all links of this carrier, those to come too; may be repeated', more, [])
    .option('--id <number>', 'one session, by the number that a trace shows after #; may be repeated', more, [])
    .option('--all', 'every SMPP session')
    .option('--text', 'message texts too (only on the machine of the daemon)')
    .option('--pcap <file>', 'write a capture instead (pcapng); - is standard output')
    .option('--count <n>', 'end after so many PDUs', whole(1, 1_000_000_000))
    .option('--seconds <n>', 'end after this time', seconds)
    .addHelpText(
      'after',
      `
An arrow to the right is what the daemon sent. Passwords are never shown, in a capture neither: their octets are *. Without
--text the octets of texts are * too, and so are PDUs that cannot be read; TLVs of vendors stay. Packets of a capture are
made up around the PDUs: addresses, ports and times are real, segments and handshakes are not. SMTP sessions are not traced.

The daemon never waits for a trace: one that is read too slowly loses PDUs, and says how many. Ctrl-C ends it.

Examples:
  trunkline trace --account demo
  trunkline trace --carrier up --text --count 20
  trunkline trace --all --json --seconds 5 | jq -r .command | sort | uniq -c
  trunkline trace --account demo --pcap demo.pcapng
  trunkline trace --all --pcap - | wireshark -k -i -
Wireshark knows SMPP by itself; if it does not: tshark -d tcp.port==PORT,smpp -r FILE`,
    )
    .action((_, command: Command) => trace(optionsOf<TraceOptions>(command)))
}

/** Where a trace goes. Each call returns what is to be written. */
interface Form {
  begin(): Buffer | string
  pdu(session: SessionTold, pdu: TracedPdu): Buffer | string
  gap(lost: number): Buffer | string
  ended(session: SessionTold): Buffer | string
  end(pdus: number, dropped: number): Buffer | string
}

async function trace(options: TraceOptions): Promise<void> {
  const { pcap, json } = options
  const query = queryOf(options)
  if (pcap !== undefined && json) throw new CommandError(EXIT.usage, 'give --pcap or --json, not both')
  if (pcap === '-' && process.stdout.isTTY) {
    throw new CommandError(
      EXIT.usage,
      'a capture is not for the terminal: give --pcap FILE, or pipe it into tshark -r -',
    )
  }
  const response = await follow(options, { path: `/api/v1/admin/trace/stream?${query}` })
  const texts = options.text === true
  const form = pcap !== undefined ? captureForm() : json ? jsonForm(texts) : lineForm(texts)
  const out = pcap === undefined || pcap === '-' ? process.stdout : createWriteStream(pcap, { mode: 0o600 })
  const run = new Run(response, form, out, options.count ?? Number.POSITIVE_INFINITY)
  const stop = (): void => run.stop()
  process.once('SIGINT', stop).once('SIGTERM', stop)
  const timer = options.seconds === undefined ? undefined : setTimeout(stop, options.seconds)
  try {
    await run.toTheEnd()
  } finally {
    clearTimeout(timer)
    process.off('SIGINT', stop).off('SIGTERM', stop)
  }
  const where = pcap === undefined || pcap === '-' ? '' : ` written to ${pcap}`
  const sum = `${count(run.pdus)} PDUs of ${count(run.sessions)} sessions${where}, ${count(run.dropped)} dropped`
  console.error(run.wasAsked ? faint(sum) : sum)
  if (!run.wasAsked) throw new CommandError(EXIT.failed, 'the daemon has ended the trace: it stops')
}

function queryOf({ account, carrier, id, all, text }: TraceOptions): URLSearchParams {
  const query = new URLSearchParams()
  for (const name of account) query.append('account', name)
  for (const name of carrier) query.append('carrier', name)
  for (const serial of id) query.append('id', serial.replace(/^#/, ''))
  if (all) query.append('all', 'true')
  if (query.size === 0) {
    throw new CommandError(EXIT.usage, 'say whose PDUs: --account NAME, --carrier NAME, --id NUMBER, or --all')
  }
  if (text) query.append('text', 'true')
  return query
}

/** A trace from its first record to its end, by whichever side. */
class Run {
  pdus = 0
  dropped = 0
  sessions = 0
  /** We ended it. */
  wasAsked = false
  private readonly known = new Map<number, SessionTold>()
  private readonly response: IncomingMessage
  private readonly form: Form
  private readonly out: Writable
  private readonly most: number
  private fault: NodeJS.ErrnoException | undefined
  private drained: () => void = () => {}

  constructor(response: IncomingMessage, form: Form, out: Writable, most: number) {
    this.response = response
    this.form = form
    this.out = out
    this.most = most
    out.on('drain', () => this.drained())
    out.on('error', error => {
      this.fault = error
      this.stop()
    })
  }

  stop(): void {
    this.wasAsked = true
    this.response.destroy()
    this.drained()
  }

  async toTheEnd(): Promise<void> {
    await this.write(this.form.begin())
    try {
      const reader = new TraceReader()
      for await (const chunk of this.response) {
        await this.write(this.formed(reader, chunk as Buffer))
        if (this.wasAsked) break
      }
    } catch (error) {
      if (error instanceof RangeError) throw new CommandError(EXIT.failed, 'what answers there is no trace')
      // A connection that is cut is one that the daemon has ended, or we.
    }
    await this.close()
    // Whoever reads us has seen enough.
    if (this.fault === undefined || this.fault.code === 'EPIPE') return
    throw new CommandError(EXIT.failed, `the trace cannot be written: ${this.fault.message}`)
  }

  /** What the records of one chunk are in this form, all at once. */
  private formed(reader: TraceReader, chunk: Buffer): Buffer {
    const { form, known } = this
    const parts: Buffer[] = []
    const add = (part: Buffer | string): number => parts.push(typeof part === 'string' ? Buffer.from(part) : part)
    for (const record of reader.read(chunk)) {
      if (record.kind === 'session') {
        if (!known.has(record.session.serial)) this.sessions++
        known.set(record.session.serial, record.session)
      } else if (record.kind === 'tally') {
        if (record.dropped > this.dropped) add(form.gap(record.dropped - this.dropped))
        this.dropped = record.dropped
      } else {
        const session = known.get(record.serial)
        if (session === undefined) continue
        if (record.kind === 'ended') {
          known.delete(record.serial)
          add(form.ended(session))
          continue
        }
        this.pdus++
        add(form.pdu(session, record))
        if (this.pdus >= this.most) {
          this.stop()
          break
        }
      }
    }
    return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts)
  }

  /** Resolves when more may be written: meanwhile nothing is read, and the daemon drops. */
  private async write(octets: Buffer | string): Promise<void> {
    if (octets.length === 0 || this.fault !== undefined || this.out.write(octets) || this.wasAsked) return
    await new Promise<void>(resolve => {
      this.drained = resolve
    })
  }

  private async close(): Promise<void> {
    const last = this.form.end(this.pdus, this.dropped)
    if (this.fault !== undefined) return
    if (this.out === process.stdout) {
      await new Promise<void>(resolve => this.out.write(last, () => resolve()))
      return
    }
    await new Promise<void>(resolve => {
      finished(this.out, () => resolve())
      this.out.end(last)
    })
  }
}

const lineForm = (texts: boolean): Form => ({
  begin: () => '',
  pdu: (session, pdu) => `${pduLine(session, pdu, texts)}\n`,
  gap: lost => `${bad(`-- ${count(lost)} PDUs are missing here: they came faster than they were read`)}\n`,
  ended: session => `${faint(`-- ${whose(session)} closed`)}\n`,
  end: () => '',
})

const jsonForm = (texts: boolean): Form => ({
  begin: () => '',
  pdu: (session, pdu) => `${JSON.stringify(pduObject(session, pdu, texts))}\n`,
  gap: lost => `${JSON.stringify({ dropped: lost })}\n`,
  ended: ({ serial, name }) => `${JSON.stringify({ session: serial, name, closed: true })}\n`,
  end: () => '',
})

function captureForm(): Form {
  const flows = new Map<number, CapturedFlow>()
  let lastMs = 0
  return {
    begin: captureHead,
    pdu: (session, { serial, direction, atMs, octets }) => {
      lastMs = atMs
      const isAccount = session.kind === 'account'
      let flow = flows.get(serial)
      let opening: Buffer | undefined
      if (flow === undefined) {
        const [peer, local] = [endOf(session.peer), endOf(session.local)]
        flow = isAccount ? new CapturedFlow(peer, local, serial) : new CapturedFlow(local, peer, serial)
        flows.set(serial, flow)
        opening = flow.open(atMs, `${session.kind} ${session.name}, session ${serial}`)
      }
      const isFromClient = (direction === 'received') === isAccount
      const data = flow.data(isFromClient ? 'client' : 'server', octets, atMs)
      return opening === undefined ? data : Buffer.concat([opening, data])
    },
    gap: () => '',
    ended: ({ serial }) => {
      const flow = flows.get(serial)
      flows.delete(serial)
      return flow?.close(lastMs) ?? ''
    },
    end: (pdus, dropped) => captureTail(pdus + dropped, dropped, lastMs),
  }
}

function endOf(endpoint: string): End {
  const colon = endpoint.lastIndexOf(':')
  return { address: endpoint.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(endpoint.slice(colon + 1)) || 0 }
}
