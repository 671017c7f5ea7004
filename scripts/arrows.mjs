// The rules of the house that a compiler does not know: which folder may import from which,
// who may read the environment and the clock, and that tests await events instead of sleeping.
// Run, it reads the tree and prints each fault as file:line; imported, it judges a map of files.

import { readdirSync, readFileSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { dirname, join, posix } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import ts from 'typescript'

/** From left to right; a place imports from places to its left and from itself. Places of one row do not see each other. */
const ORDER = [
  ['base'],
  ['model'],
  ['protocols'],
  ['store'],
  ['accounts', 'routing'],
  ['spool'],
  ['carriers'],
  ['dispatch'],
  ['intake'],
  ['returns'],
  ['services'],
  ['admin'],
  ['daemon'],
  ['cli'],
]

/** Left of them all the same, and still not theirs. */
const CLOSED = {
  protocols: ['base', 'model'],
  carriers: ['spool', 'store', 'accounts'],
  intake: ['carriers', 'dispatch'],
}

/** config.ts knows what a setting is, not what it is for. */
const CONFIG_READS = ['base', 'model', 'protocols']
const CONFIG_READERS = ['daemon', 'cli']

/** Foreign packages on the wire: all others are ours to write. */
const PROTOCOL_PACKAGES = { 'protocols/smtp': ['smtp-server', 'mailparser', 'nodemailer'] }

const RANK = new Map(ORDER.flatMap((places, rank) => places.map(place => [place, rank])))

/**
 * @param {ReadonlyMap<string, string>} files text by path from the root, with forward slashes
 * @returns {{ file: string, line: number, message: string }[]}
 */
export function faults(files) {
  const found = []
  for (const [file, text] of files) {
    const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true)
    const place = placeOf(file)
    const add = (node, message) => {
      found.push({ file, line: source.getLineAndCharacterOfPosition(node.getStart()).line + 1, message })
    }
    if (place === null && file.startsWith('src/')) add(source, 'stands in no place that the arrows name')
    visit(source, node => {
      const specifier = specifierOf(node)
      if (specifier !== null && place !== null) {
        const message = importFault(file, place, specifier.text)
        if (message !== null) add(specifier, message)
      }
      if (place !== null && !readsWorld(file, place)) {
        const message = worldFault(node)
        if (message !== null) add(node, message)
      }
      if (/^test\/[^/]+\.test\.ts$/.test(file)) {
        const message = testFault(node)
        if (message !== null) add(node, message)
      }
    })
  }
  return found
}

/** @returns {string | null} null for tests, scripts and types, and for what stands directly in src/ without a name in the order */
function placeOf(file) {
  if (file.startsWith('protocols/')) return 'protocols'
  const name = /^src\/([^/]+?)(?:\.ts)?(?:\/|$)/.exec(file)?.[1]
  return name !== undefined && (RANK.has(name) || name === 'config') ? name : null
}

function importFault(file, place, specifier) {
  if (!specifier.startsWith('.')) {
    if (place !== 'protocols' || isBuiltin(specifier)) return null
    const allowed = PROTOCOL_PACKAGES[file.split('/').slice(0, 2).join('/')] ?? []
    const isAllowed = allowed.some(name => specifier === name || specifier.startsWith(`${name}/`))
    return isAllowed ? null : `protocols imports no package: ${specifier}`
  }
  const target = posix.join(posix.dirname(file), specifier).replace(/\.js$/, '.ts')
  if (target === 'package.json') return null
  const to = placeOf(target)
  if (to === place) return null
  if (to === null) return `${place} imports ${target}, which is outside the house`
  if (to === 'config')
    return CONFIG_READERS.includes(place) ? null : `${place} imports config: it is given the values it needs`
  if (place === 'config') return CONFIG_READS.includes(to) ? null : `config imports ${to}`
  if (RANK.get(to) >= RANK.get(place)) return `${place} imports ${to}, which is not to its left`
  return CLOSED[place]?.includes(to) ? `${place} imports ${to}, which is closed to it` : null
}

/** The string of an import, a re-export, import() or an import type. */
function specifierOf(node) {
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) return node.moduleSpecifier ?? null
  if (ts.isImportTypeNode(node)) return node.argument.literal ?? null
  if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
    const [argument] = node.arguments
    return argument !== undefined && ts.isStringLiteralLike(argument) ? argument : null
  }
  return null
}

// ---- environment, clock, exit

const WORLD = {
  process: ['env', 'exit', 'hrtime', 'uptime'],
  Date: ['now'],
  performance: ['now', 'timeOrigin'],
}

function readsWorld(file, place) {
  return place === 'cli' || place === 'config' || file === 'src/base/clock.ts'
}

function worldFault(node) {
  if (ts.isNewExpression(node) && node.expression.getText() === 'Date' && (node.arguments?.length ?? 0) === 0) {
    return 'reads the clock: new Date()'
  }
  if (ts.isCallExpression(node) && node.expression.getText() === 'Date') return 'reads the clock: Date()'
  if (ts.isPropertyAccessExpression(node)) {
    const owner = node.expression.getText().replace(/^globalThis\./, '')
    if (WORLD[owner]?.includes(node.name.text)) {
      const what = { env: 'the environment', exit: 'the exit' }[node.name.text] ?? 'the clock'
      return `uses ${what}: ${owner}.${node.name.text}`
    }
  }
  if (ts.isImportDeclaration(node) && ['node:process', 'process'].includes(node.moduleSpecifier.text)) {
    return 'imports node:process: the global one is what this check can read'
  }
  return null
}

// ---- tests

function testFault(node) {
  if (ts.isCallExpression(node) && /^(?:globalThis\.)?setTimeout$/.test(node.expression.getText())) {
    return 'a test awaits the event, not a delay: setTimeout'
  }
  if (ts.isImportDeclaration(node) && /^(?:node:)?timers/.test(node.moduleSpecifier.text)) {
    return `a test awaits the event, not a delay: ${node.moduleSpecifier.text}`
  }
  if (ts.isPropertyAccessExpression(node) && ['t.only', 'Atomics.wait'].includes(node.getText())) {
    return `${node.getText()} does not stay in a test`
  }
  return null
}

function visit(node, look) {
  look(node)
  ts.forEachChild(node, child => visit(child, look))
}

// ---- run on the tree

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const root = dirname(dirname(fileURLToPath(import.meta.url)))
  const files = new Map()
  for (const folder of ['protocols', 'src', 'test']) {
    for (const name of readdirSync(join(root, folder), { recursive: true }).map(String)) {
      const path = posix.join(folder, name.replaceAll('\\', '/'))
      if (path.endsWith('.ts')) files.set(path, readFileSync(join(root, path), 'utf8'))
    }
  }
  const found = faults(files)
  for (const { file, line, message } of found) console.log(`${file}:${line}  ${message}`)
  process.exitCode = found.length > 0 ? 1 : 0
}
