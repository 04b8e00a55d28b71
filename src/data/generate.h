/* Data sets that are made, not found: tasks whose answers are known. */
#ifndef LK_DATA_GENERATE_H
#define LK_DATA_GENERATE_H

#include "base/table.h"

typedef struct lk_generate_dates_opts {
    char *dest;
    int64_t samples, seed;
    double split;
    char *rest;
    char *shard_rows;
} lk_generate_dates_opts;
extern const lk_table lk_generate_dates_table;

enum {
    LK_DATES_SOURCE = 32, /* characters of a source at most */
    LK_DATES_TARGET = 12, /* begin, 1987-05-03, end */
    LK_DATES_BEGIN = 1,
    LK_DATES_END = 2,
    LK_DATES_FIRST = 3 /* id of the target's first character */
};

/* Date number `sample` of a seed as people write it ("3rd of May 1987", "Tue, 05 May 1987", "5/3/87") into `source`
 * [LK_DATES_SOURCE + 1], and as ISO 8601 into `iso` [11]. From 1950 to 2049, every day alike likely, so that two digits
 * tell a year; with slashes the month comes first, with dots the day. The same on every machine. */
void lk_generate_date(int64_t seed, int64_t sample, char *source, char *iso);

/* Writes samples 0 to n-1 of a seed as HDF5: `source` uint8 [n, LK_DATES_SOURCE] of ids from 1, padded with 0
 * (attribute `vocabulary`: the characters in order), `source_length` int32 [n]; `target` uint8 [n, LK_DATES_TARGET]:
 * begin, the ids of the ISO date (its `vocabulary` from LK_DATES_FIRST on), end; `target_length` int32 [n]. All files
 * or none; adds a line a file to `report`. Local. Errors: as importers (data/import/import.h). */
LK_MUST_USE lk_status lk_generate_dates(const lk_generate_dates_opts *o, lk_buf *report);

#endif
