// How a command ends: the exit codes, which are a promise to scripts and to systemd, and the
// error that carries one. Knows nothing of any command.

export const EXIT = {
  ok: 0,
  failed: 1,
  /** Bad usage or configuration: trying again cannot help. */
  usage: 2,
  /** Another daemon owns the data directory. */
  owned: 3,
} as const

export type ExitCode = (typeof EXIT)[keyof typeof EXIT]

/** Thrown by a command to end with a sentence on stderr and a code; anything else thrown is a bug of ours. */
export class CommandError extends Error {
  readonly exit: ExitCode

  constructor(exit: ExitCode, message: string) {
    super(message)
    this.exit = exit
  }
}
