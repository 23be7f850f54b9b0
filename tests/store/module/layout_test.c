/* Laws of layout.c, one function each; run under sanitizers by test_layout.py. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layout.h"

static int failures;

#define CHECK(condition)                                                          \
    do {                                                                          \
        if (!(condition)) {                                                       \
            printf("line %d does not hold: %s\n", __LINE__, #condition);          \
            failures++;                                                           \
        }                                                                         \
    } while (0)

static LayoutDescription describe(const char *name, size_t ndim, const long long *dims) {
    LayoutDescription description = {.dtype = layout_dtype_of_name(name, strlen(name)), .ndim = 0};
    for (size_t i = 0; i < ndim; i++) CHECK(layout_add_dimension(&description, dims[i]));
    return description;
}

/* In memory of its exact size, so that a byte read or written beside it is seen. */
static unsigned char *exactly(const void *bytes, size_t size) {
    unsigned char *copy = malloc(size ? size : 1);
    if (size) memcpy(copy, bytes, size);
    return copy;
}

static void names_are_those_of_redisai_in_any_case(void) {
    const struct { const char *name; int code, itemsize; } expected[] = {
        {"DOUBLE", 1, 8}, {"FLOAT", 2, 4}, {"INT8", 3, 1},  {"INT16", 4, 2},  {"INT32", 5, 4},
        {"INT64", 6, 8},  {"UINT8", 7, 1}, {"UINT16", 8, 2}, {"BOOL", 9, 1}, {"uInt16", 8, 2},
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        const LayoutDtype *dtype = layout_dtype_of_name(expected[i].name, strlen(expected[i].name));
        CHECK(dtype != NULL && dtype->code == expected[i].code && dtype->itemsize == expected[i].itemsize);
        CHECK(layout_dtype_of_code((uint8_t)expected[i].code) == dtype);
    }
    const char *unknown[] = {"", "FLOA", "FLOATS", "UINT32", "STRING", "float ", "FLOAT\0", "\0"};
    const size_t sizes[] = {0, 4, 6, 6, 6, 6, 6, 1};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        char *name = (char *)exactly(unknown[i], sizes[i]);
        CHECK(layout_dtype_of_name(name, sizes[i]) == NULL);
        free(name);
    }
    CHECK(layout_dtype_of_code(0) == NULL && layout_dtype_of_code(16) == NULL && layout_dtype_of_code(255) == NULL);
}

static void dimensions_that_no_memory_holds_are_refused(void) {
    LayoutDescription description = describe("DOUBLE", 2, (long long[]){1LL << 31, 1LL << 28});
    CHECK(layout_payload_size(&description) == (size_t)1 << 62);
    CHECK(layout_add_dimension(&description, 1));
    CHECK(!layout_add_dimension(&description, 2));

    const long long refused[] = {0, -1, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        description = describe("INT16", 1, (long long[]){3});
        CHECK(!layout_add_dimension(&description, refused[i]));
    }
    description = describe("UINT8", 0, NULL);
    CHECK(layout_add_dimension(&description, INT64_MAX) && !layout_add_dimension(&description, 2));
}

static void there_are_at_most_32_dimensions(void) {
    LayoutDescription description = describe("INT8", 0, NULL);
    for (int i = 0; i < LAYOUT_MAX_DIMENSIONS; i++) CHECK(layout_add_dimension(&description, 1));
    CHECK(!layout_add_dimension(&description, 1));
    CHECK(layout_description_size(&description) == LAYOUT_LARGEST_DESCRIPTION);
}

static void a_description_has_the_bytes_of_the_format(void) {
    LayoutDescription description = describe("FLOAT", 2, (long long[]){2, 258});
    const unsigned char expected[] = {2, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 2, 2, 0, 0, 'S', 'M', 'T', '1'};
    CHECK(layout_description_size(&description) == sizeof expected);
    unsigned char *end = exactly(expected, sizeof expected);
    memset(end, 0xff, sizeof expected);
    layout_write_description(&description, end);
    CHECK(memcmp(end, expected, sizeof expected) == 0);
    free(end);
}

static void what_was_written_is_read(void) {
    LayoutDescription written = describe("INT16", 3, (long long[]){2, 1, 3});
    size_t payload = layout_payload_size(&written), size = payload + layout_description_size(&written);
    unsigned char *value = calloc(1, size);
    layout_write_description(&written, value + payload);
    LayoutDescription read;
    CHECK(layout_is_tensor(value, size) && layout_read_description(&read, value, size));
    CHECK(read.dtype == written.dtype && read.ndim == 3 && memcmp(read.dims, written.dims, 24) == 0);
    CHECK(layout_elements(&read) == 6 && payload == 12);
    free(value);
}

static void a_scalar_has_one_element_and_a_zero_dimension_none(void) {
    const unsigned char scalar[] = {7, 7, 0, 0, 'S', 'M', 'T', '1'};
    unsigned char *value = exactly(scalar, sizeof scalar);
    LayoutDescription read;
    CHECK(layout_is_tensor(value, sizeof scalar) && !layout_read_description(&read, value, sizeof scalar));
    free(value);
    const unsigned char with_element[] = {42, 7, 0, 0, 0, 'S', 'M', 'T', '1'};
    value = exactly(with_element, sizeof with_element);
    CHECK(layout_read_description(&read, value, sizeof with_element) && layout_elements(&read) == 1);
    free(value);
    const unsigned char empty[] = {0, 0, 0, 0, 0, 0, 0, 0, 7, 1, 0, 0, 'S', 'M', 'T', '1'};
    value = exactly(empty, sizeof empty);
    CHECK(layout_read_description(&read, value, sizeof empty) && layout_elements(&read) == 0);
    free(value);
}

static void damage_anywhere_is_seen(void) {
    LayoutDescription written = describe("INT32", 2, (long long[]){2, 3});
    size_t payload = layout_payload_size(&written), size = payload + layout_description_size(&written);
    unsigned char *value = calloc(1, size);
    layout_write_description(&written, value + payload);
    LayoutDescription read;
    for (size_t cut = 1; cut <= size; cut++) {
        unsigned char *shorter = exactly(value + cut, size - cut);
        CHECK(!layout_is_tensor(shorter, size - cut) || !layout_read_description(&read, shorter, size - cut));
        free(shorter);
    }
    for (size_t i = payload; i < size; i++) {
        unsigned char *other = exactly(value, size);
        other[i] ^= 0x40;
        CHECK(!layout_is_tensor(other, size) || !layout_read_description(&read, other, size));
        free(other);
    }
    free(value);
}

static void sizes_that_overflow_are_seen(void) {
    /* 2**32 * 2**32 elements of one byte: a product of 0 in 64 bits, and no payload. */
    unsigned char bytes[24] = {0};
    bytes[4] = bytes[12] = 1;
    memcpy(bytes + 16, (unsigned char[]){7, 2, 0, 0, 'S', 'M', 'T', '1'}, 8);
    unsigned char *value = exactly(bytes, sizeof bytes);
    LayoutDescription read;
    CHECK(layout_is_tensor(value, sizeof bytes) && !layout_read_description(&read, value, sizeof bytes));
    free(value);
}

static void random_bytes_never_pass_for_more_than_they_are(void) {
    srand(20240501);
    for (int round = 0; round < 200000; round++) {
        size_t size = (size_t)(rand() % 80);
        unsigned char *value = malloc(size ? size : 1);
        for (size_t i = 0; i < size; i++) value[i] = (unsigned char)(rand() % 4 ? rand() % 17 : rand());
        if (size >= LAYOUT_FOOTER_SIZE) memcpy(value + size - 4, "SMT1", 4);
        if (size >= LAYOUT_FOOTER_SIZE && rand() % 2) memset(value + size - 6, 0, 2);
        LayoutDescription read;
        if (layout_is_tensor(value, size) && layout_read_description(&read, value, size)) {
            CHECK(layout_payload_size(&read) + layout_description_size(&read) == size);
            layout_check_payload(&read, value);
        }
        free(value);
    }
}

static void whole_numbers_that_do_not_fit_are_refused(void) {
    const struct { const char *name; long long low, high; } ranges[] = {
        {"INT8", -128, 127}, {"INT16", -32768, 32767},  {"INT32", INT32_MIN, INT32_MAX}, {"INT64", INT64_MIN, INT64_MAX},
        {"UINT8", 0, 255},   {"UINT16", 0, 65535},      {"BOOL", 0, 1},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        const LayoutDtype *dtype = layout_dtype_of_name(ranges[i].name, strlen(ranges[i].name));
        unsigned char *payload = calloc(3, dtype->itemsize);
        const long long numbers[] = {ranges[i].low, 1, ranges[i].high};
        for (size_t j = 0; j < 3; j++) CHECK(layout_store_integer(dtype, payload, j, numbers[j]));
        for (size_t j = 0; j < 3; j++) CHECK(layout_load_integer(dtype, payload, j) == numbers[j]);
        if (ranges[i].low > INT64_MIN) CHECK(!layout_store_integer(dtype, payload, 0, ranges[i].low - 1));
        if (ranges[i].high < INT64_MAX) CHECK(!layout_store_integer(dtype, payload, 0, ranges[i].high + 1));
        CHECK(layout_load_integer(dtype, payload, 0) == ranges[i].low);
        free(payload);
    }
}

static void numbers_too_large_for_float_are_refused(void) {
    const LayoutDtype *narrow = layout_dtype_of_name("FLOAT", 5), *wide = layout_dtype_of_name("DOUBLE", 6);
    unsigned char *payload = calloc(2, 4);
    CHECK(layout_store_double(narrow, payload, 1, 0.1) && layout_load_double(narrow, payload, 1) == (double)0.1f);
    CHECK(layout_store_double(narrow, payload, 0, -INFINITY) && isinf(layout_load_double(narrow, payload, 0)));
    CHECK(!layout_store_double(narrow, payload, 0, 1e300) && !layout_store_double(narrow, payload, 0, -1e39));
    CHECK(layout_store_double(wide, payload, 0, 1e300) && layout_load_double(wide, payload, 0) == 1e300);
    free(payload);
}

static void a_bool_is_0_or_1_to_the_last_byte(void) {
    LayoutDescription description = describe("BOOL", 1, (long long[]){3});
    CHECK(layout_check_payload(&description, (const unsigned char[]){0, 1, 1}));
    CHECK(!layout_check_payload(&description, (const unsigned char[]){0, 1, 2}));
    description = describe("UINT8", 1, (long long[]){3});
    CHECK(layout_check_payload(&description, (const unsigned char[]){0, 1, 2}));
}

int main(void) {
    names_are_those_of_redisai_in_any_case();
    dimensions_that_no_memory_holds_are_refused();
    there_are_at_most_32_dimensions();
    a_description_has_the_bytes_of_the_format();
    what_was_written_is_read();
    a_scalar_has_one_element_and_a_zero_dimension_none();
    damage_anywhere_is_seen();
    sizes_that_overflow_are_seen();
    random_bytes_never_pass_for_more_than_they_are();
    whole_numbers_that_do_not_fit_are_refused();
    numbers_too_large_for_float_are_refused();
    a_bool_is_0_or_1_to_the_last_byte();
    if (failures == 0) printf("all laws hold\n");
    return failures != 0;
}
