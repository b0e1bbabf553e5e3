/*
 * memory.c
 *	  Memory contexts for fuzzing outside a server.
 *
 * Memory is malloc's, one block per palloc(), so that the address sanitizer
 * sees the end of each, and every use after a context was reset.  What is held
 * is counted as the server would: with a header for each block.
 */
#include "stubs.h"

#include "lib/stringinfo.h"
#include "utils/memutils.h"

#define HEADER	16

typedef struct FuzzBlock
{
	struct FuzzBlock *prev;
	struct FuzzBlock *next;
	struct FuzzContext *owner;
	size_t		size;			/* what follows stays aligned */
} FuzzBlock;

typedef struct FuzzContext
{
	MemoryContextData data;		/* the pointers between contexts are used */
	FuzzBlock	blocks;
} FuzzContext;

static FuzzContext top = {.blocks = {&top.blocks, &top.blocks, &top, 0}};
static FuzzContext record = {.blocks = {&record.blocks, &record.blocks, &record, 0}};

MemoryContext TopMemoryContext = (MemoryContext) &top;
MemoryContext CurrentMemoryContext = (MemoryContext) &record;
MemoryContext fuzz_record_context = (MemoryContext) &record;
size_t		fuzz_held;
size_t		fuzz_peak;

static void *
take(FuzzContext *owner, FuzzBlock *b, size_t size)
{
	b = realloc(b, sizeof(FuzzBlock) + size);
	if (b == NULL)
		abort();
	b->owner = owner;
	b->size = size;
	b->prev = &owner->blocks;
	b->next = owner->blocks.next;
	b->next->prev = owner->blocks.next = b;
	fuzz_held += HEADER + size;
	fuzz_peak = Max(fuzz_peak, fuzz_held);
	return b + 1;
}

static FuzzBlock *
drop(void *p)
{
	FuzzBlock  *b = (FuzzBlock *) p - 1;

	b->prev->next = b->next;
	b->next->prev = b->prev;
	fuzz_held -= HEADER + b->size;
	return b;
}

static void
reset(FuzzContext *c)
{
	while (c->data.firstchild)
		MemoryContextDelete(c->data.firstchild);
	while (c->blocks.next != &c->blocks)
		free(drop(c->blocks.next + 1));
}

void
fuzz_reset(void)
{
	reset(&record);
	CurrentMemoryContext = fuzz_record_context;
}

/* A failed check for each request that the server would refuse (XX000). */
static void *
allocate(MemoryContext cxt, Size size)
{
	FUZZ_CHECK(AllocSizeIsValid(size));
	return take((FuzzContext *) cxt, NULL, size);
}

void *
palloc(Size size)
{
	return allocate(CurrentMemoryContext, size);
}

void *
palloc0(Size size)
{
	return memset(palloc(size), 0, size);
}

void *
MemoryContextAlloc(MemoryContext cxt, Size size)
{
	return allocate(cxt, size);
}

void *
MemoryContextAllocZero(MemoryContext cxt, Size size)
{
	return memset(allocate(cxt, size), 0, size);
}

void *
repalloc_huge(void *p, Size size)
{
	FuzzBlock  *b = drop(p);

	return take(b->owner, b, size);
}

void *
repalloc(void *p, Size size)
{
	FUZZ_CHECK(AllocSizeIsValid(size));
	return repalloc_huge(p, size);
}

void
pfree(void *p)
{
	free(drop(p));
}

void
MemoryContextReset(MemoryContext cxt)
{
	reset((FuzzContext *) cxt);
}

MemoryContext
AllocSetContextCreateInternal(MemoryContext parent, const char *name,
							  Size minsize, Size initsize, Size maxsize)
{
	FuzzContext *c = calloc(1, sizeof(FuzzContext));

	if (c == NULL)
		abort();
	c->data.name = name;
	c->data.parent = parent;
	c->data.nextchild = parent->firstchild;
	parent->firstchild = &c->data;
	c->blocks = (FuzzBlock) {&c->blocks, &c->blocks, c, 0};
	return &c->data;
}

static void
leave_parent(MemoryContext cxt)
{
	MemoryContext *p = &cxt->parent->firstchild;

	while (*p != cxt)
		p = &(*p)->nextchild;
	*p = cxt->nextchild;
}

void
MemoryContextSetParent(MemoryContext cxt, MemoryContext parent)
{
	leave_parent(cxt);
	cxt->parent = parent;
	cxt->nextchild = parent->firstchild;
	parent->firstchild = cxt;
}

void
MemoryContextDelete(MemoryContext cxt)
{
	leave_parent(cxt);
	reset((FuzzContext *) cxt);
	free(cxt);
}

/* --- strings --- */

char *
fuzz_copy(const void *data, size_t len)
{
	char	   *copy = malloc(len);	/* the harness frees it */

	if (copy == NULL && len > 0)
		abort();
	if (len > 0)
		memcpy(copy, data, len);
	return copy;
}

char *
pnstrdup(const char *s, Size len)
{
	char	   *copy;

	len = strnlen(s, len);
	copy = palloc(len + 1);
	memcpy(copy, s, len);
	copy[len] = '\0';
	return copy;
}

char *
pstrdup(const char *s)
{
	return pnstrdup(s, strlen(s));
}

char *
psprintf(const char *fmt,...)
{
	va_list		args;
	int			len;
	char	   *s;

	va_start(args, fmt);
	len = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	s = palloc(len + 1);
	va_start(args, fmt);
	vsnprintf(s, len + 1, fmt, args);
	va_end(args);
	return s;
}

void
resetStringInfo(StringInfo s)
{
	s->data[0] = '\0';
	s->len = s->cursor = 0;
}

/* As large as the server's. */
void
initStringInfo(StringInfo s)
{
	s->maxlen = 1024;
	s->data = palloc(s->maxlen);
	resetStringInfo(s);
}

void
enlargeStringInfo(StringInfo s, int needed)
{
	if (s->len + needed + 1 <= s->maxlen)
		return;
	s->maxlen = Max(s->len + needed + 1, 2 * s->maxlen);
	s->data = repalloc(s->data, s->maxlen);
}

void
#if PG16_GE
appendBinaryStringInfo(StringInfo s, const void *data, int len)
#else
appendBinaryStringInfo(StringInfo s, const char *data, int len)
#endif
{
	enlargeStringInfo(s, len);
	memcpy(s->data + s->len, data, len);
	s->len += len;
	s->data[s->len] = '\0';
}

void
appendStringInfoChar(StringInfo s, char c)
{
	appendBinaryStringInfo(s, &c, 1);
}

void
appendStringInfoString(StringInfo s, const char *str)
{
	appendBinaryStringInfo(s, str, strlen(str));
}

void
appendStringInfo(StringInfo s, const char *fmt,...)
{
	va_list		args;
	int			len;

	va_start(args, fmt);
	len = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	enlargeStringInfo(s, len);
	va_start(args, fmt);
	vsnprintf(s->data + s->len, len + 1, fmt, args);
	va_end(args);
	s->len += len;
}

/* Called when it is done, which is never: nothing here needs it, but for who has another one. */
__attribute__((weak)) void
MemoryContextRegisterResetCallback(MemoryContext cxt, MemoryContextCallback *callback)
{
}

void *
MemoryContextAllocExtended(MemoryContext cxt, Size size, int flags)
{
	return take((FuzzContext *) cxt, NULL, size);
}

void *
MemoryContextAllocHuge(MemoryContext cxt, Size size)
{
	return take((FuzzContext *) cxt, NULL, size);
}
