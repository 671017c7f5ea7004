// `npm run bench`: the figures that a release must reach, taken with the built daemon and the project's own tools, each in
// a fresh data directory. Prints one table and judges by it, but fails only if something failed, was lost or came twice:
// how fast a machine is, is no test. Knows the figures' numbers and order; how each is taken stands in bench/.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { manyAccounts } from './bench/accounts.js'
import { endToEnd, latency, outstanding, type Profiled, prepaid } from './bench/flow.js'
import { idle } from './bench/idle.js'
import { deadCarrier, overtaking } from './bench/lanes.js'
import { scheduled } from './bench/later.js'
import { lookAtMachine, machineLine } from './bench/machine.js'
import { oneTime } from './bench/otp.js'
import { busiest, type Share } from './bench/profile.js'
import { type Measure, report, type Section, verdict } from './bench/report.js'
import { Run } from './bench/run.js'
import { ownTools, peerTools, type Tools } from './bench/tools.js'
import { backlog, intake } from './bench/waiting.js'
import { overHttp } from './bench/web.js'

type Take = (run: Run, tools: Tools) => Promise<Measure[]>

const codes: Take = (run, tools) => oneTime(run, toProfile(12, tools))

const FIGURES: ReadonlyMap<number, readonly [title: string, take: Take]> = new Map([
  [1, ['end to end', (run, tools) => endToEnd(run, tools, toProfile(1, tools))]],
  [2, ['outstanding receipts', (run, tools) => outstanding(run, tools, toProfile(2, tools))]],
  [3, ['intake', intake]],
  [4, ['latency', latency]],
  [5, ['backlog', backlog]],
  [6, ['idle binds', idle]],
  [7, ['overtaking', overtaking]],
  [8, ['a carrier away', deadCarrier]],
  [9, ['scheduled', scheduled]],
  [10, ['accounts', manyAccounts]],
  [11, ['over HTTP', overHttp]],
  [12, ['one-time passwords', codes]],
  [13, ['prepaid', (run, tools) => prepaid(run, tools, toProfile(13, tools))]],
] as const)

/** Figures that need no other load tool. */
const OWN: ReadonlySet<Take> = new Set([idle, overtaking, deadCarrier, scheduled, manyAccounts, overHttp, codes])

const HELP = `npm run bench -- [options]
  --only 1,4          only these figures:
                      ${Array.from(FIGURES, ([number, [title]]) => `${number} ${title}`).join(', ')}
  --count-scale 0.1   a tenth of the messages, for a quick look
  --peer PATH         take each also with another load tool that has smppload's command line
  --prof              profile the daemon of figures 1, 2, 12 and 13 and list the functions above 3 % (the figures suffer)
  --json              print JSON`

/** Above this something else was at work. */
const QUIET_LOAD = 0.5
const LEAST_SHARE = 0.03
/** A terminal's signal comes a second time by way of npm. */
const SAME_SIGNAL_MS = 500

const options = readOptions()
let interrupted = false
const shares = new Map<number, Share[]>()

const run = new Run(options.scale)
endOnSignals()
const machine = lookAtMachine(join(run.dir, 'probe'))
if (machine.load > QUIET_LOAD) process.stderr.write(`something else is at work here: load average ${machine.load}\n`)
const sections: Section[] = []
for (const [number, [title, take]] of FIGURES) {
  if (!options.only.includes(number)) continue
  const own = await taken(number, title, take, ownTools)
  const peer = options.peer === null || OWN.has(take) ? [] : await taken(number, title, take, options.peer)
  sections.push({ figure: number, own, peer })
}
await run.close()
if (options.json) printJson()
else print()
process.exit(run.faults.length > 0 ? 1 : 0)

async function taken(number: number, title: string, take: Take, tools: Tools): Promise<Measure[]> {
  run.begin(`${number} ${title}${options.peer === null ? '' : `, ${tools.name}`}`)
  const measures = await take(run, tools).catch((error: Error) => {
    run.fault(error.message)
    return []
  })
  // What was cut short is no figure; the end is the signal handler's.
  if (interrupted) await new Promise(() => {})
  return measures
}

function toProfile(figure: number, tools: Tools): Profiled | undefined {
  if (!options.prof || tools !== ownTools) return undefined
  return (text, span) => void shares.set(figure, busiest(text, span, LEAST_SHARE))
}

function print(): void {
  console.log(`\n${report(sections, options.peer?.name ?? null)}\n\n${machineLine(machine)}`)
  if (options.scale !== 1) console.log(`with ${options.scale} of the messages: what is judged is the whole`)
  for (const [figure, places] of shares) {
    console.log(`\nprocessor time of the daemon, figure ${figure} (profiled):`)
    for (const { where, share } of places) console.log(`${(share * 100).toFixed(1).padStart(6)} %  ${where}`)
  }
  for (const fault of run.faults) console.log(`FAILED  ${fault}`)
}

function printJson(): void {
  const judged = (measure: Measure): object => ({ ...measure, verdict: verdict(measure) })
  const figures = sections.map(({ figure, own, peer }) => ({ figure, own: own.map(judged), peer: peer.map(judged) }))
  const profile = options.prof ? { profile: Object.fromEntries(shares) } : {}
  const peer = options.peer?.name ?? null
  console.log(JSON.stringify({ machine, scale: options.scale, peer, figures, ...profile, faults: run.faults }, null, 2))
}

function endOnSignals(): void {
  let firstAt = 0
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      const now = performance.now()
      if (interrupted) {
        if (now - firstAt > SAME_SIGNAL_MS) process.stderr.write('clearing up, a moment ...\n')
        return
      }
      interrupted = true
      firstAt = now
      process.stderr.write(`\n${signal}: ending the daemon and the tools\n`)
      void run.close().finally(() => process.exit(130))
    })
  }
}

interface Options {
  readonly only: readonly number[]
  readonly scale: number
  readonly peer: Tools | null
  readonly prof: boolean
  readonly json: boolean
}

function readOptions(): Options {
  try {
    const { values } = parseArgs({
      options: {
        only: { type: 'string' },
        'count-scale': { type: 'string', default: '1' },
        peer: { type: 'string' },
        prof: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    })
    if (values.help) {
      console.log(HELP)
      process.exit(0)
    }
    const only = values.only === undefined ? [...FIGURES.keys()] : values.only.split(',').map(Number)
    if (!only.every(number => FIGURES.has(number))) throw new Error(`--only takes figures, such as 1,4`)
    const scale = Number(values['count-scale'])
    if (!(scale > 0 && scale <= 10)) throw new Error('--count-scale must be above 0 and 10 at most')
    const { peer, prof, json } = values
    if (peer !== undefined && !existsSync(peer)) throw new Error(`--peer: there is no ${peer}`)
    return { only, scale, peer: peer === undefined ? null : peerTools(peer), prof, json }
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${HELP}`)
    process.exit(2)
  }
}
