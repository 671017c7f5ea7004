// What an account wants of its one-time passwords, setting by setting: how a code looks, who its message is from, where it
// may go and what it may cost. Knows what may stand there, and its defaults; null leaves it to the gateway's settings.

import { z } from 'zod'

export const brand = z
  .string()
  .max(32)
  .regex(/^[^\p{Cc}]*$/u, 'must be one line')

export const otpDomain = z
  .string()
  .max(253)
  .regex(/^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$/, 'must be a domain name in lower case')

export const appHash = z.string().regex(/^[A-Za-z0-9+/]{11}$/, 'must be the 11 characters of an Android app')

/** Those that messages are written in. */
export const languages = ['en', 'de', 'fr', 'es', 'pt', 'it', 'nl', 'pl', 'tr', 'ru', 'ar', 'zh'] as const
export type Language = (typeof languages)[number]

export const otpProfile = z.strictObject({
  /** Begins its messages. */
  brand: brand.default(''),
  /** Source address of its messages where the request names none; '' leaves it to the carrier. */
  sender: z.string().max(20).default(''),
  /** Of its messages, where the request names none. */
  language: z.enum(languages).default('en'),
  format: z.enum(['digits', 'letters', 'words']).default('digits'),
  /** Digits, letters or words of a code. */
  length: z.int().min(2).max(10).nullable().default(null),
  expiryMinutes: z.int().min(1).max(10).nullable().default(null),
  attempts: z.int().min(1).max(5).nullable().default(null),
  /** Codes of four or five digits may be asked for: less than NIST SP 800-63B wants. */
  shortCodes: z.boolean().default(false),
  /** Codes that it may ask for in an hour; null = no limit of its own. */
  perHour: z.int().min(1).max(1_000_000_000).nullable().default(null),
  /** The only countries that codes are sent to, like DE; none = all. */
  countries: z.array(z.string().regex(/^[A-Z]{2}$/, 'must be two capital letters like DE')).default([]),
  /** Micros that one message may cost; null = whatever it costs. */
  maxPriceMicros: z.int().min(0).max(1_000_000_000_000).nullable().default(null),
  /** A prefix whose codes are hardly ever entered gets no more of them for a while. */
  guard: z.boolean().default(true),
  /** Last line of its messages for browsers, `@domain #code`; '' = none. */
  domain: otpDomain.or(z.literal('')).default(''),
  /** Last line of its messages for an Android app; '' = none. */
  appHash: appHash.or(z.literal('')).default(''),
  /** Sender of its mails; '' = the gateway's postmaster. */
  mailFrom: z
    .string()
    .max(254)
    .regex(/^(?:[^\s@<>]+@[^\s@<>]+)?$/, 'must be a mail address')
    .default(''),
})

export type OtpProfile = Readonly<z.output<typeof otpProfile>>

/** Once any two letters were taken, and English was sent where there are no texts. */
const storedProfile = otpProfile.extend({ language: z.enum(languages).catch('en') })

const preset: OtpProfile = otpProfile.parse({})

/** A stored profile, defaults filled in. Throws on what no release of ours wrote. */
export function readOtpProfile(stored: object): OtpProfile {
  return Object.keys(stored).length === 0 ? preset : storedProfile.parse(stored)
}

/** What is stored and exported: the settings that differ from their defaults. */
export function storedOtpProfile(profile: OtpProfile): Record<string, unknown> {
  const differs = ([name, value]: [string, unknown]): boolean =>
    JSON.stringify(value) !== JSON.stringify(preset[name as keyof OtpProfile])
  return Object.fromEntries(Object.entries(profile).filter(differs))
}
