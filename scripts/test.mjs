// `npm test`: installs and builds what is missing, runs the checks (types, lint, arrows) and
// every compiled test file, and ends with one line of counts. Arguments: words that a file's
// name must contain, --long, --jobs N. Knows nothing of what the tests are about.

import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { parseArgs } from 'node:util'
import { build, install, root } from './prepare.mjs'

const { values: options, positionals: words } = parseArgs({
  allowPositionals: true,
  options: { long: { type: 'boolean', default: false }, jobs: { type: 'string' } },
})
/** A file more than there are cores: files wait for servers to start and to stop. */
const jobs = Number(options.jobs) || Math.min(3, availableParallelism() + 1)
const LIMIT_MS = options.long ? 30 * 60_000 : 120_000

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
checkCommand('lint', 'node_modules/@biomejs/biome/bin/biome', ['check', '.', '--colors=off'])
checkCommand('arrows', 'scripts/arrows.mjs', [])

// Each file has a folder in here as its TMPDIR. Servers that drop root's rights must be able to reach theirs.
const { endAll, runTestFile } = await import('./testfile.mjs')
const scratch = mkdtempSync(join(tmpdir(), 'tlt-'))
chmodSync(scratch, 0o755)
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
const queue = [...files]
await Promise.all(Array.from({ length: jobs }, work))
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
  const run = spawnSync(process.execPath, [join(root, script), ...args], { cwd: root, encoding: 'utf8' })
  const ok = run.status === 0
  record(ok ? 'passed' : 'failed', `${name}  ${secondsSince(from)}`)
  if (!ok) console.log(indented(`${run.stdout ?? ''}${run.stderr ?? ''}${run.error?.message ?? ''}`))
}

function testFiles() {
  const folder = join(root, 'dist', 'test')
  if (!existsSync(folder)) return []
  return readdirSync(folder)
    .filter(name => name.endsWith('.test.js'))
    .filter(name => words.length === 0 || words.some(word => name.includes(word)))
    .sort()
    .map(name => join(folder, name))
}

async function work() {
  for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
    const from = performance.now()
    const name = basename(file, '.test.js')
    const temp = join(scratch, name)
    mkdirSync(temp)
    chmodSync(temp, 0o755)
    const result = await runTestFile(file, { temp, limitMs: LIMIT_MS, env: options.long ? { LONG: '1' } : {} })
    discard(temp)
    total.passed += result.passed
    total.failed += result.faults.length
    total.skipped += result.skips.length
    skips.push(...result.skips.map(skip => `skipped  ${name} > ${skip}`))
    report(name, secondsSince(from), result)
  }
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
