/* The bytes of a tensor value, as smartml/tensors.py describes them. Pure: nothing here knows of Redis.
 *
 *     from 0          product(dims) * itemsize   payload, C order, little endian
 *     then            8 * ndim                   dimensions, unsigned 64 bit, little endian
 *     last 8 bytes    1 dtype code | 1 ndim | 2 zero | 4 magic "SMT1"
 *
 * Nothing is allocated here, and all memory belongs to the caller.
 */
#ifndef SMARTML_LAYOUT_H
#define SMARTML_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LAYOUT_MAX_DIMENSIONS 32
#define LAYOUT_FOOTER_SIZE 8
#define LAYOUT_LARGEST_DESCRIPTION (8 * LAYOUT_MAX_DIMENSIONS + LAYOUT_FOOTER_SIZE)

/* How the elements of a dtype are read and written one by one. */
typedef enum { LAYOUT_FLOATING, LAYOUT_SIGNED, LAYOUT_UNSIGNED, LAYOUT_BOOLEAN, LAYOUT_OPAQUE } LayoutKind;

typedef struct {
    uint8_t code;
    uint8_t itemsize;
    LayoutKind kind;
    /* RedisAI's name, in upper case; NULL for the dtypes that it does not know. */
    const char *name;
} LayoutDtype;

typedef struct {
    const LayoutDtype *dtype;
    size_t ndim;
    uint64_t dims[LAYOUT_MAX_DIMENSIONS];
} LayoutDescription;

/* Find a dtype by its code, or by RedisAI's name in any case. NULL when there is none. */
const LayoutDtype *layout_dtype_of_code(uint8_t code);
const LayoutDtype *layout_dtype_of_name(const char *name, size_t length);

/* Append a dimension. False when it is 0, when there are too many, or when no memory could hold the payload. */
bool layout_add_dimension(LayoutDescription *description, long long dimension);

/* Number of elements, bytes of the payload, bytes of the description behind it. */
size_t layout_elements(const LayoutDescription *description);
size_t layout_payload_size(const LayoutDescription *description);
size_t layout_description_size(const LayoutDescription *description);

/* Write the description; `end` has room for layout_description_size() bytes. */
void layout_write_description(const LayoutDescription *description, unsigned char *end);

/* Tell whether a value claims to be a tensor: it ends in the magic. */
bool layout_is_tensor(const unsigned char *value, size_t size);

/* Read and check the description of a value that layout_is_tensor(). False when it does not add up. */
bool layout_read_description(LayoutDescription *description, const unsigned char *value, size_t size);

/* Tell whether all elements of a payload may stand in their dtype: those of a bool are 0 or 1. */
bool layout_check_payload(const LayoutDescription *description, const unsigned char *payload);

/* Write element `index` of a payload. False when the number does not fit into the dtype. */
bool layout_store_integer(const LayoutDtype *dtype, unsigned char *payload, size_t index, long long number);
bool layout_store_double(const LayoutDtype *dtype, unsigned char *payload, size_t index, double number);

/* Read element `index` of a payload of a named dtype. */
long long layout_load_integer(const LayoutDtype *dtype, const unsigned char *payload, size_t index);
double layout_load_double(const LayoutDtype *dtype, const unsigned char *payload, size_t index);

#endif
