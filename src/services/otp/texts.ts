// What a code's message says: the brand and the code in its first line, how long it is good, that nobody may ask for it; of
// a payment how much goes to whom; and at its end what lets a phone fill it in. Knows languages and forms, sends nothing.

import type { Language } from '../../accounts/otpProfile.js'
import { joinedCode } from './codes.js'

interface Words {
  readonly say: (code: string, minutes: number) => string
  /** Of a mail. */
  readonly subject: string
}

/** Those that can be are written in letters of the GSM alphabet: one segment, with room for a brand. */
const LANGUAGES = {
  en: { say: (c, n) => `${c} is your code. Valid ${n} min. Never share it with anyone.`, subject: 'Your code' },
  de: { say: (c, n) => `${c} ist Ihr Code. ${n} Min. gültig. Geben Sie ihn niemandem weiter.`, subject: 'Ihr Code' },
  fr: { say: (c, n) => `${c} est votre code. Valable ${n} min. Ne le donnez à personne.`, subject: 'Votre code' },
  es: { say: (c, n) => `${c} es tu clave. Vale ${n} min. No la compartas con nadie.`, subject: 'Tu clave' },
  pt: { say: (c, n) => `Use ${c} para confirmar. Vale por ${n} min. Nunca diga a ninguém.`, subject: 'Sua senha' },
  it: { say: (c, n) => `${c} è il tuo codice. Vale ${n} min. Non darlo a nessuno.`, subject: 'Il tuo codice' },
  nl: { say: (c, n) => `${c} is je code. ${n} min geldig. Deel deze met niemand.`, subject: 'Je code' },
  pl: { say: (c, n) => `Kod: ${c}. Czas: ${n} min. Nie podawaj go nikomu.`, subject: 'Kod' },
  tr: { say: (c, n) => `Kod: ${c}. Süre: ${n} dk. Bu kodu kimseye vermeyin.`, subject: 'Kod' },
  ru: { say: (c, n) => `Код: ${c}. Действует ${n} мин. Никому не сообщайте.`, subject: 'Ваш код' },
  ar: { say: (c, n) => `الرمز: ${c}. صالح ${n} دقائق. لا تشاركه مع أحد.`, subject: 'الرمز' },
  zh: { say: (c, n) => `验证码：${c}，${n}分钟内有效，请勿告诉任何人。`, subject: '验证码' },
} as const satisfies Record<Language, Words>

/** What stays the same however often a session's code is sent. */
export interface Wording {
  readonly brand: string
  readonly language: Language
  readonly payee: string
  readonly amount: string
  /** With {otp}, {expiry}, {payee} and {amount}; '' = ours. */
  readonly custom: string
  /** WebOTP; '' = none. */
  readonly domain: string
  /** Of an Android app; '' = none. */
  readonly appHash: string
}

const PLACES = /\{(otp|expiry|payee|amount)\}/g

/** Octets of a message that Android's SMS Retriever reads. */
export const MOST_FOR_APP = 140

/** The message's own words, without what programs read. */
export function wordsFor({ brand, language, payee, amount, custom }: Wording, code: string, minutes: number): string {
  if (custom !== '') {
    const values = { otp: code, expiry: String(minutes), payee, amount }
    // In one go: what a value says is no place.
    return custom.replace(PLACES, (_, name: keyof typeof values) => values[name])
  }
  const text = `${brand === '' ? '' : `${brand}: `}${LANGUAGES[language].say(code, minutes)}`
  const paid = [payee, amount].filter(one => one !== '').join(': ')
  return paid === '' ? text : `${text}\n${paid}`
}

/** With the last line that browsers (WICG sms-one-time-codes) or an Android app look for. */
export function withSuffix(text: string, { domain, appHash }: Wording, code: string): string {
  if (appHash !== '') return `${text}\n${appHash}`
  return domain === '' ? text : `${text}\n\n@${domain} #${joinedCode(code)}`
}

export const subjectFor = ({ brand, language }: Wording): string =>
  `${brand === '' ? '' : `${brand}: `}${LANGUAGES[language].subject}`
