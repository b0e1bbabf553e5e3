/*
 * jschema_uri.c
 *	  URIs of schemas, and JSON pointers.
 */
#include "postgres.h"

#include "format/jschema_uri.h"

/* Slices of a URI; a NULL is not there. */
typedef struct Uri
{
	const char *scheme;
	int			scheme_len;		/* with its colon */
	const char *authority;
	int			authority_len;	/* with its slashes */
	const char *path;
	int			path_len;
	const char *query;
	int			query_len;		/* with its mark */
	const char *fragment;		/* from its mark to the end */
} Uri;

static Uri
split(const char *s)
{
	Uri			u = {0};
	const char *p = s;

	if (isalpha((unsigned char) *p))
	{
		while (isalnum((unsigned char) *p) || (*p && strchr("+-.", *p)))
			p++;
		if (*p == ':')
		{
			u.scheme = s;
			u.scheme_len = p + 1 - s;
			s = p + 1;
		}
	}
	if (s[0] == '/' && s[1] == '/')
	{
		u.authority = s;
		u.authority_len = 2 + strcspn(s + 2, "/?#");
		s += u.authority_len;
	}
	u.path = s;
	u.path_len = strcspn(s, "?#");
	s += u.path_len;
	if (*s == '?')
	{
		u.query = s;
		u.query_len = strcspn(s, "#");
		s += u.query_len;
	}
	if (*s == '#')
		u.fragment = s;
	return u;
}

/* Takes "." and ".." out of a path. */
static void
append_path(StringInfo out, const char *p, int len)
{
	const char *end = p + len;
	int			start = out->len;

	while (p < end)
	{
		const char *slash = memchr(p, '/', end - p);
		const char *next = slash ? slash : end;
		int			n = next - p;

		if (n == 1 && *p == '.')
			;
		else if (n == 2 && memcmp(p, "..", 2) == 0)
		{
			/* back to the slash before the last one */
			if (out->len > start)
				out->len--;
			while (out->len > start && out->data[out->len - 1] != '/')
				out->len--;
			out->data[out->len] = '\0';
			if (out->len == start && slash)
				appendStringInfoChar(out, '/');
		}
		else
		{
			appendBinaryStringInfo(out, p, n);
			if (slash)
				appendStringInfoChar(out, '/');
		}
		p = slash ? slash + 1 : end;
	}
}

static void
append_slice(StringInfo out, const char *s, int len)
{
	if (s)
		appendBinaryStringInfo(out, s, len);
}

char *
ks_uri_resolve(const char *base, const char *ref)
{
	Uri			b = split(base);
	Uri			r = split(ref);
	StringInfoData out;

	initStringInfo(&out);
	append_slice(&out, r.scheme ? r.scheme : b.scheme, r.scheme ? r.scheme_len : b.scheme_len);
	if (r.scheme || r.authority)
	{
		append_slice(&out, r.authority, r.authority_len);
		if (r.authority)
			append_path(&out, r.path, r.path_len);
		else
			append_slice(&out, r.path, r.path_len);
		append_slice(&out, r.query, r.query_len);
	}
	else
	{
		append_slice(&out, b.authority, b.authority_len);
		if (r.path_len == 0)
		{
			append_slice(&out, b.path, b.path_len);
			append_slice(&out, r.query ? r.query : b.query, r.query ? r.query_len : b.query_len);
		}
		else
		{
			int			dir = b.path_len;

			while (dir > 0 && b.path[dir - 1] != '/')
				dir--;
			if (*r.path == '/')
				append_path(&out, r.path, r.path_len);
			else
				append_path(&out, psprintf("%s%.*s%.*s", b.authority && dir == 0 ? "/" : "", dir, b.path,
										   r.path_len, r.path), (b.authority && dir == 0) + dir + r.path_len);
			append_slice(&out, r.query, r.query_len);
		}
	}
	if (r.fragment)
		appendStringInfoString(&out, r.fragment);
	return out.data;
}

static int
hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
}

/* %41 is A, in place; no character of code 0 comes of it. */
static char *
decode_percents(char *s)
{
	char	   *out = s;

	for (char *p = s; *p; p++)
	{
		int			high = *p == '%' ? hex_digit(p[1]) : -1;
		int			low = high >= 0 ? hex_digit(p[2]) : -1;

		if (low >= 0 && high + low > 0)
		{
			*out++ = (char) (high << 4 | low);
			p += 2;
		}
		else
			*out++ = *p;
	}
	*out = '\0';
	return s;
}

char *
ks_uri_take_fragment(char *uri)
{
	char	   *mark = strchr(uri, '#');

	if (mark == NULL)
		return pstrdup("");
	*mark = '\0';
	return decode_percents(pstrdup(mark + 1));
}

void
ks_pointer_append(StringInfo pointer, const char *name, int len)
{
	appendStringInfoChar(pointer, '/');
	for (int i = 0; i < len; i++)
	{
		if (name[i] == '~' || name[i] == '/')
			appendStringInfoString(pointer, name[i] == '~' ? "~0" : "~1");
		else if (name[i] == '\0')
			appendStringInfoString(pointer, "\\0");
		else
			appendStringInfoChar(pointer, name[i]);
	}
}

const char *
ks_pointer_step(const char *p, StringInfo step)
{
	resetStringInfo(step);
	for (p++; *p && *p != '/'; p++)
	{
		if (*p == '~' && (p[1] == '0' || p[1] == '1'))
			appendStringInfoChar(step, *++p == '0' ? '~' : '/');
		else
			appendStringInfoChar(step, *p);
	}
	return p;
}
