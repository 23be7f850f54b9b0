/* What keys hold, and how the module writes them: as plain strings, replicated as SET, so that replicas, snapshots and
 * append-only files never need this module. */
#ifndef SMARTML_VALUES_H
#define SMARTML_VALUES_H

#include <stddef.h>

#include "redis_api.h"

typedef enum { HOLDS_NOTHING, HOLDS_TENSOR, HOLDS_MODEL, HOLDS_OTHER } Holding;

/* Look at the value of an open key, NULL for a missing one. The value is valid until the key is written. */
Holding values_look(Key *key, const unsigned char **value, size_t *size);

/* Return a string with bytes behind it: the string itself, where nobody else holds it. NULL when there is no memory. */
String *values_extend(Context *context, String *string, const void *bytes, size_t size);

/* Set a key, open for writing, to a value, which it takes over; tell replicas, and who listens. An error text, or NULL. */
const char *values_write(Context *context, Key *key, String *name, String *value);

/* As values_write, for a tensor: where somebody follows the stem of its name (smartml/store/index.py), its index is
 * told, too. */
const char *values_write_tensor(Context *context, Key *key, String *name, String *value);

#endif
