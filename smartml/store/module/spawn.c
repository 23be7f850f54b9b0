/* Starting a program that the server does not wait for; spawn.h says more. */
#include "spawn.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/wait.h>

extern char **environ;

/* $0 is the log. The shell ends at once, and what it has started belongs to nobody. */
static char SCRIPT[] = "\"$@\" </dev/null >>\"$0\" 2>&1 &";

static size_t count(char *const words[]) {
    size_t number = 0;
    while (words[number] != NULL) number++;
    return number;
}

/* posix_spawn takes words that it does not change as ones that it might: glibc's own manual says that it does not. */
static char *word(const char *text) {
    union {
        const char *given;
        char *taken;
    } same = {.given = text};
    return same.taken;
}

bool spawn(const char *log, char *const words[]) {
    size_t number = count(words);
    char **all = calloc(number + 5, sizeof *all);
    if (all == NULL) return false;
    all[0] = word("sh");
    all[1] = word("-c");
    all[2] = SCRIPT;
    all[3] = word(log);
    for (size_t i = 0; i < number; i++) all[4 + i] = words[i];
    posix_spawnattr_t attributes;
    if (posix_spawnattr_init(&attributes) != 0) {
        free(all);
        return false;
    }
    /* What the server ignores or blocks is none of the program's business. */
    sigset_t none, ignored;
    sigemptyset(&none);
    sigemptyset(&ignored);
    sigaddset(&ignored, SIGPIPE);
    sigaddset(&ignored, SIGHUP);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &ignored);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    pid_t pid;
    bool is_started = posix_spawn(&pid, "/bin/sh", NULL, &attributes, all, environ) == 0;
    posix_spawnattr_destroy(&attributes);
    free(all);
    if (!is_started) return false;
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return true;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
