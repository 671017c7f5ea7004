// What a spool knows of itself as a whole: the name it was given, which of its runs may have written history, whether the
// last one closed it, and the numbers that never run back, written with every commit: what is given out again after a
// restart must be above them. Knows their octets only.

import { randomBytes } from 'node:crypto'
import { assert } from '../../base/assert.js'
import type { Origin, Run } from '../origin.js'
import type { Log } from './log.js'
import type { Tables } from './store.js'

export interface Marks {
  /** The highest message id ever given. */
  lastId: number
  /** The newest block of a lane. */
  blockSeq: number
  /** The newest order of acceptance by a carrier. */
  refSeq: number
  /** The newest block of reports. */
  reportSeq: number
  /** History rows dropped. */
  logDropped: number
}

// format u8, then the five in their order, f64 each.
const FORMAT = 1
const SIZE = 1 + 5 * 8

export interface Begun {
  readonly identity: string
  /** The run before this one did not come to its {@link endRun}. */
  readonly crashed: boolean
  readonly marks: Marks
}

export function beginRun(meta: Tables['meta']): Begun {
  const known = meta.get('identity')
  const identity = known ? known.toString('latin1') : randomName()
  const crashed = known !== undefined && meta.get('clean') === undefined
  if (!known) meta.putSync('identity', Buffer.from(identity, 'latin1'))
  meta.removeSync('clean')
  return { identity, crashed, marks: readMarks(meta.get('marks')) }
}

const randomName = (): string => randomBytes(8).toString('hex')

/** Once in a run, before anything is logged. */
export function originOf(meta: Tables['meta'], { dropped, written }: Pick<Log, 'dropped' | 'written'>): Origin {
  const run: Run = { name: randomName(), end: written }
  const runs = [...readRuns(meta.get('runs')), run]
  // Before history can hear of it: a run that is not written here would be taken for somebody else's.
  meta.putSync('runs', writeRuns(runs))
  return {
    ...{ dropped, run: run.name, runs },
    isKnown: () => meta.put('runs', writeRuns([run])),
    // Of one turn of the event loop, so of one transaction.
    rename: identity => Promise.all([meta.put('identity', Buffer.from(identity, 'latin1')), meta.remove('runs')]),
  }
}

const writeRuns = (runs: readonly Run[]): Buffer =>
  Buffer.from(runs.map(({ name, end }) => `${name}:${end}`).join(' '), 'latin1')

const readRuns = (from: Buffer | undefined): Run[] =>
  (from?.toString('latin1') ?? ':0').split(' ').map(text => {
    const [name, end] = text.split(':') as [string, string]
    return { name, end: Number(end) }
  })

/** Everything is written. */
export function endRun(meta: Tables['meta']): Promise<unknown> {
  return meta.put('clean', Buffer.from([1]))
}

/** With everything else of a commit. */
export function putMarks(meta: Tables['meta'], marks: Marks): Promise<unknown> {
  return meta.put('marks', writeMarks(marks))
}

function readMarks(from: Buffer | undefined): Marks {
  assert(!from || from[0] === FORMAT, `marks format ${from?.[0]}`)
  const at = (index: number): number => from?.readDoubleLE(1 + index * 8) ?? 0
  return { lastId: at(0), blockSeq: at(1), refSeq: at(2), reportSeq: at(3), logDropped: at(4) }
}

function writeMarks(marks: Marks): Buffer {
  const to = Buffer.allocUnsafe(SIZE)
  to[0] = FORMAT
  to.writeDoubleLE(marks.lastId, 1)
  to.writeDoubleLE(marks.blockSeq, 9)
  to.writeDoubleLE(marks.refSeq, 17)
  to.writeDoubleLE(marks.reportSeq, 25)
  to.writeDoubleLE(marks.logDropped, 33)
  return to
}
