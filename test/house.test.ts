// The house around the code: import arrows, the reading of settings, the command line's exit
// codes, the log, and the runner that decides whether a test has passed.

import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { defaultsYaml } from '../scripts/defaults.js'
import { createLog } from '../src/base/log.js'
import { writtenAsJson } from '../src/base/yaml.js'
import { ask } from '../src/cli/ask.js'
import { adminSocketFault, adminSocketPath, prepareAdminSocket } from '../src/config/adminSocket.js'
import { differences, faultLine, loadConfig } from '../src/config/loading.js'
import { LIVE_KEYS, parseListen, settings } from '../src/config.js'

const root = fileURLToPath(new URL('../../', import.meta.url))
const entry = join(root, 'dist', 'src', 'cli.js')

/** A folder that is gone after the test. */
function folder(t: Test): string {
  const made = mkdtempSync(join(tmpdir(), 'house-'))
  t.teardown(() => rmSync(made, { recursive: true, force: true }))
  return made
}

function script<Exports>(name: string): Promise<Exports> {
  return import(join(root, 'scripts', name)) as Promise<Exports>
}

/** The command line as a process, in an environment with nothing of ours but `env`. */
function trunkline(
  args: string[],
  env: Record<string, string> = {},
): { code: number | null; out: string; err: string } {
  const run = spawnSync(process.execPath, [entry, ...args], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, TMPDIR: tmpdir(), ...env },
  })
  return { code: run.status, out: run.stdout, err: run.stderr }
}

/** False for a zombie too, which its new parent may be slow to collect. */
function lives(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return !existsSync('/proc/self/cmdline') || readFileSync(`/proc/${pid}/cmdline`, 'latin1') !== ''
  } catch {
    return false
  }
}

t.test('arrows', async t => {
  type Faults = (files: ReadonlyMap<string, string>) => { file: string; line: number; message: string }[]
  const { faults } = await script<{ faults: Faults }>('arrows.mjs')
  const found = (file: string, text: string) =>
    faults(new Map([[file, text]])).map(fault => `${fault.line} ${fault.message}`)

  t.test('an import to the right is found, with its line', async t => {
    const text = "// a comment\nimport { a } from '../model/a.js'\nimport type { b } from '../dispatch/b.js'\n"
    t.same(found('src/store/x.ts', text), ['3 store imports dispatch, which is not to its left'])
  })
  t.test('every form of import is seen, and words in strings and comments are not', async t => {
    for (const form of [
      "import '../cli/x.js'",
      "export { x } from '../cli/x.js'",
      "export * from '../cli/x.js'",
      "const x = await import('../cli/x.js')",
      "type X = import('../cli/x.js').X",
    ]) {
      t.equal(found('src/base/x.ts', form).length, 1, form)
    }
    t.same(found('src/base/x.ts', "// import '../cli/x.js'\nconst s = \"import '../cli/x.js'\""), [])
  })
  t.test('each rule refuses what it is for', async t => {
    for (const [file, text] of [
      ['protocols/smpp/x.ts', "import '../../src/base/clock.js'"],
      ['protocols/smpp/x.ts', "import 'lodash'"],
      ['src/accounts/x.ts', "import '../routing/x.js'"],
      ['src/carriers/smpp/x.ts', "import '../../spool/x.js'"],
      ['src/carriers/x.ts', "import '../store/x.js'"],
      ['src/intake/x.ts', "import '../dispatch/x.js'"],
      ['src/spool/x.ts', "import '../config.js'"],
      ['src/config.ts', "import './store/x.js'"],
      ['src/utils/x.ts', ''],
      ['src/spool/x.ts', "import '../../test/support/x.js'"],
      ['src/spool/x.ts', 'const a = Date.now()'],
      ['src/spool/x.ts', 'const a = new Date()'],
      ['src/spool/x.ts', 'const a = globalThis.performance.now()'],
      ['src/daemon.ts', 'process.exit(1)'],
      ['protocols/smpp/x.ts', 'const a = process.env.HOME'],
      ['src/base/x.ts', "import { env } from 'node:process'"],
      ['test/x.test.ts', 'await new Promise(r => setTimeout(r, 10))'],
      ['test/x.test.ts', "import { setTimeout as delay } from 'node:timers/promises'"],
      ['test/x.test.ts', "t.only('x')"],
    ] as const) {
      t.equal(found(file, text).length, 1, `${file}: ${text}`)
    }
  })
  t.test('what the arrows allow is not refused', async t => {
    for (const [file, text] of [
      ['protocols/smpp/x.ts', "import { a } from './a.js'\nimport { b } from '../gsm/b.js'\nimport 'node:net'"],
      ['src/spool/lmdb/x.ts', "import '../contract.js'\nimport 'lmdb'\nimport '../../../protocols/smpp/pdu.js'"],
      ['src/daemon.ts', "import './config.js'\nimport './admin/x.js'"],
      ['src/cli/x.ts', "import '../config.js'\nconst a = process.env.HOME\nprocess.exit(1)"],
      ['src/base/clock.ts', 'const a = Date.now()'],
      ['src/spool/x.ts', 'const a = new Date(0)\nconst b = { now: 1 }.now\nsetTimeout(() => {}, 1)'],
      ['test/support/x.ts', 'setTimeout(() => {}, 1)'],
      ['test/x.test.ts', "import '../src/daemon.js'\nprocess.env.HOME"],
    ] as const) {
      t.same(found(file, text), [], `${file}: ${text}`)
    }
  })
})

t.test('settings', async t => {
  const load = (t: Test, yaml: string, env: Record<string, string> = {}) => {
    const file = join(folder(t), 'trunkline.yaml')
    writeFileSync(file, yaml)
    const loaded = loadConfig({ file, env })
    return loaded.ok ? loaded.config : loaded.faults.map(fault => faultLine(fault).replace(file, 'FILE'))
  }

  t.test('config/trunkline.yaml is what the schema says, and reads back as the defaults', async t => {
    const file = join(root, 'config', 'trunkline.yaml')
    t.equal(readFileSync(file, 'utf8'), defaultsYaml(), 'run `npm run defaults` after a change of settings')
    const loaded = loadConfig({ file, env: {} })
    t.ok(loaded.ok)
    if (loaded.ok) t.same(differences(loaded.config), [])
  })
  t.test('every setting has a sentence, bounds, a default that it takes, and a variable of its own', async t => {
    for (const { key, sentence, expects, preset } of settings()) {
      t.match(sentence, /^[A-Z].+\.$/, key)
      t.notMatch(expects, /undefined/, key)
      t.not(preset, undefined, key)
    }
    t.equal(new Set(settings().map(({ env }) => env)).size, settings().length)
    t.ok(LIVE_KEYS.every(key => settings().some(setting => setting.key === key)))
  })
  t.test('all faults come at once, each with its line or its variable', async t => {
    const yaml = [
      'smpp:',
      '  listen: 2775',
      '  windw: 5',
      '  window: 0',
      'smtp: 3',
      'redis:',
      '  url: redis://127.0.0.1',
      'log: { level: loud }',
      'colour: red',
      '',
    ].join('\n')
    t.same(
      load(t, yaml, { TRUNKLINE_NODE: '64', TRUNKLINE_SMPP_LISTN: 'off', TRUNKLINE_ADMIN_KEY: 'short', OTHER: 'x' }),
      [
        "FILE:2: smpp.listen must be 'host:port', '[v6]:port' or off, not 2775",
        'FILE:3: smpp.windw is no setting',
        'FILE:4: smpp.window must be a whole number from 1 to 100000, not 0',
        'FILE:5: smtp must be a group of settings',
        'FILE:7: redis.url must be null: this release stores in LMDB only',
        'FILE:8: log.level must be one of debug, info, warn, error, not "loud"',
        'FILE:9: colour is no setting',
        'TRUNKLINE_SMPP_LISTN is no setting',
        'node must be a whole number from 0 to 63, not 64 (from TRUNKLINE_NODE)',
        'admin.key must be null or at least 16 characters (from TRUNKLINE_ADMIN_KEY)',
      ],
    )
  })
  t.test('a file that is no YAML, or no map, is a fault and not an exception', async t => {
    t.match(load(t, 'smpp:\n  listen: [::1\n'), [/^FILE:\d+: is not YAML/])
    t.match(load(t, 'smpp:\n  listen: *:2775\n'), [/^FILE: is not YAML/])
    t.match(load(t, 'node: 1\nnode: 2\n'), [/^FILE:\d: is not YAML/])
    t.same(load(t, '- a\n'), ['FILE:1: must hold settings by name'])
    t.match(loadConfig({ file: join(folder(t), 'none.yaml'), env: {} }), { ok: false, faults: [{ message: /ENOENT/ }] })
  })
  t.test('JSON is read as the YAML that it is: a key twice is a fault, and faults have their lines', async t => {
    t.match(load(t, '{"node":5,"smpp":{"listen":"off"},"smtp":null}'), { node: 5, smpp: { listen: 'off' } })
    t.match(load(t, '{"node":1,"node":2}'), [/^FILE:1: is not YAML/])
    t.same(load(t, '{"node":64,"smpp":3,"smpq":{}}'), [
      'FILE:1: node must be a whole number from 0 to 63, not 64',
      'FILE:1: smpp must be a group of settings',
      'FILE:1: smpq is no setting',
    ])
    // Only what JSON would write just so is told without the rest of YAML.
    t.same(writtenAsJson('{"a":[1,"\\u001f"],"b":null}'), { a: [1, '\u001f'], b: null })
    for (const text of [
      '{ "a": 1 }',
      '{"a":1.0}',
      '{"a":1e2}',
      '{"a":1,"a":1}',
      '{"2":1,"1":1}',
      '{a: 1}',
      '[1]',
      '',
    ]) {
      t.equal(writtenAsJson(text), undefined, text)
    }
  })
  t.test('an empty file, and a group with nothing in it, are the defaults', async t => {
    const config = load(t, 'smpp:\n  # listen: off\nnode: 5\n')
    t.match(config, { node: 5, smpp: { listen: '127.0.0.1:2775' } })
    t.match(load(t, ''), { node: 0 })
  })
  t.test('the environment goes over the file, and the command line over both', async t => {
    const file = join(folder(t), 'x.yaml')
    writeFileSync(file, 'node: 1\ndataDir: /from/file\nspool: { reserveMb: 1, mapGb: 2 }\n')
    const env = {
      TRUNKLINE_NODE: '2',
      TRUNKLINE_SPOOL_RESERVE_MB: '7',
      TRUNKLINE_SMPP_LISTEN: '[::1]:0',
      TRUNKLINE_SMTP_SMS_DOMAINS: 'a.example, b.example',
      TRUNKLINE_ADMIN_METRICS_ACCOUNTS: '',
      TRUNKLINE_BOOTSTRAP: '',
      TRUNKLINE_LOG_PRETTY: 'true',
    }
    t.match(loadConfig({ file, env, overrides: { node: 3 } }), {
      ok: true,
      config: {
        node: 3,
        dataDir: '/from/file',
        bootstrap: null,
        spool: { reserveMb: 7, mapGb: 2 },
        smpp: { listen: '[::1]:0' },
        smtp: { smsDomains: ['a.example', 'b.example'] },
        admin: { metricsAccounts: [] },
        log: { pretty: true },
      },
    })
    t.match(loadConfig({ env: {}, overrides: { node: 99 } }), { ok: false, faults: [{ message: /command line/ }] })
  })
  t.test('a listen address is a host and a port, or off', async t => {
    t.same(parseListen('127.0.0.1:2775'), { host: '127.0.0.1', port: 2775 })
    t.same(parseListen('[::1]:0'), { host: '::1', port: 0 })
    t.same(parseListen('gateway.example:65535'), { host: 'gateway.example', port: 65535 })
    t.equal(parseListen('off'), null)
    for (const wrong of ['', '2775', ':2775', 'host:', 'host:65536', '::1:2775', '[::1]', 'a b:1', 'http://a:1']) {
      t.equal(parseListen(wrong), undefined, wrong)
    }
  })
  t.test('the socket of a data directory fits sun_path, by whatever name the directory goes', async t => {
    const dir = folder(t)
    t.equal(adminSocketPath(dir), join(dir, 'admin.sock'))
    const deep = join(dir, 'd'.repeat(60), 'e'.repeat(60))
    mkdirSync(deep, { recursive: true })
    const other = join(dir, 'l'.repeat(120))
    symlinkSync(deep, other)
    t.ok(adminSocketPath(deep).length <= 103)
    t.equal(adminSocketPath(other), adminSocketPath(deep))
    t.equal(adminSocketFault(dir), null)
  })
  t.test('a short folder that others may enter is not trusted with the socket', async t => {
    const dir = folder(t)
    const deep = join(dir, 'd'.repeat(120))
    mkdirSync(deep)
    t.equal(prepareAdminSocket(deep, dir), null)
    chmodSync(join(adminSocketPath(deep, dir), '..'), 0o755)
    t.match(adminSocketFault(deep, dir), /mode 0700/)
    t.match(prepareAdminSocket(deep, dir), /mode 0700/)
  })
})

t.test('commands', async t => {
  t.test('a sound configuration ends with 0, and --changed prints what is not the default, but no secret', async t => {
    const { code, out } = trunkline(['check', '--changed'], {
      TRUNKLINE_SMPP_WINDOW: '10',
      TRUNKLINE_ADMIN_KEY: 'a-key-that-is-long-enough',
      TRUNKLINE_DATABASE_URL: 'postgres://u:hidden@h/d',
    })
    t.equal(code, 0)
    t.equal(
      out,
      'smpp.window: 10  # default 500\nadmin.key: "(set)"  # default null\ndatabase.url: "(set)"  # default null\n',
    )
  })
  t.test('faults end with 2 and are all printed', async t => {
    const { code, err } = trunkline(['check'], { TRUNKLINE_NODE: 'x', TRUNKLINE_NO: '1' })
    t.equal(code, 2)
    t.equal(err.trim().split('\n').length, 2)
    const json = trunkline(['check', '--json'], { TRUNKLINE_NODE: 'x' })
    t.match(JSON.parse(json.out), { ok: false, faults: [{ path: 'node' }] })
  })
  t.test('bad usage ends with 2, help and version with 0', async t => {
    t.equal(trunkline(['no-such-command']).code, 2)
    t.equal(trunkline(['check', '--no-such-option']).code, 2)
    t.equal(trunkline([]).code, 2)
    t.match(trunkline(['--help']), { code: 0, out: /check +check the configuration/ })
    t.match(trunkline(['help', 'check']), { code: 0, out: /--changed/ })
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
    t.match(trunkline(['--version']), { code: 0, out: version })
  })

  t.test(
    'serve loads the daemon once its settings are sound, and nothing large before a setting or a row asks for it',
    async t => {
      const text = `import(process.argv[1]).then(() => console.log(Object.keys(require.cache).join()))`
      const loaded = (...file: string[]): string =>
        spawnSync(process.execPath, ['-e', text, join(root, 'dist', 'src', ...file)], { encoding: 'utf8' }).stdout
      const serve = loaded('cli', 'serve.js')
      t.match(serve, '/node_modules/pino/')
      for (const name of ['fastify', 'lmdb', 'pg', 'yaml']) t.notMatch(serve, `/node_modules/${name}/`)
      const daemon = loaded('daemon.js')
      t.match(daemon, '/node_modules/fastify/')
      for (const name of ['undici', 'mailparser', 'smtp-server', 'libphonenumber-js', 'ajv', 'pino-pretty', 'yaml']) {
        t.notMatch(daemon, `/node_modules/${name}/`)
      }
    },
  )
})

t.test('asking a daemon', async t => {
  /** A configuration whose data directory is new, and a server in the daemon's place that answers with `reply`. */
  const daemon = async (t: Test, reply: (request: IncomingMessage) => [status: number, body: unknown]) => {
    const dataDir = folder(t)
    const config = join(dataDir, 'trunkline.yaml')
    writeFileSync(config, `dataDir: ${dataDir}\nadmin: { key: a-key-that-is-long-enough }\n`)
    const server = createServer((request, response) => {
      const [status, body] = reply(request)
      response.writeHead(status, { 'content-type': 'application/problem+json' }).end(JSON.stringify(body))
    })
    return { config, dataDir, server }
  }
  const open = (t: Test, server: Server, ...where: [string] | [number, string]) => {
    t.teardown(() => server.close())
    return new Promise<void>(resolve => server.listen(...(where as [string]), resolve))
  }

  t.test('the answer comes over the socket of the data directory', async t => {
    const { config, dataDir, server } = await daemon(t, ({ method, url }) => [200, { method, url }])
    await open(t, server, adminSocketPath(dataDir))
    t.same(await ask({ config }, { method: 'POST', path: '/api/v1/x?y=1', body: {} }), {
      method: 'POST',
      url: '/api/v1/x?y=1',
    })
  })
  t.test('over the network the key of the configuration goes along, or the one given', async t => {
    const { config, server } = await daemon(t, ({ url, headers }) => [200, [url, headers.authorization]])
    await open(t, server, 0, '127.0.0.1')
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/behind/`
    t.same(await ask({ config, url }, { path: '/a' }), ['/behind/a', 'Bearer a-key-that-is-long-enough'])
    t.same(await ask({ config, url, key: 'k' }, { path: '/a' }), ['/behind/a', 'Bearer k'])
  })
  t.test('a problem is told in its own words, a refused key by what to do', async t => {
    let status = 409
    const { config, dataDir, server } = await daemon(t, () => [
      status,
      { title: 'Conflict', detail: 'the account has binds' },
    ])
    await open(t, server, adminSocketPath(dataDir))
    await t.rejects(ask({ config }, { path: '/' }), { exit: 1, message: 'the account has binds' })
    status = 401
    await t.rejects(ask({ config }, { path: '/' }), { exit: 1, message: /--key/ })
  })
  t.test('without a daemon, the sentence names the data directory and what to do', async t => {
    const { config, dataDir } = await daemon(t, () => [200, {}])
    await t.rejects(ask({ config }, { path: '/' }), { exit: 1, message: `no daemon answers in ${dataDir}: start it` })
    await t.rejects(ask({ config, url: 'ftp://x' }, { path: '/' }), { exit: 2, message: /--url/ })
  })
})

t.test('log', async t => {
  const lines: string[] = []
  const log = createLog({ level: 'info', pretty: false, to: { write: line => lines.push(line) } })
  const take = () => lines.splice(0).map(line => JSON.parse(line) as Record<string, unknown>)

  t.test('secrets and message texts are not in a line, at whatever depth', async t => {
    log.child({ apiKey: 'seen-1' }).info(
      {
        password: 'seen-2',
        deep: [{ short_message: 'seen-3', text: 'seen-4' }],
        raw: Buffer.from('seen-5'),
        kept: 7,
      },
      'bound',
    )
    const line = lines.join('')
    t.notMatch(line, /seen/)
    t.match(take(), [{ level: 'info', msg: 'bound', kept: 7 }])
  })
  t.test('a change of level reaches the children that exist', async t => {
    const child = log.child({ carrier: 'up' })
    child.debug({}, 'before')
    log.setLevel('debug')
    child.debug({}, 'after')
    t.ok(child.writes('debug'))
    t.match(take(), [{ level: 'debug', carrier: 'up', msg: 'after' }])
  })
  t.test('an error is written with its stack', async t => {
    log.error({ err: new Error('boo') }, 'failed')
    t.match(take(), [{ err: { message: 'boo', stack: /house\.test/ } }])
  })
})

t.test('the test runner', async t => {
  interface Result {
    passed: number
    faults: string[]
    skips: string[]
    log: string
  }
  type Run = (file: string, options: { temp: string; limitMs: number; graceMs: number }) => Promise<Result>
  const { runTestFile } = await script<{ runTestFile: Run }>('testfile.mjs')
  const run = (t: Test, text: string, limitMs = 20_000) => {
    const temp = folder(t)
    const file = join(temp, 'x.mjs')
    writeFileSync(file, text)
    return runTestFile(file, { temp, limitMs, graceMs: 0 })
  }
  const tap = (...lines: string[]) =>
    `process.stdout.write(${JSON.stringify(`TAP version 14\n${lines.join('\n')}\n`)})\n`

  t.test('assertions are counted at every depth, and the skipped by name', async t => {
    const text = tap(
      '# Subtest: a',
      '    ok 1 - b',
      '    ok 2 - c # SKIP no server',
      '    1..2',
      'ok 1 - a',
      'ok 2 - d',
      '1..2',
    )
    t.same(await run(t, text), { passed: 2, faults: [], skips: ['a > c: skipped, no server'], log: '' })
  })
  t.test('a failure is told with what differs, and what was printed is kept', async t => {
    const text = tap('not ok 1 - equal', '  ---', '  diff: |', '    -2', '    +1', '  ...', '1..1')
    const { passed, faults, log } = await run(t, `console.error('a note')\n${text}process.exitCode = 1`)
    t.equal(passed, 0)
    t.match(faults, [/^equal\n-2\n\+1/])
    t.match(log, 'a note')
  })
  t.test('a file that skips itself is skipped, not failed', async t => {
    t.match(await run(t, tap('1..0 # SKIP no server')), { passed: 0, faults: [], skips: ['no server'] })
  })
  for (const [what, text, fault] of [
    ['that crashes after its tests', `${tap('ok 1 - a', '1..1')}process.exitCode = 7`, /ended with code 7/],
    ['that is killed', `${tap('ok 1 - a', '1..1')}process.kill(process.pid, 'SIGSEGV')`, /killed by SIGSEGV/],
    ['that runs fewer tests than planned', tap('1..2', 'ok 1 - a'), /plan|missing|test/i],
    ['that prints nothing', '', /has no tests/],
    ['that does not load', "import './none.mjs'", /ended with code 1/],
  ] as const) {
    t.test(`a file ${what} has failed`, async t => {
      const { faults, log } = await run(t, text)
      t.match(faults, [fault], log)
    })
  }
  t.test('a file that does not end is killed and has failed', async t => {
    t.match((await run(t, `${tap('ok 1 - a')}setInterval(() => {}, 1000)`, 400)).faults, [/did not end within 0.4 s/])
  })
  t.test('a process that a file leaves running is ended, and is a failure', async t => {
    const text = `import { spawn } from 'node:child_process'
      const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { detached: true, stdio: 'inherit' })
      child.unref()
      process.stdout.write('ok 1 - ' + child.pid + '\\n1..1\\n')`
    const { passed, faults } = await run(t, text)
    t.equal(passed, 1)
    t.match(faults, [/^left running: \d+ /])
    t.notOk(lives(Number(/\d+/.exec(faults[0] ?? '')?.[0])))
  })
})
