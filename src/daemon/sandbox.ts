// The sandbox with everything it needs of the house: its carrier, what it got lately, and messages from phones that nobody
// wrote. Knows how the parts are joined; which number plays which part routing/sandbox says.

import { type Codings, codingOf, decodeUserData, standardCodings } from '../../protocols/gsm/coding.js'
import type { Account } from '../accounts/account.js'
import { type CarrierRow, simulatorSettings } from '../accounts/carrier.js'
import { type SandboxedMessage, SandboxedMessages } from '../carriers/sandbox.js'
import { digitsOf } from '../model/digits.js'
import type { Replies } from '../returns/replies.js'
import { SANDBOX_CARRIER } from '../routing/sandbox.js'
import type { Spool } from '../spool/contract.js'

const UDHI = 0x40
const UCS2 = 8
const INTERNATIONAL = 1
const ISDN = 1

/** Stands for its carrier. */
export const SANDBOX: CarrierRow = {
  id: SANDBOX_CARRIER,
  name: 'sandbox',
  paused: false,
  kind: 'simulator',
  settings: simulatorSettings.parse({}),
}

export interface SandboxHost {
  readonly spool: Pick<Spool, 'synced'>
  replies(): Replies
  /** What data_coding means to an account. */
  codingsOf(account: number): Codings
}

export class Sandbox {
  readonly messages = new SandboxedMessages()
  private readonly host: SandboxHost

  constructor(host: SandboxHost) {
    this.host = host
  }

  /** The directory's carriers and its own, which takes the place of one of its name. */
  static carriers(rows: readonly CarrierRow[], isOn: boolean): readonly CarrierRow[] {
    return isOn ? [...rows.filter(({ name }) => name !== SANDBOX.name), SANDBOX] : rows
  }

  /** The newest that it got from an account, with their texts; '' for what is no text. */
  latest(account: Account, most: number): (SandboxedMessage & { text: string })[] {
    return this.messages.of(account.id, most).map(one => ({ ...one, text: this.textOf(one) }))
  }

  private textOf({ account, body, isText, data_coding, esm_class }: SandboxedMessage): string {
    if (isText) return body.toString()
    const how = codingOf(data_coding, this.host.codingsOf(account) ?? standardCodings)
    return how === 'binary' ? '' : decodeUserData(body, (esm_class & UDHI) !== 0, how)
  }

  /**
   * A message as if a phone had sent it to a number of the account, on all the ways of a real one; durable when it
   * resolves. `elsewhere`: it would be another's, or nobody's.
   */
  async receive(account: Account, from: string, to: string, text: string): Promise<'taken' | 'elsewhere' | 'full'> {
    const replies = this.host.replies()
    const called = digitsOf(to) || to
    const source = digitsOf(from) || from
    const explained = replies.explain({ called, source, carrier: SANDBOX.name, text })
    if (explained.account?.id !== account.id) return 'elsewhere'
    const taken = replies.reply({
      carrier: SANDBOX.id,
      service_type: '',
      source_addr_ton: INTERNATIONAL,
      source_addr_npi: ISDN,
      source_addr: source,
      dest_addr_ton: called.length > 6 ? INTERNATIONAL : 0,
      dest_addr_npi: ISDN,
      destination_addr: called,
      esm_class: 0,
      protocol_id: 0,
      priority_flag: 0,
      data_coding: UCS2,
      body: Buffer.from(text, 'utf16le').swap16(),
      tlvs: Buffer.alloc(0),
    })
    if (!taken) return 'full'
    await new Promise<void>(resolve => replies.afterNoted(resolve))
    await this.host.spool.synced()
    return 'taken'
  }
}
