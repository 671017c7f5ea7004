// What is counted of messages, and at which levels it is summed up: the columns of stats_hour, stats_day and stats_week, and
// the statements that write them. Knows SQL and nothing of rows of history.

/** Bits of a level: what its rows tell apart, besides the hour, day or week and the class. */
export const dimension = { account: 1, carrier: 2, country: 4 } as const

/** Levels that are kept by hour, and by day and week, as in the migrations. The last of each has everything. */
export const HOUR_LEVELS = [0, 1, 2, 4, 6, 7] as const
export const DAY_LEVELS = [0, 1, 2, 3, 4, 5, 6, 7] as const
export const FINEST = 7

/** Upper bounds in seconds of what took so long from when it could go to delivery; what took longer has a column more. */
export const TOOK_S = [1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 900, 3_600] as const

/** Counts of messages and segments, then micros: in the order of a cell's values. */
const COUNTS = [
  'accepted',
  'segments',
  'delivered',
  'undeliverable',
  'expired',
  'rejected',
  'deleted',
  'unknown',
  'unreported',
  'ended_segments',
  'converted',
  ...[...TOOK_S, 0].map((_, i) => `took_${i}` as const),
] as const
const MICROS = ['price_micros', 'ended_micros', 'back_micros', 'cost_micros'] as const

export const COLUMNS: readonly string[] = [...COUNTS, ...MICROS]
export const WIDTH = COLUMNS.length
/** Columns of counts: below 2^31 in one slice. */
const COUNT_WIDTH = COUNTS.length

const at = (name: (typeof COUNTS)[number] | (typeof MICROS)[number]): number => COLUMNS.indexOf(name)

/** Where a value stands in a cell. */
export const column = {
  accepted: at('accepted'),
  segments: at('segments'),
  delivered: at('delivered'),
  undeliverable: at('undeliverable'),
  expired: at('expired'),
  rejected: at('rejected'),
  deleted: at('deleted'),
  unknown: at('unknown'),
  /** A carrier took them and no receipt was to come: neither delivered nor failed. */
  unreported: at('unreported'),
  endedSegments: at('ended_segments'),
  converted: at('converted'),
  took: at('took_0'),
  price: at('price_micros'),
  ended: at('ended_micros'),
  back: at('back_micros'),
  cost: at('cost_micros'),
} as const

const KEYS = ['hour', 'account', 'carrier', 'country', 'rank'] as const
const KEY_TYPES = ['timestamptz', 'int', 'int', 'text', 'smallint'] as const

const unnested = [
  ...KEY_TYPES.map((type, i) => `$${i + 1}::${type}[]`),
  ...COLUMNS.map((_, i) => `$${i + 1 + KEYS.length}::${i < COUNT_WIDTH ? 'int' : 'bigint'}[]`),
].join(', ')

const names = (level: number): string[] =>
  (Object.keys(dimension) as (keyof typeof dimension)[]).filter(name => (level & dimension[name]) !== 0)

/** Adds cells of a slice, given as an array for each of the keys and the columns. */
export const ADD_CELLS = `insert into stats_fresh (${[...KEYS, ...COLUMNS].join(', ')})
  select ${KEYS.join(', ')}, ${COLUMNS.map(name => `nullif(${name}, 0)`).join(', ')}
  from unnest(${unnested}) as c (${[...KEYS, ...COLUMNS].join(', ')})`

/** Where a row of each table begins, as it is called in `cells`. */
const begins = { stats_hour: 'hour', stats_day: 'day', stats_week: 'week' } as const
export type StatsTable = keyof typeof begins

/** `hour` of the day or week (from Monday) in UTC that it is in. */
const beginOf = (unit: 'day' | 'week'): string => `date_trunc('${unit}', hour at time zone 'UTC') at time zone 'UTC'`

/** Sums of `cells` at these levels, added to what stands there. In the order of the key, as all who write them do. */
export const added = (table: StatsTable, levels: readonly number[]): string => {
  const hour = begins[table]
  const sets = levels.map(level => `(${[hour, 'rank', ...names(level)].join(', ')})`).join(', ')
  return `insert into ${table} as s (level, ${KEYS.join(', ')}, ${COLUMNS.join(', ')})
    select ${FINEST} - grouping(account) - 2 * grouping(carrier) - 4 * grouping(country), ${hour},
      coalesce(account, 0), coalesce(carrier, 0), coalesce(country, ''), rank,
      ${COLUMNS.map(name => `sum(${name})::bigint`).join(', ')}
    from cells group by grouping sets (${sets}) order by 1, 2, 3, 4, 5, 6
    on conflict (level, ${KEYS.join(', ')}) do update set
      ${COLUMNS.map(name => `${name} = coalesce(s.${name} + excluded.${name}, s.${name}, excluded.${name})`).join(', ')}`
}

/** Moves so many cells at most from where slices put them to hours, days and weeks at all levels; answers how many it were. */
export const MOVE_CELLS = `
  with moved as (
    delete from stats_fresh where ctid = any(array(select ctid from stats_fresh limit $1)) returning *),
  cells as materialized (
    select *, ${beginOf('day')} as day, ${beginOf('week')} as week from moved),
  hours as (${added('stats_hour', HOUR_LEVELS)}),
  days as (${added('stats_day', DAY_LEVELS)}),
  weeks as (${added('stats_week', DAY_LEVELS)})
  select count(*)::int as moved from cells`

const sums = COLUMNS.map(name => `sum(${name})::bigint`).join(', ')

/** Weeks that begin from $1 to before $2, and what they come to by the days that there are. */
export const DROP_WEEKS = 'delete from stats_week where hour >= $1 and hour < $2'
export const SUM_WEEKS = `insert into stats_week (level, ${KEYS.join(', ')}, ${COLUMNS.join(', ')})
  select level, ${beginOf('week')}, account, carrier, country, rank, ${sums}
  from stats_day where hour >= $1 and hour < $2 group by 1, 2, 3, 4, 5, 6 order by 1, 2, 3, 4, 5, 6`
/** The first week from $1 on, a Monday, that is not the sum of its days: all levels are written at once, so the smallest tells. */
export const WRONG_WEEK = `select hour from (
    select hour, rank, ${COLUMNS.join(', ')} from stats_week where level = 0 and hour >= $1
    union all select ${beginOf('week')}, rank, ${COLUMNS.map(name => `-${name}`).join(', ')}
    from stats_day where level = 0 and hour >= $1) s
  group by hour, rank having ${COLUMNS.map(name => `sum(${name}) <> 0`).join(' or ')} order by hour limit 1`
