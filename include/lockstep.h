/* lockstep as a library: train from another program, or carry the whole command line in it.
 *
 *     lockstep_run *run = NULL;
 *     lockstep_result result;
 *     const char *const set[] = {"train.epochs=2"};
 *
 *     if (lockstep_run_open("run.yaml", set, 1, NULL, &run) != LOCKSTEP_OK || lockstep_run_train(run, &result) !=
 * LOCKSTEP_OK) fprintf(stderr, "%s\n", lockstep_error()); lockstep_run_close(&run); lockstep_finish();
 *
 * Link with -llockstep. C and C++. All calls of a process come from one thread; one run is open at a time.
 *
 * Started by mpirun or srun, the calls are collective: every rank makes the same ones with the same arguments, and gets
 * the same status. MPI is then initialized by the first lockstep_run_open (unless the program has done it), and ended
 * by lockstep_finish. Started alone, there is one rank, and MPI is not touched.
 *
 * The library prints messages on standard error, and nothing on standard output unless `json` asks for it. It sets no
 * signal handlers. */
#ifndef LOCKSTEP_H
#define LOCKSTEP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Rises when a program that was built against an older header would not work any more. */
#define LOCKSTEP_API 1

/* The same numbers as the program's exit codes. */
typedef enum lockstep_status {
    LOCKSTEP_OK = 0,
    LOCKSTEP_FAILED = 1, /* the run failed */
    LOCKSTEP_INPUT = 2, /* config, data or arguments are wrong; nothing was started */
    LOCKSTEP_STOPPED = 75 /* stopped on request, with a good checkpoint: a later run goes on from there */
} lockstep_status;

/* "0.1.0"; lives for ever. */
const char *lockstep_version(void);
/* Why this thread's last call failed, one line; "" when none has. Valid until its next call. */
const char *lockstep_error(void);

/* The command line argv[1..argc), as the program runs it; returns the exit code. Prints errors itself. Under MPI it
 * ends MPI before it returns. `launch` starts the calling program again, with the words behind it as arguments: a
 * program that carries `launch` passes those on to lockstep_main. */
int lockstep_main(int argc, char **argv);

typedef struct lockstep_run lockstep_run;

typedef struct lockstep_options {
    size_t size; /* sizeof(lockstep_options): tells which members the caller knows */
    const char *run_dir; /* folder of the run; NULL: as the config says */
    const char *resume; /* "auto" (NULL is the same), "never", or a checkpoint's path */
    int quiet; /* 1: no progress and no summary */
    int json; /* 1: events on standard output, one JSON object a line */
} lockstep_options;

typedef struct lockstep_result {
    int64_t epoch, step; /* where the run stands */
    double loss; /* of the last evaluation, or of the last step where none is made */
    double accuracy; /* of the last evaluation, 0 to 1; -1: there is none */
    double seconds;
    char digest[33]; /* of weights, optimizer state and position, 32 hex digits */
} lockstep_result;

/* Opens a run: reads the config, puts `set` [n_set] ("key.path=value") over it, opens data, compiles the step, and
 * takes up the newest good checkpoint. What is wrong with the input is found here. `options` may be NULL. Collective.
 * Returns LOCKSTEP_INPUT with *out untouched; LOCKSTEP_FAILED too when the ranks have lost each other (see
 * lockstep_run_train). */
lockstep_status lockstep_run_open(
    const char *config, const char *const *set, int n_set, const lockstep_options *options, lockstep_run **out);

/* Trains to the end, or until asked to stop; LOCKSTEP_OK and LOCKSTEP_STOPPED fill *out (which may be NULL). Once for a
 * run. Collective. Where the ranks can no longer agree (one is gone, the network broke) this ends all of them with exit
 * code 1, after a message: nothing else would keep the others from waiting for ever. With a single rank it returns
 * LOCKSTEP_FAILED in that case, too. */
lockstep_status lockstep_run_train(lockstep_run *run, lockstep_result *out);

/* The result of the training, again. LOCKSTEP_FAILED when there is none. Local. */
lockstep_status lockstep_run_result(const lockstep_run *run, lockstep_result *out);

/* Folder of the run; lives as long as the run. Local. */
const char *lockstep_run_dir(const lockstep_run *run);

/* Asks the training of this process to stop at the next step, with a checkpoint. May be called from a signal handler or
 * from another thread. Local; one rank's wish stops all. */
void lockstep_request_stop(void);

/* Closes; NULL and a pointer to NULL are fine, sets NULL. Collective. */
void lockstep_run_close(lockstep_run **run);

/* Ends what the library holds for the process; with the MPI that it started, no run can be opened after. Close runs
 * before. Collective. */
void lockstep_finish(void);

#ifdef __cplusplus
}
#endif

#endif
