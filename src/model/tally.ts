// How many messages were accepted and how they ended, by class, since the start. Plain arrays:
// written once per message, read by nobody but the side-port.

import { type ClassRank, type MessageState, messageClasses, stateNames } from './message.js'

export class Tally {
  /** By class. */
  readonly accepted = new Float64Array(messageClasses.length)
  /** By class, then by state. */
  readonly ended: readonly Float64Array[] = messageClasses.map(() => new Float64Array(stateNames.length))

  /** Segments that texts did not take because typographic characters were replaced. */
  savedSegments = 0

  countSaved(segments: number): void {
    this.savedSegments += segments
  }

  countAccepted(rank: ClassRank): void {
    ;(this.accepted[rank] as number)++
  }

  countEnded(rank: ClassRank, state: MessageState): void {
    const states = this.ended[rank] as Float64Array
    ;(states[state] as number)++
  }

  get acceptedInAll(): number {
    return sum(this.accepted)
  }

  get endedInAll(): number {
    return this.ended.reduce((all, states) => all + sum(states), 0)
  }
}

const sum = (counts: Float64Array): number => counts.reduce((all, count) => all + count, 0)
