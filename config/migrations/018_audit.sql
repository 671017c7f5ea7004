-- Up Migration
-- Rows of the audit stay as they are, until they are older than the settings keep them.

drop trigger keep_audit on audit;
create trigger keep_audit before update or truncate on audit for each statement execute function keep_audit();
-- Whoever deletes says how old is old enough; that it is, each row says for itself.
create function keep_young_audit() returns trigger language plpgsql as $$
begin
  if old.at < nullif(current_setting('trunkline.forget_audit_before', true), '')::timestamptz then
    return old;
  end if;
  raise exception 'rows of audit stay as they are';
end $$;
create trigger keep_young_audit before delete on audit for each row execute function keep_young_audit();
