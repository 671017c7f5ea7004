// Who asks, by address: the peer of the connection, or, where that is a proxy of ours, the client that it speaks for. Reads
// Forwarded (RFC 7239) and X-Forwarded-For from the right, as far as each hop is trusted: what stands left of that anybody
// may have written. Knows addresses; what may be done from where others say.

import type { IncomingMessage } from 'node:http'
import { type BlockList, isIP } from 'node:net'
import { isListed, listOf, plainAddress } from '../../protocols/net/address.js'
import { Problem } from './problem.js'

/** Headers that proxies add. */
const PROXIED = /^(?:via|forwarded|x-forwarded(?:-.*)?|x-real-ip|x-client-ip|cf-connecting-ip|true-client-ip)$/
const LOOPBACK = /^(?:::1|127\.[0-9.]+)$/
/** What proxies tell of whom they speak for: some twenty addresses. Whoever asks writes a part of it. */
const MOST_TOLD = 1_024

export class Peers {
  /** null: nobody is. To ask a list costs a request as much as its key. */
  private readonly trusted: BlockList | null
  private readonly known = new WeakMap<IncomingMessage, string>()

  /** @param proxies addresses and ranges whose word is taken for whom they speak for; none: nobody's */
  constructor(proxies: readonly string[]) {
    this.trusted = proxies.length === 0 ? null : listOf(proxies)
  }

  /** '' for whoever came over the unix socket. Throws the Problem of a request that names two clients, or none to be read. */
  address(request: IncomingMessage): string {
    const known = this.known.get(request)
    if (known !== undefined) return known
    // Asked again, of a request that was refused for it, it is the proxy's.
    this.known.set(request, plainAddress(request.socket.remoteAddress ?? ''))
    const address = this.client(request)
    this.known.set(request, address)
    return address
  }

  /** For log lines and the audit: with the port, where it is the client's own. */
  endpoint(request: IncomingMessage): string {
    const { remoteAddress = '', remotePort } = request.socket
    const address = this.address(request)
    return address === plainAddress(remoteAddress) ? `${address}:${remotePort ?? ''}` : address
  }

  /** Whether it came from this machine and nobody stands between: what a proxy hands on comes from anywhere. */
  isOfThisMachine(request: IncomingMessage): boolean {
    if (this.isProxied(request)) return false
    const peer = plainAddress(request.socket.remoteAddress ?? '')
    return peer === '' || LOOPBACK.test(peer)
  }

  /** Whether somebody stands between: a proxy of ours, or any that says so. */
  isProxied({ socket, headers }: IncomingMessage): boolean {
    const peer = plainAddress(socket.remoteAddress ?? '')
    return this.isTrusted(peer) || Object.keys(headers).some(name => PROXIED.test(name))
  }

  private isTrusted(address: string): boolean {
    return this.trusted !== null && isListed(this.trusted, address)
  }

  private client({ socket, headers }: IncomingMessage): string {
    const peer = plainAddress(socket.remoteAddress ?? '')
    if (!this.isTrusted(peer)) return peer
    const { forwarded } = headers
    const old = headers['x-forwarded-for'] as string | undefined
    if (forwarded === undefined && old === undefined) return peer
    if ((forwarded?.length ?? 0) > MOST_TOLD || (old?.length ?? 0) > MOST_TOLD) {
      throw unread(`Forwarded and X-Forwarded-For have ${MOST_TOLD} characters at most`)
    }
    const told = [
      ...(forwarded === undefined ? [] : [this.last(peer, hopsOf(forwarded))]),
      ...(old === undefined ? [] : [this.last(peer, old.split(',').map(nodeOf))]),
    ]
    // A proxy writes one of them and hands on the other as it came, from anybody.
    if (told[0] === (told[1] ?? told[0])) return told[0] as string
    const detail =
      'Forwarded and X-Forwarded-For name different clients: the proxy must drop the one that it does not write'
    throw new Problem(400, 'forwarded_twice', WHO, detail)
  }

  /** The first from the right that is no proxy of ours; who is not named by an address is whoever named them. */
  private last(peer: string, hops: readonly string[]): string {
    let found = peer
    for (let i = hops.length - 1; i >= 0 && this.isTrusted(found); i--) {
      const hop = hops[i] as string
      if (isIP(hop) === 0) break
      found = hop
    }
    return found
  }
}

const WHO = 'Who asks?'
const unread = (detail: string): Problem => new Problem(400, 'forwarded_unread', WHO, detail)

/** The nodes of `for=` in their order; '' for an element without one. */
function hopsOf(forwarded: string): string[] {
  return parted(forwarded, ',')
    .filter(element => element !== '')
    .map(element => {
      for (const pair of parted(element, ';')) {
        const [name, value] = [pair.slice(0, pair.indexOf('=') + 1), pair.slice(pair.indexOf('=') + 1).trim()]
        if (name.trim().toLowerCase() !== 'for=') continue
        return nodeOf(/^".*"$/.test(value) ? value.slice(1, -1).replace(/\\(.)/g, '$1') : value)
      }
      return ''
    })
}

/**
 * Cuts at a separator; within quotes it separates nothing. A quote that is never closed would make a client's words and its
 * proxy's one: throws the Problem of it.
 */
function parted(text: string, separator: ',' | ';'): string[] {
  const parts: string[] = []
  let [from, isQuoted] = [0, false]
  for (let i = 0; i < text.length; i++) {
    const char = text[i]
    if (char === '"') isQuoted = !isQuoted
    else if (char === '\\' && isQuoted) i++
    else if (char === separator && !isQuoted) {
      parts.push(text.slice(from, i))
      from = i + 1
    }
  }
  if (isQuoted) throw unread('a quote in Forwarded is not closed')
  return [...parts, text.slice(from)]
}

/** `192.0.2.1:4711`, `[2001:db8::1]:4711` and both without a port as an address alone; anything else as it is. */
function nodeOf(text: string): string {
  const node = text.trim()
  const [, inBrackets, dotted] = /^(?:\[([^\]]*)\]|(\d+\.\d+\.\d+\.\d+))(?::[^:]*)?$/.exec(node) ?? []
  return plainAddress(inBrackets ?? dotted ?? node)
}
