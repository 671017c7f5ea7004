// The text format of Prometheus, version 0.0.4, read strictly: what promtool would complain of
// is thrown, and so is what a second metric of the same name would do to the first.

const METRIC_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/y
const VALUE = /^(?:[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|\+Inf|-Inf|NaN)$/i

interface Family {
  type: string
  help: boolean
}

export interface Exposition {
  families: Map<string, Family>
  /** By `name{label="value",...}` with labels in the order of their names. */
  samples: Map<string, number>
}

export function readExposition(text: string): Exposition {
  if (!text.endsWith('\n')) throw new Error('the last line does not end')
  const families = new Map<string, Family>()
  const samples = new Map<string, number>()
  const closed = new Set<string>()
  let current = ''
  for (const line of text.split('\n')) {
    const fail = (why: string): never => {
      throw new Error(`${why}: ${line}`)
    }
    if (line === '') continue
    const meta = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line)
    if (meta !== null) {
      const [, kind, name = '', words = ''] = meta
      if (!METRIC_NAME.test(name)) fail('no name of a metric')
      if (name !== current) {
        if (closed.has(name)) fail('a family in two places')
        closed.add(current)
        current = name
      }
      const family = families.get(name) ?? { type: '', help: false }
      families.set(name, family)
      if (kind === 'HELP') {
        if (family.help) fail('a second HELP')
        if (/\\(?!\\|n)/.test(words)) fail('an escape that HELP has not')
        family.help = true
      } else {
        if (family.type !== '') fail('a second TYPE')
        if (!['counter', 'gauge', 'histogram', 'summary', 'untyped'].includes(words)) fail('no type')
        family.type = words
      }
      continue
    }
    if (line.startsWith('#')) fail('a comment that is neither HELP nor TYPE')
    const sample = /^([^\s{]+)(?:\{(.*)\})? (\S+)$/.exec(line)
    if (sample === null) return fail('no sample')
    const [, name = '', labels = '', value = ''] = sample
    const { type } = families.get(current) ?? fail('a sample before its TYPE')
    const suffixes = type === 'histogram' ? ['_bucket', '_sum', '_count'] : ['']
    if (!suffixes.some(suffix => name === current + suffix)) fail(`not a sample of the ${type} ${current}`)
    if (type === 'counter' && !name.endsWith('_total')) fail('a counter whose name does not end in _total')
    if (!VALUE.test(value)) fail('no number')
    const key = `${name}{${readLabels(labels, fail).sort().join(',')}}`
    if (samples.has(key)) fail('a second sample of the same labels')
    samples.set(key, value === '+Inf' ? Infinity : Number(value))
  }
  for (const [name, { type, help }] of families) {
    if (type === '' || !help) throw new Error(`${name} has no TYPE or no HELP`)
    if (type === 'histogram') checkHistogram(name, samples)
  }
  return { families, samples }
}

function readLabels(text: string, fail: (why: string) => never): string[] {
  const labels: string[] = []
  LABEL.lastIndex = 0
  while (LABEL.lastIndex < text.length) {
    const match = LABEL.exec(text)
    if (match === null) return fail('labels that cannot be read')
    labels.push(`${match[1]}="${match[2]}"`)
  }
  return labels
}

/** Buckets grow, and the last holds everything that was counted. */
function checkHistogram(name: string, samples: ReadonlyMap<string, number>): void {
  const last = new Map<string, { le: number; value: number }>()
  for (const [key, value] of samples) {
    if (!key.startsWith(`${name}_bucket{`)) continue
    const le = /le="([^"]*)",?/.exec(key)?.[1] ?? ''
    const series = key.replace(/le="[^"]*",?/, '').replace(',}', '}')
    const before = last.get(series)
    const bound = le === '+Inf' ? Infinity : Number(le)
    if (before !== undefined && (bound <= before.le || value < before.value)) throw new Error(`buckets shrink: ${key}`)
    last.set(series, { le: bound, value })
  }
  for (const [series, { le, value }] of last) {
    const count = samples.get(series.replace('_bucket', '_count'))
    if (le !== Infinity || count !== value) throw new Error(`${series}: the last bucket is ${value} of ${count}`)
  }
}
