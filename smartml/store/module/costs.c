/* What runs have cost; costs.h says how long it is known. */
#include "costs.h"

#include <stdlib.h>

#include "arguments.h"
#include "models.h"
#include "values.h"

typedef struct Cost {
    struct Cost *next;
    String *model;
    long long duration_us, samples, calls, errors;
} Cost;

static Cost *costs;

static Cost *cost_of(const String *model) {
    Cost *cost = costs;
    while (cost != NULL && !is_same_name(cost->model, model)) cost = cost->next;
    return cost;
}

void costs_forget(const String *model) {
    for (Cost **it = &costs; *it != NULL; it = &(*it)->next) {
        if (!is_same_name((*it)->model, model)) continue;
        Cost *cost = *it;
        *it = cost->next;
        RedisFreeString(NULL, cost->model);
        free(cost);
        return;
    }
}

void costs_note(const Call *call, long long duration_us, bool is_error) {
    if (call->kind == CALL_LOAD) return;
    Cost *cost = cost_of(call->model);
    if (cost == NULL) {
        cost = calloc(1, sizeof *cost);
        if (cost == NULL) return;
        cost->model = RedisCreateStringFromString(NULL, call->model);
        cost->next = costs;
        costs = cost;
    }
    cost->calls++;
    cost->errors += is_error;
    cost->duration_us += duration_us;
    if (call->kind == CALL_MODEL) cost->samples += (long long)call->samples;
}

static void reply_named_text(Context *context, const char *name, const char *bytes, size_t size) {
    reply_text(context, name);
    RedisReplyWithStringBuffer(context, bytes, size);
}

static void reply_named_number(Context *context, const char *name, long long number) {
    reply_text(context, name);
    RedisReplyWithLongLong(context, number);
}

/* AI.INFO key [RESETSTAT]
 *
 * Reply: names and values; OK for RESETSTAT. They count from when the model was stored, or this server was started. */
int costs_info(Context *context, String **argv, int argc) {
    RedisAutoMemory(context);
    if (argc < 2 || argc > 3) return fail(context, WRONG_ARITY("AI.INFO"));
    Key *key = RedisOpenKey(context, argv[1], KEY_READ);
    const unsigned char *value;
    size_t size;
    ModelDescription model;
    if (values_look(key, &value, &size) != HOLDS_MODEL || !models_read_description(&model, value, size))
        return fail(context, "ERR cannot find run info for key");
    if (argc == 3) {
        if (!is_word(argv[2], "RESETSTAT")) return fail(context, "ERR unsupported subcommand");
        costs_forget(argv[1]);
        return RedisReplyWithSimpleString(context, "OK");
    }
    const Cost none = {.duration_us = 0}, *found = cost_of(argv[1]), *cost = found == NULL ? &none : found;
    bool is_model = model.kind == MODELS_MODEL;
    RedisReplyWithArray(context, 18);
    const char *name = RedisStringPtrLen(argv[1], &size);
    reply_named_text(context, "key", name, size);
    reply_named_text(context, "type", is_model ? "MODEL" : "SCRIPT", is_model ? 5 : 6);
    reply_named_text(context, "backend", is_model ? model.backend.bytes : "TORCH", is_model ? model.backend.size : 5);
    reply_named_text(context, "device", model.device.bytes, model.device.size);
    reply_named_text(context, "tag", model.tag.bytes, model.tag.size);
    reply_named_number(context, "duration", cost->duration_us);
    reply_named_number(context, "samples", is_model ? cost->samples : -1);
    reply_named_number(context, "calls", cost->calls);
    reply_named_number(context, "errors", cost->errors);
    return REDIS_OK;
}
