/* Recurrent layers: torch.nn's LSTM, GRU and RNN, with their names of weights. A layer and a direction of it is a node of
 * its own. */
#include "model/layer.h"

#include <stdio.h>

enum { OUTPUT_SEQUENCE, OUTPUT_LAST };

typedef struct recurrent_opts {
    LKI_LAYER_MEMBERS;
    int64_t units, layers;
    bool bidirectional, carry;
    double dropout;
    char *lengths;
    int output;
    int activation; /* rnn: 0 tanh, 1 relu */
} recurrent_opts;

#define RECURRENT_ROWS \
    LK_FIELD(recurrent_opts, units, LK_T_INT, .min = 1, .max = 1e9, .help = "Outputs of a step, in each direction."), \
        LK_FIELD(recurrent_opts, layers, LK_T_INT, .def = "1", .min = 1, .max = 1000, \
            .help = "So many on top of each other, each fed with the sequence of the one below."), \
        LK_FIELD(recurrent_opts, bidirectional, LK_T_BOOL, .def = "false", \
            .help = "Also reads the sequence from its end, with weights of its own; the outputs stand side by side."), \
        LK_FIELD(recurrent_opts, carry, LK_T_BOOL, .def = "false", \
            .help = "Each row goes on with the state that it ended the step before with, through an epoch; needs data.order streams " \
                    "(truncated back-propagation through time: no gradient goes back over a step)."), \
        LK_FIELD(recurrent_opts, dropout, LK_T_REAL, .def = "0", .min = 0, .max = 1, \
            .help = "Share of the values between two layers that are zero in a training step, below 1."), \
        LK_FIELD(recurrent_opts, lengths, LK_T_STRING, .def = "", \
            .help = "Name of a value with the number of valid steps of each sample, from 0 to all: further steps give 0 and " \
                    "change nothing; unset: all are valid."), \
        LK_FIELD(recurrent_opts, output, LK_T_ENUM, .def = "sequence", .choices = "sequence|last", \
            .help = "All steps, or what each direction ends with: [steps, channels] becomes [channels].")

/* One node, called like the layer if it is the last one. */
static lk_status add_part(lki_builder *b, const lki_layer *l, const char *suffix, lk_node_def def, int *value)
{
    char name[2 * LKI_NAME_BYTES];

    snprintf(name, sizeof name, "%s%s%s", l->name, suffix[0] != 0 ? "." : "", suffix);
    def.name = name;
    def.where = l->where;
    def.param_prefix = l->name;
    return lki_add_node(b, l, &def, value);
}

/* Direction `reverse` of layer `layer`, from *value to *value. */
static lk_status add_direction(
    lki_builder *b, const lki_layer *l, int lengths, int layer, bool reverse, bool last_layer, int *value)
{
    const recurrent_opts *o = LKI_OPTS(l, recurrent_opts);
    const bool end = last_layer && o->output == OUTPUT_LAST, only = last_layer && !o->bidirectional;
    const int n_in = lengths >= 0 ? 2 : 1;
    char suffix[40];

    snprintf(suffix, sizeof suffix, "l%d%s", layer, reverse ? "_reverse" : "");
    LK_TRY(add_part(b, l, only && !end ? "" : suffix,
        (lk_node_def){.op = l->kind->op,
            .attr.recurrent =
                {.units = o->units, .reverse = reverse, .carry = o->carry, .relu = o->activation == 1, .layer = layer},
            .n_in = n_in,
            .in = {*value, lengths}},
        value));
    if (!end)
        return LK_OK;
    snprintf(suffix, sizeof suffix, "last%s", reverse ? "_reverse" : "");
    return add_part(b, l, only ? "" : suffix,
        (lk_node_def){
            .op = LK_OP_LAST_STEP, .attr.last_step = {.reverse = reverse}, .n_in = n_in, .in = {*value, lengths}},
        value);
}

static lk_status build_recurrent(lki_builder *b, const lki_layer *l, int *value)
{
    const recurrent_opts *o = LKI_OPTS(l, recurrent_opts);
    int lengths = -1;
    char suffix[40];

    if (o->dropout > 0 && o->layers == 1)
        return lki_option_fail(l, "dropout", "acts between layers, and there is one layer only");
    if (o->carry && o->bidirectional)
        return lki_option_fail(l, "carry", "the backward direction begins at the end of a sequence, and has nothing to go on from");
    if (o->lengths != NULL)
        LK_TRY(lki_find_value(b, l, "lengths", o->lengths, &lengths));
    for (int i = 0; i < o->layers; i++) {
        const bool last = i == o->layers - 1;
        int back = *value;

        LK_TRY(add_direction(b, l, lengths, i, false, last, value));
        if (o->bidirectional) {
            LK_TRY(add_direction(b, l, lengths, i, true, last, &back));
            snprintf(suffix, sizeof suffix, "both%d", i);
            LK_TRY(add_part(b, l, last ? "" : suffix,
                (lk_node_def){.op = LK_OP_CONCAT,
                    .attr.axis.axis = b->graph->value[*value].shape.ndim - 1,
                    .in = {*value, back}},
                value));
        }
        if (o->dropout > 0 && !last) {
            snprintf(suffix, sizeof suffix, "dropout%d", i);
            LK_TRY(add_part(
                b, l, suffix, (lk_node_def){.op = LK_OP_DROPOUT, .attr.dropout.rate = o->dropout, .in = {*value}}, value));
        }
    }
    return LK_OK;
}

static const lk_field gated_rows[] = {
    RECURRENT_ROWS,
    LKI_LAYER_ROWS(recurrent_opts),
};
static const lk_table lstm_table = LK_TABLE(recurrent_opts, "lstm",
    "Long short-term memory over [steps, channels]; weights as torch.nn.LSTM has them (`lstm1.weight_ih_l0`, gates in the order i f "
    "g o). `lstm: 256` is short for `lstm: {units: 256}`.",
    gated_rows);
static const lk_table gru_table = LK_TABLE(recurrent_opts, "gru",
    "Gated recurrent units over [steps, channels]; weights as torch.nn.GRU has them, gates in the order r z n. `gru: 256` is "
    "short for `gru: {units: 256}`.",
    gated_rows);

static const lk_field rnn_rows[] = {
    RECURRENT_ROWS,
    LK_FIELD(recurrent_opts, activation, LK_T_ENUM, .def = "tanh", .choices = "tanh|relu", .help = "Of each step."),
    LKI_LAYER_ROWS(recurrent_opts),
};
static const lk_table rnn_table = LK_TABLE(recurrent_opts, "rnn",
    "The plain recurrent layer over [steps, channels]: h = tanh(W_ih x + W_hh h + b); weights as torch.nn.RNN has them. `rnn: 256` is short "
    "for `rnn: {units: 256}`.",
    rnn_rows);

const lki_layer_kind lki_layer_lstm = {
    .table = &lstm_table, .short_form = "units", .input = LKI_INPUT_ROWS, .op = LK_OP_LSTM, .build = build_recurrent};
const lki_layer_kind lki_layer_gru = {
    .table = &gru_table, .short_form = "units", .input = LKI_INPUT_ROWS, .op = LK_OP_GRU, .build = build_recurrent};
const lki_layer_kind lki_layer_rnn = {
    .table = &rnn_table, .short_form = "units", .input = LKI_INPUT_ROWS, .op = LK_OP_RNN, .build = build_recurrent};
