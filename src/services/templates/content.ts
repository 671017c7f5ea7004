// What may stand in a template, and what its writer may leave out: variables that only stand in the text are declared for
// them. Answers with the content as it is kept, or with every fault. Pure.

import { z } from 'zod'
import { smsTypes } from '../../intake/web/fields.js'
import {
  isCleanText,
  MAX_TEMPLATE_TEXT,
  placesOf,
  type TemplateContent,
  TemplateProgram,
  type TemplateVariable,
  VARIABLE_NAME,
} from '../../model/templateText.js'
import { ValuePattern } from '../../model/valuePattern.js'

const MAX_VARIABLES = 50
const MAX_LOCALES = 40
const LOCALE = /^[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,3}$/

const text = z.string().min(1).max(MAX_TEMPLATE_TEXT)
const variable = z.union([
  z.string().regex(VARIABLE_NAME, 'must be letters, digits and _, 32 at most').describe('a name alone: required'),
  z.strictObject({
    name: z.string().regex(VARIABLE_NAME, 'must be letters, digits and _, 32 at most'),
    required: z.boolean().optional().describe('true, unless it has a default'),
    default: z.string().max(MAX_TEMPLATE_TEXT).nullable().optional(),
    max_length: z.int().min(1).max(MAX_TEMPLATE_TEXT).nullable().optional().describe('characters of a value'),
    pattern: z
      .string()
      .max(200)
      .nullable()
      .optional()
      .describe('what a whole value must match: characters, classes, counts and |, no groups'),
  }),
])
export type VariableGiven = z.output<typeof variable>

const shapes = {
  name: z
    .string()
    .regex(/^[\p{L}\p{N}][\p{L}\p{N} ._:-]*$/u, 'must be letters, digits, spaces and . _ : -')
    .refine(name => !/^\d+$/.test(name), 'must not be a number: those are ids')
    .refine(name => Buffer.byteLength(name) <= 64, 'must be 64 octets at most'),
  content: text.describe('The text, with {{name}} where a value goes.'),
  locales: z
    .record(z.string().regex(LOCALE, 'must be a locale like de or pt-BR'), text)
    .refine(all => Object.keys(all).length <= MAX_LOCALES, `must be ${MAX_LOCALES} at most`)
    .describe('The text in other languages, by locale.'),
  variables: z
    .array(variable)
    .max(MAX_VARIABLES)
    .describe('What is known of the values; a variable that is not named here is required, and may be anything.'),
  category: z
    .string()
    .max(64)
    .regex(/^[\w .:-]*$/, 'must be letters, digits, spaces and . : _ -'),
  sms_type: z.enum(smsTypes).describe('Of messages that say nothing else.'),
  is_active: z.boolean(),
}

/** A template as it comes over HTTP or from a file. */
export const templateFields = z.strictObject({
  ...shapes,
  locales: shapes.locales.default({}),
  variables: shapes.variables.default([]),
  category: shapes.category.default(''),
  sms_type: shapes.sms_type.default('transactional'),
  is_active: shapes.is_active.default(true),
})
export type TemplateFields = z.output<typeof templateFields>

/** What is to be different; another text, language or variable makes a version. */
export const templateChange = z
  .strictObject({
    ...shapes,
    version: z
      .int()
      .min(1)
      .max(1_000_000)
      .describe('The one that is changed: refused when there is a newer one by now.'),
  })
  .partial()
export type TemplateChange = z.output<typeof templateChange>

export interface ContentFault {
  /** JSON pointer. */
  readonly pointer: string
  readonly detail: string
}

/** The template cannot be so. */
export class TemplateFaulty extends Error {
  readonly faults: readonly ContentFault[]
  constructor(faults: readonly ContentFault[]) {
    super(faults.map(({ pointer, detail }) => `${pointer.slice(1).replaceAll('/', '.')}: ${detail}`).join('; '))
    this.faults = faults
  }
}

/** As it is kept. Throws {@link TemplateFaulty}. `before`: variables that are declared where the text still has them. */
export function contentOf(
  { content, locales, variables }: Pick<TemplateFields, 'content' | 'locales' | 'variables'>,
  before: readonly TemplateVariable[] = [],
): TemplateContent {
  const faults: ContentFault[] = []
  const add = (pointer: string, detail: string): void => void faults.push({ pointer, detail })
  const places = new Set<string>()
  const look = (pointer: string, written: string): void => {
    const { names, fault } = placesOf(written)
    if (fault !== undefined) add(pointer, fault)
    if (!isCleanText(written)) add(pointer, 'holds a control character')
    for (const name of names) places.add(name)
  }
  look('/content', content)
  for (const [locale, written] of Object.entries(locales)) look(`/locales/${locale}`, written)
  const declared = new Map<string, TemplateVariable>()
  let defaults = 0
  for (const [i, given] of variables.entries()) {
    const one = variableOf(given)
    defaults += one.default?.length ?? 0
    // No text has room for them all, and each would be held against its pattern.
    if (defaults > MAX_TEMPLATE_TEXT) {
      add(`/variables/${i}/default`, `the defaults have more than ${MAX_TEMPLATE_TEXT} characters together`)
      break
    }
    if (declared.has(one.name)) add(`/variables/${i}`, `${one.name} is there twice`)
    else if (!places.has(one.name)) add(`/variables/${i}`, `no text has a {{${one.name}}}`)
    if (one.pattern !== null) {
      try {
        new ValuePattern(one.pattern)
      } catch (error) {
        add(`/variables/${i}/pattern`, (error as Error).message)
        continue
      }
    }
    const why = one.default === null || one.default === '' ? undefined : objectionTo(one, one.default)
    if (why !== undefined) add(`/variables/${i}/default`, why)
    declared.set(one.name, one)
  }
  for (const one of before) if (places.has(one.name) && !declared.has(one.name)) declared.set(one.name, one)
  for (const name of places) if (!declared.has(name)) declared.set(name, variableOf(name))
  if (declared.size > MAX_VARIABLES) add('/content', `has more than ${MAX_VARIABLES} variables`)
  const tags = new Set(Object.keys(locales).map(locale => locale.toLowerCase()))
  if (tags.size < Object.keys(locales).length) add('/locales', 'has a locale twice')
  if (faults.length > 0) throw new TemplateFaulty(faults)
  return { content, locales, variables: [...declared.values()] }
}

function variableOf(given: VariableGiven): TemplateVariable {
  const {
    name,
    required,
    default: preset = null,
    max_length = null,
    pattern = null,
  } = typeof given === 'string' ? { name: given } : given
  return { name, required: required ?? preset === null, default: preset, maxLength: max_length, pattern }
}

const objectionTo = (one: TemplateVariable, value: string): string | undefined =>
  new TemplateProgram({ content: '', locales: {}, variables: [one] }).objection(0, value)
