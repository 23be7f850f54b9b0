/* The commands that store, show and delete models and scripts.
 *
 * A model is an ordinary Redis string, too (models.h), with the rules of a tensor: replicated as SET, kept by snapshots
 * and append-only files that know no module. Nothing of it is looked into here; who runs it loads it (inference.h).
 */
#include "model_commands.h"

#include <stdlib.h>

#include "arguments.h"
#include "inference.h"
#include "models.h"
#include "values.h"

/* ================================================================ storing */

/* What a command says of a model or script, before it is one value. */
typedef struct {
    ModelDescription description;
    String *backend, *device, *tag;
    Names inputs, outputs;
    /* The model in chunks, or the one source. */
    Names content;
} Stored;

static const char *const BACKENDS[] = {"TF", "TORCH", "ONNX"};

static bool is_backend(const String *argument) {
    for (size_t i = 0; i < sizeof BACKENDS / sizeof *BACKENDS; i++)
        if (is_word(argument, BACKENDS[i])) return true;
    return false;
}

/* Read a number from 0 on that stands behind a word. Returns false when there is none. */
static bool take_number(Words *words, uint64_t *number) {
    String *word = take_any(words);
    long long read;
    if (word == NULL || RedisStringToLongLong(word, &read) != REDIS_OK || read < 0) return false;
    *number = (uint64_t)read;
    return true;
}

/* Read names: so many as the first word says, or those before `end` and BLOB. Returns an error text, or NULL. */
static const char *take_names(Words *words, bool is_counted, const char *end, Names *names) {
    names->first = words->next;
    names->count = 0;
    if (!is_counted) {
        while (words->left > 0 && !is_word(words->next[0], "BLOB") && !is_word(words->next[0], end)) {
            take_any(words);
            names->count++;
        }
        return names->count <= MODELS_LARGEST_COUNT ? NULL : "ERR too many names of inputs or outputs";
    }
    uint64_t count;
    if (!take_number(words, &count) || count == 0 || count > MODELS_LARGEST_COUNT)
        return "ERR Invalid argument for the number of inputs or outputs";
    names->first = words->next;
    if (count > words->left) return "ERR number of names of inputs or outputs does not match the number given";
    names->count = (size_t)count;
    words->next += count;
    words->left -= (size_t)count;
    return NULL;
}

/* Read [BATCHSIZE n] [MINBATCHSIZE n] [MINBATCHTIMEOUT ms]. Returns an error text, or NULL. */
static const char *take_batching(Words *words, ModelDescription *description) {
    if (take_word(words, "BATCHSIZE") && !take_number(words, &description->batch_size))
        return "ERR Invalid argument for BATCHSIZE";
    if (take_word(words, "MINBATCHSIZE")) {
        if (!take_number(words, &description->min_batch_size)) return "ERR Invalid argument for MINBATCHSIZE";
        if (description->batch_size == 0) return "ERR MINBATCHSIZE specified without BATCHSIZE";
    }
    if (take_word(words, "MINBATCHTIMEOUT")) {
        if (!take_number(words, &description->min_batch_timeout_ms)) return "ERR Invalid argument for MINBATCHTIMEOUT";
        if (description->min_batch_size == 0) return "ERR MINBATCHTIMEOUT specified without MINBATCHSIZE";
    }
    return NULL;
}

/* Read what stands behind the key of a model. Returns an error text, or NULL. */
static const char *parse_model(Words *words, bool is_counted, Stored *stored) {
    stored->backend = take_any(words);
    if (is_word(stored->backend, "TFLITE"))
        return "ERR Could not load backend: TFLITE is not among those of smartml, which are TF, TORCH and ONNX";
    if (!is_backend(stored->backend)) return "ERR unsupported backend";
    stored->device = take_any(words);
    size_t size;
    const char *device = RedisStringPtrLen(stored->device, &size);
    if (!models_is_device(device, size)) return "ERR Invalid DEVICE";
    if (take_word(words, "TAG") && (stored->tag = take_any(words)) == NULL)
        return "ERR Insufficient arguments, missing model BLOB";
    const char *error = take_batching(words, &stored->description);
    if (error != NULL) return error;
    bool is_tensorflow = is_word(stored->backend, "TF");
    if (take_word(words, "INPUTS")) {
        if (!is_tensorflow) return "ERR INPUTS argument should not be specified for this backend";
        if ((error = take_names(words, is_counted, "OUTPUTS", &stored->inputs)) != NULL) return error;
    } else if (is_tensorflow) {
        return "ERR INPUTS not specified for TF";
    }
    if (take_word(words, "OUTPUTS")) {
        if (!is_tensorflow) return "ERR OUTPUTS argument should not be specified for this backend";
        if ((error = take_names(words, is_counted, "INPUTS", &stored->outputs)) != NULL) return error;
    } else if (is_tensorflow) {
        return "ERR OUTPUTS not specified for TF";
    }
    if (words->left == 0) return "ERR Insufficient arguments, missing model BLOB";
    if (!take_word(words, "BLOB")) return "ERR Invalid argument, expected BLOB";
    if (words->left == 0) return "ERR Insufficient arguments, missing model BLOB";
    stored->content = (Names){words->next, words->left};
    return NULL;
}

/* Read what stands behind the key of a script. Returns an error text, or NULL. */
static const char *parse_script(Words *words, bool has_entry_points, Stored *stored) {
    stored->device = take_any(words);
    size_t size;
    const char *device = RedisStringPtrLen(stored->device, &size);
    if (!models_is_device(device, size)) return "ERR Invalid DEVICE";
    if (take_word(words, "TAG")) stored->tag = take_any(words);
    if (has_entry_points) {
        if (!take_word(words, "ENTRY_POINTS")) return "ERR Insufficient arguments, missing script entry points";
        uint64_t count;
        if (!take_number(words, &count))
            return "ERR Non numeric entry points number provided to AI.SCRIPTSTORE command";
        if (count == 0 || count > words->left || count > MODELS_LARGEST_COUNT)
            return "ERR Insufficient arguments, missing script entry points";
        stored->inputs = (Names){words->next, (size_t)count};
        words->next += count;
        words->left -= (size_t)count;
    }
    if (!take_word(words, "SOURCE") || words->left != 1) return "ERR Insufficient arguments, missing script SOURCE";
    stored->content = (Names){words->next, 1};
    return NULL;
}

static size_t text_size(const String *text) {
    size_t size = 0;
    if (text != NULL) RedisStringPtrLen(text, &size);
    return models_text_size(size);
}

static unsigned char *write_text(unsigned char *place, const String *text, bool is_upper) {
    size_t size = 0;
    const char *bytes = text == NULL ? NULL : RedisStringPtrLen(text, &size);
    unsigned char *end = models_write_text(place, bytes, size);
    for (unsigned char *it = end - size; is_upper && it < end; it++)
        if (*it >= 'a' && *it <= 'z') *it = (unsigned char)(*it - 'a' + 'A');
    return end;
}

/* Write the texts of a description into memory that the caller frees; NULL when there is none. */
static unsigned char *write_texts(const Stored *stored, size_t *size) {
    *size = text_size(stored->backend) + text_size(stored->device) + text_size(stored->tag);
    const Names *const all[] = {&stored->inputs, &stored->outputs};
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < all[k]->count; i++) *size += text_size(all[k]->first[i]);
    unsigned char *texts = *size <= UINT32_MAX ? malloc(*size) : NULL;
    if (texts == NULL) return NULL;
    unsigned char *place = write_text(texts, stored->backend, true);
    place = write_text(place, stored->device, true);
    place = write_text(place, stored->tag, false);
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < all[k]->count; i++) place = write_text(place, all[k]->first[i], false);
    return texts;
}

/* Make the value: what is received first becomes it, and the rest is appended. NULL when there is no memory. */
static String *make_value(Context *context, Stored *stored) {
    size_t size;
    String *value = stored->content.first[0];
    for (size_t i = 1; i < stored->content.count && value != NULL; i++) {
        const char *chunk = RedisStringPtrLen(stored->content.first[i], &size);
        value = values_extend(context, value, chunk, size);
    }
    size_t texts_size;
    unsigned char *texts = write_texts(stored, &texts_size);
    if (texts != NULL && value != NULL) value = values_extend(context, value, texts, texts_size);
    free(texts);
    if (texts == NULL || value == NULL) return NULL;
    stored->description.input_count = stored->inputs.count;
    stored->description.output_count = stored->outputs.count;
    unsigned char footer[MODELS_FOOTER_SIZE];
    const char *bytes = RedisStringPtrLen(value, &size);
    stored->description.version =
        models_write_footer(&stored->description, (const unsigned char *)bytes, size, texts_size, footer);
    value = values_extend(context, value, footer, sizeof footer);
    if (value != NULL && RedisTrimStringAllocation != NULL) RedisTrimStringAllocation(value);
    return value;
}

/* Look whether a key holds a model or script of a kind. Returns an error text, or NULL. */
static const char *find(Key *key, uint32_t kind, ModelDescription *description, const unsigned char **value) {
    size_t size;
    switch (values_look(key, value, &size)) {
        case HOLDS_NOTHING: return kind == MODELS_MODEL ? NO_MODEL : NO_SCRIPT;
        case HOLDS_MODEL: break;
        default: return WRONG_TYPE;
    }
    if (!models_read_description(description, *value, size)) return DAMAGED_MODEL;
    return description->kind == kind ? NULL : WRONG_TYPE;
}

static int store(Context *context, String **argv, int argc, uint32_t kind, bool is_new_form) {
    Key *key = RedisOpenKey(context, argv[1], KEY_READ | KEY_WRITE);
    const unsigned char *former;
    size_t former_size;
    Holding holding = values_look(key, &former, &former_size);
    if (holding != HOLDS_NOTHING && holding != HOLDS_MODEL) return fail(context, WRONG_TYPE);
    Stored stored = {.description = {.kind = kind}};
    Words words = {argv + 2, (size_t)(argc - 2)};
    const char *error = kind == MODELS_MODEL ? parse_model(&words, is_new_form, &stored)
                                             : parse_script(&words, is_new_form, &stored);
    if (error != NULL) return fail(context, error);
    String *value = make_value(context, &stored);
    if (value == NULL) return fail(context, "ERR no memory for the model or script");
    error = values_write(context, key, argv[1], value);
    if (error != NULL) return fail(context, error);
    inference_expect(context, argv[1], stored.description.version);
    return RedisReplyWithSimpleString(context, "OK");
}

/* AI.MODELSTORE key backend device [TAG tag] [BATCHSIZE n [MINBATCHSIZE m [MINBATCHTIMEOUT ms]]]
 *     [INPUTS n name ...] [OUTPUTS n name ...] BLOB chunk [chunk ...]
 *
 * Replaces a model, or a script, but no value of another kind. Inputs and outputs are named for TF, and only there.
 * Reply: OK. Complexity: O(bytes), for the version. */
int model_store(Context *context, String **argv, int argc) {
    RedisAutoMemory(context);
    if (argc < 4) return fail(context, WRONG_ARITY("AI.MODELSTORE"));
    return store(context, argv, argc, MODELS_MODEL, true);
}

/* AI.MODELSET: as AI.MODELSTORE, with names that are not counted. */
int model_set(Context *context, String **argv, int argc) {
    RedisAutoMemory(context);
    if (argc < 4) return fail(context, WRONG_ARITY("AI.MODELSET"));
    return store(context, argv, argc, MODELS_MODEL, false);
}

/* AI.SCRIPTSTORE key device [TAG tag] ENTRY_POINTS n function ... SOURCE text */
int script_store(Context *context, String **argv, int argc) {
    RedisAutoMemory(context);
    if (argc < 3) return fail(context, WRONG_ARITY("AI.SCRIPTSTORE"));
    return store(context, argv, argc, MODELS_SCRIPT, true);
}

/* AI.SCRIPTSET key device [TAG tag] SOURCE text */
int script_set(Context *context, String **argv, int argc) {
    RedisAutoMemory(context);
    if (argc < 3) return fail(context, WRONG_ARITY("AI.SCRIPTSET"));
    return store(context, argv, argc, MODELS_SCRIPT, false);
}

/* ================================================================ showing */

static void reply_model_text(Context *context, const char *name, const ModelText *text) {
    reply_text(context, name);
    RedisReplyWithStringBuffer(context, text->bytes, text->size);
}

static void reply_number(Context *context, const char *name, uint64_t number) {
    reply_text(context, name);
    RedisReplyWithLongLong(context, (long long)number);
}

static const unsigned char *reply_names(Context *context, const char *name, const unsigned char *place, size_t count) {
    reply_text(context, name);
    RedisReplyWithArray(context, (long)count);
    for (size_t i = 0; i < count; i++) {
        ModelText text;
        place = models_read_text(place, &text);
        RedisReplyWithStringBuffer(context, text.bytes, text.size);
    }
    return place;
}

static void reply_description(Context *context, const ModelDescription *it) {
    if (it->kind == MODELS_MODEL) reply_model_text(context, "backend", &it->backend);
    reply_model_text(context, "device", &it->device);
    reply_model_text(context, "tag", &it->tag);
    if (it->kind == MODELS_SCRIPT) {
        reply_names(context, "Entry Points", it->texts, it->input_count);
        return;
    }
    reply_number(context, "batchsize", it->batch_size);
    reply_number(context, "minbatchsize", it->min_batch_size);
    const unsigned char *outputs = reply_names(context, "inputs", it->texts, it->input_count);
    reply_names(context, "outputs", outputs, it->output_count);
    reply_number(context, "minbatchtimeout", it->min_batch_timeout_ms);
}

/* Reply what is stored: `content` names it, and is the word that asks for it alone. */
static int show(Context *context, String **argv, int argc, uint32_t kind, const char *content, const char *name) {
    Key *key = RedisOpenKey(context, argv[1], KEY_READ);
    ModelDescription description;
    const unsigned char *value;
    const char *error = find(key, kind, &description, &value);
    if (error != NULL) return fail(context, error);
    bool has_meta = false, has_content = false;
    for (int i = 2; i < argc; i++) {
        if (is_word(argv[i], "META"))
            has_meta = true;
        else if (is_word(argv[i], content))
            has_content = true;
        else
            return fail(context, "ERR unsupported data format");
    }
    if (!has_meta && !has_content) has_meta = has_content = true;
    const char *bytes = (const char *)value;
    if (!has_meta) return RedisReplyWithStringBuffer(context, bytes, description.content_size);
    RedisReplyWithArray(context, (kind == MODELS_MODEL ? 16 : 6) + (has_content ? 2 : 0));
    reply_description(context, &description);
    if (!has_content) return REDIS_OK;
    reply_text(context, name);
    return RedisReplyWithStringBuffer(context, bytes, description.content_size);
}

/* AI.MODELGET key [META] [BLOB]
 *
 * Reply: with BLOB alone the bytes, always in one piece; else names and their values. Complexity: O(bytes). */
int model_get(Context *context, String **argv, int argc) {
    RedisAutoMemory(context);
    if (argc < 2 || argc > 4) return fail(context, WRONG_ARITY("AI.MODELGET"));
    return show(context, argv, argc, MODELS_MODEL, "BLOB", "blob");
}

/* AI.SCRIPTGET key [META] [SOURCE] */
int script_get(Context *context, String **argv, int argc) {
    RedisAutoMemory(context);
    if (argc < 2 || argc > 4) return fail(context, WRONG_ARITY("AI.SCRIPTGET"));
    return show(context, argv, argc, MODELS_SCRIPT, "SOURCE", "source");
}

/* ================================================================ deleting */

static int delete(Context *context, String **argv, uint32_t kind) {
    Key *key = RedisOpenKey(context, argv[1], KEY_READ | KEY_WRITE);
    ModelDescription description;
    const unsigned char *value;
    const char *error = find(key, kind, &description, &value);
    if (error != NULL) return fail(context, error);
    RedisDeleteKey(key);
    inference_forget(argv[1]);
    RedisNotifyKeyspaceEvent(context, NOTIFY_GENERIC, "del", argv[1]);
    RedisReplicate(context, "DEL", "s", argv[1]);
    return RedisReplyWithSimpleString(context, "OK");
}

/* AI.MODELDEL key: reply OK. */
int model_delete(Context *context, String **argv, int argc) {
    RedisAutoMemory(context);
    if (argc != 2) return fail(context, WRONG_ARITY("AI.MODELDEL"));
    return delete(context, argv, MODELS_MODEL);
}

/* AI.SCRIPTDEL key: reply OK. */
int script_delete(Context *context, String **argv, int argc) {
    RedisAutoMemory(context);
    if (argc != 2) return fail(context, WRONG_ARITY("AI.SCRIPTDEL"));
    return delete(context, argv, MODELS_SCRIPT);
}
