/*
 * Grants, role by group.
 *
 * PUBLIC has nothing.  Functions and types are PUBLIC's unless that is taken
 * back; of all else only what ALTER DEFAULT PRIVILEGES has given away.
 */
REVOKE ALL ON SCHEMA somamem FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA somamem FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA somamem FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA somamem FROM PUBLIC;
REVOKE ALL ON TYPE somamem.write_receipt FROM PUBLIC;

GRANT USAGE ON SCHEMA somamem TO somamem_writer, somamem_reader, somamem_admin;

/* Writing */
GRANT USAGE ON TYPE somamem.write_receipt TO somamem_writer, somamem_admin;
GRANT EXECUTE ON FUNCTION
	somamem.memory_write(jsonb, text, text, text, text, text, timestamptz, text),
	somamem.memory_write_batch(jsonb, text, text, text),
	somamem.wait_for(bigint, text, interval),
	somamem.authorize(jsonb)
	TO somamem_writer, somamem_admin;

/* Reading */
GRANT EXECUTE ON FUNCTION
	somamem.health(),
	somamem.status(bigint),
	somamem.status(text, text)
	TO somamem_writer, somamem_reader, somamem_admin;
GRANT SELECT ON
	somamem.outbox_status,
	somamem.workers,
	somamem.tenant_lag,
	somamem.sla,
	somamem.dead_letters,
	somamem.policy_stats,
	somamem.decision_log
	TO somamem_reader, somamem_admin;

/* What the views call is called with their reader's rights, and mind to whom he is bound. */
GRANT EXECUTE ON FUNCTION
	somamem._bound_tenant(),
	somamem._sink_figures(),
	somamem._workers(),
	somamem._tenant_lag(),
	somamem._sla(),
	somamem._policy_stats(),
	somamem._decision_log()
	TO somamem_reader, somamem_admin;

/* Operating */
GRANT EXECUTE ON FUNCTION
	somamem.pause(text),
	somamem.resume(text),
	somamem.retry(text, bigint),
	somamem.redrive(text, text, bigint),
	somamem.discard(text, bigint),
	somamem.replay(text, bigint, bigint, text),
	somamem.erase(text, text),
	somamem.bind_tenant(name, text),
	somamem.unbind_tenant(name)
	TO somamem_admin;
