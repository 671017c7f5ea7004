// Which of a route's carriers takes this message? Pure: what is up is given.

import { concatOf } from '../../protocols/gsm/udh.js'
import { findTlv, tlv, tlvUint } from '../../protocols/smpp/tlv.js'
import type { Message } from '../model/message.js'
import type { RouteRule } from './table.js'

/**
 * The carriers that serve a route now: without weights the first that is up, so that the
 * second is a failover; with weights all that are up.
 */
export function serving(rule: RouteRule, isUp: (carrier: string) => boolean): string[] {
  const up = rule.to.filter(target => isUp(target.carrier)).map(target => target.carrier)
  return rule.to.some(target => target.weight !== null) ? up : up.slice(0, 1)
}

/**
 * Of a weighted route's carriers that are up, the one for this message: by a hash of account,
 * source, destination and concatenation reference, not by a die, so that parts which the
 * ESME cut itself stay together. (Rendezvous hashing: a carrier that goes down moves only
 * its own share.)
 */
export function weigh(rule: RouteRule, m: Message, isUp: (carrier: string) => boolean): string | undefined {
  const seed = hash(hash(hash(m.account | 0, m.source_addr), m.destination_addr), concatKey(m))
  let best: string | undefined
  let bestScore = -1
  for (const { carrier, weight } of rule.to) {
    if (weight === 0 || !isUp(carrier)) continue
    const uniform = (hash(seed, carrier) + 1) / 2 ** 32
    const score = Math.exp(Math.log(uniform) / (weight ?? 1))
    if (score > bestScore) {
      bestScore = score
      best = carrier
    }
  }
  return best
}

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

function hash(seed: number, text: string): number {
  let h = seed ^ 0x811c9dc5
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  h ^= h >>> 15
  h = Math.imul(h, 0x2c1b3c6d)
  h ^= h >>> 12
  return h >>> 0
}
