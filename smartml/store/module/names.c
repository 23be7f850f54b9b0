/* Names that end in numbers; names.h says what they mean. */
#include "names.h"

/* Read the number that ends a text of so many bytes: decimal, without leading zeros, below NAMES_NO_NUMBER, behind an
 * underscore that has something before it. Returns the size of what is before the underscore, 0 when there is none. */
static size_t take_number(const char *text, size_t size, uint32_t *number) {
    size_t start = size;
    while (start > 0 && text[start - 1] >= '0' && text[start - 1] <= '9') start--;
    size_t digits = size - start;
    /* 10 digits fit into 64 bits by far. */
    if (digits == 0 || digits > 10 || (digits > 1 && text[start] == '0')) return 0;
    if (start < 2 || text[start - 1] != '_') return 0;
    uint64_t value = 0;
    for (size_t i = start; i < size; i++) value = 10 * value + (uint64_t)(text[i] - '0');
    if (value >= NAMES_NO_NUMBER) return 0;
    *number = (uint32_t)value;
    return start - 1;
}

bool names_split(const char *name, size_t size, NamesParts *parts) {
    size_t rest = take_number(name, size, &parts->b);
    if (rest == 0) return false;
    parts->stem_size = take_number(name, rest, &parts->a);
    if (parts->stem_size == 0) {
        parts->stem_size = rest;
        parts->a = NAMES_NO_NUMBER;
    }
    return true;
}

static void write_number(uint32_t number, unsigned char *bytes) {
    for (int i = 0; i < 4; i++) bytes[i] = (unsigned char)(number >> (8 * i));
}

void names_write_record(const NamesParts *parts, unsigned char *record) {
    write_number(parts->a, record);
    write_number(parts->b, record + 4);
}
