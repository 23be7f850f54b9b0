/* The calls that wait or run; calls.h says what is known of them. */
#include "calls.h"

#include <stdlib.h>
#include <string.h>

#define TIMED_OUT "TIMEDOUT no answer from the inference worker within the TIMEOUT of this call; nothing was written"

/* In the order in which they came. */
static Call *calls;
static uint64_t last_id;
static char no_memory[] = "ERR the call failed, and there is no memory to say how";

static String **copy_strings(const Names *names) {
    String **copies = calloc(names->count + 1, sizeof *copies);
    for (size_t i = 0; copies != NULL && i < names->count; i++)
        copies[i] = RedisCreateStringFromString(NULL, names->first[i]);
    return copies;
}

static void free_strings(String **strings) {
    for (size_t i = 0; strings != NULL && strings[i] != NULL; i++) RedisFreeString(NULL, strings[i]);
    free(strings);
}

static void free_call(Call *call) {
    if (call->model != NULL) RedisFreeString(NULL, call->model);
    if (call->function != NULL) RedisFreeString(NULL, call->function);
    free_strings(call->inputs);
    free_strings(call->outputs);
    free_strings(call->keys);
    free_strings(call->arguments);
    free(call);
}

Call *calls_make(const Request *request) {
    Call *call = calloc(1, sizeof *call);
    if (call == NULL) return NULL;
    call->kind = request->kind;
    call->model = RedisCreateStringFromString(NULL, request->model);
    if (request->function != NULL) call->function = RedisCreateStringFromString(NULL, request->function);
    call->inputs = copy_strings(&request->inputs);
    call->outputs = copy_strings(&request->outputs);
    call->keys = copy_strings(&request->keys);
    call->arguments = copy_strings(&request->arguments);
    call->input_count = request->inputs.count;
    call->output_count = request->outputs.count;
    call->key_count = request->keys.count;
    call->argument_count = request->arguments.count;
    if (call->inputs == NULL || call->outputs == NULL || call->keys == NULL || call->arguments == NULL) {
        free_call(call);
        return NULL;
    }
    return call;
}

void calls_add(Call *call) {
    call->id = ++last_id;
    Call **end = &calls;
    while (*end != NULL) end = &(*end)->next;
    *end = call;
}

static void remove_call(Call *call) {
    for (Call **it = &calls; *it != NULL; it = &(*it)->next) {
        if (*it != call) continue;
        *it = call->next;
        break;
    }
    free_call(call);
}

Call *calls_first(void) { return calls; }

Call *calls_find(uint64_t id) {
    Call *call = calls;
    while (call != NULL && call->id != id) call = call->next;
    return call;
}

static Call *call_of_client(const BlockedClient *client) {
    Call *call = client == NULL ? NULL : calls;
    while (call != NULL && call->client != client) call = call->next;
    return call;
}

void calls_finish(Call *call, const char *error) {
    if (call->client == NULL) {
        remove_call(call);
        return;
    }
    char *copy = NULL;
    if (error != NULL) {
        copy = malloc(strlen(error) + 1);
        /* Without memory for the reason the client still must not hear of a success. */
        if (copy != NULL) memcpy(copy, error, strlen(error) + 1);
    }
    RedisUnblockClient(call->client, error == NULL ? NULL : copy != NULL ? copy : no_memory);
    remove_call(call);
}

/* Forget a call whose client has gone. */
static void abandon(Call *call) {
    RedisUnblockClient(call->client, NULL);
    remove_call(call);
}

static int reply_outcome(Context *context, String **argv, int argc) {
    (void)argv, (void)argc;
    const char *error = RedisGetBlockedClientPrivateData(context);
    return error == NULL ? RedisReplyWithSimpleString(context, "OK") : fail(context, error);
}

static void free_outcome(Context *context, void *error) {
    (void)context;
    if (error != no_memory) free(error);
}

static int reply_timeout(Context *context, String **argv, int argc) {
    (void)argv, (void)argc;
    Call *call = call_of_client(RedisGetBlockedClientHandle(context));
    if (call != NULL) abandon(call);
    return fail(context, TIMED_OUT);
}

static void on_disconnect(Context *context, BlockedClient *client) {
    (void)context;
    Call *call = call_of_client(client);
    if (call != NULL) abandon(call);
}

void calls_block_client(Context *context, Call *call, long long timeout_ms) {
    call->client = RedisBlockClient(context, reply_outcome, reply_timeout, free_outcome, timeout_ms);
    RedisSetDisconnectCallback(call->client, on_disconnect);
}
