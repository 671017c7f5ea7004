// Settings of what stands beside the way of a message: people, webhooks, one-time passwords, the sandbox, figures and
// bills. Knows bounds and words; what an account has of its own stands in its row.

import { z } from 'zod'
import { DAY_MS, flag, ranges, text, whole } from './kinds.js'

export const people = z
  .strictObject({
    register: z
      .enum(['closed', 'open'])
      .default('closed')
      .meta({ description: 'Whether anybody may register over HTTP; closed: administrators add users.' }),
    resetUrl: z
      .string()
      .refine(value => /^https?:\/\//.test(value) && value.includes('{token}') && URL.canParse(value))
      .nullable()
      .default(null)
      .meta({
        description:
          'The page where users choose another password, for the mail that they get; null: the mail has the token alone.',
        expects: 'null or a URL with {token}, like https://app.example/reset?token={token}',
      }),
  })
  .prefault({})

export const audit = z
  .strictObject({
    retentionDays: whole(0, 0, 36_500, 'What was changed by whom is told for so many days; 0 is for ever.'),
  })
  .prefault({})

export const webhooks = z
  .strictObject({
    allow: ranges('Networks of ours that webhooks may reach, also over plain http; others must be public, and https.'),
    retryMs: z
      .array(
        z
          .int()
          .min(100)
          .max(7 * DAY_MS),
      )
      .min(1)
      .max(32)
      .default([5_000, 300_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 50_400_000, 72_000_000, 86_400_000])
      .meta({
        description: 'Waits after the first try of an event, the second and so on; the last is for all others.',
        expects: 'a list of milliseconds, 100 to 604800000',
      }),
    disableAfterHours: whole(120, 1, 8_760, 'A webhook that has failed for so long is switched off.'),
  })
  .prefault({})

export const otp = z
  .strictObject({
    length: whole(6, 6, 10, 'Digits of a one-time password, where neither account nor request say.'),
    expiryMs: whole(300_000, 60_000, 600_000, 'It is good for so long.'),
    attempts: whole(3, 1, 5, 'Wrong codes that a session takes.'),
    attemptsMs: whole(
      600_000,
      60_000,
      DAY_MS,
      'Wrong codes count for the next session of the same number and purpose for so long after the first.',
    ),
    cooldownMs: whole(60_000, 0, 3_600_000, 'From one code to the next for a number.'),
    perHour: whole(5, 1, 1_000, 'Codes for a number in an hour.'),
    perDay: whole(10, 1, 10_000, 'The same in a day.'),
    perDayInAll: whole(
      20,
      0,
      1_000_000,
      'Codes for a number or mail address in a day over all accounts, if that is more than perDay; 0 is no limit.',
    ),
    perAddressHour: whole(
      10,
      0,
      1_000_000,
      'Codes in an hour for one IP address of a client, where it is told; 0 is no limit.',
    ),
    pepperHours: whole(24, 1, 8_760, 'Codes are hashed under a new secret after so long.'),
    guardPercent: whole(
      35,
      0,
      100,
      'Numbers of one account that begin alike get no codes for a while when fewer of theirs are entered, and those of a country when fewer than half as many are; 0 is never.',
    ),
    guardFrom: whole(
      50,
      5,
      1_000_000,
      'So many codes must have been sent there in an hour before that is judged, and to a country twenty times as many.',
    ),
    guardGraceMs: whole(
      180_000,
      0,
      600_000,
      'A code that was sent later than this is not judged yet; ten times guardFrom may be in that time, or four times those that are entered.',
    ),
    guardHours: whole(
      12,
      1,
      8_760,
      'They get none for half an hour at first, for twice as long each time that they are no better then, and never for longer than this.',
    ),
  })
  .prefault({})

export const sandbox = z
  .strictObject({
    enabled: flag(
      false,
      'Messages to +999 000 0001xx, and all that come with test keys, go to a carrier in the daemon that plays every outcome, and never to another.',
    ),
  })
  .prefault({})

export const analytics = z
  .strictObject({
    hoursDays: whole(
      100,
      2,
      3_650,
      'Counts by the hour are kept for so many days; what is older is told by days of UTC.',
    ),
    days: whole(1_830, 2, 36_500, 'Counts by the day are kept for so many days.'),
    showCarriers: flag(false, 'Accounts are told by which carriers their messages went.'),
  })
  .prefault({})

export const billing = z
  .strictObject({
    currency: text('EUR', /^[A-Z]{3}$/, 'an ISO 4217 code like EUR', 'The one currency of all prices and balances.'),
    // Text, so that 8.1 stays 8.1.
    taxPercent: z.coerce
      .string()
      .regex(/^(?:\d{1,2}(?:\.\d{1,4})?|100)$/)
      .default('0')
      .meta({
        description: 'Tax in percent that invoices add to what messages cost.',
        expects: 'a percentage from 0 to 100 with up to 4 decimals',
      }),
    seller: z.string().max(1_000).default('').meta({
      description: 'Who bills: name, address and tax number as invoices show them, in lines.',
      expects: 'a text',
    }),
  })
  .prefault({})
