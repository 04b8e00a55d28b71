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
    bool predict;       /* LK_RUN_EVAL: for lk_run_predict, not lk_run_eval */
    int ranks;          /* LK_RUN_PLAN: for so many ranks; 0: those there are */
} lk_train_args;

/* Opens everything (data, model, plan, run directory, checkpoint to resume): what can be wrong with the input, fails here, on all ranks alike, with nothing started. Collective. */
LK_MUST_USE lk_status lk_run_open(const lk_train_args *a, lk_run **out);
/* Trains to the end, or until stopped. Collective. Errors after this point are exit code 1. */
LK_MUST_USE lk_status lk_run_train(lk_run *r, lk_run_result *out);
/* Evaluates the weights (of the checkpoint that was opened) on the validation data; prints an eval event. Collective. */
LK_MUST_USE lk_status lk_run_eval(lk_run *r, lk_run_result *out);

typedef struct lk_predict_args {
    const char *out;  /* HDF5 file to write */
    const char *grid; /* PNG file of the first predictions as pictures, or NULL */
    int64_t samples;  /* as many of the first ones; 0: all, or 64 where they are drawn from noise */
} lk_predict_args;

typedef struct lk_predict_result {
    bool started; /* false: what failed is the user's input, and nothing was written */
    int64_t samples;
    int64_t classes;   /* 0: no classifier */
    double confidence; /* mean of the largest probability */
    double *share;     /* [classes] of predictions that are this class; freed by the caller with lk_free */
} lk_predict_result;

/* Runs the validation data through the weights that were opened for predictions, in the order of its samples, and writes field
 * `prediction` [n, ...] float32: what the loss gets from the network; of a classifier `label` [n, ...] int64 too, the class
 * with the largest of those values. A model that makes samples from noise (a gan; a vae of encoder and decoder) makes samples 0 to n - 1, of
 * draws that belong to seed and sample. Prints a predict event. The grid has up to 64 pictures, 8 in a row, from predictions
 * [C,H,W] with C 1 or 3, [H,W], or of as many values as a square; their values from 0 to 1 are black to white, or, where one
 * of them lies outside, those from the smallest to the largest. Logits against the input (loss bce) go through a sigmoid first. Equal bits at any number of ranks; rank 0 writes. Collective. */
LK_MUST_USE lk_status lk_run_predict(lk_run *r, const lk_predict_args *a, lk_predict_result *out);
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
