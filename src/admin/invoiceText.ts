// An invoice for people and for spreadsheets: one page of HTML that needs nothing but itself and prints well, and CSV. Knows
// how it looks; every text in it that somebody wrote is escaped.

import { coinMicros } from '../accounts/invoiceSums.js'
import type { Invoice, InvoiceLine } from '../accounts/invoices.js'
import { messageClasses } from '../model/message.js'
import { unitsText } from '../model/money.js'
import { csvLine, plain } from './csv.js'

/** Names of countries; made at first use, for that takes 12 ms of a start. */
let regions: Intl.DisplayNames | undefined
const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

export const escaped = (text: string): string => text.replace(/[&<>"']/g, found => ESCAPES[found] as string)
export const escapedLines = (text: string): string => escaped(text).replaceAll(/\r?\n/g, '<br>')
export const count = (n: number): string => n.toLocaleString('en-US')

/** With all decimals of a coin at least. */
export function amount(micros: number, currency: string): string {
  const decimals = 6 - Math.round(Math.log10(coinMicros(currency)))
  const [units = '', rest = ''] = unitsText(micros).split('.')
  const written = rest.padEnd(decimals, '0')
  return written === '' ? units : `${units}.${written}`
}

function countryName(country: string): string {
  if (country === '') return ''
  regions ??= new Intl.DisplayNames('en', { type: 'region' })
  return regions.of(country) ?? country
}

const classWord = ({ rank }: InvoiceLine): string => messageClasses[rank] ?? ''

/** What a line is of. */
function lineWords({ what, month, country }: InvoiceLine, invoiced: string): string {
  switch (what) {
    case 'messages':
      return countryName(country) || 'Other destinations'
    case 'back':
      return 'Given back for messages that did not arrive'
    case 'other':
      return 'Other messages'
    case 'earlier':
      return month === invoiced ? 'Billed with a later invoice' : `Settled for ${month} after its invoice`
  }
}

/** A line for each line of the invoice; its sums are the sums of these. */
export function invoiceCsv(one: Invoice): string {
  const head = ['invoice', 'account', 'what', 'month', 'country', 'class', 'messages', 'segments', 'amount', 'currency']
  const rows = one.lines.map(line => {
    const { what, month, country, messages, segments } = line
    const fields = [one.number, one.account, what, month, country, classWord(line), messages, segments]
    return `${csvLine(fields).slice(0, -2)},${plain(unitsText(line.micros))},${one.currency}\r\n`
  })
  return csvLine(head) + rows.join('')
}

/** Up to its body; what is in it needs no other file. */
export function pageStart(title: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)}</title>
<style>
body { font: 11pt/1.4 system-ui, sans-serif; color: #111; max-width: 46rem; margin: 2rem auto; padding: 0 1rem }
header { display: flex; justify-content: space-between; gap: 2rem }
h1 { font-size: 1.6rem; margin: 2rem 0 .5rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: 0 0 1.5rem }
dd { margin: 0 }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .5rem; text-align: right; border-bottom: 1px solid #ccc }
th:first-child, td:first-child { text-align: left; padding-left: 0 }
tbody td:nth-child(2), thead th:nth-child(2) { text-align: left }
tfoot td { border: 0 }
tfoot tr:first-child td { border-top: 2px solid #111 }
tfoot tr:last-child td { font-weight: bold; border-top: 1px solid #111 }
.void { color: #a00; font-weight: bold }
@page { size: A4; margin: 18mm }
@media print {
  body { margin: 0; max-width: none; padding: 0 }
  thead { display: table-header-group }
  tr { break-inside: avoid }
  tfoot { display: table-row-group; break-inside: avoid }
}
</style>
</head>
<body>
`
}
export const PAGE_END = `</body>
</html>
`

/** A file of its own. */
export function invoiceHtml(one: Invoice): string {
  const money = (micros: number): string => amount(micros, one.currency)
  const rows = one.lines.map(line => {
    const [messages, segments] = line.what === 'messages' ? [count(line.messages), count(line.segments)] : ['', '']
    const words = `<td>${escaped(lineWords(line, one.month))}</td><td>${classWord(line)}</td>`
    return `<tr>${words}<td>${messages}</td><td>${segments}</td><td>${money(line.micros)}</td></tr>`
  })
  const sums: [string, string][] = [['Net', money(one.net_micros)]]
  if (one.tax_percent !== '0') {
    sums.push([`Tax, ${one.tax_percent} %`, money(one.tax_micros)], ['Total', money(one.total_micros)])
  }
  const tax = one.tax_micros - one.due_tax_micros
  // As it was written by an earlier release, which took tax for paid with credit.
  const isEarlier = tax !== one.covered_tax_micros
  if (isEarlier) sums.push(['Paid from credit, with its tax', money(-(one.covered_micros + tax))])
  else {
    if (one.covered_micros !== 0) sums.push(['Paid from credit', money(-one.covered_micros)])
    if (tax !== 0) sums.push(['Tax paid before', money(-tax)])
  }
  sums.push([`To be paid, ${one.currency}`, money(one.due_micros)])
  const title = `Invoice ${one.number}`
  return `${pageStart(title)}<header><address>${escapedLines(one.seller)}</address><address>${escapedLines(one.customer)}</address></header>
<h1>${escaped(title)}</h1>
<dl>
<dt>Date</dt><dd>${one.issued_at.slice(0, 10)}</dd>
<dt>For</dt><dd>messages accepted in ${one.month} (UTC)</dd>
<dt>Account</dt><dd>${escaped(one.account)}</dd>
<dt>Status</dt><dd${one.status === 'void' ? ' class="void"' : ''}>${statusWords(one)}</dd>
</dl>
<table>
<thead><tr><th>Destination</th><th>Class</th><th>Messages</th><th>Segments</th><th>Amount</th></tr></thead>
<tbody>
${rows.join('\n')}
</tbody>
<tfoot>
${sums.map(([words, text]) => `<tr><td colspan="4">${escaped(words)}</td><td>${text}</td></tr>`).join('\n')}
</tfoot>
</table>
${PAGE_END}`
}

function statusWords({ status, paid_at, void_at, void_reason, replaced_by }: Invoice): string {
  if (status === 'paid') return `paid, ${(paid_at ?? '').slice(0, 10)}`
  if (status === 'open') return 'open'
  const by = replaced_by === null ? '' : `; invoice ${replaced_by} stands in its place`
  return escaped(`void since ${(void_at ?? '').slice(0, 10)}: ${void_reason}${by}`)
}
