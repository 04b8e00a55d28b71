/* What the machine has left: memory of this process and of those it shares with. */
#ifndef LK_BASE_MACHINE_H
#define LK_BASE_MACHINE_H

#include "base/status.h"
#include <stddef.h>

/* Bytes of this process that are in memory now; 0 where the system does not say. */
int64_t lk_resident_bytes(void);

enum { LK_AVAILABLE_TEXT = 512 };
/* Bytes that may still be taken into memory without swapping: what /proc/meminfo calls available, or what the limits of this process's control
 * groups (version 1 or 2, and of all groups above) leave where that is less; pages of files that a group can give back count as free. `by` gets
 * the file that said it. INT64_MAX where nobody says anything. `root` is put before all paths ("" but in tests). */
int64_t lk_available_bytes(const char *root, char by[LK_AVAILABLE_TEXT]);

#endif
