// What stands before every TCP listener: accept limits, the PROXY header of trusted proxies, TLS. Hands over connections with
// the address of the real peer, and tells each refusal by its name. Knows nothing of what is spoken on them; never logs.
import { type BlockList, createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type TLSSocket, type Server as TlsServer } from 'node:tls'
import { isListed, networkOf, plainAddress } from './address.js'
import type { TlsMaterial } from './certificate.js'
import type { Crowd } from './crowd.js'
import { readProxyHeader } from './proxy.js'

/** Whose connection it is. */
export interface Origin {
  /** IPv4, or IPv6 without a zone; what the proxy said, where there is one. */
  readonly address: string
  readonly port: number
  /** Over TLS. */
  readonly isSecure: boolean
  /** The subject of the client certificate, where one was shown and is good: `CN=shop`. */
  readonly clientSubject: string | null
}

export type Refusal =
  | 'too many connections'
  | 'too many of one address'
  | 'too fast'
  | 'barred'
  | 'no trusted proxy'
  | 'bad proxy header'
  | 'proxy header late'
  | 'tls handshake'
  | 'tls handshake late'
  | 'no client certificate'
  | 'bad client certificate'

export interface ListenerOptions {
  /** null: plain TCP. */
  readonly tls: TlsMaterial | null
  /** Proxies, which must begin each connection with a PROXY header; then nobody else may connect. null: no proxies. */
  readonly proxies: BlockList | null
  readonly crowd: Crowd
  /** What a PROXY header may take, and then again a TLS handshake. */
  readonly patienceMs: number
  /** Closed as soon as its address is known. */
  isBarred(address: string): boolean
  /** The socket has not been read from but for its PROXY header, and is not paused. */
  connected(socket: Socket, origin: Origin): void
  refused(why: Refusal, address: string): void
  /** Of the listening socket, such as EMFILE. */
  failed(error: Error): void
}

interface Shaking {
  readonly raw: Socket
  readonly address: string
  readonly port: number
  /** Octets of its PROXY header. */
  readonly octetsBefore: number
}

export class Listener {
  private readonly options: ListenerOptions
  private readonly server: Server
  private readonly tls: TlsServer | null
  /** Connections whose PROXY header is not whole yet. */
  private readonly early = new Set<Socket>()
  /** Connections in the midst of their TLS handshake, by what identifies them on both sides of Node's TLS. */
  private readonly shaking = new Map<string, Shaking>()

  constructor(options: ListenerOptions) {
    this.options = options
    this.server = createServer({ noDelay: true }, socket => this.accept(socket))
    this.tls = options.tls === null ? null : this.tlsServer(options.tls)
  }

  /** Resolves with the port; rejects with what the system says (EADDRINUSE, EACCES). */
  listen(at: { host: string; port: number }): Promise<number> {
    return new Promise((resolve, reject) => {
      this.server.once('error', reject)
      this.server.listen({ ...at, backlog: 1024 }, () => {
        this.server.off('error', reject)
        this.server.on('error', error => this.options.failed(error))
        const address = this.server.address()
        resolve(typeof address === 'object' && address !== null ? address.port : at.port)
      })
    })
  }

  /** New connections get this certificate; those that are keep theirs. `clientCert` stays as it was. */
  useCertificate({ cert, key, ca }: TlsMaterial): void {
    this.tls?.setSecureContext({ cert, key, ...(ca ? { ca } : {}) })
  }

  /** No new connections; those handed over stay, those that are not yet go. */
  close(): void {
    this.server.close()
    for (const socket of this.early) socket.destroy()
    for (const { raw } of this.shaking.values()) raw.destroy()
  }

  private accept(socket: Socket): void {
    const { crowd, proxies } = this.options
    if (socket.remoteAddress === undefined) {
      // Gone before it was looked at.
      socket.destroy()
      return
    }
    const address = plainAddress(socket.remoteAddress)
    if (crowd.isFull) {
      this.refuse(socket, 'too many connections', address)
      return
    }
    crowd.count++
    socket.once('close', () => crowd.count--)
    if (proxies === null) this.admit(socket, address, socket.remotePort ?? 0)
    else if (isListed(proxies, address)) this.awaitHeader(socket, address)
    else this.refuse(socket, 'no trusted proxy', address)
  }

  private awaitHeader(socket: Socket, proxy: string): void {
    let octets: Buffer = Buffer.alloc(0)
    let timer: NodeJS.Timeout
    const done = (): void => {
      clearTimeout(timer)
      this.early.delete(socket)
      socket.off('data', onData).off('end', onEnd).off('close', done)
    }
    const onData = (chunk: Buffer): void => {
      octets = octets.length === 0 ? chunk : Buffer.concat([octets, chunk])
      const header = readProxyHeader(octets)
      if (header === 'more') return
      done()
      if (header === 'bad') {
        this.refuse(socket, 'bad proxy header', proxy)
        return
      }
      // What came behind the header is the peer's first words.
      socket.pause()
      if (octets.length > header.length) socket.unshift(octets.subarray(header.length))
      if (header.source === undefined) this.hand(socket, proxy, socket.remotePort ?? 0)
      else this.admit(socket, plainAddress(header.source.address), header.source.port)
      if (this.tls === null && !socket.destroyed) socket.resume()
    }
    // A probe of a load balancer: it came to see whether we listen.
    const onEnd = (): void => {
      done()
      socket.destroy()
    }
    timer = setTimeout(() => {
      done()
      this.refuse(socket, 'proxy header late', proxy)
    }, this.options.patienceMs)
    this.early.add(socket)
    socket.on('error', () => {})
    socket.on('data', onData).on('end', onEnd).on('close', done)
  }

  /** The real peer is known. */
  private admit(socket: Socket, address: string, port: number): void {
    const { options } = this
    if (options.isBarred(address)) {
      this.refuse(socket, 'barred', address)
      return
    }
    const network = networkOf(address)
    const why = options.crowd.enter(network)
    if (why !== undefined) {
      this.refuse(socket, why, address)
      return
    }
    socket.once('close', () => options.crowd.leave(network))
    this.hand(socket, address, port)
  }

  private hand(raw: Socket, address: string, port: number): void {
    const { tls } = this
    if (tls === null) {
      this.options.connected(raw, { address, port, isSecure: false, clientSubject: null })
      return
    }
    const key = keyOf(raw)
    this.shaking.set(key, { raw, address, port, octetsBefore: raw.bytesRead - raw.readableLength })
    raw.on('error', () => {})
    raw.once('close', () => {
      if (this.shaking.get(key)?.raw === raw) this.unshaken(key, 'tls handshake')
    })
    tls.emit('connection', raw)
  }

  private tlsServer({ cert, key, ca, clientCert }: TlsMaterial): TlsServer {
    const server = createTlsServer({
      cert,
      key,
      ...(ca ? { ca } : {}),
      minVersion: 'TLSv1.2',
      handshakeTimeout: this.options.patienceMs,
      requestCert: clientCert !== 'none',
      // Judged in `shaken`, where the refusal has a name.
      rejectUnauthorized: false,
    })
    server.on('secureConnection', socket => this.shaken(socket, clientCert))
    server.on('tlsClientError', (error, socket) => {
      const isLate = (error as NodeJS.ErrnoException).code === 'ERR_TLS_HANDSHAKE_TIMEOUT'
      this.unshaken(keyOf(socket), isLate ? 'tls handshake late' : 'tls handshake')
    })
    return server
  }

  private shaken(socket: TLSSocket, clientCert: TlsMaterial['clientCert']): void {
    const key = keyOf(socket)
    const found = this.shaking.get(key)
    socket.on('error', () => {})
    if (found === undefined) {
      socket.destroy()
      return
    }
    let clientSubject: string | null = null
    if (clientCert !== 'none') {
      const shown = socket.getPeerX509Certificate()
      if (shown !== undefined && !socket.authorized) {
        this.unshaken(key, 'bad client certificate')
        return
      }
      if (shown === undefined && clientCert === 'require') {
        this.unshaken(key, 'no client certificate')
        return
      }
      clientSubject = shown?.subject.replaceAll('\n', ', ') ?? null
    }
    this.shaking.delete(key)
    const { address, port } = found
    this.options.connected(socket, { address, port, isSecure: true, clientSubject })
  }

  private unshaken(key: string, why: Refusal): void {
    const found = this.shaking.get(key)
    if (found === undefined) return
    this.shaking.delete(key)
    const { raw, address, octetsBefore } = found
    // One that came and went without a word was a probe: nothing to tell.
    if (why === 'tls handshake' && raw.bytesRead === octetsBefore) raw.destroy()
    else this.refuse(raw, why, address)
  }

  private refuse(socket: Socket, why: Refusal, address: string): void {
    socket.destroy()
    this.options.refused(why, address)
  }
}

/** Node gives no way from a TLSSocket back to its connection, but both know their ends. */
const keyOf = (socket: Socket): string => `${socket.remoteAddress} ${socket.remotePort} ${socket.localPort}`
