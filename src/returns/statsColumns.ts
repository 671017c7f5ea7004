// What is counted of messages, and at which levels it is summed up: the columns of stats_hour and stats_day, and the
// statements that write them. Knows SQL and nothing of rows of history.

/** Bits of a level: what its rows tell apart, besides the hour or day and the class. */
export const dimension = { account: 1, carrier: 2, country: 4 } as const

/** Levels that are kept by hour, and by day, as in the migration. The last of each has everything. */
export const HOUR_LEVELS = [0, 1, 2, 4, 6, 7] as const
export const DAY_LEVELS = [0, 1, 2, 3, 4, 5, 6, 7] as const
export const FINEST = 7

/** Upper bounds in seconds of what took so long from acceptance to delivery; what took longer has a column more. */
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

/** Sums of `cells` at these levels, added to what stands there. In the order of the key, as all who write them do. */
export const added = (table: 'stats_hour' | 'stats_day', levels: readonly number[]): string => {
  const hour = table === 'stats_hour' ? 'hour' : 'day'
  const sets = levels.map(level => `(${[hour, 'rank', ...names(level)].join(', ')})`).join(', ')
  return `insert into ${table} as s (level, ${KEYS.join(', ')}, ${COLUMNS.join(', ')})
    select ${FINEST} - grouping(account) - 2 * grouping(carrier) - 4 * grouping(country), ${hour},
      coalesce(account, 0), coalesce(carrier, 0), coalesce(country, ''), rank,
      ${COLUMNS.map(name => `sum(${name})::bigint`).join(', ')}
    from cells group by grouping sets (${sets}) order by 1, 2, 3, 4, 5, 6
    on conflict (level, ${KEYS.join(', ')}) do update set
      ${COLUMNS.map(name => `${name} = coalesce(s.${name} + excluded.${name}, s.${name}, excluded.${name})`).join(', ')}`
}

/** Moves so many cells at most from where slices put them to hours and days at all levels; answers how many it were. */
export const MOVE_CELLS = `
  with moved as (
    delete from stats_fresh where ctid = any(array(select ctid from stats_fresh limit $1)) returning *),
  cells as materialized (
    select *, date_trunc('day', hour at time zone 'UTC') at time zone 'UTC' as day from moved),
  hours as (${added('stats_hour', HOUR_LEVELS)}),
  days as (${added('stats_day', DAY_LEVELS)})
  select count(*)::int as moved from cells`
