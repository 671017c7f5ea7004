// Where the daemon of a data directory answers commands of its own machine. Knows paths and whose they are; nothing of
// what is said there.

import { createHash } from 'node:crypto'
import { lstatSync, mkdirSync, realpathSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'

/** sockaddr_un.sun_path, less its closing zero. */
const SUN_PATH_BYTES = process.platform === 'linux' ? 107 : 103

/**
 * The daemon's unix socket, and the lock of the data directory: a function of the directory alone, so that every
 * daemon and command that names the same directory, as whatever user and in whatever environment, finds the same
 * socket. In the directory itself; where that path is too long, in SHORT/trunkline-UID, UID being the directory's
 * owner. Throws when the directory is not there.
 */
export function adminSocketPath(dataDir: string, short = '/tmp'): string {
  const { uid } = statSync(dataDir)
  const direct = join(resolve(dataDir), 'admin.sock')
  if (Buffer.byteLength(direct) <= SUN_PATH_BYTES) return direct
  const hash = createHash('sha256').update(realpathSync(dataDir)).digest('hex').slice(0, 24)
  return join(short, `trunkline-${uid}`, `${hash}.sock`)
}

/** For the daemon, before it listens: makes the socket's folder if it is not the data directory, then as `adminSocketFault`. */
export function prepareAdminSocket(dataDir: string, short?: string): string | null {
  mkdirSync(dirname(adminSocketPath(dataDir, short)), { mode: 0o700, recursive: true })
  return adminSocketFault(dataDir, short)
}

/** Why the socket cannot be trusted, or null: in a folder open to others, another user could stand in for the daemon. */
export function adminSocketFault(dataDir: string, short?: string): string | null {
  const folder = dirname(adminSocketPath(dataDir, short))
  const found = lstatSync(folder, { throwIfNoEntry: false })
  if (folder === resolve(dataDir) || found === undefined) return null
  const ours = found.uid === statSync(dataDir).uid && (found.mode & 0o170777) === 0o040700
  return ours ? null : `${folder} must belong to the owner of ${dataDir} alone (mode 0700)`
}
