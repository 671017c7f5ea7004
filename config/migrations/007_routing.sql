-- Up Migration
-- What routes may ask besides addresses: groups of accounts, networks by the prefixes of their numbers; how a route
-- chooses among its carriers; and prefixes that nobody, or one account, may send to.
alter table accounts add column account_group text not null default '';

alter table routes
  -- '' = weight where there are weights, else order
  add column choose_by text not null default '' check (choose_by in ('', 'order', 'weight', 'price', 'quality')),
  -- any: a carrier that a message names need not be among the targets
  add column named text not null default 'listed' check (named in ('listed', 'any'));

create table networks (
  -- MCC and MNC, digits
  mccmnc text collate "C" primary key check (mccmnc ~ '^[0-9]{5,6}$'),
  name text not null default '',
  prefixes jsonb not null default '[]'
);

create table blocked (
  -- system_id; '' = everybody
  account text collate "C" not null default '',
  prefix text collate "C" not null check (prefix ~ '^[0-9]{1,15}$'),
  reason text not null default '',
  primary key (account, prefix)
);

create trigger note_insert after insert on networks referencing new table as touched
  for each statement execute function note_changes('networks', 'mccmnc', 'false');
create trigger note_update after update on networks referencing new table as touched
  for each statement execute function note_changes('networks', 'mccmnc', 'false');
create trigger note_delete after delete on networks referencing old table as touched
  for each statement execute function note_changes('networks', 'mccmnc', 'true');

create trigger note_insert after insert on blocked referencing new table as touched
  for each statement execute function note_changes('blocked', 'prefix', 'false');
create trigger note_update after update on blocked referencing new table as touched
  for each statement execute function note_changes('blocked', 'prefix', 'false');
create trigger note_delete after delete on blocked referencing old table as touched
  for each statement execute function note_changes('blocked', 'prefix', 'true');
