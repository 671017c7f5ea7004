// A statement for people and for spreadsheets, written as its lines come: a page of HTML that needs nothing but itself and
// prints well, and CSV. Knows how it looks; every text in it that somebody wrote is escaped.

import type { StatementLine, StatementSpan } from '../accounts/statement.js'
import { unitsText } from '../model/money.js'
import { csvLine, plain } from './csv.js'
import { amount, count, escaped, escapedLines, PAGE_END, pageStart } from './invoiceText.js'

export interface StatementOf {
  account: string
  currency: string
  /** Whose page it is. */
  seller: string
  span: StatementSpan
  /** CSV tells who booked. */
  withWho: boolean
}

/** One way to write a statement: what stands before its lines, what they are, and what stands behind. */
export interface StatementForm {
  begin(openingMicros: number): string
  lines(lines: readonly StatementLine[]): string
  end(closingMicros: number): string
}

const shownTo = ({ toMs, shownToMs = toMs }: StatementSpan): number => shownToMs

const HEAD = ['at', 'entry', 'kind', 'reference', 'memo', 'messages', 'amount', 'balance', 'currency']

export function statementCsv({ currency, span, withWho }: StatementOf): StatementForm {
  const units = (micros: number): string => plain(unitsText(micros))
  const balanceLine = (atMs: number, what: string, micros: number): string =>
    `${new Date(atMs).toISOString()},,${what},,,,,${units(micros)},${currency}${withWho ? ',' : ''}\r\n`
  const cells = (...texts: (string | number)[]): string => csvLine(texts).slice(0, -2)
  const line = (one: StatementLine): string => {
    const fields = cells(one.at, one.entry, one.kind, one.reference, one.memo, one.messages)
    const who = withWho ? `,${cells(one.who)}` : ''
    return `${fields},${units(one.micros)},${units(one.balance_micros)},${currency}${who}\r\n`
  }
  return {
    begin: micros => csvLine(withWho ? [...HEAD, 'who'] : HEAD) + balanceLine(span.fromMs, 'opening', micros),
    lines: all => all.map(line).join(''),
    end: micros => balanceLine(shownTo(span), 'closing', micros),
  }
}

const WORDS: Readonly<Record<string, string>> = {
  messages: 'Messages of an hour',
  top_up: 'Top-up',
  withdrawal: 'Paid out',
  adjustment: 'Adjustment',
  payment: 'Payment',
  refund: 'Credit note',
}

/** What a line is of. References of messages say nothing to people. */
function lineWords({ kind, memo, reference }: StatementLine): string {
  const words = WORDS[kind] ?? kind
  if (kind === 'messages') return words
  return `${words}${memo === '' ? '' : `: ${memo}`}${reference === '' ? '' : ` (${reference})`}`
}

const minute = (at: string): string => at.slice(0, 16).replace('T', ' ')

export function statementHtml({ account, currency, seller, span }: StatementOf): StatementForm {
  const money = (micros: number): string => amount(micros, currency)
  const moment = (ms: number): string => minute(new Date(ms).toISOString())
  const line = (one: StatementLine): string =>
    `<tr><td>${minute(one.at)}</td><td>${escaped(lineWords(one))}</td><td>${one.messages === 0 ? '' : count(one.messages)}</td>` +
    `<td>${money(one.micros)}</td><td>${money(one.balance_micros)}</td></tr>\n`
  return {
    begin: micros => `${pageStart(`Statement of ${account}`)}<header><address>${escapedLines(seller)}</address></header>
<h1>Statement of ${escaped(account)}</h1>
<dl>
<dt>From</dt><dd>${moment(span.fromMs)} (UTC)</dd>
<dt>To</dt><dd>${moment(shownTo(span))} (UTC)</dd>
</dl>
<table>
<thead><tr><th>When</th><th>What</th><th>Messages</th><th>${escaped(currency)}</th><th>Balance</th></tr></thead>
<tbody>
<tr><td></td><td>Balance before</td><td></td><td></td><td>${money(micros)}</td></tr>
`,
    lines: all => all.map(line).join(''),
    end: micros => `</tbody>
<tfoot>
<tr><td colspan="4">Balance behind</td><td>${money(micros)}</td></tr>
</tfoot>
</table>
${PAGE_END}`,
  }
}
