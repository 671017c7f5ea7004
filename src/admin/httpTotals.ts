// Requests that the side-port has answered: how many by route and status, and how long they took. Knows routes as they were
// declared, never a path that somebody asked for: of those there is no end.

import { Histogram } from '../base/figures.js'

export interface RequestCount {
  readonly method: string
  readonly route: string
  readonly status: number
  count: number
}

export class HttpTotals {
  readonly requests = new Map<string, RequestCount>()
  readonly ms = new Histogram()

  /** @param route undefined: there is none, whatever was asked for */
  count(method: string, route: string | undefined, status: number, ms: number): void {
    const key = route === undefined ? `${status}` : `${status} ${method} ${route}`
    const one = this.requests.get(key)
    if (one !== undefined) one.count++
    else
      this.requests.set(key, { method: route === undefined ? 'any' : method, route: route ?? 'none', status, count: 1 })
    this.ms.observe(ms)
  }
}
