/* The bytes of a model or script value, as smartml/inference/values.py describes them. Pure: nothing here knows of
 * Redis. Integers are little endian.
 *
 *     from 0           the model's bytes, or the script's source text
 *     then             texts, each with its size before it, unsigned 32 bit: backend, device, tag; the inputs, of a
 *                      script its entry points; the outputs
 *     last 48 bytes    8 version | 8 batch size | 8 min batch size | 8 min batch timeout in ms | 4 size of all texts |
 *                      2 number of inputs | 2 of outputs | 4 kind (1 model, 2 script) | 4 magic "SMM1"
 *
 * The version is a hash of all before it and of the numbers behind it: what is stored anew unchanged need not be loaded
 * anew. Nothing is allocated here, and all memory belongs to the caller.
 */
#ifndef SMARTML_MODELS_H
#define SMARTML_MODELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODELS_FOOTER_SIZE 48
#define MODELS_LARGEST_COUNT UINT16_MAX

enum { MODELS_MODEL = 1, MODELS_SCRIPT = 2 };

typedef struct {
    const char *bytes;
    size_t size;
} ModelText;

typedef struct {
    uint32_t kind;
    uint64_t version;
    uint64_t batch_size, min_batch_size, min_batch_timeout_ms;
    size_t input_count, output_count;
    /* In a value that was read: the model or the source, and what stands in front of the inputs. */
    size_t content_size;
    ModelText backend, device, tag;
    /* The first of the inputs, with its size before it; behind them the outputs. */
    const unsigned char *texts;
} ModelDescription;

/* Tell whether a value claims to be a model or script: it ends in the magic. */
bool models_is_model(const unsigned char *value, size_t size);

/* Read and check the description of a value that models_is_model(). False when it does not add up. */
bool models_read_description(ModelDescription *description, const unsigned char *value, size_t size);

/* Read the text that stands at `place`, one of those that were checked; returns the place of the next one. */
const unsigned char *models_read_text(const unsigned char *place, ModelText *text);

/* Bytes that a text takes, and writing it; returns where the next one goes. */
size_t models_text_size(size_t size);
unsigned char *models_write_text(unsigned char *place, const char *text, size_t size);

/* Write the last bytes of a value, of which the `size` bytes before them are there; `footer` has room for
 * MODELS_FOOTER_SIZE bytes. Returns the version. */
uint64_t models_write_footer(const ModelDescription *description, const unsigned char *value, size_t size,
                             size_t texts_size, unsigned char *footer);

/* Tell whether a text names a device: CPU, GPU, or GPU:<number>. */
bool models_is_device(const char *text, size_t size);

#endif
