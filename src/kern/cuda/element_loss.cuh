/* What losses share: their metrics, added up in an order fixed by the shape. */
#ifndef LK_KERN_CUDA_ELEMENT_LOSS_CUH
#define LK_KERN_CUDA_ELEMENT_LOSS_CUH

/* ---- metrics ---- */
/* Of some rows, before the loss's share. */
struct loss_sums {
    double at[LK_METRIC_NAMED + 1]; /* by LK_METRIC_ */
};

/* Stores the sums over the block's threads, all of which must call, as number blockIdx.x of `part`. */
static __device__ inline void store_block_sums(const loss_sums &own, loss_sums *part)
{
    __shared__ double shared[33];
    loss_sums sum;
    for (int i = 0; i <= LK_METRIC_NAMED; i++)
        sum.at[i] = block_sum(own.at[i], shared);
    if (threadIdx.x == 0)
        part[blockIdx.x] = sum;
}

/* element_loss.cu: metrics = the sums over part [parts], the loss times `scale`. */
LK_MUST_USE lk_status lki_loss_metrics(int64_t parts, const loss_sums *part, double scale, double *metrics);

#endif
