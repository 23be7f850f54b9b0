/* Starting a program that the server does not wait for. Knows nothing of Redis. */
#ifndef SMARTML_SPAWN_H
#define SMARTML_SPAWN_H

#include <stdbool.h>

/* Start a program, by its path and its words, with its output appended to a file. It is no child of this process, which
 * therefore need not hear of its end. False when not even a shell starts. */
bool spawn(const char *log, char *const words[]);

#endif
