// What a message that came over HTTP keeps for its sender, in Message.extras: {"web":{…},"tags":[…]}. Knows how it is
// written and read.

import type { Message } from './message.js'

const OF_WEB = '{"web":'

export interface WebExtras {
  /** The session whose one-time password it carries; first of all, see {@link isOfOtp}. */
  otp?: string
  /** The id of the request it came with. */
  batch?: string
  /** As given: transactional, promotional, otp, alert, marketing. */
  sms_type?: string
  /** The id of the template that its text was made of, and which version. */
  template?: string
  template_version?: number
  /** Where this message's end is told, besides the account's webhooks. */
  callback?: string
  metadata?: unknown
}

export const extrasOfWeb = (web: WebExtras, tags: readonly string[]): string =>
  `${OF_WEB}${JSON.stringify(web)}${tags.length > 0 ? `,"tags":${JSON.stringify(tags)}` : ''}}`

export const isOfWeb = (m: Message): boolean => m.extras !== '' && m.extras.startsWith(OF_WEB)
export const hasCallback = (m: Message): boolean => isOfWeb(m) && m.extras.includes('"callback":"')

/** What such extras say; nothing for those of other messages. */
export function readExtras(extras: string): { web: WebExtras; tags: readonly string[] } {
  if (extras === '') return { web: {}, tags: [] }
  const { web = {}, tags = [] } = JSON.parse(extras) as { web?: WebExtras; tags?: string[] }
  return { web, tags }
}
