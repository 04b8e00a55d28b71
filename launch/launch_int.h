/* Inside the launcher: mpirun's command line and speech (mpirun.c), the flight records (watch.c), the process
 * (launch.c). */
#ifndef LK_LAUNCH_LAUNCH_INT_H
#define LK_LAUNCH_LAUNCH_INT_H

#include "base/record.h"
#include "launch/launch.h"

#include <sys/types.h>

/* A command line for execv: item[n] is NULL. */
typedef struct lki_words {
    char **item;
    int n;
} lki_words;

LK_MUST_USE lk_status lki_mpirun_words(const lk_launch_opts *o, lki_words *out);
void lki_words_free(lki_words *w);

/* What mpirun writes to its standard error: lines of ranks, which pass as they come, byte for byte, and its own blocks
 * between lines of dashes, which are kept aside: they are long, come late, and say less than the flight records do. Its
 * error log is kept with them, its news are dropped. */
typedef struct lki_speech {
    int fd; /* where lines of ranks go */
    pid_t pid; /* of mpirun */
    lk_buf block; /* the block that is open */
    lk_buf kept; /* closed blocks, without dashes, each once */
    int n_blocks;
    bool inside;
    int dashes; /* held back: the beginning of a block, or part of a rank's line */
    size_t passed;
    bool open_line; /* what passed did not end a line */
} lki_speech;

void lki_speech_add(lki_speech *s, const char *text, size_t n);
/* Nothing came for a while: what is held back, but is no block, passes. */
void lki_speech_idle(lki_speech *s);
/* The end of the text: an open block counts as closed. */
void lki_speech_end(lki_speech *s);
void lki_speech_fini(lki_speech *s);

/* Who ended the job, in mpirun's words; rank -1: it does not say. */
typedef struct lki_verdict {
    int rank;
    char host[256]; /* "" : not said */
    int signal; /* 0: none */
    int exit_code; /* -1: not said */
    bool abort; /* a rank ended all with MPI_Abort: none of ours does that without a word */
} lki_verdict;
void lki_mpirun_verdict(const char *kept, lki_verdict *out);

/* The flight records of a job. */
typedef struct lki_seen {
    bool there; /* the record was read at least once */
    int64_t noted; /* number of the look that found it failed or dead; 0: none */
    lk_record_data last;
} lki_seen;

typedef struct lki_watch {
    char *folder;
    int ranks, n_there;
    int64_t looks;
    int first; /* the rank that was found failed or dead first, or -1 */
    lki_seen *seen;
} lki_watch;

/* Makes the folder. */
LK_MUST_USE lk_status lki_watch_create(int ranks, lki_watch *out);
void lki_watch_look(lki_watch *w);
/* True when every rank whose record was seen has ended or died. */
bool lki_watch_all_ended(const lki_watch *w);
/* Kills every process but this one that has the folder's name in its environment; the number found. */
int lki_watch_sweep(const lki_watch *w);
/* Removes the folder. */
void lki_watch_fini(lki_watch *w);

#endif
