// The OpenAPI document of a running daemon, and whether answers are as it says.
import { createRequire } from 'node:module'
import type { Answer, api } from './api.js'

interface Compiled {
  (data: unknown): boolean
  errors?: unknown
}
interface Judge {
  addSchema(schema: object, name: string): void
  compile(schema: object): Compiled
}
// A dependency of fastify's.
const { Ajv2020 } = createRequire(import.meta.url)('ajv/dist/2020.js') as {
  Ajv2020: new (options: object) => Judge
}

interface Operation {
  summary?: string
  tags?: string[]
  description?: string
  responses?: Record<string, { content?: Record<string, { schema?: object }> }>
}
export interface Document {
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, object> }
}

/** A program that asks and says `faulty` of each JSON answer that is not as the document has it. */
export async function judged(
  ask: ReturnType<typeof api>,
  faulty: (what: string) => void,
): Promise<{ ask: ReturnType<typeof api>; document: Document }> {
  const document: Document = (await ask('GET', '/openapi.json', { key: null })).json
  const judge = new Ajv2020({ strict: false, validateFormats: false })
  judge.addSchema(document, 'api')
  const known = new Map<string, Compiled>()
  const check = (method: string, path: string, { status, headers, json }: Answer): void => {
    if (json === undefined || headers['content-type']?.includes('ndjson')) return
    const plain = (path.split('?')[0] as string).replace(/^\/api\/(?!v1\/)/, '/api/v1/')
    const found = Object.keys(document.paths)
      .filter(one => document.paths[one]?.[method.toLowerCase()] !== undefined)
      .filter(one => new RegExp(`^${one.replace(/\{\w+\}/g, '[^/]+')}$`).test(plain))
      // A path without parameters is meant before one with.
      .sort((a, b) => a.split('{').length - b.split('{').length)[0]
    if (found === undefined) return
    const responses = document.paths[found]?.[method.toLowerCase()]?.responses ?? {}
    const name = String(status) in responses ? String(status) : `${String(status)[0]}XX`
    const content = responses[name]?.content
    const type = content && Object.keys(content)[0]
    if (type === undefined) {
      faulty(`${method} ${found} may not answer ${status}`)
      return
    }
    const pointer = ['paths', found, method.toLowerCase(), 'responses', name, 'content', type, 'schema']
      .map(one => encodeURIComponent(one.replaceAll('~', '~0').replaceAll('/', '~1')))
      .join('/')
    let validate = known.get(pointer)
    if (validate === undefined) {
      validate = judge.compile({ $ref: `api#/${pointer}` })
      known.set(pointer, validate)
    }
    if (!validate(json)) faulty(`${method} ${found} ${status}: ${JSON.stringify(validate.errors)}`)
  }
  const asked: ReturnType<typeof api> = async (method, path, more) => {
    const answer = await ask(method, path, more)
    check(method, path, answer)
    return answer
  }
  return { ask: asked, document }
}
