-- Up Migration
-- What an account wants of mail that becomes text messages: who may send, from which source address, how much
-- of it. Only what differs from the default.
alter table accounts add column mail jsonb not null default '{}';
