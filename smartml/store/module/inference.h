/* Running models and scripts: clients that wait, and the workers that run for them.
 *
 * A call goes client -> module -> worker -> module -> client, and no other way. A worker is a client, too, of another
 * program (smartml/inference), that has the frameworks; its loop is one command, SMARTML.INFERENCE, which hands back what
 * it has run and waits for more. Inputs travel with the call, and are read when it is handed out. Outputs are written
 * when all went well, before the client hears so. Only what is stored is replicated: the outputs, as SET.
 *
 * The server may start workers itself, as its module arguments say:
 *
 *     loadmodule smartml_tensors.so <workers> <log> <word of the command> ...
 *
 * It does so when a model is stored or run, and again when one has died. They end when their connection does.
 */
#ifndef SMARTML_INFERENCE_H
#define SMARTML_INFERENCE_H

#include <stdint.h>

#include "calls.h"
#include "redis_api.h"

/* Hear that a model or script was stored, and is about to be run: workers are started, where the server starts them and
 * none is there, and one of them loads it. */
void inference_expect(Context *context, const String *model, uint64_t version);

/* Hear that a model or script is no more. */
void inference_forget(const String *model);

/* Let the client wait for a run, or refuse it. */
int inference_submit(Context *context, const Request *request);

/* SMARTML.INFERENCE: the loop of a worker. */
int inference_work(Context *context, String **argv, int argc);

/* Read the module's arguments, and begin to hear of clients that go. Returns an error text, or NULL. */
const char *inference_load(Context *context, String **argv, int argc);

#endif
