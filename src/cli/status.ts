// `trunkline status`: what an operator asks first, on one screen. Prints what the daemon says
// about itself; judges nothing.

import type { Command } from 'commander'
import type { CarrierStatus, Status } from '../admin/status.js'
import { unitsText } from '../model/money.js'
import { ask } from './ask.js'
import { EXIT } from './exit.js'
import { bad, bytes, count, duration, faint, good, ms, strong, table } from './print.js'
import { type GlobalOptions, optionsOf } from './settings.js'

/** Accounts on the screen; --json has more. */
const ACCOUNTS = 20

export function register(program: Command): void {
  program
    .command('status')
    .description('Shows how the daemon is: rates, binds, queue, carriers, stores.')
    .addHelpText(
      'after',
      `
Exit code 0 when the daemon is ready for new messages, 1 when it is not or does not answer.

Examples:
  trunkline status
  trunkline status --json | jq .queue.waiting
  trunkline status --url http://gw1:8080 --key KEY`,
    )
    .action((_, command: Command) => status(optionsOf(command)))
}

async function status(options: GlobalOptions): Promise<void> {
  const now = (await ask(options, { path: '/api/v1/admin/status' })) as Status
  if (!now.ready) process.exitCode = EXIT.failed
  console.log(options.json ? JSON.stringify(now, null, 2) : screen(now))
}

function screen(now: Status): string {
  const { rate, binds, queue, process: own, history, spool } = now
  const ports = Object.entries(now.ports ?? {}).map(([name, port]) => `${name} ${port ?? 'off'}`)
  const facts: [string, string][] = [
    ['rates', `${count(rate.in_per_s)} in, ${count(rate.out_per_s)} out, ${count(rate.ended_per_s)} ended a second`],
    ['binds', `${count(binds.trx)} trx, ${count(binds.tx)} tx, ${count(binds.rx)} rx, ${count(binds.open)} not bound`],
    ['queue', `${count(queue.waiting)} waiting, ${count(queue.claimed)} in hand, ${count(queue.due)} due`],
    ['receipts', `${count(queue.sent)} awaited, ${count(queue.outbox)} to deliver, ${count(queue.parked)} early`],
    ['spool', `${syncs(spool)}${refusing(now)}`],
    [
      'history',
      `${count(history.waiting_rows)} rows to write${now.store.up ? '' : `, ${bad('the database is away')}`}`,
    ],
    [
      'process',
      `${bytes(own.rss_anon_bytes ?? own.rss_bytes)}, event loop p99 ${ms(own.loop_lag_p99_ms)} ms late, ` +
        `disk ${bytes(now.disk.free_bytes)} free`,
    ],
  ]
  if (now.credit.accounts > 0 || now.credit.waiting > 0) facts.push(['credit', creditWords(now.credit)])
  if (queue.unclaimed > 0) facts.push(['unclaimed', `${count(queue.unclaimed)} replies that belong to no account`])
  if (spool.crashed) {
    const kept = now.counters.unsure_after_crash ?? 0
    const others = kept === 0 ? '' : `, ${count(kept)} may have been sent and were not`
    facts.push([
      'crash',
      `the last run was killed; ${count(spool.resent_after_crash)} messages were sent again${others}`,
    ])
  }
  if (now.trace.length > 0) facts.push(['trace', now.trace.join(', ')])
  const state = now.ready ? good('ready') : bad(`not ready: ${now.why.join('; ')}`)
  const lines = [
    `${strong(`trunkline ${now.version}`)}  node ${now.node}  pid ${now.pid}  up ${duration(now.uptime_s)}  ${state}`,
    ports.length === 0 ? '' : faint(ports.join('  ')),
    '',
    ...facts.map(([name, words]) => `${name.padEnd(10)}${words}`),
  ]
  if (now.carriers.length > 0) lines.push('', carriers(now.carriers))
  if (binds.accounts.length > 0) lines.push('', accounts(binds))
  return lines.join('\n')
}

function creditWords({ accounts, left_micros, waiting }: Status['credit']): string {
  const left = `${unitsText(left_micros)} leased of ${count(accounts)} accounts`
  return waiting === 0 ? left : `${left}, ${bad(`${count(waiting)} submissions wait for more`)}`
}

const syncs = ({ sync_p50_ms, sync_p99_ms }: Status['spool']): string =>
  sync_p50_ms === null
    ? 'no commit in the last minute'
    : `a commit takes ${ms(sync_p50_ms)} ms, p99 ${ms(sync_p99_ms)} ms`

function refusing({ spool }: Status): string {
  if (spool.exhausted) return `, ${bad('disk full: nothing is taken')}`
  return spool.refuses === null ? '' : `, ${bad(`refuses new messages: ${spool.refuses}`)}`
}

function carriers(all: readonly CarrierStatus[]): string {
  const rows = all.map(carrier => {
    const ready = carrier.links.filter(link => link.stand !== 'closed' && link.stand !== 'binding')
    const inFlight = carrier.links.reduce((sum, link) => sum + link.in_flight, 0)
    const window = carrier.links.reduce((sum, link) => sum + link.window, 0)
    const down = carrier.links.find(link => link.stand === 'closed' && link.last_reason !== '')
    // The class with the most answers in the last minute.
    const [latency] = Object.values(carrier.latency).sort((a, b) => b.count - a.count)
    return [
      carrier.name,
      carrier.paused ? bad('paused') : carrier.up ? good('up') : bad('down'),
      `${ready.length}/${carrier.links.length}`,
      `${count(inFlight)}/${count(window)}`,
      carrier.rate_per_s,
      ms(latency?.p50_ms ?? null),
      ms(latency?.p99_ms ?? null),
      down?.last_reason ?? '',
    ]
  })
  return table(['carrier', '', '>links', '>in flight', '>out/s', '>p50 ms', '>p99 ms', 'last closed by'], rows)
}

function accounts(binds: Status['binds']): string {
  const shown = binds.accounts.slice(0, ACCOUNTS)
  const rows = shown.map(one => [one.system_id, one.trx, one.tx, one.rx, one.submitted, one.delivered, one.in_flight])
  const listed = table(['account', '>trx', '>tx', '>rx', '>submitted', '>delivered', '>in flight'], rows)
  const more = binds.accounts_bound - shown.length
  return more > 0 ? `${listed}\n${faint(`and ${count(more)} more`)}` : listed
}
