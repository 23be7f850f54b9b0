/* What all commands share: reading their words, and refusing. */
#ifndef SMARTML_ARGUMENTS_H
#define SMARTML_ARGUMENTS_H

#include <stdbool.h>

#include "redis_api.h"

#define WRONG_TYPE "WRONGTYPE Operation against a key holding the wrong kind of value"
#define WRONG_ARITY(command) "ERR wrong number of arguments for '" command "' command"

#define NO_TENSOR "ERR tensor key is empty or in a different shard"
#define DAMAGED_TENSOR "ERR the tensor is damaged: its bytes do not add up to its shape and type; put it again"

/* Never with a client's words in it: SmartRedis fails on an error text that is not UTF-8. */
int fail(Context *context, const char *text);

int reply_text(Context *context, const char *text);

/* Tell whether an argument is a word, in any case. */
bool is_word(const String *argument, const char *word);

/* Tell whether two names are the same, in every byte. */
bool is_same_name(const String *one, const String *other);

bool is_positive(const String *argument, long long *number);

/* The words of a command that are still to be read. */
typedef struct {
    String **next;
    size_t left;
} Words;

/* Take the next word when it is this one, in any case. */
bool take_word(Words *words, const char *word);

/* Take the next word, when there is one; else NULL. */
String *take_any(Words *words);

/* Words that stand one behind the other. */
typedef struct {
    String **first;
    size_t count;
} Names;

#endif
