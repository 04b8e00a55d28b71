/* Inside of a run: what step, evaluation, checkpoint and report share. */
#ifndef LK_TRAIN_RUN_INT_H
#define LK_TRAIN_RUN_INT_H

#include "base/record.h"
#include "base/thread.h"
#include "comm/reduce.h"
#include "cuda/cuda.h"
#include "data/loader.h"
#include "data/synthetic.h"
#include "engine/exec.h"
#include "engine/optim.h"
#include "engine/schedule.h"
#include "model/model.h"
#include "train/checkpoint.h"
#include "train/run.h"

/* Columns of the small reduction: the sums of each loss, then flags. */
enum { LKI_SUMS = LK_MAX_LOSSES * LK_MAX_METRICS, LKI_COL_FAILED = LKI_SUMS, LKI_COL_STOP, LKI_COLS };

/* A batch's fields go to the graph as they are. */
_Static_assert((int)LK_LOADER_FIELDS == (int)LK_MAX_INPUTS, "as many fields as inputs");

enum { LKI_MAX_PHASES = LK_MODEL_PHASES, LKI_MAX_KEPT = LK_MAX_OPT_STATE + 1 };

/* Tags of exchanges beyond the buckets': tile squares, predictions, carried state. */
enum { LKI_TAG_NORM = 1 << 20, LKI_TAG_PREDICT, LKI_TAG_CARRY };

/* A plan with an executor a worker and its packed weights. */
typedef struct lki_engine {
    lk_plan *plan;
    lk_exec **exec; /* [workers] */
    int workers;
    const lk_space *space; /* of what follows */
    void *packed;
    bool stale; /* weights changed since they were packed */
} lki_engine;

/* What is learned together: a graph with its losses, its reduction and update. Most runs have one phase; a GAN has one for each network, over the
 * same flat vector. */
typedef struct lki_phase {
    const char *name; /* "generator"; "" where there is one */
    const lk_graph *graph;
    lki_engine trainer;
    int64_t every; /* takes part in each so many-th step */
    lk_reduce *reduce; /* over the learned range of the plan: its element 0 is element grad_first of the flat vector */
    lk_optim optim;
    lk_opt_rule *rule; /* [n_params] */
    bool sharded;
    /* What is kept beside the weights: the optimizer's state, then the running mean of the weights if there is one. With sharding this rank's
     * slices of all buckets one after the other; without, the run's flat vectors. */
    float *kept[LKI_MAX_KEPT];
    int64_t *own_at; /* [n_buckets + 1] first element of a bucket's piece in `kept` */
} lki_phase;

typedef struct lki_report lki_report;

/* A GPU and those on it. */
typedef struct lki_gpu_share {
    int ranks;           /* that compute on it */
    int64_t free, total; /* its bytes: CUDA's own, the products' workspace and tables of the plans of these ranks are not free any more */
    int64_t wanted;      /* what these ranks will allocate */
} lki_gpu_share;

/* What one step gave, the same on all ranks. */
typedef struct lki_step_result {
    double loss;                    /* mean over the global batch; of several phases the sum of theirs */
    double phase_loss[LKI_MAX_PHASES]; /* NaN: did not take part */
    double sum[LKI_MAX_PHASES][LKI_SUMS]; /* of its losses, over valid samples */
    double grad_norm;               /* when clipping, else 0; of the first phase */
    double lr;
    int64_t samples;
    bool stop;
    bool left_out; /* its gradient was not finite in fp16: no weight has changed */
} lki_step_result;

struct lk_run {
    const lk_config *config;
    lk_comm *comm; /* of host memory */
    lk_comm *wire; /* of the backend's space: what gradients and weights travel over; `comm` itself on the host */
    lk_run_mode mode;
    int rank, nranks;
    int first_lane, n_lanes; /* microbatches of this rank */
    int leaves;              /* M */
    int64_t rows;            /* of a microbatch */
    int64_t resident;        /* bytes of this process before it allocates what the plans need */

    lk_dataset *train_data, *valid_data;
    lk_sampler train_sampler, valid_sampler;
    lk_loader_field field[LK_LOADER_FIELDS]; /* what a batch holds: input, target, those of data.fields */
    int n_fields;
    double *norm;        /* [2][n_norm] means and deviations of the training inputs, where data.normalize asks for them */
    int n_norm;
    char *normalization; /* the same as text, for checkpoints; NULL until it is known */
    lk_loader *loader;
    lk_model model;
    const lk_graph *graph; /* of the first phase: all parameters */
    int64_t classes;
    const lk_backend *backend;
    bool on_gpu;
    char no_gpu[256]; /* why not, where one could have been; "" else */
    int gpu_index;
    lk_cuda_gpu gpu; /* of this rank, if on_gpu */
    lki_gpu_share share;
    lk_pool *pool;
    lki_phase phase[LKI_MAX_PHASES];
    int n_phases;
    bool predicts;        /* the evaluator runs what makes predictions, not what evaluation runs */
    lki_engine evaluator;

    char *opt_scratch; /* [workers][opt_scratch_bytes] */
    size_t opt_scratch_bytes;
    lk_schedule schedule;
    /* In the backend's space: */
    float *weights; /* flat, whole, on every rank */
    float *kept[LKI_MAX_KEPT]; /* flat; without sharding, else NULL */
    double *tiles_made; /* squares a tile; NULL on the host */
    /* On the host: */
    float *host; /* the weights when a run begins and when the state is collected; `weights` itself where the space is the host's */
    int n_state, n_kept; /* the optimizer's, and one more with a running mean of the weights */
    bool sharded;
    float *stage;     /* flat, in the space: what a rank gives when a checkpoint is collected */
    bool own_full;    /* the members of `full` that are kept arrays are its own */
    double *tiles, *tiles_sent; /* squares a tile: all, in order; and as exchanged */
    double *rows_sent;          /* [n_lanes][LKI_COLS] */
    int64_t *exchange;          /* [4][nranks] counts and places of the tile squares */
    _Atomic int *done;          /* [workers] last instruction finished in the running wave */
    /* State of recurrent layers that goes on from step to step, of the first phase; NULL: the model has none. [n_lanes][carry_bytes] */
    char *carry, *carry_next; /* in the space: after the last step; what the running step makes of it */
    char *carry_host;         /* the same on the host, for checkpoints; `carry` itself where the space is the host's */
    char *carry_all;          /* rank 0 of several: [leaves][carry_bytes], while a checkpoint is written or read */
    char *eval_carry;         /* [n_lanes][carry_bytes of the evaluator], with data.order streams */
    int64_t carry_bytes;
    int64_t *carry_exchange; /* [4][nranks] */
    lk_state full;    /* rank 0: the whole state while a checkpoint is written; it borrows what is whole on the host */

    lk_cursor cursor;
    lk_watch watch;
    int64_t steps_per_epoch, total_steps;
    int64_t loaded, skipped; /* parameters of train.init_from; rank 0 of a run that began with it */
    bool finished; /* the checkpoint it was resumed from is the end of the run */

    char *dir, *checkpoints, *config_text;
    lk_record *record;
    lki_report *report;
    double last_loss, last_accuracy;
    bool has_accuracy;
};

/* device.c: sets backend and wire. Collective. Errors: LK_E_CONFIG where the config asks for what is not there. */
LK_MUST_USE lk_status lki_device_open(lk_run *r);
void lki_device_close(lk_run *r);

/* data.c: datasets; then, when the model is known, what a batch holds and in which order samples come. Local. */
LK_MUST_USE lk_status lki_data_open(lk_run *r);
LK_MUST_USE lk_status lki_data_check_target(const lk_run *r, const lk_dataset *d);
/* What the model may know of the data. */
lk_model_input lki_data_input(const lk_run *r);
LK_MUST_USE lk_status lki_data_prepare(lk_run *r);
/* Rank 0 reads all class ids, the others none. */
LK_MUST_USE lk_status lki_data_check_labels(const lk_run *r);
/* With data.normalize: inputs are normalized by what the checkpoint says that the run goes on from, else by the training
 * data. Collective. */
LK_MUST_USE lk_status lki_data_normalize(lk_run *r);
/* From the cursor on, for ever; or once through the validation data. */
lk_loader_opts lki_loader_opts(const lk_run *r, bool training);

/* memory.c: what a rank has in memory at its peak, by use. */
typedef enum lki_memory_kind {
    LKI_MEMORY_PROCESS, /* as it is before anything below is allocated: measured */
    LKI_MEMORY_ACTIVATIONS,
    LKI_MEMORY_MICROBATCHES,
    LKI_MEMORY_PACKED,
    LKI_MEMORY_WEIGHTS,
    LKI_MEMORY_REDUCTION,
    LKI_MEMORY_OPTIMIZER,
    LKI_MEMORY_MEAN,
    LKI_MEMORY_CARRY,
    LKI_MEMORY_STAGE,
    LKI_MEMORY_BATCHES,
    LKI_MEMORY_EVALUATION,
    LKI_MEMORY_KINDS
} lki_memory_kind;
typedef struct lki_memory {
    int64_t bytes[LKI_MEMORY_KINDS];  /* on the host */
    int64_t device[LKI_MEMORY_KINDS]; /* on a GPU */
} lki_memory;
const char *lki_memory_key(lki_memory_kind k);
const char *lki_memory_text(lki_memory_kind k);
int64_t lki_memory_total(const lki_memory *m); /* on the host; and on a GPU */
int64_t lki_memory_total_device(const lki_memory *m);
/* For any rank, once the plans are made. Local. */
LK_MUST_USE lk_status lki_memory_predict(const lk_run *r, int rank, lki_memory *out);
/* For the rank that takes most; the lowest of those. Local. */
LK_MUST_USE lk_status lki_memory_largest(const lk_run *r, int *rank, lki_memory *out);
/* On a GPU, once the plans are made and before anything below them is allocated: fills r->share. Collective. */
LK_MUST_USE lk_status lki_memory_share(lk_run *r);
/* Before anything is allocated: whether what the ranks of this host will take is there, and what those on this rank's GPU will. Local. Errors: LK_E_CONFIG
 * with the numbers. */
LK_MUST_USE lk_status lki_memory_check(const lk_run *r);

/* phase.c: the plan alone; then its memory. */
LK_MUST_USE lk_status lki_engine_create(lk_run *r, const lk_graph *g, bool training, lki_engine *e);
LK_MUST_USE lk_status lki_engine_allocate(lk_run *r, lki_engine *e);
/* The update of a phase, but for its rules. */
lk_optim lki_optim_of(const lk_run *r, const lki_phase *p);
/* How the gradients of a phase are reduced, where `workers` leaves are written at a time; *bucket is the caller's to free. Local. */
LK_MUST_USE lk_status lki_reduce_opts(const lk_run *r, const lki_phase *p, int workers, int64_t **bucket, lk_reduce_opts *out);
void lki_engine_destroy(lki_engine *e);
/* `rounding` as of lk_plan_pack. Does nothing where the weights are what they were when they were packed. */
LK_MUST_USE lk_status lki_engine_pack(lk_run *r, lki_engine *e, const float *weights, const lk_plan_rounding *rounding);
/* Allocates what the steps of all phases need: reduction, optimizer state, scratch. Collective. */
LK_MUST_USE lk_status lki_phases_prepare(lk_run *r);
void lki_phase_destroy(lki_phase *p);
/* A run begins with the weights in r->host, and with them as running means. Local. */
LK_MUST_USE lk_status lki_phases_begin(lk_run *r);
/* Global norm of the gradient of what the phase learns, before scaling. Collective. */
LK_MUST_USE lk_status lki_phase_norm(lk_run *r, lki_phase *p, double *norm);
/* Updates what the phase learns from its summed gradient, and gathers the new weights. `t`: number of this update of the phase, from 1. Collective. */
LK_MUST_USE lk_status lki_phase_update(lk_run *r, lki_phase *p, const lk_optim_step *step);
/* Between this rank's slices of kept array i and a flat vector, both in the backend's space. Local. */
LK_MUST_USE lk_status lki_phase_copy_slices(const lki_phase *p, int rank, int i, float *flat, bool to_flat);

/* step.c */
/* One step on a batch: microbatches, reduction, update. `loaded` is what the loader said of the batch; a rank without one takes part with a failure
 * mark. On failure of any rank all return a failure and no weight has changed. Collective. */
LK_MUST_USE lk_status lki_step(lk_run *r, const lk_batch *b, lk_status loaded, lki_step_result *out);

/* Mean loss of the sums of n losses. */
double lki_mean_loss(const double *sum, int n);
/* Microbatches of a step that have samples. */
int lki_nonempty_lanes(const lk_run *r, int64_t step_in_epoch);

/* evaluate.c: sums of the losses over the validation data, each sample once. Collective. */
LK_MUST_USE lk_status lki_evaluate(lk_run *r, double sum[LKI_SUMS], int64_t *samples);

/* A pass over the validation data begins: packs the weights, carried state is 0. Local. */
LK_MUST_USE lk_status lki_evaluate_begin(lk_run *r, const float *weights);
/* One batch of validation data through the evaluator, whose weights are packed. Local. */
typedef struct lki_eval_batch {
    const float *weights;
    const lk_batch *batch;
    double *sums; /* of this rank's lanes, lane_sums apart */
    int64_t lane_sums;
    float *output; /* on the host, [n_lanes][lane_output] predictions, those of lanes without samples left as they were; NULL: not wanted */
    int64_t lane_output;
} lki_eval_batch;
LK_MUST_USE lk_status lki_evaluate_batch(lk_run *r, const lki_eval_batch *e);

/* scale.c: what the losses of this step are multiplied by (1 but for fp16), so that small gradients do not vanish in 16 bits. */
enum { LKI_LOSS_SCALE = 1 << 16 };
double lki_loss_scale(const lk_run *r);
/* After a step whose gradient had this norm, the same on all ranks: whether the step counts. One that is not finite does not, and the next ones are scaled
 * by half; after LKI_SCALE_STEPS that were, by twice as much. Errors: LK_E_DIVERGED where the scale cannot fall further. Local. */
enum { LKI_SCALE_STEPS = 2000 };
LK_MUST_USE lk_status lki_loss_scale_step(lk_run *r, double norm, bool *counts);

/* watch.c: takes the last evaluation into account; true if its step is among the best that are kept. One that is not due, but made since the
 * run ends here, is not counted: the run may go on with more steps. */
bool lki_watch_evaluation(lk_run *r, bool due);
/* Whether the run has ended early. */
bool lki_watch_ended(const lk_run *r);

/* state.c: the weights from r->host to where they are used. Local. */
LK_MUST_USE lk_status lki_state_bring_in(lk_run *r);
/* Collects and spreads the state. Collective. */
LK_MUST_USE lk_status lki_state_collect(lk_run *r);
/* The member of r->full that kept array i goes to. Local. */
float **lki_state_full(lk_run *r, int i);
/* The weights that evaluation takes, flat and whole: the running means where there are any, else the weights. Valid until the next step or
 * collection. */
LK_MUST_USE lk_status lki_state_evaluated(lk_run *r, const float **weights);
LK_MUST_USE lk_status lki_state_restore(lk_run *r, const char *path);
LK_MUST_USE lk_status lki_state_save(lk_run *r);
LK_MUST_USE lk_status lki_state_print_digest(lk_run *r, char text[LK_HASH_TEXT]);

/* transfer.c: a run begins: takes weights from train.init_from, if there is one. Collective. */
LK_MUST_USE lk_status lki_transfer(lk_run *r);

/* carry.c. A layer that carries needs data.order streams. Local. */
LK_MUST_USE lk_status lki_carry_check(const lk_run *r);
LK_MUST_USE lk_status lki_carry_create(lk_run *r);
/* Bytes of what create allocates where the backend computes, and beside that on the host. */
void lki_carry_bytes(const lk_run *r, int rank, int n_lanes, int64_t *there, int64_t *host);
void lki_carry_destroy(lk_run *r);
/* Before the lanes of a step, where an epoch begins it is 0; a lane's place for the step, a copy of what it ended the last one with, or NULL; and once
 * the step counts. A step that fails leaves the state alone, as it does the weights. */
LK_MUST_USE lk_status lki_carry_begin_step(lk_run *r);
LK_MUST_USE lk_status lki_carry_lane(const lk_run *r, const lki_phase *p, int lane, void **out);
void lki_carry_end_step(lk_run *r);
/* The members of r->full; and to rank 0 or from it. The second is collective. */
void lki_carry_name(lk_run *r);
LK_MUST_USE lk_status lki_carry_move(lk_run *r, bool to_root);
/* Blocks of lanes between the ranks (`mine`) and rank 0 (`all`, in the order of lanes). `exchange` [4][nranks] is scratch. Collective. */
LK_MUST_USE lk_status lki_lanes_move(lk_run *r, int tag, void *mine, void *all, int64_t lane_bytes, bool to_root, int64_t *exchange);

/* report.c: log.jsonl, JSON events, progress. Only rank 0 has one; NULL is fine everywhere. */
LK_MUST_USE lk_status lki_report_create(lk_run *r, const lk_train_args *a, lki_report **out);
LK_MUST_USE lk_status lki_report_init(lki_report *p, lk_run *r);
LK_MUST_USE lk_status lki_report_step(lki_report *p, lk_run *r, const lki_step_result *s, bool log);
LK_MUST_USE lk_status lki_report_eval(lki_report *p, lk_run *r, const double sum[LKI_SUMS], int64_t samples);
LK_MUST_USE lk_status lki_report_checkpoint(lki_report *p, lk_run *r, const char *path);
LK_MUST_USE lk_status lki_report_predict(lki_report *p, lk_run *r, const char *path, const lk_predict_result *result);
LK_MUST_USE lk_status lki_report_end(lki_report *p, lk_run *r, const lk_run_result *result);
void lki_report_destroy(lki_report **p);

#endif
