/* The run description: one YAML file, read strictly through the tables here. Each section is one table; the tables also
 * make docs/config.md and the resolved config.yaml of a run. */
#ifndef LK_MODEL_CONFIG_H
#define LK_MODEL_CONFIG_H

#include "base/table.h"
#include "data/loader.h"
#include "data/moments.h"

typedef struct lk_run_opts {
    char *name; /* names the run directory; never NULL here: else the file's base name */
    int64_t seed;
    char *dir; /* run directory; unset: runs/NAME */
    int64_t threads; /* compute threads a rank; each runs whole microbatches */
    int device; /* auto|cpu|cuda */
    int transport; /* auto|nccl|mpi */
    double transport_timeout; /* seconds */
} lk_run_opts;
enum { LK_DEVICE_AUTO, LK_DEVICE_CPU, LK_DEVICE_CUDA };
enum { LK_TRANSPORT_AUTO, LK_TRANSPORT_NCCL, LK_TRANSPORT_MPI };

typedef struct lk_synthetic_opts {
    lk_ints input; /* shape of a sample; empty: no synthetic data */
    int64_t classes; /* at least 2 where the objective needs class ids, else 0 */
    int64_t vocabulary; /* 0: inputs are real numbers */
    int64_t samples;
} lk_synthetic_opts;

typedef struct lk_sequence_opts {
    int64_t length; /* rows of an input; 0: a row is a sample */
    int64_t stride, ahead, target_length; /* here all are given where length is */
    lk_ints columns; /* of the target; empty: all */
} lk_sequence_opts;

typedef struct lk_data_opts {
    lk_strings train, valid; /* paths or globs; relative to the config's folder in the file, absolute here */
    char *input, *target; /* field names */
    lk_strings fields; /* further ones */
    double scale; /* of input values; 0: 1/255 for uint8, else 1 */
    int normalize; /* lk_normalize */
    lk_reals mean, std; /* after scaling; one number, or one a channel; here as many of the one as of the other */
    int64_t block, window; /* sampler.h */
    int order; /* lk_order */
    int64_t readers, prefetch;
    lk_sequence_opts sequence;
    const lk_yaml *augment; /* in the document; read into lk_config.augment */
    lk_mix mix;
    lk_synthetic_opts synthetic;
} lk_data_opts;

typedef struct lk_lr_opts {
    double peak, floor;
    int64_t warmup;
    int decay; /* lk_decay */
    int64_t every; /* above 0 with decay step, else 0 */
    double factor, power, start, rise, decay_share;
    int64_t patience; /* evaluations */
    double threshold;
} lk_lr_opts;

/* What evaluations are judged by. */
enum { LK_WATCH_LOSS, LK_WATCH_ACCURACY };

typedef struct lk_early_stop_opts {
    int64_t patience; /* evaluations; 0: never */
    int metric;
    double delta;
} lk_early_stop_opts;

typedef struct lk_init_from_opts {
    char *checkpoint; /* run directory, step folder or state.h5; absolute here; NULL: none */
    char *match;      /* pattern of parameter names */
    const lk_yaml *rename; /* in the document; read into lk_config.rename */
    bool ema, strict;
} lk_init_from_opts;

/* What names in a checkpoint begin with, and what they begin with here. */
typedef struct lk_rename {
    char *from, *to;
} lk_rename;

typedef struct lk_gan_opts {
    int loss; /* lk_gan_kind */
    lk_ints latent;
    int64_t generator_every;
} lk_gan_opts;

typedef struct lk_train_opts {
    int objective;
    int loss; /* auto|... */
    double label_smoothing, huber_delta, kl_weight;
    lk_ints ignore; /* one class id, or none */
    lk_reals class_weights;
    lk_gan_opts gan;
    int64_t epochs, steps; /* steps 0: by epochs */
    int64_t batch, microbatches; /* B, M */
    int optimizer; /* lk_opt */
    double weight_decay, momentum, beta1, beta2, eps, trust;
    bool nesterov;
    double clip_norm, clip_value; /* 0: none */
    double gradient_noise, gradient_noise_decay;
    double ema; /* 0: none */
    const lk_yaml *groups, *init; /* lists of maps (rules.c), in `document`; or NULL */
    lk_init_from_opts init_from;
    lk_lr_opts lr;
    int precision; /* fp32|tf32|bf16|fp16, in the order of lk_precision */
    int rounding;  /* nearest|stochastic */
    int reduction; /* exact|fast */
    int64_t bucket_bytes;
    int64_t activation_memory; /* 0: no limit */
    bool shard_optimizer;
    lk_every eval_every;
    lk_every log_every;
    lk_early_stop_opts early_stop;
} lk_train_opts;
enum {
    LK_OBJECTIVE_CLASSIFY,
    LK_OBJECTIVE_REGRESS,
    LK_OBJECTIVE_LANGUAGE_MODEL,
    LK_OBJECTIVE_SEQUENCE_LABEL,
    LK_OBJECTIVE_SEQ2SEQ,
    LK_OBJECTIVE_AUTOENCODE,
    LK_OBJECTIVE_VAE,
    LK_OBJECTIVE_GAN,
    LK_OBJECTIVE_SEGMENT,
    LK_OBJECTIVE_MULTILABEL
};
#define LK_OBJECTIVE_CHOICES "classify|regress|language_model|sequence_label|seq2seq|autoencode|vae|gan|segment|multilabel"
/* The target is class ids, one for each place that is classified. */
bool lk_objective_has_classes(int objective);
/* The target is the input. */
bool lk_objective_of_input(int objective);
enum { LK_LOSS_AUTO, LK_LOSS_CROSS_ENTROPY, LK_LOSS_HINGE, LK_LOSS_MSE, LK_LOSS_MAE, LK_LOSS_HUBER, LK_LOSS_BCE };
#define LK_LOSS_CHOICES "auto|cross_entropy|hinge|mse|mae|huber|bce"
enum { LK_REDUCTION_EXACT, LK_REDUCTION_FAST };
enum { LK_ROUNDING_NEAREST, LK_ROUNDING_STOCHASTIC };

#define LK_MAX_BEST_CHECKPOINTS 32
typedef struct lk_checkpoint_opts {
    lk_every every;
    int64_t keep;
    int64_t best; /* 0: none */
    int best_metric;
} lk_checkpoint_opts;

typedef struct lk_config {
    lk_run_opts run;
    lk_data_opts data;
    const lk_yaml *model; /* the layer list, or a map of lists, in `document` */
    lk_train_opts train;
    lk_checkpoint_opts checkpoint;
    /* not keys: */
    lk_augment *augment; /* owned */
    lk_rename *rename; /* [n_rename] of train.init_from, owned */
    int n_rename;
    lk_yaml *document; /* owned */
    char *path; /* as given, or the source of the text */
    char *folder; /* absolute, without links where it is there */
} lk_config;

extern const lk_table lk_config_table; /* the sections */

/* lk_loss of the run, never auto but for gan. */
int lk_config_loss(const lk_config *c);
/* Reads a file, applies `sets` ("key.path=value"; NULL: none), parses and checks: each row by its table, then what one
 * row alone cannot tell (batch a multiple of microbatches, data or synthetic given, ...). A learning rate given as a
 * number is its peak: `lr: X` reads as `lr: {peak: X}`, and "train.lr=X" sets "train.lr.peak". Whether device and files
 * are there is left to the caller. Local. Errors, with nothing left behind: LK_E_CONFIG with file:line:column,
 * LK_E_USAGE for a --set that cannot be applied, LK_E_NOT_FOUND. */
LK_MUST_USE lk_status lk_config_load(const char *path, const lk_strings *sets, lk_config **out);
/* The same from text; `source` stands in messages and names the run, `folder` is what relative paths start at. */
LK_MUST_USE lk_status lk_config_parse(
    const char *text, const char *source, const char *folder, const lk_strings *sets, lk_config **out);
/* Place of a key for messages: "run.yaml:12:3" of e.g. "train.batch" if it was written, "--set train.batch" if it was
 * set, else "run.yaml". */
const char *lk_config_where(const lk_config *c, const char *key, char *out, size_t cap);
/* The resolved config as YAML that loads again to the same run: every key with its value, data paths made absolute. */
void lk_config_print(const lk_config *c, lk_buf *out);
/* docs/config.md: sections, layers (from the layer table), examples. */
void lk_config_document(lk_buf *out);
void lk_config_destroy(lk_config **c);

#endif
