// Which addresses a connection to a name that a customer gave us may end at: not our own networks, unless the operator names
// them. The name is looked up once, and what was checked is what is connected to (no second answer of the name server).

import { type LookupAddress, type LookupOptions, lookup } from 'node:dns'
import { type BlockList, isIP, type LookupFunction } from 'node:net'
import { isListed, listOf } from './address.js'

/** IANA's registries of special-purpose addresses (RFC 6890 and later): nothing of them is a customer's server. */
const NOT_PUBLIC = [
  ...['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.0.0.0/24'],
  ...['192.0.2.0/24', '192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24'],
  ...['224.0.0.0/4', '240.0.0.0/4', '::/128', '::1/128', '64:ff9b::/96', '64:ff9b:1::/48', '100::/64', '2001::/23'],
  ...['2001:db8::/32', '2002::/16', '3fff::/20', '5f00::/16', 'fc00::/7', 'fe80::/10', 'fec0::/10', 'ff00::/8'],
]
/** The same; made at first use, for that takes 15 ms of a start. */
let notPublic: BlockList | undefined

/** The address is none that may be connected to. */
export class OutOfReach extends Error {
  readonly code = 'OUT_OF_REACH'
  constructor(host: string) {
    super(`${host} is in a network that may not be reached so`)
  }
}

export class Reach {
  private readonly allowed: BlockList

  /** `allowed`: addresses and ranges that may be reached besides public ones. */
  constructor(allowed: readonly string[]) {
    this.allowed = listOf(allowed)
  }

  /** Named by the operator: there plain http is good too. */
  isAllowed(address: string): boolean {
    return isListed(this.allowed, address)
  }

  mayReach(address: string): boolean {
    notPublic ??= listOf(NOT_PUBLIC)
    return this.isAllowed(address) || !isListed(notPublic, address)
  }

  /** Throws {@link OutOfReach} for a host that is an address which must not be connected to: no look-up sees those. */
  check(host: string, plain: boolean): void {
    const bare = host.replace(/^\[|\]$/g, '')
    if (isIP(bare) !== 0 && !this.isGood(bare, plain)) throw new OutOfReach(host)
  }

  private isGood(address: string, plain: boolean): boolean {
    return plain ? this.isAllowed(address) : this.mayReach(address)
  }

  /** For `net.connect` and the like. `plain`: the connection is not encrypted, so it may end at allowed addresses only. */
  lookup(plain: boolean): LookupFunction {
    return (host, options, then) => {
      lookup(host, { ...(options as LookupOptions), all: true }, (error, found: LookupAddress[]) => {
        if (error) return then(error, '', 0)
        const good = found.filter(({ address }) => this.isGood(address, plain))
        const [first] = good
        if (first === undefined) return then(new OutOfReach(host), '', 0)
        if (options.all) (then as unknown as (error: null, all: LookupAddress[]) => void)(null, good)
        else then(null, first.address, first.family)
      })
    }
  }
}
