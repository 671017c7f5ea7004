// Mails that were caught instead of delivered, for developers: a list, each mail as it reads, as program and as octets.
// What stands in a mail is never trusted: pages run no script, and its HTML stands in a frame of its own that may do
// nothing. Knows mails and pages; who catches them it does not.

import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyReply } from 'fastify'
import type { ParsedMail } from 'mailparser'
import type { CaughtMail, CaughtMails } from '../carriers/catch.js'
import type { Access } from './access.js'
import type { Peers } from './peer.js'
import { Problem } from './problem.js'

/** Larger ones are shown as octets alone: to read them takes too long for everybody else. */
const MOST_READ = 2 * 2 ** 20
const MOST_SUBJECT_HEAD = 65_536
const PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; frame-ancestors 'self'"
/** Of a mail's own HTML: an opaque origin without scripts, forms and links elsewhere, and nothing is fetched. */
const MAIL_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"

/** For programs, below the administrator's paths. */
export function catchRoutes(app: FastifyInstance, mails: CaughtMails): void {
  app.get('/catch', async () => ({ mails: mails.all().map(entry) }))
  app.get<{ Params: { id: string } }>('/catch/:id', async request => {
    const mail = found(mails, request.params.id)
    const parsed = await parse(mail)
    if (parsed === null) return { ...entry(mail), text: null, html: null, attachments: [], headers: [] }
    return {
      ...entry(mail),
      text: parsed.text ?? null,
      html: parsed.html === false ? null : parsed.html,
      attachments: parsed.attachments.map(({ filename, contentType, size }) => ({
        name: filename ?? null,
        type: contentType,
        size,
      })),
      headers: parsed.headerLines.map(({ line }) => line),
    }
  })
  app.get<{ Params: { id: string } }>('/catch/:id/raw', async (request, reply) => raw(reply, mails, request.params.id))
  app.delete('/catch', async (_request, reply) => {
    mails.clear()
    reply.code(204)
  })
  app.delete<{ Params: { id: string } }>('/catch/:id', async (request, reply) => {
    const { id } = found(mails, request.params.id)
    mails.remove(id)
    reply.code(204)
  })
}

/** For people: `/catch` and what it leads to. */
export function catchPages(app: FastifyInstance, mails: CaughtMails, access: Access, peers: Peers): void {
  app.addHook('onRequest', async ({ raw }) => {
    const refusal = await access.refusal(raw, 'admin:read')
    if (refusal !== undefined && !(peers.isOfThisMachine(raw) && isAskedByItsName(raw))) throw refusal
  })
  app.get('/catch', async (_request, reply) => page(reply, 'Caught mail', list(mails.all())))
  app.get<{ Params: { id: string } }>('/catch/:id', async (request, reply) => {
    const mail = found(mails, request.params.id)
    return page(reply, subjectOf(mail), view(mail, await parse(mail)))
  })
  app.get<{ Params: { id: string } }>('/catch/:id/html', async (request, reply) => {
    const parsed = await parse(found(mails, request.params.id))
    const html = parsed === null || parsed.html === false ? '' : parsed.html
    return guarded(reply, MAIL_POLICY).type('text/html; charset=utf-8').send(html)
  })
  app.get<{ Params: { id: string } }>('/catch/:id/raw', async (request, reply) => raw(reply, mails, request.params.id))
}

/** By a browser on the machine itself, which has no key to show; by its name, lest a page from elsewhere reads along. */
const isAskedByItsName = ({ headers }: IncomingMessage): boolean =>
  /^(?:localhost|127\.[0-9.]+|\[::1\])(?::\d+)?$/i.test(headers.host ?? '')

function found(mails: CaughtMails, id: string): CaughtMail {
  const mail = /^\d{1,19}$/.test(id) ? mails.get(Number(id)) : undefined
  if (mail !== undefined) return mail
  throw new Problem(
    404,
    'not_found',
    'There is no such mail',
    'it is not kept, or not any more: GET /catch lists those that are',
  )
}

const entry = (mail: CaughtMail) => ({
  id: String(mail.id),
  at: new Date(mail.atMs).toISOString(),
  from: mail.from,
  to: mail.to,
  subject: subjectOf(mail),
  size: mail.octets.length,
})

/** As written, on one line. */
function subjectOf({ octets }: CaughtMail): string {
  const head = octets.subarray(0, MOST_SUBJECT_HEAD).toString()
  const header = head.slice(0, Math.max(head.indexOf('\r\n\r\n'), 0) || head.length)
  const [, subject = ''] = /^Subject:[ \t]*(.*(?:\r\n[ \t].*)*)/im.exec(header) ?? []
  return words(subject.replace(/\r\n[ \t]+/g, ' ').trim())
}

/** RFC 2047, the usual of it: a list must not wait for a parser. */
function words(text: string): string {
  return text
    .replace(/(=\?[^?\s]+\?[bq]\?[^?\s]*\?=)\s+(?==\?)/gi, '$1')
    .replace(
      /=\?([^?*\s]+)(?:\*[^?\s]*)?\?([bq])\?([^?\s]*)\?=/gi,
      (whole, charset: string, how: string, coded: string) => {
        const octets =
          how.toLowerCase() === 'b'
            ? Buffer.from(coded, 'base64')
            : Buffer.from(
                coded
                  .replace(/_/g, ' ')
                  .replace(/=([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
                'latin1',
              )
        try {
          return new TextDecoder(charset).decode(octets)
        } catch {
          return whole
        }
      },
    )
}

/** null: it is too long to be read. */
async function parse({ octets }: CaughtMail): Promise<ParsedMail | null> {
  if (octets.length > MOST_READ) return null
  const { simpleParser } = await import('mailparser')
  return simpleParser(octets, { skipHtmlToText: true, skipTextToHtml: true, skipTextLinks: true })
}

function raw(reply: FastifyReply, mails: CaughtMails, id: string): FastifyReply {
  const { octets } = found(mails, id)
  // Browsers would show what they take for HTML.
  return guarded(reply, MAIL_POLICY).type('text/plain; charset=utf-8').send(octets)
}

// ---- pages

const guarded = (reply: FastifyReply, policy: string): FastifyReply =>
  reply
    .header('content-security-policy', policy)
    .header('x-content-type-options', 'nosniff')
    .header('referrer-policy', 'no-referrer')
    .header('cache-control', 'no-store')

function page(reply: FastifyReply, title: string, body: string): FastifyReply {
  return guarded(reply, PAGE_POLICY)
    .type('text/html; charset=utf-8')
    .send(
      `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${escaped(title)}</title><style>${STYLE}</style></head><body><p class="note">No mail is delivered: what would leave is kept here, the newest 500, until the daemon ends.</p>${body}</body></html>`,
    )
}

const STYLE =
  'body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:72em;padding:0 1em;color:#222;background:#fff}' +
  'table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.35em .6em;border-bottom:1px solid #ddd;vertical-align:top}' +
  'pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f6f6f6;padding:1em}iframe{width:100%;height:36em;border:1px solid #ddd}' +
  '.note{background:#fff3cd;padding:.5em 1em}' +
  '@media (prefers-color-scheme:dark){body{color:#ddd;background:#1b1b1b}pre{background:#262626}td,th{border-color:#444}.note{background:#4a3f10}a{color:#8ab4ff}}'

function list(mails: readonly CaughtMail[]): string {
  if (mails.length === 0) return '<h1>Caught mail</h1><p>None yet.</p>'
  const rows = mails.map(
    mail =>
      `<tr><td>${new Date(mail.atMs).toISOString().slice(0, 19).replace('T', ' ')}</td><td>${escaped(mail.from || '<>')}</td>` +
      `<td>${escaped(mail.to)}</td><td><a href="/catch/${mail.id}">${escaped(subjectOf(mail) || '(no subject)')}</a></td><td>${mail.octets.length}</td></tr>`,
  )
  return `<h1>Caught mail</h1><table><thead><tr><th>At (UTC)</th><th>From</th><th>To</th><th>Subject</th><th>Octets</th></tr></thead><tbody>${rows.join('')}</tbody></table>`
}

function view(mail: CaughtMail, parsed: ParsedMail | null): string {
  const facts =
    `<p><a href="/catch">All mails</a> · <a href="/catch/${mail.id}/raw">as octets</a></p><h1>${escaped(subjectOf(mail) || '(no subject)')}</h1>` +
    `<table><tr><th>MAIL FROM</th><td>${escaped(mail.from || '<>')}</td></tr><tr><th>RCPT TO</th><td>${escaped(mail.to)}</td></tr></table>`
  if (parsed === null) return `${facts}<p>It is too long to be shown.</p>`
  const html =
    parsed.html === false
      ? ''
      : `<h2>HTML</h2><iframe sandbox title="the HTML of the mail" src="/catch/${mail.id}/html"></iframe>`
  const attached = parsed.attachments.map(
    ({ filename, contentType, size }) =>
      `<li>${escaped(filename ?? '(no name)')}, ${escaped(contentType)}, ${size} octets</li>`,
  )
  return (
    facts +
    (parsed.text === undefined ? '' : `<h2>Text</h2><pre>${escaped(parsed.text)}</pre>`) +
    html +
    (attached.length === 0 ? '' : `<h2>Attachments</h2><ul>${attached.join('')}</ul>`) +
    `<h2>Header</h2><pre>${escaped(parsed.headerLines.map(({ line }) => line).join('\n'))}</pre>`
  )
}

const escaped = (text: string): string =>
  text.replace(/[&<>"']/g, c => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' })[c] as string)
