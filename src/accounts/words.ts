// What people and programs may write where it is kept in SQL and shown to others: bounded in octets, as columns are, and
// nothing that a column, a terminal or a mail's header would take for more than text.

import { z } from 'zod'

/** Control characters (C0, C1, DEL), and halves of characters that UTF-16 has in two. */
const NO_TEXT = /[\p{Cc}\p{Cs}]/u

/** Text of one line, of so many octets in UTF-8. */
export const words = (octets: number) =>
  z
    .string()
    .max(octets)
    .refine(text => Buffer.byteLength(text) <= octets, `must be at most ${octets} octets in UTF-8`)
    .refine(text => !NO_TEXT.test(text), 'must have no control characters')
