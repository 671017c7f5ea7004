// Keeps this node's templates those in SQL, by change number, a slice at a time. Knows no template from another.

import type { Log } from '../../base/log.js'
import { Following } from '../../store/following.js'
import type { Store } from '../../store/postgres.js'
import type { TemplateCopy } from './copy.js'
import { TEMPLATES_CHANNEL, type TemplateRows } from './rows.js'

/** Rows in one go: what keeps the event loop under 5 ms. */
const SLICE = 100

export class TemplateFollower extends Following {
  private readonly copy: TemplateCopy
  private readonly rows: TemplateRows

  constructor(copy: TemplateCopy, rows: TemplateRows, store: Pick<Store, 'ready' | 'listen' | 'onUp'>, log: Log) {
    super({
      store,
      log,
      channel: TEMPLATES_CHANNEL,
      lost: 'templates do not follow the database',
      closed: 'templates are closed',
    })
    this.copy = copy
    this.rows = rows
  }

  protected async catchUp(isUnsure: boolean): Promise<void> {
    const { copy, rows } = this
    if (isUnsure) {
      const { identity, newest } = await rows.head()
      const { state } = copy
      // Of another database, or of one that was set back.
      if (state?.identity !== identity || state.change > newest) await copy.startOver({ identity, change: 0 })
    }
    for (let isMore = true; isMore && !this.closing.aborted; ) isMore = await this.takeChanges()
  }

  /** True when there may be more. */
  private async takeChanges(): Promise<boolean> {
    const { copy, rows } = this
    const { state } = copy
    const heads = state === undefined ? [] : await rows.changes(state.change, SLICE)
    const last = heads.at(-1)
    if (state === undefined || last === undefined) return false
    const known = heads.map(({ id }) => copy.head(id)?.version ?? 0)
    let { change } = state
    for (let rest = heads; rest.length > 0 && !this.closing.aborted; ) {
      const ids = rest.map(({ id }) => id)
      const { versions, isMore } = await rows.versionsAbove(ids, known)
      const end = versions.at(-1)
      // A template is here once its versions are: the last one of a page may have more of them.
      const whole = isMore && end !== undefined ? ids.indexOf(end.template) : rest.length
      change = rest[whole - 1]?.change ?? change
      await copy.take(rest.slice(0, whole), versions, { ...state, change })
      rest = rest.slice(whole)
      known.splice(0, whole)
      if (end !== undefined) known[0] = end.version
    }
    return heads.length === SLICE
  }
}
