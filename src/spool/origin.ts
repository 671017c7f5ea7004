// Where a spool comes from, for whoever must know it from its copies: a directory restored from a backup, or copied, is the
// same spool to anybody who asks for its name only. Knows who may have written history from it; history says who has.

/** From an opening of the spool to the next. */
export interface Run {
  /** '' = before any run had a name. */
  readonly name: string
  /** Rows ever logged when it began. */
  readonly end: number
}

export interface Origin {
  /** Rows that had ever been dropped from the log when this run began. */
  readonly dropped: number
  /** Names this run. */
  readonly run: string
  /** Those of this directory that may have been history's last writer, in their order; this one is the last. */
  readonly runs: readonly Run[]
  /** History knows this run as its writer, so none before it is the last. Resolves when that is durable. */
  isKnown(): Promise<unknown>
  /** Another identity from the next run on. Resolves when that is durable. */
  rename(identity: string): Promise<unknown>
}
