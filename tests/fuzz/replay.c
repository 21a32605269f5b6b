/* SPDX-License-Identifier: ISC */
/* The main of a fuzz target that is not built with libFuzzer: runs the target over every file of its
 * corpus, $PENNY_SRC/tests/fuzz/corpus/<target>/, in name order, and prints TAP. Files may be given as
 * arguments instead. A target that dies on an input has failed; that input's name is the last line. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { INPUT_MAX_OCTETS = 4 << 20 };

static int run_file(const char *path)
{
	static uint8_t octets[INPUT_MAX_OCTETS];
	FILE *f = fopen(path, "r");
	uint8_t *exact;
	size_t n;

	if (f == NULL) {
		printf("# %s: %s\n", path, strerror(errno));
		return 1;
	}
	n = fread(octets, 1, sizeof octets, f);
	fclose(f);
	/* Exactly as long as the input, so that the sanitizer sees a read past its end. */
	exact = malloc(n > 0 ? n : 1);
	if (exact == NULL)
		return 1;
	memcpy(exact, octets, n);
	printf("# %s\n", path);
	fflush(stdout);
	LLVMFuzzerTestOneInput(exact, n);
	free(exact);
	return 0;
}

static int is_input(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

static int run_corpus(const char *dir)
{
	struct dirent **found;
	int n = scandir(dir, &found, is_input, alphasort), bad = 0;

	if (n < 0) {
		printf("1..0 # SKIP no corpus %s\n", dir);
		return 0;
	}
	for (int i = 0; i < n; i++) {
		char path[4096 + sizeof found[0]->d_name + 1];
		int r;

		snprintf(path, sizeof path, "%s/%s", dir, found[i]->d_name);
		r = run_file(path);
		bad |= r;
		printf("%s %d - %s\n", r == 0 ? "ok" : "not ok", i + 1, found[i]->d_name);
		free(found[i]);
	}
	free(found);
	if (n == 0)
		printf("1..0 # SKIP empty corpus %s\n", dir);
	else
		printf("1..%d\n", n);
	return bad;
}

int main(int argc, char **argv)
{
	const char *src = getenv("PENNY_SRC"), *name = strrchr(argv[0], '/');
	char dir[4096];
	int bad = 0;

	for (int i = 1; i < argc; i++)
		bad |= run_file(argv[i]);
	if (argc > 1)
		return bad;
	snprintf(dir, sizeof dir, "%s/tests/fuzz/corpus/%s", src != NULL ? src : ".",
	    name != NULL ? name + 1 : argv[0]);
	return run_corpus(dir);
}
