/* The commands that store, show and delete models and scripts. */
#ifndef SMARTML_MODEL_COMMANDS_H
#define SMARTML_MODEL_COMMANDS_H

#include "redis_api.h"

#define NO_MODEL "ERR model key is empty"
#define NO_SCRIPT "ERR script key is empty"
#define DAMAGED_MODEL "ERR the model or script is damaged: its bytes do not add up; store it again"

int model_store(Context *context, String **argv, int argc);
int model_set(Context *context, String **argv, int argc);
int model_get(Context *context, String **argv, int argc);
int model_delete(Context *context, String **argv, int argc);
int script_store(Context *context, String **argv, int argc);
int script_set(Context *context, String **argv, int argc);
int script_get(Context *context, String **argv, int argc);
int script_delete(Context *context, String **argv, int argc);

#endif
