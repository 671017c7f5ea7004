// What the links of a carrier know of its hosts, in virtual time: order, back-off, refusals.

import t from 'tap'
import { Hosts } from '../src/carriers/hosts.js'

const back = { minMs: 100, maxMs: 1_600, refusals: 3 }
const two = () =>
  new Hosts(
    [
      { host: 'a', port: 1 },
      { host: 'b', port: 2 },
    ],
    back,
    () => 0.5,
  )

t.test(
  'a failed host is waited for longer each time, failures of one round count once, and a long calm forgets',
  async t => {
    const hosts = new Hosts([{ host: 'a', port: 1 }], back, () => 0.5)
    let now = 0
    const waits: number[] = []
    for (let n = 0; n < 7; n++) {
      hosts.failed(0, now)
      hosts.failed(0, now + 1)
      waits.push(hosts.next(now, [])?.waitMs ?? -1)
      now += waits.at(-1) ?? 0
      t.same(hosts.next(now, []), { index: 0, waitMs: 0 })
    }
    t.same(waits, [100, 200, 400, 800, 1_600, 1_600, 1_600])
    now += 1_601
    hosts.failed(0, now)
    t.equal(hosts.next(now, [])?.waitMs, 100)
  },
)

t.test('the first host that may be tried is, and where none may, the soonest', async t => {
  const hosts = two()
  t.same(hosts.next(0, []), { index: 0, waitMs: 0 })
  hosts.failed(0, 0)
  t.same(hosts.next(0, []), { index: 1, waitMs: 0 })
  hosts.failed(1, 50)
  t.same(hosts.next(60, []), { index: 0, waitMs: 40 })
  t.same(hosts.next(60, [200]), { index: 1, waitMs: 90 }, 'a link may have reasons of its own')
  hosts.bound(0)
  t.same(hosts.next(60, []), { index: 0, waitMs: 0 })
})

t.test('a host that was down is tried by one link at a time', async t => {
  const hosts = new Hosts([{ host: 'a', port: 1 }], back, () => 0.5)
  hosts.tried(0)
  t.equal(hosts.next(0, [])?.waitMs, 0, 'a new one by all')
  hosts.settled(0)
  hosts.failed(0, 0)
  hosts.tried(0)
  t.equal(hosts.next(100, [])?.waitMs, 100)
  hosts.settled(0)
  hosts.bound(0)
  t.equal(hosts.next(100, [])?.waitMs, 0)
})

t.test('refused credentials bar a host after so many, the others stay, and an operator lifts it', async t => {
  const hosts = two()
  t.equal(hosts.refused(0, 0), 60_000)
  t.equal(hosts.refused(0, 10), 59_990, 'of one round')
  t.same(hosts.next(20, []), { index: 1, waitMs: 0 })
  t.equal(hosts.refused(0, 60_000), 60_000)
  t.equal(hosts.refused(0, 120_000), null)
  t.equal(hosts.next(10_000_000, [])?.index, 1)
  for (const now of [0, 60_000, 120_000]) hosts.refused(1, now)
  t.equal(hosts.next(10_000_000, []), null)
  hosts.forgive()
  t.same(hosts.next(120_001, []), { index: 0, waitMs: 0 })
})
