// The dashboard that comes with the gateway asks for nothing that /metrics does not tell: every metric of every panel is
// there, with the labels that the panel sorts by.

import { readFileSync } from 'node:fs'
import t from 'tap'
import { HttpTotals } from '../src/admin/httpTotals.js'
import { Metrics } from '../src/admin/metrics.js'
import { Recent } from '../src/admin/recent.js'
import { Subject } from './support/admin-subject.js'

interface Panel {
  title: string
  type: string
  targets?: { expr: string }[]
}

const file = new URL('../../config/grafana-dashboard.json', import.meta.url)
const { panels } = JSON.parse(readFileSync(file, 'utf8')) as { panels: Panel[] }

t.test('every metric that a panel names is one of /metrics', async t => {
  const subject = new Subject()
  const recent = new Recent(subject)
  t.teardown(() => recent.stop())
  const text = await new Metrics(subject, recent, new HttpTotals()).text()
  const types = new Map(Array.from(text.matchAll(/^# TYPE (\S+) (\S+)$/gm), ([, name, type]) => [name, type]))
  const unknown: string[] = []
  const asked = new Set<string>()
  for (const { title, targets = [] } of panels) {
    for (const { expr } of targets) {
      for (const [, name = ''] of expr.matchAll(/\b((?:trunkline|process|nodejs)_\w+)\{/g)) {
        const family = name.replace(/_bucket$/, '')
        asked.add(family)
        const isThere = name === family ? types.has(name) : types.get(family) === 'histogram'
        if (!isThere) unknown.push(`${title}: ${name}`)
        if (/^(?:rate|sum.*rate)/.test(expr) && types.get(name) === 'gauge') unknown.push(`${title}: a rate of ${name}`)
      }
    }
  }
  t.same(unknown, [])
  t.ok(asked.size > 30, `${asked.size} metrics are shown`)
  t.ok(panels.filter(({ type }) => type !== 'row').every(({ targets }) => targets?.length))
})

t.test(
  'a share is of messages as the analytics count them: without the sandbox and mails, above and below the line',
  t => {
    const shares = panels.flatMap(({ targets = [] }) => targets).filter(({ expr }) => expr.includes(') / sum'))
    t.ok(shares.length >= 3)
    for (const { expr } of shares) t.notMatch(expr, /trunkline_messages_(?:accepted|ended)_total/)
    t.end()
  },
)
