/* The flight record: one small memory-mapped file a rank, that says what the rank is doing and outlives it. The rank writes, the launcher
 * reads, with no lock but an advisory one that tells whether the rank still lives (it goes when the process does, however it died). */
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

/* Creates (truncates) the file, maps it, takes the lock. Local. */
LK_MUST_USE lk_status lk_record_create(const char *path, int rank, int nranks, lk_record **out);
/* Notes phase and position; a few stores, no system call. NULL record: nothing. */
void lk_record_note(lk_record *r, lk_phase phase, int64_t epoch, int64_t step);
void lk_record_end(lk_record *r, lk_record_state state, const char *message);
const lk_record_data *lk_record_view(const lk_record *r);
/* Unmaps and unlocks; the file stays. */
void lk_record_close(lk_record **r);

/* Reads a rank's record; *alive tells whether its lock is held. Errors: LK_E_NOT_FOUND, LK_E_FORMAT. */
LK_MUST_USE lk_status lk_record_read(const char *path, lk_record_data *out, bool *alive);

#endif
