/* What lstm, gru and rnn share: the walk over steps. The products of all steps with W_ih are one product; a step is one product with W_hh, added to
 * the same sums, and one kernel that makes gates and states of them. Backward a step is one kernel and one product; the gradients of the weights
 * are one product each over all steps.
 *
 * All lies as x and y do, row after row, so that nothing is moved: step t of row b is at (b steps + t) times what one step takes.
 *
 *   gates [B,T,cols units] float   the gates' sums, then their values: the first `gates` blocks of units get those of W_ih, the last ones those of W_hh
 *   before [B,T,units] T           h before step t
 *   c_before [B,T,units] float     c before step t, with two states
 *   state [B,states,units] float   h, c; is the carried one, if there is one
 *   dgates [B,T,cols units] T      gradients of the gates' sums
 *   dh, dc [B,units] float         gradients of the state, on the way back
 *
 * The walk goes by time, up or (reverse) down. A row that has no step t (it is shorter, or no sample) keeps its state there, has y 0 and gradients
 * 0: in reverse it has not begun yet, so that its last step is its first.
 *
 * A cell is a struct with
 *   gates, cols, states   numbers of blocks and states
 *   block(i)              block i < gates of the columns of W_ih is this one of the parameter; those of W_hh are in order
 *   around                part of dh goes around the gates
 *   forward(g, h, c, relu)   g [cols] sums, in place their values; returns h', c becomes c'
 *   backward(g, h, c, dh, dc, relu)   g values, in place the gradients of their sums; h, c before the step; dh by h', which becomes what goes around;
 *                            dc by c', which becomes that by c */
#ifndef LK_KERN_CUDA_RECURRENT_CUH
#define LK_KERN_CUDA_RECURRENT_CUH

#include "kern/cuda/elements.cuh"
#include "kern/cuda/lengths.cuh"
#include "kern/cuda/rounding.cuh"

#include <type_traits>

/* Runs of blocks that are neighbours in the parameter too. */
enum { RECURRENT_RUNS = 2 };

typedef struct recurrent_products {
    lki_gemm *input, *step, *step_back, *dx, *dw_hh, *dw_ih[RECURRENT_RUNS];
} recurrent_products;

template <class Cell> struct column_run {
    int first, count, block;
};
/* The run that begins with block `first` of the columns. */
template <class Cell> static column_run<Cell> column_run_at(int first)
{
    int n = 1;

    while (first + n < Cell::gates && Cell::block(first + n) == Cell::block(first) + n)
        n++;
    return {first, n, Cell::block(first)};
}

/* ---- sizes and places ---- */
template <class T, class Cell> struct recurrent_room {
    /* Weights in the layout and type of the products; those that have them as they are stay where they are. */
    static constexpr bool packs_hh = !std::is_same_v<T, float>, packs_ih = packs_hh || Cell::cols != Cell::gates;

    int64_t rows, steps, channels, units;
    int64_t in_gates, cols, first_hh; /* in numbers: of W_ih and of W_hh; of a step; before those of W_hh */
    T *ih, *hh;
    float *bias; /* [cols] */
    size_t packed_bytes;
    float *gates, *c_before;
    T *before;
    size_t kept_bytes;
    float *state;
    size_t forward_bytes; /* without what is kept */
    T *dgates;
    float *dh, *dc, *sums;
    void *sums_scratch;
    size_t backward_bytes;

    /* Sizes alone where a buffer is NULL. `forward`: what is in scratch; it holds what is kept too if that is not saved. */
    recurrent_room(const lk_opspec *s, bool forward, const void *packed, void *saved, void *scratch)
    {
        rows = s->in[0].dim[0];
        steps = s->in[0].dim[1];
        channels = s->in[0].dim[2];
        units = s->attr.recurrent.units;
        in_gates = Cell::gates * units;
        cols = Cell::cols * units;
        first_hh = cols - in_gates;
        const int64_t all = rows * steps;

        char *const in_packed = (char *)packed, *const in_scratch = (char *)scratch;
        size_t at = 0;
        ih = take_piece<T>(in_packed, &at, packs_ih ? in_gates * channels : 0);
        hh = take_piece<T>(in_packed, &at, packs_hh ? in_gates * units : 0);
        bias = take_piece<float>(in_packed, &at, cols);
        packed_bytes = at;

        at = 0;
        state = take_piece<float>(forward ? in_scratch : NULL, &at, rows * Cell::states * units);
        forward_bytes = at;

        char *const kept = s->training ? (char *)saved : in_scratch == NULL ? NULL : in_scratch + forward_bytes;
        at = 0;
        gates = take_piece<float>(kept, &at, all * cols);
        before = take_piece<T>(kept, &at, all * units);
        c_before = take_piece<float>(kept, &at, Cell::states == 2 ? all * units : 0);
        kept_bytes = at;

        char *const behind = forward ? NULL : in_scratch;
        at = 0;
        dgates = take_piece<T>(behind, &at, all * cols);
        dh = take_piece<float>(behind, &at, rows * units);
        dc = take_piece<float>(behind, &at, Cell::states == 2 ? rows * units : 0);
        sums = take_piece<float>(behind, &at, cols);
        sums_scratch = take_piece<char>(behind, &at, (int64_t)lki_column_sums_scratch(all, cols));
        backward_bytes = at;
    }
    const void *ih_of(const lk_call *c) const
    {
        return packs_ih ? (const void *)ih : c->param[0];
    }
    const void *hh_of(const lk_call *c) const
    {
        return packs_hh ? (const void *)hh : c->param[1];
    }
};

/* Of addresses that are multiples of so many bytes from an aligned one: what lki_gemm_spec.align may say. */
static inline int64_t recurrent_align(int64_t bytes)
{
    const int64_t power = bytes & -bytes;
    return power < 16 ? power : 16;
}

/* ---- plan ---- */
static void recurrent_destroy(void *state)
{
    recurrent_products *const p = (recurrent_products *)state;

    if (p == NULL)
        return;
    lki_gemm_destroy(&p->input);
    lki_gemm_destroy(&p->step);
    lki_gemm_destroy(&p->step_back);
    lki_gemm_destroy(&p->dx);
    lki_gemm_destroy(&p->dw_hh);
    for (int i = 0; i < RECURRENT_RUNS; i++)
        lki_gemm_destroy(&p->dw_ih[i]);
    lk_free(p);
}

template <class T> static lki_gemm_spec recurrent_spec(int64_t m, int64_t n, int64_t k, lki_type c)
{
    lki_gemm_spec s = {};

    s.m = m, s.n = n, s.k = k;
    s.a = s.b = lki_type_of<T>::value;
    s.c = c;
    return s;
}

template <class T, class Cell> static lk_status recurrent_products_create(const lk_opspec *s, recurrent_products *p)
{
    const recurrent_room<T, Cell> r(s, true, NULL, NULL, NULL);
    const int64_t all = r.rows * r.steps, align = recurrent_align(r.units * (int64_t)sizeof(T));

    lki_gemm_spec input = recurrent_spec<T>(all, r.in_gates, r.channels, LKI_F32);
    input.tb = true;
    input.ldc = r.cols;
    input.bias = true;
    LK_TRY(lki_gemm_create(&input, &p->input));

    lki_gemm_spec step = recurrent_spec<T>(r.rows, r.in_gates, r.units, LKI_F32);
    step.tb = step.add = true;
    step.lda = r.steps * r.units;
    step.ldc = r.steps * r.cols;
    step.align = align;
    LK_TRY(lki_gemm_create(&step, &p->step));
    if (!s->training)
        return LK_OK;

    lki_gemm_spec step_back = recurrent_spec<T>(r.rows, r.units, r.in_gates, LKI_F32);
    step_back.lda = r.steps * r.cols;
    step_back.add = Cell::around;
    step_back.align = align;
    LK_TRY(lki_gemm_create(&step_back, &p->step_back));

    lki_gemm_spec dx = recurrent_spec<T>(all, r.channels, r.in_gates, lki_type_of<T>::value);
    dx.lda = r.cols;
    LK_TRY(lki_gemm_create(&dx, &p->dx));

    lki_gemm_spec dw_hh = recurrent_spec<T>(r.in_gates, r.units, all, LKI_F32);
    dw_hh.ta = true;
    dw_hh.lda = r.cols;
    dw_hh.align = align;
    LK_TRY(lki_gemm_create(&dw_hh, &p->dw_hh));

    for (int i = 0, n = 0; i < Cell::gates; n++) {
        const column_run<Cell> run = column_run_at<Cell>(i);
        lki_gemm_spec dw_ih = recurrent_spec<T>(run.count * r.units, r.channels, all, LKI_F32);
        dw_ih.ta = true;
        dw_ih.lda = r.cols;
        dw_ih.align = align;
        LK_TRY(lki_gemm_create(&dw_ih, &p->dw_ih[n]));
        i += run.count;
    }
    return LK_OK;
}

template <class T, class Cell> static lk_status recurrent_plan(const lk_opspec *s, lk_kern_plan *out)
{
    const recurrent_room<T, Cell> r(s, true, NULL, NULL, NULL);
    recurrent_products *p = NULL;

    LK_TRY(lk_alloc(sizeof *p, "products of a recurrent layer", &p));
    const lk_status st = recurrent_products_create<T, Cell>(s, p);
    if (st != LK_OK) {
        recurrent_destroy(p);
        return lk_err_frame(st, __FILE__, __LINE__, __func__);
    }
    *out = {};
    out->state = p;
    out->saved_bytes = s->training ? r.kept_bytes : 0;
    out->scratch_forward = r.forward_bytes + (s->training ? 0 : r.kept_bytes);
    out->scratch_backward = s->training ? r.backward_bytes : 0;
    out->packed_bytes = r.packed_bytes;
    out->carry_bytes = s->attr.recurrent.carry ? (size_t)(r.rows * Cell::states * r.units) * sizeof(float) : 0;
    return LK_OK;
}

/* ---- pack ---- */
/* What sums start from: columns that both products meet in get both biases. */
template <class Cell> struct pack_bias {
    int64_t units;
    const float *ih, *hh;
    float *out;
    __device__ void operator()(int64_t i) const
    {
        const int64_t block = i / units, first_hh = (Cell::cols - Cell::gates) * units;
        float v = 0;
        for (int g = 0; g < Cell::gates; g++)
            if (block == g)
                v = ih[Cell::block(g) * units + i % units];
        if (i >= first_hh)
            v += hh[i - first_hh];
        out[i] = v;
    }
};

template <class T, class Cell> static lk_status recurrent_pack(const lk_call *c)
{
    constexpr lki_type t = lki_type_of<T>::value;
    const recurrent_room<T, Cell> r(c->spec, true, c->packed, NULL, NULL);
    const int64_t block = r.units * r.channels;

    for (int i = 0; r.packs_ih && i < Cell::gates;) {
        const column_run<Cell> run = column_run_at<Cell>(i);
        LK_TRY(lki_convert_param(rounding_of(c, 0), run.block * block, run.count * block, c->param[0], t, r.ih + run.first * block));
        i += run.count;
    }
    if (r.packs_hh)
        LK_TRY(lki_convert_param(rounding_of(c, 1), 0, r.in_gates * r.units, c->param[1], t, r.hh));
    return each(r.cols, pack_bias<Cell>{r.units, (const float *)c->param[2], (const float *)c->param[3], r.bias});
}

/* ---- steps ---- */
/* The columns that W_ih gives nothing to start from. */
struct recurrent_fill {
    divisor by_width;
    int64_t cols, first;
    const float *bias;
    float *gates;
    __device__ void operator()(int64_t i) const
    {
        const int64_t row = by_width.quotient(i), at = first + i - row * by_width.by;
        gates[row * cols + at] = bias[at];
    }
};

/* States before the first step, at time `t`. */
template <class T, class Cell> struct recurrent_begin {
    divisor by_units;
    row_lengths lengths;
    int node;
    bool carried;
    int64_t t;
    float *state;
    T *before;
    __device__ void operator()(int64_t i) const
    {
        const int64_t units = by_units.by, b = by_units.quotient(i), j = i - b * units;
        float *const own = state + b * Cell::states * units + j;
        for (int k = 0; k < Cell::states && !carried; k++)
            own[k * units] = 0;
        before[(b * lengths.most + t) * units + j] = from_float<T>(own[0]);
        if (j == 0)
            lengths.check(b, node);
    }
};

template <class T, class Cell> struct recurrent_step {
    divisor by_units;
    row_lengths lengths;
    bool relu;
    int64_t t, next; /* times; next -1: this is the last one */
    float *gates, *c_before, *state;
    T *before, *y;
    __device__ void operator()(int64_t i) const
    {
        const int64_t units = by_units.by, b = by_units.quotient(i), j = i - b * units, row = b * lengths.most + t;
        float *const own = state + b * Cell::states * units + j, *const gate = gates + row * Cell::cols * units + j;
        const bool there = t < lengths.of(b);
        float h = own[0], c = Cell::states == 2 ? own[units] : 0;

        if (Cell::states == 2)
            c_before[row * units + j] = c;
        if (there) {
            float g[Cell::cols];
            for (int k = 0; k < Cell::cols; k++)
                g[k] = gate[k * units];
            h = Cell::forward(g, h, c, relu);
            for (int k = 0; k < Cell::cols; k++)
                gate[k * units] = g[k];
            own[0] = h;
            if (Cell::states == 2)
                own[units] = c;
        }
        y[row * units + j] = from_float<T>(there ? h : 0.0f);
        if (next >= 0)
            before[(b * lengths.most + next) * units + j] = from_float<T>(h);
    }
};

template <class T, class Cell> struct recurrent_step_back {
    divisor by_units;
    row_lengths lengths;
    bool relu;
    int64_t t;
    const float *gates, *c_before;
    const T *before, *dy;
    T *dgates;
    float *dh, *dc;
    __device__ void operator()(int64_t i) const
    {
        const int64_t units = by_units.by, b = by_units.quotient(i), j = i - b * units, row = b * lengths.most + t;
        const float *const gate = gates + row * Cell::cols * units + j;
        T *const dgate = dgates + row * Cell::cols * units + j;
        float g[Cell::cols] = {};

        if (t < lengths.of(b)) {
            float d = dh[i] + to_float(dy[row * units + j]), dc_own = Cell::states == 2 ? dc[i] : 0;
            for (int k = 0; k < Cell::cols; k++)
                g[k] = gate[k * units];
            Cell::backward(g, to_float(before[row * units + j]), Cell::states == 2 ? c_before[row * units + j] : 0.0f, d, dc_own, relu);
            if (Cell::around)
                dh[i] = d;
            if (Cell::states == 2)
                dc[i] = dc_own;
        }
        for (int k = 0; k < Cell::cols; k++)
            dgate[k * units] = from_float<T>(g[k]);
    }
};

/* ---- passes ---- */
/* Time of step k of the walk. */
static int64_t recurrent_time(const lk_opspec *s, int64_t k)
{
    return s->attr.recurrent.reverse ? s->in[0].dim[1] - 1 - k : k;
}

template <class T, class Cell> static lk_status recurrent_forward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const recurrent_room<T, Cell> r(s, true, c->packed, c->saved, c->scratch);
    const recurrent_products *const p = (const recurrent_products *)c->state;
    const row_lengths lengths = row_lengths_of(c, 1, r.steps);
    const divisor by_units(r.units);
    float *const state = c->carry != NULL ? (float *)c->carry : r.state;

    LK_TRY(lki_gemm_run(p->input, 1, c->x[0], r.ih_of(c), r.gates, r.bias));
    if (r.first_hh > 0)
        LK_TRY(each(r.rows * r.steps * r.first_hh, recurrent_fill{divisor(r.first_hh), r.cols, r.in_gates, r.bias, r.gates}));
    LK_TRY(each(r.rows * r.units, recurrent_begin<T, Cell>{by_units, lengths, c->node, c->carry != NULL, recurrent_time(s, 0), state, r.before}));
    for (int64_t k = 0; k < r.steps; k++) {
        const int64_t t = recurrent_time(s, k), next = k + 1 < r.steps ? recurrent_time(s, k + 1) : -1;
        LK_TRY(lki_gemm_run(p->step, 1, r.before + t * r.units, r.hh_of(c), r.gates + t * r.cols + r.first_hh, NULL));
        LK_TRY(each(r.rows * r.units, recurrent_step<T, Cell>{by_units, lengths, s->attr.recurrent.relu, t, next, r.gates, r.c_before, state, r.before, (T *)c->y}));
    }
    return LK_OK;
}

template <class T, class Cell> static lk_status recurrent_weight_gradients(const lk_call *c, const recurrent_room<T, Cell> &r)
{
    const recurrent_products *const p = (const recurrent_products *)c->state;
    float *const dw_ih = (float *)c->dparam[0], *const dw_hh = (float *)c->dparam[1], *const db_ih = (float *)c->dparam[2], *const db_hh = (float *)c->dparam[3];

    for (int i = 0, n = 0; dw_ih != NULL && i < Cell::gates; n++) {
        const column_run<Cell> run = column_run_at<Cell>(i);
        LK_TRY(lki_gemm_run(p->dw_ih[n], 1, r.dgates + run.first * r.units, c->x[0], dw_ih + run.block * r.units * r.channels, NULL));
        i += run.count;
    }
    if (dw_hh != NULL)
        LK_TRY(lki_gemm_run(p->dw_hh, 1, r.dgates + r.first_hh, r.before, dw_hh, NULL));
    if (db_ih == NULL && db_hh == NULL)
        return LK_OK;
    LK_TRY(lki_column_sums_cuda(lki_type_of<T>::value, r.rows * r.steps, r.cols, r.cols, r.dgates, r.sums, r.sums_scratch));
    for (int i = 0; db_ih != NULL && i < Cell::gates;) {
        const column_run<Cell> run = column_run_at<Cell>(i);
        LK_TRY(lki_copy_cuda(sizeof(float), run.count * r.units, r.sums + run.first * r.units, db_ih + run.block * r.units));
        i += run.count;
    }
    return db_hh != NULL ? lki_copy_cuda(sizeof(float), r.in_gates, r.sums + r.first_hh, db_hh) : LK_OK;
}

template <class T, class Cell> static lk_status recurrent_backward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const recurrent_room<T, Cell> r(s, false, c->packed, c->saved, c->scratch);
    const recurrent_products *const p = (const recurrent_products *)c->state;
    const row_lengths lengths = row_lengths_of(c, 1, r.steps);
    const divisor by_units(r.units);

    LK_TRY(lk_space_zero(&lki_space_cuda, r.dh, (size_t)(r.rows * r.units) * sizeof(float)));
    if (Cell::states == 2)
        LK_TRY(lk_space_zero(&lki_space_cuda, r.dc, (size_t)(r.rows * r.units) * sizeof(float)));
    for (int64_t k = r.steps - 1; k >= 0; k--) {
        const int64_t t = recurrent_time(s, k);
        LK_TRY(each(r.rows * r.units, recurrent_step_back<T, Cell>{by_units, lengths, s->attr.recurrent.relu, t, r.gates, r.c_before, r.before, (const T *)c->dy, r.dgates, r.dh, r.dc}));
        if (k > 0)
            LK_TRY(lki_gemm_run(p->step_back, 1, r.dgates + t * r.cols + r.first_hh, r.hh_of(c), r.dh, NULL));
    }
    LK_TRY((recurrent_weight_gradients<T, Cell>(c, r)));
    return c->dx[0] != NULL ? lki_gemm_run(p->dx, 1, r.dgates, r.ih_of(c), c->dx[0], NULL) : LK_OK;
}

template <class T, class Cell>
static constexpr lk_kernel recurrent_kernel = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .plan = recurrent_plan<T, Cell>,
    .pack = recurrent_pack<T, Cell>,
    .forward = recurrent_forward<T, Cell>,
    .backward = recurrent_backward<T, Cell>,
    .destroy = recurrent_destroy};

#endif
