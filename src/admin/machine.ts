// What the operating system knows about this process and its disk. On systems without /proc
// some figures are missing.

import { readdir, readFile, statfs } from 'node:fs/promises'

export interface Machine {
  rssBytes: number
  /** Memory of our own; the mapped spool, which is page cache, is not in it. Linux only. */
  rssAnonBytes: number | undefined
  heapUsedBytes: number
  heapTotalBytes: number
  externalBytes: number
  cpuUserSeconds: number
  cpuSystemSeconds: number
  /** Linux only. */
  openFiles: number | undefined
  diskFreeBytes: number | undefined
}

/** @param dataDir on whose disk free space counts */
export async function lookAtMachine(dataDir: string): Promise<Machine> {
  const memory = process.memoryUsage()
  const cpu = process.cpuUsage()
  const [rssAnonBytes, openFiles, diskFreeBytes] = await Promise.all([
    readFile('/proc/self/status', 'latin1').then(anonBytes, unknown),
    readdir('/proc/self/fd').then(names => names.length, unknown),
    statfs(dataDir).then(disk => disk.bavail * disk.bsize, unknown),
  ])
  return {
    rssBytes: memory.rss,
    rssAnonBytes,
    heapUsedBytes: memory.heapUsed,
    heapTotalBytes: memory.heapTotal,
    externalBytes: memory.external,
    cpuUserSeconds: cpu.user / 1e6,
    cpuSystemSeconds: cpu.system / 1e6,
    openFiles,
    diskFreeBytes,
  }
}

const unknown = (): undefined => undefined

function anonBytes(status: string): number | undefined {
  const kilobytes = /^RssAnon:\s+(\d+) kB$/m.exec(status)?.[1]
  return kilobytes === undefined ? undefined : Number(kilobytes) * 1024
}
