// submit_multi: one text to many, each a message of its own. The answer is one id, that of the first message: receipts of
// all carry it, and with the destination address it says which is meant. Knows lists and what went wrong with whom; each
// message goes through the door like any other.

import { setImmediate as nextTurn } from 'node:timers/promises'
import { command } from '../../../protocols/smpp/commands.js'
import { type DestAddress, encodePdu, type PduFields, type UnsuccessSme } from '../../../protocols/smpp/pdu.js'
import { Sm } from '../../../protocols/smpp/sm.js'
import { status } from '../../../protocols/smpp/status.js'
import type { SmppProfile } from '../../accounts/smppProfile.js'
import { idText } from '../../base/ids.js'
import { Message } from '../../model/message.js'
import { fillMessage } from './fields.js'
import type { Asker, OperationsHost } from './operations.js'
import { statusOf } from './status.js'

/** SMPP v3.4 §4.5.1: number_of_dests is 1 to 254. */
const MAX_DESTINATIONS = 254
/** Addresses that the lists of one submit_multi may add up to. */
const MAX_LISTED = 10_000
/** Messages in one turn of the event loop: some 3 ms. */
const SLICE = 200
/** no_unsuccess is one octet. */
const MAX_UNSUCCESS = 255
const MODE = 0x03
const TRANSACTION = 0x02

interface Address {
  ton: number
  npi: number
  address: string
}

type Fields = PduFields[typeof command.submit_multi]

/** Answers when all that was taken is durable. */
export async function submitMulti(
  host: OperationsHost,
  asker: Asker,
  sequence: number,
  fields: Fields,
  tlvs: Buffer,
): Promise<void> {
  const { account, interfaceVersion } = asker
  const { door, clock } = host
  const refuse = (code: number): void => asker.answerStatus(command.submit_multi_resp, code, sequence)
  if (fields.dest_address.length > MAX_DESTINATIONS) return refuse(status.ESME_RINVNUMDESTS)
  // §4.5.1: reserved in this PDU.
  if (fields.replace_if_present_flag !== 0) return refuse(status.ESME_RINVREPFLAG)
  // §2.10: one answer cannot tell how each of them ended.
  if ((fields.esm_class & MODE) === TRANSACTION) return refuse(status.ESME_RINVESMCLASS)

  const sm = smOf(fields, tlvs)
  // What is wrong with all of them is said once.
  const wrong = fillMessage(sm, new Message(), clock.now(), account.smpp, interfaceVersion)
  if (wrong !== 0) return refuse(wrong)
  const failed: UnsuccessSme[] = []
  const to = addressesOf(fields.dest_address, account.smpp, failed)
  const ids = to.length > 1 ? door.spool.takeIds(to.length) : []
  let taken = 0
  let multiId = 0
  for (const [i, { ton, npi, address }] of to.entries()) {
    if (i > 0 && i % SLICE === 0) await nextTurn()
    sm.dest_addr_ton = ton
    sm.dest_addr_npi = npi
    sm.destination_addr = address
    const m = new Message()
    m.id = ids[taken] ?? 0
    if (to.length > 1) m.multiId = ids[0] as number
    let code = fillMessage(sm, m, clock.now(), account.smpp, interfaceVersion)
    if (code === 0) {
      const fault = door.submit(m, account)
      if (fault) code = statusOf(fault, interfaceVersion)
    }
    if (code !== 0) {
      failed.push(unsuccess({ ton, npi, address }, code))
      continue
    }
    if (taken++ === 0) multiId = m.id
    asker.took(m)
  }
  host.counters.add('multi_destinations', taken)
  host.counters.add('multi_destinations_refused', failed.length)
  await door.spool.synced()
  const message_id = taken === 0 ? '' : idText(multiId, asker.idForm)
  const answer = { message_id, unsuccess_sme: failed.slice(0, MAX_UNSUCCESS) }
  const code = taken === 0 ? status.ESME_RSUBMITFAIL : 0
  asker.answerPdu(encodePdu(command.submit_multi_resp, code, sequence, answer))
}

function smOf(fields: Fields, tlvs: Buffer): Sm {
  const { dest_address: _, ...rest } = fields
  return Object.assign(new Sm(), rest, { tlvs })
}

/** Lists as their addresses; a list that cannot be stands in `failed`, under its name. */
function addressesOf(given: readonly DestAddress[], profile: SmppProfile, failed: UnsuccessSme[]): Address[] {
  const to: Address[] = []
  let listed = 0
  for (const one of given) {
    if (one.dest_flag === 1) {
      to.push({ ton: one.dest_addr_ton, npi: one.dest_addr_npi, address: one.destination_addr })
      continue
    }
    const name = { ton: 0, npi: 0, address: one.dl_name }
    const list = Object.hasOwn(profile.distributionLists, one.dl_name)
      ? profile.distributionLists[one.dl_name]
      : undefined
    if (list === undefined) failed.push(unsuccess(name, status.ESME_RINVDLNAME))
    else if (list.length === 0 || listed + list.length > MAX_LISTED) failed.push(unsuccess(name, status.ESME_RCNTSUBDL))
    else {
      listed += list.length
      to.push(...list)
    }
  }
  return to
}

const unsuccess = ({ ton, npi, address }: Address, code: number): UnsuccessSme => ({
  dest_addr_ton: ton,
  dest_addr_npi: npi,
  destination_addr: address,
  error_status_code: code,
})
