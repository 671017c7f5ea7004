-- Up Migration
-- One-time passwords: what accounts want of them, and what became of them, for people. Sessions and codes are not here.

alter table accounts
  -- Only what differs from the default.
  add column otp jsonb not null default '{}';

create table otp_events (
  at timestamptz not null,
  account int not null,
  session text collate "C" not null,
  kind text not null check (kind in ('sent', 'delivered', 'failed', 'verified', 'expired', 'blocked', 'canceled', 'superseded')),
  purpose text not null,
  channel text not null,
  -- All but the last digits are stars.
  destination text not null,
  country text not null default ''
);
create index on otp_events (account, at desc);
create index on otp_events using brin (at);
