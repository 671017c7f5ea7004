// Writes config/trunkline.yaml from the schema: every setting with its sentence, bounds and
// default. The test of that file compares it with this text, so neither can drift.

import { writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { stringify } from 'yaml'
import { LIVE_KEYS, settings } from '../src/config.js'

const WIDTH = 118

const HEAD = `Every setting of trunkline serve with its default. Leave out what you do not change. An unknown key is a fault;
'trunkline check --config FILE' names all faults, 'trunkline check --changed' what is not the default. Any setting can
also come from the environment: smpp.enquireLinkMs is TRUNKLINE_SMPP_ENQUIRE_LINK_MS; lists are written with commas.
Numbers carry their unit in the name. A listener takes 'host:port', '[v6]:port' or off; port 0 is any free port.
Relative paths start from the working directory. In brackets: what a value may be. (live): SIGHUP applies it without a
restart.`

export function defaultsYaml(): string {
  const lines = HEAD.split('\n').map(line => `# ${line}`)
  let open: string[] = []
  for (const { key, sentence, expects, preset } of settings()) {
    const groups = key.split('.')
    const leaf = groups.pop()
    let depth = 0
    while (depth < groups.length && groups[depth] === open[depth]) depth++
    if (depth === 0) lines.push('')
    for (; depth < groups.length; depth++) lines.push(`${'  '.repeat(depth)}${groups[depth]}:`)
    open = groups
    const indent = '  '.repeat(groups.length)
    const bounds = expects.replace(/^a whole number from /, '')
    lines.push(...wrapped(`${sentence} [${bounds}]${LIVE_KEYS.includes(key) ? ' (live)' : ''}`, `${indent}# `))
    const value = stringify(preset, { collectionStyle: 'flow', flowCollectionPadding: false, lineWidth: 0 }).trim()
    lines.push(`${indent}${leaf}: ${value}`)
  }
  return `${lines.join('\n')}\n`
}

function wrapped(text: string, prefix: string): string[] {
  const lines = [prefix.trimEnd()]
  for (const word of text.split(' ')) {
    const last = lines.length - 1
    if (`${lines[last]} ${word}`.length > WIDTH) lines.push(`${prefix}${word}`)
    else lines[last] += ` ${word}`
  }
  return lines
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  writeFileSync(new URL('../../config/trunkline.yaml', import.meta.url), defaultsYaml())
}
