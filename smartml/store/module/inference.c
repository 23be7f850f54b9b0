/* Running models and scripts; inference.h says how.
 *
 * State outside keys: the calls that wait or run (calls.h), what runs have cost (costs.h), and the workers that are
 * connected. All of it belongs to the server's main thread, in which everything here runs. A worker is freed when its
 * connection has ended.
 */
#include "inference.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calls.h"
#include "costs.h"
#include "layout.h"
#include "models.h"
#include "spawn.h"
#include "values.h"

/* A worker that was started has so long to say its first word: an interpreter from a slow file system. */
#define STARTUP_MS 120000
/* So often it is looked whether one that was started, or has let go of its connection, has ended. */
#define LOOK_MS 50
/* Of an error text of a worker's, so much reaches the client. */
#define LONGEST_ERROR 2000

#define NO_WORKER                                                                                                 \
    "ERR no inference worker is connected to this database: start one by `smartml inference ADDRESS`, or have an " \
    "Orchestrator start the database, which brings its own"
#define NO_START                                                                                              \
    "ERR the inference worker of this database does not come up: the log beside that of the database says why"
#define LOST_WORKER \
    "ERR the inference worker died while it ran this model or script; the next call gets a new one"
#define FULL "OOM the outputs do not fit: the database has no memory left; nothing was written"
#define CANNOT_WAIT "ERR Cannot run RedisAI command within a transaction or a LUA script"

typedef struct Worker {
    struct Worker *next;
    unsigned long long id;
    /* NULL while it runs something. */
    BlockedClient *waiting;
    /* It has been given a call. */
    bool has_run;
} Worker;

static Worker *workers;
/* Workers that the server is to have, and those that were started and have not said anything yet. */
static long long wanted_workers, starting_workers;
/* For how much longer those may take. */
static long long startup_left_ms;
/* A timer is on its way to look. */
static bool is_looking;
/* How many in a row have ended before they were given anything, and how many are too many. */
static int early_ends;
enum { TOO_MANY_EARLY_ENDS = 3 };
/* What starts a worker. */
static const char *log_path;
static char **start_words;

/* ================================================================ what runs together */

static bool is_same_model(const Call *one, const Call *other) {
    return one->version == other->version && one->kind == other->kind && is_same_name(one->model, other->model);
}

/* Walk through the waiting calls of a model, from the first one on, as far as one batch goes; hand them to a worker,
 * where one is given. True when they are enough for a batch. */
static bool walk_batch(Call *first, unsigned long long worker) {
    uint64_t samples = 0;
    bool is_full = first->batch_size == 0;
    for (Call *call = first; call != NULL; call = call->next) {
        if (call->worker != 0 || !is_same_model(first, call)) continue;
        if (call != first && (is_full || call->samples > first->batch_size - samples)) {
            is_full = true;
            break;
        }
        samples += call->samples;
        call->worker = worker;
        if (samples >= first->batch_size) is_full = true;
    }
    return is_full || samples >= first->min_batch_size || first->is_due;
}

/* Give a worker the calls that have waited longest and may run. False when there are none. */
static bool assign(Worker *worker) {
    for (Call *call = calls_first(); call != NULL; call = call->next) {
        if (call->worker != 0 || !walk_batch(call, 0)) continue;
        walk_batch(call, worker->id);
        worker->has_run = true;
        early_ends = 0;
        return true;
    }
    return false;
}

/* Wake those workers for whom there is something. */
static void wake_workers(void) {
    for (Worker *worker = workers; worker != NULL; worker = worker->next) {
        if (worker->waiting == NULL) continue;
        if (!assign(worker)) return;
        RedisUnblockClient(worker->waiting, NULL);
        worker->waiting = NULL;
    }
}

static void on_due(Context *context, void *data) {
    (void)context;
    Call *call = calls_find((uint64_t)(uintptr_t)data);
    if (call == NULL) return;
    call->is_due = true;
    wake_workers();
}

/* ================================================================ starting workers */

static long long count_workers(void) {
    long long count = 0;
    for (const Worker *worker = workers; worker != NULL; worker = worker->next) count++;
    return count;
}

/* Refuse all calls that wait: there is nobody who could run them. */
static void refuse_waiting(const char *error) {
    for (Call *call = calls_first(), *next; call != NULL; call = next) {
        next = call->next;
        if (call->worker == 0) calls_finish(call, error);
    }
}

/* Give up on workers that were to come. */
static void give_up(Context *context) {
    RedisLog(context, "warning", "an inference worker does not come up: see %s", log_path);
    starting_workers = 0;
    if (workers == NULL) refuse_waiting(NO_START);
}

static void look_later(Context *context);

/* See which of the workers that were started have ended. */
static void look(Context *context, void *data) {
    (void)data;
    is_looking = false;
    long long living = spawn_count_living(), connected = count_workers();
    if (starting_workers > 0) {
        startup_left_ms -= LOOK_MS;
        /* A worker that somebody else has started may be among those connected: then one that ended is told later. */
        if (living < connected + starting_workers || startup_left_ms <= 0) give_up(context);
    }
    if (starting_workers > 0 || living > connected) look_later(context);
}

static void look_later(Context *context) {
    if (is_looking) return;
    is_looking = true;
    RedisCreateTimer(context, LOOK_MS, look, NULL);
}

/* Have workers started, where the server starts them and there are too few. */
static void prepare(Context *context) {
    long long missing = wanted_workers - count_workers() - starting_workers;
    if (missing <= 0) return;
    for (long long i = 0; i < missing; i++) {
        if (!spawn(log_path, start_words)) {
            RedisLog(context, "warning", "no inference worker can be started: %s", start_words[0]);
            break;
        }
        starting_workers++;
    }
    startup_left_ms = STARTUP_MS;
    look_later(context);
}

/* ================================================================ calls come */

/* Look at the tensor under a key. Returns an error text, or NULL and the value. */
static const char *find_tensor(Key *key, LayoutDescription *description, const unsigned char **value, size_t *size) {
    switch (values_look(key, value, size)) {
        case HOLDS_NOTHING: return NO_TENSOR;
        case HOLDS_TENSOR: return layout_read_description(description, *value, *size) ? NULL : DAMAGED_TENSOR;
        default: return WRONG_TYPE;
    }
}

/* Look whether all inputs are there. Returns an error text, or NULL and the samples in them. */
static const char *check_inputs(Context *context, String **inputs, size_t count, uint64_t *samples) {
    *samples = 1;
    for (size_t i = 0; i < count; i++) {
        Key *key = RedisOpenKey(context, inputs[i], KEY_READ);
        LayoutDescription description;
        const unsigned char *value;
        size_t size;
        const char *error = find_tensor(key, &description, &value, &size);
        RedisCloseKey(key);
        if (error != NULL) return error;
        if (i == 0 && description.ndim > 0) *samples = description.dims[0];
    }
    return NULL;
}

/* Look at the model or script of a request, and note what is to be known of it. Returns an error text, or NULL. */
static const char *check_model(Context *context, const Request *request, ModelDescription *model) {
    bool is_model = request->kind == CALL_MODEL;
    Key *key = RedisOpenKey(context, request->model, KEY_READ);
    const unsigned char *value;
    size_t size;
    const char *error = NULL;
    switch (values_look(key, &value, &size)) {
        case HOLDS_NOTHING: error = is_model ? "ERR model key is empty" : "ERR script key is empty"; break;
        case HOLDS_MODEL:
            if (!models_read_description(model, value, size))
                error = "ERR the model or script is damaged: its bytes do not add up; store it again";
            else if ((model->kind == MODELS_MODEL) != is_model)
                error = WRONG_TYPE;
            break;
        default: error = WRONG_TYPE;
    }
    RedisCloseKey(key);
    if (error != NULL || !is_model) return error;
    /* The two that RedisAI words without a code. */
    if (model->input_count != 0 && model->input_count != request->inputs.count)
        return "Number of keys given as INPUTS here does not match model definition";
    if (model->output_count != 0 && model->output_count != request->outputs.count)
        return "Number of keys given as OUTPUTS here does not match model definition";
    return NULL;
}

int inference_submit(Context *context, const Request *request) {
    if (RedisGetContextFlags(context) & (CONTEXT_SCRIPT | CONTEXT_TRANSACTION | CONTEXT_DENIES_BLOCKING))
        return fail(context, CANNOT_WAIT);
    ModelDescription model;
    uint64_t samples;
    const char *error = check_model(context, request, &model);
    if (error == NULL) error = check_inputs(context, request->inputs.first, request->inputs.count, &samples);
    if (error != NULL) return fail(context, error);
    if (workers == NULL && wanted_workers == 0) return fail(context, NO_WORKER);
    Call *call = calls_make(request);
    if (call == NULL) return fail(context, "ERR no memory for the call");
    call->version = model.version;
    call->samples = samples;
    if (request->kind == CALL_MODEL) {
        call->batch_size = model.batch_size;
        call->min_batch_size = model.min_batch_size;
    }
    calls_block_client(context, call, request->timeout_ms);
    calls_add(call);
    if (call->min_batch_size > 0 && model.min_batch_timeout_ms > 0)
        RedisCreateTimer(context, (long long)model.min_batch_timeout_ms, on_due, (void *)(uintptr_t)call->id);
    prepare(context);
    /* Not even a shell could be started. */
    if (workers == NULL && starting_workers == 0)
        refuse_waiting(NO_START);
    else
        wake_workers();
    return REDIS_OK;
}

void inference_expect(Context *context, const String *model, uint64_t version) {
    inference_forget(model);
    if (workers == NULL && wanted_workers == 0) return;
    Request request = {.kind = CALL_LOAD, .model = model};
    Call *call = calls_make(&request);
    /* Without memory the first run loads it. */
    if (call == NULL) return;
    call->version = version;
    calls_add(call);
    prepare(context);
    wake_workers();
}

void inference_forget(const String *model) {
    for (Call *call = calls_first(), *next; call != NULL; call = next) {
        next = call->next;
        if (call->kind == CALL_LOAD && call->worker == 0 && is_same_name(call->model, model)) calls_finish(call, NULL);
    }
    costs_forget(model);
}

/* ================================================================ workers */

static Worker *worker_of_id(unsigned long long id) {
    Worker *worker = workers;
    while (worker != NULL && worker->id != id) worker = worker->next;
    return worker;
}

static Worker *add_worker(unsigned long long id) {
    Worker *worker = calloc(1, sizeof *worker);
    if (worker == NULL) return NULL;
    worker->id = id;
    worker->next = workers;
    workers = worker;
    if (starting_workers > 0) starting_workers--;
    return worker;
}

static void reply_strings(Context *context, String **strings, size_t count) {
    RedisReplyWithArray(context, (long)count);
    for (size_t i = 0; i < count; i++) {
        size_t size;
        const char *bytes = RedisStringPtrLen(strings[i], &size);
        RedisReplyWithStringBuffer(context, bytes, size);
    }
}

static void reply_inputs(Context *context, const Call *call) {
    RedisReplyWithArray(context, (long)call->input_count);
    for (size_t i = 0; i < call->input_count; i++) {
        Key *key = RedisOpenKey(context, call->inputs[i], KEY_READ);
        LayoutDescription description;
        const unsigned char *value = NULL;
        size_t size = 0;
        if (find_tensor(key, &description, &value, &size) == NULL)
            RedisReplyWithStringBuffer(context, (const char *)value, size);
        else
            /* Looked at just before: the server does nothing else meanwhile. */
            RedisReplyWithNull(context);
        RedisCloseKey(key);
    }
}

static void reply_call(Context *context, const Call *call) {
    RedisReplyWithArray(context, 9);
    RedisReplyWithLongLong(context, (long long)call->id);
    RedisReplyWithLongLong(context, call->kind);
    size_t size;
    const char *bytes = RedisStringPtrLen(call->model, &size);
    RedisReplyWithStringBuffer(context, bytes, size);
    RedisReplyWithLongLong(context, (long long)call->version);
    if (call->function == NULL) {
        RedisReplyWithNull(context);
    } else {
        bytes = RedisStringPtrLen(call->function, &size);
        RedisReplyWithStringBuffer(context, bytes, size);
    }
    reply_strings(context, call->keys, call->key_count);
    reply_strings(context, call->arguments, call->argument_count);
    RedisReplyWithLongLong(context, (long long)call->output_count);
    reply_inputs(context, call);
}

/* Reply to a worker the calls that it was given. One whose inputs have gone meanwhile fails. */
static int hand_out(Context *context, unsigned long long worker) {
    long count = 0;
    RedisReplyWithArray(context, LENGTH_COMES_LATER);
    for (Call *call = calls_first(), *next; call != NULL; call = next) {
        next = call->next;
        if (call->worker != worker || call->is_handed_out) continue;
        uint64_t samples;
        const char *error = check_inputs(context, call->inputs, call->input_count, &samples);
        if (error != NULL) {
            calls_finish(call, error);
            continue;
        }
        call->is_handed_out = true;
        reply_call(context, call);
        count++;
    }
    RedisReplySetArrayLength(context, count);
    return REDIS_OK;
}

static int reply_calls(Context *context, String **argv, int argc) {
    (void)argv, (void)argc;
    return hand_out(context, RedisGetClientId(context));
}

/* A worker's error text, as clients can take it: one line, of characters that every client knows. */
static const char *clean_error(const String *text, char *cleaned, size_t room) {
    size_t size;
    const char *bytes = RedisStringPtrLen(text, &size);
    size_t used = (size_t)snprintf(cleaned, room, "ERR ");
    for (size_t i = 0; i < size && used < room - 1; i++)
        cleaned[used++] = bytes[i] >= ' ' && bytes[i] <= '~' ? bytes[i] : '?';
    cleaned[used] = '\0';
    return cleaned;
}

/* Look whether outputs may be written. Returns an error text, or NULL. */
static const char *check_outputs(Context *context, const Call *call, String **values) {
    if (RedisGetContextFlags(context) & CONTEXT_FULL) return FULL;
    for (size_t i = 0; i < call->output_count; i++) {
        size_t size;
        const unsigned char *value = (const unsigned char *)RedisStringPtrLen(values[i], &size);
        LayoutDescription description;
        if (!layout_is_tensor(value, size) || !layout_read_description(&description, value, size))
            return "ERR the inference worker sent an output that is no tensor";
        Key *key = RedisOpenKey(context, call->outputs[i], KEY_READ | KEY_WRITE);
        const unsigned char *former;
        Holding holding = values_look(key, &former, &size);
        RedisCloseKey(key);
        if (holding != HOLDS_NOTHING && holding != HOLDS_TENSOR) return WRONG_TYPE;
    }
    return NULL;
}

static const char *write_outputs(Context *context, const Call *call, String **values) {
    const char *error = check_outputs(context, call, values);
    for (size_t i = 0; i < call->output_count && error == NULL; i++) {
        Key *key = RedisOpenKey(context, call->outputs[i], KEY_READ | KEY_WRITE);
        error = values_write_tensor(context, key, call->outputs[i], values[i]);
        RedisCloseKey(key);
    }
    return error;
}

/* Take what a worker has to say of one call. False when its words make no sense. */
static bool take_result(Context *context, Words *words, unsigned long long worker) {
    long long id, duration_us, count;
    if (words->left < 3 || RedisStringToLongLong(words->next[0], &id) != REDIS_OK ||
        RedisStringToLongLong(words->next[1], &duration_us) != REDIS_OK ||
        RedisStringToLongLong(words->next[2], &count) != REDIS_OK)
        return false;
    bool is_error = count == -1;
    if (duration_us < 0 || count < -1) return false;
    size_t value_count = is_error ? 1 : (size_t)count;
    if (value_count > words->left - 3) return false;
    String **values = words->next + 3;
    words->next += 3 + value_count;
    words->left -= 3 + value_count;
    Call *call = id > 0 ? calls_find((uint64_t)id) : NULL;
    /* Its client has gone, or does not want to wait any longer. */
    if (call == NULL || call->worker != worker || !call->is_handed_out) return true;
    char text[LONGEST_ERROR];
    const char *error;
    if (is_error) {
        error = clean_error(values[0], text, sizeof text);
    } else if ((size_t)count != call->output_count) {
        snprintf(text, sizeof text, "ERR the call names %zu outputs, it gave %lld", call->output_count, count);
        error = text;
    } else {
        error = write_outputs(context, call, values);
    }
    costs_note(call, duration_us, error != NULL);
    calls_finish(call, error);
    return true;
}

/* SMARTML.INFERENCE [id microseconds count value ... | id microseconds -1 error ...]
 *
 * Says what became of the calls that were handed out before, each output a whole tensor value, and waits for more.
 * Reply: an array of calls: id, kind, model, version, function or null, keys, arguments, number of outputs, values of
 * the inputs. Complexity: O(bytes) of inputs; those of outputs are not copied. */
int inference_work(Context *context, String **argv, int argc) {
    RedisAutoMemory(context);
    if (RedisGetContextFlags(context) & (CONTEXT_SCRIPT | CONTEXT_TRANSACTION | CONTEXT_DENIES_BLOCKING))
        return fail(context, CANNOT_WAIT);
    unsigned long long id = RedisGetClientId(context);
    Words words = {argv + 1, (size_t)(argc - 1)};
    while (words.left > 0)
        if (!take_result(context, &words, id)) return fail(context, "ERR these are no results of calls");
    Worker *worker = worker_of_id(id);
    if (worker == NULL) worker = add_worker(id);
    if (worker == NULL) return fail(context, "ERR no memory for a worker");
    if (assign(worker)) return hand_out(context, id);
    worker->waiting = RedisBlockClient(context, reply_calls, NULL, NULL, 0);
    return REDIS_OK;
}

/* Forget a worker that has gone. What it was running fails; what it was not told of yet, another one runs. */
static void lose_worker(Context *context, Worker *worker) {
    for (Worker **it = &workers; *it != NULL; it = &(*it)->next) {
        if (*it != worker) continue;
        *it = worker->next;
        break;
    }
    if (worker->waiting != NULL) RedisUnblockClient(worker->waiting, NULL);
    bool is_needed = worker->has_run;
    early_ends = worker->has_run ? 0 : early_ends + 1;
    for (Call *call = calls_first(), *next; call != NULL; call = next) {
        next = call->next;
        if (call->worker == worker->id && call->is_handed_out)
            calls_finish(call, LOST_WORKER);
        else if (call->worker == worker->id)
            call->worker = 0;
    }
    free(worker);
    if (wanted_workers > 0) look_later(context);
    if (wanted_workers > 0 && early_ends >= TOO_MANY_EARLY_ENDS) {
        early_ends = 0;
        if (workers == NULL) refuse_waiting(NO_START);
    } else if (is_needed || calls_first() != NULL) {
        prepare(context);
    }
    if (workers == NULL && wanted_workers == 0) refuse_waiting(NO_WORKER);
    wake_workers();
}

static void on_client_change(Context *context, ServerEvent event, uint64_t what, void *data) {
    (void)event;
    if (what != CLIENT_DISCONNECTED) return;
    Worker *worker = worker_of_id(((const ClientInfo *)data)->id);
    if (worker != NULL) lose_worker(context, worker);
}

/* ================================================================ load */

static void on_shutdown(Context *context, ServerEvent event, uint64_t what, void *data) {
    (void)context, (void)event, (void)what, (void)data;
    spawn_end_all();
}

const char *inference_load(Context *context, String **argv, int argc) {
    if (RedisSubscribeToServerEvent(context, CLIENT_CHANGE, on_client_change) != REDIS_OK ||
        RedisSubscribeToServerEvent(context, SHUTDOWN, on_shutdown) != REDIS_OK)
        return "this server does not tell of clients that go: use Redis 6.2 or later";
    if (argc == 0) return NULL;
    if (argc < 3 || !is_positive(argv[0], &wanted_workers) || wanted_workers > 1000)
        return "its arguments are: <number of inference workers> <their log> <word of their command> ...";
    start_words = calloc((size_t)argc - 1, sizeof *start_words);
    if (start_words == NULL) return "no memory";
    for (int i = 1; i < argc; i++) {
        size_t size;
        const char *text = RedisStringPtrLen(argv[i], &size);
        char *copy = calloc(1, size + 1);
        if (copy == NULL) return "no memory";
        memcpy(copy, text, size);
        if (i == 1)
            log_path = copy;
        else
            start_words[i - 2] = copy;
    }
    return NULL;
}
