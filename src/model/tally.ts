// How many messages were accepted and how they ended, by class, since the start. Plain arrays:
// written once per message, read by nobody but the side-port.

import { type ClassRank, type MessageState, messageClasses, state, stateNames } from './message.js'

export interface EndedOver {
  readonly ended: number
  readonly delivered: number
}

const NONE: EndedOver = { ended: 0, delivered: 0 }
const { DELIVERED } = state

export class Tally {
  /** By class. */
  readonly accepted = new Float64Array(messageClasses.length)
  /** By class, then by state. */
  readonly ended: readonly Float64Array[] = messageClasses.map(() => new Float64Array(stateNames.length))

  private readonly carriers = new Map<number, { ended: number; delivered: number }>()

  /** Segments that texts did not take because typographic characters were replaced. */
  savedSegments = 0

  countSaved(segments: number): void {
    this.savedSegments += segments
  }

  countAccepted(rank: ClassRank): void {
    ;(this.accepted[rank] as number)++
  }

  /** @param carrier the number of the carrier that had it; 0: none had */
  countEnded(rank: ClassRank, ending: MessageState, carrier = 0): void {
    const states = this.ended[rank] as Float64Array
    ;(states[ending] as number)++
    if (carrier === 0) return
    const one = this.carriers.get(carrier) ?? { ended: 0, delivered: 0 }
    if (one.ended === 0) this.carriers.set(carrier, one)
    one.ended++
    if (ending === DELIVERED) one.delivered++
  }

  /** How messages ended that the carrier with this number had. */
  endedOver(carrier: number): EndedOver {
    return this.carriers.get(carrier) ?? NONE
  }

  get acceptedInAll(): number {
    return sum(this.accepted)
  }

  get endedInAll(): number {
    return this.ended.reduce((all, states) => all + sum(states), 0)
  }
}

const sum = (counts: Float64Array): number => counts.reduce((all, count) => all + count, 0)
