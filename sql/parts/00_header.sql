-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION somamem" to load this file. \quit

CREATE SCHEMA somamem;

COMMENT ON SCHEMA somamem IS 'durable outbox for agent memory: functions, views and storage of the extension somamem';
