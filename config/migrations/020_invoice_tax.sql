-- Up Migration
-- Of an invoice's tax, what had been paid already when it was made: with top-ups, or with the void one in whose place it is.

alter table invoices add column covered_tax_micros bigint not null default 0;
comment on column invoices.covered_tax_micros is
  'Of the tax, what the tax book of the account had of it; before this column was there, only what was taken again';

-- Earlier invoices took it for paid with the credit; what they had taken again of a void one is in the books.
alter table invoices disable trigger keep_invoices;
update invoices i set covered_tax_micros = t.micros
from ledger_entries e join ledger_lines t on t.entry = e.id and t.book = 'tax'
where e.reference = 'again:' || i.number;
alter table invoices enable trigger keep_invoices;
