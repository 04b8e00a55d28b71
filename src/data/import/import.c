#include "data/import/import.h"

static lk_status run_csv(const void *opts, lk_buf *report)
{
    return lk_import_csv(opts, report);
}

static lk_status run_idx(const void *opts, lk_buf *report)
{
    return lk_import_idx(opts, report);
}

static lk_status run_cifar(const void *opts, lk_buf *report)
{
    return lk_import_cifar(opts, report);
}

static lk_status run_text(const void *opts, lk_buf *report)
{
    return lk_import_text(opts, report);
}

static lk_status run_labelled(const void *opts, lk_buf *report)
{
    return lk_import_labelled(opts, report);
}

static lk_status run_wav(const void *opts, lk_buf *report)
{
    return lk_import_wav(opts, report);
}

static lk_status run_images(const void *opts, lk_buf *report)
{
    return lk_import_images(opts, report);
}

static lk_status run_masks(const void *opts, lk_buf *report)
{
    return lk_import_masks(opts, report);
}

const lk_importer lk_importers[] = {
    {.name = "csv", .help = "Tables in text, one sample a line.", .table = &lk_import_csv_table, .run = run_csv},
    {.name = "idx", .help = "The files of MNIST and its kin.", .table = &lk_import_idx_table, .run = run_idx},
    {.name = "cifar",
        .help = "The binary files of CIFAR-10 and CIFAR-100.",
        .table = &lk_import_cifar_table,
        .run = run_cifar},
    {.name = "text", .help = "Running text as a series of ids.", .table = &lk_import_text_table, .run = run_text},
    {.name = "labelled-text",
        .help = "Lines of a label and a text.",
        .table = &lk_import_labelled_table,
        .run = run_labelled},
    {.name = "wav", .help = "Recordings as log-mel spectrograms.", .table = &lk_import_wav_table, .run = run_wav},
    {.name = "images",
        .help = "Folders of JPEG and PNG pictures.",
        .table = &lk_import_images_table,
        .run = run_images},
    {.name = "masks",
        .help = "Pictures with the class of each pixel.",
        .table = &lk_import_masks_table,
        .run = run_masks},
};
const int lk_n_importers = sizeof lk_importers / sizeof lk_importers[0];
