// One customer of the simulator, by system_id: its binds that take deliver_sm, and the receipts and replies that wait for
// one of them. What a bind has not acknowledged when it is lost goes out again, as with any message centre that is
// worth its name. Knows order and time; the PDUs are the peer's.

import { Fifo } from '../fifo.js'
import type { Peer } from './peer.js'

/** A message that was taken, with what its answer, its receipt and a reply to it need. Used again and again. */
export class Taken {
  serial = 0
  source_addr_ton = 0
  source_addr_npi = 0
  source_addr = ''
  dest_addr_ton = 0
  dest_addr_npi = 0
  destination_addr = ''
  /** sequence_number and command_status of the answer, while that is held back. */
  sequence = 0
  status = 0
  /** What follows: nothing, its receipt, or (of a copy) a reply. */
  leadsTo: 'nothing' | 'receipt' | 'reply' = 'nothing'
  /** Not before this moment. */
  dueMs = 0
  sentBefore = false
}

/** After a "not now" the client is left alone for so long. */
const REST_MS = 1000

export class Client {
  private readonly peers: Peer[] = []
  private readonly waiting = new Fifo<Taken>()
  private restUntil = 0
  private turn = 0

  get size(): number {
    return this.waiting.size
  }

  join(peer: Peer): void {
    this.peers.push(peer)
  }

  leave(peer: Peer): void {
    const at = this.peers.indexOf(peer)
    if (at >= 0) this.peers.splice(at, 1)
  }

  /** Whether `peer` may send one now, before all that waits. */
  goesAtOnce(peer: Peer, now: number): boolean {
    return this.waiting.size === 0 && now >= this.restUntil && peer.hasRoom(now)
  }

  push(taken: Taken): void {
    this.waiting.push(taken)
  }

  rest(now: number): void {
    this.restUntil = now + REST_MS
  }

  /** Sends what is due, as far as the binds have room. */
  pump(now: number): void {
    if (now < this.restUntil) return
    for (let first = this.waiting.first(); first !== undefined && first.dueMs <= now; first = this.waiting.first()) {
      const peer = this.pick(now)
      if (peer === null) return
      this.waiting.shift()
      peer.deliver(first)
    }
  }

  /** When to pump again without being asked; Infinity when a bind will ask. */
  dueMs(now: number): number {
    const first = this.waiting.first()
    if (first === undefined) return Number.POSITIVE_INFINITY
    const due = Math.max(first.dueMs, this.restUntil)
    return due > now ? due : Number.POSITIVE_INFINITY
  }

  /** The binds in turn. */
  private pick(now: number): Peer | null {
    const { peers } = this
    for (let i = 0; i < peers.length; i++) {
      this.turn = (this.turn + 1) % peers.length
      const peer = peers[this.turn] as Peer
      if (peer.hasRoom(now)) return peer
    }
    return null
  }
}
