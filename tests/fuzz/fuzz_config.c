/* Any text either is refused with a place, or is a config that prints as one of the same run: the print loads, prints
 * the same, and builds the same model. A first line "--set KEY=VALUE" is applied as on the command line. */
#include "base/mem.h"
#include "model/model.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static lk_status parse(char *text, lk_config **out)
{
    lk_strings sets = {0};
    char *set = text + strlen("--set ");

    if (strncmp(text, "--set ", strlen("--set ")) == 0) {
        char *end = strchr(set, '\n');
        sets = (lk_strings){.item = &set, .n = 1};
        text = end != NULL ? end + 1 : set + strlen(set);
        if (end != NULL)
            *end = 0;
    }
    return lk_config_parse(text, "fuzz.yaml", "/data", &sets, out);
}

/* Whether the message begins with a file's place or with the option. */
static bool has_place(const char *source)
{
    const char *message = lk_err_last()->message;

    return strncmp(message, source, strlen(source)) == 0 || strncmp(message, "--set ", strlen("--set ")) == 0;
}

static lk_status build(const lk_config *c, const char *source, lk_model *m)
{
    lk_model_input in = {.sample = {3, {1, 8, 8}}, .target_sample = {1, {1}}};
    const lk_ints *shape = &c->data.synthetic.input;

    if (shape->n > 0)
        in.sample.ndim = shape->n;
    for (int i = 0; i < shape->n; i++)
        in.sample.dim[i] = shape->item[i];
    const lk_status st = lk_model_build(c, &in, m);
    LK_BUG_IF(
        st != LK_OK && st != LK_E_CONFIG && st != LK_E_SHAPE, "%s: %s", lk_status_name(st), lk_err_last()->message);
    LK_BUG_IF(st != LK_OK && !has_place(source), "refused without a place: %s", lk_err_last()->message);
    LK_BUG_IF((st == LK_OK) != (m->n_phases > 0), "%s, and %d phases", lk_status_name(st), m->n_phases);
    return st;
}

static void check(const lk_config *c)
{
    lk_buf printed = {0}, again = {0};
    lk_config *copy = NULL;
    lk_model m = {0}, m_copy = {0};

    lk_config_print(c, &printed);
    LK_BUG_IF(lk_config_parse(lk_buf_text(&printed), "again.yaml", "/else/where", NULL, &copy) != LK_OK,
        "%s, in:\n%.700s", lk_err_last()->message, lk_buf_text(&printed));
    lk_config_print(copy, &again);
    LK_BUG_IF(
        strcmp(lk_buf_text(&printed), lk_buf_text(&again)) != 0, "printed differently:\n%.700s", lk_buf_text(&again));
    const lk_status st = build(c, "fuzz.yaml", &m);
    LK_BUG_IF(build(copy, "again.yaml", &m_copy) != st, "the copy builds otherwise: %s",
        lk_err_last()->message);
    LK_BUG_IF(m.classes != m_copy.classes || m.n_phases != m_copy.n_phases, "the copy is another model:\n%.700s", lk_buf_text(&printed));
    for (int i = 0; i < m.n_phases; i++)
        LK_BUG_IF(lk_graph_hash(m.phase[i].graph) != lk_graph_hash(m_copy.phase[i].graph), "the copy is another model:\n%.700s", lk_buf_text(&printed));
    lk_model_fini(&m);
    lk_model_fini(&m_copy);
    lk_config_destroy(&copy);
    lk_buf_fini(&printed);
    lk_buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const int64_t held = lk_mem_bytes();
    char *text = NULL;
    lk_config *c = NULL;

    if (lk_alloc(size + 1, "input", &text) != LK_OK)
        return 0;
    memcpy(text, data, size);
    const lk_status st = parse(text, &c);
    if (st == LK_OK) {
        check(c);
    } else {
        LK_BUG_IF(st != LK_E_CONFIG && st != LK_E_USAGE, "%s: %s", lk_status_name(st), lk_err_last()->message);
        LK_BUG_IF(!has_place("fuzz.yaml"), "refused without a place: %s", lk_err_last()->message);
        LK_BUG_IF(c != NULL, "refused, and yet an output");
    }
    lk_config_destroy(&c);
    lk_free(text);
    LK_BUG_IF(lk_mem_bytes() != held, "%lld bytes are still held", (long long)(lk_mem_bytes() - held));
    return 0;
}
