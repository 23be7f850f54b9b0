/* The names of tensors that end in numbers, and the records by which an index tells of them; smartml/store/index.py
 * describes both. Pure: nothing here knows of Redis.
 *
 *     record    8 bytes: a, b, unsigned 32 bit, little endian
 *
 * Nothing is allocated here, and all memory belongs to the caller.
 */
#ifndef SMARTML_NAMES_H
#define SMARTML_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NAMES_RECORD_SIZE 8
/* An index begins with 8 bytes, these first. */
#define NAMES_MAGIC "SMI1"
#define NAMES_HEADER_SIZE 8
/* Stands for the number that a name does not have; all others are below it. */
#define NAMES_NO_NUMBER UINT32_MAX

typedef struct {
    /* The stem is the name up to here. */
    size_t stem_size;
    uint32_t a, b;
} NamesParts;

/* Read a name as stem_a_b, or stem_b. False for one that ends in no number. */
bool names_split(const char *name, size_t size, NamesParts *parts);

/* Write the record of a name; `record` has room for NAMES_RECORD_SIZE bytes. */
void names_write_record(const NamesParts *parts, unsigned char *record);

#endif
