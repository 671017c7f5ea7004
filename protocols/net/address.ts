// IP addresses as text: one form for each, the network that a peer is counted by, and lists of ranges. Knows no socket, and
// never asks a name server.
import { BlockList, isIP } from 'node:net'

/** Above an IPv4 address: mapped (RFC 4291 §2.5.5.2), and translated (RFC 6052 §2.1). */
const STANDS_FOR_IPV4: ReadonlySet<string> = new Set(['0:0:0:0:0:ffff', '64:ff9b:0:0:0:0'])
const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i

/** The address without a zone, an IPv4 address in IPv6 clothes (::ffff:192.0.2.1) as IPv4. */
export function plainAddress(address: string): string {
  if (!address.includes(':')) return address
  const zone = address.indexOf('%')
  const bare = zone < 0 ? address : address.slice(0, zone)
  return MAPPED.exec(bare)?.[1] ?? bare
}

/**
 * What a peer is counted by: its IPv4 address, in IPv6 clothes too, or the /64 of its IPv6 address, for a customer has at
 * least that.
 */
export function networkOf(address: string): string {
  const plain = plainAddress(address)
  if (isIP(plain) !== 6) return plain
  const [head = '', tail] = plain.split('::')
  const groups = groupsIn(head)
  if (tail !== undefined) {
    const after = groupsIn(tail)
    while (groups.length + after.length < 8) groups.push(0)
    groups.push(...after)
  }
  const above = groups.slice(0, 6).map(group => group.toString(16))
  const [high = 0, low = 0] = groups.slice(6)
  if (STANDS_FOR_IPV4.has(above.join(':'))) return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`
  return `${above.slice(0, 4).join(':')}::/64`
}

/** Dotted digits at the end stand for two. */
function groupsIn(text: string): number[] {
  if (text === '') return []
  return text.split(':').flatMap(group => {
    if (!group.includes('.')) return Number.parseInt(group, 16)
    const [a = 0, b = 0, c = 0, d = 0] = group.split('.').map(Number)
    return [a * 256 + b, c * 256 + d]
  })
}

/** Whether the list holds the address, as it is or, for IPv4, as an IPv6 address that stands for it. False for no address. */
export function isListed(list: BlockList, address: string): boolean {
  const plain = plainAddress(address)
  const family = isIP(plain)
  if (family === 6) return list.check(plain, 'ipv6')
  return family === 4 && (list.check(plain, 'ipv4') || list.check(`::ffff:${plain}`, 'ipv6'))
}

/** `192.0.2.1:2775`, `[2001:db8::1]:2775`. */
export function endpoint(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

/** An address, or a range like 192.0.2.0/24 or 2001:db8::/32. */
export function isRange(text: string): boolean {
  const [address = '', bits, more] = text.split('/')
  const family = isIP(address)
  if (family === 0 || more !== undefined) return false
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128))
}

/** Whether every address of a range is in one of `ranges`. */
export function isRangeWithin(ranges: readonly string[], range: string): boolean {
  const inner = blockOf(range)
  return ranges.some(one => {
    const outer = blockOf(one)
    return (
      outer.bits <= inner.bits && inner.first >> BigInt(128 - outer.bits) === outer.first >> BigInt(128 - outer.bits)
    )
  })
}

/** Its first address as a number of 128 bits, and how many of them all of it shares; IPv4 stands in ::ffff:0:0/96. */
function blockOf(range: string): { first: bigint; bits: number } {
  const [address = '', bits] = range.split('/')
  if (isIP(address) === 4) {
    const first = address.split('.').reduce((sum, octet) => (sum << 8n) | BigInt(octet), 0xffffn)
    return { first, bits: 96 + (bits === undefined ? 32 : Number(bits)) }
  }
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address.split('%', 1)[0] ?? '')
  const [, head = '', a, b, c, d] = dotted ?? []
  const hex = (high: string | undefined, low: string | undefined): string =>
    (Number(high) * 256 + Number(low)).toString(16)
  const plain = dotted === null ? address.split('%', 1)[0] : `${head}${hex(a, b)}:${hex(c, d)}`
  const [before = '', after] = (plain ?? '').split('::')
  const left = before === '' ? [] : before.split(':')
  const right = after === undefined || after === '' ? [] : after.split(':')
  const groups = [...left, ...Array.from({ length: 8 - left.length - right.length }, () => '0'), ...right]
  const first = groups.reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n)
  return { first, bits: bits === undefined ? 128 : Number(bits) }
}

const lists = new WeakMap<readonly string[], BlockList>()

/** Whether one of `ranges` holds the address; no ranges hold every one. They are read once: the array must stay as it is. */
export function mayComeFrom(ranges: readonly string[], address: string): boolean {
  if (ranges.length === 0) return true
  let list = lists.get(ranges)
  if (list === undefined) {
    list = listOf(ranges)
    lists.set(ranges, list)
  }
  return isListed(list, address)
}

/** What `isListed` asks. Throws on what is no range. */
export function listOf(ranges: readonly string[]): BlockList {
  const list = new BlockList()
  for (const range of ranges) {
    const [address = '', bits] = range.split('/')
    const family = isIP(address) === 4 ? 'ipv4' : 'ipv6'
    if (bits === undefined) list.addAddress(address, family)
    else list.addSubnet(address, Number(bits), family)
  }
  return list
}
