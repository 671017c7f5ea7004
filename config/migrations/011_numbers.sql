-- Up Migration
-- Numbers of accounts are looked up by their digits: + and 00 before them go. Where one number stands under several
-- spellings, the one in digits is what has held, and stays.
create temporary table spelled as
  select number, regexp_replace(number, '^(\+|00)+', '') as digits, account from numbers where number ~ '^(\+|00)';
delete from spelled where digits !~ '^[0-9]{3,15}$';
delete from numbers where number in (select number from spelled);
insert into numbers (number, account)
  select distinct on (digits) digits, account from spelled order by digits, number
  on conflict do nothing;
drop table spelled;
