-- The two database roles and the database. psql 14 or newer runs it as a superuser of PostgreSQL 15 or newer:
--
--   COUNTERSIGN_OWNER_PASSWORD=... COUNTERSIGN_APP_PASSWORD=... psql --no-psqlrc -d postgres -f deploy/roles.sql
--
-- Run it again to set new passwords. Other names: -v owner=NAME -v app=NAME -v database=NAME.
--
-- The owner creates the tables and migrates. The application's role gets its rights on the tables from
-- `manage.py migrate`: SELECT, INSERT, UPDATE and DELETE, but on audit tables SELECT and INSERT only.

\set ON_ERROR_STOP on
\if :{?owner}
\else
    \set owner countersign_owner
\endif
\if :{?app}
\else
    \set app countersign_app
\endif
\if :{?database}
\else
    \set database countersign
\endif

\getenv owner_password COUNTERSIGN_OWNER_PASSWORD
\getenv app_password COUNTERSIGN_APP_PASSWORD
\if :{?owner_password}
\else
    DO $$ BEGIN RAISE 'COUNTERSIGN_OWNER_PASSWORD must be set'; END $$;
\endif
\if :{?app_password}
\else
    DO $$ BEGIN RAISE 'COUNTERSIGN_APP_PASSWORD must be set'; END $$;
\endif

-- The statements below contain passwords, which must not reach the server's log.
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';

SELECT format('CREATE ROLE %I', name) FROM (VALUES (:'owner'), (:'app')) AS roles (name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE :"owner" LOGIN NOSUPERUSER NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'owner_password';
ALTER ROLE :"app" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'app_password';

SELECT format('CREATE DATABASE %I OWNER %I ENCODING ''UTF8'' TEMPLATE template0', :'database', :'owner')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
REVOKE CONNECT, TEMPORARY ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO :"app";
