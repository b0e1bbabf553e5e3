/* kafka_sink--0.1--0.2.sql */

-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION kafka_sink UPDATE TO '0.2'" to load this file. \quit

-- a sink costs everybody who uses the server: its administrator says who may make some
REVOKE EXECUTE ON FUNCTION kafka_sink.create_sink FROM PUBLIC;
