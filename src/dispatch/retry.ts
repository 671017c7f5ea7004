// When to try again. One formula, one place; pure.

/**
 * `attempt` counts tries already made (1 = the first has just failed). Doubles from
 * `firstMs`, never above `capMs`, spread by ±25 % so that a thousand messages deferred
 * together do not come back together. `random` is in [0, 1).
 */
export function retryDelayMs(attempt: number, firstMs: number, capMs: number, random: number): number {
  const grown = Math.min(firstMs * 2 ** Math.min(attempt - 1, 30), capMs)
  return Math.round(grown * (0.75 + random / 2))
}
