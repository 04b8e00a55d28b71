/* Inside src/engine: where in the arena each buffer of a plan lies. */
#ifndef LK_ENGINE_PLACE_H
#define LK_ENGINE_PLACE_H

#include "base/status.h"

#include <stdint.h>

/* A piece of the arena that is in use from instruction `first` to instruction `last`. */
typedef struct lki_buffer {
    int64_t bytes, offset, best; /* best: the offset in the best placing so far */
    int first, last;
    int alias; /* shares the place of this buffer, or -1 */
} lki_buffer;

/* The most bytes that are in use at a time, less than which no placing takes, and the first instruction at which they are. Errors: LK_E_NOMEM. */
LK_MUST_USE lk_status lki_place_peak(const lki_buffer *buf, int n_bufs, int n_instr, int64_t *bytes, int *instr);
/* Gives each buffer that is no alias its offset, no two that are in use at the same time over each other, and says how large an arena that takes. Errors: LK_E_NOMEM. */
LK_MUST_USE lk_status lki_place(lki_buffer *buf, int n_bufs, int n_instr, int64_t *arena_bytes);

#endif
