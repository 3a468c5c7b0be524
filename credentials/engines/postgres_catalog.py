"""What the PostgreSQL engine reads from the server's catalog. SQL only."""

WHAT_IT_HAS = """
SELECT r.oid,
       ARRAY(SELECT DISTINCT coalesce(d.datname, current_database())::text
               FROM pg_shdepend s LEFT JOIN pg_database d ON d.oid = s.dbid
              WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid),
       EXISTS (SELECT FROM pg_stat_activity WHERE usesysid = r.oid),
       EXISTS (SELECT FROM pg_prepared_xacts WHERE owner = r.rolname)
  FROM pg_roles r WHERE r.rolname = %(name)s
"""
# The server's predefined roles that our administrator is a member of, except the one that issuing
# may need.
POWERS = r"""
SELECT rolname FROM pg_roles WHERE rolname LIKE 'pg\_%' AND pg_has_role(current_user, oid, 'USAGE')
    AND rolname NOT IN ('pg_signal_backend', 'pg_database_owner') ORDER BY rolname
"""
# The databases in which a group has default privileges. The catalog is shared, so one query covers
# all databases.
DEFAULT_PRIVILEGES_IN = """
SELECT DISTINCT d.datname::text FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid
    JOIN pg_roles r ON r.oid = s.refobjid
 WHERE s.refclassid = 'pg_authid'::regclass AND s.classid = 'pg_default_acl'::regclass AND s.deptype = 'o'
   AND r.rolname::text = ANY(%(groups)s) ORDER BY 1
"""
DEFAULT_PRIVILEGES = """
SELECT r.rolname::text,
       CASE defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions'
            WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas' ELSE defaclobjtype::text END,
       CASE WHEN defaclnamespace = 0 THEN '' ELSE ' in the schema ' || defaclnamespace::regnamespace END,
       defaclacl::text
  FROM pg_default_acl JOIN pg_roles r ON r.oid = defaclrole WHERE r.rolname::text = ANY(%(groups)s) ORDER BY 1, 2, 3
"""
OWNS = """
SELECT DISTINCT r.rolname::text, coalesce(d.datname, s.classid::regclass::text)::text
  FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid LEFT JOIN pg_database d ON d.oid = s.dbid
 WHERE s.refclassid = 'pg_authid'::regclass AND s.classid <> 'pg_default_acl'::regclass AND s.deptype = 'o'
   AND r.rolname::text = ANY(%(groups)s) ORDER BY 1, 2
"""
MAKES_LARGE_OBJECTS = """
SELECT p.oid::regprocedure::text FROM pg_proc p
 WHERE p.pronamespace = 'pg_catalog'::regnamespace
   AND p.proname IN ('lo_creat', 'lo_create', 'lo_from_bytea', 'lo_import')
   AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE') ORDER BY 1
"""
GRANTABLE = r"""
SELECT rolname::text FROM pg_roles
 WHERE NOT rolcanlogin AND rolname NOT LIKE 'pg\_%'
   AND pg_has_role(current_user, oid, 'MEMBER WITH ADMIN OPTION') ORDER BY rolname
"""
