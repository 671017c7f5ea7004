// A mail as it comes, and of it only what a text message needs: some header fields and the first text/plain and text/html
// parts, each up to a limit. Attachments pass through and are never held; nested and endless MIME is given up early.
// Knows MIME's frame, not its codings: those are mime.ts's. RFC 5322 §2.2, RFC 2045, RFC 2046 §5.1.

import type { Content } from './reader.js'

/** A text part, still in its transfer encoding. */
export interface TextPart {
  /** As written: `text/plain; charset=utf-8`. */
  readonly contentType: string
  readonly encoding: string
  readonly octets: Buffer
}

export interface ReadMail {
  /** Top-level fields by lower-case name, unfolded, octets as Latin-1; of several of one name the first. */
  readonly fields: ReadonlyMap<string, string>
  readonly plain: TextPart | null
  readonly html: TextPart | null
  /** Parts that are neither. */
  readonly attachments: number
}

const LF = 0x0a
const DASH = 0x2d
/** Octets kept of each text part, before decoding. */
const MOST_PLAIN = 128 * 1024
const MOST_HTML = 256 * 1024
/** Octets and lines of one header. */
const MOST_HEADER = 256 * 1024
const MOST_FIELDS = 5_000
const MOST_PARTS = 500
const MOST_DEPTH = 20
/** A longer line is no boundary (RFC 2046 §5.1.1: 70 characters). */
const MOST_BOUNDARY_LINE = 256
const NO_FIELDS: ReadonlyMap<string, string> = new Map()

class Kept {
  readonly chunks: Buffer[] = []
  private readonly most: number
  readonly contentType: string
  readonly encoding: string
  private length = 0

  constructor(most: number, fields: ReadonlyMap<string, string>) {
    this.most = most
    this.contentType = fields.get('content-type') ?? 'text/plain'
    this.encoding = (fields.get('content-transfer-encoding') ?? '7bit').trim().toLowerCase()
  }

  add(octets: Buffer): void {
    const room = this.most - this.length
    if (room <= 0) return
    const taken = Buffer.from(octets.length > room ? octets.subarray(0, room) : octets)
    this.chunks.push(taken)
    this.length += taken.length
  }

  part(): TextPart {
    const { contentType, encoding, chunks } = this
    return { contentType, encoding, octets: chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks) }
  }
}

export class MailReader implements Content {
  /** More parts, deeper nesting or longer headers than any mail has that means well. */
  isTooComplex = false
  private held: Buffer | null = null
  private top: ReadonlyMap<string, string> | null = null
  private header: Buffer[] | null = []
  private headerOctets = 0
  private keeping: Kept | null = null
  private plain: Kept | null = null
  private html: Kept | null = null
  private attachments = 0
  private parts = 0
  private readonly boundaries: string[] = []
  /** In the midst of a line too long to be a boundary. */
  private isMidLine = false
  /** The last boundary has come: what follows is nobody's part. */
  private isOver = false

  write(octets: Buffer): void {
    if (this.isTooComplex || this.isOver) return
    const chunk = this.held === null ? octets : Buffer.concat([this.held, octets])
    this.held = null
    const { length } = chunk
    let at = 0
    /** Where what is kept of this chunk begins. */
    let from = 0
    while (at < length) {
      if (this.header === null && this.boundaries.length === 0) {
        // One part, to the end of the mail.
        this.keeping?.add(chunk.subarray(from))
        return
      }
      const lf = chunk.indexOf(LF, at)
      const end = lf < 0 ? length : lf + 1
      if (lf < 0 && this.header === null && end - at >= MOST_BOUNDARY_LINE) this.isMidLine = true
      else if (lf < 0) {
        this.flush(chunk, from, at)
        this.held = Buffer.from(chunk.subarray(at))
        if (this.header !== null && this.headerOctets + this.held.length > MOST_HEADER) this.isTooComplex = true
        return
      } else if (this.isMidLine) this.isMidLine = false
      else if (this.header !== null) {
        this.headerLine(chunk, at, end)
        if (this.isTooComplex) return
        from = end
      } else if (chunk[at] === DASH && chunk[at + 1] === DASH) {
        const before = this.keeping
        if (this.isBoundary(chunk.latin1Slice(at, end))) {
          if (at > from) before?.add(chunk.subarray(from, at))
          if (this.isOver) return
          from = end
        }
      }
      at = end
    }
    this.flush(chunk, from, length)
  }

  private flush(chunk: Buffer, from: number, to: number): void {
    if (this.keeping !== null && this.header === null && to > from) this.keeping.add(chunk.subarray(from, to))
  }

  /** The mail is whole. */
  end(): ReadMail {
    if (this.held !== null) {
      const rest = this.held
      this.held = null
      if (this.header !== null) this.headerLine(rest, 0, rest.length)
      else if (!this.isBoundary(rest.latin1Slice(0, rest.length))) this.flush(rest, 0, rest.length)
    }
    if (this.header !== null) this.headerEnd()
    return {
      fields: this.top ?? NO_FIELDS,
      plain: this.plain?.part() ?? null,
      html: this.html?.part() ?? null,
      attachments: this.attachments,
    }
  }

  private headerLine(chunk: Buffer, at: number, end: number): void {
    const isBlank = end - at === 2 && chunk[at] === 0x0d
    if (isBlank) {
      this.headerEnd()
      return
    }
    // A part may be all header, and its parent go on (RFC 2046 §5.1.1).
    if (chunk[at] === DASH && chunk[at + 1] === DASH && this.boundaries.length > 0) {
      const line = chunk.latin1Slice(at, end)
      if (this.isBoundary(line)) return
    }
    this.headerOctets += end - at
    const header = this.header as Buffer[]
    header.push(Buffer.from(chunk.subarray(at, end)))
    if (this.headerOctets > MOST_HEADER || header.length > MOST_FIELDS) this.isTooComplex = true
  }

  private headerEnd(): void {
    const header = this.header as Buffer[]
    const fields = readFields(Buffer.concat(header).latin1Slice())
    this.header = null
    this.headerOctets = 0
    this.top ??= fields
    if (++this.parts > MOST_PARTS) {
      this.isTooComplex = true
      return
    }
    const type = (fields.get('content-type') ?? 'text/plain').trim()
    const lower = type.slice(0, 64).toLowerCase()
    if (lower.startsWith('multipart/')) {
      const boundary = parameter(type, 'boundary')
      if (boundary === null || boundary === '') return
      if (this.boundaries.length >= MOST_DEPTH) this.isTooComplex = true
      this.boundaries.push(`--${boundary}`)
      return
    }
    const isAttached = /^\s*attachment/i.test(fields.get('content-disposition') ?? '')
    const isPlain = lower.startsWith('text/plain') || !lower.includes('/')
    if (!isAttached && isPlain && this.plain === null) this.keeping = this.plain = new Kept(MOST_PLAIN, fields)
    else if (!isAttached && lower.startsWith('text/html') && this.html === null) {
      this.keeping = this.html = new Kept(MOST_HTML, fields)
    } else this.attachments++
  }

  /** Whether the line ends a part; then what it opens or closes has happened. */
  private isBoundary(line: string): boolean {
    for (let depth = this.boundaries.length - 1; depth >= 0; depth--) {
      const boundary = this.boundaries[depth] as string
      if (!line.startsWith(boundary)) continue
      // Checked to the end: a boundary may begin as another does.
      const rest = line.slice(boundary.length).trimEnd()
      if (rest !== '' && rest !== '--') continue
      this.keeping = null
      this.boundaries.length = rest === '' ? depth + 1 : depth
      this.header = rest === '' ? [] : null
      this.headerOctets = 0
      if (this.boundaries.length === 0) this.isOver = true
      return true
    }
    return false
  }
}

/** Fields of a header, unfolded. */
function readFields(text: string): Map<string, string> {
  const fields = new Map<string, string>()
  let name = ''
  let value = ''
  const put = (): void => {
    if (name !== '' && !fields.has(name)) fields.set(name, value)
  }
  for (let at = 0; at < text.length; ) {
    let end = text.indexOf('\r\n', at)
    if (end < 0) end = text.length
    const first = text.charCodeAt(at)
    if (first === 0x20 || first === 0x09) value += text.slice(at, end)
    else {
      put()
      const line = text.slice(at, end)
      const colon = line.indexOf(':')
      name = colon > 0 ? line.slice(0, colon).trimEnd().toLowerCase() : ''
      value = colon > 0 ? line.slice(colon + 1).trim() : ''
    }
    at = end + 2
  }
  put()
  return fields
}

/** A parameter of Content-Type: RFC 2045 §5.1; null when it is not there. */
export function parameter(contentType: string, name: string): string | null {
  const found = new RegExp(`;\\s*${name}\\s*=\\s*(?:"((?:[^"\\\\]|\\\\.)*)"|([^\\s;"]+))`, 'i').exec(contentType)
  if (found === null) return null
  return found[1] === undefined ? (found[2] ?? null) : found[1].replace(/\\(.)/g, '$1')
}
