-- Up Migration
-- What accounts are billed: invoices with numbers without holes; and when each is told that its credit runs low.

-- Rows of accounts that differ from the default, or have had a top-up.
create table billing (
  account int primary key,
  -- Who pays: name and address as they stand on an invoice.
  address text not null default '',
  -- Told below this; null = below low_percent of the last top-up, or of what it may owe if that is more.
  low_micros bigint check (low_micros >= 0),
  -- 0 = it is never told.
  low_percent smallint not null default 10 check (low_percent between 0 and 100),
  top_up_micros bigint not null default 0,
  -- What it was told: 0 nothing, 1 that it runs low, 2 that it is used up.
  told smallint not null default 0 check (told between 0 and 2)
);

-- The cheapest of a tariff: with less than that, credit is used up.
create index on tariff_prices (tariff, micros) where micros > 0;

-- The last number of a year, taken in the transaction that makes the invoice: without one there is no number.
create table invoice_years (
  year int primary key,
  last int not null
);

create table invoices (
  id bigint generated always as identity primary key,
  -- 2026-000001
  number text collate "C" not null unique,
  account int not null,
  -- The first day of the month, UTC.
  month date not null check (extract(day from month) = 1),
  issued_at timestamptz not null default now(),
  -- As they were when it was made.
  system_id text not null,
  seller text not null,
  customer text not null,
  currency text not null,
  -- The sum of its lines: what the ledger charged for messages, without what it gave back.
  net_micros bigint not null,
  tax_percent numeric(9, 6) not null check (tax_percent between 0 and 100),
  tax_micros bigint not null,
  -- Of the net, what credit had paid already.
  covered_micros bigint not null,
  -- Of the tax, what goes with the rest.
  due_tax_micros bigint not null,
  -- What is to be paid, in whole units of coin.
  due_micros bigint not null check (due_micros >= 0),
  status text not null check (status in ('open', 'paid', 'void')),
  paid_at timestamptz,
  void_at timestamptz,
  void_reason text not null default '',
  -- The number of the one that was made in its place.
  replaced_by text collate "C"
);
-- An account has one invoice a month.
create unique index on invoices (account, month) where replaced_by is null;
create index on invoices (month);
create index on invoices (status, account) where status = 'open';

create table invoice_lines (
  invoice bigint not null references invoices,
  position int not null,
  -- messages: accepted; back: given back; other: of messages that are counted no more; earlier: what was posted to the month
  -- after its own invoice was made
  what text not null check (what in ('messages', 'back', 'other', 'earlier')),
  -- Of the ledger: the first day.
  month date not null,
  -- ISO 3166-1 alpha-2; '' = none, or several.
  country text not null,
  -- As in history; -1 = several.
  rank smallint not null,
  messages bigint not null,
  segments bigint not null,
  micros bigint not null,
  primary key (invoice, position)
);

create function keep_invoices() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' and tg_table_name = 'invoices' then
    -- Only what becomes of it may change.
    if to_jsonb(old) - array['status', 'paid_at', 'void_at', 'void_reason', 'replaced_by']
      = to_jsonb(new) - array['status', 'paid_at', 'void_at', 'void_reason', 'replaced_by']
      and (old.status <> 'void' or new.status = 'void') then
      return new;
    end if;
  end if;
  raise exception 'an invoice stays as it was made';
end $$;
create trigger keep_invoices before update or delete on invoices for each row execute function keep_invoices();
create trigger keep_invoices before update or delete on invoice_lines for each row execute function keep_invoices();

-- What the ledger charged an account for messages, less what it gave back, in hours that begin in a span.
create function charged(account int, from_at timestamptz, to_at timestamptz) returns bigint language sql stable as $$
  select coalesce(-sum(l.micros), 0)::bigint from ledger_entries e
    join ledger_lines l on l.entry = e.id and l.book = 'customer:' || account
  where e.kind = 'messages' and e.at >= from_at and e.at < to_at
$$;
