/* Messages to people, on standard error: "lockstep: ..." or "lockstep [rank 2]: ...". Never standard output. */
#ifndef LK_BASE_LOG_H
#define LK_BASE_LOG_H

#include "base/status.h"

typedef enum lk_log_level { LK_LOG_ERROR, LK_LOG_WARN, LK_LOG_INFO, LK_LOG_DEBUG } lk_log_level;

/* Lowest level that is shown; default LK_LOG_INFO. LOCKSTEP_LOG=error|warn|info|debug in the environment, read at the first use,
 * stands above what the program sets. */
void lk_log_set_level(lk_log_level level);
/* Rank shown in front of messages; nranks 1 shows none. Info is shown by rank 0 only, the other levels by all. */
void lk_log_set_rank(int rank, int nranks);
/* One message, written with one write(2) so that lines of several ranks do not mix; cut off
 * at 8 KiB. Keeps errno. */
void lk_log(lk_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The error record as a message; at debug level with its frames. */
void lk_log_err(const lk_err *e);

#endif
