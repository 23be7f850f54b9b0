/* Programs that the server starts beside itself; spawn.h says more.
 *
 * They are children of the server, which waits for all its children at once, sometimes: after a snapshot. One that it
 * has taken note of is no child any more, as one that has ended here.
 */
#include "spawn.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/wait.h>

extern char **environ;

/* $0 is the log. */
#define SCRIPT "exec \"$@\" </dev/null >>\"$0\" 2>&1"
/* What stands before the words of the program. */
enum { OWN_WORDS = 4 };

static pid_t *children;
static size_t child_count;

/* posix_spawn does not change the words, though its declaration leaves that open. */
static char *word(const char *text) {
    union {
        const char *given;
        char *taken;
    } same = {.given = text};
    return same.taken;
}

/* Return the words of a shell that becomes the program, in memory that the caller frees; NULL when there is none. */
static char **shell_words(const char *log, char *const words[]) {
    size_t count = 0;
    while (words[count] != NULL) count++;
    char **all = calloc(OWN_WORDS + count + 1, sizeof *all);
    if (all == NULL) return NULL;
    const char *const own[OWN_WORDS] = {"sh", "-c", SCRIPT, log};
    for (size_t i = 0; i < OWN_WORDS; i++) all[i] = word(own[i]);
    for (size_t i = 0; i < count; i++) all[OWN_WORDS + i] = words[i];
    return all;
}

static bool start(char **words, pid_t *pid) {
    posix_spawnattr_t attributes;
    if (posix_spawnattr_init(&attributes) != 0) return false;
    /* What the server ignores or blocks is none of the program's business. */
    sigset_t none, ignored;
    sigemptyset(&none);
    sigemptyset(&ignored);
    sigaddset(&ignored, SIGPIPE);
    sigaddset(&ignored, SIGHUP);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &ignored);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    bool is_started = posix_spawn(pid, "/bin/sh", NULL, &attributes, words, environ) == 0;
    posix_spawnattr_destroy(&attributes);
    return is_started;
}

bool spawn(const char *log, char *const words[]) {
    pid_t *more = realloc(children, (child_count + 1) * sizeof *children);
    if (more == NULL) return false;
    children = more;
    char **all = shell_words(log, words);
    if (all == NULL) return false;
    bool is_started = start(all, &children[child_count]);
    free(all);
    if (is_started) child_count++;
    return is_started;
}

static bool has_ended(pid_t pid) {
    pid_t ended = waitpid(pid, NULL, WNOHANG);
    return ended == pid || (ended < 0 && errno == ECHILD);
}

long long spawn_count_living(void) {
    size_t living = 0;
    for (size_t i = 0; i < child_count; i++)
        if (!has_ended(children[i])) children[living++] = children[i];
    child_count = living;
    return (long long)living;
}

void spawn_end_all(void) {
    spawn_count_living();
    for (size_t i = 0; i < child_count; i++) {
        kill(children[i], SIGKILL);
        while (waitpid(children[i], NULL, 0) < 0 && errno == EINTR) continue;
    }
    child_count = 0;
}
