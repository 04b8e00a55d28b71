/* Sums in an order that the shape alone fixes: over columns (statistics, bias gradients) and of squares. */
#include "kern/cpu/cpu_int.h"
#include <string.h>

/* Rows that are summed in float before they go to double. */
enum { BLOCK = 64 };

/* Eight floats: a register on most machines; the compiler splits it where they are narrower. */
enum { WIDE = 8, PARTS = LK_LANES / WIDE };
typedef float eight __attribute__((vector_size(32)));
typedef float eight_at __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t eight_mask __attribute__((vector_size(32)));

#define AT(p) ((eight)(*(const eight_at *)(p)))

/* Of the numbers of rows that give LK_LANES columns at least, the first that wastes least of the last lanes. */
lki_fold lki_fold_make(int64_t cols)
{
    const int64_t least = (LK_LANES + cols - 1) / cols;
    int64_t best = least;
    for (int64_t n = least + 1; n <= LK_LANES && n * cols <= LK_FOLD_WIDTH; n++) {
        const int64_t lanes = (n * cols + LK_LANES - 1) / LK_LANES * LK_LANES;
        const int64_t best_lanes = (best * cols + LK_LANES - 1) / LK_LANES * LK_LANES;
        if (lanes * best < best_lanes * n)
            best = n;
    }
    return (lki_fold){cols, best, best * cols};
}

void lki_fold_repeat(const lki_fold *f, const float *v, float *wide)
{
    for (int64_t i = 0; i < f->width; i += f->cols)
        memcpy(wide + i, v, (size_t)f->cols * sizeof *v);
}

typedef enum kind { PLAIN, SQUARES, NORM, NORM_RELU } kind;

/* Blocks of wide rows; the last LK_LANES columns may overlap the ones before, which then are computed twice, to the
 * same bits. */
static inline __attribute__((always_inline)) void block_sums(kind k, int64_t rows, int64_t width, const float *x,
    const float *dy, const float *mean, const float *scale, const float *shift, double *wide, double *wide_x)
{
    const eight zero = {0};
    for (int64_t j0 = 0; j0 < width; j0 += LK_LANES) {
        const int64_t j = lki_min(j0, width - LK_LANES);
        double total[LK_LANES] = {0}, total_x[LK_LANES] = {0};
        eight m[PARTS], a[PARTS], b[PARTS];
        for (int p = 0; p < PARTS; p++) {
            m[p] = k == PLAIN ? zero : AT(mean + j + p * WIDE);
            a[p] = k == NORM_RELU ? AT(scale + j + p * WIDE) : zero;
            b[p] = k == NORM_RELU ? AT(shift + j + p * WIDE) : zero;
        }
        for (int64_t r0 = 0; r0 < rows; r0 += BLOCK) {
            const int64_t r1 = lki_min(r0 + BLOCK, rows);
            eight s[PARTS] = {{0}}, t[PARTS] = {{0}};
            for (int64_t r = r0; r < r1; r++)
                for (int p = 0; p < PARTS; p++) {
                    const eight v = AT(x + r * width + j + p * WIDE);
                    if (k == PLAIN) {
                        s[p] += v;
                    } else if (k == SQUARES) {
                        s[p] += (v - m[p]) * (v - m[p]);
                    } else {
                        const eight centered = v - m[p];
                        eight g = AT(dy + r * width + j + p * WIDE);
                        if (k == NORM_RELU)
                            g = (eight)((eight_mask)g & (centered * a[p] + b[p] > zero));
                        s[p] += g;
                        t[p] += g * centered;
                    }
                }
            for (int i = 0; i < LK_LANES; i++)
                total[i] += (double)s[i / WIDE][i % WIDE];
            if (k >= NORM)
                for (int i = 0; i < LK_LANES; i++)
                    total_x[i] += (double)t[i / WIDE][i % WIDE];
        }
        for (int i = 0; i < LK_LANES; i++) {
            wide[j + i] = total[i];
            if (k >= NORM)
                wide_x[j + i] = total_x[i];
        }
    }
}

LK_CLONES static void plain_blocks(int64_t rows, int64_t width, const float *x, double *wide)
{
    block_sums(PLAIN, rows, width, x, NULL, NULL, NULL, NULL, wide, NULL);
}

LK_CLONES static void square_blocks(int64_t rows, int64_t width, const float *x, const float *mean, double *wide)
{
    block_sums(SQUARES, rows, width, x, NULL, mean, NULL, NULL, wide, NULL);
}

LK_CLONES static void norm_blocks(
    int64_t rows, int64_t width, const float *x, const float *dy, const float *mean, double *wide)
{
    block_sums(NORM, rows, width, x, dy, mean, NULL, NULL, wide, wide + width);
}

LK_CLONES static void norm_relu_blocks(int64_t rows, int64_t width, const float *x, const float *dy, const float *mean,
    const float *scale, const float *shift, double *wide)
{
    block_sums(NORM_RELU, rows, width, x, dy, mean, scale, shift, wide, wide + width);
}

/* The wide columns that are one column, in rising order. */
static void unfold(const lki_fold *f, const double *wide, double *sum)
{
    for (int64_t i = 0; i < f->width; i += f->cols)
        for (int64_t c = 0; c < f->cols; c++)
            sum[c] += wide[i + c];
}

void lki_sums(const lki_fold *f, int64_t rows, const float *x, double *wide, double *sum)
{
    const int64_t full = rows / f->repeat;
    if (full > 0) {
        plain_blocks(full, f->width, x, wide);
        unfold(f, wide, sum);
    }
    for (int64_t r = full * f->repeat; r < rows; r++)
        for (int64_t c = 0; c < f->cols; c++)
            sum[c] += (double)x[r * f->cols + c];
}

void lki_square_sums(const lki_fold *f, int64_t rows, const float *x, const float *mean, double *wide, double *sum)
{
    const int64_t full = rows / f->repeat;
    if (full > 0) {
        square_blocks(full, f->width, x, mean, wide);
        unfold(f, wide, sum);
    }
    for (int64_t r = full * f->repeat; r < rows; r++)
        for (int64_t c = 0; c < f->cols; c++) {
            const double d = (double)(x[r * f->cols + c] - mean[c]);
            sum[c] += d * d;
        }
}

void lki_norm_sums(const lki_fold *f, int64_t rows, const float *x, const float *dy, bool relu, const float *mean,
    const float *scale, const float *shift, double *wide, double *sum, double *sum_x)
{
    const int64_t full = rows / f->repeat;
    if (full > 0) {
        if (relu)
            norm_relu_blocks(full, f->width, x, dy, mean, scale, shift, wide);
        else
            norm_blocks(full, f->width, x, dy, mean, wide);
        unfold(f, wide, sum);
        unfold(f, wide + f->width, sum_x);
    }
    for (int64_t r = full * f->repeat; r < rows; r++)
        for (int64_t c = 0; c < f->cols; c++) {
            const int64_t i = r * f->cols + c;
            const float centered = x[i] - mean[c];
            const float g = !relu || centered * scale[c] + shift[c] > 0 ? dy[i] : 0;
            sum[c] += (double)g;
            sum_x[c] += (double)(g * centered);
        }
}

/* Of few columns, folded. */
static void few_column_sums(int64_t rows, int64_t cols, const float *x, float *out)
{
    const lki_fold f = lki_fold_make(cols);
    double wide[LK_FOLD_WIDTH], sum[LK_LANES] = {0};
    lki_sums(&f, rows, x, wide, sum);
    for (int64_t c = 0; c < cols; c++)
        out[c] = (float)sum[c];
}

/* In chunks of columns; floats in blocks, blocks in float. */
LK_CLONES static void many_column_sums(int64_t rows, int64_t cols, const float *restrict x, float *restrict out)
{
    enum { CHUNK = 64 };
    for (int64_t c0 = 0; c0 < cols; c0 += CHUNK) {
        const int64_t n = lki_min(CHUNK, cols - c0);
        float total[CHUNK] = {0};
        for (int64_t r0 = 0; r0 < rows; r0 += BLOCK) {
            const int64_t r1 = lki_min(r0 + BLOCK, rows);
            float s[CHUNK] = {0};
            for (int64_t r = r0; r < r1; r++)
                for (int64_t c = 0; c < n; c++)
                    s[c] += x[r * cols + c0 + c];
            for (int64_t c = 0; c < n; c++)
                total[c] += s[c];
        }
        for (int64_t c = 0; c < n; c++)
            out[c0 + c] = total[c];
    }
}

void lki_column_sums(int64_t rows, int64_t cols, const float *x, float *out)
{
    (cols <= LK_LANES ? few_column_sums : many_column_sums)(rows, cols, x, out);
}

LK_CLONES double lki_cpu_sum_squares(int64_t n, const void *x)
{
    enum { LANES = 16 };
    const float *const v = x;
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] += (double)v[i + j] * (double)v[i + j];
    for (int j = 0; i < n; i++, j++)
        lane[j] += (double)v[i] * (double)v[i];
    for (int h = LANES / 2; h > 0; h /= 2)
        for (int j = 0; j < h; j++)
            lane[j] += lane[j + h];
    return lane[0];
}
