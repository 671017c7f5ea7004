// Text in a gateway file. YAML reads 0123, 1e5 and 491711 as numbers, and what they were
// before is lost: so a number where text belongs is a fault, never converted.

import { z } from 'zod'

export const yamlText = z.string({
  error: issue => (issue.input === undefined ? 'is missing' : 'must be text: put it in quotes'),
})
