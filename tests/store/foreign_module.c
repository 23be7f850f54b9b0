/* A Redis module with a data type called AI_TENSOR, as RedisAI has one, and one called OTHERTYPE:
 * `FOREIGN.PUT key` and `OTHER.PUT key` make a value that plain commands refuse. For tests; no redismodule.h. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct {
    uint64_t version;
    void *rdb_load, *rdb_save, *aof_rewrite, *mem_usage, *digest;
    void (*free)(void *);
} Methods;

static int (*CreateCommand)(void *, const char *, int (*)(void *, void **, int), const char *, int, int, int);
static void *(*CreateDataType)(void *, const char *, int, Methods *);
static void *(*OpenKey)(void *, void *, int);
static int (*SetValue)(void *, void *, void *);
static void (*CloseKey)(void *);
static int (*ReplyWithSimpleString)(void *, const char *);
static void (*SetModuleAttribs)(void *, const char *, int, int);

static void *tensor_type, *other_type;

static void *load(void *rdb, int version) {
    (void)rdb, (void)version;
    return malloc(1);
}

static void save(void *rdb, void *value) { (void)rdb, (void)value; }

static int put(void *ctx, void **argv, int argc, void *type) {
    if (argc != 2) return ReplyWithSimpleString(ctx, "one key");
    void *key = OpenKey(ctx, argv[1], 2);
    SetValue(key, type, malloc(1));
    CloseKey(key);
    return ReplyWithSimpleString(ctx, "OK");
}

static int put_tensor(void *ctx, void **argv, int argc) { return put(ctx, argv, argc, tensor_type); }

static int put_other(void *ctx, void **argv, int argc) { return put(ctx, argv, argc, other_type); }

__attribute__((visibility("default"))) int RedisModule_OnLoad(void *ctx, void **argv, int argc) {
    (void)argv, (void)argc;
    int (*get)(const char *, void *) = (int (*)(const char *, void *))((void **)ctx)[0];
    if (get("RedisModule_SetModuleAttribs", &SetModuleAttribs) || get("RedisModule_CreateCommand", &CreateCommand) ||
        get("RedisModule_CreateDataType", &CreateDataType) || get("RedisModule_OpenKey", &OpenKey) ||
        get("RedisModule_ModuleTypeSetValue", &SetValue) || get("RedisModule_CloseKey", &CloseKey) ||
        get("RedisModule_ReplyWithSimpleString", &ReplyWithSimpleString))
        return 1;
    SetModuleAttribs(ctx, "foreign", 1, 1);
    static Methods methods = {.version = 1, .rdb_load = (void *)load, .rdb_save = (void *)save, .free = free};
    tensor_type = CreateDataType(ctx, "AI_TENSOR", 0, &methods);
    other_type = CreateDataType(ctx, "OTHERTYPE", 0, &methods);
    if (tensor_type == NULL || other_type == NULL) return 1;
    return CreateCommand(ctx, "foreign.put", put_tensor, "write", 1, 1, 1) ||
           CreateCommand(ctx, "other.put", put_other, "write", 1, 1, 1);
}
