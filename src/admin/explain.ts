// Why does a message go where it goes? The door's and dispatch's questions asked in their order of the running tables,
// for a message that is not sent, and each answer in words. Decides nothing of its own.

import type { Account } from '../accounts/account.js'
import { type Addresses, fillAddresses } from '../carriers/outbound.js'
import { digitsOf } from '../model/digits.js'
import { Message, type MessageClass, rankOf } from '../model/message.js'
import { rewriteAddress } from '../routing/addresses.js'
import { countryOf } from '../routing/countries.js'
import { isMagic, playOf, SANDBOX_CARRIER } from '../routing/sandbox.js'
import type { Misfit, RouteRule } from '../routing/table.js'
import { className, routeName } from './status.js'
import type { AdminSubject, RunningCarrier } from './subject.js'

export interface ExplainQuestion {
  /** system_id */
  readonly account: string
  readonly to: string
  readonly from: string
  readonly class?: MessageClass | undefined
  readonly serviceType: string
  /** That the message names; '' = none. */
  readonly carrier: string
  readonly tags: readonly string[]
  /** The moment, ms. */
  readonly atMs: number
}

export interface ExplainStep {
  step: string
  /** false: it ends here. */
  ok: boolean
  text: string
}

export interface ExplainCandidate {
  carrier: string
  up: boolean
  weight: number | null
  /** Of a part, in units; null = no price is named. */
  price: number | null
  /** Learned of these numbers; null = nothing is, or not enough. */
  score: number | null
  delivery_rate: number | null
  samples: number
  receipt_median_ms: number | null
  chosen: boolean
}

export interface Explanation {
  /** What the message would meet with: `routed`, `waits` for a carrier, or the code of its refusal. */
  outcome: string
  route: string | null
  carrier: string | null
  steps: ExplainStep[]
  /** In the order in which they are asked, up to the one that takes it. */
  rules: { route: string; takes: boolean; why: string }[]
  candidates: ExplainCandidate[]
  /** As the carrier is told; null where it is told nothing over SMPP. */
  pdu: Addresses | null
}

const MICROS = 1_000_000
/** The class that waits for the end of quiet hours. */
const BULK = rankOf('bulk')

/** `account` is the one that the question names. */
export function explain(subject: AdminSubject, account: Account, question: ExplainQuestion): Explanation {
  const told: Explanation = {
    outcome: 'routed',
    route: null,
    carrier: null,
    steps: [],
    rules: [],
    candidates: [],
    pdu: null,
  }
  const say = (step: string, text: string): void => void told.steps.push({ step, ok: true, text })
  const refuse = (step: string, outcome: string, text: string): Explanation => {
    told.steps.push({ step, ok: false, text })
    told.outcome = outcome
    return told
  }

  if (account.suspended !== null) {
    return refuse('account', 'account_suspended', `${account.systemId} is suspended: ${account.suspended}`)
  }
  say('account', `${account.systemId}${account.group === '' ? '' : `, of the group ${account.group}`}`)

  const m = messageOf(question, account)
  if (account.senders !== null && !account.senders.has(m.source_addr)) {
    return refuse('sender', 'sender_refused', `"${m.source_addr}" is not among the senders of the account`)
  }
  say(
    'sender',
    account.senders === null
      ? `"${m.source_addr}": the account may use any`
      : `"${m.source_addr}" is one of the account's`,
  )

  const digits = digitsOf(question.to)
  if (digits === '') {
    return refuse('destination', 'destination_invalid', `"${question.to}" is no number of 3 to 15 digits`)
  }
  const { routes } = subject.dispatch
  say('destination', `${digits}, ${placeOf(digits, subject)}`)

  const reason = subject.routing.blocked.reason(account.systemId, digits)
  if (reason !== undefined) {
    return refuse('blocked', 'destination_blocked', `its prefix is blocked${reason === '' ? '' : `: ${reason}`}`)
  }
  say('blocked', 'no prefix of it is')
  say('class', classWords(question, account, m))

  const unwanted = subject.desk.consent.judge(account, m.rank, digits)
  if (unwanted !== undefined) return refuse('consent', unwanted.code, unwanted.text)
  say('consent', 'nothing is known against it')
  if (isMagic(digits) && subject.lines.running.has(SANDBOX_CARRIER)) {
    const { answer, what } = playOf(digits)
    if (answer === 'invalid') return refuse('sandbox', 'destination_invalid', what)
    say('sandbox', `a number of the sandbox, no carrier gets it: ${what}`)
    return { ...told, carrier: 'sandbox' }
  }
  const quietMs = m.rank === BULK ? subject.routing.quietUntil(account, digits, question.atMs) : 0
  const atMs = quietMs || question.atMs
  if (quietMs > 0) say('quiet hours', `it waits for their end, ${new Date(quietMs).toISOString()}`)

  const rule = routes.match(account, m, digits, atMs)
  for (const [i, one] of routes.rules.entries()) {
    const why = one === rule ? undefined : routes.whyNot(i, account, m, digits, atMs)
    told.rules.push({ route: routeName(one), takes: one === rule, why: one === rule ? '' : whyWords(why, one, m) })
    if (one === rule) break
  }
  if (rule === undefined) {
    return refuse('route', 'no_route', routes.rules.length === 0 ? 'there are no routes' : 'no route takes it')
  }
  told.route = routeName(rule)
  say('route', `${told.route} takes it`)
  return choose(subject, told, rule, m, digits)
}

function messageOf(question: ExplainQuestion, account: Account): Message {
  const m = new Message()
  m.account = account.id
  m.source_addr = question.from
  const isName = !/^\+?\d*$/.test(question.from)
  m.source_addr_ton = question.from === '' ? 0 : isName ? 5 : 1
  m.source_addr_npi = question.from === '' || isName ? 0 : 1
  m.destination_addr = question.to
  m.dest_addr_ton = 1
  m.dest_addr_npi = 1
  m.service_type = question.serviceType
  m.carrierName = question.carrier
  m.rank = question.class ? rankOf(question.class) : (account.serviceTypes.get(question.serviceType) ?? account.rank)
  if (question.tags.length > 0) m.extras = JSON.stringify({ tags: question.tags })
  return m
}

function classWords({ class: given, serviceType }: ExplainQuestion, account: Account, m: Message): string {
  const name = className(m.rank)
  if (given !== undefined) return `${name}, as asked`
  return account.serviceTypes.has(serviceType)
    ? `${name}, by the service_type ${serviceType}`
    : `${name}, the account's`
}

function placeOf(digits: string, { dispatch: { routes } }: AdminSubject): string {
  const country = countryOf(digits)
  const network = routes.networkOf(digits)
  const name = routes.networkName(network)
  const where = country === '' ? 'of no country' : `in ${country}`
  if (network === '') return where
  return `${where}, network ${network.slice(0, 3)}-${network.slice(3)}${name === '' ? '' : ` (${name})`}`
}

const KEYS: Readonly<Record<Exclude<Misfit, 'named'>, (rule: RouteRule) => readonly string[]>> = {
  account: rule => rule.accounts,
  group: rule => rule.groups,
  class: rule => rule.ranks.map(className),
  source: rule => rule.sources,
  destination: rule => rule.destinations,
  country: rule => rule.countries,
  network: rule => rule.networks,
  carrier: rule => rule.carriers,
  time: rule => rule.times.map(timeWords),
  tag: rule => rule.tags,
}

/** Values of a key that are shown. */
const MOST = 5

function whyWords(why: Misfit | undefined, rule: RouteRule, m: Message): string {
  if (why === undefined) return 'it would take it, had it been asked'
  if (why === 'named') return `the message names the carrier ${m.carrierName}, which is not among its carriers`
  const values = KEYS[why](rule)
  const shown = values.slice(0, MOST).join(', ')
  return `${why} must be ${values.length > MOST ? `${shown} or one of ${values.length - MOST} more` : shown}`
}

const timeWords = ({ days, from, to, zone }: RouteRule['times'][number]): string =>
  `${days.length === 0 ? '' : `${days.join(' ')} `}${from}-${to} ${zone}`

// ---- among the route's carriers

const HOW: Readonly<Record<RouteRule['by'], string>> = {
  order: 'the first that is up',
  weight: 'shared by weight among those that are up',
  price: 'the cheapest that is up',
  quality: 'the best that is up, now and then another to hear how it does',
}

function choose(subject: AdminSubject, told: Explanation, rule: RouteRule, m: Message, digits: string): Explanation {
  const running = new Map(Array.from(subject.lines.running.values(), one => [one.row.name, one] as const))
  const isUp = (name: string): boolean => running.get(name)?.line.up ?? false
  const chosen = m.carrierName === '' ? subject.routing.choose(rule, m, isUp) : m.carrierName
  told.candidates = rule.to.map(({ carrier, weight }) => candidate(subject, carrier, weight, digits, isUp, chosen))
  const how = m.carrierName === '' ? HOW[rule.by] : 'the one that the message names'
  if (chosen === undefined || !isUp(chosen)) {
    const why = chosen !== undefined && running.has(chosen) ? `${chosen} is down` : `there is no carrier ${chosen}`
    const who = chosen === undefined ? 'none of its carriers is up' : why
    told.steps.push({ step: 'carrier', ok: false, text: `${how}; ${who}, so it waits` })
    told.outcome = 'waits'
    if (chosen === undefined) return told
  } else told.steps.push({ step: 'carrier', ok: true, text: `${how}: ${chosen}` })
  told.carrier = chosen
  return rewritten(told, running.get(chosen), m)
}

function candidate(
  { routing, dispatch: { routes } }: AdminSubject,
  carrier: string,
  weight: number | null,
  digits: string,
  isUp: (name: string) => boolean,
  chosen: string | undefined,
): ExplainCandidate {
  const micros = routing.priceMicros(carrier, digits)
  const { score, rate, samples, medianMs } = routing.standing(carrier, routes.learns ? routing.areaOf(digits) : '')
  return {
    carrier,
    up: isUp(carrier),
    weight,
    price: micros === undefined ? null : micros / MICROS,
    score: samples === 0 ? null : rounded(score),
    delivery_rate: samples === 0 ? null : rounded(rate),
    samples: Math.round(samples),
    receipt_median_ms: medianMs,
    chosen: carrier === chosen,
  }
}

const rounded = (value: number): number => Math.round(value * 1000) / 1000

function rewritten(told: Explanation, carrier: RunningCarrier | undefined, m: Message): Explanation {
  const row = carrier?.row
  if (row?.kind !== 'smpp') return told
  const { source, destination } = row.settings.rewrite
  const changes = [
    ['source', m.source_addr, rewriteAddress(source, m.source_addr).address],
    ['destination', m.destination_addr, rewriteAddress(destination, m.destination_addr).address],
  ].filter(([, before, after]) => before !== after)
  const words = changes.map(([what, before, after]) => `${what} "${before}" becomes "${after}"`)
  told.steps.push({ step: 'rewriting', ok: true, text: words.length === 0 ? 'addresses stay' : words.join('; ') })
  const pdu: Addresses = {
    source_addr_ton: 0,
    source_addr_npi: 0,
    source_addr: '',
    dest_addr_ton: 0,
    dest_addr_npi: 0,
    destination_addr: '',
  }
  fillAddresses(pdu, m, row.settings)
  told.pdu = pdu
  const from = `source_addr "${pdu.source_addr}" ton ${pdu.source_addr_ton} npi ${pdu.source_addr_npi}`
  const to = `destination_addr "${pdu.destination_addr}" ton ${pdu.dest_addr_ton} npi ${pdu.dest_addr_npi}`
  told.steps.push({ step: 'submit_sm', ok: true, text: `${from}, ${to}` })
  return told
}
