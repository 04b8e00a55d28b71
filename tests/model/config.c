/* Reading, checking and printing of configs. */
#include "model/support.h"

#include "base/file.h"
#include "data/sampler.h"
#include "engine/schedule.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const lk_every no_every;

static bool same_every(lk_every a, int64_t count, bool epochs)
{
    return a.count == count && a.epochs == epochs;
}

Test(config, defaults)
{
    lk_config *c = NULL;

    EXPECT_OK(parse(DATA MODEL TRAIN, &c));
    EXPECT_TEXT(c->run.name, "run");
    cr_expect(c->run.seed == 1 && c->run.dir == NULL && c->run.threads == 1 && c->run.device == LK_DEVICE_AUTO);
    EXPECT_TEXT(c->data.input, "image");
    EXPECT_TEXT(c->data.target, "label");
    cr_expect(c->data.train.n == 1 && c->data.valid.n == 0);
    cr_expect(c->data.scale == 0 && c->data.mean.n == 0 && c->data.std.n == 0);
    cr_expect(c->data.block == 64 && c->data.window == 16 && c->data.order == LK_ORDER_SHUFFLED &&
              c->data.readers == 1 && c->data.prefetch == 4);
    cr_expect(c->data.synthetic.input.n == 0);
    const lk_train_opts *t = &c->train;
    cr_expect(t->objective == LK_OBJECTIVE_CLASSIFY && t->epochs == 10 && t->steps == 0 && t->batch == 64 &&
              t->microbatches == 8);
    cr_expect(t->optimizer == LK_OPT_ADAMW && t->weight_decay == 0 && t->momentum == 0.9 && t->beta1 == 0.9 &&
              t->beta2 == 0.999 && t->eps == 1e-8 && !t->nesterov);
    cr_expect(t->clip_norm == 0 && t->precision == 0 && t->reduction == LK_REDUCTION_EXACT &&
              t->bucket_bytes == 4194304 && t->activation_memory == 0 && t->shard_optimizer);
    cr_expect(t->lr.peak == 1e-3 && t->lr.floor == 0 && t->lr.warmup == 0 && t->lr.decay == LK_DECAY_CONSTANT &&
              t->lr.every == 0 && t->lr.factor == 0.1);
    cr_expect(same_every(t->eval_every, 1, true) && same_every(t->log_every, 10, false));
    cr_expect(same_every(c->checkpoint.every, 1, true) && c->checkpoint.keep == 3);
    cr_expect(c->model->kind == LK_YAML_LIST && c->model->n_child == 2);
    lk_config_destroy(&c);
    cr_expect(c == NULL);
    lk_config_destroy(&c);
}

Test(config, values)
{
    static const char text[] = "run: {name: a b, seed: 7, dir: /tmp/x, threads: 2, device: cpu}\n"
                               "data:\n"
                               "  train: [one.h5, /abs/two-*.h5]\n"
                               "  valid: v.h5\n"
                               "  input: x\n"
                               "  target: y\n"
                               "  fields: [mask, weight]\n"
                               "  scale: 0.5\n"
                               "  mean: [1, 2, 3]\n"
                               "  std: [4, 5, 6]\n"
                               "  order: sequential\n"
                               "model: [relu]\n"
                               "train:\n"
                               "  objective: regress\n"
                               "  batch: 12\n"
                               "  microbatches: 3\n"
                               "  optimizer: sgd\n"
                               "  nesterov: true\n"
                               "  lr: {peak: 0.1, floor: 0.01, warmup: 5, decay: step, every: 30, factor: 0.5}\n"
                               "  reduction: fast\n"
                               "  eval_every: never\n"
                               "  log_every: 1 epoch\n"
                               "checkpoint: {every: 200 steps, keep: 1}\n";
    lk_config *c = NULL;

    EXPECT_OK(parse(text, &c));
    EXPECT_TEXT(c->run.name, "a b");
    EXPECT_TEXT(c->run.dir, "/tmp/x");
    cr_expect(c->run.seed == 7 && c->run.threads == 2 && c->run.device == LK_DEVICE_CPU);
    cr_assert(c->data.train.n == 2 && c->data.valid.n == 1);
    EXPECT_TEXT(c->data.train.item[0], "/data/set/one.h5");
    EXPECT_TEXT(c->data.train.item[1], "/abs/two-*.h5");
    EXPECT_TEXT(c->data.valid.item[0], "/data/set/v.h5");
    cr_assert(c->data.fields.n == 2);
    EXPECT_TEXT(c->data.fields.item[1], "weight");
    cr_expect(
        c->data.mean.n == 3 && c->data.std.n == 3 && c->data.std.item[2] == 6 && c->data.order == LK_ORDER_SEQUENTIAL);
    cr_expect(c->train.objective == LK_OBJECTIVE_REGRESS && c->train.optimizer == LK_OPT_SGD && c->train.nesterov);
    cr_expect(c->train.lr.decay == LK_DECAY_STEP && c->train.lr.every == 30 && c->train.lr.factor == 0.5 &&
              c->train.lr.floor == 0.01 && c->train.lr.warmup == 5);
    cr_expect(c->train.reduction == LK_REDUCTION_FAST);
    cr_expect(same_every(c->train.eval_every, no_every.count, false) && same_every(c->train.log_every, 1, true) &&
              same_every(c->checkpoint.every, 200, false));
    lk_config_destroy(&c);
}

Test(config, the_missing_one_of_mean_and_std_is_filled_in)
{
    lk_config *c = NULL;

    EXPECT_OK(parse("data: {train: a.h5, mean: [0.5, 2]}\n" MODEL TRAIN, &c));
    cr_expect(c->data.std.n == 2 && c->data.std.item[0] == 1 && c->data.std.item[1] == 1);
    lk_config_destroy(&c);
    EXPECT_OK(parse("data: {train: a.h5, std: 3}\n" MODEL TRAIN, &c));
    cr_expect(c->data.mean.n == 1 && c->data.mean.item[0] == 0);
    lk_config_destroy(&c);
}

Test(config, a_number_is_the_peak_of_the_learning_rate)
{
    lk_config *c = NULL;

    EXPECT_OK(parse(DATA MODEL "train: {batch: 8, lr: 3e-3}\n", &c));
    cr_expect(c->train.lr.peak == 3e-3 && c->train.lr.decay == LK_DECAY_CONSTANT);
    lk_config_destroy(&c);
    /* Beside what the file says, and below a number in the file. */
    EXPECT_OK(parse_set(DATA MODEL "train: {batch: 8, lr: {peak: 1, decay: cosine}}\n", "train.lr=0.5", &c));
    cr_expect(c->train.lr.peak == 0.5 && c->train.lr.decay == LK_DECAY_COSINE);
    lk_config_destroy(&c);
    EXPECT_OK(parse_set(DATA MODEL "train: {batch: 8, lr: 1}\n", "train.lr.warmup=9", &c));
    cr_expect(c->train.lr.peak == 1 && c->train.lr.warmup == 9);
    lk_config_destroy(&c);
    EXPECT_OK(parse_set(DATA MODEL "train: {batch: 8, lr: {peak: 1, decay: cosine}}\n", "train.lr={peak: 2}", &c));
    cr_expect(c->train.lr.peak == 2 && c->train.lr.decay == LK_DECAY_CONSTANT);
    lk_config_destroy(&c);
}

Test(config, set_reaches_every_kind_of_key)
{
    const char *item[] = {"train.epochs=2", "run.name=x=y", "data.train=[b.h5, c.h5]", "model.1.linear=3",
        "checkpoint.every=5 steps", "train.batch=16", "train.batch=24"};
    const lk_strings sets = {.item = (char **)item, .n = sizeof item / sizeof item[0]};
    lk_config *c = NULL;

    EXPECT_OK(lk_config_parse(DATA MODEL TRAIN, "run.yaml", ".", &sets, &c));
    cr_expect(c->train.epochs == 2 && c->train.batch == 24 && same_every(c->checkpoint.every, 5, false));
    EXPECT_TEXT(c->run.name, "x=y");
    cr_expect(c->data.train.n == 2);
    EXPECT_TEXT(c->model->child[1]->child[0]->text, "3");
    lk_config_destroy(&c);
}

Test(config, all_can_be_set_over_an_empty_file)
{
    const char *item[] = {"data.train=a.h5", "model=[flatten, {linear: 2}]", "train.batch=8", "train.lr=1"};
    const lk_strings sets = {.item = (char **)item, .n = sizeof item / sizeof item[0]};
    lk_config *c = NULL;

    EXPECT_OK(lk_config_parse("", "run.yaml", ".", &sets, &c));
    cr_expect(c->train.batch == 8 && c->train.lr.peak == 1 && c->model->n_child == 2);
    lk_config_destroy(&c);
}

Test(config, name_is_the_files)
{
    static const char *const cases[][2] = {{"configs/digits-cnn.yaml", "digits-cnn"}, {"a.b.yml", "a.b"},
        {"/x/plain", "plain"}, {"v1.2", "v1.2"}, {"/x/.yaml", "run"}, {"..", "run"}};
    lk_config *c = NULL;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        EXPECT_OK(lk_config_parse(DATA MODEL TRAIN, cases[i][0], ".", NULL, &c));
        EXPECT_TEXT(c->run.name, cases[i][1]);
        lk_config_destroy(&c);
    }
}

/* ---- errors ---- */
typedef struct fault {
    const char *text, *message;
} fault;

Test(config, errors)
{
    static const fault faults[] = {
        {"", "run.yaml:1:1: section \"config\" lacks \"model\""},
        {"[1]\n", "run.yaml:1:1: config: expected a map, got a list"},
        {DATA TRAIN, "run.yaml:1:1: section \"config\" lacks \"model\""},
        {DATA MODEL, "run.yaml:1:1: section \"config\" lacks \"train\""},
        {DATA MODEL "train: {lr: 1}\n", "run.yaml:3:8: section \"train\" lacks \"batch\""},
        {DATA MODEL "train: {batch: 8}\n", "run.yaml:3:8: section \"train\" lacks \"lr\""},
        {DATA MODEL "train: {batch: 8, lr: {decay: cosine}}\n", "run.yaml:3:23: section \"train.lr\" lacks \"peak\""},
        {DATA MODEL "train:\n  batch: 8\n  lr: 1\n  epoch: 3\n",
            "run.yaml:6:3: unknown key \"epoch\" in train (did you mean \"epochs\"?)"},
        {DATA MODEL TRAIN "modle: 1\n", "run.yaml:4:1: unknown key \"modle\" in config (did you mean \"model\"?)"},
        {DATA MODEL TRAIN "zzzzzzzz: 1\n", "run.yaml:4:1: unknown key \"zzzzzzzz\" in config"},
        {"data: {train: a.h5, synthetic: {inputs: 3}}\n" MODEL TRAIN,
            "run.yaml:1:33: unknown key \"inputs\" in data.synthetic (did you mean \"input\"?)"},
        {DATA "model:\n" TRAIN, "run.yaml:2:7: model: expected a value, got nothing"},
        /* types and ranges, one a kind */
        {DATA MODEL "train: {batch: many, lr: 1}\n",
            "run.yaml:3:16: train.batch: expected a whole number, got \"many\""},
        {DATA MODEL "train: {batch: 0, lr: 1}\n", "run.yaml:3:16: train.batch: 0 is out of range (1 to 1e+09)"},
        {DATA MODEL "train: {batch: 8, lr: fast}\n", "run.yaml:3:23: train.lr.peak: expected a number, got \"fast\""},
        {DATA MODEL "train: {batch: 8, lr: 0}\n",
            "run.yaml:3:23: train.lr.peak: 0 is out of range (above 0, at most 1e+06)"},
        {DATA MODEL "train: {batch: 8, lr: [1, 2]}\n", "run.yaml:3:23: train.lr: expected a map, got a list"},
        {DATA MODEL "train: {batch: 8, lr: {peak: 1, warmup: -5}}\n",
            "run.yaml:3:41: train.lr.warmup: -5 is out of range (0 to 1e+12)"},
        {DATA MODEL "train: {batch: 8, lr: {peak: 1, decay: cos}}\n",
            "run.yaml:3:40: train.lr.decay: expected one of constant, step, cosine, linear, polynomial, one_cycle, wsd, plateau, got \"cos\""},
        {DATA MODEL "train: {batch: 8, lr: {peak: 1, decay: cosin}}\n",
            "run.yaml:3:40: train.lr.decay: expected one of constant, step, cosine, linear, polynomial, one_cycle, wsd, plateau, got \"cosin\" (did you "
            "mean \"cosine\"?)"},
        {DATA MODEL "train: {batch: 8, lr: 1, optimizer: adamm}\n",
            "run.yaml:3:37: train.optimizer: expected one of sgd, adamw, adam, rmsprop, adagrad, lion, lars, lamb, muon, got \"adamm\" (did you mean \"adamw\"?)"},
        {DATA MODEL "train: {batch: 8, lr: 1, precision: fp8}\n",
            "run.yaml:3:37: train.precision: expected one of fp32, tf32, bf16, fp16, got \"fp8\" (did you mean \"fp32\"?)"},
        {DATA MODEL "train: {batch: 8, lr: 1, rounding: up}\n",
            "run.yaml:3:36: train.rounding: expected one of nearest, stochastic, got \"up\""},
        {DATA MODEL "train: {batch: 8, lr: 1, precision: tf32, rounding: stochastic}\n",
            "run.yaml:3:53: train.rounding: stochastic is for weights that are rounded to 16 bits, and train.precision is tf32: set that to bf16 or fp16, on a GPU"},
        {DATA MODEL "train: {batch: 8, lr: 1, nesterov: 1}\n",
            "run.yaml:3:36: train.nesterov: expected true or false, got \"1\""},
        {DATA MODEL "train: {batch: 8, lr: 1, eval_every: 3 days}\n",
            "run.yaml:3:38: train.eval_every: expected \"200 steps\", \"1 epoch\" or \"never\", got \"3 days\""},
        {DATA MODEL "train: {batch: 8, lr: 1, microbatches: 0}\n",
            "run.yaml:3:40: train.microbatches: 0 is out of range (1 to 65536)"},
        {"run: {device: gpu}\n" DATA MODEL TRAIN,
            "run.yaml:1:15: run.device: expected one of auto, cpu, cuda, got \"gpu\" (did you mean \"cpu\"?)"},
        {"run: {seed: -1}\n" DATA MODEL TRAIN, "run.yaml:1:13: run.seed: -1 is out of range (0 to 9.0072e+15)"},
        {"run: {threads: 0}\n" DATA MODEL TRAIN, "run.yaml:1:16: run.threads: 0 is out of range (1 to 1024)"},
        /* what one key alone cannot tell */
        {"run: {name: a/b}\n" DATA MODEL TRAIN, "run.yaml:1:13: run.name: \"a/b\" cannot name a folder"},
        {"run: {name: ..}\n" DATA MODEL TRAIN, "run.yaml:1:13: run.name: \"..\" cannot name a folder"},
        {"run: {name: \"\"}\n" DATA MODEL TRAIN, "run.yaml:1:13: run.name: \"\" cannot name a folder"},
        {"run: {dir: \"\"}\n" DATA MODEL TRAIN, "run.yaml:1:12: run.dir: the path is empty"},
        {MODEL TRAIN, "run.yaml:1:1: data.train: no data: give HDF5 files here, or a shape in data.synthetic.input"},
        {"data: {valid: a.h5}\n" MODEL TRAIN,
            "run.yaml:1:7: data.train: no data: give HDF5 files here, or a shape in data.synthetic.input"},
        {"data: {train: [a.h5, \"\"]}\n" MODEL TRAIN, "run.yaml:1:15: data.train: an empty path"},
        {"data: {train: a.h5, valid: \"\"}\n" MODEL TRAIN, "run.yaml:1:28: data.valid: an empty path"},
        {"data: {train: a.h5, input: \"\"}\n" MODEL TRAIN, "run.yaml:1:28: data.input: a field needs a name"},
        {"data: {train: a.h5, target: \"\"}\n" MODEL TRAIN, "run.yaml:1:29: data.target: a field needs a name"},
        {"data: {train: a.h5, fields: [x, \"\"]}\n" MODEL TRAIN, "run.yaml:1:29: data.fields: a field needs a name"},
        {"data: {train: a.h5, fields: [a, b, c, d, e, f, g]}\n" MODEL TRAIN,
            "run.yaml:1:29: data.fields: 7 fields; at most 6 are possible"},
        {"data: {synthetic: {input: 4}, fields: x}\n" MODEL TRAIN,
            "run.yaml:1:39: data.fields: given together with data.synthetic.input; made-up data has an input and a "
            "target"},
        {"data: {train: a.h5, sequence: {stride: 3}}\n" MODEL TRAIN,
            "run.yaml:1:40: data.sequence.stride: given without data.sequence.length"},
        {"data: {train: a.h5, sequence: {columns: 3}}\n" MODEL TRAIN,
            "run.yaml:1:41: data.sequence.columns: given without data.sequence.length"},
        {"data: {synthetic: {input: 4}, sequence: {length: 3}}\n" MODEL TRAIN,
            "run.yaml:1:50: data.sequence.length: given together with data.synthetic.input; made-up data is no series"},
        {"data: {train: a.h5, augment: flip}\n" MODEL TRAIN, "run.yaml:1:30: data.augment: expected a list of steps"},
        {"data: {train: a.h5, augment: [flip, croop]}\n" MODEL TRAIN,
            "run.yaml:1:37: data.augment: unknown step \"croop\" (did you mean \"crop\"?)"},
        {"data: {train: a.h5, augment: [xyz: 1]}\n" MODEL TRAIN,
            "run.yaml:1:31: data.augment: unknown step \"xyz\" (docs/config.md lists what there is)"},
        {"data: {train: a.h5, augment: [shift: 1]}\n" MODEL TRAIN, "run.yaml:1:38: shift: expected a map of options"},
        {"data: {train: a.h5, augment: [[flip]]}\n" MODEL TRAIN,
            "run.yaml:1:31: data.augment: expected a step, one word or one key with its options"},
        {"data: {train: a.h5, augment: [flip: 2]}\n" MODEL TRAIN,
            "run.yaml:1:37: flip.probability: 2 is out of range (0 to 1)"},
        {"data: {train: a.h5, augment: [crop: {padd: 2}]}\n" MODEL TRAIN,
            "run.yaml:1:38: unknown key \"padd\" in crop (did you mean \"pad\"?)"},
        {"data: {train: a.h5, augment: [affine: {scale: 2}]}\n" MODEL TRAIN,
            "run.yaml:1:31: affine.scale: expected two numbers above 0, the smaller one first"},
        {"data: {train: a.h5, normalize: all, std: 2}\n" MODEL TRAIN,
            "run.yaml:1:32: data.normalize: given together with data.std; inputs are normalized by one of the two"},
        {"data: {train: a.h5, mix: {cutmix: 1}}\n" MODEL "train: {batch: 8, lr: 1, objective: regress}\n",
            "run.yaml:1:35: data.mix.cutmix: targets are mixed as shares of classes, so train.objective must be classify"},
        {"data: {train: a.h5, target: image}\n" MODEL TRAIN,
            "run.yaml:1:29: data.target: \"image\" is the input as well, and inputs are no class ids"},
        {"data: {train: a.h5, mean: [1, 2], std: [1, 2, 3]}\n" MODEL TRAIN,
            "run.yaml:1:40: data.std: 3 numbers, but data.mean has 2"},
        {"data: {train: a.h5, std: [1, 0]}\n" MODEL TRAIN,
            "run.yaml:1:26: data.std: number 2 is 0, and values are divided by it"},
        {"data: {train: a.h5, std: -1}\n" MODEL TRAIN, "run.yaml:1:26: data.std: -1 is out of range (0 to 1e+30)"},
        {"data: {train: a.h5, synthetic: {input: 4}}\n" MODEL TRAIN,
            "run.yaml:1:15: data.train: given together with data.synthetic.input; one of the two is the data"},
        {"data: {valid: a.h5, synthetic: {input: 4}}\n" MODEL TRAIN,
            "run.yaml:1:15: data.valid: given together with data.synthetic.input; made-up data has no part to evaluate "
            "on"},
        {"data: {synthetic: {input: [1, 1, 1, 1, 1, 1]}}\n" MODEL TRAIN,
            "run.yaml:1:27: data.synthetic.input: a sample of 6 dimensions; at most 5 are possible"},
        {"data: {synthetic: {input: 4, classes: 1}}\n" MODEL TRAIN,
            "run.yaml:1:39: data.synthetic.classes: 1 with train.objective classify; at least 2 are needed"},
        {"data: {synthetic: {input: 4}}\n" MODEL "train: {batch: 8, lr: 1, objective: regress}\n",
            "run.yaml:1:19: data.synthetic.classes: 10 classes with train.objective regress; write 0, for a target of "
            "one real number"},
        {DATA MODEL "train: {batch: 60, lr: 1}\n",
            "run.yaml:3:16: train.batch: 60 is not a multiple of train.microbatches, 8 (56 or 64 would be)"},
        {DATA MODEL "train: {batch: 3, lr: 1}\n",
            "run.yaml:3:16: train.batch: 3 is not a multiple of train.microbatches, 8 (8 would be)"},
        {DATA MODEL "train: {batch: 8, lr: 1, nesterov: true}\n",
            "run.yaml:3:36: train.nesterov: has a meaning with optimizers sgd and muon only"},
        {DATA MODEL "train: {batch: 8, lr: 1, optimizer: sgd, momentum: 0, nesterov: true}\n",
            "run.yaml:3:65: train.nesterov: needs a momentum above 0"},
        {DATA MODEL "train: {batch: 8, lr: 1, ema: 1}\n", "run.yaml:3:31: train.ema: must be below 1"},
        {DATA MODEL "train: {batch: 8, lr: 1, beta1: 1}\n", "run.yaml:3:33: train.beta1: must be below 1"},
        {DATA MODEL "train: {batch: 8, lr: 1, beta2: 1}\n", "run.yaml:3:33: train.beta2: must be below 1"},
        {DATA MODEL "train: {batch: 8, lr: {peak: 1, decay: step}}\n",
            "run.yaml:3:23: train.lr.every: must be given with decay step: the steps from one fall to the next"},
        {DATA MODEL "train: {batch: 8, lr: {peak: 1, every: 5}}\n",
            "run.yaml:3:40: train.lr.every: has a meaning with decay step only"},
        {DATA MODEL "train: {batch: 8, lr: {peak: 1, decay: one_cycle, warmup: 3}}\n",
            "run.yaml:3:59: train.lr.warmup: has no meaning with decay one_cycle, which rises by itself"},
        {DATA MODEL "train: {batch: 8, lr: {peak: 1, decay: plateau}}\n",
            "run.yaml:3:40: train.lr.decay: plateau needs evaluations: data.valid, and train.eval_every other than never"},
        {DATA MODEL "train: {batch: 8, lr: 1, early_stop: {patience: 2}}\n",
            "run.yaml:3:49: train.early_stop.patience: needs evaluations: data.valid, and train.eval_every other than "
            "never"},
        {DATA MODEL "train: {batch: 8, lr: 1}\ncheckpoint: {best: 1}\n",
            "run.yaml:4:20: checkpoint.best: needs evaluations: data.valid, and train.eval_every other than never"},
        /* YAML itself */
        {"run: {name: a\n",
            "run.yaml:2:1: did not find expected ',' or '}' (while parsing a flow mapping that begins in line 1)"},
        {"run: {seed: 1, seed: 2}\n", "run.yaml:1:16: duplicate key \"seed\" (first in line 1)"},
    };

    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        expect_config_fail(faults[i].text, NULL, LK_E_CONFIG, faults[i].message);
}

Test(config, errors_of_set)
{
    static const struct {
        const char *set;
        lk_status code;
        const char *message;
    } faults[] = {
        {"train.epochs", LK_E_USAGE, "--set train.epochs: expected KEY=VALUE, for instance --set train.epochs=2"},
        {"=2", LK_E_USAGE, "--set =2: expected KEY=VALUE, for instance --set train.epochs=2"},
        {"train..epochs=2", LK_E_USAGE, "--set train..epochs: a part of the path is empty"},
        {"model.7=relu", LK_E_USAGE, "--set model.7: \"7\" is no item of a list of 2 (from 0)"},
        {"train.epochs=[1", LK_E_USAGE,
            "--set train.epochs:2:1: did not find expected ',' or ']' (while parsing a flow sequence that begins in "
            "line 1)"},
        {"train.epochs=two", LK_E_CONFIG, "--set train.epochs: expected a whole number, got \"two\""},
        {"train.epoch=2", LK_E_CONFIG, "--set train.epoch: unknown key \"epoch\" in train (did you mean \"epochs\"?)"},
        {"train.batch=60", LK_E_CONFIG,
            "--set train.batch: 60 is not a multiple of train.microbatches, 8 (56 or 64 would be)"},
        {"train.microbatches=7", LK_E_CONFIG,
            "run.yaml:3:16: train.batch: 64 is not a multiple of train.microbatches, 7 (63 or 70 would be)"},
        {"train.lr=fast", LK_E_CONFIG, "--set train.lr: train.lr.peak: expected a number, got \"fast\""},
        {"train.lr=-1", LK_E_CONFIG, "--set train.lr.peak: -1 is out of range (above 0, at most 1e+06)"},
    };

    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        expect_config_fail(DATA MODEL TRAIN, faults[i].set, faults[i].code, faults[i].message);
}

Test(config, a_very_long_set_is_refused)
{
    char set[4096];
    lk_config *c = NULL;

    memset(set, 'a', sizeof set - 1);
    set[sizeof set - 1] = 0;
    set[sizeof set - 3] = '=';
    EXPECT_FAIL_WITH(parse_set(DATA MODEL TRAIN, set, &c), LK_E_USAGE, "the key is longer than 1023 bytes");
}

Test(config, a_missing_file)
{
    lk_config *c = NULL;

    EXPECT_FAIL_WITH(lk_config_load("/nowhere/run.yaml", NULL, &c), LK_E_NOT_FOUND, "/nowhere/run.yaml: ");
    cr_expect(c == NULL);
}

Test(config, where_a_key_stands)
{
    const char *item[] = {"train.epochs=2"};
    const lk_strings sets = {.item = (char **)item, .n = 1};
    char out[64];
    lk_config *c = NULL;

    EXPECT_OK(lk_config_parse(DATA MODEL "train:\n  batch: 64\n  lr: 1e-3\n", "run.yaml", ".", &sets, &c));
    EXPECT_TEXT(lk_config_where(c, "train.batch", out, sizeof out), "run.yaml:4:3");
    EXPECT_TEXT(lk_config_where(c, "train", out, sizeof out), "run.yaml:3:1");
    EXPECT_TEXT(lk_config_where(c, "train.lr.peak", out, sizeof out), "run.yaml:5:7");
    EXPECT_TEXT(lk_config_where(c, "train.epochs", out, sizeof out), "--set train.epochs");
    EXPECT_TEXT(lk_config_where(c, "train.momentum", out, sizeof out), "run.yaml");
    EXPECT_TEXT(lk_config_where(c, "nonsense", out, sizeof out), "run.yaml");
    lk_config_destroy(&c);
}

/* ---- paths ---- */
Test(config, data_paths_start_at_the_folder)
{
    static const char *const cases[][3] = {
        {"/a/b", "c.h5", "/a/b/c.h5"},
        {"/a/b", "../c/d-*.h5", "/a/c/d-*.h5"},
        {"/a/b", ".././.././../c.h5", "/c.h5"},
        {"/a/b/", "./c/../d.h5", "/a/b/c/../d.h5"},
        {"/", "c.h5", "/c.h5"},
        {"/", "../c.h5", "/c.h5"},
        {"/a/b", "/c.h5", "/c.h5"},
        {"/a[1]/b\\c", "d.h5", "/a\\[1]/b\\\\c/d.h5"},
        {"/a\\b", "d.h5", "/a\\b/d.h5"},
        {"/a\\b", "d*.h5", "/a\\\\b/d*.h5"},
    };
    char text[256];
    lk_config *c = NULL;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(text, sizeof text, "data: {train: \"%s\"}\n" MODEL TRAIN, cases[i][1]);
        EXPECT_OK(lk_config_parse(text, "run.yaml", cases[i][0], NULL, &c));
        EXPECT_TEXT(c->data.train.item[0], cases[i][2]);
        lk_config_destroy(&c);
    }
}

/* In a folder of its own, which is also reached through a link; ".." is that of the real one. */
Test(config, links_and_relative_folders)
{
    char folder[] = "/tmp/lk-config-XXXXXX", real[PATH_MAX], path[PATH_MAX + 32], want[PATH_MAX + 32];
    lk_config *c = NULL;

    cr_assert(mkdtemp(folder) != NULL && realpath(folder, real) != NULL && chdir(real) == 0);
    EXPECT_OK(lk_dir_create("deep/configs"));
    EXPECT_OK(lk_file_write_atomic(
        "deep/configs/r.yaml", "data: {train: ../d.h5}\n" MODEL TRAIN, strlen("data: {train: ../d.h5}\n" MODEL TRAIN)));
    cr_assert(symlink("deep/configs", "link") == 0);
    snprintf(want, sizeof want, "%s/deep/d.h5", real);
    static const char *const spelled[] = {"deep/configs/r.yaml", "./link/r.yaml", "link/../configs/r.yaml"};
    for (size_t i = 0; i < sizeof spelled / sizeof spelled[0]; i++) {
        EXPECT_OK(lk_config_load(spelled[i], NULL, &c));
        EXPECT_TEXT(c->data.train.item[0], want);
        EXPECT_TEXT(c->path, spelled[i]);
        cr_expect(c->folder[0] == '/');
        lk_config_destroy(&c);
    }
    EXPECT_OK(lk_config_parse(DATA MODEL TRAIN, "text", "not/there", NULL, &c));
    snprintf(path, sizeof path, "%s/not/there/a.h5", real);
    EXPECT_TEXT(c->data.train.item[0], path);
    lk_config_destroy(&c);
    cr_assert(chdir("/") == 0);
    EXPECT_OK(lk_dir_remove(real));
}

/* ---- printing ---- */
static void expect_round_trip(const char *text, const char *set)
{
    lk_buf first = {0}, second = {0};
    lk_config *a = NULL, *b = NULL;

    EXPECT_OK(parse_set(text, set, &a));
    lk_config_print(a, &first);
    EXPECT_OK(lk_buf_status(&first));
    EXPECT_OK(lk_config_parse(lk_buf_text(&first), "resolved.yaml", "/else/where", NULL, &b));
    lk_config_print(b, &second);
    EXPECT_TEXT(lk_buf_text(&second), lk_buf_text(&first));
    cr_expect(strcmp(a->run.name, b->run.name) == 0 && a->train.lr.every == b->train.lr.every);
    lk_buf_fini(&first);
    lk_buf_fini(&second);
    lk_config_destroy(&a);
    lk_config_destroy(&b);
}

Test(config, print_loads_again)
{
    expect_round_trip(DATA MODEL TRAIN, NULL);
    expect_round_trip(
        "run: {name: 'true', seed: 9007199254740992}\n"
        "data: {train: ['a: b.h5', \"#.h5\", 'it''s.h5'], valid: '*.h5', mean: 0.1, std: [1e-3], input: '1'}\n"
        "model:\n"
        "  - conv: {filters: 3, kernel: [3, 1]}\n"
        "  - relu\n"
        "  - residual:\n"
        "    - relu\n"
        "    - residual: [relu, {dropout: 0.1}]\n"
        "  - flatten:\n"
        "  - linear: {units: 10, name: out}\n"
        "train: {batch: 64, lr: {peak: 0.1, decay: step, every: 7}, eval_every: never, log_every: 1 epoch}\n"
        "checkpoint: {every: 100}\n",
        "train.clip_norm=0.5");
    expect_round_trip(
        "data: {train: s.h5, target: image, fields: mask, sequence: {length: 16, columns: [1, 0]}}\n" MODEL TRAIN,
        NULL);
    expect_round_trip("data: {train: a.h5, augment: [flip, crop: 2, affine: {scale: [0.5, 2], shear: 3}]}\n" MODEL TRAIN,
        NULL);
    expect_round_trip("data: {synthetic: {input: [3, 4], classes: 0}}\n" MODEL
                      "train: {batch: 8, lr: 1, objective: regress}\n",
        NULL);
}

Test(config, print_shows_every_key)
{
    lk_buf b = {0};
    lk_config *c = NULL;

    EXPECT_OK(parse_set(DATA MODEL TRAIN, "train.lr=0.5", &c));
    lk_config_print(c, &b);
    EXPECT_TEXT(lk_buf_text(&b), "run:\n"
                                 "  name: run\n"
                                 "  seed: 1\n"
                                 "  dir: null\n"
                                 "  threads: 1\n"
                                 "  device: auto\n"
                                 "  transport: auto\n"
                                 "  transport_timeout: 600\n"
                                 "data:\n"
                                 "  train: [/data/set/a.h5]\n"
                                 "  valid: []\n"
                                 "  input: image\n"
                                 "  target: label\n"
                                 "  fields: []\n"
                                 "  scale: 0\n"
                                 "  normalize: none\n"
                                 "  mean: []\n"
                                 "  std: []\n"
                                 "  block: 64\n"
                                 "  window: 16\n"
                                 "  order: shuffled\n"
                                 "  readers: 1\n"
                                 "  prefetch: 4\n"
                                 "  sequence:\n"
                                 "    length: null\n"
                                 "    stride: null\n"
                                 "    ahead: 1\n"
                                 "    target_length: null\n"
                                 "    columns: []\n"
                                 "  augment: null\n"
                                 "  mix:\n"
                                 "    mixup: 0\n"
                                 "    cutmix: 0\n"
                                 "  synthetic:\n"
                                 "    input: []\n"
                                 "    classes: 10\n"
                                 "    vocabulary: 0\n"
                                 "    samples: 8192\n"
                                 "model:\n"
                                 "  - flatten\n"
                                 "  - {linear: 10}\n"
                                 "train:\n"
                                 "  objective: classify\n"
                                 "  loss: auto\n"
                                 "  label_smoothing: 0\n"
                                 "  ignore: []\n"
                                 "  class_weights: []\n"
                                 "  huber_delta: 1\n"
                                 "  kl_weight: 1\n"
                                 "  gan:\n"
                                 "    loss: non_saturating\n"
                                 "    latent: [64]\n"
                                 "    generator_every: 1\n"
                                 "  epochs: 10\n"
                                 "  steps: 0\n"
                                 "  batch: 64\n"
                                 "  microbatches: 8\n"
                                 "  optimizer: adamw\n"
                                 "  weight_decay: 0\n"
                                 "  momentum: 0.9\n"
                                 "  beta1: 0.9\n"
                                 "  beta2: 0.999\n"
                                 "  eps: 1e-08\n"
                                 "  trust: 0.001\n"
                                 "  nesterov: false\n"
                                 "  clip_norm: 0\n"
                                 "  clip_value: 0\n"
                                 "  gradient_noise: 0\n"
                                 "  gradient_noise_decay: 0.55\n"
                                 "  ema: 0\n"
                                 "  groups: null\n"
                                 "  init: null\n"
                                 "  init_from:\n"
                                 "    checkpoint: null\n"
                                 "    match: \"*\"\n"
                                 "    rename: null\n"
                                 "    ema: true\n"
                                 "    strict: false\n"
                                 "  lr:\n"
                                 "    peak: 0.5\n"
                                 "    floor: 0\n"
                                 "    warmup: 0\n"
                                 "    decay: constant\n"
                                 "    every: null\n"
                                 "    factor: 0.1\n"
                                 "    power: 2\n"
                                 "    start: 0.04\n"
                                 "    rise: 0.3\n"
                                 "    decay_share: 0.1\n"
                                 "    patience: 5\n"
                                 "    threshold: 0.0001\n"
                                 "  precision: fp32\n"
                                 "  rounding: nearest\n"
                                 "  reduction: exact\n"
                                 "  bucket_bytes: 4194304\n"
                                 "  activation_memory: 0\n"
                                 "  shard_optimizer: true\n"
                                 "  eval_every: 1 epoch\n"
                                 "  log_every: 10 steps\n"
                                 "  early_stop:\n"
                                 "    patience: 0\n"
                                 "    metric: loss\n"
                                 "    delta: 0\n"
                                 "checkpoint:\n"
                                 "  every: 1 epoch\n"
                                 "  keep: 3\n"
                                 "  best: 0\n"
                                 "  best_metric: loss\n");
    lk_buf_fini(&b);
    lk_config_destroy(&c);
}

/* ---- memory ---- */
Test(config, each_failed_allocation_is_reported_and_leaves_nothing)
{
    static const char text[] = "data: {train: [a.h5, b.h5], mean: [1, 2]}\n" MODEL TRAIN;
    const int64_t bytes = lk_mem_bytes();
    lk_config *c = NULL;
    int64_t n = 0;
    lk_status st;

    do {
        lk_mem_fail_at(++n);
        st = parse_set(text, "train.lr.warmup=3", &c);
        lk_mem_fail_at(0);
        cr_assert(st == LK_OK || (st == LK_E_NOMEM && c == NULL), "allocation %ld: %s: %s", (long)n, lk_status_name(st),
            lk_err_last()->message);
        cr_assert(st == LK_OK || lk_mem_bytes() == bytes, "allocation %ld: %ld bytes left", (long)n,
            (long)(lk_mem_bytes() - bytes));
    } while (st != LK_OK && n < 10000);
    cr_expect(st == LK_OK && n > 20);
    lk_config_destroy(&c);
    cr_expect(lk_mem_bytes() == bytes);
}
