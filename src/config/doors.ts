// Settings of the doors: where ESMEs, mail and HTTP come in, who may, and how much of it. Knows bounds and words; the
// listeners that they open are others'.

import { z } from 'zod'
import { isRange } from '../../protocols/net/address.js'
import { ANY_NAME, DAY_MS, DOMAIN, flag, listen, names, ranges, text, tls, whole } from './kinds.js'

export const smpp = z
  .strictObject({
    listen: listen('127.0.0.1:2775', 'Where ESMEs bind.'),
    systemId: text('trunkline', /^[\x21-\x7e]{1,15}$/, '1 to 15 ASCII characters', 'Our name in bind responses.'),
    sessionInitMs: whole(10_000, 100, 600_000, 'A connection that has not bound by then is closed.'),
    enquireLinkMs: whole(30_000, 100, 3_600_000, 'After this silence we ask the peer whether it is there.'),
    responseMs: whole(
      60_000,
      100,
      3_600_000,
      'A request of ours unanswered for this long has failed; an enquire_link ends the session.',
    ),
    inactivityMs: whole(0, 0, DAY_MS, 'A bind that carries no message for this long is closed; 0 is never.'),
    window: whole(500, 1, 100_000, 'Requests of ours (deliver_sm) that may be unanswered on one bind.'),
    peerWindow: whole(5_000, 1, 1_000_000, 'Requests of a peer held unanswered before its socket is not read.'),
    maxPduBytes: whole(70_000, 1_024, 16_777_216, 'A longer PDU closes the session.'),
    sendBytes: whole(1_048_576, 65_536, 1_073_741_824, 'Bytes waiting for a slow peer before we stop reading from it.'),
    stallMs: whole(
      30_000,
      100,
      3_600_000,
      'A peer that takes none of the bytes waiting for it for this long is closed.',
    ),
    maxConnections: whole(10_000, 1, 1_000_000, 'Connections at one time, bound or not.'),
    maxConnectionsPerAddress: whole(
      2_000,
      0,
      1_000_000,
      'The same of one address (IPv6: of one /64); 0 is no limit of its own.',
    ),
    connectionsPerSecond: whole(
      2_000,
      0,
      1_000_000,
      'New connections a second of one address (IPv6: of one /64); 0 is no limit.',
    ),
    legacyBindCodes: flag(
      false,
      'A failed bind tells an unknown system_id from a wrong password, instead of ESME_RBINDFAIL for both.',
    ),
    congestion: flag(false, 'Answers to peers of SMPP v5.0 tell how full the queue is: congestion_state.'),
    failedBindDelayMs: whole(
      4_000,
      0,
      60_000,
      'The answer to failed binds of one address waits longer and longer, up to this; 0 never waits.',
    ),
    failedBinds: whole(
      100,
      0,
      1_000_000,
      'After so many failed binds of one address it is barred for a while; a good bind makes up for those of its name; 0 is never.',
    ),
    barredMs: whole(60_000, 1_000, DAY_MS, 'A barred address finds its connections closed for this long.'),
    proxy: ranges(
      'Proxies, which must put a PROXY header (v1, v2) before each connection; then nobody else may connect.',
    ),
    tls: tls('127.0.0.1:3550', 'ESMEs bind'),
  })
  .prefault({})

export const smtp = z
  .strictObject({
    listen: listen(
      '127.0.0.1:2525',
      'Where applications submit mail; beyond the machine itself they authenticate after STARTTLS only.',
    ),
    hostname: text('localhost', DOMAIN, 'a domain name in lower case', 'Our name in the greeting.'),
    smsDomains: names(
      ['sms.localhost'],
      DOMAIN,
      'a list of domain names in lower case',
      'Mail to NUMBER@ one of these domains becomes a text message.',
    ),
    catch: flag(
      false,
      'For developers: no mail is delivered; all that would leave, and mail to any address that is no phone number, is kept for the side-port to show at /catch.',
    ),
    postmaster: z
      .string()
      .regex(/^[^\s@<>]+@[^\s@<>]+$/)
      .nullable()
      .default(null)
      .meta({
        description: 'Who reads the mail to postmaster@ our domains, and whose name notifications bear.',
        expects: 'a mail address or null',
      }),
    trusted: z
      .array(z.string().refine(value => trustedFrom(value) !== undefined))
      .default([])
      .meta({
        description: 'Addresses whose mail needs no authentication, and whose it is.',
        expects: 'a list of ADDRESS=SYSTEMID or RANGE=SYSTEMID, like 192.0.2.7=shop',
      }),
    maxBytes: whole(20_971_520, 65_536, 1_073_741_824, 'Octets of one mail; of attachments nothing is kept.'),
    maxRecipients: whole(1_000, 100, 100_000, 'Recipients of one mail.'),
    idleMs: whole(300_000, 1_000, 3_600_000, 'From one whole command to the next; then the connection is closed.'),
    handshakeMs: whole(10_000, 100, 600_000, 'What a TLS handshake or a PROXY header may take.'),
    maxConnections: whole(10_000, 1, 1_000_000, 'Connections at one time.'),
    maxConnectionsPerAddress: whole(
      5_000,
      0,
      1_000_000,
      'The same of one address (IPv6: of one /64); 0 is no limit of its own.',
    ),
    connectionsPerSecond: whole(
      5_000,
      0,
      1_000_000,
      'New connections a second of one address (IPv6: of one /64); 0 is no limit.',
    ),
    proxy: ranges(
      'Proxies, which must put a PROXY header (v1, v2) before each connection; then nobody else may connect.',
    ),
    tls: tls('127.0.0.1:2465', 'applications submit mail'),
  })
  .prefault({})

export const admin = z
  .strictObject({
    listen: listen('127.0.0.1:8080', 'The HTTP side-port: API, health, metrics.'),
    key: z.string().min(16).max(256).nullable().default(null).meta({
      description: 'The key that administration over the network needs; without one it is refused there.',
      expects: 'null or at least 16 characters',
      secret: true,
    }),
    allowedOrigins: names(
      [],
      /^https?:\/\/[^\s/?#@]+$/,
      'a list of origins like https://app.example',
      'Pages from these origins may call the API from a browser (CORS).',
    ),
    trustedProxies: ranges(
      'Reverse proxies whose Forwarded or X-Forwarded-For is believed; of all others the connection alone says who asks.',
    ),
    apiKeyRequired: flag(
      true,
      'Without it a request without a key acts for admin.openAccount; only while nobody else can reach admin.listen.',
    ),
    openAccount: text('demo', ANY_NAME, 'a system_id', 'The account of requests without a key.'),
    metricsAccounts: names(
      [],
      ANY_NAME,
      'a list of system_ids',
      'Accounts that have a label of their own in /metrics.',
    ),
  })
  .prefault({})

/** `192.0.2.7=shop`, `10.0.0.0/8=shop`: a range, and whose mail comes from there; undefined when it is neither. */
export function trustedFrom(value: string): { range: string; systemId: string } | undefined {
  const parts = /^([^=]+)=(\S{1,64})$/.exec(value)
  const [, range = '', systemId = ''] = parts ?? []
  return isRange(range) ? { range, systemId } : undefined
}
