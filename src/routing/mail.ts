// The way of mails: no rule of the directory leads there, and none of it to a carrier of text messages. Knows its number.

/** Lane of all mails; no row of routes gets so far. */
export const MAIL_LANE = 0x7fff_ffff
