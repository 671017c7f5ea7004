// The one form of a phone number that codes are sent to, counted by and compared with, however it is written: E.164. Asks
// libphonenumber-js, whose tables are large and read once: for each country code what its numbers look like, and for a number
// itself (40 µs) only where it might be written in a second way. Knows numbers, and no account.

import { isMagic } from '../../routing/sandbox.js'
import { type Refusal, refusal } from './host.js'

/** E.164. */
const LONGEST = 15
const LONGEST_CODE = 3

const noNumber = refusal('destination_invalid', 'the destination is not a phone number')
const impossible = refusal('destination_invalid', 'no number of that country is so long, or so short')
const national = refusal(
  'destination_invalid',
  'a number that begins with 0 is of no country: write it with + and its country code, or give country_code',
)
export const premium = refusal('otp_number_refused', 'codes are not sent to premium-rate numbers')

/** What numbers of one country code have in common. */
interface Plan {
  /** Bit n: there are numbers of n digits behind the code. */
  readonly lengths: number
  /** Behind the code it may begin as it is dialled within the country; undefined: that is no part of its numbers. */
  readonly dialled: RegExp | undefined
  /** What is dialled there before a number; '' = nothing. */
  readonly prefix: string
  readonly premium: RegExp | undefined
}

/** What its types leave out of a numbering plan. */
interface LibraryPlan {
  possibleLengths(): readonly number[]
  /** 0: there is none. */
  nationalPrefixForParsing(): string | 0 | undefined
  nationalPrefix(): string | 0 | undefined
  type(name: 'PREMIUM_RATE'): { pattern(): string } | undefined
}

type Library = typeof import('libphonenumber-js/max')
type Tables = typeof import('libphonenumber-js/max/metadata')['default']

export class PhoneNumbers {
  private readonly library: Library
  private readonly tables: Tables
  private readonly plans = new Map<string, Plan | undefined>()

  constructor(library: Library, tables: Tables) {
    this.library = library
    this.tables = tables
  }

  /**
   * Digits with the country code; a Refusal: why it is no such number.
   * @param countryCode of what is written without + or 00; '' takes that for international, unless it begins with 0
   */
  canonical(written: string, countryCode = ''): string | Refusal {
    // As nearly all write it.
    if (/^\+[1-9][0-9]{6,14}$/.test(written)) return this.possible(written.slice(1))
    const text = written.trim()
    if (!/^\+?[0-9 ().\-/\u00a0\u2010-\u2015]+$/.test(text)) return noNumber
    // As in +49 (0)151: dialled within the country alone. In Italy it is dialled from everywhere.
    const bare = text.replace(/\(0\)/, '')
    const found = this.e164(bare, countryCode)
    if (bare === text || (typeof found === 'string' && this.parsed(found)?.isValid())) return found
    const whole = this.e164(text, countryCode)
    return typeof whole === 'string' && this.parsed(whole)?.isValid() ? whole : found
  }

  /** `digits` as {@link canonical} gives them. */
  isPremium(digits: string): boolean {
    const code = this.codeOf(digits)
    return this.planOf(code)?.premium?.test(digits.slice(code.length)) ?? false
  }

  private e164(text: string, countryCode: string): string | Refusal {
    let digits = text.replace(/[^0-9]/g, '')
    if (text[0] !== '+') {
      if (digits.startsWith('00')) digits = digits.slice(2)
      else if (countryCode !== '') digits = countryCode + digits
      else if (digits[0] === '0') return national
    }
    return this.possible(digits)
  }

  /** Of `digits` behind + or 00. */
  private possible(digits: string): string | Refusal {
    if (isMagic(digits)) return digits
    const code = this.codeOf(digits)
    const plan = this.planOf(code)
    if (plan === undefined) return noNumber
    // An empty match says nothing: all of it may be left out.
    const isSuspect = Boolean(plan.dialled?.exec(digits.slice(code.length))?.[0])
    const found = isSuspect ? this.undialled(digits, code, plan) : digits
    const isThere = ((plan.lengths >> (found.length - code.length)) & 1) === 1
    return isThere && found.length <= LONGEST ? found : impossible
  }

  private undialled(digits: string, code: string, { prefix }: Plan): string {
    const parsed = this.parsed(digits)
    if (parsed?.isValid()) return parsed.number.slice(1)
    // In Colombia the digit after the 0 may be an operator's, or already the number's.
    const bare = digits.startsWith(prefix, code.length) ? code + digits.slice(code.length + prefix.length) : digits
    return this.parsed(bare)?.isValid() ? bare : (parsed?.number.slice(1) ?? digits)
  }

  private parsed(digits: string): ReturnType<Library['parsePhoneNumberFromString']> {
    return this.library.parsePhoneNumberFromString(`+${digits}`)
  }

  /** '' where no country's is. */
  private codeOf(digits: string): string {
    for (let length = 1; length <= LONGEST_CODE; length++) {
      const code = digits.slice(0, length)
      if (this.planOf(code) !== undefined) return code
    }
    return ''
  }

  private planOf(code: string): Plan | undefined {
    const known = this.plans.get(code)
    if (known !== undefined || this.plans.has(code)) return known
    const made = this.read(code)
    this.plans.set(code, made)
    return made
  }

  private read(code: string): Plan | undefined {
    const { country_calling_codes: shared, nonGeographic } = this.tables
    const names: readonly string[] = shared[code as keyof typeof shared] ?? (code in nonGeographic ? [code] : [])
    const plans = names.map(name => {
      const metadata = new this.library.Metadata()
      metadata.selectNumberingPlan(name as 'DE')
      return metadata.numberingPlan as unknown as LibraryPlan
    })
    // What is common to all countries of a code stands with the first.
    const [first] = plans
    if (first === undefined) return undefined
    const dialled = first.nationalPrefixForParsing() || undefined
    const dear = plans.flatMap(plan => plan.type('PREMIUM_RATE')?.pattern() ?? [])
    return {
      lengths: plans.flatMap(plan => plan.possibleLengths()).reduce((bits, length) => bits | (1 << length), 0),
      dialled: dialled === undefined ? undefined : new RegExp(`^(?:${dialled})`),
      prefix: first.nationalPrefix() || '',
      premium: dear.length === 0 ? undefined : new RegExp(`^(?:${dear.join('|')})$`),
    }
  }
}

let loaded: Promise<PhoneNumbers> | undefined

/** The tables are read when it is first called, which takes 50 ms. */
export function phoneNumbers(): Promise<PhoneNumbers> {
  loaded ??= Promise.all([import('libphonenumber-js/max'), import('libphonenumber-js/max/metadata')]).then(
    ([library, { default: tables }]) => new PhoneNumbers(library, tables),
  )
  return loaded
}
