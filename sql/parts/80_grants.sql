/*
 * PUBLIC has nothing.  Functions are executable by PUBLIC unless that is taken
 * back; tables, sequences and the schema need nothing.
 */
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA somamem FROM PUBLIC;
