// The one form of a number that codes go to, however it is written; and which numbers get none.

import { createRequire } from 'node:module'
import t from 'tap'
import { phoneNumbers } from '../src/services/otp/numbers.js'
import { api } from './support/api.js'
import { lodge, lodger, lodgersOn } from './support/lodging.js'
import { smsc } from './support/smsc.js'

const KEY = 'tl_shop_forms456789abcdef0123456789abcdef'

t.test('however a number is written, it is one number', async t => {
  const numbers = await phoneNumbers()
  for (const [written, code, digits] of [
    ['+4915111111111', '', '4915111111111'],
    ['4915111111111', '', '4915111111111'],
    [' 0049 151-1111 1111 ', '', '4915111111111'],
    ['+49 (0)15111111111', '', '4915111111111'],
    ['+49015111111111', '', '4915111111111'],
    ['490(151)11111111', '', '4915111111111'],
    ['015111111111', '49', '4915111111111'],
    ['15111111111', '49', '4915111111111'],
    ['+4915111111111', '43', '4915111111111'],
    ['+39 06 1234 5678', '', '390612345678'],
    ['+39 (0)6 1234 5678', '', '390612345678'],
    ['06 1234 5678', '39', '390612345678'],
    ['+39 347 123 4567', '', '393471234567'],
    ['+225 07 12 34 56 78', '', '2250712345678'],
    ['+44 (0)20 7946 0958', '', '442079460958'],
    ['+1 (212) 555-1234', '', '12125551234'],
    ['+1 1 212 555 1234', '', '12125551234'],
    ['+48 (0)600 123 456', '', '48600123456'],
    ['+54 11 15 1234 5678', '', '5491112345678'],
    ['+54 9 11 1234 5678', '', '5491112345678'],
    ['+57 0 321 123 4567', '', '573211234567'],
    ['0321 123 4567', '57', '573211234567'],
    ['+57 03 321 123 4567', '', '573211234567'],
    ['+999 000 000100', '', '999000000100'],
  ] as const) {
    t.same(numbers.canonical(written, code), digits, `${written} ${code}`)
  }
  for (const written of [
    '015111111111',
    '151',
    '+49',
    '+49 30 1234567890123',
    '+1 212 555 12345',
    '+44 20 7946',
    '+0049 151 1111 1111',
    '+999 151 1111 1111',
    '++4915111111111',
    'nobody',
    '+49１５１１１１１１１１１',
    '',
  ]) {
    t.match(numbers.canonical(written), { code: 'destination_invalid' }, written)
  }
  t.match(numbers.canonical('015111111111'), { text: /country_code/ }, 'what is missing is said')
})

t.test('a premium rate is known, and nobody’s mobile number is one, or refused in any form', async t => {
  const numbers = await phoneNumbers()
  for (const digits of ['499001123456', '19002345678', '449012345678', '979123456789', '33899123456', '18769002345']) {
    t.equal(numbers.isPremium(digits), digits !== '18769002345', digits)
  }
  const mobile = createRequire(import.meta.url)('libphonenumber-js/examples.mobile.json') as Record<string, string>
  const { getCountryCallingCode, parsePhoneNumberFromString } = await import('libphonenumber-js/max')
  const refused: string[] = []
  for (const [country, rest] of Object.entries(mobile)) {
    const code = getCountryCallingCode(country as 'DE')
    const digits = `${code}${rest}`
    if (numbers.isPremium(digits)) refused.push(digits)
    const within = parsePhoneNumberFromString(`+${digits}`)?.formatNational() as string
    for (const [written, countryCode] of [
      [`+${digits}`, ''],
      [`00${digits}`, ''],
      [digits, ''],
      [`+${code} (0)${rest}`, ''],
      [rest, code],
      [within, code],
    ] as const) {
      if (numbers.canonical(written, countryCode) !== digits) refused.push(`${country} ${written} ${countryCode}`)
    }
  }
  t.ok(Object.keys(mobile).length > 200)
  t.same(refused, [])
})

lodger('another form of a number has no limits of its own, and is the same when a code is checked', async t => {
  const carrier = await smsc(t)
  const lodging = await lodge(t, { accounts: { shop: { apiKey: KEY } }, carriers: { up: carrier } })
  await carrier.bound()
  const { daemon } = lodging
  const ask = (path: string, body: object) => api(daemon.admin)('POST', `/api/v1/otp/${path}`, { key: KEY, body })
  const made = await ask('generate', { phone_number: '+4915111111111' })
  t.match(made, { status: 200, json: { to: '4915111111111' } })
  for (const phone_number of [
    '+49 (0)15111111111',
    '+49015111111111',
    { number: '0151 11111111', country_code: '+49' },
    '004915111111111',
  ]) {
    const again = await ask('generate', { phone_number, purpose: 'other' })
    t.match(again, { status: 429, json: { code: 'otp_limited', limit: 'cooldown' } }, JSON.stringify(phone_number))
  }
  t.match(await ask('generate', { phone_number: '015111111111' }), {
    status: 422,
    json: { code: 'destination_invalid', detail: /country code/ },
  })
  t.match(await ask('generate', { phone_number: '+19002345678' }), {
    status: 403,
    json: { code: 'otp_number_refused' },
  })
  const sm = await carrier.next()
  t.equal(carrier.submitted.length, 1)
  const otp_code = /\d{6}/.exec(sm.text)?.[0]
  const { session_id } = made.json
  t.match(await ask('verify', { session_id, otp_code, phone_number: '+49 30 123456' }), { status: 422 })
  t.match(await ask('verify', { session_id, otp_code, phone_number: '015111111111' }), { status: 422 }, 'of no country')
  t.match(await ask('verify', { session_id, otp_code, phone_number: '+49 (0)151 11111111' }), { status: 200 })
})

lodgersOn('numbers of one-time passwords', { config: { admin: { listen: '127.0.0.1:0' } } })
