/* The tables of the config file, reading it through them, and the checks that take more than one row. Whether files,
 * fields and devices are there is not looked at here. */
#include "model/config.h"
#include "base/file.h"
#include "base/mem.h"
#include "engine/schedule.h"
#include "kern/kern.h"
#include "model/model.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY_BYTES = 128 };

/* ---- the tables ---- */
_Static_assert(LK_OPT_SGD == 0 && LK_OPT_ADAMW == 1 && LK_OPT_ADAM == 2 && LK_OPT_RMSPROP == 3 && LK_OPT_ADAGRAD == 4 &&
                   LK_OPT_LION == 5 && LK_OPT_LARS == 6 && LK_OPT_LAMB == 7 && LK_OPT_MUON == 8 && LK_OPT_COUNT == 9,
    "the choices of train.optimizer are in this order");
_Static_assert(LK_DECAY_CONSTANT == 0 && LK_DECAY_STEP == 1 && LK_DECAY_COSINE == 2 && LK_DECAY_LINEAR == 3 && LK_DECAY_POLYNOMIAL == 4 && LK_DECAY_ONE_CYCLE == 5 && LK_DECAY_WSD == 6 && LK_DECAY_PLATEAU == 7,
    "the choices of train.lr.decay are in this order");

static const lk_field run_rows[] = {
    LK_FIELD(lk_run_opts, name, LK_T_STRING, .def = "",
        .help = "Names the run and its folder; unset: the config file's name without its ending."),
    LK_FIELD(lk_run_opts, seed, LK_T_INT, .def = "1", .min = 0, .max = 9007199254740992.0,
        .help = "All that is random follows from it: first weights, order of the samples, dropout. Same config, same "
                "seed: the same bits."),
    LK_FIELD(
        lk_run_opts, dir, LK_T_STRING, .def = "", .help = "Folder of the run; unset: runs/NAME in the current folder."),
    LK_FIELD(lk_run_opts, threads, LK_T_INT, .def = "1", .min = 1, .max = 1024,
        .help = "Compute threads of a rank; each runs whole microbatches, so the result does not depend on it."),
    LK_FIELD(lk_run_opts, device, LK_T_ENUM, .def = "auto", .choices = "auto|cpu|cuda",
        .help = "Where to compute; auto takes a GPU where there is one."),
    LK_FIELD(lk_run_opts, transport, LK_T_ENUM, .def = "auto", .choices = "auto|nccl|mpi",
        .help = "What gradients of GPUs travel over. mpi: through the memory of the hosts, or directly where MPI takes device memory; nccl: needs a GPU a rank; auto: nccl where "
                "that can be. Does not change the result."),
    LK_FIELD(lk_run_opts, transport_timeout, LK_T_REAL, .unit = "s", .def = "600", .min = 0, .max = 1e9,
        .help = "nccl: when an exchange, or the beginning, that takes so long has failed; 0: never."),
};
static const lk_table run_table =
    LK_TABLE(lk_run_opts, "run", "What the run is called, and what it runs on.", run_rows);

static const lk_field synthetic_rows[] = {
    LK_FIELD(lk_synthetic_opts, input, LK_T_INTS, .def = "", .min = 1, .max = 1e9,
        .help = "Shape of one sample, for instance [1, 28, 28]; given: data is made up, and data.train and data.valid "
                "are not."),
    LK_FIELD(lk_synthetic_opts, classes, LK_T_INT, .def = "10", .min = 0, .max = 1e9,
        .help = "Number of classes; 0: the target is one real number, for objective regress. For language_model and "
                "sequence_label each place of the input has one."),
    LK_FIELD(lk_synthetic_opts, vocabulary, LK_T_INT, .def = "0", .min = 0, .max = 1e9,
        .help = "Inputs are ids below this, for models that begin with an embedding; 0: inputs are real numbers."),
    LK_FIELD(lk_synthetic_opts, samples, LK_T_INT, .unit = "samples", .def = "8192", .min = 1, .max = 1e12,
        .help = "Samples of an epoch."),
};
static const lk_table synthetic_table = LK_TABLE(lk_synthetic_opts, "data.synthetic",
    "Made-up data of a given shape, to time the step without a file.", synthetic_rows);

static const lk_field sequence_rows[] = {
    LK_FIELD(lk_sequence_opts, length, LK_T_INT, .unit = "rows", .def = "", .min = 1, .max = 1e9,
        .help =
            "Rows of an input; given: rows are steps in time, and sample k is rows k * stride to k * stride + length "
            "of data.input."),
    LK_FIELD(lk_sequence_opts, stride, LK_T_INT, .unit = "rows", .def = "", .min = 1, .max = 1e12,
        .help = "Rows from one sample to the next; unset: length, so that none is in two inputs."),
    LK_FIELD(lk_sequence_opts, ahead, LK_T_INT, .unit = "rows", .def = "1", .min = 0, .max = 1e12,
        .help = "The target begins so many rows after its input: 1 to give the next token at each place, length to "
                "forecast what follows."),
    LK_FIELD(lk_sequence_opts, target_length, LK_T_INT, .unit = "rows", .def = "", .min = 1, .max = 1e9,
        .help = "Rows of a target; unset: length."),
    LK_FIELD(lk_sequence_opts, columns, LK_T_INTS, .def = "", .min = 0, .max = 1e9,
        .help = "Columns of data.target that are to be given, from 0; unset: all."),
};
static const lk_table sequence_table = LK_TABLE(lk_sequence_opts, "data.sequence",
    "Samples that are cut out of long series, which run through all files: as many as fit whole.", sequence_rows);

static const lk_field mix_rows[] = {
    LK_FIELD(lk_mix, mixup, LK_T_REAL, .def = "0", .min = 0, .max = 1e3,
        .help = "Inputs and targets become weighted means of two rows; the weight is from Beta(alpha, alpha), and this is "
                "alpha. 0: none."),
    LK_FIELD(lk_mix, cutmix, LK_T_REAL, .def = "0", .min = 0, .max = 1e3,
        .help = "A box of another row's picture is pasted in, as large as 1 less a number from Beta(alpha, alpha), and the "
                "targets are mixed by the areas; this is alpha. 0: none. With both, each microbatch takes one of them."),
};
static const lk_table mix_table = LK_TABLE(
    lk_mix, "data.mix", "Training on mixtures of the rows of a microbatch, with objective classify.", mix_rows);

static const lk_field data_rows[] = {
    LK_FIELD(lk_data_opts, train, LK_T_STRINGS, .def = "",
        .help = "HDF5 files to train on: paths or globs, relative to the config's folder (also with --set)."),
    LK_FIELD(lk_data_opts, valid, LK_T_STRINGS, .def = "", .help = "HDF5 files to evaluate on; unset: no evaluation."),
    LK_FIELD(lk_data_opts, input, LK_T_STRING, .def = "image",
        .help = "Field (HDF5 dataset) that goes into the model; its first dimension counts samples."),
    LK_FIELD(lk_data_opts, target, LK_T_STRING, .def = "label",
        .help = "Field that the model should give: class ids from 0, or numbers for objective regress."),
    LK_FIELD(lk_data_opts, fields, LK_T_STRINGS, .def = "",
        .help = "Further fields that are read with each sample: whole numbers as they are stored, others as float32."),
    LK_FIELD(lk_data_opts, scale, LK_T_REAL, .def = "0", .min = 0, .max = 1e30,
        .help = "Input values are multiplied by this; 0: by 1/255 where they are stored as uint8, else by 1."),
    LK_FIELD(lk_data_opts, normalize, LK_T_ENUM, .def = "none", .choices = LK_NORMALIZE_CHOICES,
        .help =
            "In the place of mean and std: those of the scaled training inputs, taken at the start and kept in "
            "checkpoints; one a channel of [C,H,W], one a place of the last dimension (of a series: a column), or one "
            "of all."),
    LK_FIELD(lk_data_opts, mean, LK_T_REALS, .def = "",
        .help = "Subtracted from the scaled values: one number, or one a channel; unset: 0."),
    LK_FIELD(lk_data_opts, std, LK_T_REALS, .def = "", .min = 0, .max = 1e30,
        .help = "The difference is divided by this: one number, or one a channel; not 0; unset: 1."),
    LK_FIELD(lk_data_opts, block, LK_T_INT, .unit = "samples", .def = "64", .min = 1, .max = 1e9,
        .help = "Neighbouring samples that shuffling keeps in one block, so that files are read in large pieces."),
    LK_FIELD(lk_data_opts, window, LK_T_INT, .unit = "blocks", .def = "16", .min = 1, .max = 1e6,
        .help = "Blocks that are mixed sample by sample."),
    LK_FIELD(lk_data_opts, order, LK_T_ENUM, .def = "shuffled", .choices = LK_ORDER_CHOICES,
        .help = "shuffled: the samples of each epoch in another order; sequential: as they are stored; streams: the "
                "samples are cut into train.batch runs of neighbours, and each row of a batch goes along its own from "
                "step to step, for state that is carried on; what does not fill a batch of runs is left out, in "
                "evaluation too."),
    LK_FIELD(lk_data_opts, readers, LK_T_INT, .unit = "threads", .def = "1", .min = 1, .max = 256,
        .help = "Threads of a rank that read and decode."),
    LK_FIELD(lk_data_opts, prefetch, LK_T_INT, .unit = "steps", .def = "4", .min = 1, .max = 1024,
        .help = "Steps that are read ahead; memory is fixed at so many batches."),
    LK_FIELD(lk_data_opts, sequence, LK_T_TABLE, .def = "", .sub = &sequence_table,
        .help = "Windows of a series as samples."),
    LK_FIELD(lk_data_opts, augment, LK_T_NODE, .def = "",
        .help = "Steps that change the inputs of training at random: see Augmentation below."),
    LK_FIELD(lk_data_opts, mix, LK_T_TABLE, .def = "", .sub = &mix_table, .help = "Mixtures of samples."),
    LK_FIELD(lk_data_opts, synthetic, LK_T_TABLE, .def = "", .sub = &synthetic_table,
        .help = "Made-up data in place of files."),
};
static const lk_table data_table = LK_TABLE(lk_data_opts, "data",
    "Where samples come from, and how stored values become inputs: (value * scale - mean) / std.", data_rows);

static const lk_field lr_rows[] = {
    LK_FIELD(lk_lr_opts, peak, LK_T_REAL, .min = 0, .max = 1e6, .exclusive_min = true,
        .help = "Highest rate, reached after the warm-up. `lr: 3e-3` is short for `lr: {peak: 3e-3}`."),
    LK_FIELD(lk_lr_opts, floor, LK_T_REAL, .def = "0", .min = 0, .max = 1,
        .help = "Share of the peak that cosine, linear, polynomial, one_cycle and wsd end at; plateau does not go below it."),
    LK_FIELD(lk_lr_opts, warmup, LK_T_INT, .unit = "steps", .def = "0", .min = 0, .max = 1e12,
        .help = "Steps in which the rate rises in a line to the peak."),
    LK_FIELD(lk_lr_opts, decay, LK_T_ENUM, .def = "constant", .choices = LK_DECAY_CHOICES,
        .help = "How the rate falls after the warm-up: not at all; in steps; along a cosine, a line or a power of one to "
                "the end of the run; one_cycle: up along a cosine and down along another, in place of a warm-up; wsd: in "
                "a line over the last steps; plateau: by a factor when the validation loss no longer falls."),
    LK_FIELD(lk_lr_opts, every, LK_T_INT, .unit = "steps", .def = "", .min = 1, .max = 1e12,
        .help = "Decay step: steps from one fall to the next."),
    LK_FIELD(lk_lr_opts, factor, LK_T_REAL, .def = "0.1", .min = 0, .max = 1, .exclusive_min = true,
        .help = "Decay step and plateau: what the rate is multiplied by at each fall."),
    LK_FIELD(lk_lr_opts, power, LK_T_REAL, .def = "2", .min = 0, .max = 100, .exclusive_min = true,
        .help = "Decay polynomial: the power of the share of steps that is left."),
    LK_FIELD(lk_lr_opts, start, LK_T_REAL, .def = "0.04", .min = 0, .max = 1,
        .help = "Decay one_cycle: share of the peak to begin with."),
    LK_FIELD(lk_lr_opts, rise, LK_T_REAL, .def = "0.3", .min = 0, .max = 1,
        .help = "Decay one_cycle: share of the steps in which the rate rises."),
    LK_FIELD(lk_lr_opts, decay_share, LK_T_REAL, .def = "0.1", .min = 0, .max = 1,
        .help = "Decay wsd: share of all steps in which the rate falls."),
    LK_FIELD(lk_lr_opts, patience, LK_T_INT, .unit = "evaluations", .def = "5", .min = 1, .max = 1e9,
        .help = "Decay plateau: evaluations in a row without a lower validation loss that make the rate fall."),
    LK_FIELD(lk_lr_opts, threshold, LK_T_REAL, .def = "1e-4", .min = 0, .max = 1,
        .help = "Decay plateau: a loss counts as lower when it is by this share of the lowest so far."),
};
static const lk_table lr_table =
    LK_TABLE(lk_lr_opts, "train.lr", "The learning rate as a function of the step.", lr_rows);

static const lk_field early_stop_rows[] = {
    LK_FIELD(lk_early_stop_opts, patience, LK_T_INT, .unit = "evaluations", .def = "0", .min = 0, .max = 1e9,
        .help = "Evaluations in a row without a better one that end the run; 0: it runs to its end."),
    LK_FIELD(lk_early_stop_opts, metric, LK_T_ENUM, .def = "loss", .choices = "loss|accuracy",
        .help = "What makes an evaluation better: a lower loss, or a higher accuracy."),
    LK_FIELD(lk_early_stop_opts, delta, LK_T_REAL, .def = "0", .min = 0, .max = 1e30,
        .help = "By more than this must it be better than the best so far."),
};
static const lk_table early_stop_table = LK_TABLE(
    lk_early_stop_opts, "train.early_stop", "When a run ends before its last step.", early_stop_rows);

static const lk_field init_from_rows[] = {
    LK_FIELD(lk_init_from_opts, checkpoint, LK_T_STRING, .def = "",
        .help = "A step folder, its state.h5, or a run's folder, which stands for its newest good checkpoint; relative to the "
                "config's folder. Unset: none."),
    LK_FIELD(lk_init_from_opts, match, LK_T_STRING, .def = "*",
        .help = "Names of this model's parameters that are to be taken, as in train.groups."),
    LK_FIELD(lk_init_from_opts, rename, LK_T_NODE, .def = "",
        .help = "Other beginnings for the names in the checkpoint: a list, for instance `[{from: \"encoder.\", to: \"\"}]`; the "
                "first that fits a name counts."),
    LK_FIELD(lk_init_from_opts, ema, LK_T_BOOL, .def = "true",
        .help = "Takes the running means of the weights (train.ema) in their place, where the checkpoint has them."),
    LK_FIELD(lk_init_from_opts, strict, LK_T_BOOL, .def = "false",
        .help = "A parameter that matches, but is not in the checkpoint in its shape, is an error."),
};
static const lk_table init_from_table = LK_TABLE(lk_init_from_opts, "train.init_from",
    "Weights of another run, to start from: a run that begins takes each parameter (running statistics, too) whose name and shape are in "
    "the checkpoint. The others start by their layers and train.init. A run that goes on from a checkpoint of its own does not look.",
    init_from_rows);

static const lk_field rename_rows[] = {
    LK_FIELD(lk_rename, from, LK_T_STRING, .help = "What names in the checkpoint begin with."),
    LK_FIELD(lk_rename, to, LK_T_STRING, .help = "What they begin with in this model."),
};
static const lk_table rename_table = LK_TABLE(lk_rename, "train.init_from.rename", NULL, rename_rows);

static const lk_field gan_rows[] = {
    LK_FIELD(lk_gan_opts, loss, LK_T_ENUM, .def = "non_saturating", .choices = "non_saturating|least_squares|wasserstein|hinge",
        .help = "What the two networks play for (Goodfellow et al. 2014; Mao et al. 2017; Arjovsky et al. 2017; Lim & Ye 2017). wasserstein needs a discriminator that stretches nothing: put the layer `spectral_norm` behind each of its layers. train.clip_value bounds gradients, not weights."),
    LK_FIELD(lk_gan_opts, latent, LK_T_INTS, .def = "64", .min = 1, .max = 1e9,
        .help = "Shape of the noise that the generator starts from."),
    LK_FIELD(lk_gan_opts, generator_every, LK_T_INT, .unit = "steps", .def = "1", .min = 1, .max = 1e6,
        .help = "The discriminator learns in each step, the generator in each so many-th."),
};
static const lk_table gan_table = LK_TABLE(lk_gan_opts, "train.gan", "How a generator and a discriminator are trained.", gan_rows);

static const lk_field train_rows[] = {
    LK_FIELD(lk_train_opts, objective, LK_T_ENUM, .def = "classify", .choices = LK_OBJECTIVE_CHOICES,
        .help = "What is learned; see Objectives below."),
    LK_FIELD(lk_train_opts, loss, LK_T_ENUM, .def = "auto", .choices = LK_LOSS_CHOICES,
        .help = "What is minimized; auto: what the objective usually has."),
    LK_FIELD(lk_train_opts, label_smoothing, LK_T_REAL, .def = "0", .min = 0, .max = 1,
        .help = "cross_entropy: share of the target that is spread over all classes, below 1."),
    LK_FIELD(lk_train_opts, ignore, LK_T_INTS, .def = "",
        .help = "cross_entropy: a class id that counts for nothing (padding); unset: none, and 0 for seq2seq."),
    LK_FIELD(lk_train_opts, class_weights, LK_T_REALS, .def = "", .min = 0, .max = 1e30,
        .help = "cross_entropy: how much a sample of each class counts; the mean is over the weights. Unset: all alike."),
    LK_FIELD(lk_train_opts, huber_delta, LK_T_REAL, .def = "1", .min = 0, .max = 1e30, .exclusive_min = true,
        .help = "huber: error at which the square goes over into a line."),
    LK_FIELD(lk_train_opts, kl_weight, LK_T_REAL, .def = "1", .min = 0, .max = 1e30,
        .help = "vae: share of the divergence from the normal distribution."),
    LK_FIELD(lk_train_opts, gan, LK_T_TABLE, .def = "", .sub = &gan_table, .help = "Objective gan."),
    LK_FIELD(lk_train_opts, epochs, LK_T_INT, .unit = "epochs", .def = "10", .min = 1, .max = 1e9,
        .help = "Passes over the training data."),
    LK_FIELD(lk_train_opts, steps, LK_T_INT, .unit = "steps", .def = "0", .min = 0, .max = 1e12,
        .help = "Ends the run at this step, whatever epochs says; 0: by epochs."),
    LK_FIELD(lk_train_opts, batch, LK_T_INT, .unit = "samples", .min = 1, .max = 1e9,
        .help = "Global batch: samples of one step over all ranks; a multiple of microbatches."),
    LK_FIELD(lk_train_opts, microbatches, LK_T_INT, .def = "8", .min = 1, .max = 65536,
        .help = "Equal parts of the batch that are computed one by one; any number of ranks up to this gives the same "
                "bits. Batch norm's statistics are those of a part."),
    LK_FIELD(lk_train_opts, optimizer, LK_T_ENUM, .def = "adamw",
        .choices = "sgd|adamw|adam|rmsprop|adagrad|lion|lars|lamb|muon",
        .help =
            "How weights are updated. lars and lamb scale the step of each weight to its norm; muon makes the steps of "
            "matrices inside of the network nearly orthogonal, and updates the rest by adamw. Those three are not "
            "sharded over ranks."),
    LK_FIELD(lk_train_opts, weight_decay, LK_T_REAL, .def = "0", .min = 0, .max = 1e6,
        .help = "Weight decay of weights with two or more dimensions (not of biases and norms); sgd, adam, rmsprop, "
                "adagrad and lars add it to the gradient, the others decouple it."),
    LK_FIELD(lk_train_opts, momentum, LK_T_REAL, .def = "0.9", .min = 0, .max = 1,
        .help = "sgd, lars, rmsprop, muon: share of the previous direction that is kept."),
    LK_FIELD(lk_train_opts, beta1, LK_T_REAL, .def = "0.9", .min = 0, .max = 1,
        .help =
            "adamw, adam, lamb, muon: decay of the gradient's running mean; lion: its share in the step's direction."),
    LK_FIELD(lk_train_opts, beta2, LK_T_REAL, .def = "0.999", .min = 0, .max = 1,
        .help =
            "adamw, adam, lamb, muon, rmsprop: decay of the squared gradient's running mean; lion: of the gradient's "
            "(usually 0.99)."),
    LK_FIELD(lk_train_opts, eps, LK_T_REAL, .def = "1e-8", .min = 0, .max = 1, .exclusive_min = true,
        .help = "adamw, adam, lamb, muon, rmsprop, adagrad: added to the root in the denominator."),
    LK_FIELD(lk_train_opts, trust, LK_T_REAL, .def = "0.001", .min = 0, .max = 1e6, .exclusive_min = true,
        .help = "lars: the norm of a step, as a share of the weight's norm, at a rate of 1."),
    LK_FIELD(lk_train_opts, nesterov, LK_T_BOOL, .def = "false", .help = "sgd, muon: Nesterov's form of momentum."),
    LK_FIELD(lk_train_opts, clip_norm, LK_T_REAL, .def = "0", .min = 0, .max = 1e30,
        .help = "A gradient with a larger norm (over all weights) is scaled down to it; 0: no clipping."),
    LK_FIELD(lk_train_opts, clip_value, LK_T_REAL, .def = "0", .min = 0, .max = 1e30,
        .help = "Elements of the gradient beyond this, up or down, are brought back to it; 0: no clipping. Comes after "
                "clip_norm."),
    LK_FIELD(lk_train_opts, gradient_noise, LK_T_REAL, .def = "0", .min = 0, .max = 1e6,
        .help = "Variance of normal noise that is added to the gradient at the first step; 0: none."),
    LK_FIELD(lk_train_opts, gradient_noise_decay, LK_T_REAL, .def = "0.55", .min = 0, .max = 100,
        .help = "The variance at step t, from 1, is divided by t to this power."),
    LK_FIELD(lk_train_opts, ema, LK_T_REAL, .def = "0", .min = 0, .max = 1,
        .help = "A running mean of the weights is kept, this share of which stays at each step (of step t at most t / (t + "
                "9)); evaluation, eval and predict take it; 0: none. For instance 0.999."),
    LK_FIELD(lk_train_opts, groups, LK_T_NODE, .def = "",
        .help = "How parameters are learned, by patterns of their names: a list, for instance `[{match: \"conv1.*\", frozen: "
                "true}]`."),
    LK_FIELD(lk_train_opts, init, LK_T_NODE, .def = "",
        .help = "First values of parameters, by patterns of their names: a list, for instance `[{match: \"*.weight\", kind: "
                "he_normal}]`."),
    LK_FIELD(lk_train_opts, init_from, LK_T_TABLE, .def = "", .sub = &init_from_table,
        .help = "A checkpoint of another run whose weights this one starts from."),
    LK_FIELD(lk_train_opts, lr, LK_T_TABLE, .sub = &lr_table, .help = "Learning rate: a number, or a map."),
    LK_FIELD(lk_train_opts, precision, LK_T_ENUM, .def = "fp32", .choices = LK_PRECISION_CHOICES,
        .help = "Numbers that a GPU computes with: of activations and products. Weights, gradients of weights and the optimizer's state "
                "stay fp32. tf32: products round their factors to 10 bits; fp16: the loss is scaled so that gradients do not vanish, "
                "and a step whose gradient is not finite is left out. The CPU computes in fp32."),
    LK_FIELD(lk_train_opts, rounding, LK_T_ENUM, .def = "nearest", .choices = "nearest|stochastic",
        .help = "How weights are rounded to the 16 bits of precision bf16 and fp16 for the products of a step. stochastic: up or down at "
                "random, so that the mean is the weight; the draws are a function of seed, parameter, update and element, and evaluation and "
                "predictions round to nearest."),
    LK_FIELD(lk_train_opts, reduction, LK_T_ENUM, .def = "exact", .choices = "exact|fast",
        .help = "exact: gradients are summed in an order that the number of ranks does not change; fast: as the "
                "library likes."),
    LK_FIELD(lk_train_opts, bucket_bytes, LK_T_INT, .unit = "bytes", .def = "4194304", .min = 1024,
        .max = 1099511627776.0, .help = "Gradients that travel together; does not change the result."),
    LK_FIELD(lk_train_opts, activation_memory, LK_T_INT, .unit = "bytes", .def = "0", .min = 0, .max = 1e15,
        .help = "The most that activations and gradients of a microbatch may take, a thread; 0: no limit. Activations that do not "
                "fit are let go and computed again in the backward pass, as few as possible; does not change the result."),
    LK_FIELD(lk_train_opts, shard_optimizer, LK_T_BOOL, .def = "true",
        .help = "Each rank keeps and updates its share of the optimizer's state, in place of all of it; does not "
                "change the result."),
    LK_FIELD(lk_train_opts, eval_every, LK_T_EVERY, .def = "1 epoch", .min = 1, .max = 1e12,
        .help = "How often data.valid is evaluated; also at the end of the run."),
    LK_FIELD(lk_train_opts, log_every, LK_T_EVERY, .def = "10 steps", .min = 1, .max = 1e12,
        .help = "How often a step is logged."),
    LK_FIELD(lk_train_opts, early_stop, LK_T_TABLE, .def = "", .sub = &early_stop_table,
        .help = "Ends the run when data.valid shows no more progress."),
};
static const lk_table train_table =
    LK_TABLE(lk_train_opts, "train", "What is minimized, how, and for how long.", train_rows);

static const lk_field checkpoint_rows[] = {
    LK_FIELD(lk_checkpoint_opts, every, LK_T_EVERY, .def = "1 epoch", .min = 1, .max = 1e12,
        .help = "How often a checkpoint is written, and at the end of the run; never: only when the run is stopped."),
    LK_FIELD(lk_checkpoint_opts, keep, LK_T_INT, .def = "3", .min = 1, .max = 1e9,
        .help = "How many of the newest checkpoints are kept."),
    LK_FIELD(lk_checkpoint_opts, best, LK_T_INT, .def = "0", .min = 0, .max = LK_MAX_BEST_CHECKPOINTS,
        .help = "How many of the best checkpoints are kept beside them: one is written after each evaluation that is among "
                "the best so far."),
    LK_FIELD(lk_checkpoint_opts, best_metric, LK_T_ENUM, .def = "loss", .choices = "loss|accuracy",
        .help = "What makes a checkpoint better: a lower validation loss, or a higher accuracy."),
};
static const lk_table checkpoint_table =
    LK_TABLE(lk_checkpoint_opts, "checkpoint", "What is kept of the run.", checkpoint_rows);

static const lk_field config_rows[] = {
    LK_FIELD(lk_config, run, LK_T_TABLE, .def = "", .sub = &run_table, .help = "Name, seed, device."),
    LK_FIELD(lk_config, data, LK_T_TABLE, .def = "", .sub = &data_table, .help = "Files, fields, order."),
    LK_FIELD(lk_config, model, LK_T_NODE, .help = "The list of layers."),
    LK_FIELD(lk_config, train, LK_T_TABLE, .sub = &train_table, .help = "Objective, batch, optimizer, learning rate."),
    LK_FIELD(lk_config, checkpoint, LK_T_TABLE, .def = "", .sub = &checkpoint_table, .help = "How often, how many."),
};
const lk_table lk_config_table = LK_TABLE(lk_config, "config", NULL, config_rows);

/* ---- places ---- */
/* The node of a key ("train.lr.peak"), or of the deepest section on the way that was written. */
static const lk_yaml *lookup(const lk_yaml *root, const char *key, bool *written)
{
    const lk_yaml *at = root;
    char part[KEY_BYTES];

    *written = true;
    while (key[0] != 0) {
        const size_t n = strcspn(key, ".");
        snprintf(part, sizeof part, "%.*s", (int)n, key);
        const lk_yaml *next = lk_yaml_get(at, part);
        if (next == NULL) {
            *written = false;
            break;
        }
        at = next;
        key += n + (key[n] == '.');
    }
    return at;
}

const char *lk_config_where(const lk_config *c, const char *key, char *out, size_t cap)
{
    bool written;
    const lk_yaml *node = lookup(c->document, key, &written);

    if (!written || node == c->document)
        snprintf(out, cap, "%s", c->path);
    else if (node->line == 0)
        snprintf(out, cap, "%s", node->source);
    else
        snprintf(out, cap, "%s:%d:%d", node->source, node->key_line, node->key_column);
    return out;
}

static lk_status key_fail(const lk_config *c, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* LK_E_CONFIG at the place of a key, with its name in front, as lk_table_parse words it. */
static lk_status key_fail(const lk_config *c, const char *key, const char *fmt, ...)
{
    char text[LK_ERR_MESSAGE];
    bool written;
    const lk_yaml *node = lookup(c->document, key, &written);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (node->line == 0 && strncmp(node->source, "--set ", 6) == 0 && strcmp(node->source + 6, key) == 0)
        return lk_yaml_fail(node, "%s", text);
    return lk_yaml_fail(node, "%s: %s", key, text);
}

bool lk_objective_has_classes(int objective)
{
    switch (objective) {
    case LK_OBJECTIVE_CLASSIFY:
    case LK_OBJECTIVE_LANGUAGE_MODEL:
    case LK_OBJECTIVE_SEQUENCE_LABEL:
    case LK_OBJECTIVE_SEQ2SEQ:
    case LK_OBJECTIVE_SEGMENT:
        return true;
    default:
        return false;
    }
}

bool lk_objective_of_input(int objective)
{
    return objective == LK_OBJECTIVE_AUTOENCODE || objective == LK_OBJECTIVE_VAE || objective == LK_OBJECTIVE_GAN;
}

static const char *objective_text(const lk_config *c, char *out, size_t cap)
{
    return lk_choice_text(LK_OBJECTIVE_CHOICES, c->train.objective, out, cap);
}

/* ---- what one row alone cannot check ---- */
static lk_status check_run(const lk_config *c)
{
    const char *name = c->run.name;

    if (name[0] == 0 || strchr(name, '/') != NULL || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return key_fail(c, "run.name", "\"%.80s\" cannot name a folder", name);
    if (c->run.dir != NULL && c->run.dir[0] == 0)
        return key_fail(c, "run.dir", "the path is empty");
    return LK_OK;
}

static lk_status check_synthetic(const lk_config *c)
{
    const lk_data_opts *d = &c->data;
    const bool has_classes = lk_objective_has_classes(c->train.objective);
    char objective[32];

    if (d->fields.n > 0)
        return key_fail(
            c, "data.fields", "given together with data.synthetic.input; made-up data has an input and a target");
    if (d->train.n > 0)
        return key_fail(c, "data.train", "given together with data.synthetic.input; one of the two is the data");
    if (d->valid.n > 0)
        return key_fail(
            c, "data.valid", "given together with data.synthetic.input; made-up data has no part to evaluate on");
    if (d->synthetic.input.n > LK_MAX_DIMS - 1)
        return key_fail(c, "data.synthetic.input", "a sample of %d dimensions; at most %d are possible",
            d->synthetic.input.n, LK_MAX_DIMS - 1);
    if (!has_classes && d->synthetic.classes != 0)
        return key_fail(c, "data.synthetic.classes",
            "%" PRId64 " classes with train.objective %s; write 0, for a target of one real number",
            d->synthetic.classes, objective_text(c, objective, sizeof objective));
    if (has_classes && d->synthetic.classes < 2)
        return key_fail(c, "data.synthetic.classes", "%" PRId64 " with train.objective %s; at least 2 are needed",
            d->synthetic.classes, objective_text(c, objective, sizeof objective));
    if (c->train.objective == LK_OBJECTIVE_SEQ2SEQ || c->train.objective == LK_OBJECTIVE_SEGMENT ||
        c->train.objective == LK_OBJECTIVE_MULTILABEL)
        return key_fail(c, "data.synthetic.input", "no data can be made up for train.objective %s",
            objective_text(c, objective, sizeof objective));
    return LK_OK;
}

static lk_status check_sequence(const lk_config *c)
{
    const lk_sequence_opts *s = &c->data.sequence;
    const char *key = s->stride != 0          ? "data.sequence.stride"
                      : s->target_length != 0 ? "data.sequence.target_length"
                      : s->columns.n > 0      ? "data.sequence.columns"
                                              : NULL;

    if (s->length == 0 && key != NULL)
        return key_fail(c, key, "given without data.sequence.length");
    if (s->length > 0 && c->data.synthetic.input.n > 0)
        return key_fail(
            c, "data.sequence.length", "given together with data.synthetic.input; made-up data is no series");
    return LK_OK;
}

static lk_status check_paths(const lk_config *c, const char *key, const lk_strings *paths)
{
    for (int i = 0; i < paths->n; i++) {
        if (paths->item[i][0] == 0)
            return key_fail(c, key, "an empty path");
    }
    return LK_OK;
}

static lk_status check_data(const lk_config *c)
{
    const lk_data_opts *d = &c->data;

    LK_TRY(check_paths(c, "data.train", &d->train));
    LK_TRY(check_paths(c, "data.valid", &d->valid));
    if (d->synthetic.input.n > 0)
        LK_TRY(check_synthetic(c));
    else if (d->train.n == 0)
        return key_fail(c, "data.train", "no data: give HDF5 files here, or a shape in data.synthetic.input");
    LK_TRY(check_sequence(c));
    if (lk_is_mixed(&d->mix) && c->train.objective != LK_OBJECTIVE_CLASSIFY)
        return key_fail(c, d->mix.mixup > 0 ? "data.mix.mixup" : "data.mix.cutmix",
            "targets are mixed as shares of classes, so train.objective must be classify");
    if (d->input == NULL || d->input[0] == 0)
        return key_fail(c, "data.input", "a field needs a name");
    if (d->target == NULL || d->target[0] == 0)
        return key_fail(c, "data.target", "a field needs a name");
    if (d->fields.n > LK_LOADER_FIELDS - 2)
        return key_fail(c, "data.fields", "%d fields; at most %d are possible", d->fields.n, LK_LOADER_FIELDS - 2);
    for (int i = 0; i < d->fields.n; i++) {
        if (d->fields.item[i][0] == 0)
            return key_fail(c, "data.fields", "a field needs a name");
    }
    if (c->train.objective == LK_OBJECTIVE_CLASSIFY && d->sequence.length == 0 && strcmp(d->input, d->target) == 0)
        return key_fail(c, "data.target", "\"%.80s\" is the input as well, and inputs are no class ids", d->target);
    for (int i = 0; i < d->std.n; i++) {
        if (d->std.item[i] == 0)
            return key_fail(c, "data.std", "number %d is 0, and values are divided by it", i + 1);
    }
    if (d->normalize != LK_NORMALIZE_NONE && (d->mean.n > 0 || d->std.n > 0))
        return key_fail(c, "data.normalize", "given together with data.%s; inputs are normalized by one of the two",
            d->mean.n > 0 ? "mean" : "std");
    if (d->mean.n > 0 && d->std.n > 0 && d->mean.n != d->std.n)
        return key_fail(c, "data.std", "%d numbers, but data.mean has %d", d->std.n, d->mean.n);
    return LK_OK;
}

static lk_status check_init_from(const lk_config *c)
{
    const lk_init_from_opts *o = &c->train.init_from;

    if (o->checkpoint != NULL && o->checkpoint[0] == 0)
        return key_fail(c, "train.init_from.checkpoint", "the path is empty");
    if (o->checkpoint == NULL && c->n_rename > 0)
        return key_fail(c, "train.init_from.rename", "given without train.init_from.checkpoint");
    if (o->checkpoint == NULL && o->strict)
        return key_fail(c, "train.init_from.strict", "given without train.init_from.checkpoint");
    return LK_OK;
}

/* The losses that an objective can have, the usual one first. */
static const struct {
    int loss[4];
} losses_of[] = {
    [LK_OBJECTIVE_CLASSIFY] = {{LK_LOSS_CROSS_ENTROPY, LK_LOSS_HINGE}},
    [LK_OBJECTIVE_REGRESS] = {{LK_LOSS_MSE, LK_LOSS_MAE, LK_LOSS_HUBER}},
    [LK_OBJECTIVE_LANGUAGE_MODEL] = {{LK_LOSS_CROSS_ENTROPY}},
    [LK_OBJECTIVE_SEQUENCE_LABEL] = {{LK_LOSS_CROSS_ENTROPY}},
    [LK_OBJECTIVE_SEQ2SEQ] = {{LK_LOSS_CROSS_ENTROPY}},
    [LK_OBJECTIVE_AUTOENCODE] = {{LK_LOSS_MSE, LK_LOSS_MAE, LK_LOSS_HUBER, LK_LOSS_BCE}},
    [LK_OBJECTIVE_VAE] = {{LK_LOSS_BCE, LK_LOSS_MSE}},
    [LK_OBJECTIVE_GAN] = {{LK_LOSS_AUTO}},
    [LK_OBJECTIVE_SEGMENT] = {{LK_LOSS_CROSS_ENTROPY}},
    [LK_OBJECTIVE_MULTILABEL] = {{LK_LOSS_BCE, LK_LOSS_HINGE}},
};

int lk_config_loss(const lk_config *c)
{
    return c->train.loss != LK_LOSS_AUTO ? c->train.loss : losses_of[c->train.objective].loss[0];
}

static lk_status check_loss(const lk_config *c)
{
    char loss[32], objective[32];

    for (int i = 0; c->train.loss != LK_LOSS_AUTO && i < 4; i++) {
        if (losses_of[c->train.objective].loss[i] == c->train.loss)
            return LK_OK;
    }
    if (c->train.loss == LK_LOSS_AUTO)
        return LK_OK;
    return key_fail(c, "train.loss", "%s is no loss for train.objective %s", lk_choice_text(LK_LOSS_CHOICES, c->train.loss, loss, sizeof loss),
        objective_text(c, objective, sizeof objective));
}

static lk_status check_train(const lk_config *c)
{
    const lk_train_opts *t = &c->train;
    const int64_t over = t->batch % t->microbatches;

    if (over != 0) {
        char below[48] = "";
        if (t->batch > over)
            snprintf(below, sizeof below, "%" PRId64 " or ", t->batch - over);
        return key_fail(c, "train.batch",
            "%" PRId64 " is not a multiple of train.microbatches, %" PRId64 " (%s%" PRId64 " would be)", t->batch,
            t->microbatches, below, t->batch - over + t->microbatches);
    }
    if (t->ignore.n > 1)
        return key_fail(c, "train.ignore", "one class id, got %d", t->ignore.n);
    if (t->label_smoothing == 1)
        return key_fail(c, "train.label_smoothing", "must be below 1");
    if (t->class_weights.n > LK_MAX_CLASS_WEIGHTS)
        return key_fail(c, "train.class_weights", "%d weights; at most %d are possible", t->class_weights.n, LK_MAX_CLASS_WEIGHTS);
    LK_TRY(check_loss(c));
    if (t->rounding == LK_ROUNDING_STOCHASTIC && t->precision != LK_PRECISION_BF16 && t->precision != LK_PRECISION_FP16)
        return key_fail(c, "train.rounding", "stochastic is for weights that are rounded to 16 bits, and train.precision is %s: set that to bf16 or fp16, on a GPU", lk_precision_name((lk_precision)t->precision));
    if (t->nesterov && t->optimizer != LK_OPT_SGD && t->optimizer != LK_OPT_MUON)
        return key_fail(c, "train.nesterov", "has a meaning with optimizers sgd and muon only");
    if (t->nesterov && t->momentum == 0)
        return key_fail(c, "train.nesterov", "needs a momentum above 0");
    if (t->ema == 1)
        return key_fail(c, "train.ema", "must be below 1");
    const bool adam = t->optimizer == LK_OPT_ADAMW || t->optimizer == LK_OPT_ADAM || t->optimizer == LK_OPT_LAMB ||
                      t->optimizer == LK_OPT_MUON;
    if ((adam || t->optimizer == LK_OPT_LION) && t->beta1 == 1)
        return key_fail(c, "train.beta1", "must be below 1");
    if ((adam || t->optimizer == LK_OPT_LION || t->optimizer == LK_OPT_RMSPROP) && t->beta2 == 1)
        return key_fail(c, "train.beta2", "must be below 1");
    if (t->lr.decay == LK_DECAY_STEP && t->lr.every == 0)
        return key_fail(c, "train.lr.every", "must be given with decay step: the steps from one fall to the next");
    const bool evaluates = c->data.valid.n > 0 && t->eval_every.count > 0;
    if (t->lr.decay == LK_DECAY_ONE_CYCLE && t->lr.warmup > 0)
        return key_fail(c, "train.lr.warmup", "has no meaning with decay one_cycle, which rises by itself");
    if (t->lr.decay == LK_DECAY_PLATEAU && !evaluates)
        return key_fail(c, "train.lr.decay", "plateau needs evaluations: data.valid, and train.eval_every other than never");
    if (t->early_stop.patience > 0 && !evaluates)
        return key_fail(c, "train.early_stop.patience", "needs evaluations: data.valid, and train.eval_every other than never");
    if (c->checkpoint.best > 0 && !evaluates)
        return key_fail(c, "checkpoint.best", "needs evaluations: data.valid, and train.eval_every other than never");
    if (t->lr.decay != LK_DECAY_STEP && t->lr.every != 0)
        return key_fail(c, "train.lr.every", "has a meaning with decay step only");
    return LK_OK;
}

/* ---- reading ---- */
static lk_yaml *entry(const lk_yaml *map, const char *key)
{
    for (int i = 0; map->kind == LK_YAML_MAP && i < map->n_child; i++) {
        if (strcmp(map->child[i]->key, key) == 0)
            return map->child[i];
    }
    return NULL;
}

/* Makes {peak: X} of a learning rate that is written as X alone. */
static lk_status expand_lr(lk_yaml *root)
{
    lk_yaml *train = entry(root, "train");
    lk_yaml *lr = train != NULL ? entry(train, "lr") : NULL;
    lk_yaml *peak = NULL, **child = NULL;
    char *key = NULL;
    lk_status st;

    if (lr == NULL || lr->kind != LK_YAML_SCALAR || lk_yaml_is_empty(lr))
        return LK_OK;
    LK_TRY_TO(st, fail, lk_alloc(sizeof *peak, "YAML node", &peak));
    LK_TRY_TO(st, fail, lk_alloc(sizeof *child, "YAML node", &child));
    LK_TRY_TO(st, fail, lk_strdup("peak", &key));
    *peak = (lk_yaml){.kind = LK_YAML_SCALAR,
        .source = lr->source,
        .line = lr->line,
        .column = lr->column,
        .text = lr->text,
        .quoted = lr->quoted,
        .key = key,
        .key_line = lr->line,
        .key_column = lr->column};
    child[0] = peak;
    lr->kind = LK_YAML_MAP;
    lr->text = NULL;
    lr->quoted = false;
    lr->child = child;
    lr->n_child = lr->cap_child = 1;
    return LK_OK;

fail:
    lk_free(peak);
    lk_free(child);
    lk_free(key);
    return st;
}

/* One "key.path=value". A number for train.lr means its peak here too, and leaves warm-up and decay alone. */
static lk_status apply_set(lk_yaml *root, const char *set)
{
    const char *value = strchr(set, '=');
    char path[LK_ERR_MESSAGE];
    double number;

    if (value == NULL || value == set)
        return LK_FAIL(LK_E_USAGE, "--set %.200s: expected KEY=VALUE, for instance --set train.epochs=2", set);
    if ((size_t)(value - set) >= sizeof path)
        return LK_FAIL(LK_E_USAGE, "--set %.80s...: the key is longer than %zu bytes", set, sizeof path - 1);
    snprintf(path, sizeof path, "%.*s", (int)(value - set), set);
    value++;
    if (strcmp(path, "train.lr") == 0 && lk_parse_f64(value, &number))
        snprintf(path, sizeof path, "train.lr.peak");
    LK_TRY(lk_yaml_set(root, path, value));
    return expand_lr(root);
}

/* "configs/digits-cnn.yaml" -> "digits-cnn" */
static lk_status default_name(const char *path, char **out)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash != NULL ? slash + 1 : path;
    const char *dot = strrchr(base, '.');
    char name[NAME_MAX + 1];

    snprintf(name, sizeof name, "%s", base);
    if (dot != NULL && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0) && (size_t)(dot - base) < sizeof name)
        name[dot - base] = 0;
    if (name[strspn(name, ".")] == 0)
        snprintf(name, sizeof name, "run");
    return lk_strdup(name, out);
}

/* The folder with all links resolved; where it is not there, at least absolute. */
static lk_status absolute_folder(const char *folder, char **out)
{
    char real[PATH_MAX], here[PATH_MAX];

    if (realpath(folder, real) != NULL)
        return lk_strdup(real, out);
    if (folder[0] == '/')
        return lk_strdup(folder, out);
    LK_TRY(LK_SYS(getcwd(here, sizeof here) == NULL, "find the current folder", "."));
    return lk_path_join(here, folder, out);
}

/* Makes a path, or a glob (may_glob), absolute. Leading ".." are taken off the folder, which has no links any more; where a
 * glob will be looked for, wildcards in the folder's own name are not meant as such. */
static lk_status make_absolute(const char *folder, bool may_glob, char **path)
{
    const char *name = *path;
    size_t len = strlen(folder);
    lk_buf b = {0};
    char *whole = NULL;

    if (name[0] == '/')
        return LK_OK;
    while (len > 0 && folder[len - 1] == '/')
        len--;
    for (;;) {
        if (strncmp(name, "../", 3) == 0) {
            while (len > 0 && folder[len - 1] != '/')
                len--;
            while (len > 0 && folder[len - 1] == '/')
                len--;
            name += 3;
        } else if (strncmp(name, "./", 2) == 0) {
            name += 2;
        } else {
            break;
        }
        name += strspn(name, "/");
    }
    const bool is_glob = may_glob && (strpbrk(folder, "*?[") != NULL || strpbrk(name, "*?[") != NULL);
    for (size_t i = 0; i < len; i++) {
        if (is_glob && strchr("*?[\\", folder[i]) != NULL)
            lk_buf_add(&b, "\\");
        lk_buf_add_n(&b, folder + i, 1);
    }
    lk_buf_add(&b, "/");
    lk_buf_add(&b, name);
    lk_status st = lk_buf_status(&b);
    if (st == LK_OK)
        st = lk_strdup(lk_buf_text(&b), &whole);
    lk_buf_fini(&b);
    LK_TRY(st);
    lk_free(*path);
    *path = whole;
    return LK_OK;
}

static lk_status fill_numbers(lk_reals *r, int n, double value)
{
    LK_TRY(lk_alloc_array(n, sizeof *r->item, "data.mean and data.std", &r->item));
    for (int i = 0; i < n; i++)
        r->item[i] = value;
    r->n = n;
    return LK_OK;
}

static lk_status parse_rename(lk_config *c)
{
    const lk_yaml *list = c->train.init_from.rename;

    if (list == NULL || lk_yaml_is_empty(list))
        return LK_OK;
    if (list->kind != LK_YAML_LIST)
        return lk_yaml_fail(list, "train.init_from.rename: expected a list of maps, for instance [{from: \"encoder.\", to: \"\"}]");
    LK_TRY(lk_alloc_array(list->n_child, sizeof *c->rename, "train.init_from.rename", &c->rename));
    for (int i = 0; i < list->n_child; i++) {
        if (list->child[i]->kind != LK_YAML_MAP)
            return lk_yaml_fail(list->child[i], "train.init_from.rename: expected a map, for instance {from: \"encoder.\", to: \"\"}");
        LK_TRY(lk_table_parse(&rename_table, list->child[i], &c->rename[i]));
        c->n_rename++;
    }
    return LK_OK;
}

/* What follows from the rest, and absolute paths. */
static lk_status resolve(lk_config *c)
{
    lk_data_opts *d = &c->data;

    if (c->run.name == NULL)
        LK_TRY(default_name(c->path, &c->run.name));
    if (lk_objective_of_input(c->train.objective)) {
        lk_free(d->target);
        d->target = NULL;
        LK_TRY(lk_strdup(d->input, &d->target));
    }
    for (int i = 0; i < d->train.n; i++)
        LK_TRY(make_absolute(c->folder, true, &d->train.item[i]));
    for (int i = 0; i < d->valid.n; i++)
        LK_TRY(make_absolute(c->folder, true, &d->valid.item[i]));
    if (c->train.init_from.checkpoint != NULL)
        LK_TRY(make_absolute(c->folder, false, &c->train.init_from.checkpoint));
    if (d->sequence.length > 0 && d->sequence.stride == 0)
        d->sequence.stride = d->sequence.length;
    if (d->sequence.length > 0 && d->sequence.target_length == 0)
        d->sequence.target_length = d->sequence.length;
    if (d->std.n == 0 && d->mean.n > 0)
        LK_TRY(fill_numbers(&d->std, d->mean.n, 1));
    else if (d->mean.n == 0 && d->std.n > 0)
        LK_TRY(fill_numbers(&d->mean, d->std.n, 0));
    return LK_OK;
}

/* Takes the document over where it succeeds, and leaves it with `sets` applied where it fails. */
static lk_status from_document(
    lk_yaml *document, const char *path, const char *folder, const lk_strings *sets, lk_config **out)
{
    lk_config *c = NULL;
    lk_status st;

    LK_TRY(expand_lr(document));
    for (int i = 0; sets != NULL && i < sets->n; i++)
        LK_TRY(apply_set(document, sets->item[i]));
    LK_TRY(lk_alloc(sizeof *c, "config", &c));
    LK_TRY_TO(st, fail, lk_table_parse(&lk_config_table, document, c));
    c->document = document;
    LK_TRY_TO(st, fail, lk_strdup(path, &c->path));
    LK_TRY_TO(st, fail, absolute_folder(folder, &c->folder));
    LK_TRY_TO(st, fail, lk_augment_parse(c->data.augment, &c->augment));
    LK_TRY_TO(st, fail, parse_rename(c));
    LK_TRY_TO(st, fail, check_init_from(c));
    LK_TRY_TO(st, fail, check_data(c));
    LK_TRY_TO(st, fail, resolve(c));
    LK_TRY_TO(st, fail, check_run(c));
    LK_TRY_TO(st, fail, check_train(c));
    LK_TRY_TO(st, fail, lk_model_rules(c, NULL, 0));
    *out = c;
    return LK_OK;

fail:
    c->document = NULL;
    lk_config_destroy(&c);
    return st;
}

lk_status lk_config_load(const char *path, const lk_strings *sets, lk_config **out)
{
    lk_yaml *document = NULL;
    char *folder = NULL;
    lk_status st;

    LK_TRY_TO(st, out, lk_path_dir(path, &folder));
    LK_TRY_TO(st, out, lk_yaml_parse_file(path, &document));
    LK_TRY_TO(st, out, from_document(document, path, folder, sets, out));
    document = NULL;
out:
    lk_yaml_destroy(&document);
    lk_free(folder);
    return st;
}

lk_status lk_config_parse(
    const char *text, const char *source, const char *folder, const lk_strings *sets, lk_config **out)
{
    lk_yaml *document = NULL;
    lk_status st;

    LK_TRY(lk_yaml_parse_text(text, source, &document));
    LK_TRY_TO(st, out, from_document(document, source, folder, sets, out));
    document = NULL;
out:
    lk_yaml_destroy(&document);
    return st;
}

void lk_config_destroy(lk_config **cp)
{
    lk_config *c = *cp;

    if (c == NULL)
        return;
    lk_yaml_destroy(&c->document);
    lk_free(c->path);
    lk_free(c->folder);
    lk_augment_destroy(&c->augment);
    for (int i = 0; i < c->n_rename; i++)
        lk_table_fini(&rename_table, &c->rename[i]);
    lk_free(c->rename);
    lk_table_fini(&lk_config_table, c);
    lk_free(c);
    *cp = NULL;
}

/* ---- writing ---- */
void lk_config_print(const lk_config *c, lk_buf *out)
{
    lk_table_print(&lk_config_table, c, 0, out);
}

void lk_config_document(lk_buf *out)
{
    lk_buf_add(out,
        "<!-- Made from the tables in src/model; a test holds the two equal. -->\n"
        "# The config file\n\n"
        "A run is described by one YAML file, which is read strictly: a key that is not on this page is an error, with "
        "its place and the\n"
        "nearest key that is. `lockstep train CONFIG --set train.epochs=2` sets any key from the command line; items "
        "of a list are counted\n"
        "from 0 (`--set model.0.conv.filters=64`). Relative paths start at the config's folder. The run directory "
        "keeps the config as it was\n"
        "resolved, with every key; that file runs again from anywhere.\n\n"
        "Intervals are written `200 steps`, `1 epoch` or `never`. `null` unsets a key that may be unset.\n\n"
        "```yaml\n"
        "run: {name: digits-cnn, seed: 1}\n"
        "data:\n"
        "  train: ../data/digits/train-*.h5   # relative to this file\n"
        "  valid: ../data/digits/valid-*.h5\n"
        "  scale: 0.0625                      # stored as 0..16\n"
        "model:\n"
        "  - conv: {filters: 32, kernel: 3, pad: same}\n"
        "  - batch_norm\n"
        "  - relu\n"
        "  - residual:\n"
        "      - conv: {filters: 32, kernel: 3, pad: same}\n"
        "      - relu\n"
        "  - max_pool: 2\n"
        "  - flatten\n"
        "  - linear: 10\n"
        "train:\n"
        "  epochs: 20\n"
        "  batch: 64          # over all ranks\n"
        "  microbatches: 8    # any number of ranks up to 8, same bits\n"
        "  lr: {peak: 3e-3, warmup: 50, decay: cosine}\n"
        "checkpoint: {every: 1 epoch, keep: 3}\n"
        "```\n\n"
        "## Sections\n\n");
    lk_table_document(&lk_config_table, "", out);
    lk_model_rules_document(out);
    lk_augment_document(out);
    lk_model_document(out);
}
