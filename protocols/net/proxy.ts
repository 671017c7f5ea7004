// The header that a proxy puts before a connection to tell whose it is: PROXY protocol v1 (text) and v2 (binary), as HAProxy's
// proxy-protocol.txt has them. Reads octets; whom to believe, and how long to wait, is the listener's to say.
import { isIPv4, isIPv6 } from 'node:net'

/**
 * `more`: it may become a header, so read on. `bad`: it never will. Else `length` octets are the header, and `source` is the
 * peer that it names; undefined when the proxy speaks for itself (LOCAL) or does not know (UNKNOWN, UNSPEC, unix, UDP).
 */
export type ProxyHeader =
  | 'more'
  | 'bad'
  | { readonly length: number; readonly source: { readonly address: string; readonly port: number } | undefined }

/** A v1 line with its CR LF (§2.1). */
const V1_MAX = 107
/** What we take of a v2 header: TLVs with a client certificate's names go far beyond the 536 octets of §2.2. */
const V2_MAX = 4096
const V2_HEAD = 16
const V1_START = Buffer.from('PROXY ')
const V2_START = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')

/** Looks at all octets that came so far. */
export function readProxyHeader(octets: Buffer): ProxyHeader {
  if (begins(octets, V2_START)) return octets.length < V2_HEAD ? 'more' : readV2(octets)
  if (begins(octets, V1_START)) return readV1(octets)
  return 'bad'
}

/** As far as it goes. */
function begins(octets: Buffer, start: Buffer): boolean {
  const length = Math.min(octets.length, start.length)
  return octets.compare(start, 0, length, 0, length) === 0
}

function readV1(octets: Buffer): ProxyHeader {
  const end = octets.subarray(0, V1_MAX).indexOf('\r\n')
  if (end < 0) return octets.length < V1_MAX ? 'more' : 'bad'
  const length = end + 2
  const [, family, address = '', target = '', port = '', targetPort = '', more] = octets.latin1Slice(0, end).split(' ')
  if (family === 'UNKNOWN') return { length, source: undefined }
  const is = family === 'TCP4' ? isIPv4 : family === 'TCP6' ? isIPv6 : undefined
  const isWhole = is?.(address) && is(target) && isPort(port) && isPort(targetPort) && more === undefined
  return isWhole ? { length, source: { address, port: Number(port) } } : 'bad'
}

const isPort = (text: string): boolean => /^(?:0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535

function readV2(octets: Buffer): ProxyHeader {
  const versionCommand = octets[12] as number
  const command = versionCommand & 0x0f
  const length = V2_HEAD + octets.readUInt16BE(14)
  if (versionCommand >> 4 !== 2 || command > 1 || length > V2_MAX) return 'bad'
  if (octets.length < length) return 'more'
  const family = octets[13]
  if (command === 0 || (family !== 0x11 && family !== 0x21)) return { length, source: undefined }
  const addressOctets = family === 0x11 ? 4 : 16
  // Two addresses and two ports; TLVs after them are skipped.
  if (length < V2_HEAD + 2 * addressOctets + 4) return 'bad'
  const raw = octets.subarray(V2_HEAD, V2_HEAD + addressOctets)
  const port = octets.readUInt16BE(V2_HEAD + 2 * addressOctets)
  return { length, source: { address: family === 0x11 ? raw.join('.') : ipv6Text(raw), port } }
}

/** RFC 5952: lower case, the longest run of zero groups (two at least) as `::`; mapped IPv4 with its dots. */
function ipv6Text(raw: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, i) => raw.readUInt16BE(2 * i).toString(16))
  if (groups.slice(0, 6).join(':') === '0:0:0:0:0:ffff') return `::ffff:${raw.subarray(12).join('.')}`
  let best = -1
  let most = 1
  for (let from = 0; from < 8; from++) {
    let to = from
    while (to < 8 && groups[to] === '0') to++
    if (to - from > most) {
      best = from
      most = to - from
    }
  }
  if (best < 0) return groups.join(':')
  return `${groups.slice(0, best).join(':')}::${groups.slice(best + most).join(':')}`
}
