/* The one verdict line that every hostile program ends with. See README.md. */
#ifndef VERDICT_H
#define VERDICT_H
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline int verdict(const char *word, const char *what, int error) {
    if (error)
        printf("%s: %s: %s (%s)\n", word, what, strerrorname_np(error) ? strerrorname_np(error) : "?", strerror(error));
    else
        printf("%s: %s\n", word, what);
    fflush(stdout);
    _exit(strcmp(word, "BLOCKED") == 0 ? 1 : strcmp(word, "COULD NOT") == 0 ? 2 : 0);
}

static inline int escaped(const char *what) { return verdict("ESCAPED", what, 0); }
static inline int blocked(const char *what) { return verdict("BLOCKED", what, errno); }
static inline int could_not(const char *what) { return verdict("COULD NOT", what, errno); }
static inline int done(const char *what) { return verdict("DONE", what, 0); }
#endif
