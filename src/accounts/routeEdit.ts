// One route of the directory at a time: added, changed, moved, removed. What may stand in it the gateway file's own schema
// says, in its own words. A route is called by its name, or # and its number. Knows rows, not what waits.

import type { SqlClient, Store } from '../store/postgres.js'
import { pathText, readGateway } from './gatewayFile.js'
import { type FileRoute, type StoredRoute, storedMatch } from './route.js'
import type { Secrets } from './secrets.js'
import { writing } from './writing.js'

/** Where a route stands among the others. */
export type RoutePlace = { readonly before: string } | { readonly after: string } | 'first' | 'last'

/** As in a gateway file; none of it read yet. */
export interface GivenRoute {
  readonly name?: unknown
  readonly match?: unknown
  readonly to?: unknown
  readonly by?: unknown
  readonly named?: unknown
}

/** There is no route of this name. */
export class NoRoute extends Error {
  constructor(name: string) {
    super(`there is no route ${name}: 'trunkline route list' shows those there are`)
  }
}

/** All that is wrong with what was asked for. */
export class RouteFaulty extends Error {
  readonly faults: readonly { path: string; message: string }[]

  constructor(faults: readonly { path: string; message: string }[]) {
    super(faults.map(({ path, message }) => (path === '' ? message : `${path} ${message}`)).join('\n'))
    this.faults = faults
  }
}

type Directory = Pick<Store, 'transaction'>

/** Its number. Throws {@link NoRoute} of the place, {@link RouteFaulty}, Refused, or what SQL throws. */
export async function addRoute(
  store: Directory,
  secrets: Secrets,
  given: GivenRoute,
  place: RoutePlace,
): Promise<number> {
  const one = readRoute(given)
  return writing(store, secrets, async client => {
    const present = await routes(client)
    await check(client, one, present, undefined)
    const { rows } = await client.query<{ id: number }>(INSERT, [present.length + 1, ...valuesOf(one)])
    const id = rows[0]?.id as number
    await order(client, [...present, { id, name: one.name ?? '' }], id, place)
    return id
  })
}

/**
 * Keys of the match that `change` gives become what it gives, null takes them away; so do the others. The number, and
 * whether anything changed. Throws as {@link addRoute}.
 */
export function editRoute(
  store: Directory,
  secrets: Secrets,
  name: string,
  change: GivenRoute,
): Promise<{ id: number; changed: boolean }> {
  return writing(store, secrets, async client => {
    const present = await routes(client)
    const known = found(present, name)
    const before = givenOf(known)
    const match = { ...(before.match as object), ...(change.match as object | undefined) }
    const one = readRoute({ ...before, ...change, match: withoutNulls(match) })
    await check(client, one, present, known)
    const values = valuesOf(one)
    if (JSON.stringify(values) === JSON.stringify(valuesOf(readRoute(before)))) return { id: known.id, changed: false }
    await client.query(UPDATE, [...values, known.id])
    return { id: known.id, changed: true }
  })
}

/** True when it stood elsewhere before. Throws {@link NoRoute} of either, Refused, or what SQL throws. */
export function moveRoute(store: Directory, secrets: Secrets, name: string, place: RoutePlace): Promise<boolean> {
  return writing(store, secrets, async client => {
    const present = await routes(client)
    return order(client, present, found(present, name).id, place)
  })
}

/** Its number. Throws {@link NoRoute}, Refused, or what SQL throws. */
export function removeRoute(store: Directory, secrets: Secrets, name: string): Promise<number> {
  return writing(store, secrets, async client => {
    const { id } = found(await routes(client), name)
    await client.query('delete from routes where id = $1', [id])
    return id
  })
}

const INSERT = `
  insert into routes (position, name, match, targets, choose_by, named) values ($1, $2, $3, $4, $5, $6) returning id`
const UPDATE = `
  update routes set name = $1, match = $2, targets = $3, choose_by = $4, named = $5, updated_at = now() where id = $6`

const valuesOf = (one: FileRoute): string[] => [
  one.name ?? '',
  JSON.stringify(storedMatch(one.match)),
  JSON.stringify(one.to),
  one.by ?? '',
  one.named,
]

async function routes(client: SqlClient): Promise<StoredRoute[]> {
  const columns = 'id, position, name, match, targets, choose_by, named'
  return (await client.query<StoredRoute>(`select ${columns} from routes order by position, id`)).rows
}

type Called = Pick<StoredRoute, 'id' | 'name'>

function found<T extends Called>(present: readonly T[], name: string): T {
  const one = present.find(route => (name.startsWith('#') ? `#${route.id}` === name : route.name === name))
  if (one === undefined) throw new NoRoute(name)
  return one
}

function givenOf({ name, match, targets, choose_by, named }: StoredRoute): GivenRoute {
  return { ...(name === '' ? {} : { name }), match, to: targets, ...(choose_by === '' ? {} : { by: choose_by }), named }
}

const withoutNulls = (given: object): object =>
  Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null))

function readRoute(given: GivenRoute): FileRoute {
  const read = readGateway({ routes: [withoutNulls(given)] })
  if (read.ok) return read.file.routes?.[0] as FileRoute
  throw new RouteFaulty(read.faults.map(({ path, text }) => ({ path: pathText(path.slice(2)), message: text })))
}

async function check(
  client: SqlClient,
  one: FileRoute,
  present: readonly Called[],
  known: Called | undefined,
): Promise<void> {
  const faults: { path: string; message: string }[] = []
  if (one.name?.startsWith('#'))
    faults.push({ path: 'name', message: 'must not begin with #: so routes without a name are called' })
  const isTaken = one.name !== undefined && present.some(({ id, name }) => name === one.name && id !== known?.id)
  if (isTaken) faults.push({ path: 'name', message: `is taken: there is a route ${one.name} already` })
  const { rows } = await client.query<{ name: string }>('select name from carriers')
  const carriers = new Set(rows.map(row => row.name))
  for (const { carrier } of one.to) {
    if (!carriers.has(carrier)) faults.push({ path: 'to', message: `names no carrier: ${carrier}` })
  }
  if (faults.length > 0) throw new RouteFaulty(faults)
}

/** Numbers the routes with this one in its place; true when any stands elsewhere than before. */
async function order(client: SqlClient, present: readonly Called[], id: number, place: RoutePlace): Promise<boolean> {
  const one = present.find(route => route.id === id) as Called
  const others = present.filter(route => route.id !== id)
  const at = placeAmong(others, one, place)
  const ids = [...others.slice(0, at), one, ...others.slice(at)].map(route => route.id)
  const { rowCount } = await client.query(
    `update routes r set position = t.position, updated_at = now()
    from unnest($1::int[]) with ordinality as t(id, position) where t.id = r.id and t.position <> r.position`,
    [ids],
  )
  return rowCount !== null && rowCount > 0
}

function placeAmong(others: readonly Called[], one: Called, place: RoutePlace): number {
  if (place === 'first') return 0
  if (place === 'last') return others.length
  const name = 'before' in place ? place.before : place.after
  if (name === one.name || name === `#${one.id}`) {
    throw new RouteFaulty([{ path: '', message: 'a route cannot stand before or after itself' }])
  }
  return others.indexOf(found(others, name)) + ('before' in place ? 0 : 1)
}
