/* What all commands share; arguments.h says what it means. */
#include "arguments.h"

#include <string.h>
#include <strings.h>

int fail(Context *context, const char *text) { return RedisReplyWithError(context, text); }

int reply_text(Context *context, const char *text) {
    return RedisReplyWithStringBuffer(context, text, strlen(text));
}

bool is_word(const String *argument, const char *word) {
    size_t size;
    const char *text = RedisStringPtrLen(argument, &size);
    return size == strlen(word) && strncasecmp(text, word, size) == 0;
}

bool is_same_name(const String *one, const String *other) {
    size_t size, other_size;
    const char *name = RedisStringPtrLen(one, &size);
    const char *other_name = RedisStringPtrLen(other, &other_size);
    return size == other_size && memcmp(name, other_name, size) == 0;
}

bool is_positive(const String *argument, long long *number) {
    return RedisStringToLongLong(argument, number) == REDIS_OK && *number > 0;
}

bool take_word(Words *words, const char *word) {
    if (words->left == 0 || !is_word(words->next[0], word)) return false;
    words->next++;
    words->left--;
    return true;
}

String *take_any(Words *words) {
    if (words->left == 0) return NULL;
    words->left--;
    return *words->next++;
}
