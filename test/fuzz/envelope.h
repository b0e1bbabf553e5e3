/*
 * envelope.h
 *	  Records in an envelope: after a byte of settings, lines are records, a
 *	  tab ends the key.
 */
#ifndef KS_FUZZ_ENVELOPE_H
#define KS_FUZZ_ENVELOPE_H

#include "records.h"

extern void fuzz_envelope(KsEnvelope envelope, const uint8 *data, size_t size);

#endif
