/* The data of a run: files to datasets, what a batch holds of them, and the order of samples. */
#include "train/run_int.h"

#include "base/mem.h"
#include "data/windows.h"

#include <inttypes.h>
#include <string.h>
#include <stdlib.h>

/* ---- opening ---- */

/* Predictions are made where nothing is known yet: what only a loss would read need not be there. The input takes its place among the fields. */
static bool reads_target(const lk_run *r)
{
    return !r->predicts || lk_model_reads_target(r->config->train.objective);
}

/* Rows as steps in time; what stands beside the input is cut as the input is. Adopts the series. */
static lk_status cut_windows(const lk_run *r, lk_dataset *series, lk_dataset **out)
{
    const lk_data_opts *d = &r->config->data;
    const lk_sequence_opts *s = &d->sequence;
    lk_windows_opts o = {.stride = s->stride, .n_fields = 2 + d->fields.n};

    for (int f = 0; f < o.n_fields; f++)
        o.field[f] = (lk_window_field){.field = f, .length = s->length};
    if (!reads_target(r))
        return lk_dataset_create_windows(series, &o, out);
    o.field[1].ahead = s->ahead;
    o.field[1].length = s->target_length;
    if (s->columns.n > 0)
        LK_TRY(lk_dataset_create_columns(series, 1, s->columns.item, s->columns.n, &series));
    return lk_dataset_create_windows(series, &o, out);
}

static lk_status open_files(const lk_run *r, const lk_strings *patterns, lk_dataset **out)
{
    const lk_data_opts *d = &r->config->data;
    const char *fields[LK_LOADER_FIELDS] = {d->input, reads_target(r) ? d->target : d->input};
    lk_dataset *series = NULL;

    for (int i = 0; i < d->fields.n; i++)
        fields[2 + i] = d->fields.item[i];
    LK_TRY(lk_dataset_open(patterns, r->config->folder, fields, 2 + d->fields.n, &series));
    if (d->sequence.length == 0) {
        *out = series;
        return LK_OK;
    }
    return cut_windows(r, series, out);
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
        return lk_dataset_create_synthetic(
            &(lk_synthetic_data){
                .seed = (uint64_t)r->config->run.seed,
                .samples = d->synthetic.samples,
                .dim = d->synthetic.input.item,
                .ndim = d->synthetic.input.n,
                .classes = d->synthetic.classes,
                .each = r->config->train.objective != LK_OBJECTIVE_CLASSIFY,
                .vocabulary = d->synthetic.vocabulary,
            },
            &r->train_data);
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

    if (!lk_objective_has_classes(r->config->train.objective) || !reads_target(r))
        return LK_OK;
    if (r->config->train.objective == LK_OBJECTIVE_CLASSIFY && f->ndim != 0)
        return LK_FAIL(LK_E_CONFIG, "%s: field \"%s\" has rank %d; class ids need rank 1, one number a sample",
            lk_dataset_shard(d, 0, NULL, NULL), f->name, f->ndim + 1);
    if (!lk_elem_is_integer(f->type))
        return LK_FAIL(LK_E_CONFIG, "%s: field \"%s\" is %s; class ids need whole numbers",
            lk_dataset_shard(d, 0, NULL, NULL), f->name, lk_elem_name(f->type));
    return LK_OK;
}

static lk_shape sample_shape(const lk_field_info *f)
{
    lk_shape s = {.ndim = f->ndim};

    memcpy(s.dim, f->dim, (size_t)f->ndim * sizeof s.dim[0]);
    return s;
}

lk_model_input lki_data_input(const lk_run *r)
{
    const lk_dataset *d = r->train_data != NULL ? r->train_data : r->valid_data;
    const lk_field_info *x = lk_dataset_field(d, 0), *t = lk_dataset_field(d, 1);
    lk_model_input in = {.sample = sample_shape(x),
        .target_sample = sample_shape(t),
        .whole = lk_elem_is_integer(x->type),
        .target_whole = lk_elem_is_integer(t->type),
        .no_target = !reads_target(r),
        .n_more = r->config->data.fields.n};

    for (int i = 0; i < in.n_more; i++) {
        const lk_field_info *f = lk_dataset_field(d, 2 + i);
        in.more[i] = (lk_model_field){f->name, sample_shape(f), lk_elem_is_integer(f->type)};
    }
    return in;
}

/* Class ids must be whole numbers in [0, classes). */
static lk_status check_labels(const lk_run *r, lk_dataset *d)
{
    int64_t min, max, at_min, at_max, first;
    int field = 1;

    d = lk_dataset_source(d, &field);
    const lk_field_info *f = lk_dataset_field(d, field);
    LK_TRY(lk_dataset_range(d, field, &min, &max, &at_min, &at_max));
    if (r->model.has_ignored && min == r->model.ignored && min < 0)
        min = 0; /* what stands beside it is looked at when it comes */
    if (r->model.has_ignored && max == r->model.ignored && max >= r->classes)
        max = r->classes - 1;
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
    if (r->classes == 0 || r->rank != 0 || !reads_target(r) || r->config->data.synthetic.input.n > 0)
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

    r->n_fields = r->model.n_feeds;
    for (int f = 0; f < r->n_fields; f++) {
        const lk_model_feed *feed = &r->model.feed[f];

        r->field[f] = (lk_loader_field){.field = feed->field,
            .as = feed->ids ? LK_AS_ID : LK_AS_REAL,
            .first = feed->first,
            .count = feed->count,
            .convert = {.scale = 1.0}};
        if (feed->field == 0)
            r->field[f].convert = input_convert(r, lk_dataset_field(d, 0));
    }
    if (r->field[0].as == LK_AS_ID && (r->config->data.normalize != LK_NORMALIZE_NONE || r->config->data.mean.n > 0))
        return LK_FAIL(LK_E_CONFIG, "%s: data.normalize, data.mean and data.std have no meaning for ids", r->config->path);
    if (r->train_data != NULL && r->field[0].as == LK_AS_REAL)
        LK_TRY(lk_augment_check(r->config->augment, lk_dataset_field(d, 0)));
    if (r->field[0].as == LK_AS_REAL)
        LK_TRY(lk_dataset_moments_count(d, 0, (lk_normalize)r->config->data.normalize, &r->n_norm));
    if (r->classes > 0 && lk_is_mixed(&r->config->data.mix))
        r->field[1].classes = r->classes;
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
    for (int f = 0; f < r->n_fields; f++) {
        if (r->field[f].field != 0 || r->field[f].as != LK_AS_REAL)
            continue;
        r->field[f].convert.mean = r->norm;
        r->field[f].convert.std = r->norm + r->n_norm;
        r->field[f].convert.n_norm = r->n_norm;
        r->field[f].convert.last = r->config->data.normalize == LK_NORMALIZE_FEATURE;
    }
    return LK_OK;
}

lk_loader_opts lki_loader_opts(const lk_run *r, bool training)
{
    lk_loader_opts o = {
        .data = training ? r->train_data : r->valid_data,
        .sampler = training ? r->train_sampler : r->valid_sampler,
        .first_lane = r->first_lane,
        .n_lanes = r->n_lanes,
        .epoch = training ? r->cursor.epoch : 0,
        .step = training ? r->cursor.step_in_epoch : 0,
        .end_epoch = training ? -1 : 1,
        .readers = (int)r->config->data.readers,
        .prefetch = (int)r->config->data.prefetch,
        .augment = training ? r->config->augment : NULL,
        .mix = training ? r->config->data.mix : (lk_mix){0},
        .space = r->backend->space,
    };

    for (int f = 0; f < r->n_fields; f++)
        if (r->field[f].field != LK_FEED_NOTHING)
            o.field[o.n_fields++] = r->field[f];
    return o;
}
