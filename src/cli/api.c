/* The public C API: include/lockstep.h over the run of src/train. */
#include "lockstep.h"

#include "cli/cli_int.h"

#include "base/log.h"
#include "base/mem.h"

#include <string.h>

_Static_assert((int)LOCKSTEP_FAILED == (int)LKI_EXIT_FAILED && (int)LOCKSTEP_INPUT == (int)LKI_EXIT_INPUT &&
                   (int)LOCKSTEP_STOPPED == (int)LKI_EXIT_STOPPED,
    "the API's statuses are the exit codes");

struct lockstep_run {
    lk_config *config;
    lk_run *run;
    bool trained; /* `result` is filled */
    lockstep_result result;
};

/* MPI can be started once in a process, so the communicator outlives the runs. */
static lk_comm *comm;
static lockstep_run *opened;

static _Thread_local char error[LK_ERR_MESSAGE];

const char *lockstep_version(void)
{
    return LK_VERSION;
}

const char *lockstep_error(void)
{
    return error;
}

/* Keeps the message for the caller; ends all ranks where they can no longer agree. */
static lockstep_status fail(lk_status st, lockstep_status as)
{
    memcpy(error, lk_err_last()->message, sizeof error);
    if (lk_status_damage(st) < LK_DAMAGE_COMM)
        return as;
    if (comm != NULL && lk_comm_nranks(comm) > 1)
        lki_fail(comm, st, true);
    return LOCKSTEP_FAILED;
}

int lockstep_main(int argc, char **argv)
{
    return lk_cli_main(argc, argv);
}

/* The options that the caller knows, over the defaults. */
static lockstep_options take_options(const lockstep_options *o)
{
    lockstep_options all = {.size = sizeof all};

    if (o != NULL)
        memcpy(&all, o, o->size < sizeof all ? o->size : sizeof all);
    if (all.resume == NULL)
        all.resume = "auto";
    return all;
}

static lk_status open_run(const char *config, const lk_strings *set, const lockstep_options *o, lockstep_run *r)
{
    LK_TRY(lk_comm_agree(comm, lki_config_open(config, set, o->run_dir, &r->config)));
    const lk_train_args args = {.mode = LK_RUN_TRAIN,
        .config = r->config,
        .comm = comm,
        .resume = o->resume,
        .json = o->json != 0,
        .quiet = o->quiet != 0};
    return lk_run_open(&args, &r->run);
}

static lk_status check_arguments(const char *config, const char *const *set, int n_set, lockstep_run *const *out)
{
    if (config == NULL || out == NULL || n_set < 0 || (n_set > 0 && set == NULL))
        return LK_FAIL(LK_E_ARG, "lockstep_run_open: config, set or out is missing");
    if (opened != NULL)
        return LK_FAIL(LK_E_ARG, "lockstep_run_open: a run is open already");
    return LK_OK;
}

lockstep_status lockstep_run_open(
    const char *config, const char *const *set, int n_set, const lockstep_options *options, lockstep_run **out)
{
    const lockstep_options o = take_options(options);
    const lk_strings sets = {.item = (char **)set, .n = n_set}; /* only read */
    lockstep_run *r = NULL;
    lk_status st;

    error[0] = 0;
    st = check_arguments(config, set, n_set, out);
    if (st != LK_OK)
        return fail(st, LOCKSTEP_INPUT);
    if (comm == NULL)
        st = lki_comm_open(&comm);
    if (st == LK_OK)
        st = lk_comm_agree(comm, lk_alloc(sizeof *r, "run", &r));
    if (st == LK_OK)
        st = open_run(config, &sets, &o, r);
    if (st != LK_OK) {
        const lockstep_status code = fail(st, comm != NULL ? LOCKSTEP_INPUT : LOCKSTEP_FAILED);
        lockstep_run_close(&r);
        return code;
    }
    opened = r;
    *out = r;
    return LOCKSTEP_OK;
}

lockstep_status lockstep_run_train(lockstep_run *r, lockstep_result *out)
{
    lk_run_result result;
    lk_status st = LK_OK;

    error[0] = 0;
    if (r == NULL || r->trained)
        st = LK_FAIL(LK_E_ARG,
            r == NULL ? "lockstep_run_train: there is no run" : "lockstep_run_train: this run was trained already");
    if (st != LK_OK)
        return fail(st, LOCKSTEP_INPUT);
    st = lk_run_train(r->run, &result);
    if (st != LK_OK)
        return fail(st, LOCKSTEP_FAILED);
    r->trained = true;
    r->result = (lockstep_result){.epoch = result.epoch,
        .step = result.step,
        .loss = result.loss,
        .accuracy = result.has_accuracy ? result.accuracy : -1,
        .seconds = result.seconds};
    memcpy(r->result.digest, result.digest, sizeof r->result.digest);
    if (out != NULL)
        *out = r->result;
    return result.stopped ? LOCKSTEP_STOPPED : LOCKSTEP_OK;
}

lockstep_status lockstep_run_result(const lockstep_run *r, lockstep_result *out)
{
    error[0] = 0;
    if (r == NULL || !r->trained || out == NULL)
        return fail(LK_FAIL(LK_E_ARG, "lockstep_run_result: this run has not been trained"), LOCKSTEP_FAILED);
    *out = r->result;
    return LOCKSTEP_OK;
}

const char *lockstep_run_dir(const lockstep_run *r)
{
    return r != NULL ? lk_run_dir(r->run) : "";
}

void lockstep_request_stop(void)
{
    lk_run_request_stop();
}

void lockstep_run_close(lockstep_run **run)
{
    if (run == NULL || *run == NULL)
        return;
    lockstep_run *r = *run;
    lk_run_close(&r->run);
    lk_config_destroy(&r->config);
    if (opened == r)
        opened = NULL;
    lk_free(r);
    *run = NULL;
}

void lockstep_finish(void)
{
    if (comm != NULL)
        lki_comm_close(&comm);
}
