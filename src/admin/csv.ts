// Rows as CSV (RFC 4180), and answers of HTTP that are written as they come. Text that a spreadsheet would take for a
// formula is marked as text. Knows cells and lines; what they say is each topic's.

import { PassThrough } from 'node:stream'
import type { FastifyReply } from 'fastify'

const FORMULA = /^[=+\-@\t\r]/
const QUOTED = /[",\r\n]/

/** A number stands as it is; text never begins a formula. */
export function csvLine(cells: readonly (string | number)[]): string {
  return `${cells.map(cell => (typeof cell === 'number' ? String(cell) : quoted(FORMULA.test(cell) ? `'${cell}` : cell))).join(',')}\r\n`
}

/** An amount or a moment: text of our own making, that may begin with a minus. */
export const plain = (text: string): string => quoted(text)

const quoted = (text: string): string => (QUOTED.test(text) ? `"${text.replaceAll('"', '""')}"` : text)

/** There is room again, or nobody reads any more. */
const drained = (out: PassThrough): Promise<void> =>
  new Promise(resolve => {
    const done = (): void => {
      out.off('drain', done).off('close', done)
      resolve()
    }
    out.on('drain', done).on('close', done)
  })

type Work = (write: (text: string) => Promise<void>) => Promise<void>

/** Answers with a file of CSV, as {@link answerWritten} does. */
export const answerCsv = (reply: FastifyReply, name: string, work: Work): Promise<FastifyReply> =>
  answerWritten(reply, work, 'text/csv; charset=utf-8', ['content-disposition', `attachment; filename="${name}"`])

/** Answers with a page of HTML under this policy, as {@link answerWritten} does. */
export const answerPage = (reply: FastifyReply, policy: string, work: Work): Promise<FastifyReply> =>
  answerWritten(reply, work, 'text/html; charset=utf-8', ['content-security-policy', policy])

/**
 * Answers with what `work` writes, as it writes it. What it throws before its first line is thrown here; behind that, the
 * answer breaks off. Whoever hangs up makes `write` throw.
 */
async function answerWritten(
  reply: FastifyReply,
  work: Work,
  type: string,
  header: [name: string, value: string],
): Promise<FastifyReply> {
  const out = new PassThrough()
  out.on('error', () => {})
  let hasBegun = (): void => {}
  const begun = new Promise<void>(resolve => {
    hasBegun = resolve
  })
  const write = async (text: string): Promise<void> => {
    hasBegun()
    if (out.destroyed) throw new Error('nobody reads it any more')
    if (!out.write(text)) await drained(out)
  }
  const done = work(write).then(() => {
    out.end()
  })
  done.catch(error => out.destroy(error as Error))
  await Promise.race([begun, done])
  reply.type(type).header(...header)
  return reply.send(out)
}
