// The documents are true: README's shell commands run as they stand, from top to bottom, in a copy of the working tree;
// and what the documents name - commands, options, settings, metrics, files - is there. A block with a comment
// `<!-- not run: reason -->` above it is left out, and the reason is shown.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { parseGateway } from '../src/accounts/gatewayFile.js'
import { settings } from '../src/config.js'
import { trunkline } from './support/house.js'
import { within } from './support/peer.js'
import { temporaryDirectory } from './support/postgres.js'

// Most of it is npm's own start, for each command anew.
t.setTimeout(110_000)

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const BLOCK_MS = 60_000
/** Where README's commands find the daemon and the simulator. */
const PORTS = [2775, 2525, 8080, 27_750]
/** Commands that do not end: they run beside those below them, from the moment they say this. */
const LASTING: Readonly<Record<string, string>> = {
  'npm start': 'Trunkline is running',
  'npx trunkline simulate': 'listens at',
}

interface Block {
  language: string
  text: string
  line: number
  /** Why it is not run. */
  left: string | undefined
}

const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8')

function blocksOf(document: string): Block[] {
  const fence = /(?:^<!-- not run: (.+) -->\n+)?^```(\w*)\n([\s\S]*?)^```$/gm
  return [...document.matchAll(fence)].map(found => ({
    language: found[2] ?? '',
    text: found[3] ?? '',
    line: document.slice(0, found.index).split('\n').length,
    left: found[1],
  }))
}

/** Fenced blocks and inline code. */
const codeOf = (document: string): string[] => [
  ...blocksOf(document).flatMap(block => block.text.split('\n')),
  ...[...document.replace(/^```[\s\S]*?^```$/gm, '').matchAll(/`([^`]+)`/g)].map(found => found[1] as string),
]

/** A user's shell: no settings of ours, nothing of the npm that runs us, and a registry that cannot stand in for our program. */
const environment = (home: string): NodeJS.ProcessEnv => ({
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(TRUNKLINE_|npm_(?!config_))/i.test(name))),
  npm_config_cache: join(home, 'npm'),
  npm_config_offline: 'true',
})

const listed = spawnSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], { cwd: ROOT })

/** The working tree as a clone has it, with the packages of this one, and built as far as this one is. */
function copyOfTree(t: Test): string {
  const home = temporaryDirectory()
  const copy = join(home, 'trunkline')
  t.teardown(() => rmSync(home, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 }))
  for (const file of listed.stdout.toString().split('\0')) {
    if (file === '' || !existsSync(join(ROOT, file))) continue
    mkdirSync(join(copy, dirname(file)), { recursive: true })
    cpSync(join(ROOT, file), join(copy, file), { preserveTimestamps: true })
  }
  cpSync(join(ROOT, 'dist'), join(copy, 'dist'), { recursive: true, preserveTimestamps: true })
  symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'))
  return copy
}

const hasCurl = spawnSync('curl', ['--version']).status === 0

/** Why README's commands cannot be run as they stand; false when they can. */
async function obstacle(): Promise<string | false> {
  if (listed.status !== 0) return 'this is no working tree of git'
  const port = await portInUse()
  return port !== undefined && `port ${port} is in use on this machine`
}

async function portInUse(): Promise<number | undefined> {
  for (const port of PORTS) {
    const server = createServer()
    const free = await new Promise(resolve => {
      server.once('error', () => resolve(false))
      server.listen(port, '127.0.0.1', () => resolve(true))
    })
    if (!free) return port
    server.close()
    await once(server, 'close')
  }
  return undefined
}

/** A shell in a process group of its own, which ends with the test. */
class Shell {
  readonly ended: Promise<number | string>
  output = ''
  private readonly child: ChildProcess
  private readonly heard: Promise<void>

  constructor(t: Test, command: string, cwd: string, says = '') {
    this.child = spawn('/bin/sh', ['-ec', command], {
      cwd,
      env: environment(dirname(cwd)),
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    t.teardown(() => this.stop())
    this.ended = once(this.child, 'close').then(([code, signal]) => (code ?? signal) as number | string)
    this.heard = new Promise(resolve => {
      const listen = (piece: string): void => {
        this.output += piece
        if (this.output.includes(says)) resolve()
      }
      this.child.stdout?.setEncoding('utf8').on('data', listen)
      this.child.stderr?.setEncoding('utf8').on('data', listen)
    })
  }

  /** Resolves when it has said what it was waited for. */
  async ready(): Promise<void> {
    const early = this.ended.then(code => Promise.reject(new Error(`ended with ${code}:\n${this.output}`)))
    early.catch(() => {})
    await within(Promise.race([this.heard, early]), () => `its words; so far\n${this.output}`, BLOCK_MS)
  }

  async stop(): Promise<void> {
    const { pid, exitCode, signalCode } = this.child
    if (pid === undefined || exitCode !== null || signalCode !== null) return
    process.kill(-pid, 'SIGTERM')
    await within(this.ended, 'the end of the shell', 15_000).catch(() => process.kill(-pid, 'SIGKILL'))
  }
}

/** Runs a block to its end; what it wrote to stdout. Throws when it fails. */
async function run(t: Test, command: string, cwd: string): Promise<string> {
  const child = spawn('/bin/sh', ['-ec', command], {
    cwd,
    env: environment(dirname(cwd)),
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  t.teardown(() => {
    if (child.exitCode === null && child.signalCode === null && child.pid) process.kill(-child.pid, 'SIGKILL')
  })
  const [stdout, stderr, [code]] = await within(
    Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')]),
    `the end of\n${command}`,
    BLOCK_MS,
  )
  if (code !== 0) throw new Error(`${command}\nended with ${code}:\n${stdout}\n${stderr}`)
  return stdout
}

/** The text with each number in it standing for any. */
const alike = (sample: string): RegExp =>
  new RegExp(
    `^${sample
      .trim()
      .split(/\d+(?:\.\d+)?/)
      .map(part => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
      .join('\\d+(?:\\.\\d+)?')}$`,
  )

const TOP_TO_BOTTOM = 'README’s commands run from top to bottom in a clone, and print what it says'
t.test(TOP_TO_BOTTOM, { timeout: 200_000, skip: await obstacle() }, async t => {
  const copy = copyOfTree(t)
  const blocks = blocksOf(read('README.md'))
  const lasting = new Map<string, Shell>()
  let printed = ''
  for (const block of blocks) {
    const where = `README.md:${block.line}`
    const command = block.text.trim()
    if (block.language === 'text') t.match(printed.trim(), alike(block.text), `${where}: as it says`)
    if (block.language !== 'sh') continue
    if (block.left !== undefined) t.comment(`${where} is not run: ${block.left}`)
    else if (/^curl /m.test(command) && !hasCurl) t.pass(where, { skip: 'no curl on this machine' })
    else if (LASTING[command] !== undefined) {
      const shell = new Shell(t, command, copy, LASTING[command])
      lasting.set(command, shell)
      await shell.ready()
      t.pass(`${where}: ${command}`)
      if (command === 'npm start') await answers(t)
    } else {
      printed = await run(t, command, copy)
      t.pass(`${where}: ${command.split('\n')[0]} (${printed.length} characters)`)
    }
  }
  t.equal(await within(lasting.get('npm start')?.ended as Promise<number>, 'the end of npm start'), 0)
})

/** The daemon that npm start has started: ready, and with the metrics that the documents name. */
async function answers(t: Test): Promise<void> {
  const ready = await fetch('http://127.0.0.1:8080/ready')
  t.match([ready.status, await ready.json()], [200, { ready: true }])
  const metrics = await (await fetch('http://127.0.0.1:8080/metrics')).text()
  const named = new Set([...read('README.md').matchAll(/\btrunkline_[a-z_]+/g)].map(([name]) => name))
  t.same(
    [...named].filter(name => !metrics.includes(`# TYPE ${name} `)),
    [],
    'metrics that README names',
  )
}

const DOCUMENTS = ['README.md', 'CONTRIBUTING.md', 'config/README.md', 'protocols/README.md', 'systemd/README.md']
const FILES = [...DOCUMENTS, 'CHANGELOG.md', 'Dockerfile', 'systemd/trunkline.service']

t.test('every command and option of trunkline that a document names is one', async t => {
  // As a word of its own it may also be a user, a service or an image: `-u trunkline`, `--owner trunkline`.
  const use = /(?<!-[a-z] |--owner |systemctl \w+ |\/)\btrunkline ([a-z]+)([^|#&]*)/g
  const uses = FILES.flatMap(file =>
    (file.endsWith('.md') ? codeOf(read(file)) : read(file).split('\n')).flatMap(line =>
      [...line.matchAll(use)].map(([, name = '', rest = '']) => ({
        file,
        name,
        // One of its own commands, where it has any.
        called: [name, ...(/^ ([a-z]+(?:-[a-z]+)?)/.exec(rest)?.slice(1) ?? [])],
        options: rest.match(/--[a-z-]+/g) ?? [],
      })),
    ),
  ).filter(({ name }) => name !== 'help')
  const global = (await trunkline(['--help'])).stdout
  const commands = [...global.matchAll(/^ {2}([a-z]+) {2,}/gm)].map(found => found[1])
  t.ok(uses.length > 15, `${uses.length} uses`)
  t.same(
    uses.filter(({ name }) => !commands.includes(name)),
    [],
  )
  const withOptions = uses.filter(({ options }) => options.length > 0)
  const helps = new Map<string, string>()
  for (const { name, called } of withOptions) {
    const all = called.join(' ')
    if (helps.has(all)) continue
    const help = (await trunkline(['help', name])).stdout
    const isOwn = called[1] !== undefined && new RegExp(`^ {2}${called[1]} `, 'm').test(help)
    helps.set(all, isOwn ? help + (await trunkline([...called, '--help'])).stdout : help)
  }
  const has = (help: string | undefined, option: string): boolean => new RegExp(`${option}[ ,=\\n]`).test(help ?? '')
  t.same(
    uses.flatMap(({ file, name, called, options }) =>
      options
        .filter(option => !has(helps.get(called.join(' ')), option) && !has(global, option))
        .map(o => `${file}: ${name} ${o}`),
    ),
    [],
  )
})

t.test('every setting, variable, script and file that a document names is there', t => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: object }
  const variables = new Set(settings().map(setting => setting.env))
  const keys = new Set(settings().map(setting => setting.key))
  const groups = new Set([...keys].map(key => key.split('.')[0]))
  const wrong: string[] = []
  for (const file of FILES) {
    const document = read(file)
    for (const [name] of document.matchAll(/\bTRUNKLINE_[A-Z_]+\b/g)) {
      if (!variables.has(name)) wrong.push(`${file}: ${name}`)
    }
    for (const [, name = ''] of document.matchAll(/\bnpm run ([a-z:-]+)/g)) {
      if (!(name in scripts)) wrong.push(`${file}: npm run ${name}`)
    }
    if (!file.endsWith('.md')) continue
    for (const [, key = '', group = ''] of document.matchAll(/`(([a-z]+)\.[a-zA-Z]+)`/g)) {
      if (groups.has(group) && !keys.has(key) && !/\.(sock|ts)$/.test(key)) wrong.push(`${file}: ${key}`)
    }
    for (const [, link = ''] of document.matchAll(/\]\(([^)#:]+)\)/g)) {
      if (!existsSync(join(ROOT, dirname(file), link))) wrong.push(`${file}: ${link}`)
    }
  }
  t.same(wrong, [])
  t.end()
})

t.test('every YAML in a document is sound, and gateway files would be applied', t => {
  for (const file of DOCUMENTS) {
    for (const { language, text, line } of blocksOf(read(file))) {
      const written = language === 'yaml' ? text : /<<'EOT'\n([\s\S]*?)^EOT$/m.exec(text)?.[1]
      if (written === undefined || /<<'EOT'\n(?:[A-Z_]+=|From: )/.test(text)) continue
      t.doesNotThrow(() => parse(written), `${file}:${line}`)
      if (/^accounts:/m.test(written)) t.match(parseGateway(written), { ok: true }, `${file}:${line}`)
    }
  }
  t.end()
})
