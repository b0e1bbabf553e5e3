/*
 * row_key.c
 *	  Which columns of a table are the key of its records.
 *
 * It is asked in the past of the catalogs, of tables and indexes that others may have locked
 * by now: so none of them is opened, and only what the cache of relations knows is looked at.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#include "feed/row_key.h"

/* Where a column is among those that are published; -1: it is not. */
static int
find_column(const LogicalRepRelation *rel, const char *name)
{
	for (int i = 0; i < rel->natts; i++)
		if (strcmp(rel->attnames[i], name) == 0)
			return i;
	return -1;
}

static void
take_index(const LogicalRepRelation *rel, Relation table, Oid indexid, bool *keys)
{
	Relation	index = RelationIdGetRelation(indexid);

	if (index == NULL)
		elog(ERROR, "could not open index %u", indexid);
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
	{
		AttrNumber	attnum = index->rd_index->indkey.values[i];
		int			at = find_column(rel, NameStr(TupleDescAttr(RelationGetDescr(table), attnum - 1)->attname));

		if (at < 0)
		{
			memset(keys, false, rel->natts * sizeof(bool));
			break;
		}
		keys[at] = true;
	}
	RelationClose(index);
}

bool
ks_row_key_find(const LogicalRepRelation *rel, bool *keys)
{
	Relation	table = RelationIdGetRelation(rel->remoteid);
	bool		full;
	Oid			indexid;

	if (table == NULL)
		elog(ERROR, "could not open relation %u", rel->remoteid);
	memset(keys, false, rel->natts * sizeof(bool));
	full = table->rd_rel->relreplident == REPLICA_IDENTITY_FULL;
	/* finds both */
	list_free(RelationGetIndexList(table));
	indexid = full ? table->rd_pkindex : table->rd_replidindex;
	if (OidIsValid(indexid))
		take_index(rel, table, indexid, keys);
	else if (full)
		memset(keys, true, rel->natts * sizeof(bool));
	RelationClose(table);
	return full && !OidIsValid(indexid);
}
