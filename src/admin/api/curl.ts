// A request to try for each route of the documents, as a curl command: made from the route's own schemas. Knows JSON Schema
// as far as those use it; no route.

interface Shape {
  type?: string
  properties?: Record<string, Shape>
  required?: string[]
  anyOf?: Shape[]
  items?: Shape
  enum?: unknown[]
  const?: unknown
  default?: unknown
  format?: string
  minimum?: number
}

/** What stands for values that are all alike to a schema. */
const SAMPLES: Readonly<Record<string, unknown>> = {
  to: '+4915112345678',
  number: '+4915112345678',
  from: '+4915112345678',
  recipients: ['+4915112345678', '+4915112345679'],
  message: 'Your parcel is here.',
  text: 'Your parcel is here.',
  content: 'Hi {{name}}, your parcel is here.',
  from_number: 'Shop',
  url: 'https://shop.example/hook',
  events: ['message.delivered', 'message.undelivered'],
  keep_hours: 24,
  timeout_ms: 10_000,
  numbers: [17],
  name: 'spring',
  email: 'ann@shop.example',
  password: 'correct horse battery staple',
}
/** Left out of what is required, these say most. */
const SHOWN = ['to', 'message', 'recipients', 'from_number', 'url', 'events', 'keep_hours', 'timeout_ms']
const MESSAGE_ID = '1234567890123456'
const CSV = 'number,message\\n+4915112345678,Hello'

export interface Described {
  readonly method: string
  readonly url: string
  readonly body: unknown
  readonly consumes: readonly string[]
  readonly isOpen: boolean
}

export function curlOf({ method, url, body, consumes, isOpen }: Described): string {
  const path = url.replace(/[:{](\w+)\}?/g, (_, name: string) =>
    name === 'number' ? '+4915112345678' : /sms|batches/.test(url) ? MESSAGE_ID : '7',
  )
  const words = [`curl ${method === 'GET' ? '' : `-X ${method} `}'http://127.0.0.1:8080${path}'`]
  if (!isOpen) words.push(`-H "Authorization: Bearer $KEY"`)
  if (consumes.includes('text/csv')) words.push(`-H 'content-type: text/csv'`, `--data-binary $'${CSV}'`)
  else if (body !== undefined) {
    words.push(`-H 'content-type: application/json'`, `-d '${JSON.stringify(sample(body as Shape))}'`)
  }
  return words.join(' \\\n  ')
}

function sample(shape: Shape, name = ''): unknown {
  if (name in SAMPLES) return SAMPLES[name]
  if (shape.const !== undefined) return shape.const
  if (shape.enum !== undefined) return shape.enum[0]
  if (shape.anyOf !== undefined) return sample(shape.anyOf[0] as Shape, name)
  if (shape.properties !== undefined) {
    const { properties, required = [] } = shape
    const names = Object.keys(properties).filter(one => required.includes(one) || SHOWN.includes(one))
    return Object.fromEntries(names.map(one => [one, sample(properties[one] as Shape, one)]))
  }
  if (shape.default !== undefined) return shape.default
  if (shape.type === 'array') return [sample(shape.items ?? {}, '')]
  if (shape.type === 'integer' || shape.type === 'number') return Math.max(1, shape.minimum ?? 1)
  if (shape.type === 'boolean') return true
  return shape.format?.startsWith('date') ? '2030-01-31T08:00:00Z' : 'text'
}
