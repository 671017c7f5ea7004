// Addresses as one carrier wants them: steps taken in their order, each on what the one before has left. No step can take
// longer than the address is long. Pure; the message itself stays as it was accepted.

export interface RewriteStep {
  /** What the address begins with. */
  readonly prefix?: string | undefined
  /** name: letters; short: up to six digits; number: more. */
  readonly kind?: 'name' | 'short' | 'number' | undefined
  /** Whole addresses, and what becomes of them. */
  readonly map?: Readonly<Record<string, string>> | undefined
  /** In the place of `prefix`, or of all of it where there is none. */
  readonly replace?: string | undefined
  /** Characters taken from the front. */
  readonly strip?: number | undefined
  /** Put before it, after `strip`. */
  readonly prepend?: string | undefined
  readonly ton?: number | undefined
  readonly npi?: number | undefined
}

export interface AddressSteps {
  readonly source: readonly RewriteStep[]
  readonly destination: readonly RewriteStep[]
  /** The way back: the phone that a message comes from. */
  readonly replySource: readonly RewriteStep[]
  /** And the number that it called. */
  readonly replyDestination: readonly RewriteStep[]
}

export interface Rewritten {
  readonly address: string
  /** Undefined where no step says so. */
  readonly ton: number | undefined
  readonly npi: number | undefined
}

/** SMPP v3.4 §5.2.8: 20 characters and the octet that ends them. */
const LONGEST = 20
const DIGITS = /^\+?[0-9]+$/
const SHORT = /^[0-9]{1,6}$/

/** A step that would leave nothing, or more than SMPP has room for, is passed by. */
export function rewriteAddress(steps: readonly RewriteStep[], address: string): Rewritten {
  let now = address
  let ton: number | undefined
  let npi: number | undefined
  for (const step of steps) {
    const next = taken(step, now)
    if (next === undefined) continue
    now = next
    ton = step.ton ?? ton
    npi = step.npi ?? npi
  }
  return { address: now, ton, npi }
}

/** What the step makes of the address; undefined when it is not for it. */
function taken(step: RewriteStep, address: string): string | undefined {
  const { prefix = '', kind, map } = step
  if (!address.startsWith(prefix) || (kind !== undefined && kindOf(address) !== kind)) return undefined
  if (map !== undefined && !Object.hasOwn(map, address)) return undefined
  const next = map?.[address] ?? changed(step, prefix, address)
  return next.length > LONGEST || (next === '' && address !== '') ? undefined : next
}

function changed({ replace, strip = 0, prepend = '' }: RewriteStep, prefix: string, address: string): string {
  if (replace !== undefined) return prefix === '' ? replace : replace + address.slice(prefix.length)
  return prepend + address.slice(strip)
}

function kindOf(address: string): RewriteStep['kind'] {
  if (address === '') return undefined
  if (!DIGITS.test(address)) return 'name'
  return SHORT.test(address) ? 'short' : 'number'
}
