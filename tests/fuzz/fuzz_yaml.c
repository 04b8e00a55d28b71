/* Any text either is refused with a place, or prints as text that parses to the same tree and prints the same again. */
#include "base/mem.h"
#include "base/yaml.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same_tree(const lk_yaml *a, const lk_yaml *b)
{
    if (a->kind != b->kind || a->n_child != b->n_child || a->quoted != b->quoted)
        return false;
    if ((a->text == NULL) != (b->text == NULL) || (a->text != NULL && strcmp(a->text, b->text) != 0))
        return false;
    if ((a->key == NULL) != (b->key == NULL) || (a->key != NULL && strcmp(a->key, b->key) != 0))
        return false;
    for (int i = 0; i < a->n_child; i++) {
        if (!same_tree(a->child[i], b->child[i]))
            return false;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lk_yaml *first = NULL, *second = NULL;
    lk_buf printed = {0}, again = {0};
    char *text = NULL;
    const int64_t held = lk_mem_bytes();

    if (lk_alloc(size + 1, "input", &text) != LK_OK)
        return 0;
    memcpy(text, data, size);
    const lk_status st = lk_yaml_parse_text(text, "fuzz", &first);
    if (st == LK_OK) {
        lk_yaml_print(first, 0, &printed);
        LK_BUG_IF(lk_yaml_parse_text(lk_buf_text(&printed), "again", &second) != LK_OK, "%s, in:\n%.600s",
            lk_err_last()->message, lk_buf_text(&printed));
        LK_BUG_IF(!same_tree(first, second), "another tree from:\n%.800s", lk_buf_text(&printed));
        lk_yaml_print(second, 0, &again);
        LK_BUG_IF(strcmp(lk_buf_text(&printed), lk_buf_text(&again)) != 0, "printed differently:\n%.800s",
            lk_buf_text(&again));
    } else {
        LK_BUG_IF(st != LK_E_CONFIG || strncmp(lk_err_last()->message, "fuzz:", 5) != 0, "refused without a place: %s",
            lk_err_last()->message);
        LK_BUG_IF(first != NULL, "refused, and yet an output");
    }
    lk_buf_fini(&again);
    lk_buf_fini(&printed);
    lk_yaml_destroy(&second);
    lk_yaml_destroy(&first);
    lk_free(text);
    LK_BUG_IF(lk_mem_bytes() != held, "%lld bytes are still held", (long long)(lk_mem_bytes() - held));
    return 0;
}
