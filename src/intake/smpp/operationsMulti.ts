// submit_multi: one text to many, each a message of its own. The answer is one id, that of the first message: receipts of
// all carry it, and with the destination address it says which is meant. Knows lists and what went wrong with whom; each
// message goes through the door like any other.

import { command } from '../../../protocols/smpp/commands.js'
import { type DestAddress, encodePdu, type PduFields, type UnsuccessSme } from '../../../protocols/smpp/pdu.js'
import { Sm } from '../../../protocols/smpp/sm.js'
import { status } from '../../../protocols/smpp/status.js'
import type { SmppProfile } from '../../accounts/smppProfile.js'
import { idText } from '../../base/ids.js'
import type { Fault } from '../../model/fault.js'
import { Message } from '../../model/message.js'
import { creditPending } from '../submit.js'
import { fillMessage } from './fields.js'
import type { Asker, OperationsHost } from './operations.js'
import { statusOf } from './status.js'
import { SLICE, type Turns } from './turns.js'

/** SMPP v3.4 §4.5.1: number_of_dests is 1 to 254. */
const MAX_DESTINATIONS = 254
/** Addresses that the lists of one submit_multi may add up to. */
const MAX_LISTED = 10_000
const MODE = 0x03
const TRANSACTION = 0x02

interface Address {
  ton: number
  npi: number
  address: string
}

type Fields = PduFields[typeof command.submit_multi]

/** What went wrong, by whom it is told of: an address, or the list that it stands in. */
type Failed = Map<Address, number>

export class MultiSubmits {
  private readonly host: OperationsHost
  private readonly turns: Turns
  /** Messages of each account that were let in and are not in the spool yet. */
  private readonly coming = new Map<number, number>()

  constructor(host: OperationsHost, turns: Turns) {
    this.host = host
    this.turns = turns
  }

  /**
   * Answers when all that was taken is durable. Pace and room are there for all of its addresses or it is refused whole:
   * an answer has no place to name thousands.
   */
  async submit(asker: Asker, sequence: number, fields: Fields, tlvs: Buffer): Promise<void> {
    const { account, interfaceVersion } = asker
    const { door, clock, counters } = this.host
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

    const isOne = fields.dest_address.length === 1 && fields.dest_address[0]?.dest_flag === 1
    await this.turns.take(isOne ? 1 : SLICE)
    const failed: Failed = new Map()
    const { to, names } = addressesOf(fields.dest_address, account.smpp, failed)
    let refused = failed.size
    const fault = to.length === 0 ? undefined : door.admit(account, to.length, this.coming.get(account.id) ?? 0)
    if (fault !== undefined) {
      counters.add('multi_destinations_refused', refused + to.length)
      return refuse(statusOf(fault, interfaceVersion))
    }
    const ids = to.length > 1 ? door.spool.takeIds(to.length) : []
    let taken = 0
    let multiId = 0
    let from = 0
    let full: Fault | undefined
    this.expect(account.id, to.length)
    try {
      while (from < to.length) {
        const slice = Math.min(SLICE, to.length - from)
        if (from > 0) await this.turns.take(slice)
        this.expect(account.id, -slice)
        const until = from + slice
        for (; from < until; from++) {
          const { ton, npi, address } = to[from] as Address
          sm.dest_addr_ton = ton
          sm.dest_addr_npi = npi
          sm.destination_addr = address
          const m = new Message()
          m.id = ids[taken] ?? 0
          if (to.length > 1) m.multiId = ids[0] as number
          let code = fillMessage(sm, m, clock.now(), account.smpp, interfaceVersion)
          if (code === 0) {
            let fault = full ?? door.submitAdmitted(m, account)
            while (fault === creditPending) {
              this.expect(account.id, until - from)
              const isKnown = await door.creditKnown(account)
              if (isKnown) await this.turns.take(until - from)
              this.expect(account.id, from - until)
              if (!isKnown) break
              // Others have come meanwhile: there is room for the rest of them, or for none.
              full = door.refusal(account, until - from + (this.coming.get(account.id) ?? 0))
              fault = full ?? door.submitAdmitted(m, account)
            }
            if (fault) code = statusOf(fault, interfaceVersion)
          }
          if (code !== 0) {
            refused++
            const name = names[from] as Address
            if (!failed.has(name)) failed.set(name, code)
            continue
          }
          if (taken++ === 0) multiId = m.id
          asker.took(m)
        }
      }
    } finally {
      this.expect(account.id, from - to.length)
    }
    counters.add('multi_destinations', taken)
    counters.add('multi_destinations_refused', refused)
    await door.spool.synced()
    const message_id = taken === 0 ? '' : idText(multiId, asker.idForm)
    const answer = { message_id, unsuccess_sme: [...failed].map(unsuccess) }
    const code = taken === 0 ? status.ESME_RSUBMITFAIL : 0
    asker.answerPdu(encodePdu(command.submit_multi_resp, code, sequence, answer))
  }

  private expect(account: number, by: number): void {
    const n = (this.coming.get(account) ?? 0) + by
    if (n > 0) this.coming.set(account, n)
    else this.coming.delete(account)
  }
}

function smOf(fields: Fields, tlvs: Buffer): Sm {
  const { dest_address: _, ...rest } = fields
  return Object.assign(new Sm(), rest, { tlvs })
}

/** Lists as their addresses, and for each of those who is named when it fails; a list that cannot be is in `failed`. */
function addressesOf(given: readonly DestAddress[], profile: SmppProfile, failed: Failed) {
  const to: Address[] = []
  const names: Address[] = []
  let listed = 0
  for (const one of given) {
    if (one.dest_flag === 1) {
      const address = { ton: one.dest_addr_ton, npi: one.dest_addr_npi, address: one.destination_addr }
      to.push(address)
      names.push(address)
      continue
    }
    const name = { ton: 0, npi: 0, address: one.dl_name }
    const list = Object.hasOwn(profile.distributionLists, one.dl_name)
      ? profile.distributionLists[one.dl_name]
      : undefined
    if (list === undefined) failed.set(name, status.ESME_RINVDLNAME)
    else if (list.length === 0 || listed + list.length > MAX_LISTED) failed.set(name, status.ESME_RCNTSUBDL)
    else {
      listed += list.length
      for (const address of list) {
        to.push(address)
        names.push(name)
      }
    }
  }
  return { to, names }
}

const unsuccess = ([{ ton, npi, address }, error_status_code]: [Address, number]): UnsuccessSme => ({
  dest_addr_ton: ton,
  dest_addr_npi: npi,
  destination_addr: address,
  error_status_code,
})
