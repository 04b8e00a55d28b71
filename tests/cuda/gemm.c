/* Products of the CUDA module (kern/cuda/gemm.c) against sums in double: types, transpositions, gaps between rows, batches, what is done to the
 * result; and what is refused. Its functions are taken from the module that LOCKSTEP_CUDA_MODULE names. */
#include "cuda/cuda.h"
#include "kern/cuda/cuda_int.h"
#include "kern/harness.h"

#include <dlfcn.h>
#include <stdlib.h>

static const lk_backend *be;
static bool on_host; /* the stand-in */
static lk_status (*create)(const lki_gemm_spec *s, lki_gemm **out);
static lk_status (*run)(const lki_gemm *g, float alpha, const void *a, const void *b, void *c, const void *bias);
static void (*destroy)(lki_gemm **g);

static const kern_type types[LKI_TYPES] = {[LKI_F32] = KERN_F32, [LKI_BF16] = KERN_BF16, [LKI_F16] = KERN_F16};

static void open_device(lk_precision precision)
{
    const lk_cuda_module *module = NULL;
    lk_cuda_gpu gpu;

    KERN_OK(lk_cuda_load(&module));
    KERN_OK(module->open(0, precision, &be));
    KERN_OK(module->describe(0, &gpu));
    on_host = strstr(gpu.name, "stand-in") != NULL;
    void *const library = dlopen(getenv("LOCKSTEP_CUDA_MODULE"), RTLD_NOW | RTLD_NOLOAD);
    cr_assert(library, "%s", dlerror());
    *(void **)&create = dlsym(library, "lki_gemm_create");
    *(void **)&run = dlsym(library, "lki_gemm_run");
    *(void **)&destroy = dlsym(library, "lki_gemm_destroy");
    cr_assert(create && run && destroy);
}

static void setup(void)
{
    open_device(LK_PRECISION_FP32);
}

static void setup_tf32(void)
{
    open_device(LK_PRECISION_TF32);
}

/* ---- a product and what it should be ---- */
typedef struct product {
    lki_gemm_spec s;
    float alpha;
    int64_t lda, ldb, ldc, batch; /* with the defaults */
    int64_t n_a, n_b, n_c;        /* elements */
    int64_t shift;                /* elements from the begin of a buffer to the matrix */
    double *a, *b, *c, *bias, *got;
    kern_buf da, db, dc, dbias;
} product;

static double *numbers(uint64_t stream, kern_type t, int64_t n)
{
    double *const v = kern_uniform(lk_rng_make(9, LK_RNG_TEST, stream), n, -1, 1);

    for (int64_t i = 0; i < n; i++)
        v[i] = kern_quantize(t, v[i]);
    return v;
}

static void put(kern_type t, const double *v, int64_t n, int64_t shift, kern_buf *to)
{
    kern_buf_init(to, be, (size_t)(n + shift) * kern_type_size(t), 0xFF);
    for (int64_t i = 0; i < n; i++)
        kern_store(t, v[i], kern_view(to), i + shift);
    kern_bring_in(to);
}

static void product_init(product *p, const lki_gemm_spec *s, float alpha, int64_t shift)
{
    *p = (product){.s = *s, .alpha = alpha, .shift = shift};
    p->lda = s->lda ? s->lda : s->ta ? s->m : s->k;
    p->ldb = s->ldb ? s->ldb : s->tb ? s->k : s->n;
    p->ldc = s->ldc ? s->ldc : s->n;
    p->batch = s->batch ? s->batch : 1;
    p->n_a = (p->batch - 1) * s->stride_a + (s->ta ? s->k : s->m) * p->lda;
    p->n_b = (p->batch - 1) * s->stride_b + (s->tb ? s->n : s->k) * p->ldb;
    p->n_c = (p->batch - 1) * s->stride_c + s->m * p->ldc;
    p->a = numbers(1, types[s->a], p->n_a);
    p->b = numbers(2, types[s->b], p->n_b);
    p->c = numbers(3, types[s->c], p->n_c);
    p->bias = numbers(4, types[s->c], s->n);
    put(types[s->a], p->a, p->n_a, shift, &p->da);
    put(types[s->b], p->b, p->n_b, shift, &p->db);
    put(types[s->c], p->c, p->n_c, shift, &p->dc);
    put(types[s->c], p->bias, s->n, 0, &p->dbias);
    KERN_OK(lk_alloc_array(p->n_c, sizeof *p->got, "test", &p->got));
}

static const void *at(const kern_buf *b, lki_type t, int64_t i)
{
    return (const char *)kern_ptr(b) + (size_t)i * lki_type_size(t);
}

static lk_status product_run(product *p, const lki_gemm *g)
{
    return run(g, p->alpha, at(&p->da, p->s.a, p->shift), at(&p->db, p->s.b, p->shift), (void *)(uintptr_t)at(&p->dc, p->s.c, p->shift), p->s.bias ? kern_ptr(&p->dbias) : NULL);
}

static void product_read(product *p)
{
    kern_unguard(&p->dc);
    kern_bring_out(&p->dc);
    for (int64_t i = 0; i < p->n_c; i++)
        p->got[i] = kern_load(types[p->s.c], kern_view(&p->dc), i + p->shift);
}

/* Element r, c of product i; *size: the sum of what its parts amount to. */
static double wanted(const product *p, int64_t i, int64_t r, int64_t c, double *size)
{
    const lki_gemm_spec *const s = &p->s;
    double sum = 0;

    *size = 0;
    for (int64_t k = 0; k < s->k; k++) {
        const double a = p->a[i * s->stride_a + (s->ta ? k * p->lda + r : r * p->lda + k)];
        const double b = p->b[i * s->stride_b + (s->tb ? c * p->ldb + k : k * p->ldb + c)];
        sum += a * b;
        *size += fabs(a * b);
    }
    sum *= (double)p->alpha;
    *size *= fabs((double)p->alpha);
    const double more = (s->add ? p->c[i * s->stride_c + r * p->ldc + c] : 0) + (s->bias ? p->bias[c] : 0);
    *size += fabs(more);
    return s->relu && sum + more < 0 ? 0 : sum + more;
}

/* All elements, and that those between rows and products are as they were. `accumulated`: relative error of a sum of products. */
static void product_check(product *p, const char *label, double accumulated)
{
    const lki_gemm_spec *const s = &p->s;
    const double stored = s->c == LKI_BF16 ? 0x1p-8 : s->c == LKI_F16 ? 0x1p-11 : 0x1p-23;
    int64_t written = 0;

    for (int64_t i = 0; i < p->batch; i++)
        for (int64_t r = 0; r < s->m; r++)
            for (int64_t c = 0; c < s->n; c++) {
                const int64_t place = i * s->stride_c + r * p->ldc + c;
                double size;
                const double want = wanted(p, i, r, c, &size), got = p->got[place];
                cr_assert(fabs(got - want) <= accumulated * size + stored * fabs(want) + 1e-30, "%s: product %" PRId64 " [%" PRId64 ",%" PRId64 "] is %.9g, should be %.9g", label, i, r, c, got, want);
                p->got[place] = p->c[place]; /* so that the gaps can be compared */
                written++;
            }
    cr_assert(written == p->batch * s->m * s->n);
    for (int64_t i = 0; i < p->n_c; i++)
        cr_assert(p->got[i] == p->c[i], "%s: element %" PRId64 ", which is none of the result, was %g and is %g", label, i, p->c[i], p->got[i]);
}

static void product_fini(product *p, const char *label)
{
    kern_buf *const all[] = {&p->da, &p->db, &p->dc, &p->dbias};
    double *const numbers_of[] = {p->a, p->b, p->c, p->bias, p->got};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        kern_buf_check(all[i], "buffer", label);
        kern_buf_fini(all[i]);
    }
    for (size_t i = 0; i < sizeof numbers_of / sizeof numbers_of[0]; i++)
        lk_free(numbers_of[i]);
}

static const char *label_of(const lki_gemm_spec *s, char text[200])
{
    snprintf(text, 200, "[%" PRId64 ",%" PRId64 ",%" PRId64 "] types %d %d%s%s%s%s%s, batch %" PRId64 ", align %" PRId64, s->m, s->n, s->k, (int)s->a, (int)s->c, s->ta ? " ta" : "", s->tb ? " tb" : "", s->add ? " add" : "",
        s->bias ? " bias" : "", s->relu ? " relu" : "", s->batch, s->align);
    return text;
}

/* Sums in float of up to 300 products. */
#define FLOAT_SUMS 4e-6

static void check(const lki_gemm_spec *s, float alpha, int64_t shift, double accumulated)
{
    char text[200];
    const char *const label = label_of(s, text);
    product p;
    lki_gemm *g = NULL;

    product_init(&p, s, alpha, shift);
    KERN_OK(create(s, &g));
    KERN_OK(product_run(&p, g));
    product_read(&p);
    product_check(&p, label, accumulated);
    destroy(&g);
    cr_assert(g == NULL);
    product_fini(&p, label);
}

/* ---- tests ---- */
static const int64_t sizes[][3] = {{1, 1, 1}, {1, 17, 5}, {33, 1, 7}, {5, 3, 1}, {16, 24, 40}, {37, 65, 300}};
enum { SIZES = sizeof sizes / sizeof sizes[0] };
static const lki_type pairs[][2] = {{LKI_F32, LKI_F32}, {LKI_BF16, LKI_BF16}, {LKI_BF16, LKI_F32}, {LKI_F16, LKI_F16}, {LKI_F16, LKI_F32}};
enum { PAIRS = sizeof pairs / sizeof pairs[0] };

Test(cuda_gemm, types_transpositions_and_what_is_done_to_the_result, .init = setup)
{
    for (int i = 0; i < SIZES; i++)
        for (int t = 0; t < PAIRS; t++)
            for (int how = 0; how < 32; how++) {
                lki_gemm_spec s = {.m = sizes[i][0], .n = sizes[i][1], .k = sizes[i][2], .a = pairs[t][0], .b = pairs[t][0], .c = pairs[t][1], .ta = how & 1, .tb = how & 2, .add = how & 4, .bias = how & 8, .relu = how & 16};
                check(&s, how % 3 == 0 ? 1 : -0.75f, 0, FLOAT_SUMS);
            }
}

Test(cuda_gemm, rows_with_gaps, .init = setup)
{
    for (int i = 0; i < SIZES; i++)
        for (int t = 0; t < PAIRS; t++)
            for (int how = 0; how < 4; how++) {
                lki_gemm_spec s = {.m = sizes[i][0], .n = sizes[i][1], .k = sizes[i][2], .a = pairs[t][0], .b = pairs[t][0], .c = pairs[t][1], .ta = how & 1, .tb = how & 2, .add = how == 2, .bias = how == 1};
                s.lda = (s.ta ? s.m : s.k) + 3;
                s.ldb = (s.tb ? s.k : s.n) + 8;
                s.ldc = s.n + 1;
                check(&s, 1, 0, FLOAT_SUMS);
            }
}

/* One behind the other with gaps, the same A or B for all, and side by side as the heads of attention are. */
Test(cuda_gemm, batches, .init = setup)
{
    for (int t = 0; t < PAIRS; t++)
        for (int how = 0; how < 16; how++) {
            lki_gemm_spec s = {.m = 9, .n = 6, .k = 12, .a = pairs[t][0], .b = pairs[t][0], .c = pairs[t][1], .ta = how & 1, .tb = how & 2, .add = how & 4, .bias = how & 8, .batch = 5, .stride_a = how == 2 ? 0 : 9 * 12 + 7, .stride_b = how == 3 ? 0 : 6 * 12 + 1, .stride_c = 9 * 6 + 3};
            check(&s, 1, 0, FLOAT_SUMS);
        }
    for (int t = 0; t < PAIRS; t++) {
        const int64_t heads = 3, d = 8, steps = 10, row = 3 * heads * d;
        lki_gemm_spec scores = {.m = steps, .n = steps, .k = d, .tb = true, .lda = row, .ldb = row, .batch = heads, .stride_a = d, .stride_b = d, .stride_c = steps * steps, .a = pairs[t][0], .b = pairs[t][0], .c = pairs[t][1]};
        check(&scores, 0.35f, 0, FLOAT_SUMS);
        lki_gemm_spec beside = {.m = steps, .n = d, .k = steps, .ldb = row, .ldc = heads * d, .batch = heads, .stride_a = steps * steps, .stride_b = d, .stride_c = d, .a = pairs[t][0], .b = pairs[t][0], .c = pairs[t][1]};
        check(&beside, 1, 0, FLOAT_SUMS);
    }
}

/* At any element. */
Test(cuda_gemm, addresses_as_little_aligned_as_the_spec_says, .init = setup)
{
    for (int t = 0; t < PAIRS; t++)
        for (int64_t shift = 1; shift <= 4; shift *= 2) {
            const int64_t size = (int64_t)lki_type_size(pairs[t][0]);
            lki_gemm_spec s = {.m = 7, .n = 16, .k = 24, .a = pairs[t][0], .b = pairs[t][0], .c = pairs[t][1], .bias = true, .align = shift * size};
            check(&s, 1, shift, FLOAT_SUMS);
            s.batch = 3;
            s.stride_a = 7 * 24;
            s.stride_b = 16 * 24;
            s.stride_c = 7 * 16;
            check(&s, 1, shift, FLOAT_SUMS);
        }
}

/* Factors of 10 bits: worse than floats, and not much worse. */
Test(cuda_gemm, tf32, .init = setup_tf32)
{
    const lki_gemm_spec s = {.m = 37, .n = 65, .k = 300};
    double worst = 0, size;
    product p;
    lki_gemm *g = NULL;

    product_init(&p, &s, 1, 0);
    KERN_OK(create(&s, &g));
    KERN_OK(product_run(&p, g));
    product_read(&p);
    for (int64_t i = 0; i < s.m * s.n; i++)
        worst = fmax(worst, fabs(p.got[i] - wanted(&p, 0, i / s.n, i % s.n, &size)));
    cr_assert(worst > 1e-5, "%g: as exact as products of floats", worst);
    product_check(&p, "tf32", 0x1p-9);
    destroy(&g);
    product_fini(&p, "tf32");
    for (int t = 1; t < PAIRS; t++) /* says nothing about 16 bits */
        check(&(lki_gemm_spec){.m = 16, .n = 24, .k = 40, .a = pairs[t][0], .b = pairs[t][0], .c = pairs[t][1]}, 1, 0, FLOAT_SUMS);
}

/* Again, with another plan of the same spec, and as recorded work, which is done each time with the numbers of that time. */
Test(cuda_gemm, the_same_bits_again, .init = setup)
{
    const lki_gemm_spec s = {.m = 37, .n = 65, .k = 300, .bias = true};
    double *first = NULL;
    product p;
    lki_gemm *g = NULL;
    lk_work *work = NULL;

    product_init(&p, &s, 1, 0);
    KERN_OK(create(&s, &g));
    KERN_OK(product_run(&p, g));
    product_read(&p);
    KERN_OK(lk_alloc_array(p.n_c, sizeof *first, "test", &first));
    memcpy(first, p.got, (size_t)p.n_c * sizeof *first);
    destroy(&g);

    KERN_OK(create(&s, &g));
    kern_fill(&p.dc, 0x7E);
    KERN_OK(product_run(&p, g));
    product_read(&p);
    cr_assert(memcmp(first, p.got, (size_t)p.n_c * sizeof *first) == 0);

    KERN_OK(lk_space_record_begin(be->space));
    KERN_OK(product_run(&p, g));
    KERN_OK(lk_space_record_end(be->space, &work));
    for (int i = 0; i < 2; i++) {
        kern_fill(&p.dc, 0x7E);
        KERN_OK(lk_space_replay(be->space, work));
        product_read(&p);
        cr_assert(memcmp(first, p.got, (size_t)p.n_c * sizeof *first) == 0, "replay %d", i);
    }
    kern_fill(&p.da, 0);
    KERN_OK(lk_space_replay(be->space, work));
    product_read(&p);
    for (int64_t i = 0; i < p.n_c; i++)
        cr_assert(p.got[i] == p.bias[i % s.n]);
    lk_work_destroy(be->space, &work);
    destroy(&g);
    lk_free(first);
    product_fini(&p, "again");
}

Test(cuda_gemm, nothing_to_do_or_to_sum, .init = setup)
{
    check(&(lki_gemm_spec){.m = 0, .n = 3, .k = 4}, 1, 0, 0);
    check(&(lki_gemm_spec){.m = 3, .n = 0, .k = 4}, 1, 0, 0);
    check(&(lki_gemm_spec){.m = 3, .n = 5, .k = 0, .ldc = 7}, 1, 0, 0);
    check(&(lki_gemm_spec){.m = 3, .n = 5, .k = 0, .add = true}, 1, 0, 0);
    check(&(lki_gemm_spec){.m = 2, .n = 5, .k = 0, .batch = 3, .stride_c = 11, .a = LKI_BF16, .b = LKI_BF16, .c = LKI_BF16}, 1, 0, 0);
}

static void refused(lki_gemm_spec s, lk_status want, const char *text)
{
    lki_gemm *g = NULL;
    const lk_status st = create(&s, &g);

    cr_assert(st == want && g == NULL, "%s instead of %s", lk_status_name(st), lk_status_name(want));
    cr_assert(strstr(lk_err_last()->message, text), "%s", lk_err_last()->message);
}

Test(cuda_gemm, wrong_specs, .init = setup)
{
    refused((lki_gemm_spec){.m = 4, .n = 5, .k = 6, .lda = 5}, LK_E_SHAPE, "float [4,6] and [6,5]");
    refused((lki_gemm_spec){.m = 4, .n = 5, .k = 6, .ta = true, .lda = 3}, LK_E_SHAPE, "[4,6] transposed");
    refused((lki_gemm_spec){.m = 4, .n = 5, .k = 6, .ldb = 4}, LK_E_SHAPE, "overlap");
    refused((lki_gemm_spec){.m = 4, .n = 5, .k = 6, .ldc = 4}, LK_E_SHAPE, "overlap");
    refused((lki_gemm_spec){.m = -4, .n = 5, .k = 6}, LK_E_SHAPE, "negative");
    refused((lki_gemm_spec){.m = 4, .n = 5, .k = 6, .batch = 2, .stride_a = 24, .stride_b = 30, .stride_c = 19}, LK_E_SHAPE, "results 19 elements apart");
    refused((lki_gemm_spec){.m = 4, .n = 5, .k = 6, .batch = 3, .stride_a = 24, .stride_b = 30, .stride_c = 5, .ldc = 14}, LK_E_SHAPE, "overlap");
    refused((lki_gemm_spec){.m = 4, .n = 5, .k = 6, .align = 2}, LK_E_ARG, "alignment 2");
    refused((lki_gemm_spec){.m = 4, .n = 5, .k = 6, .align = 24}, LK_E_ARG, "alignment 24");
    refused((lki_gemm_spec){.m = 4, .n = 5, .k = 6, .align = 512}, LK_E_ARG, "alignment 512");
    refused((lki_gemm_spec){.m = 4, .n = 5, .k = 6, .b = LKI_BF16}, LK_E_ARG, "two types");
    refused((lki_gemm_spec){.m = 4, .n = 5, .k = 6, .c = LKI_F16}, LK_E_ARG, "of a third");
    refused((lki_gemm_spec){.m = 4, .n = 5, .bias = true}, LK_E_UNSUPPORTED, "a sum of nothing");
}

Test(cuda_gemm, address_that_is_not_aligned, .init = setup)
{
    const lki_gemm_spec s = {.m = 4, .n = 8, .k = 8, .bias = true};
    product p;
    lki_gemm *g = NULL;

    product_init(&p, &s, 1, 4);
    KERN_OK(create(&s, &g));
    KERN_OK(product_run(&p, g));
    p.shift = 1;
    cr_assert(product_run(&p, g) == LK_E_ARG);
    cr_assert(strstr(lk_err_last()->message, "multiples of 16") && strstr(lk_err_last()->message, "[4,8] and [8,8], bias"), "%s", lk_err_last()->message);
    destroy(&g);
    product_fini(&p, "not aligned");
}

/* What the library says comes with the shape. */
Test(cuda_gemm, failures_of_the_library, .init = setup)
{
    const lki_gemm_spec s = {.m = 4, .n = 8, .k = 8};
    product p;
    lki_gemm *g = NULL;

    if (!on_host)
        cr_skip_test("a GPU's library cannot be made to fail");
    setenv("STANDIN_FAIL", "cublasLtMatmulAlgoGetHeuristic:1", 1);
    refused(s, LK_E_UNSUPPORTED, "float [4,8] and [8,8] into float: GPU 0: cuBLASLt has no algorithm for it");
    setenv("STANDIN_FAIL", "cublasLtMatmulAlgoGetHeuristic:1:14", 1);
    refused(s, LK_E_LIBRARY, "internal");
    setenv("STANDIN_FAIL", "cublasLtMatmul:1:13", 1);
    product_init(&p, &s, 1, 0);
    KERN_OK(create(&s, &g));
    cr_assert(product_run(&p, g) == LK_E_LIBRARY);
    cr_assert(strstr(lk_err_last()->message, "[4,8] and [8,8] into float: GPU 0: cublasLtMatmul: "), "%s", lk_err_last()->message);
    KERN_OK(product_run(&p, g));
    destroy(&g);
    product_fini(&p, "failures");
}
