// What the figures were taken on: processor, Node, how fast the disk makes a small write durable, how busy it was.

import { closeSync, fdatasyncSync, fsyncSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs'
import { availableParallelism, cpus, loadavg } from 'node:os'
import { dirname } from 'node:path'

export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly node: string
  /** Median of an fdatasync after a write of 4 KiB within a file. */
  readonly fdatasync_us: number
  /** Of the last minute, before the first figure. */
  readonly load: number
}

const PAGE = 4096
const PAGES = 256
const SYNCS = 300

/** @param file is written and removed; on the disk that counts */
export function lookAtMachine(file: string): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown processor',
    cores: availableParallelism(),
    node: process.version,
    fdatasync_us: fdatasyncMicros(file),
    load: Math.round((loadavg()[0] ?? 0) * 100) / 100,
  }
}

export function machineLine({ cpu, cores, node, fdatasync_us, load }: Machine): string {
  return `machine: ${cpu}, ${cores} cores, node ${node}, fdatasync ${fdatasync_us} µs, load average ${load} at the start`
}

function fdatasyncMicros(file: string): number {
  mkdirSync(dirname(file), { recursive: true })
  const fd = openSync(file, 'w')
  try {
    writeSync(fd, Buffer.alloc(PAGES * PAGE))
    fsyncSync(fd)
    const page = Buffer.alloc(PAGE, 1)
    const micros: number[] = []
    for (let n = 0; n < SYNCS; n++) {
      writeSync(fd, page, 0, PAGE, (n % PAGES) * PAGE)
      const from = performance.now()
      fdatasyncSync(fd)
      micros.push((performance.now() - from) * 1000)
    }
    return Math.round(micros.sort((a, b) => a - b)[SYNCS >> 1] as number)
  } finally {
    closeSync(fd)
    rmSync(file)
  }
}
