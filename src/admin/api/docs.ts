// The description of the API for programs (OpenAPI 3.1) and for people (/docs, with requests to try): made from the schemas
// of the routes themselves, when somebody asks for the first time. Knows documents; no request of the API passes here.

import type { IncomingMessage, ServerResponse } from 'node:http'
import { type FastifyInstance, fastify } from 'fastify'
import {
  jsonSchemaTransform,
  jsonSchemaTransformObject,
  serializerCompiler,
  validatorCompiler,
} from 'fastify-type-provider-zod'
import { type ApiHost, topics } from './api.js'
import { isOpen as isOpenRoute } from './auth.js'
import { curlOf } from './curl.js'
import { sandboxWords } from './sandbox.js'

const DESCRIPTION = `Text messages over HTTP. Every request bears an API key: \`Authorization: Bearer KEY\` or \`X-API-Key: KEY\`.
What is wrong is told as problem+json (RFC 9457) with a stable \`code\` and the \`request_id\` of the header \`x-request-id\`.
A request with an \`Idempotency-Key\` may be made again. The examples stand without their key: \`export KEY=tl_...\`.

Where the sandbox is on, messages with a **test key**, and messages to these numbers with any key, reach no carrier:

| number | what becomes of the message |
|---|---|
${sandboxWords()}

A test key touches nothing that is live: it makes, replaces and revokes keys for tests alone, cancels messages of the sandbox
alone, and changes no webhook. All other numbers of +999 000 0001, and any number with a test key, are delivered at once. The numbers work over SMPP and SMTP too.`

/** Scripts are files of the page's own; it sets styles where they are needed, and asks this port. */
const PAGE_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

/** A route as the documents have it, with a command to try. */
const described: typeof jsonSchemaTransform = input => {
  const made = jsonSchemaTransform(input)
  if (made.schema.hide) return made
  const {
    body,
    consumes = [],
    description,
  } = made.schema as {
    body?: unknown
    consumes?: string[]
    description?: string
  }
  const { method } = input.route
  const isOpen = isOpenRoute(input.route.config)
  const curl = curlOf({ method: [method].flat()[0] ?? 'GET', url: made.url, body, consumes, isOpen })
  const words = [description, `\`\`\`sh\n${curl}\n\`\`\``].filter(Boolean).join('\n\n')
  return { ...made, schema: { ...made.schema, description: words } }
}

/** The application that answers /openapi.json and /docs; what it knows of the API are its schemas. */
async function build(host: ApiHost, version: string): Promise<FastifyInstance> {
  const [{ default: swagger }, { default: swaggerUi }] = await Promise.all([
    import('@fastify/swagger'),
    import('@fastify/swagger-ui'),
  ])
  const app = fastify({ logger: false })
  app.setValidatorCompiler(validatorCompiler)
  app.setSerializerCompiler(serializerCompiler)
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Trunkline', version, description: DESCRIPTION, license: { name: 'MIT', identifier: 'MIT' } },
      servers: [{ url: '/' }],
      components: {
        securitySchemes: {
          bearer: { type: 'http', scheme: 'bearer', description: 'an API key' },
          key: { type: 'apiKey', in: 'header', name: 'X-API-Key' },
        },
      },
      security: [{ bearer: [] }, { key: [] }],
    },
    transform: described,
    transformObject: jsonSchemaTransformObject,
  })
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    uiConfig: { tryItOutEnabled: true, persistAuthorization: true },
    staticCSP: true,
    transformStaticCSP: () => PAGE_POLICY,
  })
  app.register(async scope => topics(scope, host, () => undefined), { prefix: '/api/v1' })
  app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger())
  await app.ready()
  return app
}

export class Docs {
  private readonly host: ApiHost
  private readonly version: string
  private app: Promise<FastifyInstance> | undefined

  constructor(host: ApiHost, version: string) {
    this.host = host
    this.version = version
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.app ??= build(this.host, this.version).catch(error => {
      // The next who asks may have more luck.
      this.app = undefined
      throw error
    })
    ;(await this.app).routing(request, response)
  }

  async close(): Promise<void> {
    await (await this.app?.catch(() => undefined))?.close()
  }
}
