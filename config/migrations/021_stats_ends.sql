-- Up Migration
-- How long a message took, by the clock of the node that had it: a carrier's own is of another zone, or wrong. null: its row is
-- of before, or of an acceptance.
alter table history add column took_ms int;

-- Ends as ACCEPTED: a carrier took them, and no receipt was to come. They were counted as unknown before. In the order in which
-- a node that is still running locks these.
alter table stats_fresh add column unreported int;
alter table stats_hour add column unreported bigint;
alter table stats_day add column unreported bigint;
