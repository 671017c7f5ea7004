-- Up Migration
-- What messages came to, counted: one row for each hour (UTC) of their acceptance, account, carrier, country and class, and
-- sums of those rows by fewer of these, so that a question reads few rows. A level says which of them a row tells
-- apart, as bits: 1 account, 2 carrier, 4 country; what it does not is 0 or ''. The class always is. null = 0: a row is as
-- short as what it counts.

create table stats_hour (
  level smallint not null,
  hour timestamptz not null,
  account int not null,
  -- Who had them at last; 0 = nobody yet, or nobody ever. At acceptance it always is 0.
  carrier int not null,
  -- ISO 3166-1 alpha-2 of the destination; '' = none.
  country text collate "C" not null,
  -- 0 otp, 1 transactional, 2 bulk
  rank smallint not null,

  -- At acceptance.
  accepted bigint,
  segments bigint,
  price_micros bigint,

  -- At the end, of messages that were accepted in this hour.
  delivered bigint,
  undeliverable bigint,
  expired bigint,
  rejected bigint,
  deleted bigint,
  unknown bigint,
  ended_segments bigint,
  -- What was charged for them at acceptance, and how much of it was given back.
  ended_micros bigint,
  back_micros bigint,
  cost_micros bigint,
  -- From acceptance to delivery, so many within 1 s, 2, 3, 5, 10, 20, 30 s, 1 min, 2, 5, 15 min, 1 h, and later.
  took_0 bigint,
  took_1 bigint,
  took_2 bigint,
  took_3 bigint,
  took_4 bigint,
  took_5 bigint,
  took_6 bigint,
  took_7 bigint,
  took_8 bigint,
  took_9 bigint,
  took_10 bigint,
  took_11 bigint,
  took_12 bigint,

  -- The code in them was used.
  converted bigint,
  primary key (level, hour, account, carrier, country, rank)
) partition by list (level);
comment on column stats_hour.hour is 'Begin of the hour in UTC in which the messages were accepted; of stats_day: of the day';

create table stats_day (like stats_hour including all) partition by list (level);

-- Rows are updated while their hour or day lasts: there is room for it beside them.
-- All, or by one: small, for questions over months. By two or three: for those about little.
create table stats_hour_0 partition of stats_hour for values in (0) with (fillfactor = 70);
create table stats_hour_1 partition of stats_hour for values in (1) with (fillfactor = 70);
create table stats_hour_2 partition of stats_hour for values in (2) with (fillfactor = 70);
create table stats_hour_4 partition of stats_hour for values in (4) with (fillfactor = 70);
create table stats_hour_6 partition of stats_hour for values in (6) with (fillfactor = 70);
create table stats_hour_7 partition of stats_hour for values in (7) with (fillfactor = 70);
create table stats_day_0 partition of stats_day for values in (0) with (fillfactor = 70);
create table stats_day_1 partition of stats_day for values in (1) with (fillfactor = 70);
create table stats_day_2 partition of stats_day for values in (2) with (fillfactor = 70);
create table stats_day_3 partition of stats_day for values in (3) with (fillfactor = 70);
create table stats_day_4 partition of stats_day for values in (4) with (fillfactor = 70);
create table stats_day_5 partition of stats_day for values in (5) with (fillfactor = 70);
create table stats_day_6 partition of stats_day for values in (6) with (fillfactor = 70);
create table stats_day_7 partition of stats_day for values in (7) with (fillfactor = 70);

create index on stats_hour_1 (account, hour);
create index on stats_hour_7 (account, hour);
create index on stats_day_1 (account, hour);
create index on stats_day_3 (account, hour);
create index on stats_day_5 (account, hour);
create index on stats_day_7 (account, hour);
-- For accounts told apart of one country.
create index on stats_day_5 (country, hour);
create index on stats_day_7 (country, carrier, hour);

-- What slices of history came to and the tables above do not have yet: written in the transaction that writes history, and
-- moved from here to there every few seconds. So no writer waits for another, and a row there is not written for each slice.
create table stats_fresh (
  hour timestamptz not null,
  account int not null,
  carrier int not null,
  country text collate "C" not null,
  rank smallint not null,
  accepted int,
  segments int,
  price_micros bigint,
  delivered int,
  undeliverable int,
  expired int,
  rejected int,
  deleted int,
  unknown int,
  ended_segments int,
  ended_micros bigint,
  back_micros bigint,
  cost_micros bigint,
  took_0 int,
  took_1 int,
  took_2 int,
  took_3 int,
  took_4 int,
  took_5 int,
  took_6 int,
  took_7 int,
  took_8 int,
  took_9 int,
  took_10 int,
  took_11 int,
  took_12 int,
  converted int
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
