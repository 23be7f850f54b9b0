/* Programs that the server starts beside itself, and that end with it. Knows nothing of Redis. */
#ifndef SMARTML_SPAWN_H
#define SMARTML_SPAWN_H

#include <stdbool.h>

/* Start a program, by its words, with its output appended to a file. False when not even a shell starts. */
bool spawn(const char *log, char *const words[]);

/* Take note of programs that have ended, and return how many have not. */
long long spawn_count_living(void);

/* End all that have not ended by themselves. */
void spawn_end_all(void);

#endif
