/* Sums over the rows of a matrix, for gradients of biases and the like; and conversions between types, of weights to nearest or at random. */
#include "kern/cuda/columns.cuh"
#include "kern/cuda/elements.cuh"
#include "kern/cuda/rounding.cuh"

/* ---- sums ---- */
template <class T> struct column_element {
    const T *at;
    int64_t step;
    __device__ float value(int64_t row) const
    {
        return to_float(at[row * step]);
    }
};
template <class T> struct sum_column {
    typedef one_sum gathered;
    int64_t step;
    const T *x;
    float *out;
    __device__ one_sum gather(int64_t, int64_t col, int64_t first, int64_t end, int64_t stride) const
    {
        return sum_values(column_element<T>{x + col, step}, first, end, stride);
    }
    __device__ void store(int64_t, int64_t col, const one_sum &v) const
    {
        out[col] = (float)v.sum;
    }
};

size_t lki_column_sums_scratch(int64_t rows, int64_t cols)
{
    return columns_scratch<one_sum>(1, rows, cols);
}

template <class T> static lk_status column_sums(int64_t rows, int64_t cols, int64_t step, const void *x, float *out, void *scratch)
{
    return cols > 0 ? columns(1, rows, cols, sum_column<T>{step, (const T *)x, out}, scratch) : LK_OK;
}

lk_status lki_column_sums_cuda(lki_type t, int64_t rows, int64_t cols, int64_t step, const void *x, float *out, void *scratch)
{
    return (t == LKI_BF16 ? column_sums<bf16> : t == LKI_F16 ? column_sums<f16> : column_sums<float>)(rows, cols, step, x, out, scratch);
}

/* ---- conversions ---- */
struct convert_value {
    __device__ void operator()(int64_t, float from, float &to) const
    {
        to = from;
    }
};

template <class A> static lk_status convert_from(int64_t n, const void *from, lki_type to_type, void *to)
{
    const auto a = reads((const A *)from);

    switch (to_type) {
    case LKI_BF16:
        return elements(n, convert_value(), a, writes((bf16 *)to));
    case LKI_F16:
        return elements(n, convert_value(), a, writes((f16 *)to));
    default:
        return elements(n, convert_value(), a, writes((float *)to));
    }
}

lk_status lki_convert(int64_t n, lki_type from_type, const void *from, lki_type to_type, void *to)
{
    return (from_type == LKI_BF16 ? convert_from<bf16> : from_type == LKI_F16 ? convert_from<f16> : convert_from<float>)(n, from, to_type, to);
}

/* ---- weights, rounded at random ---- */
template <class T> struct round_weight {
    lk_rounding how;
    int64_t first;
    /* The block of words that the last element found. */
    int64_t block = -1;
    words4 words = {};

    __device__ void operator()(int64_t i, float from, float &to)
    {
        const int64_t e = first + i;
        if (e / 4 != block) {
            block = e / 4;
            words = random_block(how.rng.key, how.row, (uint64_t)block);
        }
        const uint32_t low = e & 1 ? words.at[1] : words.at[0], high = e & 1 ? words.at[3] : words.at[2];
        to = round_by<T>(from, e & 2 ? high : low);
    }
};

template <class T> static lk_status round_weights(const lk_rounding *how, int64_t first, int64_t n, const float *from, void *to)
{
    return elements(n, round_weight<T>{.how = *how, .first = first}, reads(from), writes((T *)to));
}

lk_status lki_convert_param(const lk_rounding *rounding, int64_t first, int64_t n, const void *from, lki_type to_type, void *to)
{
    const float *const own = (const float *)from + first;

    if (rounding == NULL || to_type == LKI_F32)
        return lki_convert(n, LKI_F32, own, to_type, to);
    return (to_type == LKI_BF16 ? round_weights<bf16> : round_weights<f16>)(rounding, first, n, own, to);
}
