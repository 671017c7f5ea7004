-- Up Migration
-- Octets of a template in all its versions, added up as they are made: what an account's may have together is bounded.
alter table templates add column octets int not null default 0;

-- Nobody follows this: it is no change of a template.
alter table templates disable trigger note_template;
update templates set octets = (
  select coalesce(sum(octet_length(content) + octet_length(locales::text) + octet_length(variables::text)), 0)
  from template_versions where template = templates.id);
alter table templates enable trigger note_template;
