/* Lengths of the samples, which come with the data. */
#ifndef LK_KERN_CUDA_LENGTHS_CUH
#define LK_KERN_CUDA_LENGTHS_CUH

#include "kern/cuda/cuda_int.h"

struct row_lengths {
    const lk_live *live;
    const int64_t *length; /* [B]; NULL: `most` */
    int64_t most;
    /* 0 in rows that are no samples; within [0, most] whatever the data say. */
    __device__ int64_t of(int64_t row) const
    {
        if (row >= live->valid)
            return 0;
        return length == NULL ? most : length[row] < 0 ? 0 : min(length[row], most);
    }
    /* Leaves a note where the data say something else. */
    __device__ void check(int64_t row, int node) const
    {
        if (length != NULL && row < live->valid && length[row] != of(row))
            note_fault(live, LK_FAULT_LENGTH, node, row, length[row], most);
    }
};
/* From input i of the call, if it has that one; i < 0: no. */
static inline row_lengths row_lengths_of(const lk_call *c, int i, int64_t most)
{
    return {c->live, i >= 0 && c->spec->n_in > i ? (const int64_t *)c->x[i] : NULL, most};
}

#endif
