-- Up Migration
-- What an account wants of SMPP beyond the standard's own: addresses it may bind from, alphabets, the form
-- of its receipts. Only what differs from the default.
alter table accounts add column smpp jsonb not null default '{}';
