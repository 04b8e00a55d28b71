/* Status codes and the error record.
 *
 * Who first knows what went wrong says it once, with values (LK_FAIL); who passes it on adds only a frame
 * (LK_TRY). The record is per thread; a worker hands its record over with its result (lk_err_take / lk_err_give).
 * This file prints nothing and ends nothing: the command line does that. */
#ifndef LK_BASE_STATUS_H
#define LK_BASE_STATUS_H

#include <stdbool.h>
#include <stdint.h>

/* name, number, damage, text. Numbers grow with damage, so the maximum over ranks is the worst:
 * CALL nothing changed < OBJECT the object is unusable < COMM the ranks cannot agree any more < PROCESS. */
#define LK_STATUS_MAP(X) \
    X(OK, 0, NONE, "success") \
    X(ARG, 1, CALL, "invalid argument") \
    X(USAGE, 2, CALL, "wrong command line") \
    X(CONFIG, 3, CALL, "wrong configuration") \
    X(SHAPE, 4, CALL, "shapes do not fit") \
    X(RANGE, 5, CALL, "value out of range") \
    X(NOT_FOUND, 6, CALL, "not found") \
    X(FORMAT, 7, CALL, "wrong file format") \
    X(UNSUPPORTED, 8, CALL, "not supported") \
    X(STOPPED, 9, CALL, "stopped on request") \
    X(NOMEM, 20, OBJECT, "out of memory") \
    X(IO, 21, OBJECT, "input or output failed") \
    X(DATA, 22, OBJECT, "bad data") \
    X(LIBRARY, 23, OBJECT, "a library call failed") \
    X(DIVERGED, 24, OBJECT, "training diverged") \
    X(COMM, 40, COMM, "communicator is broken") \
    X(DEVICE, 60, PROCESS, "device context is lost") \
    X(BUG, 61, PROCESS, "broken invariant")

typedef enum lk_damage { LK_DAMAGE_NONE, LK_DAMAGE_CALL, LK_DAMAGE_OBJECT, LK_DAMAGE_COMM, LK_DAMAGE_PROCESS } lk_damage;

typedef enum lk_status_code {
#define X(name, number, damage, text) LK_E_##name = number,
    LK_STATUS_MAP(X)
#undef X
} lk_status_code;

#define LK_OK LK_E_OK
#define LK_MUST_USE __attribute__((warn_unused_result))

typedef lk_status_code lk_status;

#define LK_ERR_MESSAGE 1024
#define LK_ERR_FRAMES 12

typedef struct lk_err {
    lk_status code;
    char message[LK_ERR_MESSAGE];
    int n_frames;
    struct {
        const char *file, *func;
        int line;
    } frame[LK_ERR_FRAMES];
} lk_err;

/* Name ("SHAPE") and text of a status; never NULL. */
const char *lk_status_name(lk_status st);
const char *lk_status_text(lk_status st);
lk_damage lk_status_damage(lk_status st);

/* Starts this thread's record with a message and returns `code`. Local. */
LK_MUST_USE lk_status lk_err_set(lk_status code, const char *file, int line, const char *func, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* Adds a frame to this thread's record and returns `st`. */
lk_status lk_err_frame(lk_status st, const char *file, int line, const char *func);
/* This thread's record; valid until the next failure on this thread. */
const lk_err *lk_err_last(void);
/* Copies this thread's record out, for another thread to raise again with lk_err_give, which returns its code. */
void lk_err_take(lk_err *out);
LK_MUST_USE lk_status lk_err_give(const lk_err *e);
/* Puts text in front of the message ("shard 3: ") without touching code or frames; returns `st`. */
lk_status lk_err_prefix(lk_status st, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Translator for system calls: `failed` says whether the call failed, errno gives the text. */
lk_status lk_sys_status(bool failed, const char *what, const char *path, const char *file, int line, const char *func);

/* A broken invariant of ours: calls the hook (which does not return), else writes the line and traps. */
typedef void (*lk_bug_hook)(const char *message);
void lk_bug_set_hook(lk_bug_hook hook);
void lk_bug(const char *file, int line, const char *fmt, ...) __attribute__((noreturn, format(printf, 3, 4)));

#define LK_FAIL(code, ...) lk_err_set((code), __FILE__, __LINE__, __func__, __VA_ARGS__)

#define LK_TRY(expr) \
    do { \
        lk_status lk_s_ = (expr); \
        if (lk_s_ != LK_OK) \
            return lk_err_frame(lk_s_, __FILE__, __LINE__, __func__); \
    } while (0)

#define LK_TRY_TO(st, label, expr) \
    do { \
        (st) = (expr); \
        if ((st) != LK_OK) { \
            lk_err_frame((st), __FILE__, __LINE__, __func__); \
            goto label; \
        } \
    } while (0)

/* LK_TRY(LK_SYS(rename(a, b) != 0, "rename", a)); the errno text is added. */
#define LK_SYS(failed, what, path) lk_sys_status((failed), (what), (path), __FILE__, __LINE__, __func__)

#define LK_BUG_IF(cond, ...) \
    do { \
        if (cond) \
            lk_bug(__FILE__, __LINE__, __VA_ARGS__); \
    } while (0)

#endif
