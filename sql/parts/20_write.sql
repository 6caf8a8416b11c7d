/* Writing.  What a write is, and every rule of its validation: docs/reference.md. */

CREATE TYPE somamem.write_receipt AS
(
	id			bigint,
	idempotency_key text,
	deduplicated boolean
);

COMMENT ON TYPE somamem.write_receipt IS 'what memory_write returns';

/*
 * Purpose: writes one memory into the outbox, as part of the caller's
 *   transaction.  What is NULL is taken from the payload.
 * Returns: the row's id, its idempotency key, and whether an earlier write
 *   with the same key and the same content was found, whose id it then is.
 * Raises: 22023 for a payload or argument that breaks a rule (the message
 *   names it), 22004 for a NULL payload, 54000 for one above
 *   somamem.max_payload, 42501 for a tenant that contradicts the payload,
 *   23505 for a key that belongs to other content, 25006 in a read-only
 *   transaction, 55000 when the library is not preloaded.
 * Privilege: EXECUTE; none on the tables.
 */
CREATE FUNCTION somamem.memory_write
(
	payload		jsonb,
	tenant		text DEFAULT NULL,
	session_id	text DEFAULT NULL,
	idempotency_key text DEFAULT NULL,
	namespace	text DEFAULT NULL,
	persona_id	text DEFAULT NULL,
	deliver_after timestamptz DEFAULT NULL,
	traceparent	text DEFAULT NULL
)
RETURNS somamem.write_receipt
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'somamem_memory_write';

COMMENT ON FUNCTION somamem.memory_write(jsonb, text, text, text, text, text, timestamptz, text) IS
	'writes one memory; it reaches every sink after commit';

/*
 * Purpose: writes the elements of a JSON array, all or none, in their order.
 * Returns: one row per element, with the receipt that memory_write would give.
 * Raises: as memory_write, with the element's ordinal in the message, and
 *   54000 for more than somamem.batch_max_items elements.
 * Privilege: EXECUTE; none on the tables.
 */
CREATE FUNCTION somamem.memory_write_batch
(
	payloads	jsonb,
	tenant		text DEFAULT NULL,
	session_id	text DEFAULT NULL,
	namespace	text DEFAULT NULL
)
RETURNS TABLE
(
	ordinal		integer,
	id			bigint,
	idempotency_key text,
	deduplicated boolean
)
/* With more rows the planner would remember results of a LATERAL call (Memoize), and not make an equal one again. */
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 1
AS 'MODULE_PATHNAME', 'somamem_memory_write_batch';

COMMENT ON FUNCTION somamem.memory_write_batch(jsonb, text, text, text) IS
	'writes an array of memories, all or none';
