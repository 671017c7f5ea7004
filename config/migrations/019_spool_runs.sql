-- Up Migration
-- Which run of which daemon writes a spool's history: of several that run on copies of one data directory only one may.

-- The last that said so; '' = none did yet.
alter table spool_position add column writer text not null default '';

-- Runs that have said so, one after the other.
create table spool_runs (
  spool text not null,
  run text not null,
  -- In whose place.
  before text not null,
  -- So many rows had its log when the directory was first opened after that one: they are that one's, too, later ones its own.
  opened bigint not null,
  at timestamptz not null default now(),
  primary key (spool, run)
);
