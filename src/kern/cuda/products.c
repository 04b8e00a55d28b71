/* How fast this GPU multiplies matrices: what the speed of a training step is held against. */
#include "kern/cuda/cuda_int.h"

#include "base/mem.h"
#include "base/thread.h"
#include "kern/cuda/device.h"

enum { WARMUP = 3, TIMES = 20 };

/* Numbers of no pattern in [-1, 1): a product of zeros takes less power, and is faster. */
static lk_status fill(const lk_backend *be, int64_t n, uint64_t stream, void *to)
{
    float *host = NULL, *device = NULL;
    lk_status st;

    LK_TRY(lk_alloc_array(n, sizeof *host, "factor", &host));
    const lk_rng r = lk_rng_make(1, LK_RNG_SYNTHETIC, stream);
    lk_rng_fill(r, 0, 0, n, (uint32_t *)host);
    for (int64_t i = 0; i < n; i++)
        host[i] = 2 * lk_rng_unit(((const uint32_t *)host)[i]) - 1;
    st = lk_space_alloc(be->space, (size_t)n * sizeof *host, "factor", &device);
    if (st == LK_OK)
        st = lk_space_copy(be->space, device, host, (size_t)n * sizeof *host, LK_COPY_IN);
    if (st == LK_OK) {
        be->from_float(n, device, to);
        st = lk_space_wait(be->space);
    }
    lk_space_free(be->space, device);
    lk_free(host);
    return st;
}

static lk_status time_products(const lk_backend *be, const lki_gemm *g, const void *a, const void *b, void *c, double *seconds)
{
    double start = 0;

    for (int i = 0; i < WARMUP + TIMES; i++) {
        if (i == WARMUP) {
            LK_TRY(lk_space_wait(be->space));
            start = lk_now();
        }
        LK_TRY(lki_gemm_run(g, 1, a, b, c, NULL));
    }
    LK_TRY(lk_space_wait(be->space));
    *seconds = (lk_now() - start) / TIMES;
    return LK_OK;
}

lk_status lk_cuda_product_rate(lk_precision precision, int64_t n, double *flops_per_s)
{
    const lk_backend *be = NULL;
    const lki_type t = precision == LK_PRECISION_BF16 ? LKI_BF16 : precision == LK_PRECISION_FP16 ? LKI_F16 : LKI_F32;
    const lki_gemm_spec spec = {.m = n, .n = n, .k = n, .a = t, .b = t, .c = t};
    lki_gemm *g = NULL;
    void *a = NULL, *b = NULL, *c = NULL;
    double seconds = 0;
    lk_status st;

    LK_TRY(lk_cuda_open(lki_cuda_device.device, precision, &be));
    const size_t bytes = (size_t)(n * n) * be->value_size;
    LK_TRY_TO(st, done, lki_gemm_create(&spec, &g));
    LK_TRY_TO(st, done, lk_space_alloc(be->space, bytes, "factor", &a));
    LK_TRY_TO(st, done, lk_space_alloc(be->space, bytes, "factor", &b));
    LK_TRY_TO(st, done, lk_space_alloc(be->space, bytes, "product", &c));
    LK_TRY_TO(st, done, fill(be, n * n, 1, a));
    LK_TRY_TO(st, done, fill(be, n * n, 2, b));
    LK_TRY_TO(st, done, time_products(be, g, a, b, c, &seconds));
    *flops_per_s = 2.0 * (double)n * (double)n * (double)n / seconds;
done:
    lk_space_free(&lki_space_cuda, a);
    lk_space_free(&lki_space_cuda, b);
    lk_space_free(&lki_space_cuda, c);
    lki_gemm_destroy(&g);
    return st;
}
