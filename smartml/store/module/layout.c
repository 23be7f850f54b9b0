#include "layout.h"

#include <float.h>
#include <math.h>
#include <string.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tensor values are little endian, and so are the payloads of clients: build this on a little-endian machine"
#endif

static const char MAGIC[4] = {'S', 'M', 'T', '1'};

/* Places within the footer. */
enum { FOOTER_CODE = 0, FOOTER_NDIM = 1, FOOTER_ZERO = 2, FOOTER_MAGIC = 4 };

/* Codes 1 to 8 are SmartRedis's numbers, the others smartml's own. */
static const LayoutDtype DTYPES[] = {
    {1, 8, LAYOUT_FLOATING, "DOUBLE"},  {2, 4, LAYOUT_FLOATING, "FLOAT"},   {3, 1, LAYOUT_SIGNED, "INT8"},
    {4, 2, LAYOUT_SIGNED, "INT16"},     {5, 4, LAYOUT_SIGNED, "INT32"},     {6, 8, LAYOUT_SIGNED, "INT64"},
    {7, 1, LAYOUT_UNSIGNED, "UINT8"},   {8, 2, LAYOUT_UNSIGNED, "UINT16"},  {9, 1, LAYOUT_BOOLEAN, "BOOL"},
    {10, 4, LAYOUT_UNSIGNED, NULL},     {11, 8, LAYOUT_UNSIGNED, NULL},     {12, 2, LAYOUT_OPAQUE, NULL},
    {13, 2, LAYOUT_OPAQUE, NULL},       {14, 8, LAYOUT_OPAQUE, NULL},       {15, 16, LAYOUT_OPAQUE, NULL},
};

/* ================================================================ dtypes */

const LayoutDtype *layout_dtype_of_code(uint8_t code) {
    for (size_t i = 0; i < sizeof DTYPES / sizeof *DTYPES; i++)
        if (DTYPES[i].code == code) return &DTYPES[i];
    return NULL;
}

static bool equal_in_any_case(const char *upper, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (c >= 'a' && c <= 'z') c = (char)(c - 'a' + 'A');
        /* Also false at the zero byte that ends `upper`: no text holds it and goes on being equal. */
        if (upper[i] == '\0' || upper[i] != c) return false;
    }
    return upper[length] == '\0';
}

const LayoutDtype *layout_dtype_of_name(const char *name, size_t length) {
    for (size_t i = 0; i < sizeof DTYPES / sizeof *DTYPES; i++)
        if (DTYPES[i].name != NULL && equal_in_any_case(DTYPES[i].name, name, length)) return &DTYPES[i];
    return NULL;
}

/* ================================================================ sizes */

/* The product of itemsize and all dimensions but zeros, which must fit into a signed size, as in numpy. */
static bool has_size(const LayoutDescription *description) {
    uint64_t size = description->dtype->itemsize;
    for (size_t i = 0; i < description->ndim; i++) {
        uint64_t dimension = description->dims[i];
        if (dimension == 0) continue;
        if (dimension > (uint64_t)PTRDIFF_MAX / size) return false;
        size *= dimension;
    }
    return true;
}

bool layout_add_dimension(LayoutDescription *description, long long dimension) {
    if (dimension <= 0 || description->ndim == LAYOUT_MAX_DIMENSIONS) return false;
    description->dims[description->ndim++] = (uint64_t)dimension;
    return has_size(description);
}

size_t layout_elements(const LayoutDescription *description) {
    size_t elements = 1;
    /* No overflow: the product without the zeros was checked when the dimensions came in. */
    for (size_t i = 0; i < description->ndim; i++) elements *= (size_t)description->dims[i];
    return elements;
}

size_t layout_payload_size(const LayoutDescription *description) {
    return layout_elements(description) * description->dtype->itemsize;
}

size_t layout_description_size(const LayoutDescription *description) {
    return 8 * description->ndim + LAYOUT_FOOTER_SIZE;
}

/* ================================================================ descriptions */

void layout_write_description(const LayoutDescription *description, unsigned char *end) {
    memcpy(end, description->dims, 8 * description->ndim);
    unsigned char *footer = end + 8 * description->ndim;
    footer[FOOTER_CODE] = description->dtype->code;
    footer[FOOTER_NDIM] = (unsigned char)description->ndim;
    memset(footer + FOOTER_ZERO, 0, 2);
    memcpy(footer + FOOTER_MAGIC, MAGIC, sizeof MAGIC);
}

bool layout_is_tensor(const unsigned char *value, size_t size) {
    return size >= LAYOUT_FOOTER_SIZE && memcmp(value + size - sizeof MAGIC, MAGIC, sizeof MAGIC) == 0;
}

bool layout_read_description(LayoutDescription *description, const unsigned char *value, size_t size) {
    const unsigned char *footer = value + size - LAYOUT_FOOTER_SIZE;
    description->dtype = layout_dtype_of_code(footer[FOOTER_CODE]);
    description->ndim = footer[FOOTER_NDIM];
    if (description->dtype == NULL || description->ndim > LAYOUT_MAX_DIMENSIONS) return false;
    if (footer[FOOTER_ZERO] != 0 || footer[FOOTER_ZERO + 1] != 0) return false;
    size_t behind = layout_description_size(description);
    if (size < behind) return false;
    memcpy(description->dims, value + size - behind, 8 * description->ndim);
    return has_size(description) && layout_payload_size(description) == size - behind;
}

/* ================================================================ elements */

bool layout_check_payload(const LayoutDescription *description, const unsigned char *payload) {
    if (description->dtype->kind != LAYOUT_BOOLEAN) return true;
    size_t elements = layout_elements(description);
    for (size_t i = 0; i < elements; i++)
        if (payload[i] > 1) return false;
    return true;
}

/* The largest number that a whole-number dtype holds, as far as a long long goes. */
static long long largest(const LayoutDtype *dtype) {
    if (dtype->kind == LAYOUT_BOOLEAN) return 1;
    int bits = 8 * dtype->itemsize - (dtype->kind == LAYOUT_SIGNED ? 1 : 0);
    return bits >= 63 ? INT64_MAX : (1LL << bits) - 1;
}

static long long smallest(const LayoutDtype *dtype) {
    return dtype->kind == LAYOUT_SIGNED ? -largest(dtype) - 1 : 0;
}

bool layout_store_integer(const LayoutDtype *dtype, unsigned char *payload, size_t index, long long number) {
    if (number < smallest(dtype) || number > largest(dtype)) return false;
    /* Little endian: the first bytes of the wide number are the narrow one. */
    memcpy(payload + index * dtype->itemsize, &number, dtype->itemsize);
    return true;
}

bool layout_store_double(const LayoutDtype *dtype, unsigned char *payload, size_t index, double number) {
    if (dtype->itemsize == sizeof(double)) {
        memcpy(payload + index * sizeof number, &number, sizeof number);
        return true;
    }
    if (!isinf(number) && (number > FLT_MAX || number < -FLT_MAX)) return false;
    float narrow = (float)number;
    memcpy(payload + index * sizeof narrow, &narrow, sizeof narrow);
    return true;
}

long long layout_load_integer(const LayoutDtype *dtype, const unsigned char *payload, size_t index) {
    long long number = 0;
    memcpy(&number, payload + index * dtype->itemsize, dtype->itemsize);
    bool is_negative = dtype->kind == LAYOUT_SIGNED && number > largest(dtype);
    /* Fills the upper bytes of a negative number. */
    return is_negative ? number - 2 * (largest(dtype) + 1) : number;
}

double layout_load_double(const LayoutDtype *dtype, const unsigned char *payload, size_t index) {
    if (dtype->itemsize == sizeof(double)) {
        double number;
        memcpy(&number, payload + index * sizeof number, sizeof number);
        return number;
    }
    float narrow;
    memcpy(&narrow, payload + index * sizeof narrow, sizeof narrow);
    return narrow;
}
