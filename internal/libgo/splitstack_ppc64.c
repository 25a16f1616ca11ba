//go:build gccgo

/* On ppc64 gccgo's stacks grow by segments. Where a function's frame does not
   fit, __morestack of libgcc saves, below the stack pointer of the function's
   caller, the argument registers, r29, lr and a size, and goes on in another
   segment. __splitstack_find, by which the garbage collector goes through the
   segments, counts what __morestack saves on x86 and s390 and forgets it on
   powerpc64 (gcc 12, libgcc/generic-morestack.c). So an object that only
   r29 of the caller pointed to was freed while it was in use. The linker makes
   callers of the two functions call these instead (--wrap). */

#include <stddef.h>

enum { saved = 12 * sizeof (void *) };

void *__real___splitstack_find (void *, void *, size_t *, void **, void **, void **);
void *__real___splitstack_find_context (void **, size_t *, void **, void **, void **);

/* 2 is libgcc's word for no more segments. */
static void
include_saved (void *stack, void *next, void **next_sp)
{
  if (stack != NULL && next != (void *) 2)
    *next_sp = (char *) *next_sp - saved;
}

void *
__wrap___splitstack_find (void *segment, void *sp, size_t *len, void **next, void **next_sp, void **initial_sp)
{
  void *stack = __real___splitstack_find (segment, sp, len, next, next_sp, initial_sp);
  include_saved (stack, *next, next_sp);
  return stack;
}

void *
__wrap___splitstack_find_context (void **context, size_t *len, void **next, void **next_sp, void **initial_sp)
{
  void *stack = __real___splitstack_find_context (context, len, next, next_sp, initial_sp);
  include_saved (stack, *next, next_sp);
  return stack;
}
