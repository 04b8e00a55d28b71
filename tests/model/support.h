/* Configs from text, and models from configs. */
#ifndef LK_TESTS_MODEL_SUPPORT_H
#define LK_TESTS_MODEL_SUPPORT_H

#include "base/support.h"
#include "base/mem.h"
#include "model/model.h"

/* Sections of a config that is right; a test replaces the one it is about. */
#define DATA "data: {train: a.h5}\n"
#define MODEL "model: [flatten, {linear: 10}]\n"
#define TRAIN "train: {batch: 64, lr: 1e-3}\n"

/* `set` NULL: none. */
static inline lk_status parse_set(const char *text, const char *set, lk_config **out)
{
    char *item = (char *)set;
    const lk_strings sets = {.item = &item, .n = 1};

    return lk_config_parse(text, "run.yaml", "/data/set", set != NULL ? &sets : NULL, out);
}

static inline lk_status parse(const char *text, lk_config **out)
{
    return parse_set(text, NULL, out);
}

/* Fails, says exactly this, and leaves nothing behind. */
static inline void expect_config_fail(const char *text, const char *set, lk_status code, const char *message)
{
    lk_config *c = NULL;
    const int64_t bytes = lk_mem_bytes();

    const lk_status st = parse_set(text, set, &c);
    cr_expect(st == code, "%s for:\n%s%s", lk_status_name(st), text, set != NULL ? set : "");
    cr_expect(strcmp(lk_err_last()->message, message) == 0, "says  %s\nnot   %s\nfor:\n%s", lk_err_last()->message,
        message, text);
    cr_expect(c == NULL);
    lk_config_destroy(&c);
    cr_expect(lk_mem_bytes() == bytes, "%ld bytes are left over", (long)(lk_mem_bytes() - bytes));
}

/* The graph of a model of one phase, and its classes; written on success only. */
static inline lk_status build_graph(const lk_config *c, const lk_model_input *in, lk_graph **g, int64_t *classes)
{
    lk_model m = {0};

    LK_TRY(lk_model_build(c, in, &m));
    cr_assert(m.n_phases == 1 && m.evaluated == m.phase[0].graph);
    *g = m.phase[0].graph;
    *classes = m.classes;
    return LK_OK;
}

#endif
