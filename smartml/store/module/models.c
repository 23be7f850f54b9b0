/* The bytes of a model or script value; models.h describes them. */
#include "models.h"

#include <string.h>
#include <strings.h>

static const char MAGIC[4] = {'S', 'M', 'M', '1'};

/* Where the fields of the last bytes stand. */
enum {
    AT_VERSION = 0,
    AT_BATCH_SIZE = 8,
    AT_MIN_BATCH_SIZE = 16,
    AT_MIN_BATCH_TIMEOUT = 24,
    AT_TEXTS_SIZE = 32,
    AT_INPUT_COUNT = 36,
    AT_OUTPUT_COUNT = 38,
    AT_KIND = 40,
    AT_MAGIC = 44,
};

static uint64_t read_number(const unsigned char *bytes, int size) {
    uint64_t number = 0;
    for (int i = size - 1; i >= 0; i--) number = number << 8 | bytes[i];
    return number;
}

static void write_number(uint64_t number, unsigned char *bytes, int size) {
    for (int i = 0; i < size; i++) bytes[i] = (unsigned char)(number >> (8 * i));
}

/* A hash that tells versions of one model apart, eight bytes at a time: multiply and fold, with the multiplier that
 * Knuth (The Art of Computer Programming, vol. 3, 6.4) gives for 64 bits. Not against those who mean harm. */
static uint64_t mix(uint64_t hash, const unsigned char *bytes, size_t size) {
    for (; size >= 8; bytes += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
        hash ^= hash >> 32;
    }
    hash = (hash ^ read_number(bytes, (int)size) ^ (uint64_t)size << 56) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ hash >> 32;
}

bool models_is_model(const unsigned char *value, size_t size) {
    return size >= MODELS_FOOTER_SIZE && memcmp(value + size - sizeof MAGIC, MAGIC, sizeof MAGIC) == 0;
}

const unsigned char *models_read_text(const unsigned char *place, ModelText *text) {
    text->size = (size_t)read_number(place, 4);
    text->bytes = (const char *)place + 4;
    return place + 4 + text->size;
}

bool models_read_description(ModelDescription *description, const unsigned char *value, size_t size) {
    const unsigned char *footer = value + size - MODELS_FOOTER_SIZE;
    description->version = read_number(footer + AT_VERSION, 8);
    description->batch_size = read_number(footer + AT_BATCH_SIZE, 8);
    description->min_batch_size = read_number(footer + AT_MIN_BATCH_SIZE, 8);
    description->min_batch_timeout_ms = read_number(footer + AT_MIN_BATCH_TIMEOUT, 8);
    description->input_count = (size_t)read_number(footer + AT_INPUT_COUNT, 2);
    description->output_count = (size_t)read_number(footer + AT_OUTPUT_COUNT, 2);
    description->kind = (uint32_t)read_number(footer + AT_KIND, 4);
    size_t texts_size = (size_t)read_number(footer + AT_TEXTS_SIZE, 4);
    if (description->kind != MODELS_MODEL && description->kind != MODELS_SCRIPT) return false;
    /* They are signed where the commands tell them. */
    if (description->version > INT64_MAX || description->batch_size > INT64_MAX ||
        description->min_batch_size > INT64_MAX || description->min_batch_timeout_ms > INT64_MAX)
        return false;
    if (texts_size > size - MODELS_FOOTER_SIZE) return false;
    description->content_size = size - MODELS_FOOTER_SIZE - texts_size;
    ModelText *const first[] = {&description->backend, &description->device, &description->tag};
    const unsigned char *place = footer - texts_size;
    size_t count = 3 + description->input_count + description->output_count;
    for (size_t i = 0; i < count; i++) {
        size_t left = (size_t)(footer - place);
        if (left < 4 || read_number(place, 4) > left - 4) return false;
        if (i == 3) description->texts = place;
        ModelText text;
        place = models_read_text(place, &text);
        if (i < 3) *first[i] = text;
    }
    if (count == 3) description->texts = place;
    return place == footer;
}

size_t models_text_size(size_t size) { return 4 + size; }

unsigned char *models_write_text(unsigned char *place, const char *text, size_t size) {
    write_number(size, place, 4);
    if (size > 0) memcpy(place + 4, text, size);
    return place + 4 + size;
}

uint64_t models_write_footer(const ModelDescription *description, const unsigned char *value, size_t size,
                             size_t texts_size, unsigned char *footer) {
    write_number(description->batch_size, footer + AT_BATCH_SIZE, 8);
    write_number(description->min_batch_size, footer + AT_MIN_BATCH_SIZE, 8);
    write_number(description->min_batch_timeout_ms, footer + AT_MIN_BATCH_TIMEOUT, 8);
    write_number(texts_size, footer + AT_TEXTS_SIZE, 4);
    write_number(description->input_count, footer + AT_INPUT_COUNT, 2);
    write_number(description->output_count, footer + AT_OUTPUT_COUNT, 2);
    write_number(description->kind, footer + AT_KIND, 4);
    memcpy(footer + AT_MAGIC, MAGIC, sizeof MAGIC);
    uint64_t version = mix(0, value, size);
    /* It is told as a number with a sign. */
    version = mix(version, footer + AT_BATCH_SIZE, MODELS_FOOTER_SIZE - AT_BATCH_SIZE) >> 1;
    write_number(version, footer + AT_VERSION, 8);
    return version;
}

bool models_is_device(const char *text, size_t size) {
    if (size < 3) return false;
    if (size == 3) return strncasecmp(text, "CPU", 3) == 0 || strncasecmp(text, "GPU", 3) == 0;
    if (strncasecmp(text, "GPU:", 4) != 0 || size < 5 || size > 7) return false;
    for (size_t i = 4; i < size; i++)
        if (text[i] < '0' || text[i] > '9') return false;
    return true;
}
