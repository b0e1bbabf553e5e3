/*
 * replay.c
 *	  Instead of libFuzzer: runs a target over the files that are named.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
	{
		FILE	   *f = fopen(argv[i], "rb");
		uint8_t    *data = malloc(1 << 20);
		size_t		size;

		if (f == NULL || data == NULL)
		{
			perror(argv[i]);
			return 1;
		}
		fprintf(stderr, "%s\n", argv[i]);	/* the last one is the culprit */
		size = fread(data, 1, 1 << 20, f);
		LLVMFuzzerTestOneInput(data, size);
		free(data);
		fclose(f);
	}
	return argc > 1 ? 0 : 1;
}
