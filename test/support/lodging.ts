// Many stories on one daemon: a start costs more than most stories. A lodger has accounts, carriers and routes of its own
// there, under names that say whose they are, and sees the daemon's log and its history as if it were alone with it. For
// stories that do not fill the daemon, whose figures no other lodger moves, and that stop it only all together.
import type { Test } from 'tap'
import { type Esme, type EsmeOptions, esme } from './esme.js'
import { type Gateway, type HistoryRow, type House, type HouseOptions, house, type LogLine, story } from './house.js'

/** Apart from names, which have none: `shop~3` is the account `shop` of the third. */
const MARK = '~'

/** In order, or as a power failure would. */
type Ending = 'stop' | 'kill9'
type Tell = (t: Test) => Promise<void>
/** Without what is for an operator of them all. */
type Things = Pick<Gateway, 'accounts' | 'carriers' | 'routes'>
interface Lodger {
  readonly title: string
  readonly tell: Tell
}

const lodgers: Lodger[] = []
const rooms = new WeakMap<Test, { inn: Inn; n: number }>()

/** A {@link story} that is told on the daemon of {@link lodgersOn}, together with the others. It must {@link lodge}. */
export function lodger(title: string, tell: Tell): void {
  lodgers.push({ title, tell })
}

/** A house of a lodger's own, but for the daemon. Waits for what the others need: it is started with all of it. */
export async function lodge(t: Test, things: Things = {}): Promise<Lodging> {
  const room = rooms.get(t)
  if (room === undefined) throw new Error('only a lodger lodges')
  return new Lodging(room.inn, room.n, await room.inn.moveIn(room.n, things))
}

interface InnOptions extends Omit<HouseOptions, keyof Things> {
  /** For lodgers that ask about their messages by their source: it stays `1000`. */
  oneSource?: boolean
}

/** Tells all stories of lodgers that were declared, at once, on a daemon with these settings. */
export function lodgersOn(title: string, { oneSource = false, ...options }: InnOptions = {}): void {
  const all = lodgers.splice(0)
  story(title, async t => {
    t.jobs = all.length
    const inn = new Inn(all.length, oneSource, gateway => house(t, { ...options, ...gateway }))
    const told = all.map(({ title, tell }, n) =>
      t.test(title, { buffered: true }, async t => {
        rooms.set(t, { inn, n })
        try {
          await tell(t)
        } finally {
          inn.moveOut(n)
        }
      }),
    )
    await Promise.all(told)
  })
}

class Inn {
  readonly oneSource: boolean
  private readonly things: (Things | undefined)[]
  /** Who has not yet said what it needs. */
  private readonly awaited: Set<number>
  private readonly open: (gateway: Things) => Promise<House>
  private opened = (_: Promise<House>): void => {}
  private readonly daemon = new Promise<House>(resolve => {
    this.opened = resolve
  })
  private changing: Promise<unknown> = Promise.resolve()
  /** Who has asked that it ends, and what they do until it is there again. */
  private readonly asking = new Map<number, () => Promise<unknown>>()
  private readonly gone = new Set<number>()
  private ending: Ending = 'stop'
  private again = promised()

  constructor(lodgers: number, oneSource: boolean, open: (gateway: Things) => Promise<House>) {
    this.things = Array.from({ length: lodgers })
    this.awaited = new Set(this.things.keys())
    this.oneSource = oneSource
    this.open = open
  }

  moveIn(n: number, things: Things): Promise<House> {
    if (this.things[n] !== undefined) throw new Error('lodges twice')
    this.things[n] = things
    this.arrived(n)
    return this.daemon
  }

  /** Also of one that never came. */
  moveOut(n: number): void {
    this.arrived(n)
    this.gone.add(n)
    if (this.asking.size > 0) this.endIfAll()
  }

  /** Resolves when it has ended and is there again. */
  endWithAll(n: number, end: Ending, meanwhile: () => Promise<unknown>): Promise<void> {
    this.ending = end
    this.asking.set(n, meanwhile)
    const { promise } = this.again
    this.endIfAll()
    return promise
  }

  private endIfAll(): void {
    if (this.asking.size + this.gone.size < this.things.length) return
    const all = [...this.asking.values()]
    const { resolve, reject } = this.again
    this.asking.clear()
    this.again = promised()
    const work = async (): Promise<void> => {
      const daemon = await this.daemon
      await daemon[this.ending]()
      await Promise.all(all.map(meanwhile => meanwhile()))
      await daemon.start()
    }
    work().then(resolve, reject)
  }

  private arrived(n: number): void {
    if (this.awaited.delete(n) && this.awaited.size === 0) this.opened(this.open(this.gateway()))
  }

  /** One change after the other: each is of the whole. */
  change(n: number, things: Things): Promise<void> {
    const done = this.changing.then(async () => {
      this.things[n] = things
      await (await this.daemon).apply(this.gateway())
    })
    this.changing = done.catch(() => {})
    return done
  }

  private gateway(): Things {
    const all = this.things.map((things, n) => (things === undefined ? {} : marked(things, n)))
    return {
      accounts: Object.assign({}, ...all.map(one => one.accounts)),
      carriers: Object.assign({}, ...all.map(one => one.carriers)),
      routes: all.flatMap(one => one.routes ?? []),
    }
  }
}

function promised(): { promise: Promise<void>; resolve(): void; reject(error: unknown): void } {
  let [resolve, reject] = [(): void => {}, (_: unknown): void => {}]
  const promise = new Promise<void>((done, failed) => {
    resolve = done
    reject = failed
  })
  return { promise, resolve, reject }
}

const nameOf = (name: string, n: number): string => `${name}${MARK}${n}`

function marked({ accounts = { shop: {} }, carriers = {}, routes }: Things, n: number): Things {
  const mine = <T>(all: Record<string, T>): Record<string, T> =>
    Object.fromEntries(Object.entries(all).map(([name, one]) => [nameOf(name, n), one]))
  const names = Object.keys(carriers)
  const list = (routes ?? (names.length > 0 ? [{ match: {}, to: names }] : [])) as {
    name?: string
    match?: object
    to: (string | { carrier: string })[]
  }[]
  return {
    accounts: mine(accounts),
    carriers: mine(carriers),
    routes: list.map(({ name, match, to }) => ({
      ...(name === undefined ? {} : { name: nameOf(name, n) }),
      match: { account: Object.keys(accounts).map(one => nameOf(one, n)), ...match },
      to: to.map(one => (typeof one === 'string' ? nameOf(one, n) : { ...one, carrier: nameOf(one.carrier, n) })),
    })),
  }
}

export class Lodging {
  /** What is all lodgers': its figures, its life. */
  readonly daemon: House
  private readonly inn: Inn
  private readonly n: number

  constructor(inn: Inn, n: number, daemon: House) {
    this.inn = inn
    this.n = n
    this.daemon = daemon
  }

  /** What an account, a carrier or a route of that name here is called on the daemon. */
  named(name: string): string {
    return nameOf(name, this.n)
  }

  /** As `esme`, for the account of that name here. */
  async enter(t: Test, options: EsmeOptions = {}): Promise<Esme> {
    const { systemId = 'shop' } = options
    const one = await esme(t, this.daemon.smpp, { ...options, systemId: nameOf(systemId, this.n) })
    if (this.inn.oneSource) return one
    const submit = one.submit.bind(one)
    // What comes again and again from one number to another goes round, whoever sends it.
    one.submit = (fields, tlvs) => submit({ source_addr: String(1_000 + this.n), ...fields }, tlvs)
    return one
  }

  /** It ends once every lodger who is not done has asked for it, and starts when each has done what it does meanwhile. */
  again(end: Ending, meanwhile: () => Promise<unknown> = async () => {}): Promise<void> {
    return this.inn.endWithAll(this.n, end, meanwhile)
  }

  /** Makes the accounts, carriers and routes those. */
  apply(things: Things): Promise<void> {
    return this.inn.change(this.n, things)
  }

  /** A sample of /metrics. Without a carrier it is that of the whole daemon. */
  metric(name: string, { carrier, ...labels }: Record<string, string> = {}): Promise<number> {
    return this.daemon.metric(name, carrier === undefined ? labels : { ...labels, carrier: nameOf(carrier, this.n) })
  }

  /** Log lines that name no other lodger's account or carrier, in this one's names. */
  get log(): LogLine[] {
    return this.daemon.log.flatMap(line => {
      const mine: LogLine = { ...line }
      for (const key of ['carrier', 'systemId', 'account', 'route']) {
        const value = line[key]
        if (typeof value !== 'string' || !value.includes(MARK)) continue
        const [name = '', n] = value.split(MARK)
        if (Number(n) !== this.n) return []
        mine[key] = name
      }
      return [mine]
    })
  }

  lines(message: string, from = 0): LogLine[] {
    return this.log.slice(from).filter(line => line.msg === message)
  }

  /** The first such line of {@link log} from index `from` on. */
  async line(match: string | ((line: LogLine) => boolean), from = 0, ms?: number): Promise<LogLine> {
    const takes = typeof match === 'string' ? (line: LogLine) => line.msg === match : match
    const find = (): LogLine | undefined => this.log.slice(from).find(takes)
    await this.daemon.line(() => find() !== undefined, 0, ms)
    return find() as LogLine
  }

  /** The rows of this one's accounts, once `enough` of them are there. */
  async history(enough: number | ((rows: HistoryRow[]) => boolean), ms?: number): Promise<HistoryRow[]> {
    const accounts = new Set(
      (
        await this.daemon.query<{ id: number }>(
          `select id from accounts where split_part(system_id, '${MARK}', 2) = '${this.n}'`,
        )
      ).map(({ id }) => id),
    )
    const mine = (rows: HistoryRow[]): HistoryRow[] => rows.filter(row => accounts.has(row.account))
    const takes = typeof enough === 'number' ? (rows: HistoryRow[]) => rows.length >= enough : enough
    return mine(await this.daemon.history(rows => takes(mine(rows)), ms))
  }
}
