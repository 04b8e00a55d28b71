/* The flight record: one small memory-mapped file a rank, that says what the rank is doing and outlives it. The rank writes, the launcher
 * reads, with no lock but an advisory one that tells whether the rank still lives (it goes when the process does, however it died).
 *
 * The lock is fcntl's: it belongs to the process, a forked child has no part in it, and it is also lost when the process closes any other
 * descriptor of the same file. So a rank does not open its own record a second time (lk_record_read included). */
#ifndef LK_BASE_RECORD_H
#define LK_BASE_RECORD_H

#include "base/status.h"

typedef enum lk_phase {
    LK_PHASE_START,
    LK_PHASE_OPEN,       /* data and checkpoint are opened */
    LK_PHASE_DATA,       /* waits for the loader */
    LK_PHASE_FORWARD,    /* forward and backward of the microbatches */
    LK_PHASE_REDUCE,
    LK_PHASE_UPDATE,
    LK_PHASE_EVAL,
    LK_PHASE_CHECKPOINT,
    LK_PHASE_END,
    LK_PHASE_COUNT
} lk_phase;
const char *lk_phase_name(lk_phase p); /* "start", "open", "data", "compute", "reduce", "update", "eval", "checkpoint", "end" */

typedef enum lk_record_state { LK_RECORD_RUNNING, LK_RECORD_DONE, LK_RECORD_FAILED, LK_RECORD_STOPPED } lk_record_state;

/* What lies in the file; fixed size, this byte order. */
typedef struct lk_record_data {
    uint64_t magic, version;
    int32_t rank, nranks;
    int64_t pid;
    char host[256];
    int32_t state, phase;
    int64_t epoch, step;
    uint64_t ticks; /* rises with each note: progress */
    char message[LK_ERR_MESSAGE]; /* FAILED: why */
} lk_record_data;

typedef struct lk_record lk_record;

/* Creates (truncates) the file, maps it, takes the lock. Local. Errors: LK_E_IO, also when another living process holds this record. */
LK_MUST_USE lk_status lk_record_create(const char *path, int rank, int nranks, lk_record **out);
/* Notes phase and position; a few stores, no system call. NULL record: nothing. */
void lk_record_note(lk_record *r, lk_phase phase, int64_t epoch, int64_t step);
/* Notes how the rank ended; the last call stands. A FAILED record with a message (cut off at LK_ERR_MESSAGE) has yet to be shown to the
 * user by whoever reads it; with none (NULL or empty) it has been shown. NULL record: nothing. Any thread. */
void lk_record_end(lk_record *r, lk_record_state state, const char *message);
const lk_record_data *lk_record_view(const lk_record *r);
/* Unmaps and unlocks; the file stays. One that is still RUNNING becomes FAILED without a message: its process lives, and speaks for itself. */
void lk_record_close(lk_record **r);
/* The record that this process created last and has not closed, or NULL: for the code that ends a failed process. */
lk_record *lk_record_current(void);

/* Reads the record of another process; *alive tells whether its lock is held. Message and state may be from two moments while the rank
 * lives. Errors: LK_E_NOT_FOUND, LK_E_FORMAT (also for a record that is just being created). */
LK_MUST_USE lk_status lk_record_read(const char *path, lk_record_data *out, bool *alive);

#endif
