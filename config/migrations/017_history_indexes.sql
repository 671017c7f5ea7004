-- Up Migration
-- Lists of an account's messages go by id, replays of its ends by moment: an index for each, of the rows it is about. A day
-- that has just begun has no statistics, and with one index for both a list read all of the day and sorted it.
create index on history (account, id) where kind = 'a';
create index on history (account, at) where kind = 'e';
drop index history_account_at_idx;
