// Settings as they are written: YAML file, then environment, then the command line's overrides, with all faults at once
// and where each stands. Knows nothing of a single setting.

import { readFileSync } from 'node:fs'
import { isFaulty, readTls } from '../../protocols/net/certificate.js'
import { writtenAsJson, yaml } from '../base/yaml.js'
import {
  type Config,
  type ConfigInput,
  isLoopback,
  type Setting,
  schema,
  settings,
  TLS_GROUPS,
  tlsFiles,
} from '../config.js'

export interface ConfigFault {
  /** The setting (`smpp.window`), the variable (`TRUNKLINE_SMPP_WINDO`), or '' for the file as a whole. */
  path: string
  message: string
  file?: string
  line?: number
}

export type LoadedConfig = { ok: true; config: Config } | { ok: false; faults: ConfigFault[] }

type Tree = Record<string, unknown>

/**
 * Settings from the YAML file, over them the environment (`TRUNKLINE_SMPP_LISTEN`; lists with commas, an empty
 * value is null), over them `overrides`. An unknown key, in file or environment, is a fault as a bad value is.
 */
export function loadConfig(from: {
  file?: string | undefined
  env: Readonly<Record<string, string | undefined>>
  overrides?: ConfigInput
  /** The files that settings name are looked into too: for whoever will use them, for others may not read a key. */
  files?: boolean
}): LoadedConfig {
  const faults: ConfigFault[] = []
  const source = readSource(from.file, faults)
  const tree = source.tree
  const fromEnv = new Map<string, string>()
  for (const [name, value] of Object.entries(from.env)) {
    if (!name.startsWith('TRUNKLINE_') || value === undefined) continue
    const setting = settings().find(one => one.env === name)
    if (setting === undefined) {
      faults.push({ path: name, message: 'is no setting' })
      continue
    }
    put(tree, setting.key, fromText(setting, value))
    fromEnv.set(setting.key, name)
  }
  const given = new Set<string>()
  for (const { key } of Object.keys(from.overrides ?? {}).length > 0 ? settings() : []) {
    const value = at(from.overrides, key)
    if (value === undefined) continue
    put(tree, key, value)
    given.add(key)
  }

  // Once in a life of the process: code made for it would not pay.
  const result = schema.safeParse(tree, { jitless: true })
  if (from.files === true) {
    for (const group of TLS_GROUPS) {
      const files = tlsFiles.safeParse(at(tree, group) ?? {})
      const read = files.success ? readTls(files.data) : null
      if (!isFaulty(read)) continue
      for (const { setting, message } of read) {
        const key = `${group}.${setting}`
        const variable = fromEnv.get(key)
        if (variable === undefined) faults.push({ path: key, message, ...source.position(key.split('.')) })
        else faults.push({ path: key, message: `${message} (from ${variable})` })
      }
    }
  }
  if (result.success && !result.data.admin.apiKeyRequired && !isLoopback(result.data.admin.listen)) {
    const key = 'admin.apiKeyRequired'
    const message = `may be false only while admin.listen is on this machine alone (127.0.0.1, [::1], localhost), and it is ${result.data.admin.listen}`
    faults.push({ path: key, message, ...(fromEnv.has(key) ? {} : source.position(key.split('.'))) })
  }
  if (result.success && faults.length === 0) return { ok: true, config: result.data }
  for (const issue of result.error?.issues ?? []) {
    const path = issue.path.join('.')
    if (issue.code === 'unrecognized_keys') {
      for (const name of issue.keys) {
        const key = path === '' ? name : `${path}.${name}`
        faults.push({ path: key, message: 'is no setting', ...source.position([...issue.path, name]) })
      }
      continue
    }
    const setting = settings().find(one => path === one.key || path.startsWith(`${one.key}.`))
    const key = setting?.key ?? path
    if (faults.some(fault => fault.path === key)) continue
    const message = setting === undefined ? 'must be a group of settings' : wanted(setting, at(tree, key))
    const variable = fromEnv.get(key)
    if (given.has(key)) faults.push({ path: key, message: `${message} (from the command line)` })
    else if (variable !== undefined) faults.push({ path: key, message: `${message} (from ${variable})` })
    else faults.push({ path: key, message, ...source.position(issue.path) })
  }
  return { ok: false, faults: faults.sort((a, b) => (a.line ?? Infinity) - (b.line ?? Infinity)) }
}

/** A fault as one line for people. */
export function faultLine(fault: ConfigFault): string {
  const place = fault.file === undefined ? '' : `${fault.file}${fault.line === undefined ? '' : `:${fault.line}`}: `
  return place + (fault.path === '' ? '' : `${fault.path} `) + fault.message
}

/** Settings in which `config` differs from `base`, or from the defaults. */
export function differences(config: Config, base?: Config): { setting: Setting; value: unknown; was: unknown }[] {
  return settings()
    .map(setting => ({
      setting,
      value: at(config, setting.key),
      was: base === undefined ? setting.preset : at(base, setting.key),
    }))
    .filter(({ value, was }) => JSON.stringify(value) !== JSON.stringify(was))
}

interface Source {
  tree: Tree
  /** File and line of what stands at a path, if it came from the file. */
  position(path: readonly PropertyKey[]): { file?: string; line?: number }
}

function readSource(file: string | undefined, faults: ConfigFault[]): Source {
  if (file === undefined) return { tree: {}, position: () => ({}) }
  let written: string
  try {
    written = readFileSync(file, 'utf8')
  } catch (error) {
    faults.push({ path: '', message: `cannot be read: ${(error as NodeJS.ErrnoException).code}`, file })
    return { tree: {}, position: () => ({}) }
  }
  const json = writtenAsJson(written)
  if (!isTree(json)) return fromYaml(written, file, faults)
  dropEmptyGroups(json, '')
  return { tree: json, position: path => fromYaml(written, file, []).position(path) }
}

function fromYaml(written: string, file: string, faults: ConfigFault[]): Source {
  const { LineCounter, parseDocument } = yaml()
  const lines = new LineCounter()
  const document = parseDocument(written, { lineCounter: lines, prettyErrors: false })
  for (const error of document.errors) {
    faults.push({ path: '', message: `is not YAML: ${error.message}`, file, line: lines.linePos(error.pos[0]).line })
  }
  const position = (path: readonly PropertyKey[]): { file: string; line?: number } => {
    // A key that is not there has no line: its group's line is the nearest.
    for (let depth = path.length; depth > 0; depth--) {
      const parent: unknown = document.getIn(path.slice(0, depth - 1), true)
      const items = (parent as { items?: { key?: { value?: unknown; range?: [number, ...unknown[]] } }[] } | undefined)
        ?.items
      const start = items?.find(item => item.key?.value === path[depth - 1])?.key?.range?.[0]
      if (start !== undefined) return { file, line: lines.linePos(start).line }
    }
    return { file }
  }
  if (document.errors.length > 0) return { tree: {}, position }
  let tree: unknown
  try {
    tree = document.toJS()
  } catch (error) {
    // An alias without its anchor, such as an unquoted *:2775.
    faults.push({ path: '', message: `is not YAML: ${(error as Error).message}`, file })
    return { tree: {}, position }
  }
  if (tree === null) return { tree: {}, position }
  if (!isTree(tree)) {
    faults.push({ path: '', message: 'must hold settings by name', file, line: 1 })
    return { tree: {}, position }
  }
  dropEmptyGroups(tree, '')
  return { tree, position }
}

/** A group whose settings are all commented out reads as null. */
function dropEmptyGroups(tree: Tree, prefix: string): void {
  for (const [name, value] of Object.entries(tree)) {
    if (value === null && isGroup(`${prefix}${name}`)) delete tree[name]
    else if (isTree(value)) dropEmptyGroups(value, `${prefix}${name}.`)
  }
}

const isGroup = (name: string): boolean => settings().some(({ key }) => key.startsWith(`${name}.`))

/** A variable's text as the schema wants it; text that cannot be read stays text, and the schema refuses it. */
function fromText(setting: Setting, value: string): unknown {
  if (setting.nullable && (value === '' || value === 'null')) return null
  if (setting.kind === 'number') return /^-?[0-9]+$/.test(value) ? Number(value) : value
  if (setting.kind === 'boolean') return value === 'true' ? true : value === 'false' ? false : value
  if (setting.kind === 'list') return value === '' ? [] : value.split(',').map(part => part.trim())
  return value
}

function wanted(setting: Setting, value: unknown): string {
  return `must be ${setting.expects}${setting.secret ? '' : `, not ${JSON.stringify(value)}`}`
}

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function at(tree: unknown, key: string): unknown {
  return key.split('.').reduce<unknown>((node, name) => (isTree(node) ? node[name] : undefined), tree)
}

/** A group that is no group stays as it is, and the schema refuses it. */
function put(tree: Tree, key: string, value: unknown): void {
  const groups = key.split('.')
  const leaf = groups.pop() as string
  let group = tree
  for (const name of groups) {
    group[name] ??= {}
    const inner = group[name]
    if (!isTree(inner)) return
    group = inner
  }
  group[leaf] = value
}
