-- Up Migration
-- What happened to each message, for people: one row at acceptance, one at the end.
-- Append-only. Partitions are days in UTC, made ahead of time by the daemon; what falls
-- outside of them stands in history_default until its day is made.

create table history (
  at timestamptz not null,
  id bigint not null,
  price_micros bigint not null,
  account int not null,
  route int not null,
  -- 0 = no carrier had it
  carrier int not null,
  node smallint not null,
  segments smallint not null,
  -- 0 otp, 1 transactional, 2 bulk
  rank smallint not null,
  -- message_state, SMPP v3.4 5.2.28
  state smallint not null,
  -- a = accepted, e = ended
  kind "char" not null,
  source text not null,
  destination text not null,
  error text not null,
  client_ref text not null
) partition by range (at);
create index on history (id);
create index on history (account, at);
create table history_default partition of history default;

-- How far each spool's log stands in history. Moved in the transaction that copies the rows.
create table spool_position (
  spool text primary key,
  node int not null,
  position bigint not null,
  moved_at timestamptz not null default now()
);
