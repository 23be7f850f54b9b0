/* The few functions of Redis's module API that are used here, declared by hand.
 *
 * Source: https://redis.io/docs/latest/develop/reference/modules/modules-api-ref/. A server hands out each function by
 * its name; those marked optional came with Redis 7.0, and are NULL in older servers.
 */
#ifndef SMARTML_REDIS_API_H
#define SMARTML_REDIS_API_H

#include <stddef.h>
#include <stdint.h>

typedef struct RedisModuleCtx Context;
typedef struct RedisModuleString String;
typedef struct RedisModuleKey Key;
typedef struct RedisModuleCommand CommandHandle;
typedef struct RedisModuleCallReply CallReply;
typedef struct RedisModuleBlockedClient BlockedClient;
typedef int (*CommandFunction)(Context *context, String **argv, int argc);
typedef void (*DisconnectFunction)(Context *context, BlockedClient *client);
typedef void (*TimerFunction)(Context *context, void *data);

typedef struct {
    uint64_t id, data_version;
} ServerEvent;

typedef void (*EventFunction)(Context *context, ServerEvent event, uint64_t what, void *data);

/* RedisModuleClientInfo, version 1. */
typedef struct {
    uint64_t version, flags, id;
    char address[46];
    uint16_t port, database;
} ClientInfo;

enum { REDIS_OK = 0, REDIS_ERROR = 1, REDIS_API_VERSION = 1 };
enum { KEY_READ = 1 << 0, KEY_WRITE = 1 << 1 };
enum { KEY_TYPE_EMPTY = 0, KEY_TYPE_STRING = 1 };
enum { NOTIFY_GENERIC = 1 << 2, NOTIFY_STRING = 1 << 3 };
/* Of the flags of a context: in a script, in a transaction; the server is part of a cluster, has no memory left; nobody
 * may be made to wait. */
enum {
    CONTEXT_SCRIPT = 1 << 0,
    CONTEXT_TRANSACTION = 1 << 1,
    CONTEXT_CLUSTER = 1 << 5,
    CONTEXT_FULL = 1 << 10,
    CONTEXT_DENIES_BLOCKING = 1 << 21,
};
/* A client has connected or gone. */
static const ServerEvent CLIENT_CHANGE = {4, 1};
enum { CLIENT_CONNECTED = 0, CLIENT_DISCONNECTED = 1 };
/* The server ends, and has saved what it had to. */
static const ServerEvent SHUTDOWN = {5, 1};
/* As the length of an array: it is told at its end. */
enum { LENGTH_COMES_LATER = -1 };

/* How a command uses its key, for access control: flags of a key specification. */
enum {
    KEY_READ_ONLY = 1 << 0,
    KEY_OVERWRITE = 1 << 2,
    KEY_ACCESS = 1 << 4,
    KEY_UPDATE = 1 << 5,
};

/* RedisModuleCommandInfo and what belongs to it, version 1. */
typedef struct {
    int version;
    size_t history_entry_size, key_spec_size, argument_size;
} CommandInfoVersion;

typedef struct {
    const char *notes;
    uint64_t flags;
    int begin_search;
    union {
        struct { int position; } index;
        struct { const char *keyword; int start; } keyword;
    } begin;
    int find_keys;
    union {
        struct { int last_key, key_step, limit; } range;
        struct { int number_index, first_key, key_step; } number;
    } keys;
} KeySpec;

enum { BEGIN_AT_INDEX = 2, FIND_RANGE = 2 };

typedef struct {
    const CommandInfoVersion *version;
    const char *summary, *complexity, *since;
    const void *history;
    const char *tips;
    int arity;
    const KeySpec *key_specs;
    const void *arguments;
} CommandInfo;

/* X(requirement, return type, name, parameters) */
#define REDIS_FUNCTIONS(X)                                                                                   \
    X(REQUIRED, void, SetModuleAttribs, (Context * context, const char *name, int version, int api_version)) \
    X(REQUIRED, int, CreateCommand,                                                                          \
      (Context * context, const char *name, CommandFunction function, const char *flags, int first_key,      \
       int last_key, int key_step))                                                                          \
    X(OPTIONAL, CommandHandle *, GetCommand, (Context * context, const char *name))                          \
    X(OPTIONAL, int, SetCommandInfo, (CommandHandle * command, const CommandInfo *info))                     \
    X(REQUIRED, void, Log, (Context * context, const char *level, const char *format, ...))                  \
    X(REQUIRED, BlockedClient *, BlockClient,                                                                \
      (Context * context, CommandFunction reply, CommandFunction timeout,                                    \
       void (*free_data)(Context *, void *), long long timeout_ms))                                          \
    X(REQUIRED, int, UnblockClient, (BlockedClient * client, void *data))                                    \
    X(REQUIRED, void, SetDisconnectCallback, (BlockedClient * client, DisconnectFunction function))          \
    X(REQUIRED, void *, GetBlockedClientPrivateData, (Context * context))                                    \
    X(REQUIRED, BlockedClient *, GetBlockedClientHandle, (Context * context))                                \
    X(REQUIRED, unsigned long long, GetClientId, (Context * context))                                        \
    X(REQUIRED, int, SubscribeToServerEvent, (Context * context, ServerEvent event, EventFunction function)) \
    X(REQUIRED, uint64_t, CreateTimer, (Context * context, long long ms, TimerFunction function, void *data)) \
    X(REQUIRED, int, IsKeysPositionRequest, (Context * context))                                             \
    X(REQUIRED, void, KeyAtPos, (Context * context, int position))                                           \
    X(REQUIRED, void, AutoMemory, (Context * context))                                                       \
    X(REQUIRED, Key *, OpenKey, (Context * context, const String *name, int mode))                                 \
    X(REQUIRED, void, CloseKey, (Key * key))                                                                 \
    X(REQUIRED, int, KeyType, (Key * key))                                                                   \
    X(REQUIRED, char *, StringDMA, (Key * key, size_t * size, int mode))                                     \
    X(REQUIRED, int, StringSet, (Key * key, String * value))                                                 \
    X(REQUIRED, String *, CreateString, (Context * context, const char *bytes, size_t size))                 \
    X(REQUIRED, String *, CreateStringFromString, (Context * context, const String *string))                 \
    X(REQUIRED, void, FreeString, (Context * context, String * string))                                      \
    X(REQUIRED, int, DeleteKey, (Key * key))                                                                 \
    X(REQUIRED, const char *, StringPtrLen, (const String *string, size_t *size))                            \
    X(REQUIRED, int, StringAppendBuffer, (Context * context, String * string, const char *bytes, size_t size)) \
    X(OPTIONAL, void, TrimStringAllocation, (String * string))                                               \
    X(REQUIRED, int, StringToLongLong, (const String *string, long long *number))                            \
    X(REQUIRED, int, StringToDouble, (const String *string, double *number))                                 \
    X(REQUIRED, int, GetContextFlags, (Context * context))                                                   \
    X(REQUIRED, CallReply *, Call, (Context * context, const char *command, const char *format, ...))        \
    X(REQUIRED, int, Replicate, (Context * context, const char *command, const char *format, ...))           \
    X(REQUIRED, int, NotifyKeyspaceEvent, (Context * context, int type, const char *event, String * key))    \
    X(REQUIRED, int, ReplyWithSimpleString, (Context * context, const char *text))                           \
    X(REQUIRED, int, ReplyWithError, (Context * context, const char *text))                                  \
    X(REQUIRED, int, ReplyWithLongLong, (Context * context, long long number))                               \
    X(REQUIRED, int, ReplyWithDouble, (Context * context, double number))                                    \
    X(REQUIRED, int, ReplyWithNull, (Context * context))                                                     \
    X(REQUIRED, int, ReplyWithArray, (Context * context, long length))                                       \
    X(REQUIRED, void, ReplySetArrayLength, (Context * context, long length))                                 \
    X(REQUIRED, int, ReplyWithStringBuffer, (Context * context, const char *bytes, size_t size))

#define DECLARE_FUNCTION(requirement, type, name, parameters) extern type(*Redis##name) parameters;
REDIS_FUNCTIONS(DECLARE_FUNCTION)
#undef DECLARE_FUNCTION

/* Ask the server for all functions. Returns the name of a required one that it does not have, else NULL. */
const char *redis_api_bind(Context *context);

#endif
