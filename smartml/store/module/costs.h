/* What the runs of each model and script have cost, since it was stored or this server was started. */
#ifndef SMARTML_COSTS_H
#define SMARTML_COSTS_H

#include <stdbool.h>

#include "calls.h"
#include "redis_api.h"

/* Count a run. */
void costs_note(const Call *call, long long duration_us, bool is_error);

void costs_forget(const String *model);

/* AI.INFO: tell them. */
int costs_info(Context *context, String **argv, int argc);

#endif
