/* The tensor module: SmartRedis's commands for tensors, over plain strings.
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
#include <strings.h>

#include "layout.h"
#include "names.h"
#include "redis_api.h"

/* Tensors that are not sent as bytes are made here, and no larger than the server's own default for one string. */
#define LARGEST_FILLED_TENSOR ((size_t)512 * 1024 * 1024)

/* The only state outside keys, and about models, which clients cut into chunks: RedisAI's default, 511 MiB. */
static long long model_chunk_size = 511LL * 1024 * 1024;

/* Before the stem, in the name of its index. */
#define INDEX_PREFIX ".smartml.index."

/* ================================================================ errors */

#define WRONG_TYPE "WRONGTYPE Operation against a key holding the wrong kind of value"
#define WRONG_ARITY(command) "ERR wrong number of arguments for '" command "' command"
#define INVALID_SHAPE "ERR invalid or negative value found in tensor shape"
#define NO_MODELS                                                                                         \
    "ERR this database holds tensors only, neither models nor scripts: run them in a program that gets the " \
    "tensors and puts the results"

/* Never with a client's words in it: SmartRedis fails on an error text that is not UTF-8. */
static int fail(Context *context, const char *text) { return RedisReplyWithError(context, text); }

/* ================================================================ helpers */

static bool is_word(const String *argument, const char *word) {
    size_t size;
    const char *text = RedisStringPtrLen(argument, &size);
    return size == strlen(word) && strncasecmp(text, word, size) == 0;
}

static bool is_positive(const String *argument, long long *number) {
    return RedisStringToLongLong(argument, number) == REDIS_OK && *number > 0;
}

/* What a key holds. */
typedef enum { HOLDS_NOTHING, HOLDS_TENSOR, HOLDS_OTHER } Holding;

/* Look at the value of an open key, NULL for a missing one. The value is valid until the key is written. */
static Holding look(Key *key, const unsigned char **value, size_t *size) {
    int type = key == NULL ? KEY_TYPE_EMPTY : RedisKeyType(key);
    if (type == KEY_TYPE_EMPTY) return HOLDS_NOTHING;
    if (type != KEY_TYPE_STRING) return HOLDS_OTHER;
    *value = (const unsigned char *)RedisStringDMA(key, size, KEY_READ);
    return *value != NULL && layout_is_tensor(*value, *size) ? HOLDS_TENSOR : HOLDS_OTHER;
}

static int reply_text(Context *context, const char *text) {
    return RedisReplyWithStringBuffer(context, text, strlen(text));
}

/* ================================================================ index */

/* Tell whether somebody follows an index: made it, with a header. */
static bool is_followed(Context *context, String *name) {
    /* Open for writing: a look in vain must neither count as a miss nor be told to anybody. */
    Key *key = RedisOpenKey(context, name, KEY_READ | KEY_WRITE);
    bool followed = false;
    if (key != NULL && RedisKeyType(key) == KEY_TYPE_STRING) {
        size_t size;
        const char *bytes = RedisStringDMA(key, &size, KEY_READ);
        followed = bytes != NULL && size >= NAMES_HEADER_SIZE && memcmp(bytes, NAMES_MAGIC, strlen(NAMES_MAGIC)) == 0;
    }
    RedisCloseKey(key);
    return followed;
}

/* Append a record of what was set to the index of its stem, where somebody follows that (smartml/store/index.py).
 *
 * It is a hint, whose loss the put must not suffer from: failures are passed over. */
static void announce(Context *context, const String *key) {
    size_t size;
    const char *name = RedisStringPtrLen(key, &size);
    NamesParts parts;
    if (!names_split(name, size, &parts)) return;
    /* There the index would belong to another server, mostly. */
    if (RedisGetContextFlags(context) & CONTEXT_CLUSTER) return;
    String *index = RedisCreateString(context, INDEX_PREFIX, strlen(INDEX_PREFIX));
    if (RedisStringAppendBuffer(context, index, name, parts.stem_size) != REDIS_OK) return;
    if (!is_followed(context, index)) return;
    unsigned char record[NAMES_RECORD_SIZE];
    names_write_record(&parts, record);
    RedisCall(context, "APPEND", "!sb", index, (const char *)record, sizeof record);
}

/* ================================================================ AI.TENSORSET */

/* Return the string that is the payload with the description behind it, NULL when there is no memory for it. */
static String *describe(Context *context, String *payload, const LayoutDescription *description) {
    unsigned char end[LAYOUT_LARGEST_DESCRIPTION];
    size_t end_size = layout_description_size(description);
    layout_write_description(description, end);
    if (RedisStringAppendBuffer(context, payload, (const char *)end, end_size) == REDIS_OK) {
        /* Growing may have doubled the allocation. */
        if (RedisTrimStringAllocation != NULL) RedisTrimStringAllocation(payload);
        return payload;
    }
    /* Somebody else holds the argument, too: another module that passed the command on. */
    size_t size;
    const char *bytes = RedisStringPtrLen(payload, &size);
    char *whole = malloc(size + end_size);
    if (whole == NULL) return NULL;
    memcpy(whole, bytes, size);
    memcpy(whole + size, end, end_size);
    String *value = RedisCreateString(context, whole, size + end_size);
    free(whole);
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
    if (look(key, &former, &former_size) == HOLDS_OTHER) return fail(context, WRONG_TYPE);
    String *value = NULL;
    const char *error = parse_tensor(context, argv, argc, &value);
    if (error != NULL) return fail(context, error);
    if (RedisStringSet(key, value) != REDIS_OK) return fail(context, "ERR the key cannot be written");
    RedisNotifyKeyspaceEvent(context, NOTIFY_STRING, "set", argv[1]);
    RedisReplicate(context, "SET", "ss", argv[1], value);
    announce(context, argv[1]);
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
    Holding holding = look(key, &value, &size);
    if (holding == HOLDS_NOTHING) return fail(context, "ERR tensor key is empty or in a different shard");
    if (holding == HOLDS_OTHER) return fail(context, WRONG_TYPE);
    bool has_meta;
    Content content;
    const char *error = parse_format(argv + 2, argc - 2, &has_meta, &content);
    if (error != NULL) return fail(context, error);
    LayoutDescription description;
    if (!layout_read_description(&description, value, size))
        return fail(context, "ERR the tensor is damaged: its bytes do not add up to its shape and type; put it again");
    if (description.dtype->name == NULL)
        return fail(context,
                    "ERR the tensor has a data type that SmartRedis does not know (uint32, uint64, float16, bfloat16 "
                    "or complex): put it as one of DOUBLE, FLOAT, INT8, INT16, INT32, INT64, UINT8, UINT16");
    return reply_tensor(context, &description, value, has_meta, content);
}

/* ================================================================ AI.INFO, AI.CONFIG */

/* AI.INFO key [RESETSTAT]
 *
 * Run statistics of a model or script, of which there are none. */
static int info(Context *context, String **argv, int argc) {
    (void)argv;
    if (argc < 2 || argc > 3) return fail(context, WRONG_ARITY("AI.INFO"));
    return fail(context, "ERR cannot find run info for key");
}

/* AI.CONFIG GET name: reply integer or null. */
static int config_get(Context *context, String **argv, int argc) {
    if (argc < 3) return fail(context, WRONG_ARITY("AI.CONFIG"));
    if (is_word(argv[2], "MODEL_CHUNK_SIZE")) return RedisReplyWithLongLong(context, model_chunk_size);
    /* BACKENDSPATH, too: there are no backends. */
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
    if (is_word(argv[1], "LOADBACKEND")) return fail(context, argc < 4 ? WRONG_ARITY("AI.CONFIG") : NO_MODELS);
    if (is_word(argv[1], "BACKENDSPATH"))
        return fail(context, argc < 3 ? "ERR BACKENDSPATH: missing path argument" : NO_MODELS);
    return fail(context, "ERR unsupported subcommand");
}

/* ================================================================ models and scripts */

/* All commands of models and scripts. */
static int no_models(Context *context, String **argv, int argc) {
    (void)argv, (void)argc;
    return fail(context, NO_MODELS);
}

/* ================================================================ load */

typedef struct {
    const char *name;
    CommandFunction function;
    const char *flags;
    /* What access control asks of the user's rights on the key; 0 where the first word is no key. */
    uint64_t key_flags;
} Command;

enum { WRITES_KEY = KEY_OVERWRITE | KEY_UPDATE, READS_KEY = KEY_READ_ONLY | KEY_ACCESS };

static const Command COMMANDS[] = {
    {"AI.TENSORSET", tensor_set, "write deny-oom", WRITES_KEY},
    {"AI.TENSORGET", tensor_get, "readonly", READS_KEY},
    {"AI.INFO", info, "readonly", READS_KEY},
    {"AI.CONFIG", config, "admin", 0},
    {"AI.MODELSTORE", no_models, "readonly", READS_KEY},
    {"AI.MODELSET", no_models, "readonly", READS_KEY},
    {"AI.MODELGET", no_models, "readonly", READS_KEY},
    {"AI.MODELDEL", no_models, "readonly", READS_KEY},
    {"AI.MODELEXECUTE", no_models, "readonly", READS_KEY},
    {"AI.MODELRUN", no_models, "readonly", READS_KEY},
    {"AI._MODELSCAN", no_models, "readonly", 0},
    {"AI.SCRIPTSTORE", no_models, "readonly", READS_KEY},
    {"AI.SCRIPTSET", no_models, "readonly", READS_KEY},
    {"AI.SCRIPTGET", no_models, "readonly", READS_KEY},
    {"AI.SCRIPTDEL", no_models, "readonly", READS_KEY},
    {"AI.SCRIPTEXECUTE", no_models, "readonly", READS_KEY},
    {"AI.SCRIPTRUN", no_models, "readonly", READS_KEY},
    {"AI._SCRIPTSCAN", no_models, "readonly", 0},
    {"AI.DAGRUN", no_models, "readonly", 0},
    {"AI.DAGRUN_RO", no_models, "readonly", 0},
    {"AI.DAGEXECUTE", no_models, "readonly", 0},
    {"AI.DAGEXECUTE_RO", no_models, "readonly", 0},
};

/* Tell the server how a command uses its key. Before Redis 7.0 it only wants to know which word is the key. */
static int declare_key(Context *context, const Command *command) {
    if (command->key_flags == 0 || RedisGetCommand == NULL || RedisSetCommandInfo == NULL) return REDIS_OK;
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
    (void)argv, (void)argc;
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
    return REDIS_OK;
}
