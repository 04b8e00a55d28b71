/* Strict YAML on libyaml: one document, maps, sequences and scalars, every node with its place. Refused, each with
 * file:line:column: syntax errors, duplicate keys, anchors and aliases, tags, several documents, keys that are not scalars, text with
 * a zero byte, and what is nested deeper than LK_YAML_DEPTH. */
#ifndef LK_BASE_YAML_H
#define LK_BASE_YAML_H

#include "base/buf.h"
#include "base/status.h"

#define LK_YAML_DEPTH 64 /* levels: what walks a tree may recurse */

typedef enum lk_yaml_kind { LK_YAML_SCALAR, LK_YAML_LIST, LK_YAML_MAP } lk_yaml_kind;

typedef struct lk_yaml {
    lk_yaml_kind kind;
    const char *source; /* file name, or "--set PATH"; owned by this node or one above it */
    int line, column;   /* from 1; 0: no line (command line) */
    char *text;         /* scalar: its text */
    bool quoted;        /* scalar: was written in quotes, or cannot be written without, so never a number */
    char *key;          /* key in the parent map, or NULL */
    int key_line, key_column;
    struct lk_yaml **child; /* list or map entries, in order */
    int n_child, cap_child;
    char *own_source; /* the node that made `source` keeps it */
} lk_yaml;

/* A document from a file (at most 16 MiB) or from text; `source` names it in messages. An empty document is an empty scalar. Errors:
 * LK_E_CONFIG with place and cause, or what reading the file gives. */
LK_MUST_USE lk_status lk_yaml_parse_file(const char *path, lk_yaml **out);
LK_MUST_USE lk_status lk_yaml_parse_text(const char *text, const char *source, lk_yaml **out);
/* Sets `path` ("train.lr.peak") in a document to a YAML value, creating maps on the way; `source` becomes "--set PATH", line and
 * column 0. An index ("model.0.conv.filters") reaches into lists. An empty value is an empty scalar. Errors: LK_E_USAGE with the
 * text, the document unchanged. */
LK_MUST_USE lk_status lk_yaml_set(lk_yaml *root, const char *path, const char *value);
const lk_yaml *lk_yaml_get(const lk_yaml *map, const char *key); /* child of a map, or NULL */
/* An empty map, or an unquoted "", "~" or "null": nothing was given. NULL counts as well. */
bool lk_yaml_is_empty(const lk_yaml *node);
/* LK_E_CONFIG with "file:line:column: " in front; "--set PATH: " where there is no line. */
LK_MUST_USE lk_status lk_yaml_fail(const lk_yaml *node, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void lk_yaml_print(const lk_yaml *node, int indent, lk_buf *out); /* as YAML text that parses to the same tree */
/* One scalar as YAML text: quoted where asked for or where it cannot stand without. */
void lk_yaml_print_scalar(const char *text, bool quoted, lk_buf *out);
void lk_yaml_destroy(lk_yaml **root);

#endif
