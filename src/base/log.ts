// The log: one JSON object a line on stdout, written before the call returns, so that the
// last lines before an end are there. Knows which fields are never written; refuses to know
// files, rotation and transports, which are the supervisor's.

import { createRequire } from 'node:module'
import { type DestinationStream, destination, pino, stdTimeFunctions } from 'pino'

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** What happened, as fields. An Error under `err` is written with its stack. */
export type LogFields = Readonly<Record<string, unknown>>

export interface Log {
  debug(event: LogFields, message: string): void
  info(event: LogFields, message: string): void
  warn(event: LogFields, message: string): void
  error(event: LogFields, message: string): void
  /** Whether a line of this level would be written: asked before costly fields are made. */
  writes(level: LogLevel): boolean
  /** A log whose every line carries `fields`; its level follows the root's. */
  child(fields: LogFields): Log
}

export interface RootLog extends Log {
  /** For this log and all its children, from now on. */
  setLevel(level: LogLevel): void
}

const RANK: Readonly<Record<LogLevel, number>> = { debug: 20, info: 30, warn: 40, error: 50 }

/** Secrets, and the words of customers: written as `[redacted]` at whatever depth they stand. */
const REDACTED = new Set([
  'password',
  'secret',
  'apiKey',
  'api_key',
  'authorization',
  'text',
  'short_message',
  'shortMessage',
  'message_payload',
])
const MAX_DEPTH = 6

/** @param options.to where lines go instead of stdout */
export function createLog(options: { level: LogLevel; pretty: boolean; to?: DestinationStream }): RootLog {
  const to = options.to ?? (options.pretty ? prettyStdout() : destination({ dest: 1, sync: true }))
  const writer = pino(
    {
      level: 'debug',
      base: { pid: process.pid },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: label => ({ level: label }) },
    },
    to,
  )
  const gate: Gate = { rank: RANK[options.level] }
  return Object.assign(new Lines(writer, gate), {
    setLevel(level: LogLevel): void {
      gate.rank = RANK[level]
    },
  })
}

/** Shared by a root and its children, so that a change reaches them all. */
interface Gate {
  rank: number
}

type Writer = Pick<ReturnType<typeof pino>, LogLevel | 'child'>

class Lines implements Log {
  private readonly writer: Writer
  private readonly gate: Gate

  constructor(writer: Writer, gate: Gate) {
    this.writer = writer
    this.gate = gate
  }

  debug(event: LogFields, message: string): void {
    if (this.gate.rank <= RANK.debug) this.writer.debug(redact(event), message)
  }

  info(event: LogFields, message: string): void {
    if (this.gate.rank <= RANK.info) this.writer.info(redact(event), message)
  }

  warn(event: LogFields, message: string): void {
    if (this.gate.rank <= RANK.warn) this.writer.warn(redact(event), message)
  }

  error(event: LogFields, message: string): void {
    this.writer.error(redact(event), message)
  }

  writes(level: LogLevel): boolean {
    return this.gate.rank <= RANK[level]
  }

  child(fields: LogFields): Log {
    return new Lines(this.writer.child(redact(fields)), this.gate)
  }
}

function redact(fields: LogFields, depth = 0): Record<string, unknown> {
  const shown: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(fields)) {
    shown[key] = REDACTED.has(key) ? '[redacted]' : redactWithin(value, depth + 1)
  }
  return shown
}

function redactWithin(value: unknown, depth: number): unknown {
  if (typeof value !== 'object' || value === null || value instanceof Error || value instanceof Date) return value
  // Octets are a message's more often than not.
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`
  if (depth > MAX_DEPTH) return '[deeper]'
  if (Array.isArray(value)) return value.map(item => redactWithin(item, depth + 1))
  return redact(value as LogFields, depth)
}

/** Loaded only when asked for: nobody reads a server's log by eye. */
function prettyStdout(): DestinationStream {
  const pretty = createRequire(import.meta.url)('pino-pretty') as (options: object) => DestinationStream
  return pretty({ sync: true, singleLine: true, ignore: 'pid', translateTime: 'SYS:HH:MM:ss.l' })
}
