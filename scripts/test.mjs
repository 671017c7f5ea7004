// `npm test`: installs and builds what is missing, runs the checks (types, lint, arrows) and
// every compiled test file, and ends with one line of counts. Arguments: words that a file's
// name must contain, --long, --jobs N. Knows nothing of what the tests are about.

import { execFile, spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { parseArgs } from 'node:util'
import { build, install, root } from './prepare.mjs'

const { values: options, positionals: words } = parseArgs({
  allowPositionals: true,
  options: { long: { type: 'boolean', default: false }, jobs: { type: 'string' } },
})
/** Two files more than there are cores: files wait for servers to start and to stop, and for time to pass. */
const jobs = Number(options.jobs) || Math.min(4, availableParallelism() + 2)
/** The longest, in this order: first those that wait for time to pass, so that others run beside them. */
const LONGEST = ['faultrun', 'readme', 'credit', 'pool', 'rejoin', 'faults']
const LIMIT_MS = options.long ? 30 * 60_000 : 240_000

const started = performance.now()
const total = { passed: 0, failed: 0, skipped: 0 }
const skips = []
process.on('uncaughtException', error => {
  record('failed', `the run itself: ${error.stack}`)
  finish()
})

const obstacle = install()
if (obstacle !== null) {
  record('failed', obstacle)
  finish()
}
checkTypes()

// Each file has a folder in here as its TMPDIR, and files that run one after the other share the cluster of a
// database server. Servers that drop root's rights must be able to reach theirs.
const { endAll, runTestFile } = await import('./testfile.mjs')
const scratch = mkdtempSync(join(tmpdir(), 'tlt-'))
chmodSync(scratch, 0o755)
const clusterOf = worker => join(scratch, `cluster-${worker}`)
const janitor = sweepAfterUs()
process.on('exit', () => {
  endAll(scratch)
  discard(scratch)
})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, () => {
    record('failed', `interrupted by ${signal}`)
    finish()
  })
}

const files = testFiles()
if (files.length === 0) record('failed', `no test file${words.length > 0 ? ` is named like ${words.join(', ')}` : ''}`)
const queue = [
  () => checkCommand('lint', 'node_modules/@biomejs/biome/bin/biome', ['check', '.', '--colors=off']),
  () => checkCommand('arrows', 'scripts/arrows.mjs', []),
  ...files.map(file => worker => checkFile(file, worker)),
]
await Promise.all(
  Array.from({ length: jobs }, async (_, worker) => {
    for (let check = queue.shift(); check !== undefined; check = queue.shift()) await check(worker)
  }),
)
await new Promise(resolve => janitor.once('exit', resolve).stdin.end())
if (skips.length > 0) console.log(`\n${skips.join('\n')}`)
console.log(`\n${files.length} test files, ${secondsSince(started)}`)
finish()

function finish() {
  const skipped = total.skipped > 0 ? `, ${total.skipped} skipped` : ''
  console.log(`${total.passed} passed, ${total.failed} failed${skipped}`)
  process.exit(total.failed > 0 ? 1 : 0)
}

function record(verdict, line) {
  total[verdict]++
  show(verdict === 'passed', line)
}

function show(passed, line) {
  console.log(`${passed ? 'ok    ' : 'FAILED'}  ${line}`)
}

function checkTypes() {
  const from = performance.now()
  const { ok, built, output } = build(() => {})
  record(ok ? 'passed' : 'failed', `types  ${built ? secondsSince(from) : 'unchanged since the last build'}`)
  if (!ok) console.log(indented(output))
}

function checkCommand(name, script, args) {
  const from = performance.now()
  return new Promise(resolve => {
    execFile(process.execPath, [join(root, script), ...args], { cwd: root }, (error, stdout, stderr) => {
      record(error === null ? 'passed' : 'failed', `${name}  ${secondsSince(from)}`)
      if (error !== null) console.log(indented(`${stdout}${stderr}` || error.message))
      resolve()
    })
  })
}

/** Ends the database servers once we are gone, by whatever means. */
function sweepAfterUs() {
  const script = `cat > /dev/null
    for file in "$0"/cluster-*/postgres/cluster/data/postmaster.pid; do
      read pid < "$file" && kill -QUIT "$pid" && while kill -0 "$pid"; do sleep 0.05; done
    done`
  return spawn('/bin/sh', ['-c', script, scratch], { stdio: ['pipe', 'ignore', 'ignore'], detached: true })
}

/** Those with the most stories first: what runs alone at the end is short. */
function testFiles() {
  const folder = join(root, 'dist', 'test')
  if (!existsSync(folder)) return []
  return readdirSync(folder)
    .filter(name => name.endsWith('.test.js'))
    .filter(name => words.length === 0 || words.some(word => name.includes(word)))
    .map(name => join(folder, name))
    .map(file => ({ file, stories: storiesIn(file) }))
    .sort((a, b) => b.stories - a.stories)
    .map(({ file }) => file)
}

function storiesIn(file) {
  const place = LONGEST.indexOf(basename(file, '.test.js'))
  if (place >= 0) return 1_000 - place
  return readFileSync(file, 'utf8').split(/\n(?:story|lodger|tale)\(/).length
}

async function checkFile(file, worker) {
  const from = performance.now()
  const name = basename(file, '.test.js')
  const temp = join(scratch, name)
  mkdirSync(temp)
  chmodSync(temp, 0o755)
  const env = { LENT_CLUSTER: clusterOf(worker), TEST_WORKER: String(worker), ...(options.long ? { LONG: '1' } : {}) }
  const result = await runTestFile(file, { temp, limitMs: LIMIT_MS, env })
  discard(temp)
  total.passed += result.passed
  total.failed += result.faults.length
  total.skipped += result.skips.length
  skips.push(...result.skips.map(skip => `skipped  ${name} > ${skip}`))
  report(name, secondsSince(from), result)
}

function report(name, took, { passed, faults, skips, log }) {
  const failed = faults.length > 0 ? `, ${faults.length} failed` : ''
  const skipped = skips.length > 0 ? `, ${skips.length} skipped` : ''
  show(faults.length === 0, `${name}  ${took}  ${passed} passed${failed}${skipped}`)
  for (const fault of faults) console.log(`${indented(fault)}\n`)
  if (faults.length > 0 && log.trim() !== '') console.log(indented(`what ${name} printed besides:\n${log}`))
}

function discard(folder) {
  rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
}

function indented(text) {
  return text
    .trimEnd()
    .split('\n')
    .map(line => `        ${line}`)
    .join('\n')
}

function secondsSince(from) {
  return `${((performance.now() - from) / 1000).toFixed(1)} s`
}
