/*
 * proto.c
 *	  .proto texts against what protoc says of them.
 *
 * A folder has files NAME.proto, each with what NAME.expected says of its graph,
 * which proto/expect.py wrote by protoc, and with NAME.set, protoc's descriptors,
 * which say the same but for the comments; and 'refused': texts with the errors that
 * they are refused with.  Texts that another one imports stand before it, each
 * behind a line "--- NAME".  Then the limits, and what is asked of a graph.
 *
 *	proto FOLDER
 */
#include "../fuzz/stubs.h"
#include "tap.h"

#include <dirent.h>

#include "lib/stringinfo.h"

#include "format/proto_descriptor.h"

#define MAX_TEXTS	1100

static char *
read_file(const char *folder, const char *name)
{
	char		path[1024];
	FILE	   *f;
	long		size;
	char	   *text;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "rb");
	if (f == NULL)
		return NULL;
	fseek(f, 0, SEEK_END);
	size = ftell(f);
	rewind(f);
	text = malloc(size + 1);
	if (fread(text, 1, size, f) != (size_t) size)
		abort();
	text[size] = '\0';
	fclose(f);
	return text;
}

/* Cuts it into texts; the last one has no name. */
static int
split(char *content, KsProtoText *texts)
{
	int			n = 0;

	texts[0] = (KsProtoText) {NULL, content};
	for (char *at = content; strncmp(at, "--- ", 4) == 0;)
	{
		char	   *name = at + 4;
		char	   *next;

		at = strchr(name, '\n');
		*at++ = '\0';
		texts[n++] = (KsProtoText) {name, at};
		next = strstr(at, "\n--- ");
		if (next == NULL)
			break;
		next[1] = '\0';
		at = next + 1;
		*at = '-';
		next[0] = '\0';
	}
	if (n == 0)
		return 1;
	texts[n - 1].name = NULL;
	return n;
}

/* --- a graph in words --- */

static const char *const known_words[] = {
	[KS_PROTO_TIMESTAMP] = "timestamp", [KS_PROTO_DURATION] = "duration", [KS_PROTO_WRAPPER] = "wrapper",
	[KS_PROTO_STRUCT] = "struct", [KS_PROTO_VALUE] = "value", [KS_PROTO_LIST_VALUE] = "list value",
	[KS_PROTO_ANY] = "any", [KS_PROTO_FIELD_MASK] = "field mask", [KS_PROTO_EMPTY] = "empty",
	[KS_PROTO_DECIMAL] = "decimal", [KS_PROTO_DATE] = "date", [KS_PROTO_TIME_OF_DAY] = "time of day",
	[KS_PROTO_VARIABLE_DECIMAL] = "variable decimal"
};

/* What has been named, and is to be described once. */
typedef struct Dump
{
	StringInfoData s;
	const KsProtoFile *file;
	int			n;
	const void *nodes[10000];
	bool		enums[10000];
} Dump;

static void
mention(Dump *d, const void *node, bool is_enum)
{
	if (node == NULL)
		return;
	for (int i = 0; i < d->n; i++)
		if (d->nodes[i] == node)
			return;
	FUZZ_CHECK(d->n < (int) lengthof(d->nodes));
	d->enums[d->n] = is_enum;
	d->nodes[d->n++] = node;
}

static void
dump_comment(StringInfo s, const char *indent, const char *comment)
{
	if (comment == NULL)
		return;
	appendStringInfo(s, "%s# ", indent);
	for (; *comment; comment++)
	{
		if (*comment == '\n')
			appendStringInfo(s, "\n%s# ", indent);
		else
			appendStringInfoChar(s, *comment);
	}
	appendStringInfoChar(s, '\n');
}

static void
dump_default(StringInfo s, const KsProtoField *field)
{
	if (!field->has_default)
		return;
	appendStringInfoString(s, " default ");
	switch (field->type)
	{
		case KS_PROTO_DOUBLE:
		case KS_PROTO_FLOAT:
			appendStringInfo(s, "%.17g", field->default_value.real);
			break;
		case KS_PROTO_STRING:
		case KS_PROTO_BYTES:
			appendStringInfoChar(s, '=');
			for (int i = 0; i < field->default_len; i++)
				appendStringInfo(s, "%02x", (unsigned char) field->default_bytes[i]);
			break;
		case KS_PROTO_UINT64:
		case KS_PROTO_FIXED64:
			appendStringInfo(s, UINT64_FORMAT, field->default_value.bits);
			break;
		default:
			appendStringInfo(s, INT64_FORMAT, (int64) field->default_value.bits);
	}
}

static void
dump_field(Dump *d, const KsProtoMessage *m, int i)
{
	const KsProtoField *field = &m->fields[i];

	FUZZ_CHECK(ks_proto_find_number(m, field->number) == field);
	FUZZ_CHECK(ks_names_find(&m->index, field->name.name, field->name.len) == i);
	FUZZ_CHECK((int) strlen(field->name.name) == field->name.len);
	appendStringInfo(&d->s, "  %d %s %s: %s", field->number, field->name.name, field->json_name, ks_proto_type_name(field));
	appendStringInfo(&d->s, "%s%s", field->required ? " required" : "", field->presence ? " presence" : "");
	if (field->oneof >= 0)
		appendStringInfo(&d->s, " oneof %d", field->oneof);
	dump_default(&d->s, field);
	appendStringInfoChar(&d->s, '\n');
	dump_comment(&d->s, "    ", m->comments[i]);
	mention(d, field->message, false);
	mention(d, field->enumeration, true);
}

static void
dump_message(Dump *d, const KsProtoMessage *m)
{
	/* names of entries cannot be given by anybody */
	FUZZ_CHECK(ks_proto_find_message(d->file, m->name, strlen(m->name)) == (m->map_entry ? NULL : m));
	FUZZ_CHECK(ks_proto_find_number(m, 0) == NULL && ks_proto_find_number(m, PG_UINT32_MAX) == NULL);
	appendStringInfo(&d->s, "message %s%s", m->name, m->map_entry ? " entry" : "");
	appendStringInfo(&d->s, "%s%s\n", m->known ? " is a " : "", m->known ? known_words[m->known] : "");
	dump_comment(&d->s, "  ", m->comment);
	for (int i = 0; i < m->noneofs; i++)
		appendStringInfo(&d->s, "  oneof %s\n", m->oneofs[i]);
	for (int i = 0; i < m->nmessages; i++)
	{
		/* (what a descriptor has as one) */
		if (m->messages[i]->map_entry)
			continue;
		appendStringInfo(&d->s, "  message %s\n", m->messages[i]->name);
		mention(d, m->messages[i], false);
	}
	for (int i = 0; i < m->nfields; i++)
		dump_field(d, m, i);
	for (int i = 1; i < m->nfields; i++)
		FUZZ_CHECK(m->fields[m->by_number[i - 1]].number < m->fields[m->by_number[i]].number);
}

static void
dump_enum(Dump *d, const KsProtoEnum *e)
{
	appendStringInfo(&d->s, "enum %s%s%s\n", e->name, e->closed ? " closed" : "", e->null_value ? " is null" : "");
	for (int i = 0; i < e->n; i++)
		appendStringInfo(&d->s, "  %s = %d\n", e->names[i], e->numbers[i]);
}

static char *
dump(const KsProtoFile *file)
{
	static Dump d;

	d.n = 0;
	d.file = file;
	initStringInfo(&d.s);
	appendStringInfo(&d.s, "package \"%s\"%s\n", file->package, file->proto3 ? " proto3" : "");
	for (int i = 0; i < file->nmessages; i++)
	{
		FUZZ_CHECK(ks_proto_message_at(file, &i, 1) == file->messages[i]);
		mention(&d, file->messages[i], false);
	}
	for (int i = 0; i < d.n; i++)
	{
		if (d.enums[i])
			dump_enum(&d, d.nodes[i]);
		else
			dump_message(&d, d.nodes[i]);
	}
	return d.s.data;
}

/* --- texts that are read, and texts that are not --- */

static void
show_difference(const char *got, const char *expected)
{
	int			line = 1;

	while (*got && *got == *expected)
	{
		line += *got == '\n';
		got++;
		expected++;
	}
	while (*got && got[-1] != '\n')
	{
		got--;
		expected--;
	}
	printf("# line %d: \"%.*s\"\n# expected \"%.*s\"\n", line, (int) strcspn(got, "\n"), got,
		   (int) strcspn(expected, "\n"), expected);
}

/* What stands beside NAME.proto. */
static char *
read_beside(const char *folder, const char *name, const char *ending)
{
	char		other[256];

	snprintf(other, sizeof(other), "%.*s.%s", (int) strlen(name) - 6, name, ending);
	return read_file(folder, other);
}

static void
remove_comments(char *graph)
{
	char	   *to = graph;

	for (char *line = graph; *line;)
	{
		char	   *next = strchr(line, '\n') + 1;

		if (line[strspn(line, " ")] != '#')
		{
			memmove(to, line, next - line);
			to += next - line;
		}
		line = next;
	}
	*to = '\0';
}

/* The descriptor of the same text. */
static void
check_descriptor(const char *folder, const char *name, char *expected)
{
	char	   *base64 = read_beside(folder, name, "set");
	KsProtoText *texts;
	KsProtoFile *file;
	bool		fine;
	int			n;

	FUZZ_CHECK(base64 != NULL);
	remove_comments(expected);
	fine = ks_proto_is_descriptor(base64) &&
		FUZZ_TRY((texts = ks_proto_descriptor_texts(base64, &n), file = ks_proto_parse(texts, n)));
	if (!fine)
		printf("# %s: %s\n", fuzz_message, fuzz_detail);
	else
	{
		char	   *got = dump(file);

		/* (what options say is there) */
		remove_comments(got);
		fine = strcmp(got, expected) == 0;
		if (!fine)
			show_difference(got, expected);
	}
	ok(fine, psprintf("%s, as a descriptor", name));
	fuzz_reset();
	free(base64);
}

static void
check_file(const char *folder, const char *name)
{
	KsProtoText texts[MAX_TEXTS];
	char	   *text = read_file(folder, name);
	char	   *expected = read_beside(folder, name, "expected");
	KsProtoFile *file;
	int			n = split(text, texts);

	FUZZ_CHECK(expected != NULL);
	if (!FUZZ_TRY(file = ks_proto_parse(texts, n)))
	{
		printf("# %s: %s\n", fuzz_message, fuzz_detail);
		ok(false, name);
	}
	else
	{
		char	   *got = dump(file);

		if (strcmp(got, expected) != 0)
			show_difference(got, expected);
		ok(strcmp(got, expected) == 0, name);
	}
	fuzz_reset();
	check_descriptor(folder, name, expected);
	free(text);
	free(expected);
}

static int
is_proto(const struct dirent *entry)
{
	size_t		len = strlen(entry->d_name);

	return len > 6 && strcmp(entry->d_name + len - 6, ".proto") == 0;
}

static void
check_files(const char *folder)
{
	struct dirent **entries;
	int			n = scandir(folder, &entries, is_proto, alphasort);

	FUZZ_CHECK(n > 0);
	for (int i = 0; i < n; i++)
	{
		check_file(folder, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
}

static const char *
state_text(int sqlstate)
{
	static char buf[6];

	for (int i = 0; i < 5; i++, sqlstate >>= 6)
		buf[i] = PGUNSIXBIT(sqlstate);
	return buf;
}

/* An error of this text, of the last of these. */
static void
check_refused(char *content, const char *expected, const char *title)
{
	KsProtoText texts[MAX_TEXTS];
	char		got[4096];
	int			n = split(content, texts);

	if (FUZZ_TRY(ks_proto_parse(texts, n)))
		strcpy(got, "no error");
	else
		snprintf(got, sizeof(got), "%s %s", state_text(fuzz_sqlstate), fuzz_detail);
	if (strcmp(got, expected) != 0)
		printf("# %s\n# expected: %s\n", got, expected);
	ok(strcmp(got, expected) == 0, title);
	fuzz_reset();
}

/* "=== TITLE", the text, "!!! STATE DETAIL" */
static void
check_refusals(const char *folder)
{
	char	   *content = read_file(folder, "refused");
	char	   *at = content;

	while (content && (at = strstr(at, "=== ")) != NULL)
	{
		char	   *title = at + 4;
		char	   *text = strchr(title, '\n') + 1;
		char	   *end = strstr(text, "\n!!! ");
		char	   *expected = end + 5;

		text[-1] = '\0';
		end[1] = '\0';
		at = strchr(expected, '\n');
		*at++ = '\0';
		check_refused(text, expected, title);
	}
	free(content);
}

/* --- limits --- */

/* So many times "before", with its number where there is a %d, and then "after". */
static char *
many(const char *begin, int n, const char *each, const char *middle, const char *each_after)
{
	StringInfoData s;

	initStringInfo(&s);
	appendStringInfoString(&s, begin);
	for (int i = 0; i < n; i++)
		appendStringInfo(&s, each, i);
	appendStringInfoString(&s, middle);
	for (int i = 0; i < n; i++)
		appendStringInfo(&s, each_after, i);
	return s.data;
}

static void
check_error(const char *text, const char *expected, const char *title)
{
	KsProtoText given = {NULL, text};
	const char *got = "no error";

	if (!FUZZ_TRY(ks_proto_parse(&given, 1)))
		got = psprintf("%s %s: %s", state_text(fuzz_sqlstate), fuzz_message, fuzz_detail);
	if (strcmp(got, expected) != 0)
		printf("# %.200s\n# expected: %s\n", got, expected);
	ok(strcmp(got, expected) == 0, title);
	fuzz_reset();
}

/* What a text needs of memory is in proportion to it. */
static void
check_memory(char *text, const char *title)
{
	KsProtoText given = {NULL, text};
	size_t		before = fuzz_held;
	bool		fine;

	fuzz_peak = fuzz_held;
	fine = FUZZ_TRY(ks_proto_parse(&given, 1));
	if (!fine)
		printf("# %s: %s\n", fuzz_message, fuzz_detail);
	if ((fuzz_peak - before) / (strlen(text) + 65536) > 100)
		printf("# %zu bytes of memory for %zu\n", fuzz_peak - before, strlen(text));
	ok(fine && (fuzz_peak - before) / (strlen(text) + 65536) <= 100, title);
	fuzz_reset();
}

static void
check_files_given(void)
{
	static KsProtoText texts[MAX_TEXTS];
	int			n = 1001;

	for (int i = 0; i < n; i++)
		texts[i] = (KsProtoText) {psprintf("f%d.proto", i), i == 0 ? "" : psprintf("import public 'f%d.proto';", i - 1)};
	texts[n - 1].name = NULL;
	ok(FUZZ_TRY(ks_proto_parse(texts + 1 - 1, n - 1)), "a thousand files, each of which imports the one before");
	texts[n - 2].text = "import public 'f998.proto'; import 'google/protobuf/any.proto';";
	ok(!FUZZ_TRY(ks_proto_parse(texts, n - 1)) && fuzz_sqlstate == ERRCODE_PROGRAM_LIMIT_EXCEEDED, "those that are built in count");
	ok(!FUZZ_TRY(ks_proto_parse(texts, n)) && fuzz_sqlstate == ERRCODE_PROGRAM_LIMIT_EXCEEDED &&
	   strcmp(fuzz_detail, "The limit is 1000 files.") == 0, "one more is too many");
	fuzz_reset();
}

static void
check_limits(void)
{
	check_error(many("", 64, "message M%d {", "", "}"), "no error", "64 messages in each other");
	check_error(many("", 65, "message M%d {", "", "}"),
				"54001 Protobuf schema is nested too deeply: The limit is 64 levels.", "one more is too deep");
	check_error(many("message M {", 64, "optional group G%d = 1 {", "", "}"), "54001 Protobuf schema is nested too deeply: The limit is 64 levels.",
				"so are groups");
	check_error(many("option (o) = ", 60000, "{ a%d: ", "", "}"), "22023 invalid Protobuf schema: Line 1: Expected \";\", but the text ends.",
				"values of options have no depth");
	check_error(many("", 10000, "message M%d {}", "", ""), "no error", "ten thousand messages");
	check_error(many("", 10001, "message M%d {}", "", ""),
				"54000 Protobuf schema is too large: The limit is 10000 messages and enums.", "one more is too many");
	check_error(many("message ", 999, "a", "{}", ""), "no error", "a long name");
	check_error(many("message ", 1000, "a", "{}", ""),
				"54000 Protobuf schema is too large: The limit is 1000 bytes of a name with what it stands in.", "a longer one");
	check_error(many("", 104857, "          ", "      ", ""), "no error", "a text of 1 MB");
	check_error(many("", 104857, "          ", "       ", ""),
				"54000 Protobuf schema is too large: The limit is 1048576 bytes.", "a longer one");
	check_error("message A { extensions 1; } extend A { ; optional int32 a = 1; }", "no error", "nothing among extensions");
	check_files_given();

	check_memory(many("syntax = 'proto3'; message M {", 40000, "int32 f%1$d=2%1$d;", "}", ""), "many fields");
	check_memory(many("syntax = 'proto3'; message M {", 40000, "int32 a%1$d=2%1$d;//a\n", "}", ""), "with comments");
	check_memory(many("syntax = 'proto3'; message M {", 30000, "int32 a%1$d=2%1$d[(a)='b'];", "}", ""), "with options");
	check_memory(many("syntax = 'proto3'; package p; message M {", 30000, "p.M a%1$d=2%1$d;", "}", ""), "of a type with dots");
	check_memory(many("enum E {", 60000, "a%1$d=%1$d;", "}", ""), "many values");
	check_memory(many("message M { reserved 1", 60000, ",2%1$d", ";}", ""), "many numbers that are reserved");
	check_memory(many("message M { reserved 'a'", 60000, ",'%1$d'", ";}", ""), "many names that are");
}

/* --- what is asked of a graph --- */

static void
check_questions(void)
{
	KsProtoText text = {NULL, "package a; message A { message B { map<int32, int32> m = 1; message C { optional int32 x = 536870911;"
		"optional int32 y = 7; } } } message D {}"};
	KsProtoFile *file = NULL;
	const KsProtoMessage *c;

	ok(FUZZ_TRY(file = ks_proto_parse(&text, 1)), "a text");
	c = ks_proto_message_at(file, (int[]) {0, 0, 0}, 3);
	ok(c && strcmp(c->name, "a.A.B.C") == 0, "a message by its indexes, of which entries of maps are none");
	ok(ks_proto_message_at(file, (int[]) {0, 0, 1}, 3) == NULL && ks_proto_message_at(file, (int[]) {-1}, 1) == NULL &&
	   ks_proto_message_at(file, (int[]) {2}, 1) == NULL && ks_proto_message_at(file, (int[]) {1, 0}, 2) == NULL &&
	   ks_proto_message_at(file, NULL, 0) == NULL, "no message");
	ok(ks_proto_find_number(c, 536870911) == &c->fields[0] && ks_proto_find_number(c, 7) == &c->fields[1] &&
	   ks_proto_find_number(c, 1) == NULL && ks_proto_find_number(c, 2) == NULL, "fields by their numbers");
	ok(ks_proto_find_message(file, "a.A.B.C.", 7) == c && ks_proto_find_message(file, "a.A.B.", 6) == NULL &&
	   ks_proto_find_message(file, "", 0) == NULL && ks_proto_find_message(file, "a", 1) == NULL, "messages by their names");
	ok(ks_proto_find_message(file, "google.protobuf.Duration", 24)->known == KS_PROTO_DURATION,
	   "a message that nobody imports");
	text.text = "package google.protobuf; message Timestamp { optional int64 seconds = 1; optional int32 nanos = 3; }"
		"message Duration { optional int64 seconds = 1; } message FloatValue { optional float value = 1; }";
	ok(FUZZ_TRY(file = ks_proto_parse(&text, 1)) && file->messages[0]->known == KS_PROTO_NO_KNOWN &&
	   file->messages[1]->known == KS_PROTO_NO_KNOWN && file->messages[2]->known == KS_PROTO_WRAPPER,
	   "a name alone makes no well-known message");
	fuzz_reset();
}

int
main(int argc, char **argv)
{
	FUZZ_CHECK(argc == 2);
	check_files(argv[1]);
	check_refusals(argv[1]);
	check_limits();
	check_questions();
	printf("1..%d\n", tests);
	return failed;
}
