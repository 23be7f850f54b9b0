/* The commands that run models and scripts: their words, and which of them are keys. What becomes of a run that was
 * understood is in inference.h. */
#include "run_commands.h"

#include "arguments.h"
#include "inference.h"

/* Read a number and as many names. Returns false when there is no positive number, or fewer names. */
static const char *take_counted(Words *words, Names *names, const char *no_number, const char *not_positive,
                                const char *too_few) {
    String *word = take_any(words);
    long long count;
    if (word == NULL || RedisStringToLongLong(word, &count) != REDIS_OK) return no_number;
    if (count <= 0) return not_positive;
    if ((unsigned long long)count > words->left) return too_few;
    *names = (Names){words->next, (size_t)count};
    words->next += count;
    words->left -= (size_t)count;
    return NULL;
}

/* Read TIMEOUT's number. Returns an error text, or NULL. */
static const char *take_timeout(Words *words, long long *timeout_ms, const char *missing) {
    String *word = take_any(words);
    if (word == NULL) return missing;
    return is_positive(word, timeout_ms) ? NULL : "ERR Invalid value for TIMEOUT";
}

static const char *parse_execute(Words words, Request *request) {
    if (!take_word(&words, "INPUTS")) return "ERR INPUTS not specified";
    const char *error = take_counted(
        &words, &request->inputs, "ERR Invalid argument for input_count", "ERR Input count must be a positive integer",
        "ERR number of input keys to AI.MODELEXECUTE command does not match the number of given arguments");
    if (error != NULL) return error;
    if (!take_word(&words, "OUTPUTS")) return "ERR OUTPUTS not specified";
    error = take_counted(
        &words, &request->outputs, "ERR Invalid argument for output_count",
        "ERR Output count must be a positive integer",
        "ERR number of output keys to AI.MODELEXECUTE command does not match the number of given arguments");
    if (error != NULL) return error;
    if (take_word(&words, "TIMEOUT")) {
        error = take_timeout(&words, &request->timeout_ms, "ERR No value provided for TIMEOUT");
        if (error != NULL) return error;
    }
    /* The word itself may be anything, and is not repeated. */
    return words.left == 0 ? NULL : "ERR Invalid argument behind those of AI.MODELEXECUTE";
}

static bool is_section(const String *word) {
    return is_word(word, "INPUTS") || is_word(word, "OUTPUTS") || is_word(word, "TIMEOUT");
}

static Names take_section(Words *words) {
    Names names = {words->next, 0};
    while (words->left > 0 && !is_section(words->next[0])) {
        take_any(words);
        names.count++;
    }
    return names;
}

/* Read [TIMEOUT ms] INPUTS key ... OUTPUTS key ..., in any order. */
static const char *parse_run(Words words, Request *request) {
    while (words.left > 0) {
        if (take_word(&words, "INPUTS")) {
            if (request->inputs.first != NULL) return "ERR Already encountered an INPUTS keyword in SCRIPTRUN";
            request->inputs = take_section(&words);
        } else if (take_word(&words, "OUTPUTS")) {
            if (request->outputs.first != NULL) return "ERR Already encountered an OUTPUTS keyword in SCRIPTRUN";
            request->outputs = take_section(&words);
        } else if (take_word(&words, "TIMEOUT")) {
            if (request->timeout_ms > 0) return "ERR Already encountered an TIMEOUT section in SCRIPTRUN";
            const char *error = take_timeout(&words, &request->timeout_ms, "ERR No value provided for TIMEOUT");
            if (error != NULL) return error;
        } else {
            return "ERR Unrecongnized parameter to SCRIPTRUN";
        }
    }
    if (request->outputs.count == 0) return "ERR OUTPUTS not specified";
    return NULL;
}

static const char *parse_script_execute(Words words, Request *request) {
    if (words.left == 0 || (!is_word(words.next[0], "KEYS") && !is_word(words.next[0], "INPUTS")))
        return "ERR KEYS or INPUTS scope must be provided first for AI.SCRIPTEXECUTE command";
    static const char INVALID[] = "ERR Invalid arguments provided to AI.SCRIPTEXECUTE";
    while (words.left > 0) {
        const char *error = NULL;
        if (take_word(&words, "KEYS")) {
            error = words.left == 0 ? "ERR Missing arguments after KEYS keyword"
                                    : take_counted(&words, &request->keys,
                                                   "ERR Invalid or negative value found in number of KEYS",
                                                   "ERR Invalid or negative value found in number of KEYS",
                                                   "ERR Number of pre declared KEYS to be used in the command does "
                                                   "not match the number of given arguments");
        } else if (take_word(&words, "INPUTS")) {
            error = take_counted(&words, &request->inputs, "ERR Invalid argument for inputs count in AI.SCRIPTEXECUTE",
                                 "ERR Invalid argument for inputs count in AI.SCRIPTEXECUTE", INVALID);
        } else if (take_word(&words, "ARGS")) {
            error = take_counted(&words, &request->arguments, INVALID, INVALID, INVALID);
        } else if (take_word(&words, "OUTPUTS")) {
            error = take_counted(&words, &request->outputs, INVALID, INVALID, INVALID);
        } else if (take_word(&words, "TIMEOUT")) {
            error = take_timeout(&words, &request->timeout_ms, "ERR No value provided for TIMEOUT in AI.SCRIPTEXECUTE");
        } else {
            return INVALID;
        }
        if (error != NULL) return error;
    }
    return request->outputs.count == 0 ? INVALID : NULL;
}

/* ================================================================ keys */

static void tell_keys(Context *context, String **argv, const Names *names) {
    for (size_t i = 0; i < names->count; i++) RedisKeyAtPos(context, (int)(names->first - argv + (long)i));
}

/* Tell the server which words are keys: by it, it knows who may use them, and where in a cluster they belong. */
static int reply_positions(Context *context, String **argv, const Request *request) {
    RedisKeyAtPos(context, 1);
    tell_keys(context, argv, &request->keys);
    tell_keys(context, argv, &request->inputs);
    tell_keys(context, argv, &request->outputs);
    return REDIS_OK;
}

/* ================================================================ commands */

typedef const char *(*Parser)(Words words, Request *request);

static int run(Context *context, String **argv, int argc, int first, Parser parse, CallKind kind) {
    Request request = {.kind = kind, .model = argv[1], .function = kind == CALL_MODEL ? NULL : argv[2]};
    const char *error = parse((Words){argv + first, (size_t)(argc - first)}, &request);
    if (RedisIsKeysPositionRequest(context)) return reply_positions(context, argv, &request);
    return error != NULL ? fail(context, error) : inference_submit(context, &request);
}

/* Before the number of words is known to do. */
static bool asks_for_keys(Context *context, int argc, int least) {
    if (argc >= least || !RedisIsKeysPositionRequest(context)) return false;
    if (argc > 1) RedisKeyAtPos(context, 1);
    return true;
}

/* AI.MODELEXECUTE key INPUTS n key ... OUTPUTS n key ... [TIMEOUT ms]
 *
 * Reply: OK when the outputs are written. Complexity: O(bytes) of the inputs, beside the model's own. */
int model_execute(Context *context, String **argv, int argc) {
    if (asks_for_keys(context, argc, 8)) return REDIS_OK;
    RedisAutoMemory(context);
    if (argc < 8) return fail(context, WRONG_ARITY("AI.MODELEXECUTE"));
    return run(context, argv, argc, 2, parse_execute, CALL_MODEL);
}

/* AI.MODELRUN key [TIMEOUT ms] INPUTS key ... OUTPUTS key ... */
int model_run(Context *context, String **argv, int argc) {
    if (asks_for_keys(context, argc, 4)) return REDIS_OK;
    RedisAutoMemory(context);
    if (argc < 4) return fail(context, WRONG_ARITY("AI.MODELRUN"));
    return run(context, argv, argc, 2, parse_run, CALL_MODEL);
}

/* AI.SCRIPTRUN key function [TIMEOUT ms] INPUTS key ... OUTPUTS key ...
 *
 * The inputs are the function's arguments, one by one. */
int script_run(Context *context, String **argv, int argc) {
    if (asks_for_keys(context, argc, 4)) return REDIS_OK;
    RedisAutoMemory(context);
    if (argc < 4) return fail(context, WRONG_ARITY("AI.SCRIPTRUN"));
    return run(context, argv, argc, 3, parse_run, CALL_FUNCTION);
}

/* AI.SCRIPTEXECUTE key function [KEYS n key ...] [INPUTS n key ...] [ARGS n word ...] [OUTPUTS n key ...] [TIMEOUT ms]
 *
 * The function takes a list of tensors, the keys, and the other words. */
int script_execute(Context *context, String **argv, int argc) {
    if (asks_for_keys(context, argc, 5)) return REDIS_OK;
    RedisAutoMemory(context);
    if (argc < 5) return fail(context, WRONG_ARITY("AI.SCRIPTEXECUTE"));
    return run(context, argv, argc, 3, parse_script_execute, CALL_ENTRY_POINT);
}
