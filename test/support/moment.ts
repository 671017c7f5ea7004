// A moment as receipts of SMSCs name it. A test's carrier speaks of this minute: what it says to be further away than the
// zones of the world are apart is not believed. Written in its own way, not with our formatter.

/** `YYMMDDhhmm` in UTC, of milliseconds since 1970: of this minute if none are given. */
export function minuteText(ms = Date.now()): string {
  return new Date(ms).toISOString().replace(/\D/g, '').slice(2, 12)
}
