/*
 * settings.h
 *	  What create_sink() and its like can set, and which values are valid.
 */
#ifndef KS_SETTINGS_H
#define KS_SETTINGS_H

#include "postgres.h"

#include "utils/array.h"

typedef struct KsSetting
{
	const char *name;
	Oid			type;
	const char *def;			/* default, as text; NULL: null */
	const char *values;			/* valid words, by commas; NULL: any */
	int			min;
	int			max;
} KsSetting;

#define KS_SINK_SETTINGS	42
#define KS_TOPIC_SETTINGS	13

/* In the order of the arguments of create_sink() and alter_sink(), behind the
 * sink's name. */
extern const KsSetting *ks_sink_setting(int i);

/* In the order of the arguments of register_topic() and alter_topic(), behind
 * those that are a topic's own. */
extern const KsSetting *ks_topic_setting(int i);

/* In the order of the arguments of create_feed() and alter_feed(), behind the feed's
 * name. */
#define KS_FEED_SETTINGS	11
extern const KsSetting *ks_feed_setting(int i);

/* Errors (22023) unless the value, not NULL, is valid by itself. */
extern void ks_setting_check(const KsSetting *setting, Datum value);

#endif
