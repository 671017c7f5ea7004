// Runs one compiled test file in a process of its own, reads the TAP it prints, and ends what
// it leaves running. Knows what counts as a failure of a file; refuses to know which files
// there are and how results are shown.

import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { Parser } from 'tap-parser'

/** What a test's processes may take to end once the test has. */
const GRACE_MS = 3_000

/**
 * Ours, without what changes what a program prints, and without a company's own authorities: a start takes half as long,
 * and a test asks nobody outside.
 */
const { NODE_EXTRA_CA_CERTS: _, FORCE_COLOR: __, NO_COLOR: ___, ...inherited } = process.env

const running = new Set()

/**
 * @param {string} file a JavaScript file that prints TAP
 * @param {{ temp: string, limitMs: number, env?: Record<string, string>, graceMs?: number }} options
 *   temp: the file's TMPDIR, by which its processes are known; limitMs: then it is killed
 * @returns {Promise<{ passed: number, faults: string[], skips: string[], log: string }>}
 *   passed counts assertions; log is what the file printed besides TAP
 */
export async function runTestFile(file, { temp, limitMs, env = {}, graceMs = GRACE_MS }) {
  const result = { passed: 0, faults: [], skips: [], log: '' }
  const child = spawn(process.execPath, ['--enable-source-maps', file], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    // tap is told to end before we do it, so that it can say where the file hangs.
    env: { ...inherited, ...env, TMPDIR: temp, TAP_TIMEOUT: String((limitMs * 0.9) / 1000) },
  })
  running.add(child)
  let late = false
  const deadline = setTimeout(() => {
    late = true
    kill(-child.pid)
  }, limitMs)

  const parser = new Parser()
  parser.on('result', assertion => count(assertion, result))
  parser.on('extra', line => {
    result.log += line
  })
  child.stderr.setEncoding('utf8').on('data', text => {
    result.log += text
  })
  const whole = new Promise(resolve => parser.once('complete', resolve))
  child.stdout.pipe(parser)
  const ending = await new Promise(resolve => {
    child.once('error', error => resolve(`could not be run: ${error.message}`))
    child.once('exit', (code, signal) => {
      resolve(signal !== null ? `was killed by ${signal}` : code !== 0 ? `ended with code ${code}` : '')
    })
  })
  clearTimeout(deadline)
  running.delete(child)
  // A process left behind may hold the pipe open: it is ended before the rest of the output is awaited.
  const orphans = await endLeftovers(temp, graceMs)
  const guard = setTimeout(() => parser.end(), graceMs)
  const { ok, plan, failures } = await whole
  clearTimeout(guard)
  child.stdout.destroy()
  child.stderr.destroy()

  const { faults, skips } = result
  for (const orphan of orphans) faults.push(`left running: ${orphan}`)
  if (late) faults.push(`did not end within ${limitMs / 1000} s`)
  else if (ending !== '' && faults.length === 0) faults.push(`${ending} although no test failed`)
  // The parser's own words for output without a single test.
  if (plan.skipAll && plan.skipReason && plan.skipReason !== 'no tests found') skips.push(plan.skipReason)
  if (result.passed + faults.length + skips.length === 0) faults.push('has no tests')
  else if (!ok && faults.length === 0) faults.push(failures.map(one => one.tapError ?? one.name).join('; '))
  return result
}

/** A leaf: an assertion, or a subtest without any, at whatever depth. */
function count(assertion, result) {
  const title = assertion.fullname || assertion.name
  const set = assertion.skip || assertion.todo
  if (set) result.skips.push(`${title}: ${assertion.todo ? 'to do' : 'skipped'}${set === true ? '' : `, ${set}`}`)
  else if (assertion.ok) result.passed++
  else result.faults.push(`${title}\n${diagnosis(assertion.diag)}`)
}

/** tap's own notes on a failed assertion, as text: where, what differs, the rest. */
function diagnosis(diag) {
  if (diag === null || typeof diag !== 'object') return ''
  const { at, diff, source, stack, ...rest } = diag
  const lines = []
  if (at?.fileName) lines.push(`at ${at.fileName}:${at.lineNumber}`)
  if (diff !== undefined) lines.push(String(diff).trimEnd())
  for (const [key, value] of Object.entries(rest)) {
    const text = typeof value === 'string' ? value.trimEnd() : JSON.stringify(value, null, 2)
    lines.push(text?.includes('\n') ? `${key}:\n${text}` : `${key}: ${text}`)
  }
  if (source !== undefined) lines.push(String(source).trimEnd())
  if (stack !== undefined) lines.push(String(stack).trimEnd())
  return lines.join('\n')
}

/** Ends the files that are running and every process out of `folder`, at once. */
export function endAll(folder) {
  for (const child of running) kill(-child.pid)
  for (const { pid } of processesOf(folder)) kill(pid)
}

/**
 * Ends what still runs out of `folder`, after the time that a process may take to end by itself.
 * @returns {Promise<string[]>} pid and command line of each process that had to be ended
 */
async function endLeftovers(folder, graceMs) {
  const until = performance.now() + graceMs
  const found = await whileAny(folder, until)
  for (const { pid } of found) kill(pid)
  await whileAny(folder, performance.now() + GRACE_MS)
  return found.map(({ pid, command }) => `${pid} ${command}`)
}

/** Waits until nothing runs out of `folder`; what still does when the time is over is the answer. */
async function whileAny(folder, until) {
  let found = processesOf(folder)
  while (found.length > 0 && performance.now() < until) {
    await delay(20)
    found = processesOf(folder)
  }
  return found
}

/** Processes started with `folder` as their TMPDIR, standing in it or naming it, such as a database server over it. */
function processesOf(folder) {
  // `smtp` is not `smtp-auth`.
  const names = new RegExp(`${folder.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}(?![\\w-])`)
  if (!existsSync('/proc/self/environ')) {
    const listing = spawnSync('ps', ['-axo', 'pid=,command='], { encoding: 'utf8' }).stdout ?? ''
    return listing
      .split('\n')
      .filter(line => names.test(line))
      .map(line => ({ pid: Number.parseInt(line, 10), command: line.trim().replace(/^\d+\s+/, '') }))
  }
  const found = []
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry)
    if (!Number.isInteger(pid) || pid === process.pid) continue
    const command = look(() => readFileSync(`/proc/${pid}/cmdline`, 'latin1'))
      .replaceAll('\0', ' ')
      .trim()
    const environment = look(() => readFileSync(`/proc/${pid}/environ`, 'latin1'))
    const place = look(() => readlinkSync(`/proc/${pid}/cwd`))
    // Without a command line it has ended and only waits to be collected.
    if (command !== '' && (names.test(command) || names.test(environment) || names.test(place))) {
      found.push({ pid, command })
    }
  }
  return found
}

function look(read) {
  try {
    return read()
  } catch {
    // It ended while we looked, or belongs to someone else and so is none of ours.
    return ''
  }
}

function kill(pid) {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended.
  }
}
