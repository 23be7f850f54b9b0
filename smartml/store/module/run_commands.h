/* The commands that run models and scripts. */
#ifndef SMARTML_RUN_COMMANDS_H
#define SMARTML_RUN_COMMANDS_H

#include "redis_api.h"

int model_execute(Context *context, String **argv, int argc);
int model_run(Context *context, String **argv, int argc);
int script_execute(Context *context, String **argv, int argc);
int script_run(Context *context, String **argv, int argc);

#endif
