// What an account wants of STOP, START and HELP from phones. Knows what may stand there, and its defaults; what is done
// about a word is for those who read it.

import { z } from 'zod'

const answer = z.string().min(1).max(1000).regex(/\S/, 'must have a text, or be null').nullable().default(null)

export const consentProfile = z.strictObject({
  /** STOP and START from phones are kept and heeded; false: the customer sees to it, and gets them like any message. */
  stop: z.boolean().default(true),
  /** What has been stopped holds back one-time passwords too. */
  stopsOtp: z.boolean().default(false),
  /** Sent once a day at most to a phone that asks for help; null: nothing. */
  help: answer,
  /** Sent to a phone that has just stopped; null: nothing. */
  confirm: answer,
})

export type ConsentProfile = Readonly<z.output<typeof consentProfile>>

const preset: ConsentProfile = consentProfile.parse({})

/** A stored profile, defaults filled in. Throws on what no release of ours wrote. */
export function readConsentProfile(stored: object): ConsentProfile {
  return Object.keys(stored).length === 0 ? preset : consentProfile.parse(stored)
}

/** What is stored and exported: the settings that differ from their defaults. */
export function storedConsentProfile(profile: ConsentProfile): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(profile).filter(([name, value]) => value !== preset[name as keyof ConsentProfile]),
  )
}
