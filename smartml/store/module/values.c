/* What keys hold, and how the module writes them; values.h says more. */
#include "values.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "layout.h"
#include "models.h"
#include "names.h"

/* Before the stem, in the name of its index. */
#define INDEX_PREFIX ".smartml.index."

Holding values_look(Key *key, const unsigned char **value, size_t *size) {
    int type = key == NULL ? KEY_TYPE_EMPTY : RedisKeyType(key);
    if (type == KEY_TYPE_EMPTY) return HOLDS_NOTHING;
    if (type != KEY_TYPE_STRING) return HOLDS_OTHER;
    *value = (const unsigned char *)RedisStringDMA(key, size, KEY_READ);
    if (*value == NULL) return HOLDS_OTHER;
    if (layout_is_tensor(*value, *size)) return HOLDS_TENSOR;
    return models_is_model(*value, *size) ? HOLDS_MODEL : HOLDS_OTHER;
}

String *values_extend(Context *context, String *string, const void *bytes, size_t size) {
    if (RedisStringAppendBuffer(context, string, bytes, size) == REDIS_OK) return string;
    /* Somebody else holds the argument, too: another module that passed the command on. */
    size_t former_size;
    const char *former = RedisStringPtrLen(string, &former_size);
    char *whole = malloc(former_size + size);
    if (whole == NULL) return NULL;
    memcpy(whole, former, former_size);
    memcpy(whole + former_size, bytes, size);
    String *extended = RedisCreateString(context, whole, former_size + size);
    free(whole);
    return extended;
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

/* ================================================================ writing */

const char *values_write(Context *context, Key *key, String *name, String *value) {
    if (RedisStringSet(key, value) != REDIS_OK) return "ERR the key cannot be written";
    RedisNotifyKeyspaceEvent(context, NOTIFY_STRING, "set", name);
    RedisReplicate(context, "SET", "ss", name, value);
    return NULL;
}

const char *values_write_tensor(Context *context, Key *key, String *name, String *value) {
    const char *error = values_write(context, key, name, value);
    if (error == NULL) announce(context, name);
    return error;
}
