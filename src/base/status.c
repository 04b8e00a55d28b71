#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static _Thread_local lk_err last;
static lk_bug_hook bug_hook;

const char *lk_status_name(lk_status st)
{
    switch (st) {
#define X(name, number, damage, text) \
    case LK_E_##name: \
        return #name;
        LK_STATUS_MAP(X)
#undef X
    }
    return "UNKNOWN";
}

const char *lk_status_text(lk_status st)
{
    switch (st) {
#define X(name, number, damage, text) \
    case LK_E_##name: \
        return text;
        LK_STATUS_MAP(X)
#undef X
    }
    return "unknown status";
}

lk_damage lk_status_damage(lk_status st)
{
    switch (st) {
#define X(name, number, damage, text) \
    case LK_E_##name: \
        return LK_DAMAGE_##damage;
        LK_STATUS_MAP(X)
#undef X
    }
    return LK_DAMAGE_PROCESS;
}

lk_status lk_err_set(lk_status code, const char *file, int line, const char *func, const char *fmt, ...)
{
    /* Formatted aside: an argument may point into the record itself. */
    char text[LK_ERR_MESSAGE];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    memcpy(last.message, text, sizeof text);
    last.code = code;
    last.n_frames = 0;
    return lk_err_frame(code, file, line, func);
}

lk_status lk_err_frame(lk_status st, const char *file, int line, const char *func)
{
    if (last.n_frames < LK_ERR_FRAMES) {
        last.frame[last.n_frames].file = file;
        last.frame[last.n_frames].line = line;
        last.frame[last.n_frames].func = func;
        last.n_frames++;
    }
    return st;
}

const lk_err *lk_err_last(void)
{
    return &last;
}

void lk_err_take(lk_err *out)
{
    *out = last;
}

lk_status lk_err_give(const lk_err *e)
{
    if (e != &last)
        last = *e;
    return last.code;
}

lk_status lk_err_prefix(lk_status st, const char *fmt, ...)
{
    char text[LK_ERR_MESSAGE];
    va_list ap;

    va_start(ap, fmt);
    int used = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (used >= 0 && used < (int)sizeof text)
        snprintf(text + used, sizeof text - (size_t)used, "%s", last.message);
    memcpy(last.message, text, sizeof text);
    return st;
}

lk_status lk_sys_status(bool failed, const char *what, const char *path, const char *file, int line, const char *func)
{
    if (!failed)
        return LK_OK;
    const int e = errno;
    const lk_status code = e == ENOENT ? LK_E_NOT_FOUND : e == ENOMEM ? LK_E_NOMEM : LK_E_IO;
    return lk_err_set(code, file, line, func, "%s: %s: %s", path != NULL ? path : "?", what, strerror(e));
}

void lk_bug_set_hook(lk_bug_hook hook)
{
    bug_hook = hook;
}

void lk_bug(const char *file, int line, const char *fmt, ...)
{
    char text[LK_ERR_MESSAGE];
    va_list ap;

    int used = snprintf(text, sizeof text, "%s:%d: broken invariant: ", file, line);
    va_start(ap, fmt);
    vsnprintf(text + used, sizeof text - (size_t)used, fmt, ap);
    va_end(ap);
    if (bug_hook != NULL)
        bug_hook(text);
    dprintf(STDERR_FILENO, "lockstep: %s\n", text);
    __builtin_trap();
}
