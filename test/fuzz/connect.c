/*
 * connect.c
 *	  Fuzzes Connect's envelope, {"schema": ..., "payload": ...}.
 */
#include "envelope.h"

int			LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	fuzz_envelope(KS_CONNECT, data, size);
	return 0;
}
