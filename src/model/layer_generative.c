/* Layers of generative models. */
#include "model/layer.h"

#include <stdio.h>

/* ---- gaussian ---- */
typedef struct gaussian_opts {
    LKI_LAYER_MEMBERS;
    int64_t units;
} gaussian_opts;

static const lk_field gaussian_rows[] = {
    LK_FIELD(gaussian_opts, units, LK_T_INT, .min = 1, .max = 1e9, .help = "Numbers of the latent vector."),
    LKI_LAYER_ROWS(gaussian_opts),
};
static const lk_table gaussian_table = LK_TABLE(gaussian_opts, "gaussian",
    "A latent vector, drawn from a normal distribution whose mean and log variance are linear in the input (`NAME.mean`, "
    "`NAME.log_variance`); not in training: its mean. Objective vae keeps it near the standard normal distribution. "
    "`gaussian: 16` is short for `gaussian: {units: 16}`.",
    gaussian_rows);

static lk_status build_gaussian(lki_builder *b, const lki_layer *l, int *value)
{
    const gaussian_opts *o = LKI_OPTS(l, gaussian_opts);
    const lk_attrs linear = {.linear = {.units = o->units, .bias = true}};
    int mean = *value, log_variance = *value;

    if (b->graph->value[*value].shape.ndim != 2) {
        lk_buf in = {0};
        lki_describe_value(b->graph, *value, &in);
        const lk_status st = LK_FAIL(LK_E_CONFIG, "%s: layer %s (gaussian): %s, expected [rows, features]; put \"- flatten\" in front", l->where, l->name, lk_buf_text(&in));
        lk_buf_fini(&in);
        return st;
    }
    if (b->n_latent == LKI_MAX_LATENT)
        return LK_FAIL(LK_E_CONFIG, "%s: layer %s (gaussian): more than %d of them", l->where, l->name, LKI_MAX_LATENT);
    LK_TRY(lki_build_part(b, l, "mean", LK_OP_LINEAR, &linear, &mean));
    LK_TRY(lki_build_part(b, l, "log_variance", LK_OP_LINEAR, &linear, &log_variance));
    b->latent[b->n_latent].mean = mean;
    b->latent[b->n_latent++].log_variance = log_variance;
    const lk_node_def def = {.name = l->name, .where = l->where, .op = LK_OP_GAUSSIAN, .in = {mean, log_variance}};
    return lki_add_node(b, l, &def, value);
}

const lki_layer_kind lki_layer_gaussian = {.table = &gaussian_table, .short_form = "units", .input = LKI_INPUT_ROWS, .build = build_gaussian};

/* ---- spectral norm ---- */
static const lk_field spectral_norm_rows[] = {LKI_LAYER_ROWS(lki_layer_opts)};
static const lk_table spectral_norm_table = LK_TABLE(lki_layer_opts, "spectral_norm",
    "Behind a linear layer or a convolution with `bias: false`: divides by the largest singular value of its weight, so that the layer stretches "
    "nothing (one step of the power iteration a step), and adds a learned number to each output. Keeps the discriminator of a gan smooth, as "
    "`wasserstein` needs it.",
    spectral_norm_rows);

static lk_status build_spectral_norm(lki_builder *b, const lki_layer *l, int *value)
{
    const lk_value *v = &b->graph->value[*value];
    const lk_node *n = v->producer < 0 ? NULL : &b->graph->node[v->producer];

    if (n == NULL || (n->spec.op != LK_OP_LINEAR && n->spec.op != LK_OP_CONV) || n->spec.n_params != 1) {
        lk_buf in = {0};
        lki_describe_value(b->graph, *value, &in);
        const lk_status st = LK_FAIL(LK_E_CONFIG, "%s: layer %s (spectral_norm): must stand right behind a linear layer or a convolution with bias: false; %s", l->where, l->name, lk_buf_text(&in));
        lk_buf_fini(&in);
        return st;
    }
    lk_node_def def = {.name = l->name, .where = l->where, .op = LK_OP_SPECTRAL_NORM, .in = {*value}, .share = n->name};
    def.attr.spectral_norm = (lk_attr_spectral_norm){.weight = n->spec.param[0].shape, .axis = n->spec.op == LK_OP_LINEAR ? v->shape.ndim - 1 : 1};
    return lki_add_node(b, l, &def, value);
}

const lki_layer_kind lki_layer_spectral_norm = {.table = &spectral_norm_table, .build = build_spectral_norm};
