// YAML, but not before there is some: the package is seventy files, a sixth of what most commands load. Knows which texts are
// JSON and nothing else; what stands in them, others know.

import { createRequire } from 'node:module'
import type * as Yaml from 'yaml'

const require = createRequire(import.meta.url)

/** The package, loaded at the first call. */
export const yaml = (): typeof Yaml => require('yaml') as typeof Yaml

/**
 * What a text says that a program wrote as JSON, without spaces; undefined for any other. It says the same as YAML: what JSON
 * writes back to the letter has no comment, no key twice, and no number that lost a digit.
 */
export function writtenAsJson(text: string): unknown {
  if (!text.startsWith('{')) return undefined
  try {
    const tree: unknown = JSON.parse(text)
    return JSON.stringify(tree) === text ? tree : undefined
  } catch {
    return undefined
  }
}
