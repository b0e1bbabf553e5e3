/*
 * debezium.c
 *	  Fuzzes Debezium's changes, with schemas and without.
 */
#include "envelope.h"

int			LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	fuzz_envelope(KS_DEBEZIUM, data, size);
	return 0;
}
