-- Up Migration
-- Hours in which an account's bulk messages reach no phone, where they are not the gateway's: HH:MM-HH:MM or off.
alter table accounts add column quiet_hours text
  check (quiet_hours ~ '^(off|[0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9])$');
