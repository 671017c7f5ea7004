// Texts from a customer's bind to a carrier's: which octets pass as they are, which are written anew because customer
// and carrier mean different things by a data_coding, what a long one is cut into, and what plain characters save.

import t, { type Test } from 'tap'
import { encodeGsm, encodeUcs2, pack7 } from '../protocols/gsm/alphabet.js'
import { type Coding, decodeUserData } from '../protocols/gsm/coding.js'
import { encodeShifted } from '../protocols/gsm/shift.js'
import { buildConcatUdh, parseUdh } from '../protocols/gsm/udh.js'
import { tlv, writeTlvBytes, writeTlvUint } from '../protocols/smpp/tlv.js'
import { api, KEY } from './support/api.js'
import { type Esme, esme } from './support/esme.js'
import { house, story } from './support/house.js'
import { lodge, lodger, lodgersOn } from './support/lodging.js'
import { type Smsc, type Submitted, smsc } from './support/smsc.js'

t.jobs = 3

const UDHI = 0x40
const GSM = 0
const UCS2 = 8
const FLASH = 0xf0

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('expected a value')
  return value
}

const gsm = (text: string): Buffer => present(encodeGsm(text))
const payload = (octets: Buffer): Buffer => {
  const stream = Buffer.alloc(octets.length + 4)
  writeTlvBytes(stream, 0, tlv.message_payload, octets)
  return stream
}
const isUdhi = (sm: Submitted): boolean => (sm.fields.esm_class & UDHI) !== 0
const read = (sm: Submitted, coding: Coding): string => decodeUserData(sm.fields.short_message, isUdhi(sm), coding)

/** Submits octets, and hands over the parts that came to the carrier for them. */
async function through(
  from: Esme,
  to: Smsc,
  data_coding: number,
  octets: Buffer,
  { parts = 1, esm_class = 0, tlvs }: { parts?: number; esm_class?: number; tlvs?: Buffer } = {},
): Promise<Submitted[]> {
  const long = octets.length > 254
  const answer = await from.submit(
    { data_coding, esm_class, short_message: long ? Buffer.alloc(0) : octets },
    long ? payload(octets) : tlvs,
  )
  if (answer.status !== 'ESME_ROK') throw new Error(answer.status)
  return to.take(parts)
}

/** The text arrives so: under this data_coding, in this coding. */
async function arrives(t: Test, one: Submitted | undefined, data_coding: number, octets: Buffer, why: string) {
  const { fields } = present(one)
  t.equal(fields.data_coding, data_coding, `${why}: data_coding`)
  t.equal(fields.short_message.toString('hex'), octets.toString('hex'), why)
}

lodger('octets pass as they came, under every data_coding, when nobody has said what they mean', async t => {
  const carrier = await smsc(t)
  const daemon = await lodge(t, { carriers: { up: { at: carrier, window: 300 } } })
  const shop = await daemon.enter(t)
  // Septets, escapes, NULs, marks of byte order, octets that are nothing in most codings.
  const octets = Buffer.from('00406162001b651b1b28fefffffe80d83dde0004160dff0a1b00', 'hex')
  const all = Array.from({ length: 256 }, (_, data_coding) => data_coding)
  await Promise.all(all.map(data_coding => shop.submit({ data_coding, short_message: octets })))
  const came = await carrier.take(256)
  t.same(
    came.map(({ fields }) => `${fields.data_coding} ${fields.short_message.toString('hex')}`).sort(),
    all.map(data_coding => `${data_coding} ${octets.toString('hex')}`).sort(),
  )
  const part = Buffer.concat([buildConcatUdh(9, 2, 1, 8), octets])
  await arrives(t, (await through(shop, carrier, 0, part, { esm_class: UDHI }))[0], 0, part, 'a part')
  const ports = Buffer.concat([Buffer.from('0605040b8423f0', 'hex'), octets])
  const [push] = await through(shop, carrier, 0xf5, ports, { esm_class: UDHI })
  await arrives(t, push, 0xf5, ports, 'octets for a port')
  t.equal(push?.fields.esm_class, UDHI)
})

lodger('what a customer means by a data_coding reaches a carrier that means something else', async t => {
  const carrier = await smsc(t)
  const daemon = await lodge(t, {
    accounts: {
      latin: { smpp: { codings: { '0': 'latin1', '240': 'latin1', '1': 'windows-1252' } } },
      packed: { smpp: { codings: { '0': 'gsm-packed' } } },
      little: { smpp: { codings: { '8': 'utf16le' } } },
      utf8: { smpp: { codings: { '0': 'utf8', '6': 'binary', '8': 'utf8' } } },
      shop: {},
    },
    carriers: { up: carrier },
  })
  const latin = await daemon.enter(t, { systemId: 'latin' })
  const umlauts = Buffer.from('Grüße @ [5$] Ñ', 'latin1')
  const [sm] = await through(latin, carrier, 0, umlauts)
  await arrives(t, sm, GSM, gsm('Grüße @ [5$] Ñ'), 'Latin-1 under 0')
  const cedilla = Buffer.from('ça va', 'latin1')
  const [french] = await through(latin, carrier, 0, cedilla)
  await arrives(t, french, UCS2, encodeUcs2('ça va'), 'Latin-1 that GSM does not hold')
  const [flash] = await through(latin, carrier, FLASH, umlauts)
  await arrives(t, flash, FLASH, gsm('Grüße @ [5$] Ñ'), 'a flash message')
  const [french2] = await through(latin, carrier, FLASH, cedilla)
  await arrives(t, french2, 0x18, encodeUcs2('ça va'), 'a flash message that GSM does not hold is one in UCS-2')
  const [euro] = await through(latin, carrier, 1, Buffer.from('8035', 'hex'))
  await arrives(t, euro, GSM, gsm('€5'), 'windows-1252 under 1')
  const [plain] = await through(latin, carrier, 4, umlauts)
  await arrives(t, plain, 4, umlauts, 'a data_coding of which nothing was said')

  const header = buildConcatUdh(77, 2, 2, 16)
  const [part] = await through(latin, carrier, 0, Buffer.concat([header, umlauts]), { esm_class: UDHI })
  await arrives(t, part, GSM, Buffer.concat([header, gsm('Grüße @ [5$] Ñ')]), 'a part keeps its header')

  const packed = await daemon.enter(t, { systemId: 'packed' })
  const [unpacked] = await through(packed, carrier, 0, pack7(gsm('hello {@}')))
  await arrives(t, unpacked, GSM, gsm('hello {@}'), 'packed septets')
  const eight = buildConcatUdh(5, 2, 1, 8)
  const [filled] = await through(packed, carrier, 0, Buffer.concat([eight, pack7(gsm('hello'), 6)]), {
    esm_class: UDHI,
  })
  await arrives(t, filled, GSM, Buffer.concat([eight, gsm('hello')]), 'packed septets behind fill bits')

  const little = await daemon.enter(t, { systemId: 'little' })
  const [russian] = await through(little, carrier, 8, Buffer.from('Привет', 'utf16le'))
  await arrives(t, russian, UCS2, encodeUcs2('Привет'), 'UTF-16 of the other order')
  const [marked] = await through(little, carrier, 8, Buffer.from('feff0416', 'hex'))
  await arrives(t, marked, UCS2, encodeUcs2('Ж'), 'its mark says that it is not')

  const utf8 = await daemon.enter(t, { systemId: 'utf8' })
  const [emoji] = await through(utf8, carrier, 0, Buffer.from('😀 ж'))
  await arrives(t, emoji, UCS2, encodeUcs2('😀 ж'), 'UTF-8')
  const [short] = await through(utf8, carrier, 0, Buffer.from('plain €'))
  await arrives(t, short, GSM, gsm('plain €'), 'UTF-8 that GSM holds')
  const [odd] = await through(utf8, carrier, 8, Buffer.from('Ж!'))
  await arrives(t, odd, UCS2, encodeUcs2('Ж!'), 'UTF-8 under 8, an odd number of octets')
  const [binary] = await through(utf8, carrier, 6, Buffer.from('00ff80', 'hex'))
  await arrives(t, binary, 6, Buffer.from('00ff80', 'hex'), 'what the customer says is no text')

  const shop = await daemon.enter(t)
  await arrives(t, (await through(shop, carrier, 0, umlauts))[0], 0, umlauts, 'another customer’s octets')
})

story('what a customer meant is known after a restart too', async t => {
  const carrier = await smsc(t)
  const daemon = await house(t, {
    accounts: { shop: { smpp: { codings: { '0': 'latin1' }, smartReplace: true } } },
    carriers: { up: carrier },
  })
  await carrier.bound()
  await carrier.close()
  const shop = await esme(t, daemon.smpp)
  await shop.submit({ short_message: Buffer.from('Grüße @', 'latin1') })
  await shop.submit({ data_coding: UCS2, short_message: encodeUcs2('“ok”') })
  await daemon.restart()
  await carrier.open()
  const [latin, plain] = await carrier.take(2)
  await arrives(t, latin, GSM, gsm('Grüße @'), 'Latin-1')
  await arrives(t, plain, GSM, gsm('"ok"'), 'plain characters')
})

lodger('what a phone wrote reaches a customer as that customer reads it', async t => {
  const carrier = await smsc(t)
  const daemon = await lodge(t, {
    accounts: {
      shop: { numbers: ['1000'] },
      latin: { numbers: ['2000'], smpp: { codings: { '0': 'latin1' } } },
      packed: { numbers: ['3000'], smpp: { codings: { '0': 'gsm-packed' } } },
      whole: { numbers: ['4000'], smpp: { codings: { '0': 'latin1' }, replies: 'rejoin' } },
    },
    carriers: { up: carrier },
  })
  await carrier.bound()
  const binds = new Map<string, Esme>()
  const replies = async (systemId: string, number: string, octets: Buffer, esm_class = 0) => {
    const one = binds.get(systemId) ?? (await daemon.enter(t, { systemId }))
    binds.set(systemId, one)
    t.equal(
      await carrier.mobileOriginated({
        source_addr: '49170',
        destination_addr: number,
        esm_class,
        short_message: octets,
      }),
      0,
    )
    return (await one.next()).fields
  }
  const text = gsm('Grüße @ {x}')
  t.equal((await replies('shop', '1000', text)).short_message.toString('hex'), text.toString('hex'), 'as it came')
  const latin = await replies('latin', '2000', text)
  t.same([latin.data_coding, latin.short_message.toString('latin1')], [0, 'Grüße @ {x}'])
  const greek = await replies('latin', '2000', gsm('Ω'))
  t.same([greek.data_coding, greek.short_message.toString('hex')], [8, '03a9'], 'UCS-2 for what Latin-1 does not hold')
  const header = buildConcatUdh(1, 2, 1, 8)
  const packed = await replies('packed', '3000', Buffer.concat([header, text]), UDHI)
  t.equal(packed.short_message.toString('hex'), Buffer.concat([header, pack7(text, 6)]).toString('hex'))
  const shifted = Buffer.concat([
    Buffer.from('03250101', 'hex'),
    present(encodeShifted('ığş', { locking: 1, single: 0 })),
  ])
  const turkish = await replies('latin', '2000', shifted, UDHI)
  t.same([turkish.esm_class, turkish.data_coding, turkish.short_message.toString('hex')], [0, 8, '0131011f015f'])

  const one = await daemon.enter(t, { systemId: 'whole' })
  for (const [seq, half] of [
    [2, 'Ω €'],
    [1, 'Grüße '],
  ] as const) {
    const octets = Buffer.concat([buildConcatUdh(8, 2, seq, 8), gsm(half)])
    await carrier.mobileOriginated({
      source_addr: '49170',
      destination_addr: '4000',
      esm_class: UDHI,
      short_message: octets,
    })
  }
  const { fields } = await one.next()
  t.same([fields.esm_class, fields.data_coding], [0, 8], 'parts are joined in the carrier’s coding')
  t.equal(fields.short_message.toString('hex'), encodeUcs2('Grüße Ω €').toString('hex'))
})

lodger('a carrier that means something else by a data_coding gets what it can read', async t => {
  const carrier = await smsc(t)
  const daemon = await lodge(t, {
    accounts: { shop: {}, same: { smpp: { codings: { '0': 'latin1' } } } },
    carriers: { up: { at: carrier, codings: { '0': 'latin1', '1': 'gsm-packed', '8': 'utf16le' } } },
  })
  const shop = await daemon.enter(t)
  await arrives(t, (await through(shop, carrier, 0, gsm('Ä@$ Ñ')))[0], 0, Buffer.from('Ä@$ Ñ', 'latin1'), 'in Latin-1')
  const [greek] = await through(shop, carrier, 0, gsm('Ω {€}'))
  await arrives(t, greek, 1, pack7(gsm('Ω {€}')), 'what Latin-1 does not hold goes where it takes septets')
  const [russian] = await through(shop, carrier, 8, encodeUcs2('Ж'))
  await arrives(t, russian, 8, Buffer.from('1604', 'hex'), 'UTF-16 in its order')
  const long = 'Ж😀'.repeat(60)
  const parts = await through(shop, carrier, 8, encodeUcs2(long), { parts: 3 })
  t.equal(parts.map(sm => read(sm, 'utf16le')).join(''), long, 'a long one in parts')
  t.ok(parts.every(sm => sm.fields.short_message.length <= 140))

  const same = await daemon.enter(t, { systemId: 'same' })
  const french = Buffer.from('ça va', 'latin1')
  await arrives(t, (await through(same, carrier, 0, french))[0], 0, french, 'both mean the same: octets as they came')
  const full = Buffer.from(`${'é'.repeat(159)}!`, 'latin1')
  await arrives(t, (await through(same, carrier, 0, full))[0], 0, full, '160 characters that it turns into septets')
})

lodger('a text that names its national tables passes as it is, or is read with them', async t => {
  const takes = await smsc(t)
  const other = await smsc(t)
  const daemon = await lodge(t, {
    carriers: { takes, other: { at: other, codings: { '0': 'latin1' } } },
    routes: [
      { match: { destination: ['90'] }, to: ['takes'] },
      { match: {}, to: ['other'] },
    ],
  })
  const shop = await daemon.enter(t)
  const text = 'İyi günler, teşekkürler! '.repeat(6).slice(0, 145)
  const shifts = { locking: 1, single: 0 }
  const octets = Buffer.concat([Buffer.from('03250101', 'hex'), present(encodeShifted(text, shifts))])
  await shop.submit({ destination_addr: '905551234567', esm_class: UDHI, short_message: octets })
  const same = await takes.next()
  await arrives(t, same, GSM, octets, 'as it came')
  t.equal(same.fields.esm_class, UDHI)
  const parts = await through(shop, other, GSM, octets, { esm_class: UDHI, parts: 3 })
  t.ok(parts.every(sm => sm.fields.data_coding === UCS2))
  t.equal(parts.map(sm => read(sm, 'ucs2')).join(''), text, 'in UCS-2, and cut')
  const header = Buffer.from('0003420201250101', 'hex')
  const part = Buffer.concat([Buffer.from([header.length]), header, present(encodeShifted('İyi', shifts))])
  const [one] = await through(shop, other, GSM, part, { esm_class: UDHI })
  await arrives(t, one, UCS2, Buffer.concat([Buffer.from('050003420201', 'hex'), encodeUcs2('İyi')]), 'a part of it')
})

lodger('a carrier that wants packed septets gets them, with fill bits behind a header', async t => {
  const carrier = await smsc(t)
  const daemon = await lodge(t, { carriers: { up: { at: carrier, codings: { '0': 'gsm-packed' } } } })
  const shop = await daemon.enter(t)
  const [one] = await through(shop, carrier, 0, gsm('hellohello'))
  await arrives(t, one, 0, Buffer.from('e8329bfd4697d9ec37', 'hex'), 'one message')
  const long = 'Packed text with {braces}, and more of it. '.repeat(8)
  const parts = await through(shop, carrier, 0, gsm(long), { parts: 3 })
  for (const sm of parts) {
    t.ok(sm.fields.short_message.length <= 140)
    t.equal(parseUdh(sm.fields.short_message)?.concat?.total, 3)
  }
  t.equal(parts.map(sm => read(sm, 'gsm-packed')).join(''), long)
  const header = buildConcatUdh(3, 2, 1, 16)
  const [part] = await through(shop, carrier, 0, Buffer.concat([header, gsm('ab')]), { esm_class: UDHI })
  await arrives(t, part, 0, Buffer.concat([header, pack7(gsm('ab'), 7)]), 'a part that the customer cut')
})

story('plain characters for typographic ones save segments of who asks for them, and touch nothing else', async t => {
  const carrier = await smsc(t)
  const daemon = await house(t, {
    accounts: { shop: {}, smart: { apiKey: KEY, smpp: { smartReplace: true, maxSegments: 2 } } },
    carriers: { up: carrier },
    config: { admin: { listen: '127.0.0.1:0' } },
  })
  const fancy = `“It’s here” – ${'x'.repeat(100)}…`
  const plain = `"It's here" - ${'x'.repeat(100)}...`
  const smart = await esme(t, daemon.smpp, { systemId: 'smart' })
  const [one] = await through(smart, carrier, UCS2, encodeUcs2(fancy))
  await arrives(t, one, GSM, gsm(plain), 'plain')
  t.equal(await daemon.metric('trunkline_segments_saved_total'), 1)
  const receipt = (await smart.next()).receipt
  t.equal(receipt.text, plain.slice(0, 20), 'the receipt quotes it')
  const [flash] = await through(smart, carrier, 0x18, encodeUcs2(fancy))
  await arrives(t, flash, 0x10, gsm(plain), 'a flash message')
  t.equal(await daemon.metric('trunkline_segments_saved_total'), 2)

  const russian = encodeUcs2('“Привет”')
  await arrives(t, (await through(smart, carrier, UCS2, russian))[0], UCS2, russian, 'what is UCS-2 all the same')
  const part = Buffer.concat([buildConcatUdh(1, 2, 1, 8), encodeUcs2('“x”')])
  await arrives(t, (await through(smart, carrier, UCS2, part, { esm_class: UDHI }))[0], UCS2, part, 'a part')
  const letters = Buffer.from('“x”')
  await arrives(t, (await through(smart, carrier, 4, letters))[0], 4, letters, 'octets that are no text')
  t.equal(await daemon.metric('trunkline_segments_saved_total'), 2)
  const three = encodeUcs2('“'.repeat(400))
  const refused = await smart.submit({ data_coding: UCS2, short_message: Buffer.alloc(0) }, payload(three))
  t.equal(refused.status, 'ESME_RINVMSGLEN', 'three segments when two are the most')
  const ask = api(daemon.admin)
  const body = { to: '+4915112345601', message: fancy }
  t.equal((await ask('POST', '/api/v1/sms/send', { body: { ...body, dry_run: true } })).json.segments, 1)
  t.equal(await daemon.metric('trunkline_segments_saved_total'), 2, 'what is not sent saves nothing')

  const shop = await esme(t, daemon.smpp)
  const parts = await through(shop, carrier, UCS2, encodeUcs2(fancy), { parts: 2 })
  t.equal(parts.map(sm => read(sm, 'ucs2')).join(''), fancy, 'another customer’s text stays as it is')
  t.equal((await ask('POST', '/api/v1/sms/send', { body })).status, 200)
  t.equal(await daemon.metric('trunkline_segments_saved_total'), 3, 'what came over HTTP')
})

lodger('a text goes with a national table where the carrier takes it and it saves segments', async t => {
  const turkish = await smsc(t)
  const other = await smsc(t)
  const sar = await smsc(t)
  const daemon = await lodge(t, {
    accounts: { shop: { smpp: { codings: { '0': 'utf8', '240': 'utf8' } } } },
    carriers: {
      turkish: { at: turkish, nationalTables: [1, 3] },
      other,
      sar: { at: sar, nationalTables: [1], longMessages: 'sar' },
    },
    routes: [
      { match: { destination: ['90'] }, to: ['turkish'] },
      { match: { destination: ['91'] }, to: ['sar'] },
      { match: {}, to: ['other'] },
    ],
  })
  const shop = await daemon.enter(t)
  const send = (destination_addr: string, text: string, data_coding = 0) => {
    const octets = Buffer.from(text)
    return shop.submit(
      { destination_addr, data_coding, short_message: octets.length > 254 ? Buffer.alloc(0) : octets },
      octets.length > 254 ? payload(octets) : undefined,
    )
  }
  const text = 'Sayın müşterimiz, siparişiniz bugün kargoya verilmiştir; iyi günler dileriz. Teşekkürler!'
  await send('905551234567', text)
  const one = await turkish.next()
  t.equal(one.fields.data_coding, GSM)
  t.equal(one.fields.esm_class, UDHI)
  t.equal(one.fields.short_message.subarray(0, 4).toString('hex'), '03250101', 'the Turkish locking table')
  t.equal(read(one, 'gsm'), text)

  await send('905551234567', text.repeat(3), FLASH)
  const parts = await turkish.take(2)
  t.equal(parts.map(sm => read(sm, 'gsm')).join(''), text.repeat(3))
  for (const [i, sm] of parts.entries()) {
    const udh = present(parseUdh(sm.fields.short_message))
    t.same([udh.lockingShift, udh.concat?.seq, udh.concat?.total], [1, i + 1, 2])
    t.ok(sm.fields.short_message.length - udh.length <= 149)
    t.equal(sm.fields.data_coding, FLASH)
  }
  await send('905551234567', 'Şu an')
  await arrives(t, await turkish.next(), UCS2, encodeUcs2('Şu an'), 'where nothing is saved, what every phone reads')
  await send('905551234567', text.replaceAll(/[^ -~]/g, 'a'))
  t.equal((await turkish.next()).fields.esm_class, 0, 'nothing of it for a text that GSM holds')

  await send('12025550123', text)
  t.equal((await other.take(2)).map(sm => read(sm, 'ucs2')).join(''), text, 'UCS-2 for who takes no tables')
  await send('915551234567', text)
  t.equal(read(await sar.next(), 'gsm'), text)
  await send('915551234567', text.repeat(3))
  const uncut = await sar.take(4)
  t.ok(
    uncut.every(sm => sm.fields.data_coding === UCS2 && !isUdhi(sm)),
    'sar_* do not go with a header',
  )
})

lodger('parts that a customer cut pass unchanged and stay together, by UDH of either size and by sar_*', async t => {
  const carriers = [await smsc(t), await smsc(t)] as const
  const daemon = await lodge(t, {
    carriers: { a: carriers[0], b: carriers[1] },
    routes: [
      {
        match: {},
        to: [
          { carrier: 'a', weight: 1 },
          { carrier: 'b', weight: 1 },
        ],
      },
    ],
  })
  await Promise.all(carriers.map(carrier => carrier.bound()))
  const shop = await daemon.enter(t)
  const MESSAGES = 16
  const PARTS = 3
  // Ports before the reference, so that it is not where it mostly stands.
  const ports = Buffer.from('05040b8423f0', 'hex')
  const ways: ((ref: number, seq: number) => { octets: Buffer; esm_class: number; tlvs?: Buffer })[] = [
    (ref, seq) => ({ octets: buildConcatUdh(ref, PARTS, seq, 8), esm_class: UDHI }),
    (ref, seq) => ({ octets: buildConcatUdh(ref * 256, PARTS, seq, 16), esm_class: UDHI }),
    (ref, seq) => {
      const concat = buildConcatUdh(ref, PARTS, seq, 8).subarray(1)
      return { octets: Buffer.concat([Buffer.from([ports.length + concat.length]), ports, concat]), esm_class: UDHI }
    },
    (ref, seq) => {
      const tlvs = Buffer.alloc(16)
      let at = writeTlvUint(tlvs, 0, tlv.sar_msg_ref_num, ref, 2)
      at = writeTlvUint(tlvs, at, tlv.sar_total_segments, PARTS, 1)
      writeTlvUint(tlvs, at, tlv.sar_segment_seqnum, seq, 1)
      return { octets: Buffer.alloc(0), esm_class: 0, tlvs }
    },
  ]
  const sent: string[] = []
  const submissions: Promise<unknown>[] = []
  for (const [way, part] of ways.entries()) {
    for (let ref = 1; ref <= MESSAGES; ref++) {
      for (let seq = 1; seq <= PARTS; seq++) {
        const { octets, esm_class, tlvs } = part(ref, seq)
        const text = `${way}:${ref}:${seq}`
        const short_message = Buffer.concat([octets, Buffer.from(text)])
        sent.push(`${esm_class} ${short_message.toString('hex')} ${tlvs?.toString('hex') ?? ''}`)
        submissions.push(shop.submit({ esm_class, short_message }, tlvs))
      }
    }
  }
  await Promise.all(submissions)
  await shop.take(sent.length)
  const came = carriers.map(carrier => carrier.submitted)
  const seen = came.flat().map(({ fields, pdu }) => {
    const octets = fields.short_message
    const tlvs = (pdu as { tlvs?: Buffer }).tlvs
    return `${fields.esm_class} ${octets.toString('hex')} ${tlvs?.toString('hex') ?? ''}`
  })
  t.same(seen.sort(), sent.sort())
  const textOf = (sm: Submitted): string => read(sm, 'latin1')
  for (let way = 0; way < ways.length; way++) {
    let both = 0
    for (let ref = 1; ref <= MESSAGES; ref++) {
      const counts = came.map(list => list.filter(sm => textOf(sm).startsWith(`${way}:${ref}:`)).length)
      t.same([...counts].sort(), [0, PARTS], `way ${way}, reference ${ref}`)
      if (counts[0] === 0) both++
    }
    t.ok(both > 0 && both < MESSAGES, 'and both carriers have some')
  }
})

lodger(
  'long texts are cut for the carrier: one reference a message, even halves, room for its spare octet',
  async t => {
    const carrier = await smsc(t)
    const daemon = await lodge(t, {
      accounts: { shop: {}, latin: { smpp: { codings: { '0': 'latin1' }, maxSegments: 2 } } },
      carriers: { up: { at: carrier, maxOctets: 139 } },
    })
    const shop = await daemon.enter(t)
    const refs: number[] = []
    for (let n = 0; n < 3; n++) {
      const text = `${'ж'.repeat(65)}😀`.repeat(2) + n
      const parts = await through(shop, carrier, UCS2, encodeUcs2(text), { parts: 3 })
      t.equal(parts.map(sm => read(sm, 'ucs2')).join(''), text)
      const concats = parts.map(sm => present(parseUdh(sm.fields.short_message)?.concat))
      t.same(
        concats.map(({ seq, total }) => `${seq}/${total}`),
        ['1/3', '2/3', '3/3'],
      )
      t.equal(new Set(concats.map(({ ref }) => ref)).size, 1)
      refs.push(present(concats[0]).ref)
      for (const sm of parts) {
        t.equal(sm.fields.short_message.length % 2, 0)
        t.ok(sm.fields.short_message.length <= 139)
      }
    }
    t.equal(new Set(refs).size, 3, 'messages to one phone have different references')
    const braces = `${'a'.repeat(150)}{${'b'.repeat(20)}`
    const parts = await through(shop, carrier, GSM, gsm(braces), { parts: 2 })
    t.equal(parts.map(sm => read(sm, 'gsm')).join(''), braces)
    const exactly = gsm('a'.repeat(158))
    await arrives(t, (await through(shop, carrier, GSM, exactly))[0], GSM, exactly, '158 septets are 139 octets')

    // Counted as the customer means them: 150 characters of Latin-1 that GSM does not hold are three of UCS-2.
    const latin = await daemon.enter(t, { systemId: 'latin' })
    const french = Buffer.from('ç'.repeat(150), 'latin1')
    t.equal((await latin.submit({ short_message: french })).status, 'ESME_RINVMSGLEN')
    t.equal((await latin.submit({ short_message: Buffer.from('é'.repeat(150), 'latin1') })).status, 'ESME_ROK')
    await carrier.next()
  },
)

lodger('a part that cannot be written in the carrier’s coding is refused by name, and the rest goes on', async t => {
  const carrier = await smsc(t)
  const daemon = await lodge(t, {
    accounts: { shop: { smpp: { codings: { '0': 'latin1' } } } },
    carriers: { up: carrier },
  })
  const shop = await daemon.enter(t)
  const part = Buffer.concat([buildConcatUdh(1, 2, 1, 8), Buffer.from('ç'.repeat(134), 'latin1')])
  const { message_id } = await shop.submit({ esm_class: UDHI, short_message: part })
  const { receipt } = await shop.next()
  t.same([receipt.id, receipt.stat], [message_id, 'REJECTD'])
  t.equal(carrier.submitted.length, 0)
  const [row] = (await daemon.history(2)).filter(one => one.kind === 'e')
  t.equal(row?.error, 'coding_unsupported')
  const fits = Buffer.concat([buildConcatUdh(1, 2, 1, 8), Buffer.from('ç'.repeat(67), 'latin1')])
  const [sm] = await through(shop, carrier, 0, fits, { esm_class: UDHI })
  t.equal(read(present(sm), 'ucs2'), 'ç'.repeat(67))
})

lodgersOn('customers and carriers that mean different things share a daemon')
