#include "data/import/import.h"

static lk_status run_csv(const void *opts, lk_buf *report)
{
    return lk_import_csv(opts, report);
}

static lk_status run_idx(const void *opts, lk_buf *report)
{
    return lk_import_idx(opts, report);
}

const lk_importer lk_importers[] = {
    {.name = "csv", .help = "Numbers in text, one sample a line.", .table = &lk_import_csv_table, .run = run_csv},
    {.name = "idx", .help = "The files of MNIST and its kin.", .table = &lk_import_idx_table, .run = run_idx},
};
const int lk_n_importers = sizeof lk_importers / sizeof lk_importers[0];
