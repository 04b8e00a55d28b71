/* Predictions for the validation data, or samples from noise: every rank runs its microbatches, rank 0 puts them in the order of samples and writes. */
#include "train/run_int.h"

#include "base/mem.h"
#include "data/image.h"
#include "data/writer.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { DRAWN = 64, GRID = 64, GRID_COLUMNS = 8, GRID_GAP = 1 };
enum { FIELD_PREDICTION, FIELD_LABEL };

typedef struct predictor {
    lk_run *r;
    const lk_predict_args *args;
    bool draws;      /* samples are made from noise: there is no data, and the model's inputs are 0 */
    lk_sampler order;
    int64_t samples; /* to be written */
    lk_shape shape;  /* of one prediction */
    int64_t width;   /* its elements */
    int64_t labels;  /* class ids a prediction; 0: no classifier */
    lk_shape picture; /* [C,H,W], with args->grid */
    lk_loader *loader; /* without draws */
    lk_lane_batch *lane; /* [n_lanes] what goes in, and what that points to */
    int64_t *sample;     /* [n_lanes][rows], with draws */
    char *zeros;         /* the largest input that is fed with nothing */
    float *mine;  /* [n_lanes][rows][width] */
    double *sums; /* [n_lanes][LKI_SUMS] */
    int64_t *exchange; /* [4][nranks] counts and places */
    /* rank 0 */
    lk_writer *writer;
    float *all;     /* [lanes][rows][width]; alone: `mine` */
    float *ordered; /* [batch][width] */
    int64_t *label; /* [batch][labels] */
    float *grid;    /* [GRID][width] */
    double confidence; /* sum */
} predictor;

/* ---- setup ---- */

static bool square_side(int64_t n, int64_t *side)
{
    *side = (int64_t)llround(sqrt((double)n));
    return *side > 1 && *side * *side == n;
}

static lk_status find_picture(predictor *p)
{
    const lk_shape *s = &p->shape;
    char text[LK_SHAPE_TEXT];
    int64_t side;

    if (p->labels == 0 && s->ndim == 3 && (s->dim[0] == 1 || s->dim[0] == 3))
        p->picture = *s;
    else if (p->labels == 0 && s->ndim == 2)
        p->picture = (lk_shape){3, {1, s->dim[0], s->dim[1]}};
    else if (p->labels == 0 && s->ndim == 1 && square_side(s->dim[0], &side))
        p->picture = (lk_shape){3, {1, side, side}};
    else
        return LK_FAIL(LK_E_USAGE, "--grid: predictions are %s%s, no pictures: those are [1,H,W], [3,H,W], [H,W], or as many values as a square has", lk_shape_print(s, text), p->labels > 0 ? " of classes" : "");
    return LK_OK;
}

static lk_status describe(predictor *p)
{
    const lk_run *r = p->r;
    const lk_shape *out = &r->evaluator.plan->output_shape;

    p->shape.ndim = out->ndim - 1;
    memcpy(p->shape.dim, out->dim + 1, (size_t)p->shape.ndim * sizeof out->dim[0]);
    p->width = lk_shape_row(out);
    p->draws = r->model.predicted != r->model.evaluated;
    p->order = r->valid_sampler;
    if (p->draws) {
        p->order.order = LK_ORDER_SEQUENTIAL;
        p->order.samples = p->args->samples > 0 ? p->args->samples : DRAWN;
        LK_TRY(lk_sampler_init(&p->order));
    }
    p->samples = p->order.used;
    if (p->args->samples > 0 && p->args->samples < p->samples)
        p->samples = p->args->samples;
    if (r->classes > 0 && p->shape.ndim > 0 && p->shape.dim[p->shape.ndim - 1] == r->classes)
        p->labels = p->width / r->classes;
    if (p->args->grid != NULL)
        LK_TRY(find_picture(p));
    return LK_OK;
}

static lk_status open_writer(predictor *p)
{
    lk_writer_field field[2] = {
        [FIELD_PREDICTION] = {.name = "prediction", .type = LK_ELEM_F32, .ndim = p->shape.ndim},
        [FIELD_LABEL] = {.name = "label", .type = LK_ELEM_I64, .ndim = p->shape.ndim - 1},
    };

    for (int f = 0; f < 2; f++)
        memcpy(field[f].dim, p->shape.dim, (size_t)p->shape.ndim * sizeof p->shape.dim[0]);
    return lk_writer_create(p->args->out, p->samples, field, p->labels > 0 ? 2 : 1, &p->writer);
}

static bool fed_nothing(const predictor *p, int input)
{
    return p->draws || p->r->model.feed[input].field == LK_FEED_NOTHING;
}

static lk_status open_inputs(predictor *p)
{
    const lk_run *r = p->r;
    int64_t largest = 0;

    for (int i = 0; i < r->model.n_feeds; i++) {
        const int64_t n = lk_shape_row(&r->model.predicted->value[i].shape);
        if (fed_nothing(p, i) && n > largest)
            largest = n;
    }
    LK_TRY(lk_alloc_array(r->n_lanes, sizeof *p->lane, "microbatches to predict", &p->lane));
    LK_TRY(lk_alloc_array(largest * r->rows, sizeof(int64_t), "inputs of zeros", &p->zeros));
    if (p->draws)
        return lk_alloc_array(r->n_lanes * r->rows, sizeof *p->sample, "ids of samples", &p->sample);
    const lk_loader_opts opts = lki_loader_opts(r, false);
    return lk_loader_create(&opts, &p->loader);
}

static lk_status open_local(predictor *p, lk_predict_result *out)
{
    lk_run *r = p->r;
    const int64_t batch = r->rows * r->leaves;

    LK_TRY(describe(p));
    LK_TRY(lk_alloc_array(r->n_lanes * r->rows * p->width, sizeof *p->mine, "predictions", &p->mine));
    LK_TRY(lk_alloc_array((int64_t)r->n_lanes * LKI_SUMS, sizeof *p->sums, "evaluation sums", &p->sums));
    LK_TRY(lk_alloc_array(4 * (int64_t)r->nranks, sizeof *p->exchange, "exchange of predictions", &p->exchange));
    if (r->rank == 0) {
        if (r->nranks > 1)
            LK_TRY(lk_alloc_array(batch * p->width, sizeof *p->all, "predictions of all ranks", &p->all));
        LK_TRY(lk_alloc_array(batch * p->width, sizeof *p->ordered, "predictions in order", &p->ordered));
        LK_TRY(lk_alloc_array(batch * p->labels, sizeof *p->label, "predicted classes", &p->label));
        if (p->args->grid != NULL)
            LK_TRY(lk_alloc_array(GRID * p->width, sizeof *p->grid, "pictures", &p->grid));
        LK_TRY(lk_alloc_array(p->labels > 0 ? r->classes : 0, sizeof *out->share, "shares of classes", &out->share));
        LK_TRY(open_writer(p));
    }
    LK_TRY(open_inputs(p));
    return lki_evaluate_begin(r, r->weights);
}

static void close_all(predictor *p)
{
    lk_loader_destroy(&p->loader);
    lk_writer_destroy(&p->writer);
    lk_free(p->lane);
    lk_free(p->sample);
    lk_free(p->zeros);
    lk_free(p->mine);
    lk_free(p->sums);
    lk_free(p->exchange);
    lk_free(p->all);
    lk_free(p->ordered);
    lk_free(p->label);
    lk_free(p->grid);
}

/* ---- a batch ---- */

/* The class with the largest value, the first of equals; and its probability by the softmax. */
static int64_t classify(const float *x, int64_t classes, double *probability)
{
    int64_t best = 0;
    double sum = 0;

    for (int64_t k = 1; k < classes; k++)
        if (x[k] > x[best])
            best = k;
    for (int64_t k = 0; k < classes; k++)
        sum += exp((double)x[k] - (double)x[best]);
    *probability = 1 / sum;
    return best;
}

/* n predictions of samples from `first` on, in order. */
static lk_status write_rows(predictor *p, int64_t first, int64_t n, const float *x, lk_predict_result *out)
{
    const int64_t classes = p->r->classes;

    for (int64_t i = 0; i < n * p->labels; i++) {
        double probability;

        p->label[i] = classify(x + i * classes, classes, &probability);
        p->confidence += probability;
        out->share[p->label[i]]++;
    }
    for (int64_t i = 0; p->grid != NULL && i < n && first + i < GRID; i++)
        memcpy(p->grid + (first + i) * p->width, x + i * p->width, (size_t)p->width * sizeof *x);
    LK_TRY(lk_writer_rows(p->writer, FIELD_PREDICTION, first, n, x));
    return p->labels > 0 ? lk_writer_rows(p->writer, FIELD_LABEL, first, n, p->label) : LK_OK;
}

/* Rank 0. In sequence the samples of a step are neighbours; in streams each stands by itself. */
static lk_status write_batch(predictor *p, int64_t step, lk_predict_result *out)
{
    const lk_sampler *s = &p->order;
    const float *x = p->r->nranks > 1 ? p->all : p->mine;
    const int64_t base = step * s->rows * s->lanes;
    int64_t n = 0;

    for (int lane = 0; lane < s->lanes; lane++)
        for (int64_t row = 0; row < s->rows; row++, x += p->width) {
            const int64_t id = lk_sampler_at(s, 0, step, lane, row);

            if (id < 0 || id >= p->samples)
                continue;
            if (s->order == LK_ORDER_STREAMS) {
                LK_TRY(write_rows(p, id, 1, x, out));
                continue;
            }
            memcpy(p->ordered + (id - base) * p->width, x, (size_t)p->width * sizeof *x);
            n++;
        }
    return n > 0 ? write_rows(p, base, n, p->ordered, out) : LK_OK;
}

/* This rank's microbatches of a step of samples from noise. */
static void draw_batch(predictor *p, int64_t step, lk_batch *b)
{
    const lk_run *r = p->r;

    for (int i = 0; i < r->n_lanes; i++) {
        const int lane = r->first_lane + i;
        int64_t *sample = p->sample + i * r->rows;

        p->lane[i] = (lk_lane_batch){.valid = lk_sampler_valid(&p->order, step, lane), .sample = sample};
        for (int64_t row = 0; row < r->rows; row++)
            sample[row] = row < p->lane[i].valid ? lk_sampler_at(&p->order, 0, step, lane, row) : 0;
        for (int k = 0; k < r->model.n_feeds; k++)
            p->lane[i].field[k] = p->zeros;
    }
    *b = (lk_batch){.step = step, .samples = lk_sampler_step_samples(&p->order, step), .lane = p->lane};
}

/* What the loader has, and zeros where it has nothing. */
static void complete_batch(predictor *p, const lk_batch *loaded, lk_batch *b)
{
    const lk_run *r = p->r;

    for (int i = 0; i < r->n_lanes; i++) {
        int from = 0;

        p->lane[i] = loaded->lane[i];
        for (int k = 0; k < r->model.n_feeds; k++)
            p->lane[i].field[k] = fed_nothing(p, k) ? p->zeros : loaded->lane[i].field[from++];
    }
    *b = *loaded;
    b->lane = p->lane;
}

static lk_status predict_step(predictor *p, int64_t step)
{
    lk_run *r = p->r;
    lki_eval_batch e = {.weights = r->weights, .sums = p->sums, .lane_sums = LKI_SUMS, .output = p->mine, .lane_output = r->rows * p->width};
    const lk_batch *loaded = NULL;
    lk_batch b;

    e.batch = &b;
    if (p->draws) {
        draw_batch(p, step, &b);
        return lki_evaluate_batch(r, &e);
    }
    LK_TRY(lk_loader_map(p->loader, &loaded));
    complete_batch(p, loaded, &b);
    const lk_status st = lki_evaluate_batch(r, &e);
    lk_loader_unmap(p->loader, &loaded);
    return st;
}

static lk_status predict_all(predictor *p, lk_predict_result *out)
{
    lk_run *r = p->r;
    const int64_t steps = p->order.steps, batch = r->rows * r->leaves;
    const bool streams = p->order.order == LK_ORDER_STREAMS;

    for (int64_t step = 0; step < steps && (streams || step * batch < p->samples); step++) {
        LK_TRY(lk_comm_agree(r->comm, predict_step(p, step)));
        if (r->nranks > 1)
            LK_TRY(lki_lanes_move(r, LKI_TAG_PREDICT, p->mine, p->all, r->rows * p->width * (int64_t)sizeof *p->mine, true, p->exchange));
        LK_TRY(lk_comm_agree(r->comm, r->rank == 0 ? write_batch(p, step, out) : LK_OK));
    }
    return LK_OK;
}

/* ---- the picture ---- */

/* Logits as what they stand for. */
static void apply_sigmoid(const lk_run *r, int64_t n, float *x)
{
    if (!lk_objective_of_input(r->config->train.objective) || lk_config_loss(r->config) != LK_LOSS_BCE)
        return;
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(1 / (1 + exp(-(double)x[i])));
}

static lk_status write_grid(const predictor *p)
{
    const int64_t channels = p->picture.dim[0], height = p->picture.dim[1], width = p->picture.dim[2];
    const int64_t n = p->samples < GRID ? p->samples : GRID, columns = n < GRID_COLUMNS ? n : GRID_COLUMNS, lines = (n + columns - 1) / columns;
    const int64_t wide = columns * (width + GRID_GAP) - GRID_GAP, high = lines * (height + GRID_GAP) - GRID_GAP;
    float low = 0, top = 1;
    uint8_t *pixels = NULL;

    apply_sigmoid(p->r, n * p->width, p->grid);
    for (int64_t i = 0; i < n * p->width; i++) {
        low = p->grid[i] < low ? p->grid[i] : low;
        top = p->grid[i] > top ? p->grid[i] : top;
    }
    if (low < 0 || top > 1) {
        low = INFINITY;
        top = -INFINITY;
        for (int64_t i = 0; i < n * p->width; i++) {
            low = p->grid[i] < low ? p->grid[i] : low;
            top = p->grid[i] > top ? p->grid[i] : top;
        }
    }
    if (wide > INT32_MAX || high > INT32_MAX)
        return LK_FAIL(LK_E_ARG, "%s: a picture of %" PRId64 " by %" PRId64 " is too large", p->args->grid, wide, high);
    LK_TRY(lk_alloc_array(wide * high * channels, 1, "picture of predictions", &pixels));
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < channels; c++)
            for (int64_t y = 0; y < height; y++)
                for (int64_t x = 0; x < width; x++) {
                    const double v = ((double)p->grid[i * p->width + (c * height + y) * width + x] - low) / ((double)top - low);
                    const int64_t at_y = i / columns * (height + GRID_GAP) + y, at_x = i % columns * (width + GRID_GAP) + x;

                    pixels[(at_y * wide + at_x) * channels + c] = v > 0 ? (uint8_t)lround(255 * fmin(v, 1)) : 0;
                }
    const lk_status st = lk_png_write(p->args->grid, (int)wide, (int)high, (int)channels, pixels);
    lk_free(pixels);
    return st;
}

/* Rank 0. */
static lk_status finish(predictor *p, lk_predict_result *out)
{
    const double labels = (double)(p->samples * p->labels);

    LK_TRY(lk_writer_finish(p->writer));
    if (p->args->grid != NULL)
        LK_TRY(write_grid(p));
    out->samples = p->samples;
    out->classes = p->labels > 0 ? p->r->classes : 0;
    out->confidence = p->labels > 0 ? p->confidence / labels : 0;
    for (int64_t k = 0; k < out->classes; k++)
        out->share[k] /= labels;
    return lki_report_predict(p->r->report, p->r, p->args->out, out);
}

lk_status lk_run_predict(lk_run *r, const lk_predict_args *a, lk_predict_result *out)
{
    predictor p = {.r = r, .args = a};
    lk_status st;

    *out = (lk_predict_result){0};
    LK_TRY_TO(st, done, lk_comm_agree(r->comm, open_local(&p, out)));
    out->started = true;
    LK_TRY_TO(st, done, predict_all(&p, out));
    st = lk_comm_agree(r->comm, r->rank == 0 ? finish(&p, out) : LK_OK);
done:
    close_all(&p);
    if (st != LK_OK) {
        lk_free(out->share);
        out->share = NULL;
    }
    return st;
}
