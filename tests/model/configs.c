/* Every file in configs/ parses, and its model fits the data it is made for. */
#include "model/support.h"

#include "base/file.h"

#include <stdio.h>

/* What the samples of each are; one without a channel where files may be stored so. */
static const struct {
    const char *file;
    lk_shape sample[2];
} made_for[] = {
    {"digits-mlp.yaml", {{3, {1, 8, 8}}, {2, {8, 8}}}},
    {"digits-cnn.yaml", {{3, {1, 8, 8}}, {2, {8, 8}}}},
    {"mnist-mlp.yaml", {{3, {1, 28, 28}}, {2, {28, 28}}}},
    {"mnist-cnn.yaml", {{3, {1, 28, 28}}, {2, {28, 28}}}},
    {"fashion-cnn.yaml", {{3, {1, 28, 28}}, {2, {28, 28}}}},
};

static void expect_builds(const lk_config *c, const char *path, const lk_shape *sample)
{
    const bool ids = c->data.synthetic.vocabulary > 0;
    const lk_model_input in = {
        .sample = *sample, .whole = ids, .target_sample = ids ? *sample : (lk_shape){0}, .target_whole = ids};
    const int64_t expected = c->data.synthetic.input.n > 0 ? c->data.synthetic.classes : 10;
    lk_graph *g = NULL;
    int64_t classes = 0;
    char shape[LK_SHAPE_TEXT];

    const lk_status st = build_graph(c, &in, &g, &classes);
    cr_assert(st == LK_OK, "%s with samples of %s: %s", path, lk_shape_print(sample, shape), lk_err_last()->message);
    cr_expect(classes == expected, "%s: %ld classes", path, (long)classes);
    lk_graph_destroy(&g);
}

static void check_file(const char *folder, const char *name)
{
    char *path = NULL;
    lk_config *c = NULL;
    lk_shape sample = {0};
    int n = 0;

    EXPECT_OK(lk_path_join(folder, name, &path));
    const lk_status st = lk_config_load(path, NULL, &c);
    cr_assert(st == LK_OK, "%s", lk_err_last()->message);
    cr_expect(strncmp(path, c->path, strlen(path)) == 0);
    for (int i = 0; i < c->data.synthetic.input.n; i++)
        sample.dim[sample.ndim++] = c->data.synthetic.input.item[i];
    if (sample.ndim > 0) {
        expect_builds(c, path, &sample);
        n++;
    }
    for (size_t i = 0; i < sizeof made_for / sizeof made_for[0]; i++) {
        if (strcmp(made_for[i].file, name) != 0)
            continue;
        expect_builds(c, path, &made_for[i].sample[0]);
        expect_builds(c, path, &made_for[i].sample[1]);
        n++;
        /* A run is called after its file. */
        cr_expect(strncmp(c->run.name, name, strlen(c->run.name)) == 0, "%s is called %s", name, c->run.name);
    }
    cr_expect(n == 1, "%s: what its samples are should stand in this test", path);
    lk_config_destroy(&c);
    lk_free(path);
}

static int check_folder(const char *folder)
{
    char **names = NULL;
    int n = 0, n_files = 0;

    EXPECT_OK(lk_dir_list(folder, &names, &n));
    for (int i = 0; i < n; i++) {
        const char *end = strrchr(names[i], '.');
        if (end == NULL || strcmp(end, ".yaml") != 0)
            continue;
        check_file(folder, names[i]);
        n_files++;
    }
    lk_strings_free(&names, n);
    return n_files;
}

Test(configs, all_parse_and_build)
{
    cr_expect(check_folder(LK_SOURCE_DIR "/configs") >= 5);
    cr_expect(check_folder(LK_SOURCE_DIR "/configs/bench") >= 2);
}
