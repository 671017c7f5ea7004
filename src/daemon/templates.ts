// Templates put together: their copy beside the other copies of this node, and what the doors ask of them. Decides nothing.

import { join } from 'node:path'
import type { Log } from '../base/log.js'
import { Templates, type TemplatesOptions } from '../services/templates/templates.js'

export const openTemplates = ({ dataDir, ...parts }: Omit<TemplatesOptions, 'path'> & { dataDir: string }): Templates =>
  new Templates({ path: join(dataDir, 'templates'), ...parts })

/** What SQL has, if it is there; what this node has, if it is not. */
export async function firstTemplates(templates: Templates, log: Log): Promise<void> {
  templates.start()
  await templates.refresh().catch(error => {
    log.warn({ err: error }, 'the database is away: templates as this node knows them')
  })
}
