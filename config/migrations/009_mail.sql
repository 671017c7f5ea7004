-- Up Migration
-- Carriers of mail (smtp). Which kinds there are, a release knows: a row of another kind is left out and logged.
alter table carriers drop constraint carriers_kind_check;
