// Templates put together: their copy beside the other copies of this node, and what the doors ask of them. Decides nothing.

import { join } from 'node:path'
import type { Clock } from '../base/clock.js'
import type { Log } from '../base/log.js'
import { Templates } from '../services/templates/templates.js'
import type { Store } from '../store/postgres.js'

export interface TemplateParts {
  readonly dataDir: string
  readonly store: Store
  readonly clock: Clock
  readonly log: Log
}

export const openTemplates = ({ dataDir, store, clock, log }: TemplateParts): Templates =>
  new Templates({ path: join(dataDir, 'templates'), store, clock, log })

/** What SQL has, if it is there; what this node has, if it is not. */
export async function firstTemplates(templates: Templates, log: Log): Promise<void> {
  templates.start()
  await templates.refresh().catch(error => {
    log.warn({ err: error }, 'the database is away: templates as this node knows them')
  })
}
