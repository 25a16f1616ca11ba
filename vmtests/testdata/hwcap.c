/* hwcap STOP copies, fills and compares memory without end, by the C library's
 * functions that it has chosen by AT_HWCAP, and checks the results. It ends when
 * the file STOP is there. Its first line is its pid and which of two features it
 * was told of. */
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#define VSX 0x80 /* PPC_FEATURE_HAS_VSX */
#define ARCH_3_00 0x00800000 /* PPC_FEATURE2_ARCH_3_00 */

static char a[8192], b[8192];

/* Not known to the compiler, so that it does not do the work itself. */
static void *(*volatile copy)(void *, const void *, size_t) = memcpy;
static void *(*volatile fill)(void *, int, size_t) = memset;
static int (*volatile compare)(const void *, const void *, size_t) = memcmp;
static size_t (*volatile length)(const char *) = strlen;
static char *(*volatile find)(const char *, int) = strchr;

int main(int argc, char **argv)
{
	unsigned long n;

	printf("%d%s%s\n", getpid(), getauxval(AT_HWCAP) & VSX ? " vsx" : "",
	       getauxval(AT_HWCAP2) & ARCH_3_00 ? " arch_3_00" : "");
	fflush(stdout);
	for (n = 1;; n++) {
		size_t size = n * 31 % 8000 + 1, off = n % 64;

		fill(a + off, n & 0x7f ? n & 0x7f : 1, size);
		a[off + size] = 0;
		copy(b + (off ^ 5), a + off, size + 1);
		if (compare(a + off, b + (off ^ 5), size + 1) || length(b + (off ^ 5)) != size ||
		    find(b + (off ^ 5), 0) != b + (off ^ 5) + size) {
			printf("wrong for %zu bytes at %zu\n", size, off);
			return 1;
		}
		if (n % 512 == 0 && access(argv[1], F_OK) == 0)
			break;
	}
	printf("done\n");
	return 0;
}
