/* Strict YAML on libyaml: one document, maps, sequences and scalars, every node with its place. Refused, each with
 * file:line:column: syntax errors, duplicate keys, anchors and aliases, tags, several documents, keys that are not scalars. */
#ifndef LK_BASE_YAML_H
#define LK_BASE_YAML_H

#include "base/buf.h"
#include "base/status.h"

typedef enum lk_yaml_kind { LK_YAML_SCALAR, LK_YAML_LIST, LK_YAML_MAP } lk_yaml_kind;

typedef struct lk_yaml {
    lk_yaml_kind kind;
    const char *source; /* file name, or "--set KEY" */
    int line, column;   /* from 1; 0: no line (command line) */
    char *text;         /* scalar: its text */
    bool quoted;        /* scalar: was written in quotes, so never a number */
    char *key;          /* key in the parent map, or NULL */
    int key_line, key_column;
    struct lk_yaml **child; /* list or map entries, in order */
    int n_child;
} lk_yaml;

LK_MUST_USE lk_status lk_yaml_parse_file(const char *path, lk_yaml **out);
LK_MUST_USE lk_status lk_yaml_parse_text(const char *text, const char *source, lk_yaml **out);
/* Sets `path` ("train.lr.peak") in a document to a YAML value, creating maps on the way; `source` becomes "--set PATH". An index
 * ("model.0.conv.filters") reaches into lists. Errors: LK_E_USAGE with the text. */
LK_MUST_USE lk_status lk_yaml_set(lk_yaml *root, const char *path, const char *value);
const lk_yaml *lk_yaml_get(const lk_yaml *map, const char *key); /* child of a map, or NULL */
/* LK_E_CONFIG with "file:line:column: " in front. */
LK_MUST_USE lk_status lk_yaml_fail(const lk_yaml *node, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void lk_yaml_print(const lk_yaml *node, int indent, lk_buf *out); /* as YAML text that parses to the same tree */
void lk_yaml_destroy(lk_yaml **root);

#endif
