/*
 * version.c
 *	  Is the extension of this database the one that this library belongs to?
 *
 * A server loads one library for all of its databases, and each of them has the
 * SQL of the version that its extension was created with, or updated to.  Between
 * the restart that brings a new library and ALTER EXTENSION ... UPDATE they are
 * not the same: then functions refuse to work, sinks wait, and the extension can
 * be updated and dropped.  Nothing of the library but ks_version_report() touches
 * tables of another version.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "catalog/extension.h"
#include "catalog/version.h"

/* KS_VERSION is default_version of the control file; the Makefile passes it. */

/* By which look at the extension its version is known to be ours; 0: by none.
 * Another version changes tables, and so is looked at anew. */
static uint32 known_serial = 0;

/* Not 'settled': by this transaction, which may be rolled back. */
static char *
read_version(bool *settled)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tup;
	char	   *version = NULL;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum("kafka_sink"));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tup = systable_getnext(scan);
	if (HeapTupleIsValid(tup))
	{
		bool		isnull;
		Datum		d = heap_getattr(tup, Anum_pg_extension_extversion, RelationGetDescr(rel), &isnull);

		*settled = !TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tup->t_data));
		version = isnull ? pstrdup("") : TextDatumGetCString(d);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return version;
}

const char *
ks_version_installed(void)
{
	bool		settled;

	return read_version(&settled);
}

bool
ks_version_is_ours(void)
{
	bool		settled = false;
	char	   *version;

	/* asked several times in each batch */
	if (likely(known_serial != 0 && known_serial == ks_extension_serial()))
		return true;
	if (!ks_extension_exists())
		return false;
	ks_extension_check();
	version = read_version(&settled);
	if (version == NULL || strcmp(version, KS_VERSION) != 0)
		return false;
	if (settled)
		known_serial = ks_extension_serial();
	return true;
}

void
ks_version_check(void)
{
	const char *installed;

	if (ks_version_is_ours())
		return;
	installed = ks_version_installed();
	if (installed && strcmp(installed, KS_VERSION) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"%s\" of this database has version %s, and the server's library version %s",
						"kafka_sink", installed, KS_VERSION),
				 errdetail("Until they are the same, sinks of this database wait."),
				 errhint(KS_VERSION_HINT)));
}

/* --- what waits --- */

/* Columns that sink_catalog, topic_catalog and sink_state have had in all versions. */
#define WAITING_SINKS \
	"FROM kafka_sink.sink_catalog c WHERE c.enabled AND c.server IS NOT NULL " \
	"AND EXISTS (SELECT FROM kafka_sink.topic_catalog t WHERE t.sink OPERATOR(pg_catalog.=) c.sink) " \
	"AND NOT EXISTS (SELECT FROM kafka_sink.sink_state h WHERE h.sink OPERATOR(pg_catalog.=) c.sink " \
	"AND h.state OPERATOR(pg_catalog.=) ANY ('{halted,suspended}'::pg_catalog.text[]))"

int
ks_version_report(const char *installed)
{
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		values[2];
	Oid			user;
	int			sec_context;
	int			n;

	values[0] = CStringGetTextDatum(psprintf("extension kafka_sink of this database has version %s, and the server's library version %s",
											 installed, KS_VERSION));
	values[1] = CStringGetTextDatum(KS_VERSION_HINT);
	GetUserIdAndSecContext(&user, &sec_context);
	/* what ks_catalog_enter() does, which refuses another version */
	SetUserIdAndSecContext(ks_extension_tables_owner(), sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
	SPI_connect();
	SPI_execute("DELETE FROM kafka_sink.sink_state s WHERE s.worker OPERATOR(pg_catalog.>) 0 "
				"AND s.sink OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT c.sink " WAITING_SINKS "))", false, 0);
	SPI_execute_with_args("INSERT INTO kafka_sink.sink_state AS s (sink, worker, state, since, sqlstate, message, hint, waits_for) "
						  "SELECT c.sink, 0, 'waiting', pg_catalog.clock_timestamp(), '55000', $1, $2, 'update' " WAITING_SINKS
						  " ON CONFLICT (sink, worker) DO UPDATE SET state = excluded.state, since = excluded.since, "
						  "sqlstate = excluded.sqlstate, message = excluded.message, detail = NULL, hint = excluded.hint, "
						  "topic = NULL, part = NULL, off = NULL, column_name = NULL, waits_for = excluded.waits_for",
						  lengthof(types), types, values, NULL, false, 0);
	n = (int) SPI_processed;
	SPI_finish();
	SetUserIdAndSecContext(user, sec_context);
	return n;
}
