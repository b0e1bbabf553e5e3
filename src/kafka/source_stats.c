/*
 * source_stats.c
 *	  What librdkafka's statistics tell: watermarks, last stable offsets, the
 *	  number of partitions, and whether brokers are up.
 *
 * That no broker is up librdkafka tells as an error; of one that is away, and with it
 * the partitions that it leads, it says nothing, and fetches the others.
 *
 * The statistics are one JSON document, 700 bytes a partition, made by librdkafka
 * itself from time to time (KsSourceOptions.statistics_ms).  A scanner that skips what it does not look for
 * takes a fifth of the time of the server's parser, whose interface, besides,
 * has changed in three of the last five versions; the document comes from a
 * library and not from a user, holds no escapes, and is believed.
 */
#include "postgres.h"

#include "kafka/source_int.h"

/* A leader that is away for longer than an election takes is told. */
#define AWAY_US		(5 * USECS_PER_SEC)

/* Skips a string; at its opening quote before, behind the closing one after. */
static const char *
skip_string(const char *p)
{
	for (p++; *p && *p != '"'; p++)
		if (*p == '\\' && p[1])
			p++;
	return *p ? p + 1 : p;
}

static const char *
skip_value(const char *p)
{
	int			depth = 0;

	for (; *p; p++)
	{
		switch (*p)
		{
			case '"':
				p = skip_string(p) - 1;
				break;
			case '{':
			case '[':
				depth++;
				break;
			case '}':
			case ']':
				if (depth == 0)
					return p;
				if (--depth == 0)
					return p + 1;
				break;
			case ',':
				if (depth == 0)
					return p;
				break;
		}
	}
	return p;
}

/*
 * Goes to the next member of an object: *p, behind the opening brace or behind
 * a value, moves to the value.  Returns its name, NULL behind the last.
 */
static const char *
next_member(const char **p, int *namelen)
{
	const char *name;
	const char *c = *p;

	while (*c == ' ' || *c == ',' || *c == '{')
		c++;
	if (*c != '"')
	{
		*p = *c == '}' ? c + 1 : c;
		return NULL;
	}
	name = c + 1;
	c = skip_string(c);
	*namelen = c - 1 - name;
	while (*c == ' ' || *c == ':')
		c++;
	*p = c;
	return name;
}

static bool
is_member(const char *name, int namelen, const char *wanted)
{
	return (size_t) namelen == strlen(wanted) && memcmp(name, wanted, namelen) == 0;
}

static const char *
read_brokers(KsSource *src, const char *p)
{
	const char *name;
	int			len;

	src->nup = 0;
	while (next_member(&p, &len) != NULL)
	{
		int32		node = -1;
		bool		up = false;

		while ((name = next_member(&p, &len)) != NULL)
		{
			if (is_member(name, len, "nodeid"))
				node = atoi(p);
			/* UP, or UPDATE: up and in use */
			else if (is_member(name, len, "state"))
				up = strncmp(p, "\"UP", 3) == 0;
			p = skip_value(p);
		}
		if (!up)
			continue;
		ks_source_client_works(src);
		if (node >= 0 && src->nup < KS_MAX_BROKERS)
			src->up[src->nup++] = node;
	}
	return p;
}

/* Or may it be? */
static bool
is_up(const KsSource *src, int32 node)
{
	bool		up = src->nup == KS_MAX_BROKERS;

	for (int i = 0; i < src->nup && !up; i++)
		up = src->up[i] == node;
	return up;
}

/* Where a partition is fetched from, -1: there is no leader. */
static void
note_broker(KsSource *src, KsSourcePart *part, int32 broker, bool there)
{
	TimestampTz now = GetCurrentTimestamp();

	if (there)
		part->away_since = 0;
	else if (part->away_since == 0 || part->away_since > now)
		part->away_since = now;
	if (there ? !part->away : part->away || now - part->away_since < AWAY_US)
		return;
	part->away = !there;
	part->broker = broker;
	ks_source_wait_event(src, part, KS_PENDING_LEADER);
}

/*
 * One partition; *known: the brokers know it.  What is told of one whose broker is away
 * is as old as before.
 */
static const char *
read_partition(KsSource *src, KsSourcePart *part, const char *p, bool *known)
{
	const char *name;
	int			len;
	int32		broker = -1;
	int32		leader = -1;
	int64		low = -1;
	int64		high = -1;
	int64		lso = -1;
	bool		there;

	while ((name = next_member(&p, &len)) != NULL)
	{
		if (is_member(name, len, "broker"))
			broker = atoi(p);
		else if (is_member(name, len, "leader"))
			leader = atoi(p);
		else if (is_member(name, len, "lo_offset"))
			low = strtoll(p, NULL, 10);
		else if (is_member(name, len, "hi_offset"))
			high = strtoll(p, NULL, 10);
		else if (is_member(name, len, "ls_offset"))
			lso = strtoll(p, NULL, 10);
		else if (is_member(name, len, "unknown"))
			*known = *p == 'f';
		p = skip_value(p);
	}
	if (part == NULL || !KS_PART_RECEIVES(part))
		return p;
	/* it can be fetched from a replica, which is not its leader */
	if (broker < 0 || leader < 0)
		broker = leader;
	there = broker >= 0 && is_up(src, broker);
	if (src->trouble == KS_CLIENT_FINE)
		note_broker(src, part, broker, there);
	if (high < 0)
		return p;
	part->low = low;
	part->high = high;
	/* fetchers that stand still learn nothing either */
	if (src->stats_at != 0 && there)
		part->known_at = src->stats_at;
	/* an end of partition seen meanwhile is newer */
	part->lso = Max(part->lso, lso);
	return p;
}

static const char *
read_partitions(KsSource *src, KsSourceTopic *topic, const char *p)
{
	const char *name;
	int			len;
	int			count = 0;

	while ((name = next_member(&p, &len)) != NULL)
	{
		int			n = atoi(name);
		bool		known = false;

		p = read_partition(src, n >= 0 && n < topic->nparts ? topic->parts[n] : NULL, p, &known);
		if (known && n >= count)
			count = n + 1;
	}
	if (count > topic->count && (topic->count > 0 || topic->absent))
	{
		topic->absent = false;
		topic->count_grew = true;
		src->report_counts = true;
	}
	if (count > 0)
		topic->count = count;
	return p;
}

static const char *
read_topics(KsSource *src, const char *p)
{
	const char *name;
	int			len;

	while ((name = next_member(&p, &len)) != NULL)
	{
		KsSourceTopic *topic = NULL;
		dlist_iter	iter;

		dlist_foreach(iter, &src->topics)
		{
			KsSourceTopic *t = dlist_container(KsSourceTopic, node, iter.cur);

			if (is_member(name, len, t->name))
				topic = t;
		}
		if (topic == NULL)
		{
			p = skip_value(p);
			continue;
		}
		while ((name = next_member(&p, &len)) != NULL)
		{
			if (is_member(name, len, "partitions"))
				p = read_partitions(src, topic, p);
			else
				p = skip_value(p);
		}
	}
	return p;
}

void
ks_source_read_stats(KsSource *src, const char *json)
{
	const char *name;
	int			len;

	if (json == NULL)
		return;
	/* fetchers that stand still, or have no broker, learn nothing */
	src->stats_at = src->moving && src->trouble == KS_CLIENT_FINE ? GetCurrentTimestamp() : 0;
	src->moving = false;
	while ((name = next_member(&json, &len)) != NULL)
	{
		if (is_member(name, len, "brokers"))
			json = read_brokers(src, json);
		else if (is_member(name, len, "topics"))
			json = read_topics(src, json);
		else
			json = skip_value(json);
	}
}

int
ks_source_known_count(KsSource *src, const char *name)
{
	dlist_iter	iter;

	dlist_foreach(iter, &src->topics)
	{
		KsSourceTopic *topic = dlist_container(KsSourceTopic, node, iter.cur);

		if (strcmp(topic->name, name) == 0)
			return topic->count;
	}
	return 0;
}
