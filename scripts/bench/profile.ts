// Reads a CPU profile as V8 writes it: which functions have taken the time of a while, as far as the thread was not idle.

interface CpuProfile {
  nodes: { id: number; callFrame: { functionName: string; url: string; lineNumber: number } }[]
  /** Microseconds of the monotonic clock. */
  startTime: number
  samples: number[]
  /** Microseconds before each sample. */
  timeDeltas: number[]
}

/** Microseconds of the machine's monotonic clock, in which every process tells the same time. */
export interface Span {
  readonly from: number
  readonly to: number
}

export const monotonicMicros = (): number => Number(process.hrtime.bigint() / 1000n)

export interface Share {
  readonly where: string
  /** Of the time that was not idle, itself alone. */
  readonly share: number
}

/** Functions that took at least `least` of the time within `span`, the greatest first. */
export function busiest(text: string, span: Span, least: number): Share[] {
  const profile = JSON.parse(text) as CpuProfile
  const places = new Map(profile.nodes.map(({ id, callFrame }) => [id, placeOf(callFrame)]))
  const taken = new Map<string, number>()
  let busy = 0
  let at = profile.startTime
  for (const [i, id] of profile.samples.entries()) {
    const place = places.get(id) as string
    const micros = profile.timeDeltas[i] as number
    at += micros
    if (place === '(idle)' || at < span.from || at > span.to) continue
    taken.set(place, (taken.get(place) ?? 0) + micros)
    busy += micros
  }
  return Array.from(taken, ([where, micros]) => ({ where, share: micros / busy }))
    .filter(({ share }) => share >= least)
    .sort((a, b) => b.share - a.share)
}

function placeOf({ functionName, url, lineNumber }: CpuProfile['nodes'][number]['callFrame']): string {
  const name = functionName || '(anonymous)'
  if (url === '') return name
  return `${name}  ${url.replace(/^file:\/\//, '').replace(/^.*\/(?=dist\/|node_modules\/)/, '')}:${lineNumber + 1}`
}
