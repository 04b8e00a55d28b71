/* Inside src/data: blocks of samples as they are stored, kept in a fixed number of places. Several readers share it;
 * what they hold stays, what is needed no more makes room first. */
#ifndef LK_DATA_CACHE_H
#define LK_DATA_CACHE_H

#include "data/dataset.h"

typedef struct lki_cache lki_cache;

enum { LKI_CACHE_FIELDS = 8 };

/* Keeps `places` blocks of `block` samples of so many fields, each given once. A reader holds at most places /
 * readers blocks at a time, so that there always is a place to be had; with a place for each block there is no limit.
 */
LK_MUST_USE lk_status lki_cache_create(
    lk_dataset *data, const int *field, int n_fields, int64_t block, int64_t places, int readers, lki_cache **out);
void lki_cache_destroy(lki_cache **c);
int64_t lki_cache_bytes(const lki_cache *c);
/* The same before there is one. */
LK_MUST_USE lk_status lki_cache_predict(
    lk_dataset *data, const int *field, int n_fields, int64_t block, int64_t places, int64_t *bytes);
/* A reader's share of the places. */
int64_t lki_cache_share(const lki_cache *c);

/* For a run of samples: looks up or assigns places for their blocks until `n` samples are done or the reader's share is
 * used up; *n_held blocks go to held[share], the place of each sample to place[]. mark[places] and stamp are the
 * reader's own, stamp a new number each time. `until` is the last step, counted through epochs, in which a sample's
 * block is expected to be of use. Returns the number of samples done, at least 1. */
int64_t lki_cache_hold(lki_cache *c, const int64_t *sample, const int64_t *until, int64_t n, int64_t *mark,
    int64_t stamp, int *place, int *held, int64_t *n_held);
/* Reads what is missing of the held blocks, or waits for readers who are at it. Errors: those of lk_dataset_read;
 * LK_E_STOPPED. The blocks stay held. */
LK_MUST_USE lk_status lki_cache_load(lki_cache *c, const int *held, int64_t n_held);
void lki_cache_release(lki_cache *c, const int *held, int64_t n_held);
/* A sample in a held place; `i` counts the fields as given. */
const void *lki_cache_row(const lki_cache *c, int place, int i, int64_t sample);

/* Reads a block ahead of its use if it is missing and a place is free, or has a block of no use from step `now` on. A
 * failure is left to the one who needs it. */
void lki_cache_read_ahead(lki_cache *c, int64_t block, int64_t until, int64_t now);
/* Nothing is read any more. */
void lki_cache_stop(lki_cache *c);
/* All blocks of the dataset are in: nothing is left to read ahead. */
bool lki_cache_complete(lki_cache *c);

#endif
