// Brings a clone to the point where dist/ can be run: packages as package-lock.json
// names them, JavaScript as new as its sources. Does nothing that is already done.
// Knows npm and the compiler; refuses to know what is run afterwards.

import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = dirname(dirname(fileURLToPath(import.meta.url)))

const SOURCE_FOLDERS = ['types', 'protocols', 'src', 'scripts', 'test']
/** Its time is the moment the last build without errors began. */
const STAMP = join(root, 'dist', '.built')
const BUILD_INFO = join(root, 'dist', '.tsbuildinfo')
const ENTRY = join(root, 'dist', 'src', 'cli.js')
const COMPILER = join(root, 'node_modules', 'typescript7', 'bin', 'tsc')

/** @returns {string | null} why nothing can be run, or null when packages stand as the lock file says */
export function install(say = console.error) {
  if (installed()) return null
  say('installing packages (once; about half a minute) ...')
  if (npm('ci')) return null
  say('npm ci failed (see above); trying npm install, which may change package-lock.json ...')
  if (npm('install')) return null
  return 'the packages could not be installed: npm needs to reach its registry once'
}

/** @returns {{ ok: boolean, built: boolean, output: string }} `output` is the compiler's own report */
export function build(say = console.error) {
  const { sources, missing } = survey()
  const since = existsSync(STAMP) ? statSync(STAMP).mtimeMs : 0
  const settings = ['tsconfig.json', 'package-lock.json'].map(name => join(root, name))
  if (!missing && [...sources, ...settings].every(file => statSync(file).mtimeMs < since)) {
    return { ok: true, built: false, output: '' }
  }
  say('building ...')
  const startedAt = new Date()
  // Without its notes on the last build the compiler writes every file again.
  if (missing) rmSync(BUILD_INFO, { force: true })
  const run = spawnSync(process.execPath, [COMPILER, '-p', 'tsconfig.json', '--pretty', 'false'], {
    cwd: root,
    encoding: 'utf8',
  })
  // npx runs it as a program.
  if (existsSync(ENTRY)) chmodSync(ENTRY, 0o755)
  const ok = run.status === 0
  if (ok) {
    writeFileSync(STAMP, '')
    // A source saved while the compiler ran is newer than the stamp.
    utimesSync(STAMP, startedAt, startedAt)
  } else rmSync(STAMP, { force: true })
  return { ok, built: true, output: `${run.stdout ?? ''}${run.stderr ?? ''}${run.error?.message ?? ''}` }
}

/** The hidden lock file is npm's own record of what it put into node_modules, written last. */
function installed() {
  const wanted = packagesOf(join(root, 'package-lock.json'))
  const present = packagesOf(join(root, 'node_modules', '.package-lock.json'))
  if (present === null) return false
  return Object.entries(wanted ?? {}).every(([path, entry]) => {
    if (path === '') return true
    const have = present[path]
    // Packages for other platforms are in the lock file only.
    return have === undefined ? entry.optional === true : have.version === entry.version
  })
}

function packagesOf(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).packages
  } catch {
    return null
  }
}

function npm(command) {
  const own = process.env.npm_execpath
  const [program, ...before] = own?.endsWith('.js') ? [process.execPath, own] : ['npm']
  const run = spawnSync(program, [...before, command, '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
  })
  return run.status === 0
}

/** Lists the sources, removes what deleted ones have left in dist/, and tells whether an output is missing. */
function survey() {
  const sources = []
  let missing = false
  for (const folder of SOURCE_FOLDERS) {
    const wanted = new Set()
    for (const name of filesUnder(join(root, folder))) {
      if (!name.endsWith('.ts')) continue
      sources.push(join(root, folder, name))
      if (name.endsWith('.d.ts')) continue
      wanted.add(name.slice(0, -3))
      if (!existsSync(join(root, 'dist', folder, `${name.slice(0, -3)}.js`))) missing = true
    }
    for (const name of filesUnder(join(root, 'dist', folder))) {
      const output = /^(.+)\.js(?:\.map)?$/.exec(name)
      if (output !== null && !wanted.has(output[1])) rmSync(join(root, 'dist', folder, name))
    }
  }
  return { sources, missing }
}

/** Paths relative to `folder`, at any depth; none when there is no such folder. */
function filesUnder(folder) {
  if (!existsSync(folder)) return []
  return readdirSync(folder, { recursive: true }).map(String)
}
