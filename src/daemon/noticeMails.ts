// Notices as mails: what a person is told in words, plain text and short. Knows types of notices and what stands in them;
// who gets a mail, and how, it does not know.

import type { OwnMail } from './mailOut.js'

/** A token with which a user chooses another password. */
export const RESET = 'user.password_reset'
const RESET_LIFE_MS = 3_600_000
const DAY_MS = 86_400_000

type Words = Omit<OwnMail, 'to'>
type Data = Readonly<Record<string, unknown>>

/** For a user; undefined: it is no notice for a mail. */
export function personWords(email: string, type: string, data: Data, resetUrl: string | null): Words | undefined {
  if (type === RESET) return resetWords(email, String(data.token), String(data.expires_at), resetUrl)
  if (type === 'user.registered_again') {
    const text =
      `Somebody, perhaps you, tried to register ${email}, which is registered already. Nothing has changed.\n\n` +
      'If you do not know your password any more, ask for another one where you log in.\n'
    return { subject: 'You are registered already', text, withinMs: DAY_MS }
  }
  if (type === 'user.session_revoked') {
    const text =
      `One of the sessions of ${email} was ended: ${String(data.reason)}.\n\n` +
      'If that was none of your programs, somebody else has had a token of yours: log in and choose another password.\n'
    return { subject: 'A session of yours was ended', text, withinMs: DAY_MS }
  }
  return undefined
}

function resetWords(email: string, token: string, expiresAt: string, resetUrl: string | null): Words {
  const how =
    resetUrl === null
      ? `This token chooses it, once and until ${expiresAt}:\n\n  ${token}\n\nIt goes with the new password to POST /api/v1/auth/password-reset/confirm.\n`
      : `Choose it here, once and until ${expiresAt}:\n\n  ${resetUrl.replaceAll('{token}', token)}\n`
  const text = `Somebody, probably you, asked for another password for ${email}.\n\n${how}\nIf it was not you, do nothing: the password stays as it is.\n`
  return { subject: 'Another password', text, withinMs: RESET_LIFE_MS }
}

/** For the owners of an account; undefined: it is no notice for a mail. */
export function ownersWords(account: string, type: string, data: Data): Words | undefined {
  const { span, limit, used, percent, resets_at } = data
  const until = typeof resets_at === 'string' ? ` It begins anew at ${resets_at}.` : ''
  if (type === 'account.quota_reached') {
    const text = `The account ${account} has used up its quota of the ${span}: ${limit} messages. More are refused.${until}\n`
    return { subject: `${account}: the quota of the ${span} is used up`, text, withinMs: DAY_MS }
  }
  if (type === 'account.quota_warning') {
    const text = `The account ${account} has used ${used} of the ${limit} messages of its quota of the ${span}.${until}\n`
    return { subject: `${account}: ${percent} % of the quota of the ${span} are used`, text, withinMs: DAY_MS }
  }
  const { available, threshold, currency } = data
  if (type === 'account.credit_exhausted') {
    const text =
      `The credit of the account ${account} is used up: ${available} ${currency} are left, which do not pay for another message. ` +
      'Messages are refused until it is topped up.\n'
    return { subject: `${account}: the credit is used up`, text, withinMs: DAY_MS }
  }
  if (type === 'account.credit_low') {
    const text =
      `The account ${account} has ${available} ${currency} of credit left, less than ${threshold} ${currency}. ` +
      'When it is used up messages are refused.\n'
    return { subject: `${account}: ${available} ${currency} of credit are left`, text, withinMs: DAY_MS }
  }
  return undefined
}
