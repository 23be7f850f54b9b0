#include "redis_api.h"

#define DEFINE_FUNCTION(requirement, type, name, parameters) type(*Redis##name) parameters;
REDIS_FUNCTIONS(DEFINE_FUNCTION)

enum { OPTIONAL, REQUIRED };

const char *redis_api_bind(Context *context) {
    /* The first field of the context is the function that looks up all others. */
    int (*get_api)(const char *, void *) = ((int (**)(const char *, void *))(void *)context)[0];
#define BIND_FUNCTION(requirement, type, name, parameters)                               \
    if (get_api("RedisModule_" #name, (void *)&Redis##name) != REDIS_OK) {               \
        Redis##name = NULL;                                                              \
        if (requirement == REQUIRED) return #name;                                       \
    }
    REDIS_FUNCTIONS(BIND_FUNCTION)
    return NULL;
}
