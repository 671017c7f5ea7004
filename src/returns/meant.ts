// A message from a phone as the customer reads data_coding, where that is not how the carrier does. At the moment of its
// delivery: parts are joined before, in one coding. Knows no bind and no outbox.

import { type Codings, standardCodings } from '../../protocols/gsm/coding.js'
import { rewrite } from '../dispatch/rewrite.js'
import type { Reply } from '../model/outcome.js'

const UDHI = 0x40

/** The reply itself where both mean the same, or the customer has no coding for it. */
export function asMeant(reply: Reply, carriers: Codings, theirs: Codings = standardCodings): Reply {
  if (carriers === theirs) return reply
  const anew = rewrite(reply.body, (reply.esm_class & UDHI) !== 0, reply.data_coding, carriers, theirs)
  if (anew === undefined) return reply
  const esm_class = anew.udhi ? reply.esm_class : reply.esm_class & ~UDHI
  return { ...reply, esm_class, data_coding: anew.data_coding, body: anew.octets }
}
