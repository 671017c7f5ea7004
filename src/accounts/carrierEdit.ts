// One carrier of the directory at a time: added, changed, paused, removed. What may stand in it the gateway file's own
// schema says, in its own words; the rows are carrierRows'. Knows nothing of links that run.

import type { Store } from '../store/postgres.js'
import { type CarrierKind, settingsShape } from './carrier.js'
import { carrierRecords, putCarrier } from './carrierRows.js'
import { type FileCarrier, pathText, readGateway } from './gatewayFile.js'
import type { Secrets } from './secrets.js'
import { writing } from './writing.js'

/** Settings under the names of the gateway file; one inside of another has a point between them: `tls.verify`. */
export type Settings = Readonly<Record<string, unknown>>

export interface CarrierChange {
  readonly set: Settings
  /** Back to their defaults. */
  readonly unset: readonly string[]
  /** Left out: the present one stays. */
  readonly password?: string | undefined
}

/** There is no carrier of this name. */
export class NoCarrier extends Error {
  constructor(name: string) {
    super(`there is no carrier ${name}: 'trunkline carrier list' shows those there are`)
  }
}

/** All that is wrong with what was asked for. */
export class CarrierFaulty extends Error {
  readonly faults: readonly { path: string; message: string }[]

  constructor(faults: readonly { path: string; message: string }[]) {
    super(faults.map(({ path, message }) => (path === '' ? message : `${path} ${message}`)).join('\n'))
    this.faults = faults
  }
}

type Directory = Pick<Store, 'transaction'>

/** Throws {@link CarrierFaulty}, Refused, or what SQL throws. */
export async function addCarrier(
  store: Directory,
  secrets: Secrets,
  given: { name: string; kind: CarrierKind; paused: boolean; settings: Settings; password?: string | undefined },
): Promise<void> {
  const { name, kind, paused, settings, password } = given
  const one = readCarrier(name, kind, {}, { set: settings, unset: [], password }, { paused })
  await writing(store, secrets, async client => {
    const [known] = await carrierRecords(client, name)
    if (known) throw new CarrierFaulty([{ path: 'name', message: `is taken: there is a carrier ${name} already` }])
    await putCarrier(client, secrets, one, undefined, '')
  })
}

/** Throws {@link NoCarrier}, {@link CarrierFaulty}, Refused, or what SQL throws. */
export function editCarrier(
  store: Directory,
  secrets: Secrets,
  name: string,
  change: CarrierChange,
): Promise<'updated' | 'unchanged'> {
  return writing(store, secrets, async client => {
    const [known] = await carrierRecords(client, name)
    if (!known) throw new NoCarrier(name)
    const one = readCarrier(name, known.kind, known.settings as Settings, change)
    return (await putCarrier(client, secrets, one, known, '')) as 'updated' | 'unchanged'
  })
}

/** True when it was not so before. Throws {@link NoCarrier}, Refused, or what SQL throws. */
export function pauseCarrier(store: Directory, secrets: Secrets, name: string, paused: boolean): Promise<boolean> {
  return writing(store, secrets, async client => {
    const [known] = await carrierRecords(client, name)
    if (!known) throw new NoCarrier(name)
    if (known.paused === paused) return false
    await client.query('update carriers set paused = $2, updated_at = now() where name = $1', [name, paused])
    return true
  })
}

/** Throws {@link NoCarrier}, {@link CarrierFaulty} while routes lead to it, Refused, or what SQL throws. */
export function removeCarrier(store: Directory, secrets: Secrets, name: string): Promise<void> {
  return writing(store, secrets, async client => {
    const { rows } = await client.query<{ id: number; name: string }>(ROUTES_TO, [name])
    if (rows.length > 0) {
      const routes = rows.map(route => route.name || `#${route.id}`).join(', ')
      const message = `is still named by ${rows.length === 1 ? 'the route' : 'the routes'} ${routes}: take it out there first`
      throw new CarrierFaulty([{ path: name, message }])
    }
    const { rowCount } = await client.query('delete from carriers where name = $1', [name])
    if (rowCount === 0) throw new NoCarrier(name)
  })
}

const ROUTES_TO = `
  select id, name from routes
  where exists (select from jsonb_to_recordset(targets) as t(carrier text) where t.carrier = $1) order by position`

/** What a carrier would be with these settings, none of it written. Throws {@link CarrierFaulty}. */
export function readCarrier(
  name: string,
  kind: CarrierKind,
  present: Settings,
  change: CarrierChange,
  head: { paused?: boolean } = {},
): FileCarrier {
  const shape = settingsShape(kind)
  const faults: { path: string; message: string }[] = []
  const tree: Record<string, unknown> = structuredClone(present)
  for (const key of change.unset) {
    if (!Object.hasOwn(shape, key.split('.', 1)[0] as string)) faults.push({ path: key, message: 'is no such key' })
    else put(tree, key.split('.'), undefined)
  }
  for (const [key, value] of Object.entries(change.set)) {
    if (OWN.has(key)) faults.push({ path: key, message: OWN.get(key) as string })
    else put(tree, key.split('.'), value)
  }
  const password = change.password === undefined ? {} : { password: change.password }
  const read = readGateway({ carriers: [{ ...tree, ...password, ...head, name, kind }] })
  if (!read.ok) {
    for (const { path, text } of read.faults) faults.push({ path: pathText(path.slice(2)), message: text })
  } else if (faults.length === 0) return read.file.carriers?.[0] as FileCarrier
  throw new CarrierFaulty(faults)
}

/** What is no setting of the links, and how it is given. */
const OWN = new Map([
  ['name', 'cannot be changed: add another carrier and remove this one'],
  ['kind', 'cannot be changed: add another carrier and remove this one'],
  ['paused', 'is no setting: use trunkline carrier pause and resume'],
  ['password', 'must not stand on a command line: use --password-file, or be asked for it'],
  ['sealed', 'is for gateway files only: give the password'],
])

/** `tls.verify` stands in `tls`; undefined takes it away. */
export function put(tree: Record<string, unknown>, [key, ...rest]: string[], value: unknown): void {
  // An own property whatever its name is: the schema then says that there is no such key.
  const own = (what: unknown): void => {
    Object.defineProperty(tree, key as string, { value: what, enumerable: true, configurable: true, writable: true })
  }
  if (rest.length === 0) {
    if (value === undefined) delete tree[key as string]
    else own(value)
    return
  }
  const inner = Object.hasOwn(tree, key as string) ? tree[key as string] : undefined
  const isGroup = typeof inner === 'object' && inner !== null && !Array.isArray(inner)
  if (!isGroup && value === undefined) return
  const group = isGroup ? { ...inner } : {}
  put(group as Record<string, unknown>, rest, value)
  own(group)
}
