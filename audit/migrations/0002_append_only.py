"""Triggers on events.

One writes the database's own time, transaction and role into each new event, whatever the INSERT gives. The names in it
are qualified, because the session that inserts chooses its search_path and may have temporary types. The others refuse
UPDATE, DELETE and TRUNCATE to every role, including the owner.
"""

from django.db import migrations

FORWARD = """
CREATE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit events are append-only: % refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER audit_event_no_change BEFORE UPDATE OR DELETE ON audit_event
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER audit_event_no_truncate BEFORE TRUNCATE ON audit_event
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();

CREATE FUNCTION audit_stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.recorded_at := pg_catalog.clock_timestamp();
    NEW.transaction_id := pg_catalog.pg_current_xact_id()::pg_catalog.text::pg_catalog.int8;
    NEW.recorded_by := SESSION_USER;
    RETURN NEW;
END
$$;
CREATE TRIGGER audit_event_stamp BEFORE INSERT ON audit_event
    FOR EACH ROW EXECUTE FUNCTION audit_stamp();
"""
BACKWARD = """
DROP TRIGGER audit_event_stamp ON audit_event;
DROP FUNCTION audit_stamp();
DROP TRIGGER audit_event_no_truncate ON audit_event;
DROP TRIGGER audit_event_no_change ON audit_event;
DROP FUNCTION audit_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
