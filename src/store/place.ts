// Which system user runs the embedded PostgreSQL, and which directories are its own.
// PostgreSQL refuses root; so under root it is `postgres` or `nobody`, and where the
// data directory is closed to that user the cluster stands elsewhere, with a link to it.

import { createHash, randomBytes } from 'node:crypto'
import { chmod, chown, lstat, mkdir, readdir, readFile, realpath, rmdir, stat, symlink } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'

export interface SystemUser {
  readonly name: string
  readonly uid: number
  readonly gid: number
}

export interface Place {
  /** null = the user we are. */
  readonly user: SystemUser | null
  /** Ours: copied binaries, and who stops the server. */
  readonly base: string
  /** The server's user's. */
  readonly cluster: string
  /** PGDATA. */
  readonly data: string
  readonly logFile: string
  /** Short enough for a Unix socket, closed to everyone but the server's user and root. */
  readonly socketDir: string
}

/** Clusters of data directories that the server's user cannot reach. */
const ELSEWHERE = '/var/lib/trunkline'
/** sun_path holds 107 octets and a NUL. */
const MAX_SOCKET_DIR = 107 - '/.s.PGSQL.5432'.length

/** Finds or makes the directories for the cluster of `dataDir`. */
export async function findPlace(dataDir: string): Promise<Place> {
  await mkdir(dataDir, { recursive: true, mode: 0o711 })
  const isRoot = process.getuid?.() === 0
  const user = isRoot ? await serverUser(join(dataDir, 'postgres')) : null
  const base = await findBase(resolve(dataDir), user)
  const cluster = join(base, 'cluster')
  await makeOwn(cluster, user)
  let socketDir = join(cluster, 'run')
  if (Buffer.byteLength(socketDir) > MAX_SOCKET_DIR) {
    const uid = user?.uid ?? process.getuid?.() ?? 0
    socketDir = `/tmp/trunkline-${uid}-${hash(base)}`
  }
  await makeOwn(socketDir, user)
  return { user, base, cluster, data: join(cluster, 'data'), logFile: join(cluster, 'log'), socketDir }
}

async function findBase(dataDir: string, user: SystemUser | null): Promise<string> {
  const beside = join(dataDir, 'postgres')
  // A directory of an earlier start, or our link to one elsewhere.
  const known = await realpath(beside).catch(() => undefined)
  if (known !== undefined) {
    if (user === null || (await canReach(known, user))) return known
    throw new Error(`${known} is closed to ${user.name}, who has to run PostgreSQL: open its parents (chmod o+x)`)
  }
  if (user === null || (await canReach(dataDir, user))) {
    await mkdir(beside, { mode: 0o755 }).catch(ignoreExisting)
    return realpath(beside)
  }
  // The name has a random part: a data directory that was removed and made again must not meet its old cluster.
  const base = join(ELSEWHERE, `${hash(dataDir)}-${randomBytes(4).toString('hex')}`)
  await mkdir(base, { recursive: true, mode: 0o755 })
  await symlink(base, beside).catch(async error => {
    // Another process was quicker: its place is ours.
    await rmdir(base)
    ignoreExisting(error)
  })
  return realpath(beside)
}

function ignoreExisting(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EEXIST') throw error
}

/** Owned by `user`, mode 0700. Somebody else's directory under that name is refused. */
async function makeOwn(dir: string, user: SystemUser | null): Promise<void> {
  const uid = user?.uid ?? process.getuid?.() ?? 0
  const made = await mkdir(dir, { mode: 0o700 }).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
      return false
    },
  )
  if (made && user) await chown(dir, user.uid, user.gid)
  const is = await lstat(dir)
  if (!is.isDirectory() || is.uid !== uid) throw new Error(`${dir} is not a directory of user ${user?.name ?? uid}`)
  if ((is.mode & 0o777) !== 0o700) await chmod(dir, 0o700)
}

/** The owner of the cluster that is there, else `postgres`, else `nobody`. */
async function serverUser(base: string): Promise<SystemUser> {
  const owner = await stat(join(base, 'cluster')).catch(() => undefined)
  const users = (await readFile('/etc/passwd', 'utf8')).split('\n').map(line => line.split(':'))
  const row =
    users.find(field => owner !== undefined && Number(field[2]) === owner.uid) ??
    users.find(field => field[0] === 'postgres') ??
    users.find(field => field[0] === 'nobody')
  if (!row || Number(row[2]) === 0) {
    throw new Error('PostgreSQL does not run as root, and there is no user `postgres` or `nobody`')
  }
  return { name: row[0] as string, uid: Number(row[2]), gid: Number(row[3]) }
}

/** Whether `user` may pass through `path` and all its parents. Access lists are not looked at. */
async function canReach(path: string, user: SystemUser): Promise<boolean> {
  for (let dir = await realpath(path); ; dir = dirname(dir)) {
    const { uid, gid, mode } = await stat(dir)
    const bit = uid === user.uid ? 0o100 : gid === user.gid ? 0o010 : 0o001
    if ((mode & bit) === 0) return false
    if (dir === dirname(dir)) return true
  }
}

/** Clusters of this data directory's path that it does not refer to any more. */
export async function strayClusters(dataDir: string, base: string): Promise<string[]> {
  const names = await readdir(ELSEWHERE).catch(() => [])
  const prefix = `${hash(resolve(dataDir))}-`
  return names
    .filter(name => name.startsWith(prefix))
    .map(name => join(ELSEWHERE, name))
    .filter(path => path !== base)
}

const hash = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 12)
