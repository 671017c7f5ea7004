// A text with {{places}} for values: taken apart once, put together for each message. Substitution and nothing else: no
// sections, no conditions, no escaping for HTML. A value is never read as part of the template, and what comes out has no
// place left in it. Knows texts; whose template it is, and what is done with the text, are others'.

import { type Fault, fault } from './fault.js'
import { ValuePattern } from './valuePattern.js'

/** Characters (UTF-16) of a template and of the text that it makes. */
export const MAX_TEMPLATE_TEXT = 1_600

export interface TemplateVariable {
  readonly name: string
  /** Without a value, and without a default, there is no text. */
  readonly required: boolean
  readonly default: string | null
  /** Characters of a value; null = as many as the text has room for. */
  readonly maxLength: number | null
  /** What a whole value must match, see {@link ValuePattern}; null = anything. */
  readonly pattern: string | null
}

/** What one version of a template says. Objects never change. */
export interface TemplateContent {
  readonly content: string
  /** Locale (`de`, `pt-BR`) -> the text in that language; `content` is for all others. */
  readonly locales: Readonly<Record<string, string>>
  readonly variables: readonly TemplateVariable[]
}

/** Values by name; numbers and truth values are written as JSON would. Own properties alone count. */
export type TemplateValues = Readonly<Record<string, string | number | boolean>>

export const VARIABLE_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,31}$/
const PLACE = /\{\{\s*([A-Za-z_][A-Za-z0-9_]{0,31})\s*\}\}/g
/** Line ends are part of texts; other control characters, and halves of a character, of nothing. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what it finds
const UNCLEAN = /[\0-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\p{Surrogate}]/u
export const isCleanText = (text: string): boolean => !UNCLEAN.test(text)

/** Texts around places: one more of them than `slots`, which are numbers of variables. */
interface Variant {
  readonly texts: readonly string[]
  readonly slots: readonly number[]
  /** Variables that have a place here, each once. */
  readonly used: readonly number[]
}

/** The names in a text, in order; what is wrong with it where it is no template. */
export function placesOf(text: string): { names: string[]; fault?: string } {
  const names: string[] = []
  const rest = text.replace(PLACE, (_, name: string) => {
    names.push(name)
    return '\0'
  })
  // An odd brace beside a place could make another of it with what a value begins or ends with.
  const odd = /\{\{|\}\}|\{\0|\0\}/.exec(rest)
  if (odd === null) return { names }
  const around = rest.slice(Math.max(0, odd.index - 10), odd.index + 20).replaceAll('\0', '{{…}}')
  return { names, fault: `has braces that are no {{name}}, at "${around}"` }
}

/**
 * Values that many texts of one template have in common, see {@link TemplateProgram.common}: each is judged once, by the
 * first text that needs it.
 */
export interface CommonValues {
  /** A name that the template does not have. */
  readonly unknown: string | undefined
  /** By the variable's number; '' = none. */
  readonly values: readonly string[]
  /** What is wrong with each; undefined = not judged yet. */
  readonly objections: (string | null | undefined)[]
}

export class TemplateProgram {
  readonly variables: readonly TemplateVariable[]
  private readonly numbers = new Map<string, number>()
  private readonly patterns: readonly (ValuePattern | null)[]
  private readonly main: Variant
  private readonly variants = new Map<string, Variant>()

  /** Of content that was found good. */
  constructor({ content, locales, variables }: TemplateContent) {
    this.variables = variables
    for (const [i, { name }] of variables.entries()) this.numbers.set(name, i)
    this.patterns = variables.map(({ pattern }) => (pattern === null ? null : new ValuePattern(pattern)))
    this.main = this.compile(content)
    for (const [locale, text] of Object.entries(locales)) this.variants.set(locale.toLowerCase(), this.compile(text))
  }

  private compile(text: string): Variant {
    const pieces = text.split(PLACE)
    const slots = pieces.filter((_, i) => i % 2 === 1).map(name => this.numbers.get(name) as number)
    const used = [...new Set(slots)].sort((a, b) => a - b)
    return { texts: pieces.filter((_, i) => i % 2 === 0), slots, used }
  }

  /** Whether it has a variable of that name. */
  has(name: string): boolean {
    return this.numbers.has(name)
  }

  /** For texts of this template alone. */
  common(values: TemplateValues): CommonValues {
    return {
      unknown: this.unknownIn(values),
      values: this.variables.map(({ name }) => valueIn(name, values)),
      objections: [],
    }
  }

  /**
   * The text, with `values` before `common` ones. A Fault names the variable, and points to it within the values.
   * `locale`: the variant for it, else for its language, else the main one; what has no place in it is not judged.
   */
  render(values: TemplateValues | undefined, common?: CommonValues, locale?: string): string | Fault {
    const unknown = this.unknownIn(values) ?? common?.unknown
    if (unknown !== undefined) {
      return at(fault('variable_unknown', `the template has no variable ${shown(unknown)}`, false), unknown)
    }
    const own: string[] = []
    const given: string[] = []
    const { variables } = this
    const { texts, slots, used } = this.variant(locale)
    for (const i of used) {
      const variable = variables[i] as TemplateVariable
      const value = valueIn(variable.name, values)
      const some = value || common?.values[i] || (variable.default ?? '')
      if (some === '' && variable.required && variable.default === null) {
        return at(fault('variable_missing', `the variable ${variable.name} has no value`, false), variable.name)
      }
      if (surelyLonger(variable, some)) return invalid(variable, `is longer than ${variable.maxLength} characters`)
      own[i] = value
      given[i] = some
    }
    // Patterns cost: values that make no text anyway are held against none.
    let length = 0
    for (const piece of texts) length += piece.length
    for (const slot of slots) length += (given[slot] as string).length
    if (length > MAX_TEMPLATE_TEXT) {
      return fault('too_long', `the text has ${length} characters: ${MAX_TEMPLATE_TEXT} at most`, false)
    }
    for (const i of used) {
      const value = own[i] as string
      const why = value === '' ? this.commonObjection(i, common) : this.objection(i, value)
      if (why != null) return invalid(variables[i] as TemplateVariable, why)
    }
    let text = texts[0] as string
    for (let i = 0; i < slots.length; i++) text += (given[slots[i] as number] as string) + (texts[i + 1] as string)
    // Two values side by side: neither is one, and together they are.
    if (text.includes('{{')) return fault('variable_invalid', 'the values make a {{place}} together', false)
    return text === '' ? fault('variable_missing', 'the text is empty', false) : text
  }

  /** What is wrong with a value of variable `i`. */
  objection(i: number, value: string): string | undefined {
    const { maxLength } = this.variables[i] as TemplateVariable
    if (maxLength !== null && value.length > maxLength && [...value].length > maxLength) {
      return `is longer than ${maxLength} characters`
    }
    if (value.length > MAX_TEMPLATE_TEXT) return `is longer than ${MAX_TEMPLATE_TEXT} characters`
    if (value.includes('{{') || value.includes('}}')) return 'holds braces like those of a {{place}}'
    if (UNCLEAN.test(value)) return 'holds a control character'
    const pattern = this.patterns[i]
    if (pattern == null) return undefined
    if (pattern.isTooMuch(value)) return 'is too long for a pattern of so many parts'
    return pattern.matches(value) ? undefined : 'is not as its pattern says'
  }

  private commonObjection(i: number, common: CommonValues | undefined): string | null {
    const value = common?.values[i]
    // A default was judged when the template was made.
    if (common === undefined || !value) return null
    let why = common.objections[i]
    if (why === undefined) {
      why = this.objection(i, value) ?? null
      common.objections[i] = why
    }
    return why
  }

  private unknownIn(values: TemplateValues | undefined): string | undefined {
    for (const name in values) if (!this.numbers.has(name)) return name
    return undefined
  }

  private variant(locale: string | undefined): Variant {
    if (locale === undefined || this.variants.size === 0) return this.main
    for (let tag = locale.toLowerCase(); tag !== ''; tag = tag.slice(0, Math.max(0, tag.lastIndexOf('-')))) {
      const variant = this.variants.get(tag)
      if (variant !== undefined) return variant
    }
    return this.main
  }
}

const invalid = ({ name }: TemplateVariable, why: string): Fault =>
  at(fault('variable_invalid', `the variable ${name} ${why}`, false), name)
/** Without counting them: a character is two units at most. */
const surelyLonger = ({ maxLength }: TemplateVariable, value: string): boolean =>
  maxLength !== null && value.length > 2 * maxLength
const at = (why: Fault, name: string): Fault => ({
  ...why,
  pointer: `/${name.slice(0, 64).replaceAll('~', '~0').replaceAll('/', '~1')}`,
})
const shown = (name: string): string => (name.length > 40 || !isCleanText(name) ? 'of that name' : name)

/** Names like `constructor` are good names: what objects have of themselves is no value. */
function valueIn(name: string, values: TemplateValues | undefined): string {
  if (values === undefined || !Object.hasOwn(values, name)) return ''
  const value = values[name] as string | number | boolean
  return typeof value === 'string' ? value : String(value)
}
