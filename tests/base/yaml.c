#include "base/yaml.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static lk_yaml *read_text(const char *text)
{
    lk_yaml *root = NULL;

    EXPECT_OK(lk_yaml_parse_text(text, "t.yaml", &root));
    return root;
}

static void expect_place(const lk_yaml *n, int line, int column, int key_line, int key_column)
{
    cr_assert(n != NULL);
    cr_expect(n->line == line && n->column == column, "value at %d:%d", n->line, n->column);
    cr_expect(n->key_line == key_line && n->key_column == key_column, "key at %d:%d", n->key_line, n->key_column);
    EXPECT_TEXT(n->source, "t.yaml");
}

Test(yaml, tree_and_places)
{
    lk_yaml *root = read_text("# head\n"
                              "run: {name: digits, seed: \"1\"}\n"
                              "data:\n"
                              "  train:\n"
                              "    - a.h5\n"
                              "    - 'b c'\n"
                              "empty:\n");
    cr_assert(root->kind == LK_YAML_MAP && root->n_child == 3 && root->key == NULL);
    const lk_yaml *run = lk_yaml_get(root, "run");
    expect_place(run, 2, 6, 2, 1);
    EXPECT_TEXT(run->key, "run");
    const lk_yaml *name = lk_yaml_get(run, "name"), *seed = lk_yaml_get(run, "seed");
    expect_place(name, 2, 13, 2, 7);
    EXPECT_TEXT(name->text, "digits");
    cr_expect(!name->quoted);
    expect_place(seed, 2, 27, 2, 21);
    EXPECT_TEXT(seed->text, "1");
    cr_expect(seed->quoted);
    const lk_yaml *train = lk_yaml_get(lk_yaml_get(root, "data"), "train");
    cr_assert(train->kind == LK_YAML_LIST && train->n_child == 2);
    expect_place(train, 5, 5, 4, 3);
    expect_place(train->child[0], 5, 7, 0, 0);
    cr_expect(train->child[0]->key == NULL && !train->child[0]->quoted);
    EXPECT_TEXT(train->child[1]->text, "b c");
    cr_expect(train->child[1]->quoted);
    const lk_yaml *empty = lk_yaml_get(root, "empty");
    cr_expect(empty->kind == LK_YAML_SCALAR && empty->text[0] == 0 && !empty->quoted);
    cr_expect(lk_yaml_is_empty(empty) && !lk_yaml_is_empty(name) && lk_yaml_is_empty(NULL));
    cr_expect(lk_yaml_get(root, "absent") == NULL && lk_yaml_get(name, "x") == NULL && lk_yaml_get(NULL, "x") == NULL);
    lk_yaml_destroy(&root);
    cr_expect(root == NULL);
    lk_yaml_destroy(&root);
}

Test(yaml, empty_documents)
{
    static const char *const texts[] = {"", "\n\n", "# only a comment\n", "---\n", "---\n...\n", "~", "null", "{}"};

    for (int i = 0; i < 8; i++) {
        lk_yaml *root = read_text(texts[i]);
        cr_expect(lk_yaml_is_empty(root), "\"%s\"", texts[i]);
        lk_yaml_destroy(&root);
    }
    static const char *const others[] = {"''", "\"\"", "\"null\"", "[]", "0"};
    for (int i = 0; i < 5; i++) {
        lk_yaml *root = read_text(others[i]);
        cr_expect(!lk_yaml_is_empty(root), "\"%s\"", others[i]);
        lk_yaml_destroy(&root);
    }
}

Test(yaml, refusals)
{
    static const struct {
        const char *text, *want;
    } row[] = {
        {"a: 1\nb: 2\na: 3\n", "t.yaml:3:1: duplicate key \"a\" (first in line 1)"},
        {"a: {x: 1, x: 2}\n", "t.yaml:1:11: duplicate key \"x\" (first in line 1)"},
        {"a: &b 1\n", "t.yaml:1:4: anchors are not allowed (&b); in front of a text, put it in quotes"},
        {"a: &b [1]\n", "t.yaml:1:4: anchors are not allowed (&b); in front of a text, put it in quotes"},
        {"a: &b {x: 1}\n", "t.yaml:1:4: anchors are not allowed (&b); in front of a text, put it in quotes"},
        {"&b a: 1\n", "t.yaml:1:1: anchors are not allowed (&b); in front of a text, put it in quotes"},
        {"a: *b\n", "t.yaml:1:4: aliases are not allowed (*b); for a text that begins with *, put it in quotes"},
        {"a: *.h5\n", "t.yaml:1:4: a text that begins with * must stand in quotes"},
        {"x: 1\n*b : 2\n", "t.yaml:2:1: aliases are not allowed (*b)"},
        {"a: !!int 1\n", "t.yaml:1:4: tags are not allowed (tag:yaml.org,2002:int)"},
        {"a: !mine [1]\n", "t.yaml:1:4: tags are not allowed (!mine)"},
        {"a: !mine {b: 1}\n", "t.yaml:1:4: tags are not allowed (!mine)"},
        {"!k a: 1\n", "t.yaml:1:1: tags are not allowed (!k)"},
        {"a: 1\n---\nb: 2\n", "t.yaml:2:1: a second document begins here; one is allowed"},
        {"? [a, b]\n: 1\n", "t.yaml:1:3: a key must be plain text, not a list or a map"},
        {"{a: 1}: 2\n", "t.yaml:1:1: a key must be plain text, not a list or a map"},
        {"a: \"x\\0y\"\n", "t.yaml:1:4: text with a zero byte"},
        {"a: [1, 2\nb: 3\n", "t.yaml:2:2: did not find expected ',' or ']' (while parsing a flow sequence that begins in line 1)"},
        {"a:\n\tb: 1\n", "t.yaml:2:1: found character that cannot start any token (while scanning for the next token that begins in line 2)"},
        {"a: b: c\n", "t.yaml:1:5: mapping values are not allowed in this context"},
        {"ok: 1\nbad: \xff\n", "t.yaml:2:6: invalid leading UTF-8 octet"},
        {"ok: 1\nbad: \x01\n", "t.yaml:2:6: control characters are not allowed"},
    };

    for (int i = 0; i < (int)(sizeof row / sizeof row[0]); i++) {
        lk_yaml *root = NULL;
        EXPECT_FAIL(lk_yaml_parse_text(row[i].text, "t.yaml", &root), LK_E_CONFIG, row[i].want);
        cr_expect(root == NULL);
    }
}

Test(yaml, depth_and_key_length_have_limits)
{
    char text[1000];
    lk_yaml *root = NULL;

    memset(text, '[', 63);
    memset(text + 63, ']', 63);
    text[126] = 0;
    root = read_text(text);
    lk_yaml_destroy(&root);
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    text[130] = 0;
    EXPECT_FAIL(lk_yaml_parse_text(text, "t.yaml", &root), LK_E_CONFIG, "t.yaml:1:65: nested deeper than 64 levels");

    memset(text, 'k', 201);
    strcpy(text + 201, ": 1");
    EXPECT_FAIL(lk_yaml_parse_text(text, "t.yaml", &root), LK_E_CONFIG, "t.yaml:1:1: the key is longer than 200 bytes");
    root = read_text(text + 1);
    lk_yaml_destroy(&root);
}

Test(yaml, files)
{
    char path[] = "/tmp/lockstep-test-yaml.XXXXXX";
    lk_yaml *root = NULL;
    char want[200];

    close(mkstemp(path));
    EXPECT_OK(lk_file_write_atomic(path, "a: 1\n", 5));
    EXPECT_OK(lk_yaml_parse_file(path, &root));
    EXPECT_TEXT(lk_yaml_get(root, "a")->source, path);
    lk_yaml_destroy(&root);
    EXPECT_OK(lk_file_write_atomic(path, "a: 1\nb: \0\n", 10));
    snprintf(want, sizeof want, "%s:2:4: control characters are not allowed", path);
    EXPECT_FAIL(lk_yaml_parse_file(path, &root), LK_E_CONFIG, want);
    unlink(path);
    snprintf(want, sizeof want, "%s: open: No such file or directory", path);
    EXPECT_FAIL(lk_yaml_parse_file(path, &root), LK_E_NOT_FOUND, want);
    cr_expect(root == NULL);
}

static void expect_print(const lk_yaml *root, const char *want)
{
    lk_buf b = {0};

    lk_yaml_print(root, 0, &b);
    EXPECT_OK(lk_buf_status(&b));
    EXPECT_TEXT(lk_buf_text(&b), want);
    lk_buf_fini(&b);
}

static void expect_set(const char *text, const char *path, const char *value, const char *want)
{
    lk_yaml *root = read_text(text);

    EXPECT_OK(lk_yaml_set(root, path, value));
    expect_print(root, want);
    lk_yaml_destroy(&root);
}

Test(yaml, set)
{
    expect_set("a: 1\n", "a", "2", "a: 2\n");
    expect_set("a: 1\n", "b", "x y", "a: 1\nb: x y\n");
    expect_set("a: {b: 1, c: 2}\n", "a.b", "[1, 2]", "a:\n  b: [1, 2]\n  c: 2\n");
    expect_set("a: 1\n", "b.c.d", "{e: 5}", "a: 1\nb:\n  c:\n    d:\n      e: 5\n");
    expect_set("", "b.c", "1", "b:\n  c: 1\n");
    expect_set("a:\n", "a.b", "1", "a:\n  b: 1\n");
    expect_set("a: {b: {c: 1}}\n", "a", "7", "a: 7\n");
    expect_set("a: 1\n", "a", "", "a:\n");
    expect_set("model: [{conv: {filters: 3}}, relu]\n", "model.0.conv.filters", "8", "model:\n  - conv: {filters: 8}\n  - relu\n");
    expect_set("model: [{conv: {filters: 3}}, relu]\n", "model.1", "gelu", "model:\n  - conv: {filters: 3}\n  - gelu\n");
    expect_set("model: [{conv: }]\n", "model.0.conv.filters", "8", "model:\n  - conv: {filters: 8}\n");
}

Test(yaml, set_values_know_where_they_come_from)
{
    lk_yaml *root = read_text("train: {lr: 1}\n");

    EXPECT_OK(lk_yaml_set(root, "train.lr", "[1, 2]"));
    EXPECT_OK(lk_yaml_set(root, "train.a.b", "3"));
    EXPECT_OK(lk_yaml_set(root, "train.a.c", "4"));
    EXPECT_OK(lk_yaml_set(root, "train.a.b", "5"));
    const lk_yaml *train = lk_yaml_get(root, "train");
    const lk_yaml *lr = lk_yaml_get(train, "lr"), *a = lk_yaml_get(train, "a");
    EXPECT_TEXT(train->source, "t.yaml");
    EXPECT_TEXT(lr->child[1]->source, "--set train.lr");
    cr_expect(lr->line == 0 && lr->column == 0 && lr->child[1]->line == 0);
    EXPECT_TEXT(lr->key, "lr");
    EXPECT_TEXT(a->source, "--set train.a.b");
    EXPECT_TEXT(lk_yaml_get(a, "b")->source, "--set train.a.b");
    EXPECT_TEXT(lk_yaml_get(a, "c")->source, "--set train.a.c");
    EXPECT_FAIL(lk_yaml_fail(lr, "is %s", "wrong"), LK_E_CONFIG, "--set train.lr: is wrong");
    EXPECT_FAIL(lk_yaml_fail(train, "is %s", "wrong"), LK_E_CONFIG, "t.yaml:1:8: is wrong");
    EXPECT_FAIL(lk_yaml_fail(NULL, "is %s", "wrong"), LK_E_CONFIG, "is wrong");
    lk_yaml_destroy(&root);
}

Test(yaml, set_refusals_change_nothing)
{
    static const struct {
        const char *path, *value, *want;
    } row[] = {
        {"a.b.c", "1", "--set a.b.c: there is a single value, \"1\", where \"c\" should be looked up"},
        {"m.2", "1", "--set m.2: \"2\" is no item of a list of 2 (from 0)"},
        {"m.-1", "1", "--set m.-1: \"-1\" is no item of a list of 2 (from 0)"},
        {"m.x.y", "1", "--set m.x.y: \"x\" is no item of a list of 2 (from 0)"},
        {"", "1", "--set : a part of the path is empty"},
        {"a..b", "1", "--set a..b: a part of the path is empty"},
        {"a.", "1", "--set a.: a part of the path is empty"},
        {"a.b", "[1", "--set a.b:2:1: did not find expected ',' or ']' (while parsing a flow sequence that begins in line 1)"},
        {"a.b", "*.h5", "--set a.b:1:1: a text that begins with * must stand in quotes"},
        {"a.b", "{x: 1, x: 2}", "--set a.b:1:8: duplicate key \"x\" (first in line 1)"},
    };
    lk_yaml *root = read_text("a: {b: 1}\nm: [1, 2]\n");

    for (int i = 0; i < (int)(sizeof row / sizeof row[0]); i++) {
        EXPECT_FAIL(lk_yaml_set(root, row[i].path, row[i].value), LK_E_USAGE, row[i].want);
        expect_print(root, "a:\n  b: 1\nm: [1, 2]\n");
    }
    char deep[300] = "x";
    for (int i = 0; i < 62; i++)
        strcat(deep, ".x");
    EXPECT_OK(lk_yaml_set(root, deep, "1"));
    deep[0] = 'y';
    EXPECT_FAIL_WITH(lk_yaml_set(root, deep, "[1]"), LK_E_USAGE, ": nested deeper than 64 levels");
    strcat(deep, ".x");
    EXPECT_FAIL_WITH(lk_yaml_set(root, deep, "1"), LK_E_USAGE, ": the path is longer than 63 parts");
    lk_yaml_destroy(&root);
}

static bool same_tree(const lk_yaml *a, const lk_yaml *b)
{
    if (a->kind != b->kind || a->n_child != b->n_child || a->quoted != b->quoted)
        return false;
    if ((a->text == NULL) != (b->text == NULL) || (a->text != NULL && strcmp(a->text, b->text) != 0))
        return false;
    if ((a->key == NULL) != (b->key == NULL) || (a->key != NULL && strcmp(a->key, b->key) != 0))
        return false;
    for (int i = 0; i < a->n_child; i++) {
        if (!same_tree(a->child[i], b->child[i]))
            return false;
    }
    return true;
}

Test(yaml, print_parses_to_the_same_tree)
{
    static const char *const texts[] = {
        "",
        "plain words\n",
        "'5'\n",
        "a: ''\nb:\nc: ~\nd: 'null'\n",
        "[a, [b, [c, {d: e}]], {f: [g, '']}]\n",
        "- - 1\n  - 2\n- - - 3\n-\n- x: 1\n  y:\n    - z\n-\n  - a: 1\n",
        "\"key: with\": \"tab\\t, line\\n, quote\\\", back\\\\slash, bell\\a, \\x85\\u2028\\u2029\\ufeff\\uffff\\U0001F600\"\n",
        "text: |\n  two\n  lines\n\nfolded: >\n  some\n  words\n",
        "multi: one\n  two\n\n  three\n",
        "'': 1\n'- x': '- y'\n'#': '#'\n'a:b': a:b\n",
        "k: [-1, - , 3]\n",
        "umlaut: \xc3\xa4\nquoted: \"\xc3\xa4\"\n",
        "dash: '-'\ndots: '...'\nmarks: '---'\nspace: ' x '\npercent: '%'\nat: '@x'\nbang: '!x'\nstar: '*x'\n",
        "list: [train-*.h5, data/x_1.h5, a b, ~, +1, .5]\n",
        "empty: {}\nnone: []\nnested: [[], {}]\n",
    };

    for (int i = 0; i < (int)(sizeof texts / sizeof texts[0]); i++) {
        lk_yaml *first = NULL, *second = NULL;
        lk_buf b = {0};
        if (lk_yaml_parse_text(texts[i], "t", &first) != LK_OK) {
            EXPECT_TEXT(texts[i], "k: [-1, - , 3]\n"); /* a dash alone is no text in a flow list */
            continue;
        }
        lk_yaml_print(first, 0, &b);
        EXPECT_OK(lk_yaml_parse_text(lk_buf_text(&b), "again", &second));
        cr_expect(same_tree(first, second), "from\n%s\nprinted\n%s", texts[i], lk_buf_text(&b));
        lk_yaml_destroy(&first);
        lk_yaml_destroy(&second);
        lk_buf_fini(&b);
    }
}

Test(yaml, print_reads_well)
{
    lk_yaml *root = read_text("model: [{conv: {filters: 32, kernel: [3, 3]}}, {conv: {filters: 8}}, relu, {residual: [relu, {conv: {filters: 1}}]}]\nlr: {peak: 3e-3}\n");

    expect_print(root, "model:\n"
                       "  - conv: {filters: 32, kernel: [3, 3]}\n"
                       "  - conv: {filters: 8}\n"
                       "  - relu\n"
                       "  - residual:\n"
                       "      - relu\n"
                       "      - conv: {filters: 1}\n"
                       "lr:\n"
                       "  peak: 3e-3\n");
    lk_yaml_destroy(&root);
}

Test(yaml, survives_every_failed_allocation)
{
    static const char text[] = "a: {b: [1, 2, {c: d}]}\ne: [x, y, z, u, v, w]\nf: 1\n";

    for (int64_t at = 1;; at++) {
        lk_yaml *root = NULL;
        const int64_t held = lk_mem_bytes();
        lk_mem_fail_at(at);
        lk_status st = lk_yaml_parse_text(text, "t", &root);
        st = st == LK_OK ? lk_yaml_set(root, "a.x.y", "[1, {z: 2}]") : st;
        lk_mem_fail_at(0);
        lk_yaml_destroy(&root);
        cr_expect(lk_mem_bytes() == held, "allocation %d leaks", (int)at);
        if (st == LK_OK)
            break;
        cr_assert(st == LK_E_NOMEM && at < 1000);
    }
}
