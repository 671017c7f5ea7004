// Settings of what becomes of messages: how many wait and for how long, when they go, how often they are tried, and how long
// they are told of.

import { z } from 'zod'
import { readQuiet, readQuietCountry } from '../model/quiet.js'
import { DAY_MS, whole } from './kinds.js'

/** How often a class of messages is tried. */
const retry = (what: string, firstMs: number, capMs: number, maxAgeMs: number) =>
  z
    .strictObject({
      firstMs: whole(firstMs, 100, DAY_MS, `The first wait before ${what} is tried again; it doubles.`),
      capMs: whole(capMs, 100, DAY_MS, 'The longest wait.'),
      maxAgeMs: whole(maxAgeMs, 1_000, 30 * DAY_MS, 'One older than this is not tried again, and ends as UNDELIV.'),
    })
    .prefault({})

export const spool = z
  .strictObject({
    reserveMb: whole(512, 1, 1_048_576, 'Below this much free disk, new messages are refused for now.'),
    maxWaiting: whole(10_000_000, 1, 1_000_000_000, 'Messages that may wait in all.'),
    maxWaitingPerAccount: whole(5_000_000, 1, 1_000_000_000, 'Messages of one account that may wait.'),
    mapGb: whole(64, 1, 16_384, 'The size to which the message store may grow.'),
    keepReceiptsHours: whole(72, 1, 8_760, 'Receipts and replies that nobody takes are kept this long.'),
    keepReceiptsPerAccount: whole(1_000_000, 1, 1_000_000_000, 'Receipts and replies kept for one account.'),
    receiptGraceMs: whole(
      3_600_000,
      0,
      30 * DAY_MS,
      'What a carrier took and has not reported this long after its validity ends as UNKNOWN.',
    ),
  })
  .prefault({})

export const lifetimes = z
  .strictObject({
    otpMs: whole(600_000, 1_000, 30 * DAY_MS, 'An otp message without a validity period ends after this.'),
    transactionalMs: whole(DAY_MS, 1_000, 30 * DAY_MS, 'The same for a transactional message.'),
    bulkMs: whole(2 * DAY_MS, 1_000, 30 * DAY_MS, 'The same for a bulk message.'),
  })
  .prefault({})

export const quietHours = z
  .strictObject({
    hours: z
      .string()
      .refine(value => readQuiet(value) !== undefined)
      .default('off')
      .meta({
        description: 'Hours in which no bulk message is sent to a phone, by the clocks where the phone is.',
        expects: 'off or hours like 21:00-08:00',
      }),
    countries: z
      .array(z.string().refine(value => readQuietCountry(value) !== undefined))
      .default([])
      .meta({
        description: 'The same for the numbers of single countries.',
        expects: 'a list of COUNTRY=HOURS or COUNTRY=off, like FR=20:00-10:00',
      }),
  })
  .prefault({})

export const loops = z
  .strictObject({
    returns: whole(
      10,
      0,
      60_000,
      'A message that comes again over another account than at first, the same in addresses and text, is refused after so many times a minute; 0 is never.',
    ),
    repeats: whole(0, 0, 60_000, 'The same over whichever account, the first one too; 0 is never.'),
  })
  .prefault({})

export const retries = z
  .strictObject({
    otp: retry('an otp message', 1_000, 15_000, 300_000),
    transactional: retry('a transactional message', 5_000, 600_000, DAY_MS),
    bulk: retry('a bulk message', 30_000, 1_800_000, 2 * DAY_MS),
  })
  .prefault({})

export const history = z
  .strictObject({
    retentionDays: whole(90, 1, 3_650, 'History older than this is dropped, a day at a time.'),
  })
  .prefault({})
