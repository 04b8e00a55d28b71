/* One table for a set of named options: it parses, validates, prints and documents them. Config sections, layer options and the
 * options of subcommands are all such tables.
 *
 * A table describes a C struct: one row a member. Members by type: BOOL bool; INT int64_t; REAL double; STRING char * (owned by the
 * struct, NULL when unset); ENUM int (index into `choices`); STRINGS lk_strings; REALS lk_reals; INTS lk_ints; EVERY lk_every;
 * TABLE the sub-struct itself; NODE const lk_yaml * (borrowed from the document, left to the caller). */
#ifndef LK_BASE_TABLE_H
#define LK_BASE_TABLE_H

#include "base/yaml.h"
#include <stddef.h>

typedef enum lk_field_type {
    LK_T_BOOL,
    LK_T_INT,
    LK_T_REAL,
    LK_T_STRING,
    LK_T_ENUM,
    LK_T_STRINGS, /* a scalar or a list of scalars */
    LK_T_REALS,   /* a number or a list of numbers */
    LK_T_INTS,    /* a whole number or a list of them */
    LK_T_EVERY,   /* "200 steps", "1 epoch", or "never" */
    LK_T_TABLE,
    LK_T_NODE
} lk_field_type;

typedef struct lk_strings {
    char **item;
    int n;
} lk_strings;
typedef struct lk_reals {
    double *item;
    int n;
} lk_reals;
typedef struct lk_ints {
    int64_t *item;
    int n;
} lk_ints;
typedef struct lk_every {
    int64_t count; /* 0: never */
    bool epochs;   /* else steps */
} lk_every;

typedef struct lk_table lk_table;

typedef struct lk_field {
    const char *name; /* as in YAML, with _; the command line shows - and takes both */
    lk_field_type type;
    size_t offset;
    const char *unit;    /* "steps", "bytes", ... or NULL */
    const char *def;     /* default as text (lists: as YAML); NULL: must be given; "" : unset (NULL, empty, 0), and "key: null" unsets it */
    double min, max;     /* INT, REAL and the items of INTS, REALS, EVERY's count; min == max: no limit; INFINITY: none on that side */
    const char *choices; /* ENUM: "sgd|adamw" */
    const lk_table *sub; /* TABLE */
    const char *help;    /* one sentence */
    char short_name;     /* command line only: 'n' for -n; 0: none */
    bool positional;     /* command line only: taken in order from what is not an option; STRINGS takes the rest, but a word for each row behind it */
    bool exclusive_min;  /* min itself is refused (REAL) */
} lk_field;

struct lk_table {
    const char *name; /* "train", "conv", "lockstep train" */
    const char *help; /* one sentence */
    size_t size;
    const lk_field *field;
    int n_fields;
};

/* A row: LK_FIELD(lk_train_opts, epochs, LK_T_INT, .def = "10", .min = 1, .max = 1e9, .unit = "epochs", .help = "...") */
#define LK_FIELD(type_, member_, kind_, ...) \
    { \
        .name = #member_, .type = (kind_), .offset = offsetof(type_, member_), __VA_ARGS__ \
    }
#define LK_TABLE(type_, name_, help_, rows_) \
    { \
        .name = (name_), .help = (help_), .size = sizeof(type_), .field = (rows_), .n_fields = (int)(sizeof(rows_) / sizeof((rows_)[0])) \
    }

/* Fills `obj` with defaults, then with a YAML map. Strict: unknown keys fail with the nearest known key, wrong types, values out of
 * range and missing required keys fail, each LK_E_CONFIG with file:line:column. An empty scalar ("train:") is an empty map. On
 * failure `obj` is freed and zeroed. Defaults that a row itself refuses are a broken invariant.
 *   map NULL   defaults only: nothing can be missing, required members stay zero (lk_table_missing tells whether there are any)
 *   TABLE      an absent section has its defaults; with def NULL it may be absent only if it has no required rows itself
 *   messages   call members "train.lr.peak": the path from a document's root, or from the table's name where `map` has a key */
LK_MUST_USE lk_status lk_table_parse(const lk_table *t, const lk_yaml *map, void *obj);
/* The first row that must be given, or NULL. */
const char *lk_table_missing(const lk_table *t);
/* Parses a command line argv[0..argc) (no program name) into `obj`: --name VALUE, --name=VALUE, --flag, --no-flag, -n VALUE, positionals,
 * "--" ends options. STRINGS options may be repeated, one text each (no commas); INTS and REALS also take "1,2,3"; otherwise the last
 * one counts. TABLE and NODE rows are not seen. stop_at_positional: the first word that is not an option ends parsing; *used (may be
 * NULL) tells how many words were taken. --help and -h set *help and return LK_OK at once, whatever is missing. After LK_OK the caller
 * calls lk_table_fini. Errors: LK_E_USAGE, one line; `obj` is freed and zeroed. */
LK_MUST_USE lk_status lk_table_parse_args(const lk_table *t, int argc, char **argv, bool stop_at_positional, void *obj, int *used, bool *help);
/* Frees what the struct's members own and zeroes it. */
void lk_table_fini(const lk_table *t, void *obj);
/* The struct as YAML, resolved: every key with its value; parses to the same values. Unset: null. */
void lk_table_print(const lk_table *t, const void *obj, int indent, lk_buf *out);
/* As a Markdown table of rows (name, type, unit, default, range, help), sub-tables after with "name.sub" headings. */
void lk_table_document(const lk_table *t, const char *prefix, lk_buf *out);
/* As the text of --help: usage line, help, positionals, options. */
void lk_table_usage(const lk_table *t, lk_buf *out);
/* The words of an ENUM row: "sgd|adamw" and 1 -> "adamw". */
const char *lk_choice_text(const char *choices, int index, char *out, size_t cap);

#endif
