// Replies to a client: code, enhanced code and text, and those that the protocol itself asks for. Knows how a reply is
// written, not when. RFC 5321 §4.2, RFC 2034, RFC 3463.

export interface Reply {
  readonly code: number
  /** RFC 3463; '' where none belongs: greeting, EHLO, 3xx. */
  readonly enhanced: string
  readonly text: string
}

export const reply = (code: number, enhanced: string, text: string): Reply => ({ code, enhanced, text })

/** RFC 5321 §4.5.3.1.5: 512 octets, CRLF included. */
const MOST = 510

/** One line with its CRLF: printable ASCII only, whatever went into the text, and never too long. */
export function line({ code, enhanced, text }: Reply): string {
  const whole = enhanced === '' ? `${code} ${text}` : `${code} ${enhanced} ${text}`
  const clean = /[^\x20-\x7e]/.test(whole) ? whole.replace(/[^\x20-\x7e]/g, '?') : whole
  return `${clean.length > MOST ? clean.slice(0, MOST) : clean}\r\n`
}

export const said = {
  bye: reply(221, '2.0.0', 'Bye'),
  ok: reply(250, '2.0.0', 'Ok'),
  senderOk: reply(250, '2.1.0', 'Sender ok'),
  recipientOk: reply(250, '2.1.5', 'Recipient ok'),
  help: reply(214, '2.0.0', 'See RFC 5321; mail to NUMBER@ an SMS domain becomes a text message'),
  verify: reply(252, '2.0.0', 'Try to send something; nobody is verified here'),
  goOn: reply(354, '', 'End data with <CR><LF>.<CR><LF>'),

  idle: reply(421, '4.4.2', 'Timeout, closing connection'),
  tooSlow: reply(421, '4.4.2', 'Too slow, closing connection'),
  stopping: reply(421, '4.3.2', 'Service is stopping'),
  tooManyErrors: reply(421, '4.7.0', 'Too many errors'),
  tooManyFailures: reply(421, '4.7.0', 'Too many failed authentications'),
  noSmtp: reply(421, '4.7.0', 'This is SMTP'),
  internal: reply(451, '4.3.0', 'Internal error, try again later'),
  tooManyRecipients: reply(452, '4.5.3', 'Too many recipients'),

  unknownCommand: reply(500, '5.5.2', 'Command not recognized'),
  lineTooLong: reply(500, '5.5.2', 'Line too long'),
  bareLfCommand: reply(500, '5.5.2', 'bare <LF> received'),
  badOctets: reply(500, '5.5.2', 'Control characters or bad UTF-8 in command'),
  badArguments: reply(501, '5.5.4', 'Syntax error in arguments'),
  badSender: reply(501, '5.1.7', 'Bad sender address syntax'),
  badRecipient: reply(501, '5.1.3', 'Bad recipient address syntax'),
  badSize: reply(501, '5.5.4', 'Bad SIZE'),
  badBase64: reply(501, '5.5.2', 'Not base64'),
  aborted: reply(501, '5.7.0', 'Authentication aborted'),
  notImplemented: reply(502, '5.5.1', 'Command not implemented'),
  noTls: reply(502, '5.5.1', 'TLS is not available here'),
  helloFirst: reply(503, '5.5.1', 'Send EHLO first'),
  mailFirst: reply(503, '5.5.1', 'Send MAIL first'),
  recipientFirst: reply(503, '5.5.1', 'Send RCPT first'),
  noRecipients: reply(554, '5.5.1', 'No valid recipients'),
  nestedMail: reply(503, '5.5.1', 'Nested MAIL'),
  tlsActive: reply(503, '5.5.1', 'TLS is active already'),
  authTwice: reply(503, '5.5.1', 'Already authenticated'),
  authInMail: reply(503, '5.5.1', 'Not within a mail transaction'),
  badMechanism: reply(504, '5.5.4', 'Authentication mechanism not offered'),
  authFirst: reply(530, '5.7.0', 'Authentication required'),
  tlsFirst: reply(530, '5.7.0', 'Must issue a STARTTLS command first'),
  badCredentials: reply(535, '5.7.8', 'Authentication credentials invalid'),
  bareLf: reply(550, '5.5.2', 'bare <LF> received'),
  bareCr: reply(550, '5.5.2', 'bare <CR> received'),
  tooBig: reply(552, '5.3.4', 'Message size exceeds the fixed limit'),
  needsUtf8: reply(553, '5.6.7', 'Address needs SMTPUTF8'),
  unknownParameter: reply(555, '5.5.4', 'Unsupported option'),
} as const
