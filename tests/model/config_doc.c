/* docs/config.md is what the tables say. LOCKSTEP_WRITE_DOCS=1 writes it anew. */
#include "model/support.h"

#include "base/file.h"

#include <stdlib.h>

#define PAGE LK_SOURCE_DIR "/docs/config.md"

Test(config_doc, page_is_up_to_date)
{
    lk_buf b = {0};
    char *page = NULL;
    size_t bytes = 0;

    lk_config_document(&b);
    EXPECT_OK(lk_buf_status(&b));
    if (getenv("LOCKSTEP_WRITE_DOCS") != NULL)
        EXPECT_OK(lk_file_write_atomic(PAGE, lk_buf_text(&b), b.len));
    EXPECT_OK(lk_file_read(PAGE, 0, &page, &bytes));
    cr_expect(bytes == b.len && memcmp(page, lk_buf_text(&b), bytes) == 0,
        "docs/config.md is behind the tables; LOCKSTEP_WRITE_DOCS=1 with this test writes it");
    lk_free(page);
    lk_buf_fini(&b);
}

/* The example on the page is a config that loads and builds. */
Test(config_doc, example_works)
{
    const lk_model_input in = {.sample = {3, {1, 8, 8}}};
    lk_buf b = {0};
    lk_config *c = NULL;
    lk_graph *g = NULL;
    int64_t classes = 0;

    lk_config_document(&b);
    char *begin = strstr(b.text, "```yaml\n");
    cr_assert(begin != NULL);
    begin += strlen("```yaml\n");
    char *end = strstr(begin, "```\n");
    cr_assert(end != NULL);
    *end = 0;
    EXPECT_OK(parse(begin, &c));
    EXPECT_OK(build_graph(c, &in, &g, &classes));
    cr_expect(classes == 10);
    lk_graph_destroy(&g);
    lk_config_destroy(&c);
    lk_buf_fini(&b);
}
