/* The tensor module: SmartRedis's commands for tensors, over plain strings, and what the server is told of all others.
 *
 * A tensor is an ordinary Redis string (layout.h). AI.TENSORSET writes one, AI.TENSORGET reads one, whoever wrote it;
 * syntax, replies and error texts are those of RedisAI, by which SmartRedis clients and their users go. Since the
 * value is a string and is replicated as SET, replicas, snapshots and append-only files never need this module.
 *
 * Memory: the payload of AI.TENSORSET ... BLOB stays where the server received it. The description is appended to that
 * argument, which then becomes the value. Threading: everything runs in the server's main thread.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "costs.h"
#include "inference.h"
#include "layout.h"
#include "model_commands.h"
#include "redis_api.h"
#include "run_commands.h"
#include "values.h"

/* Tensors that are not sent as bytes are made here, and no larger than the server's own default for one string. */
#define LARGEST_FILLED_TENSOR ((size_t)512 * 1024 * 1024)

/* Into pieces of this size clients cut models: RedisAI's default, 511 MiB. */
static long long model_chunk_size = 511LL * 1024 * 1024;

#define NO_BACKENDS                                                                                           \
    "ERR backends are Python packages beside the inference worker, such as torch and onnxruntime: install them " \
    "there"
#define INVALID_SHAPE "ERR invalid or negative value found in tensor shape"

/* ================================================================ AI.TENSORSET */

/* Return the string that is the payload with the description behind it, NULL when there is no memory for it. */
static String *describe(Context *context, String *payload, const LayoutDescription *description) {
    unsigned char end[LAYOUT_LARGEST_DESCRIPTION];
    layout_write_description(description, end);
    String *value = values_extend(context, payload, end, layout_description_size(description));
    /* Growing may have doubled the allocation. */
    if (value == payload && RedisTrimStringAllocation != NULL) RedisTrimStringAllocation(payload);
    return value;
}

/* Fill a payload from words, or with zeros where there are none. Returns an error text, or NULL. */
static const char *fill(unsigned char *payload, const LayoutDtype *dtype, String **words, size_t count) {
    for (size_t i = 0; i < count; i++) {
        bool is_stored;
        if (dtype->kind == LAYOUT_FLOATING) {
            double number;
            is_stored = RedisStringToDouble(words[i], &number) == REDIS_OK &&
                        layout_store_double(dtype, payload, i, number);
        } else {
            long long number;
            /* As in RedisAI no negative number, in whichever dtype. */
            is_stored = RedisStringToLongLong(words[i], &number) == REDIS_OK && number >= 0 &&
                        layout_store_integer(dtype, payload, i, number);
        }
        if (!is_stored) return "ERR invalid value";
    }
    return NULL;
}

/* Make a value from words, zeros where there are none. Returns an error text, or NULL and the value. */
static const char *make_filled(Context *context, const LayoutDescription *description, String **words, size_t count,
                               String **value) {
    size_t size = layout_payload_size(description);
    if (size > LARGEST_FILLED_TENSOR) return "ERR a tensor of more than 512 MiB must be sent as BLOB";
    unsigned char *bytes = calloc(1, size + layout_description_size(description));
    if (bytes == NULL) return "ERR no memory for the tensor";
    const char *error = fill(bytes, description->dtype, words, count);
    if (error == NULL) {
        layout_write_description(description, bytes + size);
        *value = RedisCreateString(context, (const char *)bytes, size + layout_description_size(description));
    }
    free(bytes);
    return error;
}

/* Read type, dimensions and content. Returns an error text, or NULL and the value to store. */
static const char *parse_tensor(Context *context, String **argv, int argc, String **value) {
    size_t name_size;
    const char *name = RedisStringPtrLen(argv[2], &name_size);
    LayoutDescription description = {.dtype = layout_dtype_of_name(name, name_size), .ndim = 0};
    if (description.dtype == NULL) return "ERR invalid data type";
    int next = 3;
    while (next < argc && !is_word(argv[next], "BLOB") && !is_word(argv[next], "VALUES")) {
        long long dimension;
        if (!is_positive(argv[next++], &dimension) || !layout_add_dimension(&description, dimension))
            return INVALID_SHAPE;
    }
    if (next == argc) return make_filled(context, &description, NULL, 0, value);
    String **words = argv + next + 1;
    size_t count = (size_t)(argc - next - 1);
    if (is_word(argv[next], "VALUES")) {
        if (count != layout_elements(&description))
            return "ERR wrong number of values was given in 'AI.TENSORSET' command";
        return make_filled(context, &description, words, count, value);
    }
    if (count != 1)
        return "ERR a single binary string should come after the BLOB argument in 'AI.TENSORSET' command";
    size_t size;
    const char *payload = RedisStringPtrLen(words[0], &size);
    if (size != layout_payload_size(&description)) return "ERR data length does not match tensor shape and type";
    if (!layout_check_payload(&description, (const unsigned char *)payload))
        return "ERR BOOL tensor elements must be 0 or 1";
    *value = describe(context, words[0], &description);
    return *value != NULL ? NULL : "ERR no memory for the tensor";
}

/* AI.TENSORSET key type [dimension ...] [BLOB bytes | VALUES value ...]
 *
 * Without BLOB and VALUES all elements are 0. Replaces a tensor, and its time to live, but no value of another kind.
 * Where somebody follows the stem of its name, the index of that is told.
 * Reply: OK. Complexity: O(1) for BLOB (the bytes are not copied), else O(elements). */
static int tensor_set(Context *context, String **argv, int argc) {
    RedisAutoMemory(context);
    if (argc < 4) return fail(context, WRONG_ARITY("AI.TENSORSET"));
    Key *key = RedisOpenKey(context, argv[1], KEY_READ | KEY_WRITE);
    const unsigned char *former;
    size_t former_size;
    Holding holding = values_look(key, &former, &former_size);
    if (holding != HOLDS_NOTHING && holding != HOLDS_TENSOR) return fail(context, WRONG_TYPE);
    String *value = NULL;
    const char *error = parse_tensor(context, argv, argc, &value);
    if (error != NULL) return fail(context, error);
    error = values_write_tensor(context, key, argv[1], value);
    if (error != NULL) return fail(context, error);
    return RedisReplyWithSimpleString(context, "OK");
}

/* ================================================================ AI.TENSORGET */

typedef enum { CONTENT_NONE, CONTENT_BLOB, CONTENT_VALUES } Content;

/* Read the words behind the key. Returns an error text, or NULL. */
static const char *parse_format(String **words, int count, bool *has_meta, Content *content) {
    *has_meta = false;
    *content = CONTENT_NONE;
    for (int i = 0; i < count; i++) {
        Content named = is_word(words[i], "BLOB")     ? CONTENT_BLOB
                        : is_word(words[i], "VALUES") ? CONTENT_VALUES
                                                      : CONTENT_NONE;
        if (named != CONTENT_NONE) {
            if (*content != CONTENT_NONE && *content != named) return "ERR both BLOB and VALUES specified";
            *content = named;
        } else if (is_word(words[i], "META")) {
            *has_meta = true;
        } else {
            return "ERR unsupported data format";
        }
    }
    if (count == 0) {
        *has_meta = true;
        *content = CONTENT_BLOB;
    }
    return NULL;
}

static void reply_values(Context *context, const LayoutDescription *description, const unsigned char *payload) {
    size_t elements = layout_elements(description);
    RedisReplyWithArray(context, (long)elements);
    for (size_t i = 0; i < elements; i++) {
        if (description->dtype->kind == LAYOUT_FLOATING)
            RedisReplyWithDouble(context, layout_load_double(description->dtype, payload, i));
        else
            RedisReplyWithLongLong(context, layout_load_integer(description->dtype, payload, i));
    }
}

static void reply_content(Context *context, const LayoutDescription *description, const unsigned char *payload,
                          Content content) {
    if (content == CONTENT_VALUES)
        reply_values(context, description, payload);
    else
        RedisReplyWithStringBuffer(context, (const char *)payload, layout_payload_size(description));
}

static int reply_tensor(Context *context, const LayoutDescription *description, const unsigned char *payload,
                        bool has_meta, Content content) {
    if (!has_meta) {
        reply_content(context, description, payload, content);
        return REDIS_OK;
    }
    RedisReplyWithArray(context, content == CONTENT_NONE ? 4 : 6);
    reply_text(context, "dtype");
    reply_text(context, description->dtype->name);
    reply_text(context, "shape");
    RedisReplyWithArray(context, (long)description->ndim);
    for (size_t i = 0; i < description->ndim; i++) RedisReplyWithLongLong(context, (long long)description->dims[i]);
    if (content != CONTENT_NONE) {
        reply_text(context, content == CONTENT_BLOB ? "blob" : "values");
        reply_content(context, description, payload, content);
    }
    return REDIS_OK;
}

/* AI.TENSORGET key [META] [BLOB | VALUES]
 *
 * Reply: with META an array of names and their values (dtype, shape, and blob or values), without it the content alone;
 * without any word META BLOB. Complexity: O(1) for META, else O(elements). */
static int tensor_get(Context *context, String **argv, int argc) {
    RedisAutoMemory(context);
    if (argc < 2 || argc > 4) return fail(context, WRONG_ARITY("AI.TENSORGET"));
    Key *key = RedisOpenKey(context, argv[1], KEY_READ);
    const unsigned char *value;
    size_t size;
    Holding holding = values_look(key, &value, &size);
    if (holding == HOLDS_NOTHING) return fail(context, NO_TENSOR);
    if (holding != HOLDS_TENSOR) return fail(context, WRONG_TYPE);
    bool has_meta;
    Content content;
    const char *error = parse_format(argv + 2, argc - 2, &has_meta, &content);
    if (error != NULL) return fail(context, error);
    LayoutDescription description;
    if (!layout_read_description(&description, value, size))
        return fail(context, DAMAGED_TENSOR);
    if (description.dtype->name == NULL)
        return fail(context,
                    "ERR the tensor has a data type that SmartRedis does not know (uint32, uint64, float16, bfloat16 "
                    "or complex): put it as one of DOUBLE, FLOAT, INT8, INT16, INT32, INT64, UINT8, UINT16");
    return reply_tensor(context, &description, value, has_meta, content);
}

/* ================================================================ AI.CONFIG */

/* AI.CONFIG GET name: reply integer or null. */
static int config_get(Context *context, String **argv, int argc) {
    if (argc < 3) return fail(context, WRONG_ARITY("AI.CONFIG"));
    if (is_word(argv[2], "MODEL_CHUNK_SIZE")) return RedisReplyWithLongLong(context, model_chunk_size);
    /* BACKENDSPATH, too: backends are packages of the workers. */
    return RedisReplyWithNull(context);
}

/* AI.CONFIG MODEL_CHUNK_SIZE bytes: reply OK. */
static int config_chunk_size(Context *context, String **argv, int argc) {
    if (argc < 3) return fail(context, "ERR MODEL_CHUNK_SIZE: missing chunk size");
    long long size;
    if (!is_positive(argv[2], &size)) return fail(context, "ERR MODEL_CHUNK_SIZE: invalid chunk size");
    model_chunk_size = size;
    return RedisReplyWithSimpleString(context, "OK");
}

/* AI.CONFIG GET name | MODEL_CHUNK_SIZE bytes | LOADBACKEND name path | BACKENDSPATH path */
static int config(Context *context, String **argv, int argc) {
    if (argc < 2) return fail(context, WRONG_ARITY("AI.CONFIG"));
    if (is_word(argv[1], "GET")) return config_get(context, argv, argc);
    if (is_word(argv[1], "MODEL_CHUNK_SIZE")) return config_chunk_size(context, argv, argc);
    if (is_word(argv[1], "LOADBACKEND")) return fail(context, argc < 4 ? WRONG_ARITY("AI.CONFIG") : NO_BACKENDS);
    if (is_word(argv[1], "BACKENDSPATH"))
        return fail(context, argc < 3 ? "ERR BACKENDSPATH: missing path argument" : NO_BACKENDS);
    return fail(context, "ERR unsupported subcommand");
}

/* ================================================================ what there is not */

/* The commands that clients of SmartRedis never send. */
static int not_offered(Context *context, String **argv, int argc) {
    (void)argv, (void)argc;
    return fail(context,
                "ERR smartml does not offer this command: run models one by one, by AI.MODELEXECUTE and "
                "AI.SCRIPTEXECUTE, and find keys by SCAN");
}

/* ================================================================ load */

typedef struct {
    const char *name;
    CommandFunction function;
    const char *flags;
    /* What access control asks of the user's rights on the key; 0 where the first word is no key, KEYS_VARY where the
     * command is asked itself. */
    uint64_t key_flags;
} Command;

enum { WRITES_KEY = KEY_OVERWRITE | KEY_UPDATE, READS_KEY = KEY_READ_ONLY | KEY_ACCESS };
#define KEYS_VARY UINT64_MAX

static const Command COMMANDS[] = {
    {"AI.TENSORSET", tensor_set, "write deny-oom", WRITES_KEY},
    {"AI.TENSORGET", tensor_get, "readonly", READS_KEY},
    {"AI.INFO", costs_info, "readonly", READS_KEY},
    {"AI.CONFIG", config, "admin", 0},
    {"AI.MODELSTORE", model_store, "write deny-oom", WRITES_KEY},
    {"AI.MODELSET", model_set, "write deny-oom", WRITES_KEY},
    {"AI.MODELGET", model_get, "readonly", READS_KEY},
    {"AI.MODELDEL", model_delete, "write", WRITES_KEY},
    {"AI.MODELEXECUTE", model_execute, "write deny-oom getkeys-api", KEYS_VARY},
    {"AI.MODELRUN", model_run, "write deny-oom getkeys-api", KEYS_VARY},
    {"AI._MODELSCAN", not_offered, "readonly", 0},
    {"AI.SCRIPTSTORE", script_store, "write deny-oom", WRITES_KEY},
    {"AI.SCRIPTSET", script_set, "write deny-oom", WRITES_KEY},
    {"AI.SCRIPTGET", script_get, "readonly", READS_KEY},
    {"AI.SCRIPTDEL", script_delete, "write", WRITES_KEY},
    {"AI.SCRIPTEXECUTE", script_execute, "write deny-oom getkeys-api", KEYS_VARY},
    {"AI.SCRIPTRUN", script_run, "write deny-oom getkeys-api", KEYS_VARY},
    {"AI._SCRIPTSCAN", not_offered, "readonly", 0},
    {"AI.DAGRUN", not_offered, "readonly", 0},
    {"AI.DAGRUN_RO", not_offered, "readonly", 0},
    {"AI.DAGEXECUTE", not_offered, "readonly", 0},
    {"AI.DAGEXECUTE_RO", not_offered, "readonly", 0},
    /* What it writes are the outputs that others have named. */
    {"SMARTML.INFERENCE", inference_work, "write deny-script", 0},
};

/* Tell the server how a command uses its key. Before Redis 7.0 it only wants to know which word is the key. */
static int declare_key(Context *context, const Command *command) {
    if (command->key_flags == 0 || command->key_flags == KEYS_VARY || RedisGetCommand == NULL || RedisSetCommandInfo == NULL) return REDIS_OK;
    static const CommandInfoVersion version = {1, 1, sizeof(KeySpec), 1};
    /* Ends in an empty one. */
    const KeySpec specs[2] = {{.flags = command->key_flags,
                               .begin_search = BEGIN_AT_INDEX,
                               .begin.index.position = 1,
                               .find_keys = FIND_RANGE,
                               .keys.range = {0, 1, 0}}};
    const CommandInfo command_info = {.version = &version, .key_specs = specs};
    return RedisSetCommandInfo(RedisGetCommand(context, command->name), &command_info);
}

__attribute__((visibility("default"))) int RedisModule_OnLoad(Context *context, String **argv, int argc) {
    const char *missing = redis_api_bind(context);
    /* Without it there is no way to say so: the server logs that the module failed to initialise. */
    if (RedisSetModuleAttribs == NULL || RedisLog == NULL) return REDIS_ERROR;
    RedisSetModuleAttribs(context, "smartml", 1, REDIS_API_VERSION);
    if (missing != NULL) {
        RedisLog(context, "warning", "this server has no RedisModule_%s: use Redis 6.2 or later", missing);
        return REDIS_ERROR;
    }
    for (size_t i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++) {
        const Command *command = &COMMANDS[i];
        int key = command->key_flags != 0;
        if (RedisCreateCommand(context, command->name, command->function, command->flags, key, key, key) != REDIS_OK) {
            RedisLog(context, "warning", "%s is there already: load smartml's module or RedisAI, not both",
                     command->name);
            return REDIS_ERROR;
        }
        if (declare_key(context, command) != REDIS_OK) {
            RedisLog(context, "warning", "the server does not take the description of %s", command->name);
            return REDIS_ERROR;
        }
    }
    const char *error = inference_load(context, argv, argc);
    if (error == NULL) return REDIS_OK;
    RedisLog(context, "warning", "%s", error);
    return REDIS_ERROR;
}
