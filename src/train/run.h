/* A run: from a config to final weights, over any number of attempts. */
#ifndef LK_TRAIN_RUN_H
#define LK_TRAIN_RUN_H

#include "comm/comm.h"
#include "model/config.h"

typedef struct lk_run lk_run;

typedef struct lk_run_result {
    bool stopped;        /* ended on request (SIGTERM, SIGUSR1) with a good checkpoint: exit code 75 */
    int64_t epoch, step; /* cursor */
    double loss;         /* of the last evaluation, or of the last step without one */
    bool has_accuracy;
    double accuracy;     /* of the last evaluation, 0..1 */
    double seconds;
    char digest[33];
} lk_run_result;

typedef enum lk_run_mode {
    LK_RUN_TRAIN, /* run directory, resume, training and validation data */
    LK_RUN_EVAL,  /* weights of a checkpoint (resume: its path, or "auto": the newest of the run directory); validation data; writes nothing */
    LK_RUN_BENCH, /* initial weights, training data; writes nothing */
    LK_RUN_PLAN   /* only compiles the step; writes nothing */
} lk_run_mode;

typedef struct lk_train_args {
    lk_run_mode mode;
    const lk_config *config;
    lk_comm *comm;      /* borrowed */
    const char *resume; /* "auto", "never" or a checkpoint's path */
    bool json;          /* events as JSON lines on standard output (rank 0) */
    bool quiet;         /* no progress */
    int ranks;          /* LK_RUN_PLAN: for so many ranks; 0: those there are */
} lk_train_args;

/* Opens everything (data, model, plan, run directory, checkpoint to resume): what can be wrong with the input, fails here, on all ranks alike, with nothing started. Collective. */
LK_MUST_USE lk_status lk_run_open(const lk_train_args *a, lk_run **out);
/* Trains to the end, or until stopped. Collective. Errors after this point are exit code 1. */
LK_MUST_USE lk_status lk_run_train(lk_run *r, lk_run_result *out);
/* Evaluates the weights (of the checkpoint that was opened) on the validation data; prints an eval event. Collective. */
LK_MUST_USE lk_status lk_run_eval(lk_run *r, lk_run_result *out);
const char *lk_run_dir(const lk_run *r);
void lk_run_close(lk_run **r);

/* Times `steps` steps after `warmup` ones, without evaluation, log or checkpoint. Collective. */
typedef struct lk_bench_step_result {
    double samples_per_s, ms_median, ms_min, ms_max, gflops;
    int threads, nranks;
    int n_instr;              /* profile, when asked for */
    double *instr_ms;         /* [n_instr], freed by the caller with lk_free */
} lk_bench_step_result;
LK_MUST_USE lk_status lk_run_bench(lk_run *r, int warmup, int steps, bool profile, lk_bench_step_result *out);
/* The compiled step, as text or JSON: operations in order, shapes, bytes, FLOPs, peak memory, buckets. */
LK_MUST_USE lk_status lk_run_describe(const lk_run *r, bool json, lk_buf *out);
/* Asks the running step loop of this process to stop at the next step boundary; async-signal-safe. */
void lk_run_request_stop(void);

#endif
