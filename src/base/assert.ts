// For what cannot happen unless we are wrong. What the world can do is a Fault
// or an Outcome, never an assertion.

/** Throws with `sentence` when `truth` is false: a bug of ours, not of a peer. */
export function assert(truth: boolean, sentence: string): asserts truth {
  if (!truth) throw new Error(`impossible: ${sentence}`)
}
