/* The data of a run: files to datasets, what a batch holds of them, and the order of samples. */
#include "train/run_int.h"

#include "base/mem.h"
#include "data/windows.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- opening ---- */

/* Rows as steps in time; what stands beside the input is cut as the input is. Adopts the series. */
static lk_status cut_windows(const lk_data_opts *d, lk_dataset *series, lk_dataset **out)
{
    const lk_sequence_opts *s = &d->sequence;
    lk_windows_opts o = {.stride = s->stride, .n_fields = 2 + d->fields.n};

    for (int f = 0; f < o.n_fields; f++)
        o.field[f] = (lk_window_field){.field = f, .length = s->length};
    o.field[1].ahead = s->ahead;
    o.field[1].length = s->target_length;
    if (s->columns.n > 0)
        LK_TRY(lk_dataset_create_columns(series, 1, s->columns.item, s->columns.n, &series));
    return lk_dataset_create_windows(series, &o, out);
}

static lk_status open_files(const lk_run *r, const lk_strings *patterns, lk_dataset **out)
{
    const lk_data_opts *d = &r->config->data;
    const char *fields[LK_LOADER_FIELDS] = {d->input, d->target};
    lk_dataset *series = NULL;

    for (int i = 0; i < d->fields.n; i++)
        fields[2 + i] = d->fields.item[i];
    LK_TRY(lk_dataset_open(patterns, r->config->folder, fields, 2 + d->fields.n, &series));
    if (d->sequence.length == 0) {
        *out = series;
        return LK_OK;
    }
    return cut_windows(d, series, out);
}

/* Validation data must look like training data. */
static lk_status same_shape(const lk_dataset *a, const lk_dataset *b, int field)
{
    const lk_field_info *x = lk_dataset_field(a, field), *y = lk_dataset_field(b, field);
    bool same = x->ndim == y->ndim;

    for (int i = 0; same && i < x->ndim; i++)
        same = x->dim[i] == y->dim[i];
    if (same)
        return LK_OK;
    return LK_FAIL(LK_E_CONFIG, "%s: field \"%s\" has samples of another shape than in %s",
        lk_dataset_shard(b, 0, NULL, NULL), x->name, lk_dataset_shard(a, 0, NULL, NULL));
}

lk_status lki_data_open(lk_run *r)
{
    const lk_data_opts *d = &r->config->data;

    if (d->synthetic.input.n > 0)
        return lk_dataset_create_synthetic((uint64_t)r->config->run.seed, d->synthetic.samples, d->synthetic.input.item,
            d->synthetic.input.n, d->synthetic.classes, &r->train_data);
    if (r->mode != LK_RUN_EVAL)
        LK_TRY(open_files(r, &d->train, &r->train_data));
    if (d->valid.n > 0 && r->mode != LK_RUN_BENCH)
        LK_TRY(open_files(r, &d->valid, &r->valid_data));
    if (r->mode == LK_RUN_EVAL && r->valid_data == NULL)
        return LK_FAIL(LK_E_CONFIG, "%s: there is no data.valid to evaluate on", r->config->path);
    if (r->train_data != NULL && r->valid_data != NULL)
        for (int f = 0; f < 2 + d->fields.n; f++)
            LK_TRY(same_shape(r->train_data, r->valid_data, f));
    return LK_OK;
}

/* ---- targets ---- */

lk_status lki_data_check_target(const lk_run *r, const lk_dataset *d)
{
    const lk_field_info *f = lk_dataset_field(d, 1);

    if (r->config->train.objective != LK_OBJECTIVE_CLASSIFY)
        return LK_OK;
    if (f->ndim != 0)
        return LK_FAIL(LK_E_CONFIG, "%s: field \"%s\" has rank %d; class ids need rank 1, one number a sample",
            lk_dataset_shard(d, 0, NULL, NULL), f->name, f->ndim + 1);
    if (!lk_elem_is_integer(f->type))
        return LK_FAIL(LK_E_CONFIG, "%s: field \"%s\" is %s; class ids need whole numbers",
            lk_dataset_shard(d, 0, NULL, NULL), f->name, lk_elem_name(f->type));
    return LK_OK;
}

/* Class ids must be whole numbers in [0, classes). */
static lk_status check_labels(const lk_run *r, lk_dataset *d)
{
    int64_t min, max, at_min, at_max, first;
    int field = 1;

    d = lk_dataset_source(d, &field);
    const lk_field_info *f = lk_dataset_field(d, field);
    LK_TRY(lk_dataset_range(d, field, &min, &max, &at_min, &at_max));
    if (min >= 0 && max < r->classes)
        return LK_OK;
    const int64_t bad = min < 0 ? min : max, where = min < 0 ? at_min : at_max;
    for (int s = 0; s < lk_dataset_shards(d); s++) {
        int64_t n;
        const char *path = lk_dataset_shard(d, s, &first, &n);

        if (where < first + n)
            return LK_FAIL(LK_E_CONFIG,
                "%s: field \"%s\": sample %" PRId64 " has class %" PRId64 ", but the model tells apart %" PRId64
                " classes (0 to %" PRId64 ")",
                path, f->name, where - first, bad, r->classes, r->classes - 1);
    }
    return LK_OK;
}

lk_status lki_data_check_labels(const lk_run *r)
{
    if (r->classes == 0 || r->rank != 0 || r->config->data.synthetic.input.n > 0)
        return LK_OK;
    if (r->train_data != NULL)
        LK_TRY(check_labels(r, r->train_data));
    if (r->valid_data != NULL)
        LK_TRY(check_labels(r, r->valid_data));
    return LK_OK;
}

/* ---- batches ---- */

static lk_status make_sampler(const lk_run *r, const lk_dataset *d, lk_order order, lk_sampler *s)
{
    const int64_t batch = r->config->train.batch, n = lk_dataset_samples(d);
    char where[256];

    if (order == LK_ORDER_STREAMS && n < batch)
        return LK_FAIL(LK_E_CONFIG,
            "%s: data.order is streams, one for each of the %" PRId64 " samples of train.batch, but %s has %" PRId64
            " samples in all",
            lk_config_where(r->config, "data.order", where, sizeof where), batch, lk_dataset_shard(d, 0, NULL, NULL),
            n);
    *s = (lk_sampler){
        .seed = (uint64_t)r->config->run.seed,
        .order = order,
        .samples = n,
        .rows = r->rows,
        .lanes = r->leaves,
        .block = r->config->data.block,
        .window = r->config->data.window,
    };
    return lk_sampler_init(s);
}

static lk_convert input_convert(const lk_run *r, const lk_field_info *f)
{
    const lk_data_opts *d = &r->config->data;

    return (lk_convert){
        .scale = d->scale != 0           ? d->scale
                 : f->type == LK_ELEM_U8 ? 1.0 / 255.0
                                         : 1.0,
        .mean = d->mean.n > 0 ? d->mean.item : NULL,
        .std = d->std.n > 0 ? d->std.item : NULL,
        .n_norm = d->mean.n > d->std.n ? d->mean.n : d->std.n,
    };
}

lk_status lki_data_prepare(lk_run *r)
{
    lk_dataset *d = r->train_data != NULL ? r->train_data : r->valid_data;

    const lk_order order = (lk_order)r->config->data.order;

    r->n_fields = 2 + r->config->data.fields.n;
    for (int f = 0; f < r->n_fields; f++)
        r->field[f] = (lk_loader_field){
            .field = f,
            .as = f >= 2 && lk_elem_is_integer(lk_dataset_field(d, f)->type) ? LK_AS_ID : LK_AS_REAL,
            .convert = {.scale = 1.0},
        };
    r->field[0].convert = input_convert(r, lk_dataset_field(d, 0));
    if (r->train_data != NULL)
        LK_TRY(lk_augment_check(r->config->augment, lk_dataset_field(d, 0)));
    LK_TRY(lk_dataset_moments_count(d, 0, (lk_normalize)r->config->data.normalize, &r->n_norm));
    if (r->classes > 0 && lk_is_mixed(&r->config->data.mix))
        r->field[1].classes = r->classes;
    else if (r->classes > 0)
        r->field[1].as = LK_AS_ID;
    if (r->train_data != NULL)
        LK_TRY(make_sampler(r, r->train_data, order, &r->train_sampler));
    if (r->valid_data != NULL)
        LK_TRY(
            make_sampler(r, r->valid_data, order == LK_ORDER_STREAMS ? order : LK_ORDER_SEQUENTIAL, &r->valid_sampler));
    return LK_OK;
}

/* ---- normalization ---- */

/* "0.5 0.25 ...": means, then deviations; the digits give the same doubles again. */
static lk_status print_norm(lk_run *r)
{
    lk_buf b = {0};

    for (int i = 0; i < 2 * r->n_norm; i++)
        lk_buf_printf(&b, "%s%.17g", i > 0 ? " " : "", r->norm[i]);
    lk_status st = lk_buf_status(&b);
    if (st == LK_OK)
        st = lk_strdup(lk_buf_text(&b), &r->normalization);
    lk_buf_fini(&b);
    return st;
}

static lk_status parse_norm(lk_run *r)
{
    const char *at = r->normalization;
    char *end;
    int n = 0;

    for (; n < 2 * r->n_norm; n++, at = end) {
        r->norm[n] = strtod(at, &end);
        if (end == at)
            break;
    }
    if (n < 2 * r->n_norm || *at != 0)
        return LK_FAIL(LK_E_CONFIG,
            "%s: data.normalize asks for %d means and deviations of the inputs, the checkpoint was made with others: "
            "set data.normalize back, or start anew with another --run-dir",
            r->config->path, r->n_norm);
    return LK_OK;
}

/* Rank 0. */
static lk_status find_norm(lk_run *r)
{
    const lk_normalize how = (lk_normalize)r->config->data.normalize;

    if (r->normalization != NULL)
        return parse_norm(r);
    if (r->cursor.step > 0 || r->train_data == NULL)
        return LK_FAIL(
            LK_E_CONFIG, "%s: data.normalize is on, but the checkpoint was made without it", r->config->path);
    LK_TRY(lk_dataset_moments(r->train_data, 0, how, r->field[0].convert.scale, r->norm, r->norm + r->n_norm));
    return print_norm(r);
}

lk_status lki_data_normalize(lk_run *r)
{
    char where[256];

    if (r->n_norm == 0)
        return lk_comm_agree(
            r->comm, r->normalization == NULL
                         ? LK_OK
                         : LK_FAIL(LK_E_CONFIG, "%s: data.normalize is none, but the checkpoint was made with it",
                               lk_config_where(r->config, "data.normalize", where, sizeof where)));
    LK_TRY(lk_comm_agree(
        r->comm, lk_alloc_array(2 * (int64_t)r->n_norm, sizeof *r->norm, "means and deviations", &r->norm)));
    LK_TRY(lk_comm_agree(r->comm, r->rank == 0 ? find_norm(r) : LK_OK));
    LK_TRY(lk_comm_bcast(r->comm, 0, r->norm, 2 * (size_t)r->n_norm * sizeof *r->norm));
    r->field[0].convert.mean = r->norm;
    r->field[0].convert.std = r->norm + r->n_norm;
    r->field[0].convert.n_norm = r->n_norm;
    r->field[0].convert.last = r->config->data.normalize == LK_NORMALIZE_FEATURE;
    return LK_OK;
}

lk_loader_opts lki_loader_opts(const lk_run *r, bool training)
{
    lk_loader_opts o = {
        .data = training ? r->train_data : r->valid_data,
        .sampler = training ? r->train_sampler : r->valid_sampler,
        .n_fields = r->n_fields,
        .first_lane = r->first_lane,
        .n_lanes = r->n_lanes,
        .epoch = training ? r->cursor.epoch : 0,
        .step = training ? r->cursor.step_in_epoch : 0,
        .end_epoch = training ? -1 : 1,
        .readers = (int)r->config->data.readers,
        .prefetch = (int)r->config->data.prefetch,
        .augment = training ? r->config->augment : NULL,
        .mix = training ? r->config->data.mix : (lk_mix){0},
    };

    for (int f = 0; f < r->n_fields; f++)
        o.field[f] = r->field[f];
    return o;
}
