// Which of a route's carriers takes this message? By order, weight, price or quality, and always by a hash of the message,
// never by a die, so that parts which the ESME cut itself stay together. What is up, what it costs and how well it
// delivers is given.

import { concatOf } from '../../protocols/gsm/udh.js'
import { findTlv, tlv, tlvUint } from '../../protocols/smpp/tlv.js'
import { digitsOf } from '../model/digits.js'
import type { Message } from '../model/message.js'
import { FLOOR, type Standing } from './quality.js'
import type { RouteRule } from './table.js'

/** What is known of carriers, by their names. */
export interface Merits {
  /** Of a part to this number; undefined: it names no price. */
  priceMicros(carrier: string, digits: string): number | undefined
  standing(carrier: string, area: string, nowMs: number): Standing
  areaOf(digits: string): string
}

type IsUp = (carrier: string) => boolean

/**
 * The carriers that serve a route now: by order the first that is up, so that the second is a failover; else all that
 * are up, but those of weight 0 only while no other is.
 */
export function serving(rule: RouteRule, isUp: IsUp): string[] {
  const up = rule.to.filter(target => isUp(target.carrier))
  if (rule.by === 'order') return up.slice(0, 1).map(target => target.carrier)
  const weighed = up.filter(target => target.weight !== 0)
  return (weighed.length > 0 ? weighed : up).map(target => target.carrier)
}

const firstUp = (rule: RouteRule, isUp: IsUp): string | undefined =>
  rule.to.find(({ carrier }) => isUp(carrier))?.carrier

/** Carriers alike as to quality share by weight. */
const ALIKE = 0.01
/** The same while nothing is proven of any. */
const ALIKE_UNPROVEN = 0.1
/** Share of the messages that goes to each carrier that is not the best, to hear how it does now; while little is known of it. */
const EXPLORED = 0.02
const EXPLORED_UNPROVEN = 0.05
/** And to all of those together. */
const EXPLORED_MOST = 0.1
/** One who writes to the same number again is explored with anew after this. */
const EXPLORE_MS = 5_000
/** Texts in parts whose carrier is remembered, and for how long: references of parts are used again. */
const REMEMBERED = 4_096
const REMEMBERED_MS = 60_000

export class Chooser {
  private readonly merits: Merits
  /** Carriers of texts whose parts may still come, by their hash; two generations. */
  private together = new Map<number, { readonly carrier: string; readonly untilMs: number }>()
  private before: Chooser['together'] = new Map()

  constructor(merits: Merits) {
    this.merits = merits
  }

  /**
   * The carrier for this message; undefined when none is up. One without a place gives way to its equals, and never
   * for a part of a text: then the message has to wait for it. `nowMs` is monotonic.
   */
  choose(rule: RouteRule, m: Message, isUp: IsUp, nowMs: number, hasPlace: IsUp = isUp): string | undefined {
    switch (rule.by) {
      case 'order':
        return firstUp(rule, isUp)
      // What they are out of their sum. (Rendezvous hashing: a carrier that goes down moves only its own share.)
      case 'weight': {
        const key = concatKey(m)
        return shared(rule, seedOf(m, key), isUp, key === '' ? hasPlace : isUp) ?? firstUp(rule, isUp)
      }
      case 'price':
        return this.cheapest(rule, m, isUp, concatKey(m) === '' ? hasPlace : isUp)
      case 'quality':
        return this.best(rule, m, isUp, nowMs, hasPlace)
    }
  }

  /** The cheapest, of those that cost the same the first with a place; without a price last. */
  private cheapest(rule: RouteRule, m: Message, isUp: IsUp, hasPlace: IsUp): string | undefined {
    const digits = digitsOf(m.destination_addr)
    let best: string | undefined
    let bestMicros = 0
    for (const { carrier, weight } of rule.to) {
      if (weight === 0 || !isUp(carrier)) continue
      const micros = this.merits.priceMicros(carrier, digits) ?? Number.POSITIVE_INFINITY
      if (best !== undefined && micros > bestMicros) continue
      if (best !== undefined && micros === bestMicros && (hasPlace(best) || !hasPlace(carrier))) continue
      best = carrier
      bestMicros = micros
    }
    return best ?? firstUp(rule, isUp)
  }

  private best(rule: RouteRule, m: Message, isUp: IsUp, nowMs: number, hasPlace: IsUp): string | undefined {
    const key = concatKey(m)
    const seed = seedOf(m, key)
    if (key === '') return this.explored(rule, m, seed, isUp, nowMs, hasPlace)
    const known = this.together.get(seed) ?? this.before.get(seed)
    if (known !== undefined && nowMs < known.untilMs && isUp(known.carrier)) {
      if (rule.to.some(({ carrier }) => carrier === known.carrier)) return known.carrier
    }
    const chosen = this.explored(rule, m, seed, isUp, nowMs, isUp)
    if (chosen !== undefined) this.remember(seed, chosen, nowMs)
    return chosen
  }

  private remember(seed: number, carrier: string, nowMs: number): void {
    if (this.together.size >= REMEMBERED) {
      this.before = this.together
      this.together = new Map()
    }
    this.together.set(seed, { carrier, untilMs: nowMs + REMEMBERED_MS })
  }

  private explored(
    rule: RouteRule,
    m: Message,
    seed: number,
    isUp: IsUp,
    nowMs: number,
    hasPlace: IsUp,
  ): string | undefined {
    const { merits } = this
    const area = merits.areaOf(digitsOf(m.destination_addr))
    let proven = 0
    let best = Number.NEGATIVE_INFINITY
    let bestProven = Number.NEGATIVE_INFINITY
    for (const { carrier, weight } of rule.to) {
      if (weight === 0 || !isUp(carrier)) continue
      const { score, samples } = merits.standing(carrier, area, nowMs)
      best = Math.max(best, score)
      if (samples < FLOOR) continue
      proven++
      bestProven = Math.max(bestProven, score)
    }
    const least = proven > 0 ? bestProven - ALIKE : best - ALIKE_UNPROVEN
    const isBest = (carrier: string): boolean => {
      if (!isUp(carrier)) return false
      const { score, samples } = merits.standing(carrier, area, nowMs)
      return score >= least && (proven === 0 || samples >= FLOOR)
    }
    let explored = 0
    for (const { carrier, weight } of rule.to) {
      if (weight !== 0 && isUp(carrier) && !isBest(carrier)) explored += this.shareOf(carrier, area, nowMs)
    }
    if (explored > 0) {
      const slot = Math.floor((nowMs + (seed % EXPLORE_MS)) / EXPLORE_MS)
      let at = unit(hash(seed ^ slot, 'explore')) * Math.max(1, explored / EXPLORED_MOST)
      for (const { carrier, weight } of rule.to) {
        if (weight === 0 || !isUp(carrier) || isBest(carrier)) continue
        at -= this.shareOf(carrier, area, nowMs)
        if (at >= 0) continue
        if (hasPlace(carrier)) return carrier
        break
      }
    }
    return shared(rule, seed, isBest, hasPlace) ?? firstUp(rule, isUp)
  }

  private shareOf(carrier: string, area: string, nowMs: number): number {
    return this.merits.standing(carrier, area, nowMs).samples < FLOOR ? EXPLORED_UNPROVEN : EXPLORED
  }
}

/** By weight; one without a place only when none of them has any. */
function shared(rule: RouteRule, seed: number, isUp: IsUp, hasPlace: IsUp): string | undefined {
  let best: string | undefined
  let bestScore = -1
  for (const { carrier, weight } of rule.to) {
    if (weight === 0 || !isUp(carrier)) continue
    const uniform = unit(hash(seed, carrier))
    // In (0, 1]: any with a place is above all without.
    const score = Math.exp(Math.log(uniform) / (weight ?? 1)) + (hasPlace(carrier) ? 1 : 0)
    if (score > bestScore) {
      bestScore = score
      best = carrier
    }
  }
  return best
}

/** The same for all parts of one text. */
const seedOf = (m: Message, key = concatKey(m)): number =>
  hash(hash(hash(m.account | 0, m.source_addr), m.destination_addr), key)

/** The reference that the ESME gave the parts of one text: equal for all of them. '' for a message of its own. */
function concatKey(m: Message): string {
  if (m.esm_class & 0x40) {
    const concat = concatOf(m.body)
    if (concat !== undefined) return String(concat.ref)
  }
  if (m.tlvs.length === 0) return ''
  const sar = findTlv(m.tlvs, 0, m.tlvs.length, tlv.sar_msg_ref_num)
  return sar < 0 ? '' : String(tlvUint(m.tlvs, sar))
}

/** (0, 1] */
const unit = (hashed: number): number => (hashed + 1) / 2 ** 32

function hash(seed: number, text: string): number {
  let h = seed ^ 0x811c9dc5
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  h ^= h >>> 15
  h = Math.imul(h, 0x2c1b3c6d)
  h ^= h >>> 12
  return h >>> 0
}
