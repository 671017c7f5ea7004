// History rows as PostgreSQL's COPY takes them in its binary format, written into one buffer
// in one pass. Knows the columns' order and types; a row is never refused for what its texts
// hold.

import { idNode } from '../base/ids.js'
import type { HistoryRow } from '../spool/contract.js'
