// The part of pg-copy-streams that we use; it brings no types of its own.

declare module 'pg-copy-streams' {
  import type { Writable } from 'node:stream'
  import type { Connection, Submittable } from 'pg'

  /** `copy … from stdin`: give it to `client.query`, write rows, end. Emits the server's error, or 'finish' after its answer. */
  export function from(text: string): Writable & Submittable & { rowCount: number; connection: Connection | null }
}
