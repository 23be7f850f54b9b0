/* The calls that wait or run, in the order in which they came, and their clients, who wait.
 *
 * A call is freed when its client has been told how it went, or has gone; one that nobody waits for when it has run.
 * All of it belongs to the server's main thread.
 */
#ifndef SMARTML_CALLS_H
#define SMARTML_CALLS_H

#include <stdbool.h>
#include <stdint.h>

#include "arguments.h"
#include "redis_api.h"

/* How the inputs reach a function. */
typedef enum {
    CALL_MODEL = 0,
    /* As its arguments: AI.SCRIPTRUN. */
    CALL_FUNCTION = 1,
    /* As one list, with a list of keys and one of words behind it: AI.SCRIPTEXECUTE. */
    CALL_ENTRY_POINT = 2,
    /* Nobody waits for it: it is to be loaded before somebody does. */
    CALL_LOAD = 3,
} CallKind;

/* What a client wants run, in words of its command. */
typedef struct {
    CallKind kind;
    const String *model;
    /* NULL for a model. */
    String *function;
    Names inputs, outputs, keys, arguments;
    /* 0 for no end. */
    long long timeout_ms;
} Request;

typedef struct Call {
    struct Call *next;
    uint64_t id;
    /* Who waits; NULL for nobody. */
    BlockedClient *client;
    CallKind kind;
    String *model, *function;
    String **inputs, **outputs, **keys, **arguments;
    size_t input_count, output_count, key_count, argument_count;
    /* Of the model, when the call was made. */
    uint64_t version, batch_size, min_batch_size;
    /* What it adds to a batch: the first dimension of the first input. */
    uint64_t samples;
    /* It has waited for others long enough. */
    bool is_due;
    /* Who runs it; 0 while it waits. */
    unsigned long long worker;
    /* That worker has been told. */
    bool is_handed_out;
} Call;

/* Copy a request; NULL when there is no memory. */
Call *calls_make(const Request *request);

/* Let the client wait for the answer to a call that is about to be added. */
void calls_block_client(Context *context, Call *call, long long timeout_ms);

/* Put a call behind all others, and give it its number. */
void calls_add(Call *call);

/* The call that came first of those that are left, or NULL. */
Call *calls_first(void);

Call *calls_find(uint64_t id);

/* Tell the client of a call, if there is one, how it went, an error text or NULL, and forget the call. */
void calls_finish(Call *call, const char *error);

#endif
