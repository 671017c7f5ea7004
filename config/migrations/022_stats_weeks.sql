-- Up Migration
-- Days summed up to weeks in UTC, from Monday, at the same levels: questions over months and years read a seventh of the
-- rows. Kept as long as days are.

create table stats_week (like stats_day including all) partition by list (level);
comment on column stats_week.hour is 'Monday 00:00 UTC of the week in which the messages were accepted';

create table stats_week_0 partition of stats_week for values in (0) with (fillfactor = 70);
create table stats_week_1 partition of stats_week for values in (1) with (fillfactor = 70);
create table stats_week_2 partition of stats_week for values in (2) with (fillfactor = 70);
create table stats_week_3 partition of stats_week for values in (3) with (fillfactor = 70);
create table stats_week_4 partition of stats_week for values in (4) with (fillfactor = 70);
create table stats_week_5 partition of stats_week for values in (5) with (fillfactor = 70);
create table stats_week_6 partition of stats_week for values in (6) with (fillfactor = 70);
create table stats_week_7 partition of stats_week for values in (7) with (fillfactor = 70);

create index on stats_week_1 (account, hour);
create index on stats_week_3 (account, hour);
create index on stats_week_5 (account, hour);
create index on stats_week_7 (account, hour);
create index on stats_week_5 (country, hour);
create index on stats_week_7 (country, carrier, hour);

-- The columns are those of stats_day, whichever these are by now.
do $$
declare
  counts text[] := array(
    select column_name::text from information_schema.columns
    where table_schema = current_schema() and table_name = 'stats_day'
      and column_name not in ('level', 'hour', 'account', 'carrier', 'country', 'rank')
    order by ordinal_position);
begin
  execute format(
    $sql$insert into stats_week (level, hour, account, carrier, country, rank, %s)
    select level, date_trunc('week', hour at time zone 'UTC') at time zone 'UTC', account, carrier, country, rank, %s
    from stats_day group by 1, 2, 3, 4, 5, 6 order by 1, 2, 3, 4, 5, 6$sql$,
    array_to_string(counts, ', '),
    (select string_agg(format('sum(%1$s)::bigint', name), ', ') from unnest(counts) as name));
end $$;
