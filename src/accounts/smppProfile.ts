// What an account wants of SMPP, setting by setting: where it may bind from, what its data_coding means, the form of its
// receipts. Knows what may stand there, and its defaults; what a setting does is for those who read it.

import { z } from 'zod'
import { isRange } from '../../protocols/net/address.js'
import { stateNames } from '../model/message.js'

/**
 * What the octets of a message are. gsm: one septet of GSM 03.38 to the octet, as SMPP carries it; gsm-packed: eight
 * septets in seven octets; utf16le: UCS-2 in the wrong order, as some send it; binary: no text at all.
 */
const alphabets = [
  'gsm',
  'gsm-packed',
  'ascii',
  'latin1',
  'windows-1252',
  'iso-8859-5',
  'iso-8859-8',
  'ucs2',
  'utf16le',
  'utf8',
  'binary',
] as const

/** data_coding, in decimal, and what its octets are where that is not the standard's. */
export const codings = z.record(
  z.string().regex(/^(?:[0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])$/, 'must be a data_coding from 0 to 255'),
  z.enum(alphabets),
)

const address = z.strictObject({
  ton: z.int().min(0).max(6).default(1),
  npi: z.int().min(0).max(18).default(1),
  address: z.string().min(1).max(20),
})

export const smppProfile = z.strictObject({
  /** Addresses and CIDR ranges, of either family, that it may bind from; none = any. */
  allowFrom: z.array(z.string().refine(isRange, 'must be an IP address or a range like 192.0.2.0/24')).default([]),
  /** What data_coding means in its messages, both ways, where that is not the standard's: `{"0": latin1}`. */
  codings: codings.default({}),
  /** Typographic characters that alone would force UCS-2 are replaced by their like: curly quotes, dashes, blanks. */
  smartReplace: z.boolean().default(false),
  /** A text without an octet: taken, or refused with ESME_RINVMSGLEN. */
  emptyMessages: z.boolean().default(true),
  /** Segments that one message may have. */
  maxSegments: z.int().min(1).max(255).default(255),
  /** Messages that it sends in parts: as it cut them, or put together and cut anew for the carrier. */
  longMessages: z.enum(['asCut', 'rejoin']).default('asCut'),
  /** Ids of its messages: 16 decimal or 14 hexadecimal digits; peers of v3.3 have 8 hexadecimal ones. For binds to come. */
  ids: z.enum(['decimal', 'hex']).default('decimal'),
  /** Messages from phones that came in parts: as they came, or put together into one deliver_sm. */
  replies: z.enum(['asCut', 'rejoin']).default('asCut'),
  /** replace_if_present_flag may be used: its waiting messages are indexed by their addresses. */
  replace: z.boolean().default(false),
  /** Texts that sm_default_msg_id names. */
  defaultMessages: z
    .record(
      z.string().regex(/^(?:[1-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-4])$/, 'must be 1 to 254'),
      z.string().max(2000),
    )
    .default({}),
  /** Names that submit_multi may use instead of an address. */
  distributionLists: z
    .record(z.string().regex(/^[\x20-\x7e]{1,20}$/, 'must be 1 to 20 characters'), z.array(address).max(10_000))
    .default({}),
  receipts: z
    .strictObject({
      /** How the text has the message's id, if not as in submit_sm_resp. receipted_message_id always has it so. */
      id: z.enum(['same', 'decimal', 'hex']).default('same'),
      /** YYMMDDhhmm, YYMMDDhhmmss or YYYYMMDDhhmmss. */
      dateDigits: z.literal([10, 12, 14]).default(10),
      /** Other words for a state: `{UNDELIVERABLE: FAILED}`. */
      states: z
        .partialRecord(z.enum(stateNames), z.string().regex(/^[A-Z_]{1,16}$/, 'must be 1 to 16 capitals'))
        .default({}),
      /** One for the whole message, or one for each part it was sent in. */
      of: z.enum(['message', 'part']).default('message'),
      /** To any bind of the account that receives, or to the one that sent the message while it lives. */
      to: z.enum(['any', 'sender']).default('any'),
    })
    .prefault({}),
})

export type SmppProfile = Readonly<z.output<typeof smppProfile>>

const preset: SmppProfile = smppProfile.parse({})
/** The table of an account that has said nothing of codings, for most accounts this very object. */
export const noCodings = preset.codings

/** The form of receipts of whoever has set nothing: the standard's. The same object in every profile that has it. */
export const plainReceipts: SmppProfile['receipts'] = preset.receipts

/** A stored profile, defaults filled in. Throws on what no release of ours wrote. */
export function readProfile(stored: object): SmppProfile {
  if (Object.keys(stored).length === 0) return preset
  const profile = smppProfile.parse(stored)
  const isPlain = JSON.stringify(profile.receipts) === JSON.stringify(plainReceipts)
  return isPlain ? { ...profile, receipts: plainReceipts } : profile
}

/** What is stored and exported: the settings that differ from their defaults. */
export function storedProfile(profile: SmppProfile): Record<string, unknown> {
  const differs = ([name, value]: [string, unknown]): boolean =>
    JSON.stringify(value) !== JSON.stringify(preset[name as keyof SmppProfile])
  return Object.fromEntries(Object.entries(profile).filter(differs))
}
