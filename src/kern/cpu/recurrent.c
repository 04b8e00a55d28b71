/* The walk over steps that lstm, gru and rnn share: products over all steps where nothing has to wait, one product a step
 * where it must. */
#include "kern/cpu/recurrent.h"
#include <string.h>

/* ---- panels: B [k][n] cut into strips of `wide` columns, one after the other, zeros behind the last column ---- */
/* As many rows and columns of c as there are registers for; a strip of this many k stays in the second cache. */
enum { BLOCK_K = 512 };

/* Vectors across a panel, for products with `rows` rows: the width at which a product loads least. */
static int panel_vectors(const lki_tiles *t, int64_t rows)
{
    int best = 1;
    int64_t fewest = 0;
    for (int v = 1; v <= LK_TILE_VECTORS; v++) {
        const int64_t tiles = (rows + t->max_rows[v] - 1) / t->max_rows[v];
        /* For each k a tile loads its vectors of the panel, and a number of each row. */
        const int64_t height = (rows + tiles - 1) / tiles;
        const int64_t loads = tiles * (v + height) * (LK_TILE_VECTORS * 3 / v);
        if (v == 1 || loads < fewest) {
            best = v;
            fewest = loads;
        }
    }
    return best;
}

static int64_t panel_floats(int64_t k, int64_t n, int64_t wide)
{
    return (n + wide - 1) / wide * wide * k;
}

/* c [m][n] = a [m][k] times panels, from bias [n] (NULL: zero) or, with `add`, from what c holds. */
static void product(const lki_tiles *t, int vectors, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
    const float *panels, const float *bias, bool add, float *c, int64_t ldc)
{
    const int64_t wide = vectors * t->lanes;
    int64_t row_a[LK_TILE_ROWS], row_c[LK_TILE_ROWS];
    for (int r = 0; r < LK_TILE_ROWS; r++) {
        row_a[r] = r * lda;
        row_c[r] = r * ldc;
    }
    for (int64_t j = 0; j < n; j += wide, panels += wide * k) {
        const int64_t cols = lki_min(wide, n - j);
        const int64_t most = t->max_rows[(cols + t->lanes - 1) / t->lanes];
        for (int64_t k0 = 0; k0 < k; k0 += BLOCK_K) {
            lki_tile x = {.b = panels + k0 * wide,
                .row_a = row_a,
                .row_c = row_c,
                .segs = 1,
                .k = lki_min(BLOCK_K, k - k0),
                .a_k = 1,
                .b_k = wide,
                .bias = bias && k0 == 0 ? bias + j : NULL,
                .n = (int)cols,
                .add = add || k0 > 0};
            for (int64_t i = 0, left = (m + most - 1) / most; left > 0; left--) {
                const int64_t rows = (m - i + left - 1) / left; /* tiles of nearly equal height */
                x.a = a + i * lda + k0;
                x.c = c + i * ldc + j;
                t->tile(&x, (int)rows);
                i += rows;
            }
        }
    }
}

/* ---- sizes and places ---- */
/* Rows at a distance of a power of two fall on few places of a cache: one line more keeps them apart. */
static int64_t spaced(int64_t n)
{
    return (n + 15) / 16 * 16 + 16;
}

typedef struct room {
    int64_t rows, steps, channels, units;
    int64_t in_gates; /* gates times units: rows of the weights */
    int64_t ld_gates, ld_h, ld_x;
    int step_vectors, all_vectors;
    /* packed */
    float *bias; /* [cols units]; what sums start from */
    float *ih, *hh, *ih_back, *hh_back;
    size_t packed_bytes;
    /* kept from forward to backward */
    float *gates, *h, *c, *kept;
    size_t kept_bytes;
    /* scratch */
    int64_t *length;
    float *x; /* [T,B,ld_x] */
    float *dx, *dh, *dc, *sum; /* backward; dx the same size, dh [B,ld_h], dc [B,units], sum [ld_gates] */
    size_t forward_bytes, backward_bytes; /* without what is kept */
} room;

static float *take(char **at, size_t bytes)
{
    float *const p = (float *)*at;
    *at = *at == NULL ? NULL : *at + bytes;
    return p;
}

/* Sizes alone where a buffer is NULL. */
static room room_make(const lk_opspec *s, const lki_cell *cell, const void *packed, void *saved, void *scratch)
{
    const lki_tiles *const t = lki_tiles_get();
    room r = {.rows = s->in[0].dim[0],
        .steps = s->in[0].dim[1],
        .channels = s->in[0].dim[2],
        .units = s->attr.recurrent.units};
    const int64_t all = r.rows * r.steps, cols = cell->cols * r.units;
    r.in_gates = cell->gates * r.units;
    r.ld_gates = spaced(cols);
    r.ld_h = spaced(r.units);
    r.ld_x = spaced(r.channels);
    r.step_vectors = panel_vectors(t, r.rows);
    r.all_vectors = panel_vectors(t, all);

    const int64_t step_wide = r.step_vectors * t->lanes, all_wide = r.all_vectors * t->lanes;
    const size_t bias = lki_floats(cols), ih = lki_floats(panel_floats(r.channels, r.in_gates, all_wide)),
                 hh = lki_floats(panel_floats(r.units, r.in_gates, step_wide)),
                 ih_back = lki_floats(panel_floats(r.in_gates, r.channels, all_wide)),
                 hh_back = lki_floats(panel_floats(r.in_gates, r.units, step_wide));
    char *at = (char *)(uintptr_t)packed;
    r.bias = take(&at, bias);
    r.ih = take(&at, ih);
    r.hh = take(&at, hh);
    r.ih_back = take(&at, ih_back);
    r.hh_back = take(&at, hh_back);
    r.packed_bytes = bias + ih + hh + (s->training ? ih_back + hh_back : 0);

    const size_t gates = lki_floats(all * r.ld_gates), h = lki_floats((r.steps + 1) * r.rows * r.ld_h),
                 c = cell->states == 2 ? lki_floats((r.steps + 1) * r.rows * r.units) : 0,
                 kept = cell->states == 2 ? lki_floats(all * r.units) : 0;
    const size_t length = ((size_t)r.rows * sizeof(int64_t) + 63) / 64 * 64, x = lki_floats(all * r.ld_x);
    at = scratch;
    r.length = (int64_t *)(void *)take(&at, length);
    r.x = take(&at, x);
    char *const behind = at;
    r.dx = take(&at, x);
    r.dh = take(&at, lki_floats(r.rows * r.ld_h));
    r.dc = take(&at, lki_floats(r.rows * r.units));
    r.sum = take(&at, lki_floats(r.ld_gates));
    at = s->training ? saved : behind;
    r.gates = take(&at, gates);
    r.h = take(&at, h);
    r.c = take(&at, c);
    r.kept = take(&at, kept);
    r.kept_bytes = gates + h + c + kept;
    r.forward_bytes = length + x;
    r.backward_bytes = length + 2 * x + lki_floats(r.rows * r.ld_h) + lki_floats(r.rows * r.units) + lki_floats(r.ld_gates);
    return r;
}

lk_status lki_recurrent_plan(const lk_opspec *s, const lki_cell *cell, lk_kern_plan *out)
{
    const room r = room_make(s, cell, NULL, NULL, NULL);
    *out = (lk_kern_plan){.saved_bytes = s->training ? r.kept_bytes : 0,
        .scratch_forward = r.forward_bytes + (s->training ? 0 : r.kept_bytes),
        .scratch_backward = r.backward_bytes,
        .packed_bytes = r.packed_bytes,
        .carry_bytes =
            s->attr.recurrent.carry ? (size_t)(r.rows * cell->states * r.units) * sizeof(float) : 0};
    return LK_OK;
}

/* ---- packing ---- */
/* Row o of the weight [gates units][k] is column `block` units + ... of the product: panel[k][column] = w[o][k]. */
static void pack_columns(int64_t n, int64_t k, const float *w, const int *block, int64_t units, int64_t wide, float *out)
{
    for (int64_t j = 0; j < n; j += wide, out += wide * k)
        for (int64_t v = 0; v < wide; v++) {
            const int64_t at = j + v;
            const float *const row = at < n ? w + (block[at / units] * units + at % units) * k : NULL;
            for (int64_t i = 0; i < k; i++)
                out[i * wide + v] = row ? row[i] : 0;
        }
}

/* The other way round: panel[column][channel] = w[o][channel]. */
static void pack_rows(int64_t k, int64_t n, const float *w, const int *block, int64_t units, int64_t wide, float *out)
{
    for (int64_t j = 0; j < n; j += wide)
        for (int64_t i = 0; i < k; i++, out += wide) {
            const float *const row = w + (block[i / units] * units + i % units) * n + j;
            const int64_t cols = lki_min(wide, n - j);
            memcpy(out, row, (size_t)cols * sizeof *out);
            memset(out + cols, 0, (size_t)(wide - cols) * sizeof *out);
        }
}

static const int in_order[4] = {0, 1, 2, 3};

lk_status lki_recurrent_pack(const lk_call *c, const lki_cell *cell)
{
    const room r = room_make(c->spec, cell, c->packed, NULL, NULL);
    const int64_t lanes = lki_tiles_get()->lanes, all_wide = r.all_vectors * lanes, step_wide = r.step_vectors * lanes;
    const float *const bias_ih = c->param[2], *const bias_hh = c->param[3];
    pack_columns(r.in_gates, r.channels, c->param[0], cell->block, r.units, all_wide, r.ih);
    pack_columns(r.in_gates, r.units, c->param[1], in_order, r.units, step_wide, r.hh);
    if (c->spec->training) {
        pack_rows(r.in_gates, r.channels, c->param[0], cell->block, r.units, all_wide, r.ih_back);
        pack_rows(r.in_gates, r.units, c->param[1], in_order, r.units, step_wide, r.hh_back);
    }
    /* Columns that both products meet in get both biases. */
    const int64_t cols = cell->cols * r.units, first_hh = cols - r.in_gates;
    for (int64_t i = 0; i < cols; i++) {
        r.bias[i] = i < r.in_gates ? bias_ih[cell->block[i / r.units] * r.units + i % r.units] : 0;
        if (i >= first_hh)
            r.bias[i] += bias_hh[i - first_hh];
    }
    return LK_OK;
}

/* ---- forward and backward ---- */
/* Place of step k of row b among all [B,T]. */
static int64_t place(const lk_call *c, const room *r, int64_t b, int64_t k)
{
    return b * r->steps + (c->spec->attr.recurrent.reverse ? r->length[b] - 1 - k : k);
}

/* x by steps; zeros where a row has no step. */
static void gather(const lk_call *c, const room *r, int64_t steps)
{
    const float *const x = c->x[0];
    for (int64_t b = 0; b < r->rows; b++)
        for (int64_t k = 0; k < steps; k++) {
            float *const to = r->x + (k * r->rows + b) * r->ld_x;
            if (k < r->length[b])
                memcpy(to, x + place(c, r, b, k) * r->channels, (size_t)r->channels * sizeof *x);
            else
                memset(to, 0, (size_t)r->channels * sizeof *x);
        }
}

/* The cell of row b at step k. */
static lki_cell_row row_at(const room *r, int64_t b, int64_t k)
{
    const int64_t at = k * r->rows + b, next = at + r->rows;
    return (lki_cell_row){.units = r->units,
        .gates = r->gates + at * r->ld_gates,
        .h_before = r->h + at * r->ld_h,
        .c_before = r->c + at * r->units,
        .h = r->h + next * r->ld_h,
        .c = r->c + next * r->units,
        .kept = r->kept + at * r->units};
}

static void step_forward(const lk_call *c, const lki_cell *cell, const room *r, int64_t k)
{
    for (int64_t b = 0; b < r->rows; b++) {
        lki_cell_row row = row_at(r, b, k);
        if (k < r->length[b]) {
            row.y = (float *)c->y + place(c, r, b, k) * r->units;
            cell->forward(&row, c->spec->attr.recurrent.relu);
        } else {
            memcpy(row.h, row.h_before, (size_t)r->units * sizeof(float));
            if (cell->states == 2)
                memcpy(row.c, row.c_before, (size_t)r->units * sizeof(float));
        }
    }
}

/* The state before step 0 from the carried one; and the last one back. */
static void carry_in(const lki_cell *cell, const room *r, const float *carry)
{
    for (int64_t b = 0; b < r->rows; b++) {
        const lki_cell_row row = row_at(r, b, 0);
        float *const to[2] = {(float *)(uintptr_t)row.h_before, (float *)(uintptr_t)row.c_before};
        for (int i = 0; i < cell->states; i++) {
            if (carry)
                memcpy(to[i], carry + (b * cell->states + i) * r->units, (size_t)r->units * sizeof *carry);
            else
                memset(to[i], 0, (size_t)r->units * sizeof *carry);
        }
    }
}

static void carry_out(const lki_cell *cell, const room *r, int64_t steps, float *carry)
{
    for (int64_t b = 0; b < r->rows; b++) {
        const lki_cell_row row = row_at(r, b, steps);
        const float *const from[2] = {row.h_before, row.c_before};
        for (int i = 0; i < cell->states; i++)
            memcpy(carry + (b * cell->states + i) * r->units, from[i], (size_t)r->units * sizeof *carry);
    }
}

lk_status lki_recurrent_forward(const lk_call *c, const lki_cell *cell)
{
    const lki_tiles *const t = lki_tiles_get();
    const room r = room_make(c->spec, cell, c->packed, c->saved, c->scratch);
    const int64_t first_hh = (cell->cols - cell->gates) * r.units;
    float *const y = c->y;
    int64_t steps;
    LK_TRY(lki_lengths(c, 1, r.steps, r.length, &steps));

    gather(c, &r, steps);
    carry_in(cell, &r, c->carry);
    product(t, r.all_vectors, steps * r.rows, r.in_gates, r.channels, r.x, r.ld_x, r.ih, r.bias, false, r.gates,
        r.ld_gates);
    for (int64_t i = 0; first_hh > 0 && i < steps * r.rows; i++)
        memcpy(r.gates + i * r.ld_gates + r.in_gates, r.bias + r.in_gates, (size_t)first_hh * sizeof *r.bias);
    for (int64_t k = 0; k < steps; k++) {
        product(t, r.step_vectors, r.rows, r.in_gates, r.units, r.h + k * r.rows * r.ld_h, r.ld_h, r.hh, NULL, true,
            r.gates + k * r.rows * r.ld_gates + first_hh, r.ld_gates);
        step_forward(c, cell, &r, k);
    }
    for (int64_t b = 0; b < r.rows; b++)
        memset(y + (b * r.steps + r.length[b]) * r.units, 0, (size_t)((r.steps - r.length[b]) * r.units) * sizeof *y);
    if (c->carry)
        carry_out(cell, &r, steps, c->carry);
    return LK_OK;
}

static void step_backward(const lk_call *c, const lki_cell *cell, const room *r, int64_t k)
{
    for (int64_t b = 0; b < r->rows; b++) {
        lki_cell_row row = row_at(r, b, k);
        if (k < r->length[b]) {
            row.dy = (const float *)c->dy + place(c, r, b, k) * r->units;
            row.dh = r->dh + b * r->ld_h;
            row.dc = r->dc + b * r->units;
            cell->backward(&row, c->spec->attr.recurrent.relu);
        } else { /* behind the end of a row its states have no gradient */
            memset(row.gates, 0, (size_t)r->ld_gates * sizeof(float));
        }
    }
}

static void weight_gradients(const lk_call *c, const lki_cell *cell, const room *r, int64_t steps)
{
    const lki_tiles *const t = lki_tiles_get();
    const int64_t all = steps * r->rows, first_hh = (cell->cols - cell->gates) * r->units;
    float *const dw_ih = c->dparam[0], *const dw_hh = c->dparam[1], *const db_ih = c->dparam[2],
                 *const db_hh = c->dparam[3];
    if (steps == 0) {
        for (int i = 0; i < c->spec->n_params; i++)
            if (c->dparam[i])
                memset(c->dparam[i], 0, (size_t)lk_shape_count(&c->spec->param[i].shape) * sizeof(float));
        return;
    }
    /* Runs of column blocks that are neighbours in the parameter too. */
    for (int i = 0, n; dw_ih && i < cell->gates; i += n) {
        for (n = 1; i + n < cell->gates && cell->block[i + n] == cell->block[i] + n; n++)
            ;
        lki_gemm_nn(t, n * r->units, r->channels, all, r->gates + i * r->units, 1, r->ld_gates, r->x, r->ld_x,
            dw_ih + cell->block[i] * r->units * r->channels, r->channels, false);
    }
    if (dw_hh)
        lki_gemm_nn(t, r->in_gates, r->units, all, r->gates + first_hh, 1, r->ld_gates, r->h, r->ld_h, dw_hh,
            r->units, false);
    if (!db_ih && !db_hh)
        return;
    lki_column_sums(all, r->ld_gates, r->gates, r->sum);
    for (int i = 0; db_ih && i < cell->gates; i++)
        memcpy(db_ih + cell->block[i] * r->units, r->sum + i * r->units, (size_t)r->units * sizeof *db_ih);
    if (db_hh)
        memcpy(db_hh, r->sum + first_hh, (size_t)r->in_gates * sizeof *db_hh);
}

lk_status lki_recurrent_backward(const lk_call *c, const lki_cell *cell)
{
    const lki_tiles *const t = lki_tiles_get();
    const room r = room_make(c->spec, cell, c->packed, c->saved, c->scratch);
    const int64_t first_hh = (cell->cols - cell->gates) * r.units, cols = cell->cols * r.units;
    float *const dx = c->dx[0];
    int64_t steps;
    LK_TRY(lki_lengths(c, 1, r.steps, r.length, &steps));

    memset(r.dh, 0, (size_t)(r.rows * r.ld_h) * sizeof *r.dh);
    memset(r.dc, 0, (size_t)(r.rows * r.units) * sizeof *r.dc);
    for (int64_t k = steps - 1; k >= 0; k--) {
        step_backward(c, cell, &r, k);
        if (k > 0)
            product(t, r.step_vectors, r.rows, r.units, r.in_gates, r.gates + k * r.rows * r.ld_gates + first_hh,
                r.ld_gates, r.hh_back, NULL, cell->around, r.dh, r.ld_h);
    }
    if (c->dparam[0])
        gather(c, &r, steps);
    if (c->dparam[2] || c->dparam[3]) /* the sums below run over whole rows */
        for (int64_t i = 0; i < steps * r.rows; i++)
            memset(r.gates + i * r.ld_gates + cols, 0, (size_t)(r.ld_gates - cols) * sizeof *r.gates);
    weight_gradients(c, cell, &r, steps);
    if (!dx)
        return LK_OK;
    product(t, r.all_vectors, steps * r.rows, r.channels, r.in_gates, r.gates, r.ld_gates, r.ih_back, NULL, false, r.dx,
        r.ld_x);
    for (int64_t b = 0; b < r.rows; b++) {
        for (int64_t k = 0; k < r.length[b]; k++)
            memcpy(dx + place(c, &r, b, k) * r.channels, r.dx + (k * r.rows + b) * r.ld_x,
                (size_t)r.channels * sizeof *dx);
        memset(dx + (b * r.steps + r.length[b]) * r.channels, 0,
            (size_t)((r.steps - r.length[b]) * r.channels) * sizeof *dx);
    }
    return LK_OK;
}
