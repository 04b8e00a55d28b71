#include "base/table.h"
#include "base/mem.h"
#include "base/support.h"

#include <math.h>
#include <stdio.h>

typedef struct lr_opts {
    double peak;
    int64_t warmup;
    int decay;
} lr_opts;

static const lk_field lr_rows[] = {
    LK_FIELD(lr_opts, peak, LK_T_REAL, .def = "1e-3", .min = 0, .max = 1, .exclusive_min = true, .help = "Highest learning rate."),
    LK_FIELD(lr_opts, warmup, LK_T_INT, .def = "0", .min = 0, .max = INFINITY, .unit = "steps", .help = "Steps until the peak."),
    LK_FIELD(lr_opts, decay, LK_T_ENUM, .def = "cosine", .choices = "cosine|linear|none", .help = "Shape after the peak."),
};
static const lk_table lr_table = LK_TABLE(lr_opts, "lr", "The learning rate.", lr_rows);

typedef struct train_opts {
    int64_t epochs, batch, steps;
    bool shuffle;
    char *note;
    int optimizer;
    lk_strings files;
    lk_reals betas;
    lk_ints shape;
    lk_every save;
    lr_opts lr;
    const lk_yaml *extra;
    double limit;
} train_opts;

static const lk_field train_rows[] = {
    LK_FIELD(train_opts, epochs, LK_T_INT, .def = "10", .min = 1, .max = 1e9, .unit = "epochs", .help = "How often all samples are seen."),
    LK_FIELD(train_opts, batch, LK_T_INT, .min = 1, .max = 1e6, .unit = "samples", .help = "Samples of one step, over all ranks."),
    LK_FIELD(train_opts, steps, LK_T_INT, .def = "", .min = 1, .max = 1e12, .help = "Ends the run at this step."),
    LK_FIELD(train_opts, shuffle, LK_T_BOOL, .def = "yes", .help = "Whether the order changes each epoch."),
    LK_FIELD(train_opts, note, LK_T_STRING, .def = "", .help = "A | word to the reader."),
    LK_FIELD(train_opts, optimizer, LK_T_ENUM, .def = "adamw", .choices = "sgd|adamw", .help = "The rule."),
    LK_FIELD(train_opts, files, LK_T_STRINGS, .help = "Shards."),
    LK_FIELD(train_opts, betas, LK_T_REALS, .def = "[0.9, 0.999]", .min = 0, .max = 1, .help = "Moments."),
    LK_FIELD(train_opts, shape, LK_T_INTS, .def = "", .min = 1, .max = 65536, .help = "Shape."),
    LK_FIELD(train_opts, save, LK_T_EVERY, .def = "1 epoch", .min = 1, .max = 1000, .help = "When to save."),
    LK_FIELD(train_opts, lr, LK_T_TABLE, .sub = &lr_table, .help = "Learning rate."),
    LK_FIELD(train_opts, extra, LK_T_NODE, .def = "", .help = "Anything."),
    LK_FIELD(train_opts, limit, LK_T_REAL, .def = "", .min = -INFINITY, .max = 5, .help = "A limit."),
};
static const lk_table train_table = LK_TABLE(train_opts, "train", "How the run trains.", train_rows);

typedef struct data_opts {
    char *train;
    char *valid;
} data_opts;

static const lk_field data_rows[] = {
    LK_FIELD(data_opts, train, LK_T_STRING, .help = "Training shards."),
    LK_FIELD(data_opts, valid, LK_T_STRING, .def = "", .help = "Validation shards."),
};
static const lk_table data_table = LK_TABLE(data_opts, "data", "Where the samples are.", data_rows);

typedef struct root_opts {
    data_opts data;
    train_opts train;
} root_opts;

static const lk_field root_rows[] = {
    LK_FIELD(root_opts, data, LK_T_TABLE, .sub = &data_table, .help = "The data."),
    LK_FIELD(root_opts, train, LK_T_TABLE, .sub = &train_table, .help = "The training."),
};
static const lk_table root_table = LK_TABLE(root_opts, "config", "A run.", root_rows);

static lk_status parse(const lk_table *t, const char *text, void *obj)
{
    lk_yaml *root = NULL;

    EXPECT_OK(lk_yaml_parse_text(text, "c.yaml", &root));
    const lk_status st = lk_table_parse(t, root, obj);
    lk_yaml_destroy(&root);
    return st;
}

Test(table, defaults)
{
    train_opts o;
    const int64_t held = lk_mem_bytes();

    memset(&o, 0xaa, sizeof o);
    EXPECT_OK(lk_table_parse(&train_table, NULL, &o));
    cr_expect(o.epochs == 10 && o.batch == 0 && o.steps == 0 && o.shuffle && o.note == NULL && o.optimizer == 1);
    cr_expect(o.files.n == 0 && o.files.item == NULL && o.shape.n == 0);
    cr_assert(o.betas.n == 2);
    cr_expect(o.betas.item[0] == 0.9 && o.betas.item[1] == 0.999);
    cr_expect(o.save.count == 1 && o.save.epochs);
    cr_expect(o.lr.peak == 1e-3 && o.lr.warmup == 0 && o.lr.decay == 0);
    cr_expect(o.extra == NULL && o.limit == 0);
    lk_table_fini(&train_table, &o);
    cr_expect(o.epochs == 0 && o.betas.item == NULL && lk_mem_bytes() == held);
    EXPECT_TEXT(lk_table_missing(&train_table), "batch");
    EXPECT_TEXT(lk_table_missing(&root_table), "data");
    cr_expect(lk_table_missing(&lr_table) == NULL);
}

Test(table, every_type)
{
    const int64_t held = lk_mem_bytes();
    lk_yaml *root = NULL;
    train_opts o;

    EXPECT_OK(lk_yaml_parse_text("epochs: 3\nbatch: 64\nsteps: 100\nshuffle: off\nnote: 'hello: you'\noptimizer: sgd\n"
                                 "files: [a.h5, b.h5]\nbetas: 0.5\nshape: [3, 32, 32]\nsave: 200 steps\n"
                                 "lr: {peak: 3e-3, decay: none}\nextra: {any: [thing]}\nlimit: -7\n",
        "c.yaml", &root));
    EXPECT_OK(lk_table_parse(&train_table, root, &o));
    cr_expect(o.epochs == 3 && o.batch == 64 && o.steps == 100 && !o.shuffle && o.optimizer == 0);
    EXPECT_TEXT(o.note, "hello: you");
    cr_assert(o.files.n == 2 && o.betas.n == 1 && o.shape.n == 3);
    EXPECT_TEXT(o.files.item[1], "b.h5");
    cr_expect(o.betas.item[0] == 0.5 && o.shape.item[0] == 3 && o.shape.item[2] == 32);
    cr_expect(o.save.count == 200 && !o.save.epochs);
    cr_expect(o.lr.peak == 3e-3 && o.lr.warmup == 0 && o.lr.decay == 2);
    cr_expect(o.extra == lk_yaml_get(root, "extra"));
    cr_expect(o.limit == -7);
    lk_table_fini(&train_table, &o);
    lk_yaml_destroy(&root);
    cr_expect(lk_mem_bytes() == held);
}

Test(table, spellings)
{
    static const struct {
        const char *text;
        bool want;
    } bools[] = {{"true", true}, {"yes", true}, {"on", true}, {"false", false}, {"no", false}, {"off", false}};
    static const struct {
        const char *text;
        int64_t count;
        bool epochs;
    } every[] = {{"1 epoch", 1, true}, {"5 epochs", 5, true}, {"200 steps", 200, false}, {"1 step", 1, false}, {"17", 17, false}, {"never", 0, false}, {"\"3 epochs\"", 3, true}};
    char text[100];
    train_opts o;

    for (int i = 0; i < 6; i++) {
        snprintf(text, sizeof text, "{batch: 1, files: f, shuffle: %s}", bools[i].text);
        EXPECT_OK(parse(&train_table, text, &o));
        cr_expect(o.shuffle == bools[i].want, "%s", text);
        lk_table_fini(&train_table, &o);
    }
    for (int i = 0; i < 7; i++) {
        snprintf(text, sizeof text, "{batch: 1, files: f, save: %s}", every[i].text);
        EXPECT_OK(parse(&train_table, text, &o));
        cr_expect(o.save.count == every[i].count && o.save.epochs == every[i].epochs, "%s", text);
        lk_table_fini(&train_table, &o);
    }
    EXPECT_OK(parse(&train_table, "{batch: 1, files: 7, note: ~, steps: null, lr: ~, extra: , shape: []}", &o));
    EXPECT_TEXT(o.files.item[0], "7");
    cr_expect(o.note == NULL && o.steps == 0 && o.lr.peak == 1e-3 && o.extra == NULL && o.shape.n == 0);
    lk_table_fini(&train_table, &o);
}

Test(table, error_texts)
{
    static const struct {
        const char *text, *want;
    } row[] = {
        {"data: {train: a}\ntrian: {}\n", "c.yaml:2:1: unknown key \"trian\" in config (did you mean \"train\"?)"},
        {"data: {train: a}\ntrain:\n  batch: 1\n  epoch: 3\n", "c.yaml:4:3: unknown key \"epoch\" in train (did you mean \"epochs\"?)"},
        {"data: {train: a}\ntrain: {lr: {wormup: 1}}\n", "c.yaml:2:14: unknown key \"wormup\" in train.lr (did you mean \"warmup\"?)"},
        {"data: {train: a}\nsomething: 1\n", "c.yaml:2:1: unknown key \"something\" in config"},
        {"data: {train: a}\ntrain: {batch: abc}\n", "c.yaml:2:16: train.batch: expected a whole number, got \"abc\""},
        {"data: {train: a}\ntrain: {batch: 1e3}\n", "c.yaml:2:16: train.batch: expected a whole number, got \"1e3\""},
        {"data: {train: a}\ntrain: {batch: '5'}\n", "c.yaml:2:16: train.batch: expected a whole number, got \"5\" in quotes"},
        {"data: {train: a}\ntrain: {batch: }\n", "c.yaml:2:16: train.batch: expected a whole number, got nothing"},
        {"data: {train: a}\ntrain: {batch: ~}\n", "c.yaml:2:16: train.batch: expected a whole number, got nothing"},
        {"data: {train: a}\ntrain: {batch: [1]}\n", "c.yaml:2:16: train.batch: expected a whole number, got a list"},
        {"data: {train: a}\ntrain: {batch: {a: 1}}\n", "c.yaml:2:16: train.batch: expected a whole number, got a map"},
        {"data: {train: a}\ntrain: {epochs: 0}\n", "c.yaml:2:17: train.epochs: 0 is out of range (1 to 1e+09)"},
        {"data: {train: a}\ntrain: {epochs: 99999999999999999999}\n", "c.yaml:2:17: train.epochs: expected a whole number, got \"99999999999999999999\""},
        {"data: {train: a}\ntrain: {lr: {warmup: -1}}\n", "c.yaml:2:22: train.lr.warmup: -1 is out of range (at least 0)"},
        {"data: {train: a}\ntrain: {lr: {peak: 0}}\n", "c.yaml:2:20: train.lr.peak: 0 is out of range (above 0, at most 1)"},
        {"data: {train: a}\ntrain: {lr: {peak: fast}}\n", "c.yaml:2:20: train.lr.peak: expected a number, got \"fast\""},
        {"data: {train: a}\ntrain: {lr: {peak: nan}}\n", "c.yaml:2:20: train.lr.peak: expected a number, got \"nan\""},
        {"data: {train: a}\ntrain: {limit: 5.5}\n", "c.yaml:2:16: train.limit: 5.5 is out of range (at most 5)"},
        {"data: {train: a}\ntrain: {shuffle: maybe}\n", "c.yaml:2:18: train.shuffle: expected true or false, got \"maybe\""},
        {"data: {train: a}\ntrain: {shuffle: 'yes'}\n", "c.yaml:2:18: train.shuffle: expected true or false, got \"yes\" in quotes"},
        {"data: {train: a}\ntrain: {optimizer: adamv}\n", "c.yaml:2:20: train.optimizer: expected one of sgd, adamw, got \"adamv\" (did you mean \"adamw\"?)"},
        {"data: {train: a}\ntrain: {optimizer: zzzzzz}\n", "c.yaml:2:20: train.optimizer: expected one of sgd, adamw, got \"zzzzzz\""},
        {"data: {train: a}\ntrain: {optimizer: []}\n", "c.yaml:2:20: train.optimizer: expected one of sgd, adamw, got a list"},
        {"data: {train: a}\ntrain: {files: {a: b}}\n", "c.yaml:2:16: train.files: expected text or a list of texts, got a map"},
        {"data: {train: a}\ntrain: {files: [a, [b]]}\n", "c.yaml:2:20: train.files: expected text or a list of texts, got a list"},
        {"data: {train: a}\ntrain: {files: [a, ~]}\n", "c.yaml:2:20: train.files: expected text or a list of texts, got nothing"},
        {"data: {train: a}\ntrain: {files: []}\n", "c.yaml:2:16: train.files: the list is empty"},
        {"data: {train: a}\ntrain: {betas: [0.5, x]}\n", "c.yaml:2:22: train.betas: expected a number or a list of numbers, got \"x\""},
        {"data: {train: a}\ntrain: {betas: [0.5, 2]}\n", "c.yaml:2:22: train.betas: 2 is out of range (0 to 1)"},
        {"data: {train: a}\ntrain: {shape: [1, 2.5]}\n", "c.yaml:2:20: train.shape: expected a whole number or a list of whole numbers, got \"2.5\""},
        {"data: {train: a}\ntrain: {save: often}\n", "c.yaml:2:15: train.save: expected \"200 steps\", \"1 epoch\" or \"never\", got \"often\""},
        {"data: {train: a}\ntrain: {save: 0 steps}\n", "c.yaml:2:15: train.save: expected \"200 steps\", \"1 epoch\" or \"never\", got \"0 steps\""},
        {"data: {train: a}\ntrain: {save: -5 steps}\n", "c.yaml:2:15: train.save: expected \"200 steps\", \"1 epoch\" or \"never\", got \"-5 steps\""},
        {"data: {train: a}\ntrain: {save: 5 days}\n", "c.yaml:2:15: train.save: expected \"200 steps\", \"1 epoch\" or \"never\", got \"5 days\""},
        {"data: {train: a}\ntrain: {save: 1001}\n", "c.yaml:2:15: train.save: 1001 is out of range (1 to 1000)"},
        {"data: {train: a}\ntrain: {lr: 3e-3}\n", "c.yaml:2:13: train.lr: expected a map, got \"3e-3\""},
        {"data: {train: a}\ntrain: [1]\n", "c.yaml:2:8: train: expected a map, got a list"},
        {"data: {train: [a]}\n", "c.yaml:1:15: data.train: expected text, got a list"},
        {"data: {valid: b}\n", "c.yaml:1:7: section \"data\" lacks \"train\""},
        {"data:\n", "c.yaml:1:6: section \"data\" lacks \"train\""},
        {"train: {}\n", "c.yaml:1:8: section \"train\" lacks \"batch\""},
        {"{}\n", "c.yaml:1:1: section \"config\" lacks \"data\""},
        {"", "c.yaml:1:1: section \"config\" lacks \"data\""},
        {"- a\n", "c.yaml:1:1: config: expected a map, got a list"},
        {"word\n", "c.yaml:1:1: config: expected a map, got \"word\""},
    };
    const int64_t held = lk_mem_bytes();

    for (int i = 0; i < (int)(sizeof row / sizeof row[0]); i++) {
        root_opts o, zero;
        memset(&o, 0xaa, sizeof o);
        memset(&zero, 0, sizeof zero);
        EXPECT_FAIL(parse(&root_table, row[i].text, &o), LK_E_CONFIG, row[i].want);
        cr_expect(memcmp(&o, &zero, sizeof o) == 0);
        cr_expect(lk_mem_bytes() == held, "leak after \"%s\"", row[i].text);
    }
}

Test(table, values_from_the_command_line_are_named)
{
    lk_yaml *root = NULL;
    root_opts o;

    EXPECT_OK(lk_yaml_parse_text("data: {train: a}\ntrain: {batch: 1, files: x}\n", "c.yaml", &root));
    EXPECT_OK(lk_yaml_set(root, "train.batch", "abc"));
    EXPECT_FAIL(lk_table_parse(&root_table, root, &o), LK_E_CONFIG, "--set train.batch: expected a whole number, got \"abc\"");
    EXPECT_OK(lk_yaml_set(root, "train.batch", "5"));
    EXPECT_OK(lk_yaml_set(root, "train.lr", "{peak: 7}"));
    EXPECT_FAIL(lk_table_parse(&root_table, root, &o), LK_E_CONFIG, "--set train.lr: train.lr.peak: 7 is out of range (above 0, at most 1)");
    EXPECT_OK(lk_yaml_set(root, "train.lr", "{}"));
    EXPECT_OK(lk_yaml_set(root, "train.lr.paek", "1"));
    EXPECT_FAIL(lk_table_parse(&root_table, root, &o), LK_E_CONFIG, "--set train.lr.paek: unknown key \"paek\" in train.lr (did you mean \"peak\"?)");
    lk_yaml_destroy(&root);
}

Test(table, a_map_with_a_key_is_named_by_its_table)
{
    lk_yaml *root = NULL;
    train_opts o;

    EXPECT_OK(lk_yaml_parse_text("- train: {batch: x}\n- train:\n", "m.yaml", &root));
    EXPECT_FAIL(lk_table_parse(&train_table, lk_yaml_get(root->child[0], "train"), &o), LK_E_CONFIG, "m.yaml:1:18: train.batch: expected a whole number, got \"x\"");
    EXPECT_FAIL(lk_table_parse(&train_table, lk_yaml_get(root->child[1], "train"), &o), LK_E_CONFIG, "m.yaml:2:9: section \"train\" lacks \"batch\"");
    lk_yaml_destroy(&root);
}

Test(table, print_parses_to_the_same_values)
{
    static const char *const texts[] = {
        "{data: {train: a}, train: {batch: 4, files: [x]}}",
        "{data: {train: 'null', valid: '5'}, train: {batch: 4, files: ['', '~', 'a: b', 'yes', '1e3', \"l\\nl\"], note: 'on', save: never, "
        "betas: [], lr: {peak: 0.1, decay: linear}, limit: 0.30000000000000004}}",
        "{data: {train: 'x y', valid: ''}, train: {batch: 1000000, epochs: 7, files: f, steps: 5, shape: [1, 2], save: 7 epochs, shuffle: no, "
        "extra: {deep: [{er: [1, 2]}], '': x}, optimizer: sgd}}",
    };

    for (int i = 0; i < 3; i++) {
        lk_yaml *first = NULL, *second = NULL;
        root_opts o, again;
        lk_buf b = {0}, c = {0};
        EXPECT_OK(lk_yaml_parse_text(texts[i], "c.yaml", &first));
        EXPECT_OK(lk_table_parse(&root_table, first, &o));
        lk_table_print(&root_table, &o, 0, &b);
        EXPECT_OK(lk_buf_status(&b));
        EXPECT_OK(lk_yaml_parse_text(lk_buf_text(&b), "printed", &second));
        EXPECT_OK(lk_table_parse(&root_table, second, &again));
        lk_table_print(&root_table, &again, 0, &c);
        EXPECT_TEXT(lk_buf_text(&b), lk_buf_text(&c));
        cr_expect(o.train.batch == again.train.batch && o.train.limit == again.train.limit && o.train.files.n == again.train.files.n);
        for (int k = 0; k < o.train.files.n; k++)
            EXPECT_TEXT(again.train.files.item[k], o.train.files.item[k]);
        EXPECT_TEXT(again.data.train, o.data.train);
        cr_expect((again.data.valid == NULL) == (o.data.valid == NULL));
        lk_table_fini(&root_table, &o);
        lk_table_fini(&root_table, &again);
        lk_yaml_destroy(&first);
        lk_yaml_destroy(&second);
        lk_buf_fini(&b);
        lk_buf_fini(&c);
    }
}

Test(table, print_text)
{
    lk_yaml *root = NULL;
    root_opts o;
    lk_buf b = {0};

    EXPECT_OK(lk_yaml_parse_text("{data: {train: t-*.h5}, train: {batch: 4, files: [x, '2'], extra: [a, {b: 1}]}}", "c.yaml", &root));
    EXPECT_OK(lk_table_parse(&root_table, root, &o));
    lk_table_print(&root_table, &o, 0, &b);
    EXPECT_TEXT(lk_buf_text(&b), "data:\n"
                                 "  train: t-*.h5\n"
                                 "  valid: null\n"
                                 "train:\n"
                                 "  epochs: 10\n"
                                 "  batch: 4\n"
                                 "  steps: null\n"
                                 "  shuffle: true\n"
                                 "  note: null\n"
                                 "  optimizer: adamw\n"
                                 "  files: [x, \"2\"]\n"
                                 "  betas: [0.9, 0.999]\n"
                                 "  shape: []\n"
                                 "  save: 1 epoch\n"
                                 "  lr:\n"
                                 "    peak: 0.001\n"
                                 "    warmup: 0\n"
                                 "    decay: cosine\n"
                                 "  extra:\n"
                                 "    - a\n"
                                 "    - {b: 1}\n"
                                 "  limit: 0\n");
    lk_buf_fini(&b);
    lk_table_fini(&root_table, &o);
    lk_yaml_destroy(&root);
}

typedef struct cli_opts {
    char *config;
    lk_strings files, set;
    lk_ints shape;
    lk_reals lr;
    int64_t ranks;
    int64_t max_restarts;
    double timeout;
    bool json, overlap;
    int resume;
    char *out;
} cli_opts;

static const lk_field cli_rows[] = {
    LK_FIELD(cli_opts, config, LK_T_STRING, .positional = true, .help = "The run's YAML file."),
    LK_FIELD(cli_opts, files, LK_T_STRINGS, .def = "", .positional = true, .help = "Further files."),
    LK_FIELD(cli_opts, set, LK_T_STRINGS, .def = "", .unit = "key=value", .help = "Sets a key."),
    LK_FIELD(cli_opts, shape, LK_T_INTS, .def = "[1, 2]", .min = 1, .max = 99, .help = "A shape."),
    LK_FIELD(cli_opts, lr, LK_T_REALS, .def = "", .help = "Rates."),
    LK_FIELD(cli_opts, ranks, LK_T_INT, .def = "4", .min = 1, .max = 1e6, .short_name = 'n', .help = "Number of ranks."),
    LK_FIELD(cli_opts, max_restarts, LK_T_INT, .def = "0", .min = -10, .max = 10, .help = "How many further attempts the launcher makes when an attempt "
                                                                                          "failed, before it gives up and says what the last one died of."),
    LK_FIELD(cli_opts, timeout, LK_T_REAL, .def = "30", .unit = "seconds", .help = "Patience."),
    LK_FIELD(cli_opts, json, LK_T_BOOL, .def = "false", .short_name = 'j', .help = "Reports as JSON."),
    LK_FIELD(cli_opts, overlap, LK_T_BOOL, .def = "true", .help = "Overlaps."),
    LK_FIELD(cli_opts, resume, LK_T_ENUM, .def = "auto", .choices = "auto|never", .help = "Where to begin."),
    LK_FIELD(cli_opts, out, LK_T_STRING, .def = "", .unit = "file", .help = "Result."),
};
static const lk_table cli_table = LK_TABLE(cli_opts, "lockstep try", "Tries things.", cli_rows);

/* A command line as array and length; the parser only reads what argv points to. */
#define ARGS(...) ((const char *[]){__VA_ARGS__}), (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *))

static lk_status parse_argv(const lk_table *t, const char **argv, int argc, bool stop, void *o, int *used, bool *help)
{
    return lk_table_parse_args(t, argc, (char **)argv, stop, o, used, help);
}

static lk_status parse_words(const char **argv, int argc, cli_opts *o)
{
    int used = -1;
    bool help = true;

    const lk_status st = parse_argv(&cli_table, argv, argc, false, o, &used, &help);
    cr_expect(st != LK_OK || (used == argc && !help));
    return st;
}

Test(table, command_line)
{
    const int64_t held = lk_mem_bytes();
    cli_opts o;

    EXPECT_OK(parse_words(ARGS("run.yaml"), &o));
    EXPECT_TEXT(o.config, "run.yaml");
    cr_expect(o.ranks == 4 && o.timeout == 30 && !o.json && o.overlap && o.resume == 0 && o.out == NULL && o.files.n == 0 && o.shape.n == 2);
    lk_table_fini(&cli_table, &o);

    EXPECT_OK(parse_words(ARGS("-n", "8", "run.yaml", "--set", "a=[1, 2]", "a.h5", "--set=b=-3", "--max-restarts=-2", "b.h5", "--json", "--no-overlap",
                              "--timeout", "1.5", "--resume", "never", "--shape", "3,4", "--shape=5", "--lr", ".5", "--", "--strange"),
        &o));
    cr_expect(o.ranks == 8 && o.max_restarts == -2 && o.json && !o.overlap && o.timeout == 1.5 && o.resume == 1);
    cr_assert(o.set.n == 2 && o.files.n == 3 && o.shape.n == 3 && o.lr.n == 1);
    EXPECT_TEXT(o.set.item[0], "a=[1, 2]");
    EXPECT_TEXT(o.set.item[1], "b=-3");
    EXPECT_TEXT(o.files.item[0], "a.h5");
    EXPECT_TEXT(o.files.item[2], "--strange");
    cr_expect(o.shape.item[0] == 3 && o.shape.item[1] == 4 && o.shape.item[2] == 5);
    lk_table_fini(&cli_table, &o);

    EXPECT_OK(parse_words(ARGS("r", "-n16", "-j", "--max_restarts", "-3", "--overlap=no", "--out", "-"), &o));
    cr_expect(o.ranks == 16 && o.json && o.max_restarts == -3 && !o.overlap);
    EXPECT_TEXT(o.out, "-");
    lk_table_fini(&cli_table, &o);

    EXPECT_OK(parse_words(ARGS("r", "--out", "a", "--out", "b"), &o));
    EXPECT_TEXT(o.out, "b");
    lk_table_fini(&cli_table, &o);
    cr_expect(lk_mem_bytes() == held);
}

Test(table, command_line_refusals)
{
    const int64_t held = lk_mem_bytes();
    cli_opts o;

    EXPECT_FAIL(parse_words(NULL, 0, &o), LK_E_USAGE, "lockstep try: CONFIG is missing");
    EXPECT_FAIL(parse_words(ARGS("r", "--jsn"), &o), LK_E_USAGE, "lockstep try: unknown option \"--jsn\" (did you mean \"--json\"?)");
    EXPECT_FAIL(parse_words(ARGS("r", "--max-restart=3"), &o), LK_E_USAGE, "lockstep try: unknown option \"--max-restart=3\" (did you mean \"--max-restarts\"?)");
    EXPECT_FAIL(parse_words(ARGS("r", "--something-else"), &o), LK_E_USAGE, "lockstep try: unknown option \"--something-else\"");
    EXPECT_FAIL(parse_words(ARGS("r", "-x"), &o), LK_E_USAGE, "lockstep try: unknown option \"-x\"");
    EXPECT_FAIL(parse_words(ARGS("r", "-jx"), &o), LK_E_USAGE, "lockstep try: unknown option \"-jx\"");
    EXPECT_FAIL(parse_words(ARGS("r", "--no-out"), &o), LK_E_USAGE, "lockstep try: unknown option \"--no-out\"");
    EXPECT_FAIL(parse_words(ARGS("r", "--config", "x"), &o), LK_E_USAGE, "lockstep try: unknown option \"--config\"");
    EXPECT_FAIL(parse_words(ARGS("r", "--out"), &o), LK_E_USAGE, "lockstep try: --out needs a value");
    EXPECT_FAIL(parse_words(ARGS("r", "--out", "--json"), &o), LK_E_USAGE, "lockstep try: --out needs a value");
    EXPECT_FAIL(parse_words(ARGS("r", "--no-json=1"), &o), LK_E_USAGE, "lockstep try: \"--no-json=1\" takes no value");
    EXPECT_FAIL(parse_words(ARGS("r", "--json=maybe"), &o), LK_E_USAGE, "lockstep try: --json: expected true or false, got \"maybe\"");
    EXPECT_FAIL(parse_words(ARGS("r", "-n", "abc"), &o), LK_E_USAGE, "lockstep try: --ranks: expected a whole number, got \"abc\"");
    EXPECT_FAIL(parse_words(ARGS("r", "-n", "0"), &o), LK_E_USAGE, "lockstep try: --ranks: 0 is out of range (1 to 1e+06)");
    EXPECT_FAIL(parse_words(ARGS("r", "--max-restarts", "11"), &o), LK_E_USAGE, "lockstep try: --max-restarts: 11 is out of range (-10 to 10)");
    EXPECT_FAIL(parse_words(ARGS("r", "--shape", "1,,2"), &o), LK_E_USAGE, "lockstep try: --shape: expected a whole number or a list of whole numbers, got \"\"");
    EXPECT_FAIL(parse_words(ARGS("r", "--resume", "nevr"), &o), LK_E_USAGE, "lockstep try: --resume: expected one of auto, never, got \"nevr\" (did you mean \"never\"?)");
    cr_expect(o.config == NULL && lk_mem_bytes() == held);

    data_opts d;
    EXPECT_FAIL(parse_argv(&data_table, ARGS("x"), false, &d, NULL, NULL), LK_E_USAGE, "data: unexpected \"x\"");
    EXPECT_FAIL(parse_argv(&data_table, NULL, 0, false, &d, NULL, NULL), LK_E_USAGE, "data: --train is missing");
}

typedef struct copy_opts {
    lk_strings files;
    bool quiet;
    char *dest, *note;
} copy_opts;

static const lk_field copy_rows[] = {
    LK_FIELD(copy_opts, files, LK_T_STRINGS, .positional = true, .help = "Files."),
    LK_FIELD(copy_opts, quiet, LK_T_BOOL, .def = "false", .help = "Says less."),
    LK_FIELD(copy_opts, dest, LK_T_STRING, .positional = true, .help = "Folder."),
    LK_FIELD(copy_opts, note, LK_T_STRING, .positional = true, .help = "Note."),
};
static const lk_table copy_table = LK_TABLE(copy_opts, "lockstep copy", "Copies.", copy_rows);

Test(table, rows_behind_a_list_of_words)
{
    const int64_t held = lk_mem_bytes();
    copy_opts o;

    EXPECT_OK(parse_argv(&copy_table, ARGS("a", "b", "--quiet", "c", "to", "n"), false, &o, NULL, NULL));
    cr_assert(o.files.n == 3 && o.quiet);
    EXPECT_TEXT(o.files.item[2], "c");
    EXPECT_TEXT(o.dest, "to");
    EXPECT_TEXT(o.note, "n");
    lk_table_fini(&copy_table, &o);
    EXPECT_OK(parse_argv(&copy_table, ARGS("a", "to", "--", "-n"), false, &o, NULL, NULL));
    cr_assert(o.files.n == 1);
    EXPECT_TEXT(o.dest, "to");
    EXPECT_TEXT(o.note, "-n");
    lk_table_fini(&copy_table, &o);
    EXPECT_FAIL(parse_argv(&copy_table, ARGS("a", "to"), false, &o, NULL, NULL), LK_E_USAGE, "lockstep copy: DEST is missing");
    EXPECT_FAIL(parse_argv(&copy_table, ARGS("a"), false, &o, NULL, NULL), LK_E_USAGE, "lockstep copy: DEST is missing");
    EXPECT_FAIL(parse_argv(&copy_table, NULL, 0, false, &o, NULL, NULL), LK_E_USAGE, "lockstep copy: FILES is missing");
    lk_buf b = {0};
    lk_table_usage(&copy_table, &b);
    cr_expect(strncmp(b.text, "usage: lockstep copy [options] FILES... DEST NOTE\n", 50) == 0, "%s", b.text);
    lk_buf_fini(&b);
    cr_expect(lk_mem_bytes() == held);
}

typedef struct launch_opts {
    int64_t ranks;
    bool verbose;
} launch_opts;

static const lk_field launch_rows[] = {
    LK_FIELD(launch_opts, ranks, LK_T_INT, .def = "1", .min = 1, .max = 100, .short_name = 'n', .help = "Ranks."),
    LK_FIELD(launch_opts, verbose, LK_T_BOOL, .def = "false", .help = "Says more."),
};
static const lk_table launch_table = LK_TABLE(launch_opts, "lockstep launch", "Starts ranks.", launch_rows);

Test(table, stop_at_the_first_word)
{
    launch_opts o;
    int used = -1;
    bool help = true;

    EXPECT_OK(parse_argv(&launch_table, ARGS("-n", "3", "train", "x.yaml", "--json"), true, &o, &used, &help));
    cr_expect(o.ranks == 3 && used == 2 && !help);
    EXPECT_OK(parse_argv(&launch_table, ARGS("--verbose", "--", "--odd"), true, &o, &used, &help));
    cr_expect(o.verbose && used == 2);
    EXPECT_OK(parse_argv(&launch_table, NULL, 0, true, &o, &used, &help));
    cr_expect(used == 0 && o.ranks == 1);
    EXPECT_OK(parse_argv(&launch_table, ARGS("train", "x", "--help"), true, &o, &used, &help));
    cr_expect(used == 0 && !help);
}

Test(table, help_is_asked_for)
{
    cli_opts o;
    int used = -1;
    bool help = false;

    EXPECT_OK(parse_argv(&cli_table, ARGS("--json", "--help", "--nonsense"), false, &o, &used, &help));
    cr_expect(help && used == 2);
    lk_table_fini(&cli_table, &o);
    help = false;
    EXPECT_OK(parse_argv(&cli_table, ARGS("-h"), false, &o, NULL, &help));
    cr_expect(help);
    lk_table_fini(&cli_table, &o);
}

Test(table, usage)
{
    lk_buf b = {0};

    lk_table_usage(&cli_table, &b);
    EXPECT_OK(lk_buf_status(&b));
    EXPECT_TEXT(lk_buf_text(&b),
        "usage: lockstep try [options] CONFIG [FILES...]\n"
        "Tries things.\n"
        "\n"
        "  CONFIG                       The run's YAML file.\n"
        "  FILES                        Further files.\n"
        "\n"
        "options:\n"
        "      --set KEY=VALUE          Sets a key. (may be repeated)\n"
        "      --shape N,...            A shape. (1 to 99; default: [1, 2]; may be repeated)\n"
        "      --lr X,...               Rates. (may be repeated)\n"
        "  -n, --ranks N                Number of ranks. (1 to 1e+06; default: 4)\n"
        "      --max-restarts N         How many further attempts the launcher makes when an attempt failed,\n"
        "                               before it gives up and says what the last one died of. (-10 to 10;\n"
        "                               default: 0)\n"
        "      --timeout SECONDS        Patience. (default: 30)\n"
        "  -j, --json                   Reports as JSON.\n"
        "      --overlap, --no-overlap  Overlaps. (default: true)\n"
        "      --resume auto|never      Where to begin. (default: auto)\n"
        "      --out FILE               Result.\n"
        "  -h, --help                   Shows this text.\n");
    lk_buf_fini(&b);
}

Test(table, document)
{
    lk_buf b = {0};

    lk_table_document(&root_table, NULL, &b);
    EXPECT_OK(lk_buf_status(&b));
    const char *text = lk_buf_text(&b);
    const lk_table *const all[] = {&root_table, &data_table, &train_table, &lr_table};
    for (int t = 0; t < 4; t++) {
        EXPECT_HAS(text, all[t]->help);
        for (int i = 0; i < all[t]->n_fields; i++) {
            char cell[64];
            snprintf(cell, sizeof cell, "| `%s` |", all[t]->field[i].name);
            EXPECT_HAS(text, cell);
        }
    }
    EXPECT_HAS(text, "## `train.lr`\n\nThe learning rate.\n\n| key | type | unit | default | range | meaning |\n");
    EXPECT_HAS(text, "| `batch` | whole number | samples | required | 1 to 1e+06 | Samples of one step, over all ranks. |\n");
    EXPECT_HAS(text, "| `peak` | number |  | `1e-3` | above 0, at most 1 | Highest learning rate. |\n");
    EXPECT_HAS(text, "| `note` | text |  | unset |  | A \\| word to the reader. |\n");
    EXPECT_HAS(text, "| `optimizer` | choice |  | `adamw` | `sgd`, `adamw` | The rule. |\n");
    EXPECT_HAS(text, "| `data` | section |  | required |  | The data. |\n");
    cr_expect(strncmp(text, "A run.\n\n| key |", 15) == 0);
    lk_buf_fini(&b);
    lk_table_document(&lr_table, "train.lr", &b);
    cr_expect(strncmp(lk_buf_text(&b), "## `train.lr`\n", 14) == 0);
    lk_buf_fini(&b);
}

Test(table, choices)
{
    char t[16];

    EXPECT_TEXT(lk_choice_text("sgd|adamw", 0, t, sizeof t), "sgd");
    EXPECT_TEXT(lk_choice_text("sgd|adamw", 1, t, sizeof t), "adamw");
    EXPECT_TEXT(lk_choice_text("sgd|adamw", 2, t, sizeof t), "?");
    EXPECT_TEXT(lk_choice_text("sgd|adamw", -1, t, sizeof t), "?");
    EXPECT_TEXT(lk_choice_text("sgd|adamw", 1, t, 4), "ada");
}

Test(table, survives_every_failed_allocation)
{
    lk_yaml *root = NULL;

    EXPECT_OK(lk_yaml_parse_text("{data: {train: a, valid: b}, train: {batch: 4, files: [x, y, z], shape: [1, 2]}}", "c.yaml", &root));
    const int64_t held = lk_mem_bytes();
    for (int64_t at = 1;; at++) {
        root_opts o;
        lk_mem_fail_at(at);
        const lk_status st = lk_table_parse(&root_table, root, &o);
        lk_mem_fail_at(0);
        if (st == LK_OK)
            lk_table_fini(&root_table, &o);
        cr_expect(lk_mem_bytes() == held, "allocation %d leaks", (int)at);
        if (st == LK_OK)
            break;
        cr_assert(st == LK_E_NOMEM && at < 1000);
    }
    for (int64_t at = 1;; at++) {
        cli_opts o;
        lk_mem_fail_at(at);
        const lk_status st = parse_argv(&cli_table, ARGS("r", "f", "g", "--shape", "1,2,3"), false, &o, NULL, NULL);
        lk_mem_fail_at(0);
        if (st == LK_OK)
            lk_table_fini(&cli_table, &o);
        cr_expect(lk_mem_bytes() == held, "allocation %d leaks", (int)at);
        if (st == LK_OK)
            break;
        cr_assert(st == LK_E_NOMEM && at < 1000);
    }
    lk_yaml_destroy(&root);
}
