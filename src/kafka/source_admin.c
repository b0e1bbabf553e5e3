/*
 * source_admin.c
 *	  Questions to the brokers about topics and the cluster, which are waited for
 *	  (source_wait.c).
 */
#include "postgres.h"

#include "miscadmin.h"

#include "kafka/source_int.h"

/*
 * Metadata of one topic, or of all (NULL): *md, which the caller destroys, or
 * the error that is returned.
 */
static rd_kafka_resp_err_t
try_metadata(KsSource *src, rd_kafka_topic_t *rkt, int timeout_ms, const struct rd_kafka_metadata **md)
{
	rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR__TIMED_OUT;
	KsSourceWait wait;
	int			slice;

	ks_source_wait_begin(&wait, src, timeout_ms);
	while ((slice = ks_source_wait_slice(&wait)) > 0)
	{
		err = rd_kafka_metadata(src->rk, rkt == NULL, rkt, md, slice);
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR || !ks_source_wait_again(&wait, err))
			break;
	}
	return err;
}

/* The number of partitions of a topic, -1: it does not exist; or the error. */
static rd_kafka_resp_err_t
try_count(KsSource *src, const char *topicname, int timeout_ms, int *count)
{
	KsSourceTopic *topic = ks_source_topic(src, topicname);
	KsSourceWait wait;
	rd_kafka_resp_err_t err;

	*count = -1;
	ks_source_wait_begin(&wait, src, timeout_ms);
	do
	{
		const struct rd_kafka_metadata *md;
		int			n = 0;

		err = try_metadata(src, topic->rkt, Max(timeout_ms - ks_source_wait_elapsed(&wait), 1), &md);
		if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
			return err;
		err = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
		if (md->topic_cnt == 1)
		{
			err = md->topics[0].err;
			n = md->topics[0].partition_cnt;
			ks_source_note_leaders(src, topic, &md->topics[0]);
		}
		rd_kafka_metadata_destroy(md);
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR && n > 0)
		{
			topic->count = *count = n;
			topic->absent = false;
			topic->count_grew = false;
			return err;
		}
		if (err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
			err == RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION)
		{
			topic->absent = true;
			return RD_KAFKA_RESP_ERR_NO_ERROR;
		}
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
			err = RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
		CHECK_FOR_INTERRUPTS();
	} while (ks_source_wait_again(&wait, err));
	return err;
}

#define ASK_PARTITIONS	"ask for the partitions of topic \"%s\""

int
ks_source_partition_count_or_denial(KsSource *src, const char *topic, int timeout_ms, KsDenial *denial)
{
	int			count;
	rd_kafka_resp_err_t err = try_count(src, topic, timeout_ms, &count);
	const KsErrorClass *class;

	denial->message = NULL;
	if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		return count;
	if (err != RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED || src->trouble >= KS_CLIENT_REFUSED)
		ks_source_wait_failed(src, err, psprintf(ASK_PARTITIONS, topic));
	class = ks_source_classify(err, false);
	src->may_pass = true;
	denial->sqlstate = class->sqlstate;
	denial->message = psprintf("could not " ASK_PARTITIONS ": %s", topic, rd_kafka_err2str(err));
	denial->hint = class->hint;
	return -1;
}

int
ks_source_partition_count(KsSource *src, const char *topic, int timeout_ms)
{
	int			count;
	rd_kafka_resp_err_t err = try_count(src, topic, timeout_ms, &count);

	if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		return count;
	ks_source_wait_failed(src, err, psprintf(ASK_PARTITIONS, topic));
}

bool
ks_source_try_partition_count(KsSource *src, const char *topic, int timeout_ms, int *count)
{
	return try_count(src, topic, timeout_ms, count) == RD_KAFKA_RESP_ERR_NO_ERROR;
}

KsTopicInfo *
ks_source_list_topics(KsSource *src, int timeout_ms, int *n)
{
	const struct rd_kafka_metadata *md;
	rd_kafka_resp_err_t err = try_metadata(src, NULL, timeout_ms, &md);
	KsTopicInfo *info = NULL;

	if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
		ks_source_wait_failed(src, err, "list the topics");
	PG_TRY();
	{
		info = palloc0(Max(md->topic_cnt, 1) * sizeof(KsTopicInfo));
		for (int i = 0; i < md->topic_cnt; i++)
		{
			const struct rd_kafka_metadata_topic *t = &md->topics[i];

			info[i].topic = pstrdup(t->topic);
			info[i].partitions = t->partition_cnt;
			if (t->partition_cnt > 0)
				info[i].replicas = t->partitions[0].replica_cnt;
			if (t->err != RD_KAFKA_RESP_ERR_NO_ERROR)
				info[i].error = pstrdup(rd_kafka_err2str(t->err));
		}
		*n = md->topic_cnt;
	}
	PG_FINALLY();
	{
		rd_kafka_metadata_destroy(md);
	}
	PG_END_TRY();
	return info;
}

const char *
ks_source_cluster_id(KsSource *src, int timeout_ms)
{
	KsSourceWait wait;
	int			slice;

	ks_source_wait_begin(&wait, src, timeout_ms);
	while ((slice = ks_source_wait_slice(&wait)) > 0)
	{
		char	   *id = rd_kafka_clusterid(src->rk, slice);
		char		buf[128];

		if (id != NULL)
		{
			strlcpy(buf, id, sizeof(buf));
			rd_kafka_mem_free(src->rk, id);
			return pstrdup(buf);
		}
		if (src->trouble >= KS_CLIENT_REFUSED)
			break;
	}
	return NULL;
}
