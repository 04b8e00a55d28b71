/* Every file in configs/ parses, and its model fits the data it is made for. */
#include "model/support.h"

#include "base/file.h"

#include <stdio.h>

/* What the samples of each are; a second sample without a channel where files may be stored so. */
static const struct {
    const char *file;
    lk_shape sample[2];
    int64_t classes; /* 0: the target holds none */
    bool ids; /* the sample is whole numbers */
    lk_shape target;
    bool target_numbers; /* the target is real numbers, and no ids */
    lk_model_field more[2];
} made_for[] = {
    {"digits-mlp.yaml", .sample = {{3, {1, 8, 8}}, {2, {8, 8}}}, .classes = 10},
    {"digits-cnn.yaml", .sample = {{3, {1, 8, 8}}, {2, {8, 8}}}, .classes = 10},
    {"digits-transfer.yaml", .sample = {{3, {1, 8, 8}}, {2, {8, 8}}}, .classes = 10},
    {"mnist-mlp.yaml", .sample = {{3, {1, 28, 28}}, {2, {28, 28}}}, .classes = 10},
    {"mnist-cnn.yaml", .sample = {{3, {1, 28, 28}}, {2, {28, 28}}}, .classes = 10},
    {"mnist-lenet5.yaml", .sample = {{3, {1, 28, 28}}, {2, {28, 28}}}, .classes = 10},
    {"mnist-autoencoder.yaml", .sample = {{3, {1, 28, 28}}}, .classes = 0},
    {"mnist-vae.yaml", .sample = {{3, {1, 28, 28}}, {2, {28, 28}}}, .classes = 0},
    {"mnist-dcgan.yaml", .sample = {{3, {1, 28, 28}}}, .classes = 0},
    {"adult-tabular.yaml", .sample = {{1, {108}}}, .classes = 2},
    {"etth1-forecast.yaml", .sample = {{2, {96, 7}}}, .classes = 0, .target = {2, {24, 1}}, .target_numbers = true},
    {"fashion-cnn.yaml", .sample = {{3, {1, 28, 28}}, {2, {28, 28}}}, .classes = 10},
    {"resnet20-cifar.yaml", .sample = {{3, {3, 32, 32}}}, .classes = 10},
    {"alexnet.yaml", .sample = {{3, {3, 224, 224}}}, .classes = 1000},
    {"vgg11.yaml", .sample = {{3, {3, 224, 224}}}, .classes = 1000},
    {"resnet18.yaml", .sample = {{3, {3, 224, 224}}}, .classes = 1000},
    {"resnet50.yaml", .sample = {{3, {3, 224, 224}}}, .classes = 1000},
    {"vit-small.yaml", .sample = {{3, {3, 224, 224}}}, .classes = 1000},
    {"unet.yaml", .sample = {{3, {1, 64, 64}}, {3, {3, 64, 64}}}, .classes = 2, .target = {2, {64, 64}}},
    {"xor-perceptron.yaml", .sample = {{1, {2}}}, .classes = 2},
    {"char-lstm.yaml", .sample = {{1, {64}}}, .classes = 65, .ids = true, .target = {1, {64}}},
    {"char-gru.yaml", .sample = {{1, {64}}}, .classes = 65, .ids = true, .target = {1, {64}}},
    {"char-gpt.yaml", .sample = {{1, {128}}}, .classes = 65, .ids = true, .target = {1, {128}}},
    {"gpt2-124m.yaml", .sample = {{1, {1024}}}, .classes = 50257, .ids = true, .target = {1, {1024}}},
    {"speech-gru.yaml", .sample = {{2, {85, 40}}}, .classes = 10, .more = {{"length", .whole = true}}},
    {"sms-spam.yaml", .sample = {{1, {200}}}, .classes = 2, .ids = true, .more = {{"length", .whole = true}}},
    {"seq2seq-transformer.yaml", .sample = {{1, {32}}}, .classes = 14, .ids = true, .target = {1, {12}},
        .more = {{"source_length", .whole = true}}},
};

static void expect_builds(const lk_config *c, const char *path, const lk_model_input *in, int64_t expected)
{
    lk_model m = {0};
    char shape[LK_SHAPE_TEXT];

    const lk_status st = lk_model_build(c, in, &m);
    cr_assert(
        st == LK_OK, "%s with samples of %s: %s", path, lk_shape_print(&in->sample, shape), lk_err_last()->message);
    cr_expect(m.classes == expected, "%s: %ld classes", path, (long)m.classes);
    lk_model_fini(&m);
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
        const bool ids = c->data.synthetic.vocabulary > 0;
        const lk_model_input in = {
            .sample = sample, .whole = ids, .target_sample = ids ? sample : (lk_shape){0}, .target_whole = ids};
        expect_builds(c, path, &in, c->data.synthetic.classes);
        n++;
    }
    for (size_t i = 0; sample.ndim == 0 && i < sizeof made_for / sizeof made_for[0]; i++) {
        if (strcmp(made_for[i].file, name) != 0)
            continue;
        for (int k = 0; k < 2 && made_for[i].sample[k].ndim > 0; k++) {
            lk_model_input in = {.sample = made_for[i].sample[k],
                .whole = made_for[i].ids,
                .target_sample = made_for[i].target,
                .target_whole = !made_for[i].target_numbers};
            while (in.n_more < 2 && made_for[i].more[in.n_more].name != NULL) {
                in.more[in.n_more] = made_for[i].more[in.n_more];
                in.n_more++;
            }
            expect_builds(c, path, &in, made_for[i].classes);
        }
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
    cr_expect(check_folder(LK_SOURCE_DIR "/configs") >= 23);
    cr_expect(check_folder(LK_SOURCE_DIR "/configs/bench") >= 2);
}
