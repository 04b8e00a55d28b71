/* The launcher: starts the ranks of a subcommand through mpirun, watches their flight records, ends what a failed rank
 * leaves behind, and says in one line which rank it was, where, in which phase, and why.
 *
 * It stands on base alone and shares nothing with the ranks but a private folder with their flight records, which it
 * makes in $TMPDIR, names in their environment (LOCKSTEP_RECORDS) and removes at its end. Every process of a job is
 * known by that name; that is how ranks which mpirun leaves behind are found.
 *
 * Open MPI is what it starts (its options are on the command line). Records of ranks on other hosts are not seen: those
 * ranks print their errors themselves, and their death is told with what mpirun says of it, without phase and step.
 * Root may start ranks
 * (--allow-run-as-root), since containers know no other user. */
#ifndef LK_LAUNCH_LAUNCH_H
#define LK_LAUNCH_LAUNCH_H

#include "base/buf.h"

typedef struct lk_launch_opts {
    int ranks; /* at least 1 */
    const char *hostfile; /* NULL: all ranks on this host, more than it has cores if need be */
    bool stoppable; /* the subcommand ends with a checkpoint and exit code 75 on SIGUSR1 */
    char *const *word; /* the subcommand and its arguments */
    int n_words;
} lk_launch_opts;

/* The command line that would be run, as text for a shell. Local. Errors: LK_E_NOT_FOUND (mpirun, hostfile). */
LK_MUST_USE lk_status lk_launch_describe(const lk_launch_opts *o, lk_buf *out);

/* Runs the ranks to their end. *exit_code: 0, 2 and 75 as the ranks gave them, else 1, and then the reason was printed,
 * by a rank or here. Ends with no process of the job alive on this host. Signals while it runs: SIGTERM, SIGUSR1 and
 * SIGHUP ask a stoppable subcommand to stop (once the ranks can take it), a second SIGTERM ends it hard; SIGINT, and
 * any of them where the subcommand is not stoppable, end it hard: at once, without a checkpoint. Errors, nothing was
 * started: LK_E_NOT_FOUND (mpirun, hostfile), LK_E_IO. Local; changes this process's signal mask, and sets it back. */
LK_MUST_USE lk_status lk_launch_run(const lk_launch_opts *o, int *exit_code);

#endif
